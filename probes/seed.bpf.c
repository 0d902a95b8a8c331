// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Notes who owns the sockets that are older than the agent: an iterator over all processes' descriptors, run once for a
 * cgroup. It leaves the sockets as they are, where to borrow them from their processes does not (kernel/sockets.py).
 */
#include "sockets.h"

#include "owner.h"

/* The cgroup whose processes are looked at. */
const volatile __u64 below = 0; /* its id; 0: everything */
const volatile __u32 depth = 0; /* how far below the root of cgroup v2 it is */

struct seeded {
	__u64 sockets;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct seeded);
} seeded SEC(".maps");

static __always_inline int is_looked_at(struct task_struct *task)
{
	struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);

	return !below || (depth <= (__u32)BPF_CORE_READ(cgroup, level) && ancestor_id(cgroup, depth) == below);
}

/* The agent runs this: so the current process is in its network namespace. */
static __always_inline int is_elsewhere(struct sock *sk)
{
	struct task_struct *agent = (void *)bpf_get_current_task();

	return BPF_CORE_READ(sk, __sk_common.skc_net.net) != BPF_CORE_READ(agent, nsproxy, net_ns);
}

static __always_inline void fill_in(struct owner *owner, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	owner->uid = BPF_CORE_READ(task, cred, uid.val);
	owner->start = BPF_CORE_READ(leader, start_boottime);
	BPF_CORE_READ_INTO(&owner->comm, leader, comm);
	owner->pid = BPF_CORE_READ(task, tgid);
}

/* A note that is there stays. Processes come by their ids: of several that hold a socket, the first is who made it. */
SEC("iter/task_file")
int seed_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct seeded *count;
	struct socket *socket;
	struct owner *owner;
	struct sock *sk;
	__u32 zero = 0;

	if (!task || !file || !is_looked_at(task))
		return 0;
	socket = bpf_sock_from_file(file);
	sk = socket ? socket->sk : 0;
	if (!sk || (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6))
		return 0;
	owner = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!owner || owner->pid)
		return 0;
	if (is_elsewhere(sk))
		owner->flags |= ELSEWHERE;
	fill_in(owner, task);
	count = bpf_map_lookup_elem(&seeded, &zero);
	if (count)
		__sync_fetch_and_add(&count->sockets, 1);
	return 0;
}
