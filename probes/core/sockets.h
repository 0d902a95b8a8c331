/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What sockets are to the kernel, as far as probes read it.
 */
#pragma once

#include "structs.h"

#define AF_INET 2
#define AF_INET6 10

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct netns { /* possible_net_t */
	void *net;
};

struct sock_common {
	unsigned short skc_family;
	struct netns skc_net;
};

struct sock {
	struct sock_common __sk_common;
};

struct socket {
	struct sock *sk;
};

#pragma clang attribute pop
