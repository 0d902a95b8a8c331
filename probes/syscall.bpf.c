// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * System calls that are monitored, as they begin: counted here, per process and call, in one of two maps, of which the
 * user side reads the other. What there is no room for is counted as uncounted.
 */
#include "task.h"

/* Whose table a call's number is of. */
enum abi {
	OWN,
	COMPAT, /* of a 32-bit program; or of any, by int 0x80 */
	X32,
};

#define NUMBERS 1024 /* of each: above the highest that any table has, and a power of two */
#define ABIS 4

#define X32_BIT 0x40000000 /* __X32_SYSCALL_BIT of asm/unistd.h */

/* Bit (number) is set for those that are monitored in any ABI: most calls need no second look. */
const volatile __u64 monitored_in_any[NUMBERS / 64] = {};
/* Bit (abi * NUMBERS + number). */
const volatile __u64 monitored[ABIS * NUMBERS / 64] = {};

/* What has called: a process, as long as it runs one program. */
struct caller {
	__u64 began;  /* the process; in ns since boot */
	__u64 execs;  /* rises when it begins another program: self_exec_id of linux/sched.h */
	__u32 pid;
	__u32 number; /* abi * NUMBERS + the call's own */
};

struct called {
	struct process process; /* at the first call in this interval */
	__u64 calls;
};

EVENT(called);

struct called_by {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct caller);
	__type(value, struct called);
} called_a SEC(".maps"), called_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct called_by);
} called SEC(".maps") = { .values = { [0] = &called_a } };

/* `words`: how many the bits have, a power of two. */
static __always_inline int is_set(const volatile __u64 *bits, __u32 words, __u32 number)
{
	barrier_var(number); /* or the compiler leaves out what it knows, and the verifier does not */
	return bits[number / 64 & (words - 1)] >> (number & 63) & 1;
}

#define IS_SET(bits, number) is_set(bits, sizeof(bits) / sizeof(*(bits)), number)

static __always_inline struct called *first_call(void *active, const struct caller *caller)
{
	struct called fresh = {};

	read_process(&fresh.process);
	bpf_map_update_elem(active, caller, &fresh, BPF_NOEXIST); /* or another thread of the process was first */
	return bpf_map_lookup_elem(active, caller);
}

static __always_inline void count(struct task_struct *task, __u32 number)
{
	struct caller caller = { .number = number };
	struct called *calls;
	struct counts *c;
	__u32 zero = 0;
	void *active = bpf_map_lookup_elem(&called, &zero);

	if (!active)
		return;
	caller.pid = bpf_get_current_pid_tgid() >> 32;
	caller.began = own_began();
	caller.execs = BPF_CORE_READ(task, self_exec_id);
	calls = bpf_map_lookup_elem(active, &caller) ?: first_call(active, &caller);
	if (calls)
		__sync_fetch_and_add(&calls->calls, 1);
	else if ((c = counted()))
		__sync_fetch_and_add(&c->uncounted, 1);
}

static __always_inline int see(__u32 given)
{
	__u32 number = given & ~X32_BIT;
	struct task_struct *task;

	if (number >= NUMBERS || !IS_SET(monitored_in_any, number))
		return 0;
	task = (void *)bpf_get_current_task();
	if (!is_compat(task))
		number += number == given ? OWN : X32 * NUMBERS;
	else if (number == given)
		number += COMPAT * NUMBERS;
	else
		return 0; /* no 32-bit program has such a call */
	if (IS_SET(monitored, number) && in_scope())
		count(task, number);
	return 0;
}

/*
 * One of these two is loaded. Since Linux 7.0 another process may be given the CPU while the program of a raw
 * tracepoint runs, and that one's calls are missed then: no program runs twice on a CPU. That of a tracepoint, which
 * costs more, runs to its end first.
 */
SEC("raw_tp/sys_enter")
int syscall_begins(struct bpf_raw_tracepoint_args *ctx)
{
	return see(ctx->args[1]);
}

struct sys_enter { /* /sys/kernel/tracing/events/raw_syscalls/sys_enter/format */
	__u64 common;
	__s64 number;
};

SEC("tracepoint/raw_syscalls/sys_enter")
int syscall_begins_undisturbed(struct sys_enter *ctx)
{
	return see(ctx->number);
}
