/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Functions of the kernel that are traced when they return, with up to four of their arguments and what they gave; each
 * in both ways. fexit has all of that at hand. A kretprobe has not the arguments: a kprobe keeps them until then.
 */
#pragma once

#include "task.h"

/* One call of a function. Structs that arguments point to are the caller's, and are there until it has returned. */
struct call {
	__u64 args[4];
	__s64 result;
	__u32 function; /* enum function of whoever includes this */
	__u32 unused;
};

struct call_of {
	__u32 thread;
	__u32 function;
};

/* Calls that have not returned. A kretprobe can be missed, so what it would have taken out must be able to fall out. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct call_of);
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline struct call_of call_of(__u32 function)
{
	struct call_of key = { .thread = bpf_get_current_pid_tgid(), .function = function };

	return key;
}

static __always_inline int begins(__u32 function, __u64 a, __u64 b, __u64 c, __u64 d)
{
	struct call_of key = call_of(function);
	struct call call = { .args = { a, b, c, d } };

	if (in_scope())
		bpf_map_update_elem(&calls, &key, &call, BPF_ANY);
	return 0;
}

/* Whether this thread is within the function, where begins() was told of it. */
static __always_inline int is_within(__u32 function)
{
	struct call_of key = call_of(function);

	return bpf_map_lookup_elem(&calls, &key) != 0;
}

static __always_inline int ends(__u32 function, __s64 result, struct call *call)
{
	struct call_of key = call_of(function);
	struct call *begun = bpf_map_lookup_elem(&calls, &key);

	if (!begun)
		return 0;
	*call = *begun;
	call->result = result;
	call->function = function;
	bpf_map_delete_elem(&calls, &key);
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
 * are the numbers, from 1, of those that the call tells.
 */
#define ON_RETURN(name, count, count_mapped, a, b, c, d, does)                                                 \
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
		return does(ctx, &call);                                                                       \
	}                                                                                                      \
	SEC("kprobe/" #name)                                                                                   \
	int name##_kprobe(struct pt_regs *ctx)                                                                 \
	{                                                                                                      \
		return begins(FUNCTION_##name, PROBED_##a(ctx), PROBED_##b(ctx), PROBED_##c(ctx),              \
			      PROBED_##d(ctx));                                                                \
	}                                                                                                      \
	SEC("kretprobe/" #name)                                                                                \
	int name##_kretprobe(struct pt_regs *ctx)                                                              \
	{                                                                                                      \
		struct call call;                                                                              \
													       \
		return ends(FUNCTION_##name, PT_REGS_RC(ctx), &call) ? does(ctx, &call) : 0;                   \
	}
