// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TLS ClientHellos and ServerHellos, and QUIC Initial packets, told by what they hold, whatever their port: handed over
 * with their bytes. A hello that goes over several segments is handed over segment by segment.
 */
#include "stream.h"

EVENT(packet);

struct hello { /* RFC 8446 5.1 and 4: a record's header, and the beginning of the handshake message in it */
	__u8 content_type, major, minor, length[2];
	__u8 message_type, message_length[3], message_major, message_minor;
};

#define RECORD_MAX 16384 /* RFC 8446 5.1 */

static __always_inline __u32 record_size(const struct hello *tls)
{
	return tls->length[0] << 8 | tls->length[1];
}

/* RFC 8446 D.4: before its second hello a client may send this record, which means nothing. */
struct change {
	__u8 content_type, major, minor, length[2], one;
};

static __always_inline int is_change(const struct hello *tls)
{
	return tls->content_type == 20 && tls->major == 3 && tls->length[0] == 0 && tls->length[1] == 1 &&
	       tls->message_type == 1;
}

/*
 * What servers take for one, and no less: they ignore the record's minor version, and negotiate with a client of a later
 * major one (RFC 5246 E.1).
 */
static __always_inline int is_hello(const struct hello *tls)
{
	__u32 record = record_size(tls);

	if (tls->content_type != 22 || tls->major != 3 || record > RECORD_MAX)
		return 0;
	if (!record) /* an empty one, which is not allowed, and the next one's header */
		return tls->message_type == 22 && tls->message_length[0] == 3;
	if (tls->message_type != 1 && tls->message_type != 2)
		return 0;
	/* the message's header and version, as far as this record holds them: a hello may be cut into any records */
	return (record < 2 || tls->message_length[0] <= 1) && (record < 5 || tls->message_major >= 3);
}

#define UNKNOWN_SIZE (5 + RECORD_MAX) /* of a hello of which less than its headers is there: a record's at most */

/* Bytes of the hello with the headers of the records that it is in, if they are as long as the first. */
static __always_inline __u32 size_of(const struct hello *tls)
{
	__u32 record = record_size(tls);
	__u32 message = 4 + (tls->message_length[1] << 8 | tls->message_length[2]);

	return record < 4 ? UNKNOWN_SIZE : message + 5 * ((message + record - 1) / record);
}

/* RFC 8446 4.1.3: whether it has the random bytes (here: the first of them) that make it a HelloRetryRequest. */
static __always_inline int is_retry(struct __sk_buff *skb, const struct hello *tls, __u32 offset)
{
	__be32 random[2];

	return tls->message_type == 2 && read_part(skb, offset + sizeof(*tls), random, sizeof(random)) &&
	       random[0] == bpf_htonl(0xcf21ad74) && random[1] == bpf_htonl(0xe59a6111);
}

enum again {
	AGAIN = 1,
	CHANGE_SEEN = 2, /* and the record that may stand before it was handed over */
};

/* Another hello of both sides is due: the client's behind what this segment acknowledges, the server's behind it. */
static __always_inline void expect_again(const struct segment *s, struct stream *stream)
{
	__u8 way = s->way & 1, other = way ^ 1;

	if (!stream->wanted[way])
		stream->until[way] = s->seq + s->at.payload_len;
	stream->until[other] = s->ack;
	stream->again[way] = stream->again[other] = AGAIN;
	stream->wanted[other] = 0;
}

/* Whether the segment is (part of) a hello, or may turn out to be. */
static __always_inline int is_wanted(struct __sk_buff *skb, struct segment *s)
{
	__u32 length = s->at.payload_len;
	struct stream *stream = s->stream;
	__u8 way = s->way & 1;
	__u32 skipped = 0, size;
	struct hello tls;

	recall_start(s);
	if (stream && stream->wanted[way]) {
		if ((__s32)(s->seq - stream->until[way]) < 0) {
			s->begin = stream->begin[way];
			return 1;
		}
		stream->wanted[way] = 0;
	}
	if (length >= sizeof(tls)) {
		if (!read_part(skb, s->at.payload, &tls, sizeof(tls)))
			return 0;
		if (is_change(&tls)) {
			skipped = sizeof(struct change);
			if (!read_part(skb, s->at.payload + skipped, &tls, sizeof(tls)))
				return 0;
		}
		size = is_hello(&tls) ? skipped + size_of(&tls) : 0;
	} else { /* too little to tell, but for how a stream begins */
		__u8 first;

		size = s->start_known && s->seq == s->start && read_part(skb, s->at.payload, &first, sizeof(first)) &&
				       (first == 22 || (first == 20 && stream && stream->again[way])) ? UNKNOWN_SIZE : 0;
		if (size && first == 20 && length == sizeof(struct change)) {
			stream->again[way] = CHANGE_SEEN; /* the hello is due behind it */
			s->begin = s->start;
			return 1;
		}
	}
	if (!size) {
		if (stream && s->start_known && s->seq == s->start) {
			stream->decided[way] = 1;
			stream->again[way] = 0;
		}
		s->begin = s->start;
		return is_early(s);
	}
	if (stream && stream->decided[way] && s->seq + skipped - stream->begin[way] <= sizeof(struct change))
		return 0; /* sent again, with the record before it or without, and was whole the first time */
	stream = keep_stream(skb, s);
	if (stream) {
		__u8 again = stream->again[way] && s->seq - s->start == sizeof(struct change) ? stream->again[way] : 0;

		/* parts of the hello may have come before, and the record that means nothing may still be missing */
		stream->begin[way] = again ? s->start : s->seq;
		stream->until[way] = s->seq + size;
		stream->wanted[way] = again == AGAIN || size > length;
		stream->decided[way] = 1;
		stream->again[way] = 0;
		if (length >= sizeof(tls) && is_retry(skb, &tls, s->at.payload + skipped))
			expect_again(s, stream);
		s->begin = stream->begin[way];
		return 1;
	}
	s->begin = s->seq;
	return 1;
}

static __always_inline int is_quic_initial(struct __sk_buff *skb, const struct layout *at)
{
	struct { /* RFC 9000 17.2 */
		__u8 first;
		__be32 version;
	} __attribute__((packed)) quic;

	if (!read_part(skb, at->payload, &quic, sizeof(quic)) || !(quic.first & 0x80)) /* RFC 9287: not 0x40 */
		return 0;
	return (quic.version == bpf_htonl(1) && (quic.first & 0x30) == 0x00) ||
	       (quic.version == bpf_htonl(0x6b3343cf) && (quic.first & 0x30) == 0x10); /* RFC 9369 3.2 */
}

/* Whether all hellos were seen. Where none was, one may still come: with STARTTLS, say. */
static __always_inline int is_over(const struct bpf_tcp_sock *tcp, const struct stream *stream, enum direction direction)
{
	return is_begun(tcp, direction) && stream && stream->decided[OUT] && stream->decided[IN] && !stream->wanted[direction] &&
	       !stream->again[direction];
}

static __always_inline int see(struct __sk_buff *skb, enum direction direction)
{
	struct bpf_tcp_sock *tcp = replay ? 0 : connection_of(skb);
	struct segment s = {};
	struct owner *owner;

	if (tcp) { /* asked before anything of the packet is read, as most packets of TCP are of no use */
		if (is_late(tcp, direction))
			return 1;
		s.stream = stream_at_socket(skb, 0, 0);
		if (is_over(tcp, s.stream, direction))
			return 1;
	}
	if (!on_device(skb, direction) || !find_transport(skb, &s.at))
		return 1;
	if (s.at.proto == IPPROTO_UDP) {
		if (!find_payload(skb, &s.at, sizeof(struct udphdr)) || !is_quic_initial(skb, &s.at))
			return 1;
	} else if (!read_segment(skb, direction, tcp, &s) || !is_wanted(skb, &s)) {
		return 1;
	}
	owner = owner_of(skb);
	if (!is_own(owner))
		capture(skb, &s.at, direction, owner, s.seq, s.begin);
	return 1;
}

SEC("cgroup_skb/egress")
int tls_egress(struct __sk_buff *skb)
{
	return see(skb, OUT);
}

SEC("cgroup_skb/ingress")
int tls_ingress(struct __sk_buff *skb)
{
	return see(skb, IN);
}
