// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The peer in C: libbpf's perf_buffer with its defaults (a wake-up for each event, a callback for each event).
 *
 *   reader MAP PAGES
 *
 * MAP: descriptor of a perf event array. PAGES: of each CPU's buffer. Says "ready", reads until SIGTERM, empties the
 * buffers, then says in JSON what it read and the processor time that it took.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <bpf/libbpf.h>

#include <linux/types.h>

struct flow { /* of probes/flow.h */
	__u64 time, cgroup_id;
	__u32 pid, uid;
	char comm[16];
	__u8 s_ip[16], d_ip[16];
	__u16 s_port, d_port;
	__u8 proto, direction;
	__u16 unused;
};

static volatile sig_atomic_t stopping;
static uint64_t received, lost, sum;

static void stop(int number)
{
	(void)number;
	stopping = 1;
}

static void on_event(void *context, int cpu, void *data, __u32 size)
{
	const struct flow *flow = data;

	(void)context, (void)cpu;
	if (size >= sizeof(*flow))
		sum += flow->pid;
	received++;
}

static void on_lost(void *context, int cpu, __u64 count)
{
	(void)context, (void)cpu;
	lost += count;
}

static double cpu_s(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = stop };
	struct perf_buffer *buffer;
	double begun;

	if (argc != 3)
		return 2;
	buffer = perf_buffer__new(atoi(argv[1]), atoi(argv[2]), on_event, on_lost, NULL, NULL);
	if (!buffer) {
		perror("perf_buffer__new");
		return 1;
	}
	sigaction(SIGTERM, &action, NULL);
	printf("ready\n");
	fflush(stdout);
	begun = cpu_s();
	while (!stopping)
		perf_buffer__poll(buffer, 100);
	perf_buffer__consume(buffer);
	printf("{\"received\": %llu, \"lost\": %llu, \"cpu_s\": %.6f, \"sum\": %llu}\n", (unsigned long long)received,
	       (unsigned long long)lost, cpu_s() - begun, (unsigned long long)sum);
	perf_buffer__free(buffer);
	return 0;
}
