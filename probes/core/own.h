/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who the current process is, for programs that know sockets otherwise.
 */
#pragma once

#include "structs.h"

/* Whether inet_csk_accept() has two arguments, and not four. */
static __always_inline int has_accept_arg(void)
{
	return bpf_core_type_exists(struct proto_accept_arg);
}

/* Where the kernel lets the program read it (Linux 5.11): loads, which cost less than to call helpers. */
static __always_inline void read_own(__u32 *pid, __u32 *uid, char comm[16], __u64 *start)
{
	struct task_struct *task = bpf_get_current_task_btf(), *leader = task->group_leader;
	const struct cred *cred = task->cred;

	*pid = task->tgid;
	*uid = cred ? cred->uid.val : 0;
	__builtin_memcpy(comm, leader->comm, 16);
	*start = leader->start_boottime;
}
