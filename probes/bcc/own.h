/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who the current process is, for programs that know sockets otherwise.
 */
#pragma once

#include "../portable.h"

#include <linux/sched.h>

static __always_inline void read_own(char comm[16], __u64 *start_boottime)
{
	struct task_struct *leader = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), group_leader);

	bpf_probe_read_kernel(comm, 16, &leader->comm);
	*start_boottime = BPF_CORE_READ(leader, start_boottime);
}
