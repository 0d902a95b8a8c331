/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A write to a container's pipe or terminal: noted when it begins, and handed over when the kernel has told how much of
 * it it took, in as many events as that needs.
 */
#pragma once

#include "segments.h"

#define WRITES_MAX 8192 /* under way at once */

/* A write that is under way. */
struct write {
	__u64 stream;
	struct data data;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WRITES_MAX);
	__type(key, __u64);
	__type(value, struct write);
} writes SEC(".maps");

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

static __always_inline void begin_write(const struct write *write)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct write *left = bpf_map_lookup_elem(&writes, &thread);

	if (left)
		miss(left->stream);
	if (bpf_map_update_elem(&writes, &thread, write, BPF_ANY))
		miss(write->stream);
}

/* Whether output that goes there now is to be seen. file: the pipe's, by whose inode it is told from one that was there. */
static __always_inline int is_watched(__u64 key, struct file *file)
{
	struct stream *stream = bpf_map_lookup_elem(&streams, &key);

	if (!stream || (file && stream->inode != BPF_CORE_READ(file, f_inode, i_ino)))
		return 0;
	return in_scope() && !is_muted(stream->container);
}

static __always_inline void begin_iter(__u64 key, struct iov_iter *from)
{
	struct write write = { .stream = key };

	locate(from, &write.data);
	begin_write(&write);
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
	error = s->data.source <= VECTOR ? bpf_probe_read_user(s->text + fill, size, at) :
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

static __always_inline void begin_event(struct output *output, struct stream *stream, __u64 taken)
{
	__builtin_memset(output, 0, sizeof(*output));
	read_process(&output->process);
	output->stream = stream->id;
	output->container = stream->container;
	output->number = stream->number;
	output->position = stream->written;
	__sync_fetch_and_add(&stream->written, taken);
}

/* What could not be read (the writer may change its memory) is told by its size alone. */
static __always_inline void tell(void *ctx, enum program program, struct scratch *s, struct stream *stream, __u64 taken)
{
	__u32 rest;

	begin_event(&s->output, stream, taken);
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

static __always_inline void tell_size(void *ctx, struct stream *stream, __u64 taken)
{
	struct output output;
	long error;

	begin_event(&output, stream, taken);
	output.covers = taken;
	output.lost = stream->lost;
	error = bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &output, sizeof(output));
	count_output(error);
	if (error)
		__sync_fetch_and_add(&stream->lost, taken);
}

/* The write that this thread began, ended: the kernel took so much of it. */
static __always_inline int end_write(void *ctx, enum program program, long taken)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct write *write = bpf_map_lookup_elem(&writes, &thread);
	struct stream *stream;
	__u32 which = program;
	struct scratch *s = 0;

	if (!write)
		return 0;
	stream = bpf_map_lookup_elem(&streams, &write->stream);
	if (program != MOVE)
		s = bpf_map_lookup_elem(&scratch, &which);
	if (stream && taken > 0) {
		if (s && write->data.source != UNKNOWN) {
			s->data = write->data;
			tell(ctx, program, s, stream, taken);
		} else {
			tell_size(ctx, stream, taken);
		}
	}
	bpf_map_delete_elem(&writes, &thread);
	return 0;
}
