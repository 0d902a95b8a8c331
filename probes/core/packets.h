/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stands in packets, from the system's headers.
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
