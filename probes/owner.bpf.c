// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Whose socket is it: notes the process on the socket when it is made, bound, connected or used.
 *
 * The network probes read the note. Sockets older than the agent get theirs from the user side (kernel/sockets.py).
 */
#include "owner.h"

const volatile __u64 own_netns = 0; /* the cookie of the agent's network namespace; 0: it is the first one */

enum use {
	USED,
	CONNECTS,
	SENDS, /* a datagram that has an address of its own */
	ASKED, /* for the peer's address */
};

static __always_inline int note_on(void *ctx, struct bpf_sock *sk, enum use use)
{
	struct owner *owner = sk ? bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE) : 0;
	__u32 flags = use == ASKED ? ACCEPTED : 0;

	if (!owner)
		return 1;
	if (!owner->pid && bpf_get_netns_cookie(ctx) != (own_netns ?: bpf_get_netns_cookie(0)))
		flags |= ELSEWHERE;
	if (!owner->anywhere && (use == SENDS || (use == CONNECTS && owner->connected)))
		owner->anywhere = 1;
	if (use == CONNECTS)
		owner->connected = 1;
	note(owner, flags);
	return 1;
}

#define SOCKET_HOOK(name)                     \
	SEC("cgroup/" #name)                  \
	int own_##name(struct bpf_sock *sk)   \
	{                                     \
		return note_on(sk, sk, USED); \
	}

#define ADDRESS_HOOK(name, use)                    \
	SEC("cgroup/" #name)                       \
	int own_##name(struct bpf_sock_addr *ctx)  \
	{                                          \
		return note_on(ctx, ctx->sk, use); \
	}

SOCKET_HOOK(sock_create)
SOCKET_HOOK(post_bind4)
SOCKET_HOOK(post_bind6)
ADDRESS_HOOK(connect4, CONNECTS)
ADDRESS_HOOK(connect6, CONNECTS)
ADDRESS_HOOK(sendmsg4, SENDS)
ADDRESS_HOOK(sendmsg6, SENDS)
ADDRESS_HOOK(recvmsg4, USED)
ADDRESS_HOOK(recvmsg6, USED)
/* Also accept(2), where it is asked for the peer's address (do_accept() calls the socket's getname). */
ADDRESS_HOOK(getpeername4, ASKED)
ADDRESS_HOOK(getpeername6, ASKED)
