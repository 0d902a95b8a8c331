/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether a file is to be seen, and its path: one walk from its entry up to the root of its mount namespace.
 *
 * Rules are about directories: watch, or ignore. The nearest to the file decides. A directory is found in two ways. By
 * its path as it is in the process's own mount namespace: the names of the rules are a tree, which is followed from the
 * root down, so a container's own /etc is found, and only whole equal names are. And by what it is, device and inode:
 * so it is found wherever else it is mounted, too.
 */
#pragma once

#include "access.h"

#define DEPTH_MAX 128 /* names in a rule: checked by the settings */

/*
 * A walk is done in parts, each by a function that is not inlined: the verifier goes through such a function once,
 * however often it is called, but then through every turn of its loop.
 */
#define TURNS 16
#define UP_MAX (WALK_MAX / TURNS + 4) /* it also goes across mounts */
#define DOWN_MAX (DEPTH_MAX / TURNS)

enum verdict {
	UNSAID,
	WATCH,
	IGNORE,
};

struct rules {
	__u64 inodes;  /* bit (inode % 64) is set for each of `places`: most inodes need no look there */
	__u32 root;    /* verdict for / */
	__u32 deeper;  /* whether there are others */
	__u64 reading; /* how often counts were read: verdicts are kept so long */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rules);
} rules SEC(".maps");

struct rule {
	__u32 number;
	__u32 verdict;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct name);
	__type(value, struct rule);
} names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct long_name);
	__type(value, struct rule);
} long_names SEC(".maps");

struct place {
	__u64 inode;
	__u32 device;
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct place);
	__type(value, __u32);
} places SEC(".maps");

/* How often something was moved into a directory that is watched: then it is not known any more which files are not. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrivals SEC(".maps");

static __always_inline void something_arrived(void)
{
	__u32 zero = 0;
	__u64 *times = bpf_map_lookup_elem(&arrivals, &zero);

	if (times)
		__sync_fetch_and_add(times, 1);
}

static __always_inline void look_at_place(struct walk *w, struct rules *r, struct inode *inode)
{
	struct place place = { .inode = BPF_CORE_READ(inode, i_ino) };
	__u32 *verdict;

	if (!(r->inodes & 1ULL << (place.inode & 63)))
		return;
	place.device = BPF_CORE_READ(inode, i_sb, s_dev);
	verdict = bpf_map_lookup_elem(&places, &place);
	if (verdict) {
		w->place = *verdict;
		w->place_at = w->count;
	}
}

/* Appends a name of so many bytes to the text; false where it has no more room. */
static __always_inline int append_name(struct slot *s, const void *from, __u32 size)
{
	struct walk *w = &s->walk;
	__u32 at = w->size & (TWO_PATHS - 1);

	if (!size || size >= NAME_BYTES || w->bytes + size >= PATH_BYTES || w->count >= WALK_MAX)
		return 0;
	barrier_var(size); /* or the compiler leaves out what it knows, and the verifier does not */
	size &= NAME_BYTES - 1;
	if (bpf_probe_read_kernel(s->text + at, size, from))
		return 0;
	s->text[at + size] = 0;
	w->begins[w->count & (WALK_MAX - 1)] = at;
	w->count++;
	w->size += size + 1;
	w->bytes += size + 1;
	return 1;
}

/* Whether it is the kernel's own: a layer of overlayfs, which reads and writes there what is done to the files above. */
static __always_inline int is_internal(struct mount *mount)
{
	return (__s64)BPF_CORE_READ(mount, mnt_ns) == -22; /* MNT_NS_INTERNAL of fs/mount.h: ERR_PTR(-EINVAL) */
}

/* A part of the way up; gives whether there is more. */
__noinline int go_up(__u32 which)
{
	struct slot *s = bpf_map_lookup_elem(&slots, &which);
	__u32 zero = 0;
	struct rules *r = bpf_map_lookup_elem(&rules, &zero);
	struct dentry *dentry, *root;
	struct mount *mount, *above;
	struct entry entry;
	struct walk *w;

	if (!s || !r)
		return 0;
	w = &s->walk;
	mount = (void *)w->mount;
	dentry = (void *)w->dentry;
	root = (void *)w->root;
	for (int i = 0; i < TURNS; i++) {
		read_entry(&entry, dentry);
		if (r->inodes && !w->place)
			look_at_place(w, r, entry.inode);
		if (dentry == root) {
			above = BPF_CORE_READ(mount, mnt_parent);
			if (above == mount) {
				w->end = is_internal(mount) ? NOWHERE : WHOLE;
				return 0;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
		} else {
			if (!append_name(s, entry.name, entry.size))
				return 0;
			if (entry.parent == dentry) {
				w->end = NOWHERE;
				return 0;
			}
			dentry = entry.parent;
		}
	}
	w->mount = (__u64)mount;
	w->dentry = (__u64)dentry;
	w->root = (__u64)root;
	return 1;
}

/* What is said of the name of so many bytes in the directory that was found last. */
static __always_inline struct rule *rule_of(struct walk *w, const char *name, __u32 size)
{
	if (size <= SHORT_BYTES) {
		barrier_var(size); /* or the compiler leaves out what it knows, and the verifier does not */
		__builtin_memset(&w->key, 0, sizeof(w->key));
		w->key.above = w->node;
		bpf_probe_read_kernel(w->key.name, size & 31, name);
		return bpf_map_lookup_elem(&names, &w->key);
	}
	barrier_var(size);
	__builtin_memset(&w->long_key, 0, sizeof(w->long_key));
	w->long_key.above = w->node;
	bpf_probe_read_kernel(w->long_key.name, size & (NAME_BYTES - 1), name);
	return bpf_map_lookup_elem(&long_names, &w->long_key);
}

/* A part of the way from the root down, as far as rules go; gives whether there is more. */
__noinline int go_down(__u32 which)
{
	struct slot *s = bpf_map_lookup_elem(&slots, &which);
	struct walk *w;

	if (!s)
		return 0;
	w = &s->walk;
	for (int i = 0; i < TURNS; i++) {
		__u32 at = w->left - 1, begin, end;
		struct rule *rule;

		if (at >= WALK_MAX) /* none is left */
			return 0;
		barrier_var(at); /* or the compiler leaves out what it knows, and the verifier does not */
		begin = w->begins[at & (WALK_MAX - 1)];
		end = w->left == w->count ? w->size : w->begins[(at + 1) & (WALK_MAX - 1)];
		rule = rule_of(w, s->text + (begin & (TWO_PATHS - 1)), end - begin - 1);
		if (!rule)
			return 0;
		w->node = rule->number;
		w->left = at;
		if (rule->verdict) {
			w->best = rule->verdict;
			w->best_at = at;
		}
	}
	return 1;
}

/* Appends a path to the text of a function's event, from where walk_from() was told; gives whether it is to be seen. */
__noinline int walk(__u32 which)
{
	struct slot *s = bpf_map_lookup_elem(&slots, &which);
	__u32 zero = 0;
	struct rules *r = bpf_map_lookup_elem(&rules, &zero);
	struct walk *w;

	if (!s || !r)
		return 0;
	w = &s->walk;
	w->end = CUT;
	for (int i = 0; i < UP_MAX; i++)
		if (!go_up(which))
			break;
	if (w->end == NOWHERE)
		return 0;
	if (w->end == CUT && r->deeper && w->place == UNSAID)
		return 1; /* which rules are above it cannot be told: it is not hidden by how deep it is */
	w->best = r->root;
	w->best_at = w->count;
	w->node = 0;
	w->left = w->count;
	for (int i = 0; i < DOWN_MAX && r->deeper && w->end == WHOLE; i++)
		if (!go_down(which))
			break;
	if (w->place == UNSAID || w->best_at < w->place_at)
		return w->best == WATCH;
	if (w->place_at < w->best_at)
		return w->place == WATCH;
	return w->place == WATCH || w->best == WATCH;
}

/* Begins a path at an entry of a directory. */
static __always_inline void walk_from(struct slot *s, __u64 mnt, __u64 dentry)
{
	struct mount *mount = mount_of((void *)mnt);

	s->walk.mount = (__u64)mount;
	s->walk.dentry = dentry;
	s->walk.root = (__u64)BPF_CORE_READ(mount, mnt.mnt_root);
	s->walk.bytes = s->walk.count = s->walk.place = 0;
}
