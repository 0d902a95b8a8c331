/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages that go over several TCP segments: what is known of a connection, kept with its socket.
 *
 * The segments are handed over one by one, and the user side puts them together. A capture's packets have no socket: for
 * them the same is kept in a table, by the connection's ends.
 */
#pragma once

#include "flow.h"

#define HEAD_MAX 16

struct stream {
	__u32 begin[2]; /* by direction: sequence number at which the stream, or the message in it, begins */
	__u32 until[2]; /* and up to which its segments are handed over */
	__u8 begun[2];  /* whether `begin` is known */
	__u8 wanted[2]; /* whether segments are handed over */
	__u8 decided[2]; /* whether the first byte was seen */
	__u8 again[2];   /* whether a message is due at `until`, and nothing from there on was seen yet */
	__u8 have;      /* bytes of the stream's head, where its first segments are shorter than what tells it */
	__u8 head[HEAD_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct stream);
} streams SEC(".maps");

struct ends {
	__u8 ip[2][16];
	__u16 port[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct ends);
	__type(value, struct stream);
} captured SEC(".maps");

/* A segment, and where in its stream it is. */
struct segment {
	struct layout at;
	__u32 seq, ack;
	__u32 begin;      /* where the message or stream that it is part of begins, once that is decided */
	__u32 start;      /* sequence number of the stream's first byte, */
	__u8 start_known; /* where nothing of the stream was received yet */
	__u8 way; /* index into the arrays of struct stream */
};

/* A connection of a capture has one entry, in which its ends stand in order, so that both directions find it. */
static __always_inline __u8 in_order(const struct flow *flow, struct ends *key)
{
	const __u64 *from = (const __u64 *)flow->s_ip, *to = (const __u64 *)flow->d_ip;
	__u8 turned = from[0] != to[0] ? from[0] > to[0] :
		      from[1] != to[1] ? from[1] > to[1] : flow->s_port > flow->d_port;

	__builtin_memcpy(key->ip[0], turned ? flow->d_ip : flow->s_ip, 16);
	__builtin_memcpy(key->ip[1], turned ? flow->s_ip : flow->d_ip, 16);
	key->port[0] = turned ? flow->d_port : flow->s_port;
	key->port[1] = turned ? flow->s_port : flow->d_port;
	return turned;
}

/* What is known of the segment's stream; 0 where nothing is and nothing is to be kept. */
static __always_inline struct stream *stream_of(struct __sk_buff *skb, struct segment *s, int create)
{
	if (replay) {
		struct stream *found, new = {};
		struct ends key = {};
		struct flow flow;

		if (!read_ends(skb, &s->at, OUT, &flow))
			return 0;
		s->way = in_order(&flow, &key);
		found = bpf_map_lookup_elem(&captured, &key);
		if (!found && create) {
			bpf_map_update_elem(&captured, &key, &new, BPF_NOEXIST);
			found = bpf_map_lookup_elem(&captured, &key);
		}
		return found;
	} else {
		struct bpf_sock *sk = skb->sk;

		sk = sk ? bpf_sk_fullsock(sk) : 0;
		if (!sk || sk->state == BPF_TCP_LISTEN) /* a listener stands for many connections */
			return 0;
		return bpf_sk_storage_get(&streams, sk, 0, create ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	}
}

/* The socket of a TCP connection. */
static __always_inline struct bpf_tcp_sock *connection_of(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_tcp_sock(sk) : 0;
}

#define STREAM_MAX (1 << 24) /* bytes of one direction of a TCP connection in which messages are looked for */

/* Whether the connection is past that; asked before anything of the packet is read, as most packets of TCP are. */
static __always_inline int is_late(const struct bpf_tcp_sock *tcp, enum direction direction)
{
	return tcp && (direction == IN ? tcp->bytes_received : tcp->bytes_acked) > STREAM_MAX;
}

/* Reads where the segment is; false where it has no payload. `tcp` is its socket, if it has one. */
static __always_inline int read_segment(struct __sk_buff *skb, enum direction direction,
					const struct bpf_tcp_sock *tcp, struct segment *s)
{
	struct tcphdr h;

	if (!read_part(skb, s->at.transport, &h, sizeof(h)) || !find_payload(skb, &s->at, h.doff * 4))
		return 0;
	s->seq = bpf_ntohl(h.seq) + h.syn;
	s->ack = bpf_ntohl(h.ack_seq);
	s->start_known = 0;
	s->way = direction;
	if (replay) {
		struct stream *stream = h.syn ? stream_of(skb, s, 1) : 0;

		if (stream) { /* also where the ends were used before: a new connection begins */
			__u8 way = s->way & 1;

			stream->begin[way] = s->seq;
			stream->begun[way] = 1;
			stream->wanted[way] = stream->decided[way] = stream->again[way] = stream->have = 0;
		}
	} else if (s->at.payload_len) {
		if (tcp && direction == IN && !tcp->bytes_received) {
			s->start = tcp->rcv_nxt;
			s->start_known = 1;
		} else if (tcp && direction == OUT && tcp->bytes_acked <= 1) { /* a SYN of its own is counted as one */
			s->start = tcp->snd_una;
			s->start_known = 1;
		}
	}
	return s->at.payload_len > 0;
}

/* Where the stream of a capture is known from its SYN, it is as with a socket; and where another message is due. */
static __always_inline void recall_start(struct segment *s, const struct stream *stream)
{
	__u8 way = s->way & 1;

	if (replay && stream && stream->begun[way] && !stream->decided[way]) {
		s->start = stream->begin[way];
		s->start_known = 1;
	} else if (stream && stream->again[way]) {
		s->start = stream->until[way];
		s->start_known = 1;
	}
}

#define WINDOW 65536 /* bytes of a stream's beginning in which segments may come before their time */

/* Where a socket sends, its segments are seen in their order. */
static __always_inline int is_early(const struct segment *s)
{
	return (replay || s->way == IN) && s->start_known && s->seq - s->start - 1 < WINDOW - 1;
}
