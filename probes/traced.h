/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Functions of the kernel that are traced when they return, with up to four of their arguments and their result; each in
 * both ways. fexit has all of that at hand. A kretprobe has not the arguments: a kprobe keeps them until then.
 *
 * A kretprobe follows only some calls at a time (its maxactive), whoever makes them: a few that wait for ever, as that of
 * who opens a FIFO, would hide all others. So what a kretprobe did not end is ended when the system call returns, by what
 * that returns. Where this cannot be told from it (io_uring_enter(2) does many things), it is counted as missed.
 */
#pragma once

#include "task.h"

/* A thread is within one call of each of these kinds at the most. */
enum under_way {
	MOVING,    /* bytes: of functions within each other, the outermost counts */
	OPENING,
	CHANGING,  /* a file, or mapping it */
	DIRECTORY, /* changing one: what is in `changes` */
	KINDS,
};

/* One call of a function. */
struct call {
	__u64 args[4];
	__s64 result;
	__u32 function; /* enum function of whoever includes this */
	__u32 begun;
};

struct calls {
	struct call of[KINDS];
};

/* By thread: calls that have not returned. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct calls);
} calls SEC(".maps");

static __always_inline struct calls *own_calls(void)
{
	__u32 thread = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&calls, &thread);
}

static __always_inline int begins(enum under_way kind, __u32 function, __u64 a, __u64 b, __u64 c, __u64 d)
{
	struct call call = { .args = { a, b, c, d }, .function = function, .begun = 1 };
	struct calls *known = own_calls(), fresh = {};
	__u32 thread = bpf_get_current_pid_tgid();

	if (known) {
		if (known->of[kind].begun && (kind == OPENING || kind == CHANGING))
			count_missed();
		known->of[kind] = call;
	} else {
		fresh.of[kind] = call;
		if (bpf_map_update_elem(&calls, &thread, &fresh, BPF_ANY))
			count_missed();
	}
	return 0;
}

static __always_inline int is_within(enum under_way kind)
{
	struct calls *known = own_calls();

	return known && known->of[kind].begun;
}

#define ANY (~0U)

/* Takes out the call of this kind, if this thread is within one, of this function or of ANY. */
static __always_inline int ends(enum under_way kind, __u32 function, __s64 result, struct call *call)
{
	struct calls *known = own_calls();
	__u32 thread = bpf_get_current_pid_tgid();
	int others = 0;

	if (!known || !known->of[kind].begun || (function != ANY && known->of[kind].function != function))
		return 0;
	*call = known->of[kind];
	call->result = result;
	known->of[kind].begun = 0;
	for (int i = 0; i < KINDS; i++)
		others |= known->of[i].begun;
	if (!others)
		bpf_map_delete_elem(&calls, &thread);
	return 1;
}

/*
 * What the function of an fexit program gave. Where the kernel has no helper for that, it stands behind the function's
 * arguments: `count`, or `count_mapped` where mounts map ids. It is read as memory, to be a plain number.
 */
static __always_inline __s64 returned(__u64 *ctx, int count, int count_mapped)
{
	__u64 value = 0;

	if (has_func_ret())
		bpf_get_func_ret(ctx, &value);
	else if (maps_ids())
		bpf_probe_read_kernel(&value, sizeof(value), ctx + count_mapped);
	else
		bpf_probe_read_kernel(&value, sizeof(value), ctx + count);
	return value;
}

/* Of two arguments the second, where mounts map ids: these stand before it. */
static __always_inline __u64 behind_ids(__u64 one, __u64 next)
{
	barrier_var(one); /* or the compiler makes one load of both, from an address that the verifier does not follow */
	barrier_var(next);
	return maps_ids() ? next : one;
}

/* Whether it is an error, of a function that gives an int, a long or a pointer: what is above an int is not written. */
static __always_inline int is_error(__s64 result)
{
	__u32 above = (__u64)result >> 32;

	return (__s32)result < 0 && (__s32)result >= -4095 && (!above || above == (__u32)-1);
}

/* Argument of a function, by its number; 0: none. */
#define TRACED_0(ctx) 0
#define TRACED_1(ctx) ctx[0]
#define TRACED_2(ctx) ctx[1]
#define TRACED_3(ctx) ctx[2]
#define TRACED_4(ctx) ctx[3]
#define TRACED_5(ctx) ctx[4]
#define PROBED_0(ctx) 0
#define PROBED_1(ctx) PT_REGS_PARM1(ctx)
#define PROBED_2(ctx) PT_REGS_PARM2(ctx)
#define PROBED_3(ctx) PT_REGS_PARM3(ctx)
#define PROBED_4(ctx) PT_REGS_PARM4(ctx)
#define PROBED_5(ctx) PT_REGS_PARM5(ctx)

/*
 * `does(ctx, &call)` when a function returned that has `count` arguments (`count_mapped`: see returned()); `a` to `d`
 * are the numbers, from 1, of those that the call has. `kept(a, b, c, d)` says whether it is of interest, and turns
 * arguments that lie on the caller's stack into what they point to.
 */
#define ON_RETURN(name, kind, count, count_mapped, a, b, c, d, kept, does)                                     \
	SEC("fexit/" #name)                                                                                    \
	int name##_fexit(__u64 *ctx)                                                                           \
	{                                                                                                      \
		struct call call = { .function = FUNCTION_##name };                                            \
													       \
		if (!in_scope())                                                                               \
			return 0;                                                                              \
		call.args[0] = TRACED_##a(ctx);                                                                \
		call.args[1] = TRACED_##b(ctx);                                                                \
		call.args[2] = TRACED_##c(ctx);                                                                \
		call.args[3] = TRACED_##d(ctx);                                                                \
		call.result = returned(ctx, count, count_mapped);                                              \
		return !is_error(call.result) && kept(call.args) ? does(ctx, &call) : 0;                       \
	}                                                                                                      \
	SEC("kprobe/" #name)                                                                                   \
	int name##_kprobe(struct pt_regs *ctx __attribute__((unused)))                                         \
	{                                                                                                      \
		__u64 args[4] = { PROBED_##a(ctx), PROBED_##b(ctx), PROBED_##c(ctx), PROBED_##d(ctx) };        \
													       \
		return in_scope() && kept(args) ?                                                              \
			       begins(kind, FUNCTION_##name, args[0], args[1], args[2], args[3]) :             \
			       0;                                                                              \
	}                                                                                                      \
	SEC("kretprobe/" #name)                                                                                \
	int name##_kretprobe(struct pt_regs *ctx)                                                              \
	{                                                                                                      \
		struct call call;                                                                              \
													       \
		return ends(kind, FUNCTION_##name, PT_REGS_RC(ctx), &call) && !is_error(call.result) ?         \
			       does(ctx, &call) :                                                              \
			       0;                                                                              \
	}
