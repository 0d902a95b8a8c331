/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes of directories: entries that are renamed, linked, made and deleted.
 *
 * The functions that change them know no mount, so no path; the security hooks before them do, but not how it ends. So
 * a hook notes what its thread is about to change, and it is reported when the function has done that. File systems that
 * lie on others (overlayfs) call the same functions again, for entries below: theirs is another dentry.
 */
#pragma once

#include "traced.h"
#include "watched.h"

struct change {
	__u32 function; /* the one that is to come */
	__u32 depth;    /* kprobes: calls of it within each other, from that with the dentry on */
	__u64 mnt;
	__u64 dentry;   /* of the file */
	__u64 other;    /* RENAMED: what was there before. LINKED: the new entry */
	__u64 folder;   /* RENAMED: where it was before, */
	char name[NAME_BYTES]; /* and its name there, */
	__u32 size;     /* of so many bytes */
	__u32 device;
	__u64 inode;
	__u64 flags;    /* RENAMED: of renameat2(2) */
};

/* By thread. A function need not follow on its hook: then the next note of the thread takes its place. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct change);
} changes SEC(".maps");

static __always_inline struct change *changing(__u32 function)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct change *c = bpf_map_lookup_elem(&changes, &thread);

	return c && (function == ANY || c->function == function) ? c : 0;
}

static __always_inline void changes_no_more(void)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct call call;

	bpf_map_delete_elem(&changes, &thread);
	ends(DIRECTORY, ANY, 0, &call); /* only kprobes begin it */
}

static __always_inline void note(__u32 function, struct path *folder, struct dentry *dentry, struct dentry *other,
				 __u32 flags)
{
	__u32 thread = bpf_get_current_pid_tgid();
	struct change c = {}, *last = changing(ANY);
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);

	if (last && last->depth)
		count_missed();
	c.function = function;
	c.mnt = (__u64)BPF_CORE_READ(folder, mnt);
	c.folder = (__u64)BPF_CORE_READ(folder, dentry);
	c.dentry = (__u64)dentry;
	c.other = (__u64)other;
	c.flags = flags;
	c.inode = BPF_CORE_READ(inode, i_ino);
	c.device = BPF_CORE_READ(inode, i_sb, s_dev);
	if (function == FUNCTION_vfs_rename) {
		c.size = BPF_CORE_READ(dentry, d_name.len);
		bpf_probe_read_kernel(c.name, c.size & (NAME_BYTES - 1), BPF_CORE_READ(dentry, d_name.name));
	}
	if (bpf_map_update_elem(&changes, &thread, &c, BPF_ANY))
		count_missed();
}

/* An event about a change, its first path that of this entry, or of `name` in it; `seen`: whether it is to be seen. */
static __always_inline struct slot *first_path(__u32 function, const struct change *c, __u64 dentry, const char *name,
					       int *seen)
{
	struct slot *s = new_event(function);

	if (!s)
		return 0;
	walk_from(s, c->mnt, dentry);
	if (name)
		append_name(s, name, c->size);
	*seen = walk(function);
	s->access.path = s->walk.bytes;
	s->access.marks = s->walk.end == CUT ? IS_CUT : 0;
	return s;
}

static __always_inline void second_path(struct slot *s, __u32 function, __u64 mnt, __u64 dentry, int *seen)
{
	int is_seen;

	walk_from(s, mnt, dentry);
	is_seen = walk(function);
	if (is_seen && !*seen)
		something_arrived();
	*seen |= is_seen;
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

static __always_inline void tell_entry(void *ctx, __u32 slot, const struct change *c, enum kind kind)
{
	struct slot *s;
	int seen;

	s = first_path(slot, c, c->dentry, 0, &seen);
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

/* `slot`: of the program that reports it. */
static __always_inline void tell_changed(void *ctx, __u32 slot, __u32 function, const struct change *c)
{
	switch (function) {
	case FUNCTION_vfs_rename:
		tell_renamed(ctx, slot, c);
		break;
	case FUNCTION_vfs_link:
		tell_linked(ctx, slot, c);
		break;
	case FUNCTION_vfs_unlink:
	case FUNCTION_d_delete:
		tell_entry(ctx, slot, c, DELETED);
		break;
	default:
		tell_entry(ctx, slot, c, CREATED);
	}
}

/* The function did what was noted, with this dentry, or failed. `slot`: of the program that reports it. */
static __always_inline int changed(void *ctx, __u32 slot, __u32 function, __u64 dentry, __s64 result)
{
	struct change *c = changing(function);

	if (!c || c->dentry != dentry)
		return 0;
	if (!is_error(result))
		tell_changed(ctx, slot, function, c);
	changes_no_more();
	return 0;
}

static __always_inline int change_begins(__u32 function, __u64 dentry)
{
	struct change *c = changing(function);

	if (c && (c->depth || c->dentry == dentry))
		c->depth++;
	return 0;
}

static __always_inline int change_ends(void *ctx, __u32 slot, __u32 function, __s64 result)
{
	struct change *c = changing(function);

	return c && c->depth && !--c->depth ? changed(ctx, slot, function, c->dentry, result) : 0;
}

/* At the end of a system call: what is left was not allowed, or no kretprobe saw its end. */
static __always_inline void change_is_left(void *ctx, __s64 result, int one_thing)
{
	struct change *c = changing(ANY);

	if (!c)
		return;
	if (c->depth && !one_thing)
		count_missed();
	else if (c->depth && !is_error(result))
		tell_changed(ctx, FUNCTION_system_call, c->function, c);
	changes_no_more();
}

/*
 * A hook of `count` arguments notes what `function` is about to change, if it allows it; `folder`, `dentry`, `other`
 * and `flags` are numbers of its arguments. A kprobe there is too early to know whether it does.
 */
#define ON_HOOK(hook, count, function, folder, dentry, other, flags)                                           \
	SEC("fexit/" #hook)                                                                                    \
	int hook##_fexit(__u64 *ctx)                                                                           \
	{                                                                                                      \
		if (in_scope() && !(__s32)returned(ctx, count, count))                                         \
			note(FUNCTION_##function, (void *)TRACED_##folder(ctx), (void *)TRACED_##dentry(ctx),  \
			     (void *)TRACED_##other(ctx), TRACED_##flags(ctx));                                \
		return 0;                                                                                      \
	}                                                                                                      \
	SEC("kprobe/" #hook)                                                                                   \
	int hook##_kprobe(struct pt_regs *ctx)                                                                 \
	{                                                                                                      \
		if (!in_scope())                                                                               \
			return 0;                                                                              \
		note(FUNCTION_##function, (void *)PROBED_##folder(ctx), (void *)PROBED_##dentry(ctx),          \
		     (void *)PROBED_##other(ctx), PROBED_##flags(ctx));                                        \
		return begins(DIRECTORY, FUNCTION_##function, 0, 0, 0, 0);                                     \
	}

/* An argument of a traced function as a plain number: of some the verifier knows no type, and lets none be loaded. */
static __always_inline __u64 argument(__u64 *ctx, int index)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), ctx + index);
	return value;
}

static __always_inline __u64 behind_ids_traced(__u64 *ctx)
{
	return maps_ids() ? argument(ctx, 2) : argument(ctx, 1);
}

static __always_inline __u64 renamed(__u64 first, __u64 second)
{
	return renames_by_struct() ? (__u64)BPF_CORE_READ((struct renamedata *)first, old_dentry) : second;
}

/* Of two arguments that which was noted. */
static __always_inline __u64 noted(__u64 one, __u64 other)
{
	struct change *c = changing(ANY);

	return c && c->dentry == other ? other : one;
}

/*
 * Which argument is the entry that is changed: the first, the second (where mounts map ids, these stand before it), the
 * second or the third (newer kernels than those that brought the ids left out the folder before it) ...
 */
#define FIRST_TRACED(ctx) argument(ctx, 0)
#define FIRST_PROBED(ctx) PROBED_1(ctx)
#define SECOND_TRACED(ctx) behind_ids_traced(ctx)
#define SECOND_PROBED(ctx) behind_ids(PROBED_2(ctx), PROBED_3(ctx))
#define SECOND_OR_THIRD_TRACED(ctx) noted(argument(ctx, 1), argument(ctx, 2))
#define SECOND_OR_THIRD_PROBED(ctx) noted(PROBED_2(ctx), PROBED_3(ctx))
#define OF_RENAME_TRACED(ctx) renamed(argument(ctx, 0), argument(ctx, 1))
#define OF_RENAME_PROBED(ctx) renamed(PROBED_1(ctx), PROBED_2(ctx))

#define ON_CHANGE(function, count, count_mapped, entry) ON_CHANGE_OF(function, function, count, count_mapped, entry)

/* `done`: another function by which the change may be made that was noted as `function`. */
#define ON_CHANGE_OF(function, done, count, count_mapped, entry)                                               \
	SEC("fexit/" #done)                                                                                    \
	int done##_fexit(__u64 *ctx)                                                                           \
	{                                                                                                      \
		return changed(ctx, FUNCTION_##done, FUNCTION_##function, entry##_TRACED(ctx),                 \
			       returned(ctx, count, count_mapped));                                            \
	}                                                                                                      \
	SEC("kprobe/" #done)                                                                                   \
	int done##_kprobe(struct pt_regs *ctx)                                                                 \
	{                                                                                                      \
		return change_begins(FUNCTION_##function, entry##_PROBED(ctx));                                 \
	}                                                                                                      \
	SEC("kretprobe/" #done)                                                                                \
	int done##_kretprobe(struct pt_regs *ctx)                                                              \
	{                                                                                                      \
		return change_ends(ctx, FUNCTION_##done, FUNCTION_##function, PT_REGS_RC(ctx));                 \
	}
