/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every probe is written with: helpers, maps, and the one way out.
 *
 * A probe is one source for two loaders. What differs between them has the same names in core/ and in bcc/, and the
 * include path says which it is: helpers.h, and structs.h for what is read of the kernel's own structs.
 *
 * hand_over() and hand_over_packet() write an event to this CPU's perf buffer and count, per CPU, what the kernel took
 * and what it refused. Those counts are the truth about loss: the kernel's own lost-record comes only with the next
 * record that fits (kernel/events/ring_buffer.c, __perf_output_begin).
 */
#pragma once

#include "helpers.h"

/* The agent's own process id, set before load: what the agent does is nobody's telemetry. 0: not known. */
const volatile __u32 self = 0;

#define TICK 10000000 /* ns: the unit in which /proc/PID/stat tells when a process began (proc_pid_stat(5)) */

struct counts {
	__u64 handed_over; /* events that the kernel took into a buffer */
	__u64 refused;     /* events that did not fit (-ENOSPC), came while one was being written (-EBUSY), or are the next: */
	__u64 unbuffered;  /* those for which this CPU had no buffer, as it came online only now (-ENOENT, -EOPNOTSUPP) */
	__u64 uncounted;   /* packets whose volume, or calls, found no room in the map */
	__u64 uncounted_bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

/* Keeps the type's layout in the object's BTF, from where the user side learns it. */
#define EVENT(type) const struct type *event_##type __attribute__((unused))

static __always_inline struct counts *counted(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

/*
 * Whether a map's helper says that it has the key already (EEXIST). Before Linux 6.4 a program gets the map's own int as
 * it is: what is above it is not written, and a negative one is no negative long.
 */
static __always_inline int has_already(long error)
{
	return (int)error == -17;
}

#define NO_BUFFER(error) ((error) == -2 || (error) == -95) /* ENOENT, EOPNOTSUPP: bpf_event_output() */

/* Atomic although per CPU: a softirq's program may interrupt a sender's between load and store. */
static __always_inline void count_output(long error)
{
	struct counts *c = counted();

	if (!c)
		return;
	__sync_fetch_and_add(error ? &c->refused : &c->handed_over, 1);
	if (NO_BUFFER(error))
		__sync_fetch_and_add(&c->unbuffered, 1);
}

#define hand_over(ctx, event) \
	count_output(bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, event, sizeof(*(event))))

/* The kernel itself appends the packet's first `bytes` bytes to the event (BPF_F_CTXLEN_MASK). */
#define hand_over_packet(skb, event, bytes)                                                            \
	count_output(bpf_perf_event_output(skb, &events, BPF_F_CURRENT_CPU | ((__u64)(bytes) << 32), event, \
					   sizeof(*(event))))
