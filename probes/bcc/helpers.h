/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a probe is written with, where BCC compiles it on the host that runs it: BCC has declared the helpers already.
 * Its own rewriting of C is not used: it reads nothing that is included. Maps and programs are libbpf's kind, as in core/,
 * and what is read of the kernel is where this kernel's headers say.
 */
#pragma once

#include <uapi/linux/bpf.h>

/* Attributes by names that the kernel's headers leave alone */
#undef __noinline
#define __noinline __attribute__((__noinline__))

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, type) typeof(type) *name
#define __array(name, type) typeof(type) *name[]

/* A value that the compiler must not look through. */
#undef barrier_var
#define barrier_var(value) asm volatile("" : "=r"(value) : "0"(value))

/* The names of libbpf's bpf_core_read.h, up to as many steps as probes take. */
#define bpf_core_type_size(type) sizeof(type)
#define READ_1(from, a)                                                        \
	({                                                                     \
		typeof((from)->a) read_;                                       \
		bpf_probe_read_kernel((void *)&read_, sizeof(read_), &(from)->a); \
		read_;                                                         \
	})
#define READ_2(from, a, b) READ_1(READ_1(from, a), b)
#define READ_3(from, a, b, c) READ_1(READ_2(from, a, b), c)
#define READ_4(from, a, b, c, d) READ_1(READ_3(from, a, b, c), d)
#define READ_BY_COUNT(a, b, c, d, which, ...) which
#define BPF_CORE_READ(from, ...) \
	READ_BY_COUNT(__VA_ARGS__, READ_4, READ_3, READ_2, READ_1)(from, __VA_ARGS__)
#define BPF_CORE_READ_INTO(to, from, a) bpf_probe_read_kernel(to, sizeof(*(to)), &(from)->a)

/* Those of its bpf_tracing.h: BCC has BPF_PROG, but writes its type. */
#undef BPF_PROG
#define BPF_PROG(name, args...)                                                \
	name(unsigned long long *ctx);                                         \
	static __always_inline int name##_(unsigned long long *ctx, ##args);   \
	int name(unsigned long long *ctx)                                      \
	{                                                                      \
		_Pragma("GCC diagnostic push")                                 \
		_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")         \
		return name##_(___bpf_ctx_cast(args));                         \
		_Pragma("GCC diagnostic pop")                                  \
	}                                                                      \
	static __always_inline int name##_(unsigned long long *ctx, ##args)

#define PROBE_ARGS_0() ctx
#define PROBE_ARGS_1(x) PROBE_ARGS_0(), (void *)PT_REGS_PARM1(ctx)
#define PROBE_ARGS_2(x, args...) PROBE_ARGS_1(args), (void *)PT_REGS_PARM2(ctx)
#define PROBE_ARGS_3(x, args...) PROBE_ARGS_2(args), (void *)PT_REGS_PARM3(ctx)
#define PROBE_ARGS(args...) ___bpf_apply(PROBE_ARGS_, ___bpf_narg(args))(args)
#define BPF_KPROBE(name, args...)                                              \
	name(struct pt_regs *ctx);                                             \
	static __always_inline int name##_(struct pt_regs *ctx, ##args);       \
	int name(struct pt_regs *ctx)                                          \
	{                                                                      \
		return name##_(PROBE_ARGS(args));                              \
	}                                                                      \
	static __always_inline int name##_(struct pt_regs *ctx, ##args)
#define BPF_KRETPROBE(name, result)                                            \
	name(struct pt_regs *ctx);                                             \
	static __always_inline int name##_(struct pt_regs *ctx, result);       \
	int name(struct pt_regs *ctx)                                          \
	{                                                                      \
		return name##_(ctx, PT_REGS_RC(ctx));                          \
	}                                                                      \
	static __always_inline int name##_(struct pt_regs *ctx, result)
