/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event of Files: who did what to which file; its paths stand behind it. And where it is made.
 */
#pragma once

#include "path.h"

/* What is traced: a program each, or one in each way. */
enum function {
	FUNCTION_do_filp_open,
	FUNCTION_do_file_open,
	FUNCTION_do_file_open_root,
	FUNCTION_fd_install,
	FUNCTION_vm_mmap_pgoff,
	FUNCTION_vfs_truncate,
	FUNCTION_do_truncate,
	FUNCTION_chmod_common,
	FUNCTION_chown_common,
	FUNCTION_vfs_rename,
	FUNCTION_vfs_link,
	FUNCTION_vfs_symlink,
	FUNCTION_vfs_mkdir,
	FUNCTION_vfs_mknod,
	FUNCTION_vfs_create,
	FUNCTION_vfs_unlink,
	FUNCTION_d_delete,
	FUNCTION_vfs_read,
	FUNCTION_vfs_readv,
	FUNCTION_vfs_write,
	FUNCTION_vfs_writev,
	FUNCTION_do_splice,
	FUNCTION_do_splice_direct,
	FUNCTION_splice_file_to_pipe,
	FUNCTION_vfs_copy_file_range,
	FUNCTION_system_call, /* any, when it returns */
	FUNCTION_uring,       /* a request of io_uring, when it is complete */
	FUNCTION_io_read,
	FUNCTION_io_write,
	FUNCTION_io_req_rw_complete,
	FUNCTIONS,
};

enum kind {
	OPENED,
	MAPPED,
	RENAMED,
	LINKED,
	CREATED,
	DELETED,
	MODE,
	OWNER,
	TRUNCATED,
	NAMED, /* whose the counts are, of what is read and written */
};

enum mark {
	IS_CUT = 1,
	IS_DELETED = 2, /* there is no entry for it any more, or there never was */
	IS_NEW = 4,
	NEW_IS_CUT = 8, /* the new path */
};

/* The first two tell files of one inode apart: a mount, and an entry of a directory. */
struct file_of {
	__u64 mnt, dentry, inode;
	__u64 began; /* the process; in ns since boot */
	__u32 pid;
	__u32 device;
};

struct access {
	struct process process;
	struct file_of file;
	__u64 size;      /* TRUNCATED: what it has now */
	__u32 kind;
	__u32 marks;
	__u32 detail[2]; /* OPENED: flags. MAPPED: protection, flags. CREATED, MODE: mode. OWNER: user, group */
	__u32 path;      /* bytes of the path's names; those of the new path follow */
	__u32 unused;
	__u32 captured;  /* of both */
	__u32 payload;   /* 0 */
};

EVENT(access);

#define TWO_PATHS (2 * PATH_BYTES)
#define WALK_MAX 2048 /* a power of two: the names that have room in PATH_BYTES */
#define NOWHERE 2     /* enum end: in no directory, as a pipe or a memory file */

#define SHORT_BYTES 24 /* of nearly all names: to look for one costs as much as the key is long */

struct name {
	__u64 above; /* number of the directory that it is in; the root's is 0 */
	char name[SHORT_BYTES];
};

struct long_name {
	__u64 above;
	char name[NAME_BYTES];
};

/* A walk is done in map memory: of what stands there the verifier knows nothing, so its turns are alike to it. */
struct walk {
	__u64 mount, dentry; /* where it is; */
	__u64 root;          /* of the mount */
	__u32 size;          /* of the text so far */
	__u32 bytes;         /* of this path's names in it, */
	__u32 count;         /* how many they are, */
	__u32 end;
	__u32 place;         /* verdict of the nearest directory that is known by what it is, */
	__u32 place_at;      /* and how many names are below it */
	__u32 best, best_at; /* the same of the nearest that is known by its path */
	__u32 node;          /* number of the last that was found by its path, */
	__u32 left;          /* and how many names are below it */
	struct name key;
	struct long_name long_key;
	__u16 begins[WALK_MAX]; /* where in the text each name begins */
};

struct slot {
	struct walk walk;
	struct access access;
	char text[TWO_PATHS + NAME_BYTES];
};

/*
 * Events are larger than the stack. Each program has its own slot: on some kernels one may be interrupted by others on
 * the same CPU, but never by itself (such runs are left out, and counted as recursion_misses).
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FUNCTIONS);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

/* An event about nothing yet. */
static __always_inline struct slot *new_event(__u32 function)
{
	struct slot *s = bpf_map_lookup_elem(&slots, &function);

	if (s) {
		__builtin_memset(&s->access, 0, sizeof(s->access));
		s->walk.size = 0;
	}
	return s;
}

/*
 * Which file, of this process. Where `inode` came from an argument of fexit (`typed`), the verifier knows what it points
 * to, and lets it be loaded from, which is cheaper than a call.
 */
static __always_inline void identify(struct file_of *file, struct vfsmount *mnt, struct dentry *dentry,
				     struct inode *inode, int typed)
{
	file->mnt = (__u64)mnt;
	file->dentry = (__u64)dentry;
	file->inode = FIELD(typed, inode, i_ino);
	file->device = typed ? inode->i_sb->s_dev : BPF_CORE_READ(inode, i_sb, s_dev);
	file->began = own_began();
	file->pid = bpf_get_current_pid_tgid() >> 32;
}

/* As the kernel itself tells it in /proc: d_unlinked() of linux/dcache.h. */
static __always_inline __u32 marks_of(const struct walk *w, struct dentry *dentry)
{
	__u32 marks = w->end == CUT ? IS_CUT : 0;

	if (!BPF_CORE_READ(dentry, d_hash.pprev) && BPF_CORE_READ(dentry, d_parent) != dentry)
		marks |= IS_DELETED;
	return marks;
}

/* Hands over a slot's event, which is whole but for when and who; gives the kernel's error. */
static __always_inline long tell(void *ctx, struct slot *s, enum kind kind)
{
	struct access *a = &s->access;
	__u64 size = s->walk.size;
	long error;

	barrier_var(size);
	if (size > TWO_PATHS) /* the verifier does not know that it cannot be */
		return 0;
	read_process(&a->process);
	a->kind = kind;
	a->captured = size;
	error = bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, a, sizeof(*a) + size);
	count_output(error);
	return error;
}
