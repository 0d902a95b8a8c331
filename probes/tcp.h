/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Payload over TCP as the application knows it. Sent: each sequence number once. Received: what TCP itself took in order
 * (bpf_tcp_sock), so neither retransmissions nor a peer's wild sequence numbers are counted.
 */
#pragma once

#include "traffic.h"

struct bytes {
	__u64 out, in;
};

/* Bytes that TCP took in, from the two counters that it keeps of them. */
static __always_inline __u64 taken_in(const struct traffic *t, __u64 received, __u32 rcv_nxt)
{
	return t->fin_seen && rcv_nxt == t->fin_next ? received - 1 : received;
}

static __always_inline void count_sent(struct traffic *t, __u32 end, __u32 fin, struct bytes *bytes)
{
	__s32 new = end - t->sent_next;

	if (new > 0)
		bytes->out = new;
	if (new >= 0)
		t->sent_next += new + fin;
}

static __always_inline void count_received(struct traffic *t, __u64 received, struct bytes *bytes)
{
	if (received > t->received) {
		bytes->in = received - t->received;
		t->received = received;
	}
}

/* As if nothing was seen of the socket yet. */
static __always_inline void forget(struct traffic *t, enum known known)
{
	bpf_spin_lock(&t->lock);
	t->known = known;
	t->place = 0;
	t->received = 0;
	t->fin_seen = 0;
	t->told = 0;
	bpf_spin_unlock(&t->lock);
}

#define PATIENCE 1000000000 /* ns */

/*
 * The event of an accepted connection waits until it is known who accepted it, which comes after its first packets; but
 * not where somebody uses it already (accept(2) was not asked for the peer's address, and is not traced), or it ends.
 */
static __always_inline void announce_accepted(struct __sk_buff *skb, const struct layout *at, enum direction direction,
					      struct traffic *t, struct volume *volume, int used)
{
	const struct owner *owner = owner_of(skb);
	int due, told;

	if (owner && !(owner->flags & ACCEPTED) && !used && bpf_ktime_get_ns() - t->since < PATIENCE)
		return;
	bpf_spin_lock(&t->lock);
	due = t->known == WAITS;
	if (due)
		t->known = KNOWN;
	told = t->told;
	t->told = 1;
	bpf_spin_unlock(&t->lock);
	if (!due)
		return;
	if (owner && volume)
		copy_owner(owner, &volume->flow);
	if (!told)
		announce(skb, at, direction, IN, t->since);
}

static __always_inline void add_tcp(struct volume *volume, enum direction direction, const struct bytes *bytes,
				    __u32 packets)
{
	if (direction == OUT)
		volume->bytes[OUT] += bytes->out;
	volume->bytes[IN] += bytes->in;
	volume->packets[direction == IN] += packets;
}

/*
 * What is counted as sent is written while TCP sends, which has its socket locked then: by one CPU. All else is written
 * with the lock held. So no addition has to be atomic.
 */
static __always_inline void see_tcp(struct __sk_buff *skb, struct layout *at, enum direction direction,
				    struct traffic *t)
{
	__u32 zero = 0, packets = skb->gso_segs ?: 1, seq, end, rcv_nxt, snd_nxt, place;
	struct bpf_sock *sk = skb->sk;
	struct bpf_tcp_sock *tcp = sk ? bpf_tcp_sock(sk) : 0;
	enum known known = KNOWN;
	struct bytes bytes = {};
	struct volume *volume;
	const struct tcphdr *h;
	struct tcphdr room;
	__u64 received, now;
	void *active;
	int syn, fin, used, new = 0;

	h = part(skb, at->transport, &room, sizeof(room));
	if (!tcp || !h || !find_payload(skb, at, h->doff * 4))
		return;
	syn = h->syn;
	fin = h->fin;
	if (!t) { /* a process can use up what its socket may have (net.core.optmem_max) */
		count_uncounted(packets, at->payload_len);
		if (direction == OUT && syn && !h->ack)
			announce(skb, at, direction, OUT, 0);
		return;
	}
	/* In this order: tcp_rcv_nxt_update() writes them in it, so their sum is never too much. */
	received = tcp->bytes_received;
	rcv_nxt = tcp->rcv_nxt;
	snd_nxt = tcp->snd_nxt;
	used = fin || h->rst || (direction == OUT && at->payload_len);
	seq = bpf_ntohl(h->seq) + syn;
	end = seq + at->payload_len;
	if (direction == OUT && syn && !h->ack && t->known >= WAITS && t->begun != seq)
		forget(t, NEW); /* it was disconnected (connect() to AF_UNSPEC), and connects again */

	active = bpf_map_lookup_elem(&volumes, &zero);
	volume = volume_at(active, t->place, t->cookie);
	if (direction == OUT && volume && t->known == KNOWN && taken_in(t, received, rcv_nxt) == t->received) {
		count_sent(t, end, fin, &bytes);
		volume->bytes[OUT] += bytes.out;
		volume->packets[OUT] += packets;
		return;
	}
	if (!volume) {
		volume = new_volume(skb, at, direction, active, t->cookie, &place);
		if (volume)
			t->place = place;
	}
	now = t->known < WAITS ? bpf_ktime_get_ns() : 0;
	bpf_spin_lock(&t->lock);
	if (t->known < WAITS) {
		known = t->known;
		new = known == LISTENS || syn;
		t->known = known == LISTENS ? WAITS : KNOWN;
		t->since = now;
		t->begun = seq;
		/* What an accepted socket received with its first ACK went through its listener's hook. */
		t->received = new ? 0 : received;
		t->sent_next = direction == OUT && (__s32)(seq - snd_nxt) >= 0 ? seq : snd_nxt;
	}
	received = taken_in(t, received, rcv_nxt);
	if (direction == OUT) {
		count_sent(t, end, fin, &bytes);
	} else {
		if (seq == rcv_nxt) /* TCP is about to take it; what came out of order is counted by a later one */
			received += at->payload_len;
		if (fin) {
			t->fin_seen = 1;
			t->fin_next = end + 1;
		}
	}
	count_received(t, received, &bytes);
	if (volume)
		add_tcp(volume, direction, &bytes, packets);
	bpf_spin_unlock(&t->lock);

	if (!volume)
		count_uncounted(packets, bytes.out + bytes.in);
	if (new && known == NEW)
		announce(skb, at, direction, OUT, 0);
	else if (t->known == WAITS)
		announce_accepted(skb, at, direction, t, volume, used);
}

/*
 * A handshake passes through its listener. What that accepts gets a copy of what is noted here: so it is known to be new,
 * also by its first packet; any other connection is older than this program, unless its SYN was seen.
 */
static __always_inline void see_listener(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct traffic *t = bpf_sk_storage_get(&traffic, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	struct owner *owner = t ? 0 : owner_of(skb);

	if (owner)
		owner->listens = 1;
	if (t && t->known != LISTENS) {
		t->cgroup_id = bpf_skb_cgroup_id(skb);
		forget(t, LISTENS); /* it may have tried to connect before */
	}
}

/*
 * Somebody asks for the peer's address, as accept(2) does: it is known who accepted the connection. Nothing else would tell
 * one over which nothing goes.
 */
static __always_inline int see_accepted(struct bpf_sock_addr *ctx, int ipv4)
{
	struct bpf_sock *sk = ctx->sk;
	struct traffic *t = sk ? bpf_sk_storage_get(&traffic, sk, 0, 0) : 0;
	struct owner *owner = t ? bpf_sk_storage_get(&owners, sk, 0, 0) : 0;
	struct flow flow = {};
	__u64 since;
	int due;

	if (!owner || is_own(owner) || t->told || (t->known != LISTENS && t->known != WAITS))
		return 1;
	bpf_spin_lock(&t->lock);
	due = !t->told && (t->known == LISTENS || t->known == WAITS);
	t->told = 1;
	since = t->known == WAITS ? t->since : 0;
	bpf_spin_unlock(&t->lock);
	if (!due)
		return 1;
	read_socket(sk, ipv4, flow.d_ip, flow.s_ip, &flow.d_port, &flow.s_port);
	flow.time = since ?: bpf_ktime_get_ns();
	flow.cgroup_id = t->cgroup_id;
	flow.proto = IPPROTO_TCP;
	flow.direction = IN;
	copy_owner(owner, &flow);
	hand_over(ctx, &flow);
	return 1;
}
