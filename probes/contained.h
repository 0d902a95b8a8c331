/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which pipes and terminals are containers': those that a container's first process begins with as descriptor 1 or 2.
 *
 * A container is told by its cgroup, in whose name its engine has put its id; where there is none, by a process namespace
 * of its own. A pipe is known by its own address and inode, a terminal by its entry in the container's devpts, so every
 * descriptor that leads there counts. The first process is found when it executes its program, before that prints
 * anything; of those that run already, when the agent looks at them.
 */
#pragma once

#include "task.h"

#define STREAMS_MAX 16384

/* Whether some containers are muted. */
const volatile __u32 selective = 0;

struct stream {
	__u64 id;
	__u64 container;
	__u64 inode; /* 0: a terminal, which has several */
	__u64 written;
	__u64 lost;
	__u32 number;
	__u32 unused;
};

/* By address: of a pipe, or of a terminal's entry. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STREAMS_MAX);
	__type(key, __u64);
	__type(value, struct stream);
} streams SEC(".maps");

/* A container: a cgroup, or the process that its process namespace begins with. */
struct container {
	__u64 cgroup_id;
	__u64 began;
	__u32 pid;
	__u32 unused;
};

/* Those whose first process was seen: what it holds when it executes another program is its own affair. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STREAMS_MAX);
	__type(key, struct container);
	__type(value, __u8);
} begun SEC(".maps");

/* Containers, by the ids of their first processes' cgroups, that nobody wants to hear of now. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STREAMS_MAX);
	__type(key, __u64);
	__type(value, __u8);
} muted SEC(".maps");

#define KIND_OF_FILE 0170000 /* S_IFMT of linux/stat.h; the kinds: */
#define PIPE_FILE 0010000
#define CHARACTER_DEVICE 0020000
#define PTS_MAJOR 136 /* UNIX98_PTY_SLAVE_MAJOR of linux/major.h; eight of them */

static __always_inline int is_muted(__u64 container)
{
	return selective && bpf_map_lookup_elem(&muted, &container);
}

static __always_inline __u64 terminal_of(struct file *file)
{
	struct tty_file_private *held = BPF_CORE_READ(file, private_data);

	return (__u64)BPF_CORE_READ(held, tty, driver_data);
}

static __always_inline int is_pipe(struct inode *inode)
{
	return (BPF_CORE_READ(inode, i_mode) & KIND_OF_FILE) == PIPE_FILE;
}

/* A terminal is the container's own where its first process leads the session: else it is that of who started it. */
static __always_inline void note(struct task_struct *process, struct file *file, __u32 number)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	__u32 kind = BPF_CORE_READ(inode, i_mode) & KIND_OF_FILE, device = BPF_CORE_READ(inode, i_rdev) >> 20;
	struct stream new = { .number = number };
	struct stream *known;
	__u64 key = 0;

	if (is_pipe(inode)) {
		key = (__u64)BPF_CORE_READ(file, private_data);
		new.inode = BPF_CORE_READ(inode, i_ino);
	} else if (kind == CHARACTER_DEVICE && device >= PTS_MAJOR && device < PTS_MAJOR + 8 &&
		   BPF_CORE_READ(process, signal, leader)) {
		key = terminal_of(file);
	}
	if (!key)
		return;
	known = bpf_map_lookup_elem(&streams, &key);
	if (known && known->inode == new.inode)
		return;
	new.id = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
	new.container = BPF_CORE_READ(process, cgroups, dfl_cgrp, kn, id);
	if (bpf_map_update_elem(&streams, &key, &new, BPF_ANY))
		count_missed();
}

/* Whether it is the first process of a process namespace that is not the host's. */
static __always_inline int is_first_of_namespace(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid *number = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			      level * bpf_core_type_size(struct upid);

	return level && BPF_CORE_READ(number, nr) == 1;
}

/*
 * A runtime executes itself, and hooks, with other descriptors, in the container's cgroup: but in its own mount
 * namespace, or as a child of what is in the container's.
 */
static __always_inline int has_own_mounts(struct task_struct *task)
{
	return BPF_CORE_READ(task, nsproxy, mnt_ns) != BPF_CORE_READ(task, real_parent, nsproxy, mnt_ns);
}

#define LEVELS_MAX 32
#define LONGEST 192  /* name of a container's cgroup; the longest has a pod's in it */
#define ID_BYTES 64
#define END_BYTES 6 /* of .scope */

/* Whether a cgroup has a container's name: it ends with an id, or an id and .scope (ingrain/containers/paths.py). */
__noinline int is_containers(__u64 address)
{
	struct kernfs_node *node = (void *)address;
	const char *at = BPF_CORE_READ(node, name);
	char name[LONGEST];
	long size = bpf_probe_read_kernel_str(name, sizeof(name), at) - 1;

	if (size < ID_BYTES)
		return 0;
	at += size;
	if (bpf_probe_read_kernel(name, END_BYTES, at - END_BYTES))
		return 0;
	if (name[0] == '.' && name[1] == 's' && name[2] == 'c' && name[3] == 'o' && name[4] == 'p' && name[5] == 'e')
		at -= END_BYTES;
	if (bpf_probe_read_kernel(name, ID_BYTES, at - ID_BYTES))
		return 0;
	for (int i = 0; i < ID_BYTES; i++)
		if (!((name[i] >= '0' && name[i] <= '9') || (name[i] >= 'a' && name[i] <= 'f')))
			return 0;
	return 1;
}

/* Id of the nearest cgroup, its own or above, that is a container's; 0: there is none. */
static __always_inline __u64 nearest_container(struct task_struct *task)
{
	struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);

	for (int i = 0; i < LEVELS_MAX && cgroup; i++) {
		struct kernfs_node *node = BPF_CORE_READ(cgroup, kn);

		if (is_containers((__u64)node))
			return BPF_CORE_READ(node, id);
		cgroup = parent_of(cgroup);
	}
	return 0;
}

static __always_inline void identify(struct container *container, struct task_struct *process)
{
	container->began = began(process);
	container->pid = BPF_CORE_READ(process, tgid);
}

/* Once for each container, when its first process is looked at that may be the one. */
static __always_inline int note_first(struct task_struct *process)
{
	int is_first = is_first_of_namespace(process);
	struct container container = {};
	struct file **files, *file;
	__u8 known = 1;
	long error;

	if (!is_first && !has_own_mounts(process))
		return 0;
	container.cgroup_id = nearest_container(process);
	if (!container.cgroup_id) {
		if (!is_first)
			return 0;
		identify(&container, process);
	}
	error = bpf_map_update_elem(&begun, &container, &known, BPF_NOEXIST);
	if (error) {
		if (!has_already(error))
			count_missed();
		return 0;
	}
	files = BPF_CORE_READ(process, files, fdt, fd);
	for (__u32 number = 1; number <= 2; number++) {
		if (number < BPF_CORE_READ(process, files, fdt, max_fds) &&
		    !bpf_probe_read_kernel(&file, sizeof(file), files + number) && file)
			note(process, file, number);
	}
	return 0;
}

SEC("raw_tp/sched_process_exec")
int container_exec(void *ctx __attribute__((unused)))
{
	return note_first((void *)bpf_get_current_task());
}

/* Those that run already: the agent asks of every process whether it may look at it, and this looks at it. */
static __always_inline int on_look(struct task_struct *task)
{
	if (self && bpf_get_current_pid_tgid() >> 32 != self)
		return 0;
	return BPF_CORE_READ(task, pid) == BPF_CORE_READ(task, tgid) ? note_first(task) : 0;
}

static __always_inline void forget_first(struct task_struct *task)
{
	struct container container = {};

	if (!is_first_of_namespace(task))
		return;
	identify(&container, task);
	bpf_map_delete_elem(&begun, &container);
}

SEC("raw_tp/cgroup_rmdir")
int container_gone(struct bpf_raw_tracepoint_args *ctx)
{
	struct cgroup *cgroup = (void *)ctx->args[0];
	struct container container = { .cgroup_id = BPF_CORE_READ(cgroup, kn, id) };

	bpf_map_delete_elem(&begun, &container);
	bpf_map_delete_elem(&muted, &container.cgroup_id);
	return 0;
}

/* A pipe goes with the last file that is open for it; devpts ends a terminal. */
static __always_inline int on_gone(void *pipe_or_entry)
{
	__u64 key = (__u64)pipe_or_entry;

	bpf_map_delete_elem(&streams, &key);
	return 0;
}

/* Where the compiler put free_pipe_info() into its callers. Two that go at once are missed by this: `files` may change. */
static __always_inline int on_release(struct file *file)
{
	struct pipe_inode_info *pipe = BPF_CORE_READ(file, private_data);

	return BPF_CORE_READ(pipe, files) == 1 ? on_gone(pipe) : 0;
}
