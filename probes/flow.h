/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whose packet is it, and between whom: what the three network probes share.
 *
 * The owner of a socket is kept with the socket itself (socket storage): it lives exactly as long as the socket, costs
 * no capacity, and a listener's is copied to every socket that it accepts (BPF_F_CLONE). owner.bpf.c fills it in.
 */
#pragma once

#include "packets.h"
#include "portable.h"

enum direction {
	OUT = 0,
	IN = 1,
	UNKNOWN = 2, /* of a packet in a capture */
};

enum owner_flags {
	ACCEPTED = 1,  /* it is the process that accepted the connection, or one that used it since: not the listener's */
	ELSEWHERE = 2, /* the socket is in another network namespace than the agent */
};

struct owner {
	__u32 pid; /* 0: unknown */
	__u32 uid;
	char comm[16];
	__u64 start; /* when the process began, in ns since boot; 0: unknown */
	__u32 flags;
	/* Bytes, so that what one process says of the socket is not undone by another that says something of it meanwhile. */
	__u8 connected; /* it was connected to a peer, */
	__u8 anywhere;  /* or to several, or its datagrams had addresses of their own */
	__u8 listens;   /* it is a listener's, or was copied from a listener to what that accepted */
	__u8 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct owner);
} owners SEC(".maps");

static __always_inline struct owner *owner_of(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_sk_storage_get(&owners, sk, 0, 0) : 0;
}

static __always_inline int is_own(const struct owner *owner)
{
	return self && owner && owner->pid == self;
}

/* When, whose, between whom. IPv4 addresses are written as IPv4-mapped IPv6 ones; ports are in host order. */
struct flow {
	__u64 time; /* CLOCK_MONOTONIC, ns */
	__u64 cgroup_id;
	__u64 start; /* of the process, in ticks since boot */
	__u32 pid;
	__u32 uid;
	char comm[16];
	__u8 s_ip[16];
	__u8 d_ip[16];
	__u16 s_port;
	__u16 d_port;
	__u8 proto;
	__u8 direction;
	__u16 unused;
};

/* Only packets of one device, which is in the agent's network namespace: in others its number is another's. */
const volatile __u8 by_device = 0;

/* Its number; 0 while there is none of its name. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} device SEC(".maps");

static __always_inline int on_device(struct __sk_buff *skb, enum direction direction)
{
	const struct owner *owner;
	__u32 zero = 0, *number;

	if (!by_device)
		return 1;
	number = bpf_map_lookup_elem(&device, &zero);
	if (!number || *number != (direction == OUT ? skb->ifindex : skb->ingress_ifindex))
		return 0;
	owner = owner_of(skb);
	return !owner || !(owner->flags & ELSEWHERE);
}

/* The packets are those of a capture: they have no socket, and their time is in skb->tstamp. */
const volatile __u8 replay = 0;

/* Where a packet's parts are, from the IP header on. */
struct layout {
	__u32 transport;
	__u32 payload;
	__u32 payload_len;
	__u8 proto;
};

/*
 * Where a part of the packet, of constant size, lies in one piece, as headers nearly always do; else 0. (In a test run
 * older kernels do not say where a piece ends.)
 */
static __always_inline const void *part_in_place(struct __sk_buff *skb, __u32 offset, __u32 size)
{
	const void *from;

	if (!__builtin_constant_p(offset)) /* no header goes beyond; the compiler knows, the verifier has to be told */
		asm volatile("%0 &= 0x3fff" : "+r"(offset));
	from = (const void *)(long)skb->data + offset;
	return from + size <= (const void *)(long)skb->data_end ? from : 0;
}

static __always_inline int copy_part(struct __sk_buff *skb, __u32 offset, void *to, __u32 size)
{
	/*
	 * Written here first: where an offset is made of these bytes, the verifier of Linux 6.18 traces them back to what
	 * wrote them, does not see that the helper did, and ends with EFAULT ("verifier bug").
	 */
	__builtin_memset(to, 0, size);
	return !bpf_skb_load_bytes(skb, offset, to, size);
}

/* A part of the packet: where it lies, or copied to `room`; 0 where the packet ends before. */
static __always_inline const void *part(struct __sk_buff *skb, __u32 offset, void *room, __u32 size)
{
	const void *from = part_in_place(skb, offset, size);

	if (from)
		return from;
	return copy_part(skb, offset, room, size) ? room : 0;
}

/* The same, always copied. */
static __always_inline int read_part(struct __sk_buff *skb, __u32 offset, void *to, __u32 size)
{
	const void *from = part_in_place(skb, offset, size);

	if (!from)
		return copy_part(skb, offset, to, size);
	/* By words and not by bytes: headers are aligned to four bytes in a packet, and the rest reads as well. */
	__builtin_memcpy(to, __builtin_assume_aligned(from, 4), size);
	return 1;
}

/* RFC 8200 4.1: these may stand before the transport header. */
static __always_inline int is_extension(__u32 header)
{
	return header == IPPROTO_HOPOPTS || header == IPPROTO_ROUTING || header == IPPROTO_DSTOPTS ||
	       header == IPPROTO_FRAGMENT;
}

#define EXTENSIONS_MAX 16 /* a sender's own are five at most, but receivers take any */
#define BEHIND 8	  /* bits of a header's number, below its offset */

/* Offset and number of the header behind those that are extensions, the first of which has this number; or negative. */
__noinline int behind_extensions(struct __sk_buff *skb, __u32 header)
{
	__u32 offset = sizeof(struct ipv6hdr);
	__u8 option[2];

	for (int i = 0; i < EXTENSIONS_MAX && is_extension(header); i++) {
		if (!read_part(skb, offset, option, sizeof(option)))
			return -1;
		offset += header == IPPROTO_FRAGMENT ? 8 : (option[1] + 1) * 8;
		header = option[0];
	}
	return offset << BEHIND | (header & 0xff);
}

/* Finds the transport header of a whole TCP or UDP packet; false for anything else. */
static __always_inline int find_transport(struct __sk_buff *skb, struct layout *at)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr room;
		const struct iphdr *ip = part(skb, 0, &room, sizeof(room));

		if (!ip || ip->version != 4)
			return 0;
		at->proto = ip->protocol;
		at->transport = ip->ihl * 4;
		/* at a socket packets are whole: ingress is after reassembly, egress before fragmentation */
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr room;
		const struct ipv6hdr *ip = part(skb, 0, &room, sizeof(room));

		if (!ip || ip->version != 6)
			return 0;
		at->proto = ip->nexthdr;
		at->transport = sizeof(*ip);
		if (is_extension(at->proto)) { /* in a function that is verified once, and not for each of its outcomes */
			int behind = behind_extensions(skb, at->proto);

			if (behind < 0)
				return 0;
			at->proto = behind;
			at->transport = behind >> BEHIND;
		}
	} else {
		return 0;
	}
	return at->proto == IPPROTO_TCP || at->proto == IPPROTO_UDP;
}

/* Finds the payload, behind a transport header of this size; its length is what the application sent. */
static __always_inline int find_payload(struct __sk_buff *skb, struct layout *at, __u32 header)
{
	at->payload = at->transport + header;
	if (at->payload > skb->len)
		return 0;
	at->payload_len = skb->len - at->payload;
	return 1;
}

static __always_inline void mapped(__u8 *to, const __be32 *address)
{
	__builtin_memset(to, 0, 10);
	__builtin_memset(to + 10, 0xff, 2);
	__builtin_memcpy(to + 12, address, 4);
}

/* Between whom; the rest of the flow is zero. */
static __always_inline int read_ends(struct __sk_buff *skb, const struct layout *at, enum direction direction,
				     struct flow *flow)
{
	__be16 ports[2];

	if (!read_part(skb, at->transport, ports, sizeof(ports)))
		return 0;
	__builtin_memset(flow, 0, sizeof(*flow));
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (!read_part(skb, 0, &ip, sizeof(ip)))
			return 0;
		mapped(flow->s_ip, &ip.saddr);
		mapped(flow->d_ip, &ip.daddr);
	} else {
		struct ipv6hdr ip;

		if (!read_part(skb, 0, &ip, sizeof(ip)))
			return 0;
		__builtin_memcpy(flow->s_ip, &ip.saddr, 16);
		__builtin_memcpy(flow->d_ip, &ip.daddr, 16);
	}
	flow->s_port = bpf_ntohs(ports[0]);
	flow->d_port = bpf_ntohs(ports[1]);
	flow->proto = at->proto;
	flow->direction = replay ? UNKNOWN : direction;
	return 1;
}

static __always_inline void copy_owner(const struct owner *owner, struct flow *flow)
{
	flow->start = owner->start / TICK;
	flow->pid = owner->pid;
	flow->uid = owner->uid;
	__builtin_memcpy(flow->comm, owner->comm, sizeof(flow->comm));
}

enum socket_type { /* SOCK_STREAM ... of linux/net.h */
	STREAM_SOCKET = 1,
	DATAGRAM_SOCKET = 2,
	RAW_SOCKET = 3,
};

/* The packet's socket, if what it sends goes to the peer that it is connected to, whatever address the packet has by now. */
static __always_inline struct bpf_sock *connected(struct __sk_buff *skb, const struct owner *owner)
{
	struct bpf_sock *sk = skb->sk;

	sk = sk ? bpf_sk_fullsock(sk) : 0;
	if (!sk || !sk->dst_port)
		return 0;
	if (sk->type == STREAM_SOCKET)
		return sk;
	if ((sk->src_ip4 & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) ||
	    (sk->src_ip6[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000))
		return 0; /* bound to a multicast group, from which nothing is sent */
	if (sk->type != DATAGRAM_SOCKET || sk->state != BPF_TCP_ESTABLISHED || !owner || !owner->connected || owner->anywhere)
		return 0;
	return sk;
}

/* A socket's own end and that of its peer. */
static __always_inline void read_socket(struct bpf_sock *sk, int ipv4, void *own_ip, void *peer_ip, __u16 *own_port,
					__u16 *peer_port)
{
	__be32 *from = own_ip, *to = peer_ip;

	if (ipv4) {
		__be32 own = sk->src_ip4, peer = sk->dst_ip4;

		barrier_var(own); /* or one load from either place would be made of these and of those below, */
		barrier_var(peer); /* which the verifier does not take */
		mapped(own_ip, &own);
		mapped(peer_ip, &peer);
	} else {
		from[0] = sk->src_ip6[0];
		from[1] = sk->src_ip6[1];
		from[2] = sk->src_ip6[2];
		from[3] = sk->src_ip6[3];
		to[0] = sk->dst_ip6[0];
		to[1] = sk->dst_ip6[1];
		to[2] = sk->dst_ip6[2];
		to[3] = sk->dst_ip6[3];
	}
	*own_port = sk->src_port;
	*peer_port = bpf_ntohs(sk->dst_port);
}

/*
 * The ends of a packet as its process has them. Where addresses are translated in the process's own network namespace,
 * what is sent has others by now, and what is received has those of the process again.
 */
static __always_inline int read_own_ends(struct __sk_buff *skb, const struct layout *at, enum direction direction,
					 const struct owner *owner, struct flow *flow)
{
	struct bpf_sock *sk;

	if (!read_ends(skb, at, direction, flow))
		return 0;
	sk = direction == OUT ? connected(skb, owner) : 0;
	if (sk)
		read_socket(sk, skb->protocol == bpf_htons(ETH_P_IP), flow->s_ip, flow->d_ip, &flow->s_port,
			    &flow->d_port);
	return 1;
}

/* When, and whose. */
static __always_inline void read_owner(struct __sk_buff *skb, const struct owner *owner, struct flow *flow)
{
	if (replay) {
		flow->time = skb->tstamp;
		return;
	}
	flow->time = bpf_ktime_get_ns();
	flow->cgroup_id = bpf_skb_cgroup_id(skb);
	if (owner)
		copy_owner(owner, flow);
}

/* A packet with its bytes, as DNS and TLS hand it over: the kernel appends `captured` bytes from the IP header on. */
struct packet {
	struct flow flow;
	__u32 captured;
	__u32 payload;     /* where the payload begins in them */
	__u32 payload_len; /* its length on the wire, which may be more than was captured */
	__u32 datagram;    /* UDP: length of each datagram but the last, where it is to be cut into several (GSO); else 0 */
	__u32 seq;         /* TCP: its sequence number, */
	__u32 begin;       /* and that at which its stream, or the message that it is part of, begins */
};

/* More than any hello or EDNS answer in use (RFC 9715 advises 1,400; TLS records end at 16 KiB); a cut is told. */
#define CAPTURE_MAX 16384

static __always_inline void capture(struct __sk_buff *skb, const struct layout *at, enum direction direction,
				    const struct owner *owner, __u32 seq, __u32 begin)
{
	struct packet packet = {};

	if (!read_own_ends(skb, at, direction, owner, &packet.flow))
		return;
	read_owner(skb, owner, &packet.flow);
	packet.captured = skb->len < CAPTURE_MAX ? skb->len : CAPTURE_MAX;
	packet.payload = at->payload;
	packet.payload_len = at->payload_len;
	packet.datagram = at->proto == IPPROTO_UDP ? skb->gso_size : 0;
	packet.seq = seq;
	packet.begin = begin;
	hand_over_packet(skb, &packet, packet.captured);
}
