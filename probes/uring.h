/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is read and written through io_uring, which goes by no function of its own on every way: it is told when a
 * request is complete, by the thread that sees to that, which is one of the process. Kernels whose tracepoint does not
 * name the request (before 5.19, where backports have not changed it) do not tell.
 */
#pragma once

#include "moved.h"

/* linux/io_uring.h, of newer kernels than the build machine's, too: numbers are the kernel's interface */
enum uring_operation {
	URING_READV = 1,
	URING_WRITEV = 2,
	URING_READ_FIXED = 4,
	URING_WRITE_FIXED = 5,
	URING_READ = 22,
	URING_WRITE = 23,
	URING_READ_MULTISHOT = 49,
	URING_READV_FIXED = 59,
	URING_WRITEV_FIXED = 60,
};

static __always_inline int uring_moved(void *ctx, struct io_kiocb *request)
{
	struct file *file;
	__s64 bytes;

	if (!names_requests() || !in_scope())
		return 0;
	file = BPF_CORE_READ(request, file);
	bytes = BPF_CORE_READ(request, cqe.res);
	switch (BPF_CORE_READ(request, opcode)) {
	case URING_READV:
	case URING_READ_FIXED:
	case URING_READ:
	case URING_READ_MULTISHOT:
	case URING_READV_FIXED:
		count_moved(ctx, FUNCTION_uring, file, READ, bytes, 0);
		break;
	case URING_WRITEV:
	case URING_WRITE_FIXED:
	case URING_WRITE:
	case URING_WRITEV_FIXED:
		count_moved(ctx, FUNCTION_uring, file, WRITTEN, bytes, 0);
		break;
	}
	return 0;
}
