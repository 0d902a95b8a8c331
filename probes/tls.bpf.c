// SPDX-License-Identifier: GPL-2.0-or-later
/* TLS ClientHello and ServerHello, told by what they hold, whatever their port: handed over with their bytes. */
#include "flow.h"

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

static __always_inline int see(struct __sk_buff *skb, enum direction direction)
{
	struct layout at;
	struct hello tls;
	struct tcphdr h;
	struct owner *owner;

	if (!on_interface(skb, direction) || !find_transport(skb, &at) || at.proto != IPPROTO_TCP)
		return 1;
	if (!read_part(skb, at.transport, &h, sizeof(h)) || !find_payload(skb, &at, h.doff * 4) ||
	    at.payload_len < sizeof(tls) || !read_part(skb, at.payload, &tls, sizeof(tls)) || !is_hello(&tls))
		return 1;
	owner = owner_of(skb);
	if (!is_own(owner))
		capture(skb, &at, direction, owner);
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
