/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes that processes read from files and write to them: counted here, per process and file, in one of two maps, of
 * which the user side reads the other.
 *
 * The first time in an interval, what process and file are is handed over as an event, by whose `file` the user side
 * knows the counts; where the file was opened in that interval, that event has told it. What there is no room for is
 * counted as uncounted.
 */
#pragma once

#include "traced.h"
#include "watched.h"

enum moved_direction {
	READ,
	WRITTEN,
};

/* Bit (direction) is set for those that are counted. */
const volatile __u32 counted_directions = 1 << READ | 1 << WRITTEN;

struct moved {
	__u64 bytes[2];
	__u64 calls[2];
	__u64 first; /* when the first of them returned; CLOCK_MONOTONIC, ns */
	__u64 named; /* whether its event was handed over; if not, the next call tries again */
};

struct moves {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct file_of);
	__type(value, struct moved);
} moved_a SEC(".maps"), moved_b SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct moves);
} moved SEC(".maps") = { .values = { [0] = &moved_a } };

struct entry_of {
	__u64 mnt, dentry, inode;
};

/* As long as neither changes, what is known of a file stays so. */
struct as_of {
	__u64 reading, arrivals;
};

/* Files that are not to be seen, and as of when that is known. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct entry_of);
	__type(value, struct as_of);
} unseen SEC(".maps");

#define KIND_OF_FILE 0170000 /* S_IFMT */
#define REGULAR 0100000
#define BLOCK_DEVICE 0060000

static __always_inline struct as_of as_of_now(void)
{
	__u32 zero = 0;
	struct rules *r = bpf_map_lookup_elem(&rules, &zero);
	__u64 *times = bpf_map_lookup_elem(&arrivals, &zero);
	struct as_of now = { .reading = r ? r->reading : 0, .arrivals = times ? *times : 0 };

	return now;
}

static __always_inline int is_unseen(const struct entry_of *entry, const struct as_of *now)
{
	struct as_of *known = bpf_map_lookup_elem(&unseen, entry);

	return known && known->reading == now->reading && known->arrivals == now->arrivals;
}

static __always_inline void count_uncounted(__u64 bytes)
{
	struct counts *c = counted();

	if (c) {
		__sync_fetch_and_add(&c->uncounted, 1);
		__sync_fetch_and_add(&c->uncounted_bytes, bytes);
	}
}

/* Its event was handed over. */
static __always_inline void is_named(const struct file_of *key)
{
	struct moved named = { .named = 1 };
	__u32 zero = 0;
	void *active = bpf_map_lookup_elem(&moved, &zero);

	if (active)
		bpf_map_update_elem(active, key, &named, BPF_NOEXIST);
}

/* Makes sure that there are counts for a file, and that the user side knows whose; 0 where it is not to be seen. */
static __always_inline struct moved *name_moved(void *ctx, __u32 function, void *active, const struct file_of *key,
						__u64 bytes)
{
	struct entry_of entry = { .mnt = key->mnt, .dentry = key->dentry, .inode = key->inode };
	struct as_of now = as_of_now(); /* before it is looked at */
	struct moved nothing = {}, *m;
	struct slot *s;

	if (is_unseen(&entry, &now))
		return 0;
	s = new_event(function);
	if (!s)
		return 0;
	walk_from(s, key->mnt, key->dentry);
	if (!walk(function)) {
		bpf_map_update_elem(&unseen, &entry, &now, BPF_ANY);
		return 0;
	}
	bpf_map_update_elem(active, key, &nothing, BPF_NOEXIST); /* or another thread of the process was first */
	m = bpf_map_lookup_elem(active, key);
	if (!m) {
		count_uncounted(bytes);
		return 0;
	}
	s->access.file = *key;
	s->access.path = s->walk.bytes;
	s->access.marks = marks_of(&s->walk, (void *)key->dentry);
	if (!tell(ctx, s, NAMED))
		m->named = 1;
	return m;
}

static __always_inline int is_counted(struct file *file, int typed)
{
	__u32 mode = typed ? file->f_inode->i_mode : BPF_CORE_READ(file, f_inode, i_mode);
	__u32 kind = mode & KIND_OF_FILE;

	return kind == REGULAR || kind == BLOCK_DEVICE;
}

/* typed: as identify() has it. */
static __always_inline void count_moved(void *ctx, __u32 function, struct file *file, enum moved_direction direction,
					__s64 bytes, int typed)
{
	struct file_of key = {};
	struct moved *m;
	__u32 zero = 0;
	void *active;

	if (!(counted_directions & 1 << direction) || bytes < 0 || !file || !is_counted(file, typed))
		return;
	active = bpf_map_lookup_elem(&moved, &zero);
	if (!active)
		return;
	identify(&key, FIELD(typed, file, f_path.mnt), FIELD(typed, file, f_path.dentry), FIELD(typed, file, f_inode), typed);
	m = bpf_map_lookup_elem(active, &key);
	if (!m || !m->named)
		m = name_moved(ctx, function, active, &key, bytes);
	if (!m)
		return;
	if (!m->first)
		m->first = bpf_ktime_get_ns();
	__sync_fetch_and_add(&m->bytes[direction], bytes);
	__sync_fetch_and_add(&m->calls[direction], 1);
}

static __always_inline void has_moved(void *ctx, __u32 function, struct file *from, struct file *to, __s64 bytes,
				      int typed)
{
	count_moved(ctx, function, from, READ, bytes, typed);
	count_moved(ctx, function, to, WRITTEN, bytes, typed);
}

/*
 * Whether a file is the kernel's own: one of those that a file of overlayfs consists of, which is done to it what is done
 * to that. Such a file stands at the path above (before Linux 6.7), or in a layer.
 */
static __always_inline int is_below(struct file *file)
{
	struct vfsmount *mnt = BPF_CORE_READ(file, f_path.mnt);

	return BPF_CORE_READ(file, f_path.dentry, d_inode) != BPF_CORE_READ(file, f_inode) || is_internal(mount_of(mnt));
}

static __always_inline int are_below(struct file *from, struct file *to)
{
	return (!from || is_below(from)) && (!to || is_below(to));
}

static __always_inline int is_moving(struct file *from, struct file *to)
{
	if (in_scope() && ((from && is_counted(from, 0)) || (to && is_counted(to, 0))) && !are_below(from, to))
		begins(MOVING, ANY, (__u64)from, (__u64)to, 0, 0);
	return 0;
}

static __always_inline int all_begins(struct file *from, struct file *to)
{
	if (in_scope() && !are_below(from, to))
		begins(MOVING, ANY, (__u64)from, (__u64)to, 0, 0);
	return 0;
}

/* Of a function within itself (see is_below) the result is that of the one around it. */
static __always_inline int all_moved(void *ctx, __u32 function, __s64 bytes)
{
	struct call call;

	if (ends(MOVING, ANY, bytes, &call))
		has_moved(ctx, function, (void *)call.args[0], (void *)call.args[1], bytes, 0);
	return 0;
}

/*
 * A call moves bytes from a file, or to one, or both: `from` and `to` are numbers of the function's arguments, 0: none.
 * Of kprobes none waits for its end: what was moved is what the system call returns, which is the same. The function
 * may be part of another that was noted, with the same files.
 */
#define ON_MOVE(name, count, from, to, if_only)                                                                \
	SEC("fexit/" #name)                                                                                    \
	int name##_fexit(__u64 *ctx)                                                                           \
	{                                                                                                      \
		if (in_scope() && (if_only))                                                                   \
			has_moved(ctx, FUNCTION_##name, (void *)TRACED_##from(ctx), (void *)TRACED_##to(ctx),  \
				  returned(ctx, count, count), 1);                                             \
		return 0;                                                                                      \
	}                                                                                                      \
	SEC("kprobe/" #name)                                                                                   \
	int name##_kprobe(struct pt_regs *ctx)                                                                 \
	{                                                                                                      \
		return is_moving((void *)PROBED_##from(ctx), (void *)PROBED_##to(ctx));                        \
	}

/* The same, of functions within which others of them may be called. */
#define ON_WHOLE_MOVE(name, count, from, to)                                                                   \
	SEC("fentry/" #name)                                                                                   \
	int name##_fentry(__u64 *ctx)                                                                          \
	{                                                                                                      \
		return all_begins((void *)TRACED_##from(ctx), (void *)TRACED_##to(ctx));                       \
	}                                                                                                      \
	SEC("fexit/" #name)                                                                                    \
	int name##_fexit(__u64 *ctx)                                                                           \
	{                                                                                                      \
		return all_moved(ctx, FUNCTION_##name, returned(ctx, count, count));                           \
	}                                                                                                      \
	SEC("kprobe/" #name)                                                                                   \
	int name##_kprobe(struct pt_regs *ctx)                                                                 \
	{                                                                                                      \
		return is_moving((void *)PROBED_##from(ctx), (void *)PROBED_##to(ctx));                        \
	}
