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
	struct task_struct *task = (void *)bpf_get_current_task();
	struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	__u64 id = 0;

	if (!has_ancestor_ids())
		return bpf_get_current_ancestor_cgroup_id(level);
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

static __always_inline __u64 start_of(struct task_struct *leader)
{
	return BPF_CORE_READ(leader, start_boottime) / TICK;
}

static __always_inline void read_process(struct process *p)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	p->time = bpf_ktime_get_ns();
	p->cgroup_id = bpf_get_current_cgroup_id();
	p->start = start_of(leader);
	p->pid = bpf_get_current_pid_tgid() >> 32;
	p->uid = bpf_get_current_uid_gid();
	BPF_CORE_READ_INTO(&p->comm, leader, comm);
}
