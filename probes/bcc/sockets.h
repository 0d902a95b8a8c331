/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What sockets are to the kernel, from its headers.
 */
#pragma once

#include "structs.h"

#include <linux/net.h>
#include <net/sock.h>
