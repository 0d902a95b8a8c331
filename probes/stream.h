/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages that go over several TCP segments: what is known of a connection, kept with its socket.
 *
 * The segments are handed over one by one, and the user side puts them together. Some packets have no socket of their
 * connection's: those of a capture, and what comes with the last packet of a handshake, or with its first (TCP Fast Open),
 * which passes through the listener's hook. For them the same is kept in a table, by the connection's ends.
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
} apart SEC(".maps");

/* A segment, and where in its stream it is. */
struct segment {
	struct layout at;
	struct stream *stream; /* what is known of it, if anything is */
	__u32 seq, ack;
	__u32 begin;      /* where the message or stream that it is part of begins, once that is decided */
	__u32 start;      /* sequence number of the stream's first byte, */
	__u8 start_known; /* where nothing of the stream was received yet */
	__u8 way;         /* index into the arrays of struct stream */
	__u8 at_listener;
};

/* A connection has one entry, in which its ends stand in order, so that both directions find it. */
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

/* Which way a segment of a capture goes: only relative to others it is known. */
static __noinline int is_turned(struct __sk_buff *skb, __u32 transport)
{
	struct layout at = { .transport = transport, .proto = IPPROTO_TCP };
	struct ends key;
	struct flow flow;

	return read_ends(skb, &at, OUT, &flow) && in_order(&flow, &key);
}

/* The segment's stream in the table. */
static __noinline struct stream *stream_apart(struct __sk_buff *skb, __u32 transport, int create)
{
	struct layout at = { .transport = transport, .proto = IPPROTO_TCP };
	struct stream *found, new = {};
	struct ends key = {};
	struct flow flow;

	if (!read_ends(skb, &at, OUT, &flow))
		return 0;
	in_order(&flow, &key);
	found = bpf_map_lookup_elem(&apart, &key);
	if (!found && create) {
		bpf_map_update_elem(&apart, &key, &new, BPF_NOEXIST);
		found = bpf_map_lookup_elem(&apart, &key);
	}
	return found;
}

static __always_inline struct stream *stream_at_socket(struct __sk_buff *skb, void *initial, __u64 flags)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_sk_storage_get(&streams, sk, initial, flags) : 0;
}

/* The segment's stream, which from now on something is known of; 0 where there is no room. */
static __always_inline struct stream *keep_stream(struct __sk_buff *skb, struct segment *s)
{
	if (s->stream)
		return s->stream;
	return replay || s->at_listener ? stream_apart(skb, s->at.transport, 1) :
					  stream_at_socket(skb, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

/* The socket of a TCP connection, or a listener. */
static __always_inline struct bpf_tcp_sock *connection_of(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	return sk ? bpf_tcp_sock(sk) : 0;
}

#define STREAM_MAX (1 << 24) /* bytes of one direction of a TCP connection in which messages are looked for */
#define WINDOW 65536 /* bytes of a stream's beginning in which segments may come before their time */

/* Whether the connection is past that; asked before anything of the packet is read, as most packets of TCP are. */
static __always_inline int is_late(const struct bpf_tcp_sock *tcp, enum direction direction)
{
	return (direction == IN ? tcp->bytes_received : tcp->bytes_acked) > STREAM_MAX;
}

/* Whether the other side has taken the stream's first byte. A SYN of its own is counted as one that it sent. */
static __always_inline int is_begun(const struct bpf_tcp_sock *tcp, enum direction direction)
{
	return direction == IN ? tcp->bytes_received > 0 : tcp->bytes_acked > 1;
}

/*
 * Whether the stream may have begun at the listener, and this is one of the first packets at the connection's own socket:
 * it was accepted (of what it connects with, a SYN would be acknowledged by now), and what it received had payload but for
 * one segment: the SYN (tcp_create_openreq_child() counts it), or of TCP Fast Open what followed that.
 */
static __always_inline int may_be_apart(const struct bpf_tcp_sock *tcp, enum direction direction)
{
	if (direction == OUT && tcp->bytes_acked) /* asked first: the other counters are in cache where packets come in */
		return 0;
	return tcp->bytes_received && tcp->bytes_received < WINDOW && !tcp->bytes_acked &&
	       tcp->segs_in - tcp->data_segs_in <= 1;
}

/* What the table has of the stream goes to the connection's own socket. */
static __always_inline struct stream *take_in(struct __sk_buff *skb, const struct bpf_tcp_sock *tcp, struct segment *s)
{
	__u32 received = tcp->bytes_received, start = tcp->rcv_nxt - received;
	struct stream *stream = stream_apart(skb, s->at.transport, 0);

	if (!stream || !stream->decided[IN] || stream->begin[IN] != start) /* it is another's, that had the same ends */
		return 0;
	return stream_at_socket(skb, stream, BPF_SK_STORAGE_GET_F_CREATE);
}

static __always_inline void forget(struct stream *stream, __u8 way)
{
	stream->begun[way] = stream->wanted[way] = stream->decided[way] = stream->again[way] = stream->have = 0;
}

static __always_inline void begin_anew(struct stream *stream, __u8 way, __u32 begin)
{
	forget(stream, way);
	stream->begin[way] = begin;
	stream->begun[way] = 1;
}

/* Finds the stream where it is not at the socket of its connection. `opens`: the segment's way begins with it. */
static __always_inline void find_stream(struct __sk_buff *skb, const struct bpf_tcp_sock *tcp, int opens,
					struct segment *s)
{
	if (replay) {
		s->stream = stream_apart(skb, s->at.transport, opens);
		if (s->stream && opens) /* also where the ends were used before: a new connection begins */
			begin_anew(s->stream, s->way & 1, s->seq);
	} else if (s->at_listener) {
		s->stream = stream_apart(skb, s->at.transport, 0);
		if (s->stream && s->seq - s->stream->begin[IN] >= WINDOW) /* likewise */
			begin_anew(s->stream, IN, s->seq);
	} else if (opens && s->way == OUT && s->stream) { /* it was disconnected (connect() to AF_UNSPEC), and connects again */
		forget(s->stream, IN);
		begin_anew(s->stream, OUT, s->seq);
	} else if (!s->stream && tcp && may_be_apart(tcp, s->way)) {
		s->stream = take_in(skb, tcp, s);
	}
}

/* Reads where the segment is, and finds its stream; false where it has no payload. `tcp` is its socket, if it has one. */
static __always_inline int read_segment(struct __sk_buff *skb, enum direction direction,
					const struct bpf_tcp_sock *tcp, struct segment *s)
{
	struct bpf_sock *sk = skb->sk;
	const struct tcphdr *h;
	struct tcphdr room;
	int syn;

	h = part(skb, s->at.transport, &room, sizeof(room));
	if (!h || !find_payload(skb, &s->at, h->doff * 4))
		return 0;
	syn = h->syn;
	s->seq = bpf_ntohl(h->seq) + syn;
	s->ack = bpf_ntohl(h->ack_seq);
	s->way = replay ? is_turned(skb, s->at.transport) : direction;
	s->at_listener = tcp && direction == IN && !is_begun(tcp, IN) && sk && sk->state == BPF_TCP_LISTEN;
	if (s->at.payload_len || syn)
		find_stream(skb, tcp, syn && (replay || !h->ack), s);
	if (replay || !s->at.payload_len || !tcp)
		return s->at.payload_len > 0;
	if (s->at_listener) {
		s->start = s->stream ? s->stream->begin[IN] : s->seq;
		s->start_known = 1;
	} else if (!is_begun(tcp, direction)) {
		__u32 start = direction == IN ? tcp->rcv_nxt : tcp->snd_una;

		barrier_var(start); /* loaded here: the verifier takes no pointer into the socket */
		s->start = syn ? s->seq : start;
		s->start_known = 1;
	}
	return 1;
}

/* Where the stream of a capture is known from its SYN, it is as with a socket; and where another message is due. */
static __always_inline void recall_start(struct segment *s)
{
	const struct stream *stream = s->stream;
	__u8 way = s->way & 1;

	if (replay && stream && stream->begun[way] && !stream->decided[way]) {
		s->start = stream->begin[way];
		s->start_known = 1;
	} else if (stream && stream->again[way]) {
		s->start = stream->until[way];
		s->start_known = 1;
	}
}

/* Where a socket sends, its segments are seen in their order. */
static __always_inline int is_early(const struct segment *s)
{
	return (replay || s->way == IN) && s->start_known && s->seq - s->start - 1 < WINDOW - 1;
}
