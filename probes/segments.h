/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the bytes of a write lie: in the writer's memory, in the kernel's pages, or in a pipe's buffers; segment by segment.
 */
#pragma once

#include "contained.h"

#define TEXT_BYTES 8192      /* of an event; a power of two */
#define WRITE_BYTES 131072   /* of a write that are handed over: as many as cat(1) writes at once */
#define SEGMENTS_MAX 1024    /* of a write: UIO_MAXIOV of linux/uio.h */
#define SEGMENTS_AT_ONCE 64
#define PIECES_MAX 8         /* segments that are kept with the write: UIO_FASTIOV; a C library's writes have two */

struct output {
	struct process process; /* who wrote it */
	__u64 stream;           /* told apart by this for ever */
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

struct piece {
	__u64 at;
	__u64 size;
};

enum source {
	PIECES,  /* of the writer's memory, kept with the write */
	VECTOR,  /* struct iovec: the same, as the caller has them */
	PAGES,   /* struct bio_vec: parts of the kernel's pages */
	BUFFERS, /* struct pipe_buffer: the pipe's own, from `first` on */
	UNKNOWN, /* not to be read from here */
};

struct data {
	__u64 base;
	__u64 skip; /* bytes of the first segment */
	__u32 source;
	__u32 first; /* PIECES: how many */
	__u32 mask;
	__u32 unused;
	struct piece pieces[PIECES_MAX];
};

/*
 * Each function has its own memory: where the kernel may preempt programs, one may begin while another stands still.
 * What moves pages between pipes needs none.
 */
enum program {
	PIPE,
	TERMINAL,
	SPLICE,
	ADD,
	SYSTEM_CALL,
	PROGRAMS,
	MOVE = PROGRAMS,
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

/* A short list of pieces is kept: that of the caller is gone when its system call returns. */
static __always_inline void keep_pieces(struct iov_iter *from, struct data *data)
{
	const struct iovec *vector = (void *)vector_of(from);
	__u64 count = BPF_CORE_READ(from, nr_segs);

	if (count > PIECES_MAX || bpf_core_type_size(struct iovec) != sizeof(struct piece)) {
		data->source = VECTOR;
		data->base = (__u64)vector;
		return;
	}
	data->source = PIECES;
	data->first = count;
	bpf_probe_read_kernel(data->pieces, (count & (2 * PIECES_MAX - 1)) * sizeof(struct piece), vector);
}

static __always_inline void locate(struct iov_iter *from, struct data *data)
{
	__u32 kind = iter_kind(from);

	data->skip = BPF_CORE_READ(from, iov_offset);
	if (is_user_range(kind)) {
		data->source = PIECES;
		data->first = 1;
		data->pieces[0].at = user_range_of(from);
		data->pieces[0].size = data->skip + BPF_CORE_READ(from, count);
	} else if (is_vector(kind)) {
		keep_pieces(from, data);
	} else if (is_pages(kind)) {
		data->source = PAGES;
		data->base = (__u64)BPF_CORE_READ(from, bvec);
	} else {
		data->source = UNKNOWN;
	}
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

	if (s->data.source == PIECES) {
		if (i >= s->data.first || i >= PIECES_MAX)
			return 0;
		s->at = s->data.pieces[i].at;
		s->size = s->data.pieces[i].size;
	} else if (s->data.source == VECTOR) {
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
