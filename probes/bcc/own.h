/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who the current process is, for programs that know sockets otherwise.
 */
#pragma once

#include "../portable.h"

#include <linux/sched.h>

static __always_inline int has_accept_arg(void)
{
	return HAS_proto_accept_arg;
}

static __always_inline void read_own(__u32 *pid, __u32 *uid, char comm[16], __u64 *start)
{
	struct task_struct *leader = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), group_leader);

	*pid = bpf_get_current_pid_tgid() >> 32;
	*uid = bpf_get_current_uid_gid();
	bpf_probe_read_kernel(comm, 16, &leader->comm);
	*start = BPF_CORE_READ(leader, start_boottime);
}
