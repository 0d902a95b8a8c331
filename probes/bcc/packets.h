/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stands in packets, from the kernel's headers for programs. Those for itself have all that a socket is, too: to
 * compile that takes twice as long as the rest of a probe.
 */
#pragma once

#include <linux/types.h>
#include <uapi/linux/socket.h>

#define _LINUX_SOCKET_H

#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>
