// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What containers print: what is written to the pipe or terminal that a container's first process begins with as its
 * descriptor 1 or 2, whoever writes it and by whatever call.
 *
 * A pipe is known by its own address and inode, a terminal by its entry in the container's devpts, so every descriptor
 * that leads there counts. The first process is found when it executes its program, before that says anything; those
 * that run already by an iterator. A write is noted when it begins, and handed over when the kernel said how much of it
 * it took, in as many events as that needs.
 */
#include "task.h"

/* A hook lists a function's arguments up to the last one that it reads. */
#pragma clang diagnostic ignored "-Wunused-parameter"

#define TEXT_BYTES 8192      /* of an event; a power of two */
#define WRITE_BYTES 131072   /* of a write that are handed over: as many as cat(1) writes at once */
#define SEGMENTS_MAX 1024    /* of a write: UIO_MAXIOV of linux/uio.h */
#define SEGMENTS_AT_ONCE 64
#define STREAMS_MAX 16384
#define WRITES_MAX 8192      /* under way at once */

struct output {
	struct process process; /* who wrote it */
	__u64 stream;           /* told apart by this for ever */
	__u64 key;              /* in the map of streams, while it lives */
	__u64 container;        /* id of the cgroup of the container's first process */
	__u64 position;         /* of the write: bytes that went into the stream before it */
	__u64 lost;             /* of these, bytes in events that were refused */
	__u32 number;           /* of the first process's descriptor: 1 or 2 */
	__u32 offset;           /* of this event in the write */
	__u32 covers;           /* bytes of the write that are told by this event; the last one tells what was not read, too */
	__u32 unused;
	__u32 captured;         /* bytes that follow */
	__u32 payload;          /* 0 */
};

EVENT(output);

struct stream {
	__u64 id;
	__u64 container;
	__u64 inode; /* 0: a terminal, which has several */
	__u64 written;
	__u64 lost;
	__u32 number;
	__u32 unused;
};

EVENT(stream);

/* By address: of a pipe, or of a terminal's entry. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, STREAMS_MAX);
	__type(key, __u64);
	__type(value, struct stream);
} streams SEC(".maps");

/* First processes of containers. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, STREAMS_MAX);
	__type(key, __u64);
	__type(value, __u8);
} begun SEC(".maps");

enum source {
	USER,     /* one range of the writer's memory */
	VECTOR,   /* struct iovec: ranges of it */
	PAGES,    /* struct bio_vec: parts of the kernel's pages */
	BUFFERS,  /* struct pipe_buffer: the pipe's own, from `first` on */
	UNKNOWN,  /* not to be read from here */
};

struct data {
	__u64 base;
	__u64 skip; /* bytes of the first segment */
	__u32 source;
	__u32 first, mask;
};

/* A write that is under way. */
struct write {
	__u64 stream;
	struct data data;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WRITES_MAX);
	__type(key, __u64);
	__type(value, struct write);
} writes SEC(".maps");

/* Each program has its own: where the kernel may preempt them, one may begin while another stands still. */
enum program {
	PIPE,
	TERMINAL,
	SPLICE,
	ADD,
	MOVE,
	PROGRAMS,
};

struct scratch {
	struct output output;
	char text[3 * TEXT_BYTES]; /* handed over with what stands before it */
	struct data data;
	__u64 at; /* where the rest of a segment is, */
	__u64 size;
	__u32 segment;
	__u32 left; /* bytes of the write that are to be read */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PROGRAMS);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* Where the kernel says where it has its pages (page_address() of arch/x86/include/asm/page_64.h); 0: it does not. */
const volatile __u64 address_of_page_offset_base = 0;
const volatile __u64 address_of_vmemmap_base = 0;

#define PAGE_BYTES 4096

/* --- Whose output it is --- */

#define KIND_OF_FILE 0170000 /* S_IFMT of linux/stat.h; the kinds: */
#define PIPE_FILE 0010000
#define CHARACTER_DEVICE 0020000
#define PTS_MAJOR 136 /* UNIX98_PTY_SLAVE_MAJOR of linux/major.h; eight of them */

static __always_inline __u64 terminal_of(struct file *file)
{
	struct tty_file_private *held = BPF_CORE_READ(file, private_data);

	return (__u64)BPF_CORE_READ(held, tty, driver_data);
}

static __always_inline int is_pipe(struct inode *inode)
{
	return (BPF_CORE_READ(inode, i_mode) & KIND_OF_FILE) == PIPE_FILE;
}

/* A terminal is the container's own where its first process leads the session: else it is that of who started it. */
static __always_inline void note(struct task_struct *process, struct file *file, __u32 number)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	__u32 kind = BPF_CORE_READ(inode, i_mode) & KIND_OF_FILE, device = BPF_CORE_READ(inode, i_rdev) >> 20;
	struct stream new = { .number = number };
	struct stream *known;
	__u64 key = 0;

	if (is_pipe(inode)) {
		key = (__u64)BPF_CORE_READ(file, private_data);
		new.inode = BPF_CORE_READ(inode, i_ino);
	} else if (kind == CHARACTER_DEVICE && device >= PTS_MAJOR && device < PTS_MAJOR + 8 &&
		   BPF_CORE_READ(process, signal, leader)) {
		key = terminal_of(file);
	}
	if (!key)
		return;
	known = bpf_map_lookup_elem(&streams, &key);
	if (known && known->inode == new.inode)
		return;
	new.id = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32();
	new.container = BPF_CORE_READ(process, cgroups, dfl_cgrp, kn, id);
	bpf_map_update_elem(&streams, &key, &new, BPF_ANY);
}

/* Whether it is the first process of a process namespace that is not the host's. */
static __always_inline int begins_container(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid *number = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			      level * bpf_core_type_size(struct upid);

	return level && BPF_CORE_READ(number, nr) == 1;
}

/* Whether that is new: what it holds when it executes another program later on is its own affair. */
static __always_inline int is_new(struct task_struct *process)
{
	__u64 key = BPF_CORE_READ(process, start_boottime) ^ (__u64)BPF_CORE_READ(process, tgid) << 42;
	__u8 known = 1;

	return !bpf_map_update_elem(&begun, &key, &known, BPF_NOEXIST);
}

/* Once for each first process of a container. */
static __always_inline int note_first(struct task_struct *task)
{
	struct file **files, *file;

	if (!begins_container(task) || !is_new(task))
		return 0;
	files = BPF_CORE_READ(task, files, fdt, fd);
	for (__u32 number = 1; number <= 2; number++) {
		if (number < BPF_CORE_READ(task, files, fdt, max_fds) &&
		    !bpf_probe_read_kernel(&file, sizeof(file), files + number) && file)
			note(task, file, number);
	}
	return 0;
}

SEC("raw_tp/sched_process_exec")
int container_exec(void *ctx __attribute__((unused)))
{
	return note_first((void *)bpf_get_current_task());
}

/* Those that run already, in one of two ways. By an iterator, read once when the other programs are at work; */
SEC("iter/task_file")
int container_running(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	if (!task || !file || (ctx->fd != 1 && ctx->fd != 2))
		return 0;
	if (BPF_CORE_READ(task, pid) == BPF_CORE_READ(task, tgid) && begins_container(task)) {
		is_new(task);
		note(task, file, ctx->fd);
	}
	return 0;
}

/* and where there is none, since it needs BTF: the agent asks for something of every process, which this asks for it. */
SEC("kprobe/ptrace_may_access")
int BPF_KPROBE(container_looked_at, struct task_struct *task)
{
	if (self && bpf_get_current_pid_tgid() >> 32 != self)
		return 0;
	return BPF_CORE_READ(task, pid) == BPF_CORE_READ(task, tgid) ? note_first(task) : 0;
}

/* --- What is written there --- */

static __always_inline void locate(struct iov_iter *from, struct data *data)
{
	__u32 kind = iter_kind(from);

	data->skip = BPF_CORE_READ(from, iov_offset);
	if (is_user_range(kind)) {
		data->source = USER;
		data->base = user_range_of(from);
	} else if (is_vector(kind)) {
		data->source = VECTOR;
		data->base = vector_of(from);
	} else if (is_pages(kind)) {
		data->source = PAGES;
		data->base = (__u64)BPF_CORE_READ(from, bvec);
	} else {
		data->source = UNKNOWN;
	}
}

/* Of a write that cannot be told it is known that it was: the user side sees a gap in the stream. */
static __always_inline void miss(__u64 key)
{
	struct stream *stream = bpf_map_lookup_elem(&streams, &key);

	count_output(-1);
	if (stream) {
		__sync_fetch_and_add(&stream->written, 1);
		__sync_fetch_and_add(&stream->lost, 1);
	}
}

static __always_inline void begin_write(__u64 key, const struct data *data)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct write *left = bpf_map_lookup_elem(&writes, &thread);
	struct write write = { .stream = key };

	if (left)
		miss(left->stream);
	write.data = *data;
	if (bpf_map_update_elem(&writes, &thread, &write, BPF_ANY))
		miss(key);
}

/* The stream, if output that goes there now is to be seen. inode: 0 where that is not known. */
static __always_inline struct stream *watched(__u64 key, __u64 inode)
{
	struct stream *stream = bpf_map_lookup_elem(&streams, &key);

	return stream && (!inode || stream->inode == inode) && in_scope() ? stream : 0;
}

static __always_inline void begin_iter(__u64 key, __u64 inode, struct iov_iter *from)
{
	struct data data = {};

	if (!watched(key, inode))
		return;
	locate(from, &data);
	begin_write(key, &data);
}

static __always_inline __u64 address_of(struct page *page)
{
	__u64 pages = 0, memory = 0;

	bpf_probe_read_kernel(&pages, sizeof(pages), (void *)address_of_vmemmap_base);
	bpf_probe_read_kernel(&memory, sizeof(memory), (void *)address_of_page_offset_base);
	return memory + ((__u64)page - pages) / bpf_core_type_size(struct page) * PAGE_BYTES;
}

/* Where the next segment of the data is, and how long it is. */
static __always_inline int next_segment(struct scratch *s)
{
	__u32 i = s->segment++;

	if (s->data.source == VECTOR) {
		const struct iovec *one = (void *)s->data.base + (__u64)i * bpf_core_type_size(struct iovec);

		s->at = (__u64)BPF_CORE_READ(one, iov_base);
		s->size = BPF_CORE_READ(one, iov_len);
	} else if (s->data.source == PAGES) {
		const struct bio_vec *one = (void *)s->data.base + (__u64)i * bpf_core_type_size(struct bio_vec);

		s->at = address_of(BPF_CORE_READ(one, bv_page)) + BPF_CORE_READ(one, bv_offset);
		s->size = BPF_CORE_READ(one, bv_len);
	} else if (s->data.source == BUFFERS) {
		const struct pipe_buffer *one = (void *)s->data.base + (__u64)((s->data.first + i) & s->data.mask) *
							       bpf_core_type_size(struct pipe_buffer);

		s->at = address_of(BPF_CORE_READ(one, page)) + BPF_CORE_READ(one, offset);
		s->size = BPF_CORE_READ(one, len);
	} else if (s->data.source == USER && !i) {
		s->at = s->data.base;
		s->size = s->data.skip + s->left;
	} else {
		return 0;
	}
	if (!i) {
		if (s->data.skip > s->size)
			return 0;
		s->at += s->data.skip;
		s->size -= s->data.skip;
	}
	return 1;
}

static __always_inline void emit(void *ctx, struct scratch *s, struct stream *stream, __u32 covers)
{
	long error;

	s->output.covers = covers;
	s->output.lost = stream->lost;
	error = bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, s,
				      sizeof(s->output) + (s->output.captured & (2 * TEXT_BYTES - 1)));
	count_output(error);
	if (error)
		__sync_fetch_and_add(&stream->lost, covers);
	s->output.offset += covers;
	s->output.captured = 0;
}

/*
 * Moves what fits of a segment to the event's text; 0 where nothing could be moved. This and the next are not static:
 * the verifier looks at them once, and not at each turn of the loops that call them.
 */
__noinline int move_segment(__u32 program)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &program);
	__u32 fill, size;
	void *at;
	long error;

	if (!s || (!s->size && !next_segment(s)))
		return 0;
	fill = s->output.captured & (TEXT_BYTES - 1);
	size = TEXT_BYTES - fill;
	if (size > s->size)
		size = s->size;
	if (size > s->left)
		size = s->left;
	at = (void *)s->at;
	size &= 2 * TEXT_BYTES - 1;
	error = s->data.source == USER || s->data.source == VECTOR ? bpf_probe_read_user(s->text + fill, size, at) :
								     bpf_probe_read_kernel(s->text + fill, size, at);
	if (error)
		return 0;
	s->at += size;
	s->size -= size;
	s->left -= size;
	s->output.captured = fill + size;
	return 1;
}

/* Moves some segments, until the event's text is full; 0 where there is nothing more. */
__noinline int gather(__u32 program)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &program);

	if (!s)
		return 0;
	for (int i = 0; i < SEGMENTS_AT_ONCE; i++) {
		if (!s->left || !move_segment(program))
			return 0;
		if (s->output.captured == TEXT_BYTES)
			break;
	}
	return 1;
}

/* What could not be read (the writer may change its memory) is told by its size alone. */
static __always_inline void tell(void *ctx, enum program program, struct scratch *s, struct stream *stream, __u64 key,
				 __u64 taken)
{
	__u32 rest;

	__builtin_memset(&s->output, 0, sizeof(s->output));
	read_process(&s->output.process);
	s->output.stream = stream->id;
	s->output.key = key;
	s->output.container = stream->container;
	s->output.number = stream->number;
	s->output.position = stream->written;
	__sync_fetch_and_add(&stream->written, taken);
	s->size = s->segment = 0;
	s->left = taken < WRITE_BYTES ? taken : WRITE_BYTES;
	for (int i = 0; i < SEGMENTS_MAX / SEGMENTS_AT_ONCE + WRITE_BYTES / TEXT_BYTES; i++) {
		if (!gather(program))
			break;
		if (s->output.captured == TEXT_BYTES)
			emit(ctx, s, stream, TEXT_BYTES);
	}
	rest = taken - s->output.offset;
	if (rest)
		emit(ctx, s, stream, rest);
}

/* The write that this thread began, ended: the kernel took so much of it. */
static __always_inline int end_write(void *ctx, enum program program, long taken)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct write *write = bpf_map_lookup_elem(&writes, &thread);
	struct stream *stream;
	__u32 which = program;
	struct scratch *s;
	__u64 key;

	if (!write)
		return 0;
	key = write->stream;
	stream = bpf_map_lookup_elem(&streams, &key);
	s = bpf_map_lookup_elem(&scratch, &which);
	if (s)
		s->data = write->data;
	bpf_map_delete_elem(&writes, &thread);
	if (s && stream && taken > 0)
		tell(ctx, program, s, stream, key, taken);
	return 0;
}

/* --- Hooks --- */

static __always_inline int on_pipe_write(struct kiocb *iocb, struct iov_iter *from)
{
	struct file *file = BPF_CORE_READ(iocb, ki_filp);

	begin_iter((__u64)BPF_CORE_READ(file, private_data), BPF_CORE_READ(file, f_inode, i_ino), from);
	return 0;
}

static __always_inline int on_terminal_write(struct kiocb *iocb, struct iov_iter *from)
{
	begin_iter(terminal_of(BPF_CORE_READ(iocb, ki_filp)), 0, from);
	return 0;
}

/* sendfile(2), and splice(2) from a file: the pipe's own buffers have it when this returns, while the pipe is locked. */
static __always_inline int on_splice(struct pipe_inode_info *pipe)
{
	struct data data = { .source = BUFFERS };

	if (!watched((__u64)pipe, 0))
		return 0;
	data.base = (__u64)BPF_CORE_READ(pipe, bufs);
	data.first = BPF_CORE_READ(pipe, head);
	data.mask = BPF_CORE_READ(pipe, ring_size) - 1;
	begin_write((__u64)pipe, &data);
	return 0;
}

/* vmsplice(2): a page of the writer's, about to be added to the pipe. */
static __always_inline int on_add(struct pipe_inode_info *pipe, struct pipe_buffer *buffer)
{
	struct data data = { .source = BUFFERS, .base = (__u64)buffer };

	if (watched((__u64)pipe, 0))
		begin_write((__u64)pipe, &data);
	return 0;
}

/* splice(2) and tee(2) from a pipe to a pipe: only how much that was is known, and who did it. */
static __always_inline int on_move(struct file *in, struct file *out)
{
	struct data data = { .source = UNKNOWN };
	__u64 key = (__u64)BPF_CORE_READ(out, private_data);
	struct inode *from = BPF_CORE_READ(in, f_inode), *to = BPF_CORE_READ(out, f_inode);

	if (watched(key, BPF_CORE_READ(to, i_ino)) && is_pipe(to) && is_pipe(from))
		begin_write(key, &data);
	return 0;
}

static __always_inline int on_hangup(void *entry)
{
	__u64 key = (__u64)entry;

	bpf_map_delete_elem(&streams, &key);
	return 0;
}

static __always_inline int on_release(struct file *file)
{
	struct pipe_inode_info *pipe = BPF_CORE_READ(file, private_data);
	__u64 key = (__u64)pipe;

	if (BPF_CORE_READ(pipe, files) == 1)
		bpf_map_delete_elem(&streams, &key);
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
AT(pipe_release, on_release(file), void *inode, struct file *file)
AT(devpts_pty_kill, on_hangup(entry), void *entry)
