// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A StatsD receiver on a UDP port of the loopback, that only adds up: what arrives is what was said to be sent, or not.
 *
 *   receiver
 *
 * Says its port, receives until SIGTERM and what waits then, then says in JSON how many datagrams and lines came, the
 * sum of the lines' values, and the processor time that it took.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <netinet/in.h>

#define BATCH 64
#define DATAGRAM 65536

static char memory[BATCH][DATAGRAM];
static uint64_t datagrams, lines, sum;

static volatile sig_atomic_t stopping;

static void stop(int number)
{
	(void)number;
	stopping = 1;
}

/* Lines are NAME:VALUE|TYPE..., and no name has a colon in it. */
static void read_lines(const char *at, const char *end)
{
	while (at < end) {
		const char *next = memchr(at, '\n', end - at), *value = memchr(at, ':', end - at);

		next = next ? next : end;
		if (value && value < next) {
			uint64_t number = 0;

			while (++value < next && *value >= '0' && *value <= '9')
				number = number * 10 + (*value - '0');
			sum += number;
		}
		lines++;
		at = next + 1;
	}
}

static void receive(int fd, int flags)
{
	struct mmsghdr messages[BATCH] = { 0 };
	struct iovec parts[BATCH];
	int count;

	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){ memory[i], DATAGRAM };
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while ((count = recvmmsg(fd, messages, BATCH, flags, 0)) > 0)
		for (int i = 0; i < count; i++, datagrams++)
			read_lines(memory[i], memory[i] + messages[i].msg_len);
}

int main(void)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 64 << 20;
	struct sigaction action = { .sa_handler = stop };
	socklen_t size = sizeof(here);
	struct rusage used;

	if (fd < 0 || bind(fd, (void *)&here, size) || getsockname(fd, (void *)&here, &size)) {
		perror("receiver");
		return 1;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)))
		perror("SO_RCVBUFFORCE");
	sigaction(SIGTERM, &action, NULL);
	printf("%d\n", ntohs(here.sin_port));
	fflush(stdout);
	while (!stopping)
		receive(fd, MSG_WAITFORONE);
	receive(fd, MSG_DONTWAIT);
	getrusage(RUSAGE_SELF, &used);
	printf("{\"datagrams\": %llu, \"lines\": %llu, \"sum\": %llu, \"cpu_s\": %.6f}\n",
	       (unsigned long long)datagrams, (unsigned long long)lines, (unsigned long long)sum,
	       used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	return 0;
}
