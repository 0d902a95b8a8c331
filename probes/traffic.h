/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is known of a socket's traffic, kept with the socket; and connections as events.
 */
#pragma once

#include "volume.h"

/* A UDP or raw socket may have many. */
struct pair {
	__u64 peer[2], local[2]; /* addresses, as in struct flow */
	__u16 peer_port;
	__u16 proto; /* a raw socket sends any */
	__u16 unused[2];
};

enum known {
	NEW,
	LISTENS, /* a listener; or, copied from it by the kernel, an accepted connection of which no packet was seen yet */
	WAITS,   /* an accepted connection whose event waits until it is known who accepts it */
	KNOWN,   /* its connection event is out, or none is due */
	OWN,     /* the agent's own */
};

struct traffic {
	struct bpf_spin_lock lock; /* a socket's packets may come on several CPUs, and while it sends */
	__u32 known;
	__u64 cookie;
	__u32 raw;          /* whether it is a raw socket */
	__u32 place;        /* of its volume; UDP: of the one that was added to last */
	__u32 begun;        /* TCP: sequence number of the first byte behind its own SYN, if it connects */
	__u32 sent_next;    /* TCP: sequence number after the last byte that was counted */
	__u32 fin_next;     /* TCP: sequence number after the peer's FIN, which TCP counts as a byte received */
	__u32 fin_seen;
	__u32 told;         /* TCP: whether the event of an accepted connection is out already */
	__u64 cgroup_id;    /* TCP: of a listener, and copied from it */
	__u64 received;     /* TCP: bytes that were counted */
	__u64 since;        /* TCP: when the first packet was seen */
	struct pair latest; /* UDP: the latest ends, whose connection event is out */
};

/* It and `peers` outlive a probe that another takes the place of: so connections go on, and do not begin again. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct traffic);
} traffic SEC(".maps");

/*
 * A connection is reported from the side that began it: `begun` is OUT where the socket's own process did. `since`: when it
 * began, if that was not now.
 */
static __always_inline void announce(struct __sk_buff *skb, const struct layout *at, enum direction direction,
				     enum direction begun, __u64 since)
{
	struct flow flow;

	if (!read_flow(skb, at, direction, begun, &flow))
		return;
	if (since)
		flow.time = since;
	hand_over(skb, &flow);
}
