// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Processes that live for a moment: `churn FIRST COUNT PORT` makes COUNT of them, one after the other. Each executes this
 * program anew, takes a name of its own, churn- and its number, sends that to 127.0.0.1:PORT by UDP, tells on stdout its
 * number, process id and the port that it sent from, and ends.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int live(int number, int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in from;
	socklen_t size = sizeof(from);
	char name[16];
	int fd;

	snprintf(name, sizeof(name), "churn-%d", number);
	prctl(PR_SET_NAME, name);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) || send(fd, name, strlen(name), 0) < 0)
		err(1, "%s cannot send", name);
	if (getsockname(fd, (struct sockaddr *)&from, &size))
		err(1, "%s does not know its port", name);
	dprintf(1, "%d %d %d\n", number, getpid(), ntohs(from.sin_port));
	return 0;
}

int main(int argc, char **argv)
{
	int first, count, status;
	char number_of[12];

	if (argc == 3)
		return live(atoi(argv[1]), atoi(argv[2]));
	if (argc != 4)
		return 2;
	first = atoi(argv[1]);
	count = atoi(argv[2]);
	for (int number = first; number < first + count; number++) {
		pid_t pid;

		snprintf(number_of, sizeof(number_of), "%d", number);
		pid = vfork();
		if (pid < 0)
			err(1, "vfork");
		if (!pid) {
			execl(argv[0], argv[0], number_of, argv[3], (char *)0);
			_exit(1);
		}
		if (waitpid(pid, &status, 0) != pid || status)
			errx(1, "a process failed");
	}
	return 0;
}
