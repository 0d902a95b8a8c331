/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notes on a socket that the current process is the one that uses it.
 */
#pragma once

#include "own.h"

#include "flow.h"

/*
 * Whether this kernel lets the program read the process's name (Linux 5.11, with BTF); tried at load. Where it does not,
 * the name is that of the thread, which programs such as dig choose for each of theirs.
 */
const volatile __u8 by_process = 1;

/* As the words that they are compared by. */
union whose {
	struct owner owner;
	__u64 words[4]; /* all but flags */
};

static __always_inline int is_note_of(const union whose *note, const union whose *now)
{
	return note->words[0] == now->words[0] && note->words[1] == now->words[1] && note->words[2] == now->words[2] &&
	       note->words[3] == now->words[3];
}

/* Written only where it says something new: some sockets are used a million times a second, and by several CPUs. */
static __always_inline void note(struct owner *owner, __u32 flags)
{
	union whose now = {}, *known = (void *)owner;

	/* A process may rename itself after it made the socket: the name at its latest use is what operators know it by. */
	if (by_process) {
		read_own(&now.owner.pid, &now.owner.uid, now.owner.comm, &now.owner.start);
	} else {
		now.owner.pid = bpf_get_current_pid_tgid() >> 32;
		now.owner.uid = bpf_get_current_uid_gid();
		bpf_get_current_comm(now.owner.comm, sizeof(now.owner.comm));
	}
	if (!is_note_of(known, &now))
		__builtin_memcpy(known->words, now.words, sizeof(now.words));
	if ((owner->flags & flags) != flags)
		owner->flags |= flags;
}
