// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connections as events; bytes and packets counted per socket and peer, and read by the user side at an interval.
 */
#include "tcp.h"
#include "udp.h"

EVENT(flow);

/* Only this protocol, and only over IPv4, if set. */
const volatile __u8 only_proto = 0;
const volatile __u8 only_ipv4 = 0;

static __always_inline int is_seen(struct __sk_buff *skb, const struct layout *at)
{
	return (!only_proto || at->proto == only_proto) && (!only_ipv4 || skb->protocol == bpf_htons(ETH_P_IP));
}

static __always_inline int see(struct __sk_buff *skb, enum direction direction)
{
	struct bpf_sock *sk = skb->sk, *full;
	struct owner *owner = 0;
	struct traffic *t;
	struct layout at;
	int raw;

	if (!sk || !on_device(skb, direction) || !find_transport(skb, &at) || !is_seen(skb, &at))
		return 1;
	if (at.proto == IPPROTO_TCP && sk->state == BPF_TCP_LISTEN) {
		see_listener(skb, sk);
		return 1;
	}
	t = bpf_sk_storage_get(&traffic, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!t || t->known < WAITS) {
		full = bpf_sk_fullsock(sk);
		if (!full) /* a handshake's, or one that waits for late packets */
			return 1;
		raw = full->type == RAW_SOCKET;
		owner = owner_of(skb);
		if (t) {
			if (!t->cookie && t->known == NEW && owner && owner->listens)
				t->known = LISTENS; /* its listener had no room for more */
			t->cookie = bpf_get_socket_cookie(skb);
			t->raw = raw;
			if (is_own(owner))
				t->known = OWN;
		}
	} else {
		raw = t->raw;
	}
	if (t ? t->known == OWN : is_own(owner))
		return 1;
	if (at.proto == IPPROTO_TCP && !raw) /* to a raw socket TCP keeps nothing, though some kernels say so */
		see_tcp(skb, &at, direction, t);
	else
		see_by_peer(skb, &at, direction, t);
	return 1;
}

SEC("cgroup_skb/egress")
int network_egress(struct __sk_buff *skb)
{
	return see(skb, OUT);
}

SEC("cgroup_skb/ingress")
int network_ingress(struct __sk_buff *skb)
{
	return see(skb, IN);
}

/* Not where only one device's packets are seen: of those nothing is known here. */
SEC("cgroup/getpeername4")
int network_accepted4(struct bpf_sock_addr *ctx)
{
	return by_device ? 1 : see_accepted(ctx, 1);
}

SEC("cgroup/getpeername6")
int network_accepted6(struct bpf_sock_addr *ctx)
{
	return by_device || only_ipv4 ? 1 : see_accepted(ctx, 0);
}
