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

static __always_inline int is_hello(const struct hello *tls)
{
	return tls->content_type == 22 && tls->major == 3 && tls->minor <= 4 &&
	       (tls->message_type == 1 || tls->message_type == 2) && tls->message_length[0] == 0 &&
	       tls->message_major == 3;
}

/* Bytes of the hello with the headers of the records that it is in, if they are as long as the first. */
static __always_inline __u32 size_of(const struct hello *tls)
{
	__u32 record = tls->length[0] << 8 | tls->length[1];
	__u32 message = 4 + (tls->message_length[1] << 8 | tls->message_length[2]);

	return message + 5 * (record ? (message + record - 1) / record : 1);
}

/* Whether the segment is (part of) a hello, or may turn out to be. */
static __always_inline int is_wanted(struct __sk_buff *skb, struct segment *s)
{
	__u32 length = s->at.payload_len;
	struct stream *stream = stream_of(skb, s, 0);
	__u8 way = s->way & 1;
	struct hello tls;

	recall_start(s, stream);
	if (stream && stream->wanted[way]) {
		if ((__s32)(s->seq - stream->until[way]) < 0) {
			s->begin = stream->begin[way];
			return 1;
		}
		stream->wanted[way] = 0;
	}
	if (length >= sizeof(tls) && !bpf_skb_load_bytes(skb, s->at.payload, &tls, sizeof(tls)) && is_hello(&tls)) {
		if (stream && stream->decided[way] && stream->begin[way] == s->seq)
			return 0; /* sent again, and was whole the first time */
		stream = stream_of(skb, s, 1);
		if (stream) {
			stream->begin[way] = s->seq;
			stream->until[way] = s->seq + size_of(&tls);
			stream->wanted[way] = size_of(&tls) > length;
			stream->decided[way] = 1;
		}
		s->begin = s->seq;
		return 1;
	}
	if (stream && s->start_known && s->seq == s->start)
		stream->decided[way] = 1;
	s->begin = s->start;
	return is_early(s);
}

static __always_inline int is_quic_initial(struct __sk_buff *skb, const struct layout *at)
{
	struct { /* RFC 9000 17.2 */
		__u8 first;
		__be32 version;
	} __attribute__((packed)) quic;

	if (bpf_skb_load_bytes(skb, at->payload, &quic, sizeof(quic)) || (quic.first & 0xc0) != 0xc0)
		return 0;
	return (quic.version == bpf_htonl(1) && (quic.first & 0x30) == 0x00) ||
	       (quic.version == bpf_htonl(0x6b3343cf) && (quic.first & 0x30) == 0x10); /* RFC 9369 3.2 */
}

static __always_inline int see(struct __sk_buff *skb, enum direction direction)
{
	struct segment s = {};
	struct owner *owner;

	if (!on_interface(skb, direction) || !find_transport(skb, &s.at))
		return 1;
	if (s.at.proto == IPPROTO_UDP) {
		if (!find_payload(skb, &s.at) || !is_quic_initial(skb, &s.at))
			return 1;
	} else if (!read_segment(skb, direction, &s) || !is_wanted(skb, &s)) {
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
