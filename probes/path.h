/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where in the file system something is: its names up to the root of its mount namespace, across mounts.
 *
 * The names stand from the last to the first, each with a zero behind it; the user side turns them round. bpf_d_path()
 * is not for every hook, and ends at the process's own root, so a chroot would hide where a file is.
 */
#pragma once

#include "task.h"

#define PATH_BYTES 4096
#define NAME_BYTES 256
#define NAMES_MAX 512 /* the verifier follows each turn of the loop */
#define TEXT_BYTES 16384 /* a power of two */

static __always_inline struct mount *mount_of(struct vfsmount *mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

/* What a walk needs of an entry. */
struct entry {
	struct dentry *parent;
	const unsigned char *name;
	__u32 size; /* of the name */
	struct inode *inode;
};

#define ENTRY_BYTES 64

/* These fields are neighbours in every kernel: one call reads them all. */
static __always_inline void read_entry(struct entry *entry, struct dentry *dentry)
{
	__u32 begin = bpf_core_field_offset(struct dentry, d_parent);
	__u32 name = bpf_core_field_offset(struct dentry, d_name.name) - begin;
	__u32 size = bpf_core_field_offset(struct dentry, d_name.len) - begin;
	__u32 inode = bpf_core_field_offset(struct dentry, d_inode) - begin;
	char raw[ENTRY_BYTES];

	if (name > ENTRY_BYTES - sizeof(__u64) || size > ENTRY_BYTES - sizeof(__u32) || inode > ENTRY_BYTES - sizeof(__u64) ||
	    bpf_probe_read_kernel(raw, sizeof(raw), (void *)dentry + begin)) {
		__builtin_memset(entry, 0, sizeof(*entry));
		return;
	}
	entry->parent = *(struct dentry **)raw;
	entry->name = *(const unsigned char **)(raw + name);
	entry->size = *(__u32 *)(raw + size);
	entry->inode = *(struct inode **)(raw + inode);
}

enum end {
	WHOLE, /* up to the root */
	CUT,   /* there is more of it than there is room */
};

/*
 * Appends the names of a path to a text of TEXT_BYTES, and as many as a path has; gives how many bytes they are. `size`
 * is the text's, and stands in a map: of what stands there the verifier knows nothing from one turn of a loop to the
 * next, so the turns are alike to it.
 */
static __always_inline __u32 read_path(struct vfsmount *mnt, struct dentry *dentry, char *text, __u32 *size, __u32 *end)
{
	struct mount *mount = mount_of(mnt), *above;
	__u32 begin = *size;
	struct entry entry;

	*end = WHOLE;
	for (int i = 0; i < NAMES_MAX; i++) {
		if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
			above = BPF_CORE_READ(mount, mnt_parent);
			if (above == mount)
				return *size - begin;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
		} else {
			__u32 at = *size & (TEXT_BYTES - 1);
			long name;

			read_entry(&entry, dentry);
			name = bpf_probe_read_kernel_str(text + at, NAME_BYTES, entry.name);
			if (name <= 0 || *size - begin + name > PATH_BYTES)
				break;
			*size += name;
			if (entry.parent == dentry) /* what is in no folder: a pipe, a memory file */
				return *size - begin;
			dentry = entry.parent;
		}
	}
	*end = CUT;
	return *size - begin;
}
