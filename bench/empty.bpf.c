// SPDX-License-Identifier: GPL-2.0-or-later
/* Programs that do nothing: what the kernel's statistics say of them is the cost of taking statistics. */
#include "../probes/portable.h"

SEC("cgroup_skb/egress")
int empty_egress(struct __sk_buff *skb)
{
	(void)skb;
	return 1;
}

SEC("cgroup_skb/ingress")
int empty_ingress(struct __sk_buff *skb)
{
	(void)skb;
	return 1;
}
