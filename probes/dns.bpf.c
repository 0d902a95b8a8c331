// SPDX-License-Identifier: GPL-2.0-or-later
/* DNS messages over UDP, told by what they hold, whatever their port: handed over with their bytes. */
#include "flow.h"

EVENT(packet);

struct header { /* RFC 1035 4.1.1 */
	__u16 id;
	__u8 qr_opcode_aa_tc_rd;
	__u8 ra_z_ad_cd_rcode;
	__be16 questions, answers, authorities, additionals;
	__u8 first_label;
};

static __always_inline int is_dns(const struct header *dns)
{
	if (dns->qr_opcode_aa_tc_rd & 0x78 || dns->ra_z_ad_cd_rcode & 0x40)
		return 0; /* an opcode other than QUERY, or the reserved bit */
	if (dns->questions != bpf_htons(1) || dns->first_label > 63)
		return 0;
	if (dns->qr_opcode_aa_tc_rd & 0x80) /* an answer; its counts must be believable */
		return bpf_ntohs(dns->answers) < 4096 && bpf_ntohs(dns->authorities) < 4096 &&
		       bpf_ntohs(dns->additionals) < 4096;
	return !dns->answers && !dns->authorities && bpf_ntohs(dns->additionals) <= 2 &&
	       !(dns->ra_z_ad_cd_rcode & 0x0f);
}

static __always_inline int see(struct __sk_buff *skb, enum direction direction)
{
	struct layout at;
	struct header dns;
	struct owner *owner;

	if (!on_interface(skb, direction) || !find_transport(skb, &at) || at.proto != IPPROTO_UDP)
		return 1;
	if (!find_payload(skb, &at, sizeof(struct udphdr)) || !read_part(skb, at.payload, &dns, sizeof(dns)) ||
	    !is_dns(&dns))
		return 1;
	owner = owner_of(skb);
	if (!is_own(owner))
		capture(skb, &at, direction, owner);
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
