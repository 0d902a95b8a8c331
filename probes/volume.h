/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes and packets of a socket, and of its peer, in an interval.
 *
 * The counts go to one of two arrays, by place. A socket remembers its place, and a place says whose it is, so that one
 * which was read and emptied meanwhile is not taken for the socket's. The user side swaps the arrays, and then empties
 * the one that nobody writes to any more.
 */
#pragma once

#include "flow.h"

#define PLACES 32768 /* in each array; the first holds no volume, but tells in its `cookie` which of the two it is */

struct volume {
	__u64 cookie;     /* the socket's; 0: the place is empty */
	struct flow flow; /* from the socket to its peer, at the first packet in this interval */
	__u64 bytes[2];   /* by direction */
	__u64 packets[2];
};

struct volumes {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct volume);
} volumes_a SEC(".maps"), volumes_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct volumes);
} volumes SEC(".maps") = { .values = { [0] = &volumes_a } };

struct taken {
	struct bpf_spin_lock lock;
	__u32 places;
};

/* How many places of each array are taken, the first not counted. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct taken);
} taken SEC(".maps");

static __always_inline void count_uncounted(__u32 packets, __u64 bytes)
{
	struct counts *c = counted();

	if (c) {
		__sync_fetch_and_add(&c->uncounted, packets);
		__sync_fetch_and_add(&c->uncounted_bytes, bytes);
	}
}

/* The packet's ends as the socket's own process sees them if `view` is OUT, as its peer does if it is IN. */
static __always_inline int read_flow(struct __sk_buff *skb, const struct layout *at, enum direction direction,
				     enum direction view, struct flow *flow)
{
	const struct owner *owner = owner_of(skb);
	struct flow packet;

	if (!read_own_ends(skb, at, direction, owner, &packet))
		return 0;
	*flow = packet;
	if (view != direction) {
		__builtin_memcpy(flow->s_ip, packet.d_ip, sizeof(flow->s_ip));
		__builtin_memcpy(flow->d_ip, packet.s_ip, sizeof(flow->d_ip));
		flow->s_port = packet.d_port;
		flow->d_port = packet.s_port;
		flow->direction = view;
	}
	read_owner(skb, owner, flow);
	return 1;
}

/* The volume at a place, if it is this socket's. */
static __always_inline struct volume *volume_at(void *active, __u32 place, __u64 cookie)
{
	struct volume *volume = active && place ? bpf_map_lookup_elem(active, &place) : 0;

	if (!volume || volume->cookie != cookie)
		return 0;
	barrier_var(volume); /* or it is chosen without a branch, and the verifier does not follow what it is then */
	return volume;
}

/* A volume at the next empty place; 0 where there is none. */
static __always_inline struct volume *new_volume(struct __sk_buff *skb, const struct layout *at,
						 enum direction direction, void *active, __u64 cookie, __u32 *place)
{
	__u32 zero = 0, which;
	struct volume *volume = active ? bpf_map_lookup_elem(active, &zero) : 0;
	struct taken *t;

	which = volume ? volume->cookie : 0;
	t = bpf_map_lookup_elem(&taken, &which);
	if (!active || !t)
		return 0;
	bpf_spin_lock(&t->lock);
	*place = t->places < PLACES - 1 ? ++t->places : PLACES;
	bpf_spin_unlock(&t->lock);
	volume = bpf_map_lookup_elem(active, place);
	if (!volume || !read_flow(skb, at, direction, OUT, &volume->flow))
		return 0;
	volume->cookie = cookie;
	return volume;
}
