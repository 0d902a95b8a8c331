// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What containers print: what is written to their pipes and terminals (contained.h), whoever writes it and by whatever
 * call (written.h). Here is where the kernel is asked.
 */
#include "written.h"

/* A hook lists a function's arguments up to the last one that it reads. */
#pragma clang diagnostic ignored "-Wunused-parameter"

static __always_inline int on_pipe_write(struct kiocb *iocb, struct iov_iter *from)
{
	struct file *file = BPF_CORE_READ(iocb, ki_filp);
	__u64 key = (__u64)BPF_CORE_READ(file, private_data);

	if (is_watched(key, file))
		begin_iter(key, from);
	return 0;
}

static __always_inline int on_terminal_write(struct kiocb *iocb, struct iov_iter *from)
{
	__u64 key = terminal_of(BPF_CORE_READ(iocb, ki_filp));

	if (is_watched(key, 0))
		begin_iter(key, from);
	return 0;
}

/* sendfile(2), and splice(2) from a file: the pipe's own buffers have it when this returns, while the pipe is locked. */
static __always_inline int on_splice(struct pipe_inode_info *pipe)
{
	struct write write = { .stream = (__u64)pipe, .data.source = BUFFERS };

	if (!is_watched((__u64)pipe, 0))
		return 0;
	write.data.base = (__u64)BPF_CORE_READ(pipe, bufs);
	write.data.first = BPF_CORE_READ(pipe, head);
	write.data.mask = BPF_CORE_READ(pipe, ring_size) - 1;
	begin_write(&write);
	return 0;
}

/* vmsplice(2): a page of the writer's, about to be added to the pipe. */
static __always_inline int on_add(struct pipe_inode_info *pipe, struct pipe_buffer *buffer)
{
	struct write write = { .stream = (__u64)pipe, .data.source = BUFFERS, .data.base = (__u64)buffer };

	if (is_watched((__u64)pipe, 0))
		begin_write(&write);
	return 0;
}

/* splice(2) and tee(2) from a pipe to a pipe: only how much that was is known, and who did it. */
static __always_inline int on_move(struct file *in, struct file *out)
{
	struct write write = { .stream = (__u64)BPF_CORE_READ(out, private_data), .data.source = UNKNOWN };
	struct inode *from = BPF_CORE_READ(in, f_inode), *to = BPF_CORE_READ(out, f_inode);

	if (is_watched(write.stream, out) && is_pipe(to) && is_pipe(from))
		begin_write(&write);
	return 0;
}

/*
 * Each function is hung on in one of two ways. Arguments are listed up to the last one that is read; `arguments` is how
 * many the function has: its result stands behind them.
 */
#define AROUND(function, program, arguments, call, ...)                \
	SEC("fentry/" #function)                                      \
	int BPF_PROG(begins_##function, __VA_ARGS__)                   \
	{                                                              \
		return call;                                           \
	}                                                              \
	SEC("fexit/" #function)                                       \
	int ends_##function(unsigned long long *ctx)                   \
	{                                                              \
		return end_write(ctx, program, ctx[arguments]);        \
	}                                                              \
	SEC("kprobe/" #function)                                      \
	int BPF_KPROBE(probe_begins_##function, __VA_ARGS__)           \
	{                                                              \
		return call;                                           \
	}                                                              \
	SEC("kretprobe/" #function)                                   \
	int BPF_KRETPROBE(probe_ends_##function, long taken)           \
	{                                                              \
		return end_write(ctx, program, taken);                 \
	}

#define AT(function, call, ...)                                        \
	SEC("fentry/" #function)                                      \
	int BPF_PROG(at_##function, __VA_ARGS__)                       \
	{                                                              \
		return call;                                           \
	}                                                              \
	SEC("kprobe/" #function)                                      \
	int BPF_KPROBE(probe_at_##function, __VA_ARGS__)               \
	{                                                              \
		return call;                                           \
	}

AROUND(pipe_write, PIPE, 2, on_pipe_write(iocb, from), struct kiocb *iocb, struct iov_iter *from)
AROUND(anon_pipe_write, PIPE, 2, on_pipe_write(iocb, from), struct kiocb *iocb, struct iov_iter *from) /* from 6.15 on */
AROUND(tty_write, TERMINAL, 2, on_terminal_write(iocb, from), struct kiocb *iocb, struct iov_iter *from)
AROUND(do_splice_to, SPLICE, 5, on_splice(pipe), void *in, void *offset, struct pipe_inode_info *pipe)
AROUND(do_splice_read, SPLICE, 5, on_splice(pipe), void *in, void *offset, struct pipe_inode_info *pipe) /* from 6.5 on */
AROUND(add_to_pipe, ADD, 2, on_add(pipe, buffer), struct pipe_inode_info *pipe, struct pipe_buffer *buffer)
AROUND(do_splice, MOVE, 6, on_move(in, out), struct file *in, void *offset, struct file *out)
AROUND(do_tee, MOVE, 4, on_move(in, out), struct file *in, struct file *out)
AT(free_pipe_info, on_gone(pipe), void *pipe)
AT(pipe_release, on_release(file), void *inode, struct file *file)
AT(devpts_pty_kill, on_gone(entry), void *entry)
AT(ptrace_may_access, on_look(task), struct task_struct *task)

/*
 * A kretprobe follows only some calls at a time, whoever makes them, and writes wait for long. What it did not end is
 * ended when the system call returns; then what lies with the kernel is there no more.
 */
SEC("raw_tracepoint/sys_exit")
int syscall_returns(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct write *write = bpf_map_lookup_elem(&writes, &thread);

	if (!write)
		return 0;
	if (!does_one_thing((void *)ctx->args[0])) {
		miss(write->stream);
		bpf_map_delete_elem(&writes, &thread);
		return 0;
	}
	if (write->data.source != PIECES)
		write->data.source = UNKNOWN;
	return end_write(ctx, SYSTEM_CALL, ctx->args[1]);
}

SEC("raw_tp/sched_process_exit")
int thread_ends(void *ctx __attribute__((unused)))
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct write *left = bpf_map_lookup_elem(&writes, &thread);

	if (left) {
		miss(left->stream);
		bpf_map_delete_elem(&writes, &thread);
	}
	forget_first((void *)bpf_get_current_task());
	return 0;
}
