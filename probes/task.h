/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which process is it: what the tracing probes share.
 */
#pragma once

#include "structs.h"

/* A field of what a pointer points to; `typed`: the verifier knows what that is, so it can be loaded. */
#define FIELD(typed, pointer, field) ((typed) ? (pointer)->field : BPF_CORE_READ(pointer, field))

/* When, and whose: every tracing event begins with it. */
struct process {
	__u64 time; /* CLOCK_MONOTONIC, ns */
	__u64 cgroup_id;
	__u64 start; /* in ticks since boot; with the pid it tells a process from all others */
	__u32 pid;
	__u32 uid;
	char comm[16];
};

struct scope {
	__u64 cgroup_id; /* 0: everything */
	__u32 level;     /* how far below the root of cgroup v2 it is */
	__u32 unused;
};

/* The cgroup whose processes are seen. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scope);
} scope SEC(".maps");

/* Tracing programs have the helper since 5.16; until 6.1 the ids stand in the cgroup itself. */
static __always_inline __u64 ancestor_cgroup_id(__u32 level)
{
	struct task_struct *task;
	struct cgroup *cgroup;
	__u64 id = 0;

	if (!has_ancestor_ids())
		return bpf_get_current_ancestor_cgroup_id(level);
	task = (void *)bpf_get_current_task();
	cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	if (level <= (__u32)BPF_CORE_READ(cgroup, level))
		bpf_probe_read_kernel(&id, sizeof(id), ancestor_ids_of(cgroup) + level);
	return id;
}

/* Whether what the current process does is to be seen: asked first by every program. */
static __always_inline int in_scope(void)
{
	__u32 zero = 0;
	struct scope *s;

	if (self && bpf_get_current_pid_tgid() >> 32 == self)
		return 0;
	s = bpf_map_lookup_elem(&scope, &zero);
	return s && (!s->cgroup_id || ancestor_cgroup_id(s->level) == s->cgroup_id);
}

/*
 * When a process began, in ns since boot. What is handed over has ticks, as /proc has; what is only a key need not be
 * divided.
 */
static __always_inline __u64 began(struct task_struct *leader)
{
	return BPF_CORE_READ(leader, start_boottime);
}

static __always_inline __u64 start_of(struct task_struct *leader)
{
	return began(leader) / TICK;
}

static __always_inline __u64 own_began(void)
{
	struct task_struct *task;

	if (has_task_btf())
		return bpf_get_current_task_btf()->group_leader->start_boottime;
	task = (void *)bpf_get_current_task();
	return began(BPF_CORE_READ(task, group_leader));
}

static __always_inline void read_process(struct process *p)
{
	struct task_struct *task, *leader;

	p->time = bpf_ktime_get_ns();
	p->cgroup_id = bpf_get_current_cgroup_id();
	p->pid = bpf_get_current_pid_tgid() >> 32;
	p->uid = bpf_get_current_uid_gid();
	if (has_task_btf()) {
		leader = bpf_get_current_task_btf()->group_leader;
		p->start = leader->start_boottime / TICK;
		__builtin_memcpy(p->comm, leader->comm, sizeof(p->comm));
	} else {
		task = (void *)bpf_get_current_task();
		leader = BPF_CORE_READ(task, group_leader);
		p->start = start_of(leader);
		BPF_CORE_READ_INTO(&p->comm, leader, comm);
	}
}

#define IO_URING_ENTER 426 /* asm-generic/unistd.h, and all other tables */

/* Whether the system call that returns with these registers does one thing, and returns what became of that. */
static __always_inline int does_one_thing(void *registers)
{
	return syscall_of(registers) != IO_URING_ENTER;
}

struct misses {
	__u64 calls; /* of which no end was seen, or that found no room */
};

EVENT(misses);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct misses);
} misses SEC(".maps");

static __always_inline void count_missed(void)
{
	__u32 zero = 0;
	struct misses *m = bpf_map_lookup_elem(&misses, &zero);

	if (m)
		__sync_fetch_and_add(&m->calls, 1);
}
