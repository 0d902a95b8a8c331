/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's own structs, from its headers. Two are in none of them: what is read of these has stood where it is since
 * long before 5.10. And how this kernel differs from others: the loader defines HAS_NAME where its headers have that name.
 */
#pragma once

#include "../portable.h"

#include <linux/bvec.h>
#include <linux/cgroup-defs.h>
#include <linux/dcache.h>
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/kernfs.h>
#include <linux/mount.h>
#include <linux/nsproxy.h>
#include <linux/pid.h>
#include <linux/pipe_fs_i.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/tty.h>
#include <linux/uio.h>

/* Macros whose names the probes have for themselves */
#undef READ
#undef MASK

struct mount { /* fs/mount.h */
	struct hlist_node mnt_hash;
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	unsigned long others[21]; /* kernels that have more or fewer have no error behind them */
	void *mnt_ns;
};

struct open_flags { /* fs/internal.h */
	int open_flag;
};

struct bpf_iter__task_file { /* kernel/bpf/task_iter.c; each is as the verifier knows it */
	void *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#if HAS_cqe
#include <linux/io_uring_types.h>
#else
struct io_kiocb {
	struct file *file;
	__u8 opcode;
	__u32 flags;
	struct {
		__s32 res;
	} cqe;
};
#endif

#define bpf_core_field_offset(type, field) offsetof(type, field)

static __always_inline int has_ancestor_ids(void)
{
	return HAS_ancestor_ids;
}

static __always_inline __u64 *ancestor_ids_of(struct cgroup *cgroup)
{
#if HAS_ancestor_ids
	return cgroup->ancestor_ids;
#else
	return (void *)cgroup;
#endif
}

static __always_inline struct cgroup *parent_of(struct cgroup *cgroup)
{
	void *above = BPF_CORE_READ(cgroup, self.parent);

	return above ? above - offsetof(struct cgroup, self) : 0;
}

static __always_inline __u64 ancestor_id(struct cgroup *cgroup, __u32 level)
{
#if HAS_ancestor_ids
	return BPF_CORE_READ(cgroup, ancestor_ids[level]);
#else
	return BPF_CORE_READ(cgroup, ancestors[level], kn, id);
#endif
}

static __always_inline int maps_ids(void)
{
	return HAS_mnt_userns || HAS_mnt_idmap;
}

/* Where BCC compiles there may be no BTF to know it by. */
#define bpf_get_current_task_btf() ((struct task_struct *)bpf_get_current_task())

static __always_inline int has_task_btf(void)
{
	return 0;
}

#if !HAS_old_dentry
struct renamedata {
	struct dentry *old_dentry;
};
#endif

static __always_inline int renames_by_struct(void)
{
	return HAS_old_dentry;
}

static __always_inline __u32 syscall_of(struct pt_regs *regs)
{
#if defined(CONFIG_ARM64)
	return BPF_CORE_READ(regs, syscallno);
#else
	return BPF_CORE_READ(regs, orig_ax);
#endif
}

static __always_inline int has_func_ret(void)
{
	return HAS_get_func_ret;
}

static __always_inline int names_requests(void)
{
	return HAS_cqe;
}

/* Whether the system call that the current thread is in was made as 32-bit programs make it. */
static __always_inline int is_compat(struct task_struct *task)
{
#if defined(TS_COMPAT)
	return (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT) != 0;
#elif defined(_TIF_32BIT)
	return (BPF_CORE_READ(task, thread_info.flags) & _TIF_32BIT) != 0;
#else
	return 0;
#endif
}

/* What a write is made of. Before 5.14 the kinds are bits, and there are others beside them. */
static __always_inline __u32 iter_kind(struct iov_iter *iter)
{
#if HAS_iter_type
	return BPF_CORE_READ(iter, iter_type);
#else
	return BPF_CORE_READ(iter, type);
#endif
}

#define IS_KIND(kind, one) (HAS_iter_type ? (kind) == (one) : (kind) & (one))

static __always_inline int is_user_range(__u32 kind)
{
#if HAS_ITER_UBUF
	return IS_KIND(kind, ITER_UBUF);
#else
	return 0;
#endif
}

static __always_inline int is_vector(__u32 kind)
{
	return IS_KIND(kind, ITER_IOVEC);
}

static __always_inline int is_pages(__u32 kind)
{
	return IS_KIND(kind, ITER_BVEC);
}

static __always_inline __u64 user_range_of(struct iov_iter *iter)
{
#if HAS_ITER_UBUF
	return (__u64)BPF_CORE_READ(iter, ubuf);
#else
	return 0;
#endif
}

static __always_inline __u64 vector_of(struct iov_iter *iter)
{
#if HAS___iov
	return (__u64)BPF_CORE_READ(iter, __iov);
#else
	return (__u64)BPF_CORE_READ(iter, iov);
#endif
}
