// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connection events without connections: the very event of network.bpf.c, as many as BPF_PROG_TEST_RUN repeats.
 *
 * What varies is what varies on a busy host: 200 process names, half of them `conn` and a number, each a process of its
 * own; 4,096 remote peers; ephemeral ports to sixteen services; a quarter inbound, an eighth
 * UDP. The maps `events` and `counts` are the agent's own, so its account holds for these events too.
 */
#include "../probes/flow.h"

EVENT(flow);

#define NAMES 200

const volatile __u16 services[] = { 80, 443, 53, 5432, 6379, 8080, 8443, 9092, 3306, 123, 22, 25, 389, 636, 2049, 11211 };

static __always_inline void ipv4(__u8 *to, __u8 a, __u8 b, __u8 c, __u8 d)
{
	__be32 address = bpf_htonl((__u32)a << 24 | (__u32)b << 16 | (__u32)c << 8 | d);

	mapped(to, &address);
}

static __always_inline void name(char *comm, __u32 number)
{
	__builtin_memset(comm, 0, 16);
	__builtin_memcpy(comm, number & 1 ? "conn" : "work", 4);
	comm[4] = '0' + number / 100;
	comm[5] = '0' + number / 10 % 10;
	comm[6] = '0' + number % 10;
}

SEC("cgroup_skb/egress")
int flood(struct __sk_buff *skb)
{
	__u32 process = bpf_get_prandom_u32() % NAMES, peer = bpf_get_prandom_u32(), ports = bpf_get_prandom_u32();
	int inbound = (peer & 0x3000000) == 0;
	struct flow flow = {
		.time = bpf_ktime_get_ns(),
		.cgroup_id = 1000 + process / 4,
		.pid = 20000 + process,
		.uid = 1000 + process % 8,
		.proto = ports & 0x70000000 ? IPPROTO_TCP : IPPROTO_UDP,
		.direction = inbound ? IN : OUT,
		.s_port = 32768 + (ports & 0x3fff),
		.d_port = services[ports >> 16 & (inbound ? 3 : 15)],
	};

	name(flow.comm, process);
	ipv4(inbound ? flow.d_ip : flow.s_ip, 10, 0, 0, 1 + process % 4);
	ipv4(inbound ? flow.s_ip : flow.d_ip, 10, 1, peer >> 8 & 0x0f, peer);
	hand_over(skb, &flow);
	return 1;
}
