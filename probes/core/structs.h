/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's own structs, declared as far as probes read them; their offsets are those of the running kernel's BTF.
 * And how it differs from others, in what its BTF says.
 */
#pragma once

#include "../portable.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct upid {
	int nr;
	void *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct atomic {
	int counter;
};

struct signal_struct {
	struct atomic live;
	int leader;
	int group_exit_code;
	unsigned int flags;
};

struct super_block {
	__u32 s_dev;
};

struct inode {
	unsigned short i_mode;
	__u32 i_rdev;
	unsigned long i_ino;
	long long i_size;
	struct super_block *i_sb;
};

struct qstr {
	__u32 len;
	const unsigned char *name;
};

struct hlist_bl_node {
	void *pprev;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct hlist_bl_node d_hash;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	void *mnt_ns;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_flags, f_mode;
	void *private_data;
};

struct open_flags {
	int open_flag;
};

struct fs_struct {
	struct path pwd;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct mm_struct {
	unsigned long arg_start, arg_end;
	struct file *exe_file;
};

struct kernfs_node {
	const char *name;
	__u64 id;
};

struct cgroup_subsys_state {
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	int level;
	struct kernfs_node *kn;
	__u64 ancestor_ids[1];	     /* before 6.1 */
	struct cgroup *ancestors[1]; /* since then */
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct thread_info {
	unsigned long flags;
	__u32 status; /* of x86 */
};

struct kuid {
	__u32 val;
};

struct cred {
	struct kuid uid;
};

struct nsproxy {
	void *mnt_ns;
	void *net_ns;
};

struct proto_accept_arg { /* since 6.10 */
	int flags;
};

struct task_struct {
	struct thread_info thread_info;
	int pid, tgid;
	int exit_code;
	char comm[16];
	__u64 start_boottime;
	__u64 self_exec_id;
	struct task_struct *group_leader, *real_parent;
	struct pid *thread_pid;
	struct signal_struct *signal;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	const struct cred *cred;
};

struct tty_struct {
	void *driver_data;
};

struct tty_file_private {
	struct tty_struct *tty;
};

struct kiocb {
	struct file *ki_filp;
};

struct iovec {
	void *iov_base;
	unsigned long iov_len;
};

struct page {
	unsigned long flags;
};

struct bio_vec {
	struct page *bv_page;
	unsigned int bv_len;
	unsigned int bv_offset;
};

struct iov_iter {
	__u8 iter_type; /* before 5.14: `type`, with other bits */
	unsigned long iov_offset;
	unsigned long count;
	const struct iovec *__iov; /* before 6.4: `iov` */
	const struct bio_vec *bvec;
	void *ubuf; /* from 6.0 on */
	unsigned long nr_segs;
};

struct iov_iter___old {
	unsigned int type;
	const struct iovec *iov;
};

enum iter_type {
	ITER_IOVEC = 100,
	ITER_BVEC,
	ITER_UBUF,
};

struct pipe_buffer {
	struct page *page;
	unsigned int offset;
	unsigned int len;
};

struct pipe_inode_info {
	unsigned int head;
	unsigned int ring_size;
	unsigned int files;
	struct pipe_buffer *bufs;
};

struct io_cqe {
	__s32 res;
};

struct io_kiocb {
	struct file *file;
	__u8 opcode;
	__u32 flags; /* of newer kernels the lower half */
	struct io_cqe cqe; /* since 5.19 */
};

struct renamedata {
	struct dentry *old_dentry;
};

struct pt_regs___x86 {
	unsigned long orig_ax;
};

struct pt_regs___arm64 {
	__s32 syscallno;
};

struct vfsmount___userns {
	void *mnt_userns;
};

struct vfsmount___idmap {
	void *mnt_idmap;
};

struct bpf_iter__task_file {
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/* Whether a cgroup has its ancestors' ids in it. */
static __always_inline int has_ancestor_ids(void)
{
	return bpf_core_field_exists(((struct cgroup *)0)->ancestor_ids);
}

static __always_inline __u64 *ancestor_ids_of(struct cgroup *cgroup)
{
	return (void *)cgroup + bpf_core_field_offset(cgroup->ancestor_ids);
}

/* The cgroup above; 0 above the root. */
static __always_inline struct cgroup *parent_of(struct cgroup *cgroup)
{
	void *above = BPF_CORE_READ(cgroup, self.parent);

	return above ? above - bpf_core_field_offset(cgroup->self) : 0;
}

/* The id of the cgroup that is so far below the root, and has this one below it. */
static __always_inline __u64 ancestor_id(struct cgroup *cgroup, __u32 level)
{
	struct cgroup *ancestor = 0;
	__u64 id = 0;

	if (has_ancestor_ids()) {
		bpf_probe_read_kernel(&id, sizeof(id), ancestor_ids_of(cgroup) + level);
		return id;
	}
	bpf_probe_read_kernel(&ancestor, sizeof(ancestor),
			      (void *)cgroup + bpf_core_field_offset(cgroup->ancestors) + level * sizeof(ancestor));
	return BPF_CORE_READ(ancestor, kn, id);
}

/* Whether mounts can map user ids: then some functions of the file system have one argument more, the first. */
static __always_inline int maps_ids(void)
{
	struct vfsmount___userns *userns = 0;
	struct vfsmount___idmap *idmap = 0;

	return bpf_core_field_exists(userns->mnt_userns) || bpf_core_field_exists(idmap->mnt_idmap);
}

/* Whether there is a helper that gives the current task so that the verifier knows what it is, and lets it be loaded from. */
static __always_inline int has_task_btf(void)
{
	return bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf);
}

/* Whether what vfs_rename() is to do stands in a struct. */
static __always_inline int renames_by_struct(void)
{
	return bpf_core_type_exists(struct renamedata);
}

/* The system call that returns with these registers. */
static __always_inline __u32 syscall_of(void *regs)
{
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;

	if (bpf_core_field_exists(x86->orig_ax))
		return BPF_CORE_READ(x86, orig_ax);
	return BPF_CORE_READ(arm64, syscallno);
}

/* Whether there is a helper that gives what a function returned. */
static __always_inline int has_func_ret(void)
{
	return bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_func_ret);
}

/* Whether the tracepoint of io_uring's completions names the request. */
static __always_inline int names_requests(void)
{
	return bpf_core_field_exists(((struct io_kiocb *)0)->cqe);
}

/* Whether the system call that the current thread is in was made as 32-bit programs make it. */
static __always_inline int is_compat(struct task_struct *task)
{
	if (bpf_core_field_exists(task->thread_info.status))
		return (BPF_CORE_READ(task, thread_info.status) & 2) != 0; /* TS_COMPAT */
	return (BPF_CORE_READ(task, thread_info.flags) & 1 << 22) != 0;	   /* _TIF_32BIT of arm64 */
}

static __always_inline __u32 iter_kind(struct iov_iter *iter)
{
	return bpf_core_field_exists(iter->iter_type) ? BPF_CORE_READ(iter, iter_type) :
							BPF_CORE_READ((struct iov_iter___old *)iter, type);
}

/* Before 5.14 the kinds are bits, and there are others beside them. */
#define IS_KIND(kind, one)                                                                             \
	(bpf_core_enum_value_exists(enum iter_type, one) &&                                            \
	 (bpf_core_field_exists(((struct iov_iter *)0)->iter_type) ?                                   \
		  (kind) == bpf_core_enum_value(enum iter_type, one) :                                 \
		  (kind) & bpf_core_enum_value(enum iter_type, one)))

static __always_inline int is_user_range(__u32 kind)
{
	return IS_KIND(kind, ITER_UBUF);
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
	return (__u64)BPF_CORE_READ(iter, ubuf);
}

static __always_inline __u64 vector_of(struct iov_iter *iter)
{
	return bpf_core_field_exists(iter->__iov) ? (__u64)BPF_CORE_READ(iter, __iov) :
						    (__u64)BPF_CORE_READ((struct iov_iter___old *)iter, iov);
}
