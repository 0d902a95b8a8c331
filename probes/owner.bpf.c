// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Whose socket is it: notes the process on the socket when it is made, bound, connected or used.
 *
 * The network probes read the note. Sockets older than the agent get theirs from the user side (kernel/sockets.py).
 */
#include "own.h"

#include "flow.h"

/*
 * Whether this kernel lets the program read the process's name (Linux 5.11, with BTF); tried at load. Where it does not,
 * the name is that of the thread, which programs such as dig choose for each of theirs.
 */
const volatile __u8 by_process = 1;

static __always_inline int note(struct bpf_sock *sk)
{
	struct owner *owner;

	if (!sk)
		return 1;
	owner = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!owner)
		return 1;
	owner->pid = bpf_get_current_pid_tgid() >> 32;
	owner->uid = bpf_get_current_uid_gid();
	/* A process may rename itself after it made the socket: the name at its latest use is what operators know it by. */
	if (by_process) {
		read_own(owner->comm, &owner->start);
		owner->start /= TICK;
	} else {
		bpf_get_current_comm(owner->comm, sizeof(owner->comm));
	}
	return 1;
}

#define SOCKET_HOOK(name)                   \
	SEC("cgroup/" #name)                \
	int own_##name(struct bpf_sock *sk) \
	{                                   \
		return note(sk);         \
	}

#define ADDRESS_HOOK(name)                        \
	SEC("cgroup/" #name)                      \
	int own_##name(struct bpf_sock_addr *ctx) \
	{                                         \
		return note(ctx->sk);             \
	}

SOCKET_HOOK(sock_create)
SOCKET_HOOK(post_bind4)
SOCKET_HOOK(post_bind6)
ADDRESS_HOOK(connect4)
ADDRESS_HOOK(connect6)
ADDRESS_HOOK(sendmsg4)
ADDRESS_HOOK(sendmsg6)
ADDRESS_HOOK(recvmsg4)
ADDRESS_HOOK(recvmsg6)
