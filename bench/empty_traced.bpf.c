// SPDX-License-Identifier: GPL-2.0-or-later
/* A program that does nothing each time that a file is opened: what the kernel's statistics say of it is their cost. */
#include "../probes/portable.h"

SEC("fexit/security_file_open")
int empty_traced(void *ctx)
{
	(void)ctx;
	return 0;
}
