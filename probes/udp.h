/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Payload over UDP, by peer: a first datagram to or from one is a connection. Likewise the packets of raw sockets, also
 * those of TCP: whoever writes them himself, or reads those of others, has no connection that TCP knows.
 */
#pragma once

#include "traffic.h"

struct peer {
	__u64 cookie;
	struct pair pair;
};

/* Such sockets with many peers: those whose connection event is out, and their place. A forgotten one is announced again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct peer);
	__type(value, __u32);
} peers SEC(".maps");

static __always_inline int is_same(const struct pair *one, const struct pair *other)
{
	return one->peer_port == other->peer_port && one->proto == other->proto &&
	       one->peer[0] == other->peer[0] && one->peer[1] == other->peer[1] &&
	       one->local[0] == other->local[0] && one->local[1] == other->local[1];
}

static __always_inline int is_between(const struct volume *volume, const struct pair *pair)
{
	const __u64 *local = (const __u64 *)volume->flow.s_ip, *peer = (const __u64 *)volume->flow.d_ip;

	return volume->flow.d_port == pair->peer_port && volume->flow.proto == pair->proto &&
	       peer[0] == pair->peer[0] && peer[1] == pair->peer[1] &&
	       local[0] == pair->local[0] && local[1] == pair->local[1];
}

/* Where the socket's last volume is not between this pair: one from the table, or a new one; a new peer is announced. */
static __always_inline struct volume *volume_of_peer(struct __sk_buff *skb, const struct layout *at,
						     enum direction direction, void *active, struct traffic *t,
						     const struct peer *key)
{
	__u32 *known = bpf_map_lookup_elem(&peers, key), place = known ? *known : 0;
	struct volume *volume = volume_at(active, place, key->cookie);
	int same = 0;

	if (t) { /* else there is no room at the socket */
		bpf_spin_lock(&t->lock);
		same = t->known && is_same(&t->latest, &key->pair);
		t->known = KNOWN;
		t->latest = key->pair;
		bpf_spin_unlock(&t->lock);
	}
	if (!known && !same)
		announce(skb, at, direction, direction, 0);
	if (!volume || !is_between(volume, &key->pair)) {
		volume = new_volume(skb, at, direction, active, key->cookie, &place);
		if (volume || !known)
			bpf_map_update_elem(&peers, key, &place, BPF_ANY);
	}
	if (t)
		t->place = place;
	return volume;
}

static __always_inline int read_pair(struct __sk_buff *skb, const struct layout *at, enum direction direction,
				     struct pair *pair)
{
	__u64 *from = direction == OUT ? pair->local : pair->peer, *to = direction == OUT ? pair->peer : pair->local;
	__be16 ports[2];

	if (!read_part(skb, at->transport, ports, sizeof(ports)))
		return 0;
	pair->peer_port = bpf_ntohs(ports[direction == OUT]);
	pair->proto = at->proto;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be32 addresses[2];

		if (!read_part(skb, offsetof(struct iphdr, saddr), addresses, sizeof(addresses)))
			return 0;
		mapped((__u8 *)from, &addresses[0]);
		mapped((__u8 *)to, &addresses[1]);
	} else {
		__u64 addresses[4];

		if (!read_part(skb, offsetof(struct ipv6hdr, saddr), addresses, sizeof(addresses)))
			return 0;
		__builtin_memcpy(from, &addresses[0], 16);
		__builtin_memcpy(to, &addresses[2], 16);
	}
	return 1;
}

/* The pair of a packet that is sent as its process has it, like read_own_ends(). */
static __always_inline void read_own_pair(struct __sk_buff *skb, struct pair *pair)
{
	struct bpf_sock *sk = skb->sk;
	__u16 own_port;

	if (!sk || !sk->dst_port) /* asked first: many have no peer, and each datagram another pair */
		return;
	sk = connected(skb, owner_of(skb));
	if (sk)
		read_socket(sk, skb->protocol == bpf_htons(ETH_P_IP), pair->local, pair->peer, &own_port,
			    &pair->peer_port);
}

static __always_inline void see_by_peer(struct __sk_buff *skb, struct layout *at, enum direction direction,
					struct traffic *t)
{
	__u32 zero = 0, packets = skb->gso_segs ?: 1, header = sizeof(struct udphdr);
	struct volume *volume;
	struct peer key = {};
	void *active;

	if (at->proto == IPPROTO_TCP) {
		struct tcphdr tcp;

		if (!read_part(skb, at->transport, &tcp, sizeof(tcp)))
			return;
		header = tcp.doff * 4;
	}
	if (!find_payload(skb, at, header) || !read_pair(skb, at, direction, &key.pair))
		return;
	key.cookie = t ? t->cookie : bpf_get_socket_cookie(skb);

	active = bpf_map_lookup_elem(&volumes, &zero);
	volume = t ? volume_at(active, t->place, key.cookie) : 0;
	if (!volume || !is_between(volume, &key.pair)) {
		if (direction == OUT)
			read_own_pair(skb, &key.pair);
		if (!volume || !is_between(volume, &key.pair))
			volume = volume_of_peer(skb, at, direction, active, t, &key);
	}
	if (!volume) {
		count_uncounted(packets, at->payload_len);
		return;
	}
	__sync_fetch_and_add(&volume->bytes[direction == IN], at->payload_len);
	__sync_fetch_and_add(&volume->packets[direction == IN], packets);
}
