// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * DNS messages over UDP and TCP, multicast ones too, told by what they hold, whatever their port: handed over with their
 * bytes. A TCP connection is DNS if its first bytes are; its segments are then handed over one by one.
 */
#include "stream.h"

EVENT(packet);

struct header { /* RFC 1035 4.1.1 */
	__u16 id;
	__u8 qr_opcode_aa_tc_rd;
	__u8 ra_z_ad_cd_rcode;
	__be16 questions, answers, authorities, additionals;
} __attribute__((packed));

struct prefixed { /* RFC 1035 4.2.2 */
	__be16 length;
	struct header header;
	__u8 first_label;
} __attribute__((packed));

#define QUESTIONS_MAX 64
#define RECORDS_MAX 4096
#define LABEL_MAX 63
#define OPCODE 0x78
#define NOTIFY 0x20 /* RFC 1996 */
#define UPDATE 0x28 /* RFC 2136 */
#define DSO 0x30    /* RFC 8490 */

static __always_inline int has_few_records(const struct header *dns)
{
	return bpf_ntohs(dns->answers) <= RECORDS_MAX && bpf_ntohs(dns->authorities) <= RECORDS_MAX &&
	       bpf_ntohs(dns->additionals) <= RECORDS_MAX;
}

/* Whether that can be a query or an answer. What it says else is for the user side to read, and to count if it cannot. */
static __always_inline int is_dns(const struct header *dns, __u8 first_label, __u32 length)
{
	int is_answer = dns->qr_opcode_aa_tc_rd & 0x80;
	__u16 questions = bpf_ntohs(dns->questions);

	if (dns->qr_opcode_aa_tc_rd & OPCODE || questions > QUESTIONS_MAX || !has_few_records(dns))
		return 0; /* an opcode other than QUERY, or more than a message holds */
	if (questions)
		return first_label <= LABEL_MAX && length > sizeof(*dns) + 4;
	if (!is_answer)
		return 0;
	/* No question: an answer of multicast DNS (RFC 6762 18), or a refusal that is nothing but a header. */
	return dns->answers ? !dns->id && dns->qr_opcode_aa_tc_rd & 0x04 && !(dns->ra_z_ad_cd_rcode & 0x0f) :
			      length == sizeof(*dns) && dns->ra_z_ad_cd_rcode & 0x0f;
}

/* Whether that can be another request than a query. Nothing is told of those, but of the queries behind them. */
static __always_inline int is_request(const struct header *dns, __u8 first_label)
{
	__u16 questions = bpf_ntohs(dns->questions);

	switch (dns->qr_opcode_aa_tc_rd & (0x80 | OPCODE)) {
	case NOTIFY:
	case UPDATE:
		return questions == 1 && first_label <= LABEL_MAX && has_few_records(dns);
	case DSO:
		return !questions && !dns->answers && !dns->authorities && !dns->additionals &&
		       !dns->ra_z_ad_cd_rcode;
	default:
		return 0;
	}
}

static __always_inline int begins_dns(const struct prefixed *dns)
{
	__u16 length = bpf_ntohs(dns->length);

	return length > sizeof(struct header) &&
	       (is_dns(&dns->header, dns->first_label, length) || is_request(&dns->header, dns->first_label));
}

/*
 * Where the stream's first segments are shorter than what tells DNS, their bytes are gathered until they tell it. Such
 * segments are handed over meanwhile; false once it is something else.
 */
static __always_inline int gather(struct __sk_buff *skb, const struct segment *s, struct stream *stream)
{
	__u64 have = s->begin == s->seq ? 0 : stream->have;
	__u8 byte;

	for (__u32 i = 0; i < sizeof(struct prefixed); i++) {
		if (i >= s->at.payload_len || have >= sizeof(struct prefixed) ||
		    bpf_skb_load_bytes(skb, s->at.payload + i, &byte, 1))
			break;
		asm volatile("%0 &= 15" : "+r"(have)); /* the compiler knows; the verifier has to be told */
		stream->head[have++] = byte;
	}
	stream->have = have;
	stream->until[s->way & 1] = s->seq + s->at.payload_len;
	if (have < sizeof(struct prefixed))
		return 1;
	stream->have = 0;
	stream->wanted[0] = begins_dns((const void *)stream->head);
	return stream->wanted[0];
}

/* Whether the segment is part of a DNS stream, or may turn out to be. */
static __always_inline int is_wanted(struct __sk_buff *skb, struct segment *s)
{
	struct stream *stream = s->stream;
	__u8 way = s->way & 1;
	struct prefixed dns;

	recall_start(s);
	if (stream && stream->wanted[0]) { /* both directions are, from the first query on */
		if (!stream->begun[way]) {
			stream->begin[way] = s->start_known ? s->start : s->seq;
			stream->begun[way] = 1;
		}
		s->begin = stream->begin[way];
		return s->seq - s->begin < STREAM_MAX;
	}
	if (stream && stream->have && s->seq == stream->until[way]) {
		s->begin = stream->begin[way];
	} else if (stream && stream->decided[way]) {
		return 0;
	} else if (replay ? s->start_known && s->seq != s->start : !s->start_known || s->seq != s->start) {
		s->begin = s->start;
		return is_early(s); /* not the stream's first; of a capture without its SYN, the first that there is may be */
	} else {
		s->begin = s->seq;
	}
	if (s->begin == s->seq && s->at.payload_len >= sizeof(dns)) {
		if (!read_part(skb, s->at.payload, &dns, sizeof(dns)) || !begins_dns(&dns)) {
			if (stream)
				stream->decided[way] = 1;
			return 0;
		}
		stream = keep_stream(skb, s);
		if (!stream)
			return 1;
		stream->have = 0;
		stream->wanted[0] = 1;
	} else {
		stream = keep_stream(skb, s);
		if (!stream || !gather(skb, s, stream))
			return 0;
	}
	stream->begin[way] = s->begin;
	stream->begun[way] = stream->decided[way] = 1;
	return 1;
}

/* Whether the stream is known not to be DNS: only what it begins with tells that. */
static __always_inline int is_over(const struct bpf_tcp_sock *tcp, const struct stream *stream, enum direction direction)
{
	if (!is_begun(tcp, direction))
		return 0;
	return stream ? stream->decided[direction] && !stream->wanted[0] && !stream->have : !may_be_apart(tcp, direction);
}

static __always_inline int see(struct __sk_buff *skb, enum direction direction)
{
	struct bpf_tcp_sock *tcp = replay ? 0 : connection_of(skb);
	struct segment s = {};
	struct owner *owner;
	struct header dns;
	__u8 first_label = 0;

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
		if (!find_payload(skb, &s.at, sizeof(struct udphdr)) ||
		    !read_part(skb, s.at.payload, &dns, sizeof(dns)))
			return 1;
		if (dns.questions && !read_part(skb, s.at.payload + sizeof(dns), &first_label, sizeof(first_label)))
			return 1;
		if (!is_dns(&dns, first_label, s.at.payload_len))
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
int dns_egress(struct __sk_buff *skb)
{
	return see(skb, OUT);
}

SEC("cgroup_skb/ingress")
int dns_ingress(struct __sk_buff *skb)
{
	return see(skb, IN);
}
