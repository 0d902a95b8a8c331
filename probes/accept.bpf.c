// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Notes on a connection who accepted it, where the kernel lets functions be traced: also where accept(2) is not asked for
 * the peer's address, of which owner.bpf.c learns nothing.
 */
#include "owner.h"

/* A listener's note, where there is one, is copied to what it accepts: other sockets are not watched. */
static __always_inline int note_accepted(void *sk)
{
	struct owner *owner = sk ? bpf_sk_storage_get(&owners, sk, 0, 0) : 0;

	if (owner)
		note(owner, ACCEPTED);
	return 0;
}

/* What it returned stands behind its arguments; Linux 6.10 made one of three of them. */
SEC("fexit/inet_csk_accept")
int accept_returned(__u64 *ctx)
{
	if (has_accept_arg())
		return note_accepted((void *)ctx[2]);
	barrier_var(ctx); /* or one load from either place would be made of them, which the verifier does not take */
	return note_accepted((void *)ctx[4]);
}
