/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of directories: entries that are renamed, linked, made and deleted.
 *
 * The functions that change them know no mount, so no path; the security hooks before them do, but not how it ends. So
 * a hook notes what its thread is about to change, and the function tells it when it has. File systems that lie on
 * others (overlayfs) call the same functions again, for what is below: these calls are within the first.
 */
#pragma once

#include "traced.h"
#include "watched.h"

struct change {
	__u32 function; /* the one that is to come */
	__u32 depth;    /* calls of it within each other */
	__u64 mnt;
	__u64 dentry;   /* of the file */
	__u64 other;    /* RENAMED: what was there before. LINKED: the new entry */
	__u64 folder;   /* RENAMED: where it was before, */
	char name[NAME_BYTES]; /* and its name there */
	__u64 inode;
	__u32 device;
	__u32 flags;    /* RENAMED: of renameat2(2) */
};

/* By thread. A function need not follow on its hook. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct change);
} changes SEC(".maps");

static __always_inline struct change *changing(__u32 function)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct change *c = bpf_map_lookup_elem(&changes, &thread);

	return c && c->function == function ? c : 0;
}

static __always_inline void note(__u32 function, struct path *folder, struct dentry *dentry, struct dentry *other,
				 __u32 flags)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct change c = {};
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);

	c.function = function;
	c.mnt = (__u64)BPF_CORE_READ(folder, mnt);
	c.folder = (__u64)BPF_CORE_READ(folder, dentry);
	c.dentry = (__u64)dentry;
	c.other = (__u64)other;
	c.flags = flags;
	c.inode = BPF_CORE_READ(inode, i_ino);
	c.device = BPF_CORE_READ(inode, i_sb, s_dev);
	if (function == FUNCTION_vfs_rename)
		bpf_probe_read_kernel_str(c.name, sizeof(c.name), BPF_CORE_READ(dentry, d_name.name));
	bpf_map_update_elem(&changes, &thread, &c, BPF_ANY);
}

/* An event about a change, its first path being that of this entry; `seen`: whether it is to be seen. */
static __always_inline struct slot *first_path(__u32 function, const struct change *c, __u64 dentry, const char *name,
					       int *seen)
{
	struct slot *s = new_event(function);

	if (!s)
		return 0;
	walk_from(s, c->mnt, dentry);
	if (name)
		append_name(s, name);
	*seen = walk(function);
	s->access.path = s->walk.bytes;
	s->access.marks = s->walk.end == CUT ? IS_CUT : 0;
	return s;
}

static __always_inline void second_path(struct slot *s, __u32 function, __u64 mnt, __u64 dentry, int *seen)
{
	walk_from(s, mnt, dentry);
	*seen |= walk(function);
	if (s->walk.end == CUT)
		s->access.marks |= NEW_IS_CUT;
}

static __always_inline void tell_change(void *ctx, struct slot *s, const struct change *c, __u64 dentry,
					enum kind kind)
{
	struct inode *inode = BPF_CORE_READ((struct dentry *)dentry, d_inode);

	identify(&s->access.file, (void *)c->mnt, (void *)dentry, inode, 0);
	if (!inode) { /* it is gone */
		s->access.file.inode = c->inode;
		s->access.file.device = c->device;
	}
	s->access.detail[0] = kind == CREATED ? BPF_CORE_READ(inode, i_mode) : c->flags;
	tell(ctx, s, kind);
}

static __always_inline void tell_entry(void *ctx, __u32 function, const struct change *c, enum kind kind)
{
	struct slot *s;
	int seen;

	s = first_path(function, c, c->dentry, 0, &seen);
	if (s && seen)
		tell_change(ctx, s, c, c->dentry, kind);
}

static __always_inline void tell_linked(void *ctx, __u32 function, const struct change *c)
{
	struct slot *s;
	int seen;

	s = first_path(function, c, c->dentry, 0, &seen);
	if (!s)
		return;
	second_path(s, function, c->mnt, c->other, &seen);
	if (seen)
		tell_change(ctx, s, c, c->dentry, LINKED);
}

#define EXCHANGES 2 /* RENAME_EXCHANGE of linux/fs.h */

static __always_inline void tell_renamed(void *ctx, __u32 function, const struct change *c)
{
	struct slot *s;
	int seen;

	s = first_path(function, c, c->folder, c->name, &seen);
	if (!s)
		return;
	second_path(s, function, c->mnt, c->dentry, &seen);
	if (seen)
		tell_change(ctx, s, c, c->dentry, RENAMED);
	if (!(c->flags & EXCHANGES))
		return;
	s = first_path(function, c, c->dentry, 0, &seen); /* the other one was where this is now */
	if (!s)
		return;
	second_path(s, function, c->mnt, c->other, &seen);
	if (seen)
		tell_change(ctx, s, c, c->other, RENAMED);
}

static __always_inline int change_begins(__u32 function)
{
	struct change *c = changing(function);

	if (c)
		c->depth++;
	return 0;
}

static __always_inline int change_ends(void *ctx, __u32 function, __s64 result)
{
	struct change *c = changing(function);
	__u32 thread = bpf_get_current_pid_tgid();

	if (!c || --c->depth)
		return 0;
	if (!is_error(result)) {
		switch (function) {
		case FUNCTION_vfs_rename:
			tell_renamed(ctx, function, c);
			break;
		case FUNCTION_vfs_link:
			tell_linked(ctx, function, c);
			break;
		case FUNCTION_vfs_unlink:
		case FUNCTION_vfs_rmdir:
			tell_entry(ctx, function, c, DELETED);
			break;
		default:
			tell_entry(ctx, function, c, CREATED);
		}
	}
	bpf_map_delete_elem(&changes, &thread);
	return 0;
}

/* Where the compiler put vfs_rmdir() into its callers (Linux 5.10): the last that it does, if it succeeds. */
static __always_inline int entry_goes(void *ctx, __u64 dentry)
{
	struct change *c = changing(FUNCTION_vfs_rmdir);
	__u32 thread = bpf_get_current_pid_tgid();

	if (!c || c->depth || c->dentry != dentry)
		return 0;
	tell_entry(ctx, FUNCTION_vfs_rmdir, c, DELETED);
	bpf_map_delete_elem(&changes, &thread);
	return 0;
}

/*
 * A hook of `count` arguments notes what `function` is about to change, if it allows it; `folder`, `dentry`, `other`
 * and `flags` are numbers of its arguments. A kprobe there is too early to know whether it does.
 */
#define ON_HOOK(hook, count, function, folder, dentry, other, flags)                                           \
	SEC("fexit/" #hook)                                                                                    \
	int hook##_fexit(__u64 *ctx)                                                                           \
	{                                                                                                      \
		if (in_scope() && !(__s32)returned(ctx, count, count))                                                \
			note(FUNCTION_##function, (void *)TRACED_##folder(ctx), (void *)TRACED_##dentry(ctx),  \
			     (void *)TRACED_##other(ctx), TRACED_##flags(ctx));                                \
		return 0;                                                                                      \
	}                                                                                                      \
	SEC("kprobe/" #hook)                                                                                   \
	int hook##_kprobe(struct pt_regs *ctx)                                                                 \
	{                                                                                                      \
		if (in_scope())                                                                                \
			note(FUNCTION_##function, (void *)PROBED_##folder(ctx), (void *)PROBED_##dentry(ctx),  \
			     (void *)PROBED_##other(ctx), PROBED_##flags(ctx));                                \
		return 0;                                                                                      \
	}

#define ON_CHANGE(function, count, count_mapped)                                                               \
	SEC("fentry/" #function)                                                                               \
	int function##_fentry(__u64 *ctx __attribute__((unused)))                                             \
	{                                                                                                      \
		return change_begins(FUNCTION_##function);                                                     \
	}                                                                                                      \
	SEC("fexit/" #function)                                                                                \
	int function##_fexit(__u64 *ctx)                                                                       \
	{                                                                                                      \
		return change_ends(ctx, FUNCTION_##function, returned(ctx, count, count_mapped));              \
	}                                                                                                      \
	SEC("kprobe/" #function)                                                                               \
	int function##_kprobe(struct pt_regs *ctx __attribute__((unused)))                                     \
	{                                                                                                      \
		return change_begins(FUNCTION_##function);                                                     \
	}                                                                                                      \
	SEC("kretprobe/" #function)                                                                            \
	int function##_kretprobe(struct pt_regs *ctx)                                                          \
	{                                                                                                      \
		return change_ends(ctx, FUNCTION_##function, PT_REGS_RC(ctx));                                 \
	}
