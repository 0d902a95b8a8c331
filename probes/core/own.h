/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who the current process is, for programs that know sockets otherwise.
 */
#pragma once

#include "structs.h"

/* Name and start of the current process, where the kernel lets the program read them (Linux 5.11). */
static __always_inline void read_own(char comm[16], __u64 *start_boottime)
{
	struct task_struct *task = bpf_get_current_task_btf();

	__builtin_memcpy(comm, task->group_leader->comm, 16);
	*start_boottime = task->group_leader->start_boottime;
}
