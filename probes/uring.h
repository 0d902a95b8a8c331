/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is read and written through io_uring, which goes by no function of its own on every way: it is told when a
 * request is complete, by the thread that sees to that, which is one of the process. Requests that ask for no completion
 * are told where they are done. Kernels whose tracepoint does not name the request (before 5.19, where backports have not
 * changed it) do not tell.
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

#define IS_SILENT (1 << 6) /* IOSQE_CQE_SKIP_SUCCESS: no completion, and so no tracepoint, if it succeeds */

static __always_inline int is_silent(struct io_kiocb *request)
{
	return names_requests() && BPF_CORE_READ(request, flags) & IS_SILENT;
}

static __always_inline void count_request(void *ctx, __u32 function, struct io_kiocb *request)
{
	struct file *file = BPF_CORE_READ(request, file);
	__s64 bytes = BPF_CORE_READ(request, cqe.res);

	switch (BPF_CORE_READ(request, opcode)) {
	case URING_READV:
	case URING_READ_FIXED:
	case URING_READ:
	case URING_READ_MULTISHOT:
	case URING_READV_FIXED:
		count_moved(ctx, function, file, READ, bytes, 0);
		break;
	case URING_WRITEV:
	case URING_WRITE_FIXED:
	case URING_WRITE:
	case URING_WRITEV_FIXED:
		count_moved(ctx, function, file, WRITTEN, bytes, 0);
		break;
	}
}

static __always_inline int uring_moved(void *ctx, struct io_kiocb *request)
{
	if (names_requests() && in_scope())
		count_request(ctx, FUNCTION_uring, request);
	return 0;
}

static __always_inline int requesting(__u64 args[4])
{
	return is_silent((void *)args[0]);
}

/* One that is not complete yet ends with an error here; one that failed is not silent any more. */
static __always_inline int requested(void *ctx, struct call *call)
{
	struct io_kiocb *request = (void *)call->args[0];

	if (!call->result && is_silent(request))
		count_request(ctx, call->function, request);
	return 0;
}

/* What was not complete when its function returned is now. */
static __always_inline int uring_completes(void *ctx, struct io_kiocb *request)
{
	if (is_silent(request) && in_scope())
		count_request(ctx, FUNCTION_io_req_rw_complete, request);
	return 0;
}
