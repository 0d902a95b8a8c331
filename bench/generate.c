// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A load of real kernel events: runs BPF programs on frames with BPF_PROG_TEST_RUN until SIGTERM, which waits for the
 * call under way, so that every run is counted.
 *
 *   generate CPU FRAMES REPEAT RATE CONTROL PROGRAM...
 *
 * CPU: where to run (-1: anywhere). FRAMES: a file of frames, each behind two 32-bit numbers: which of the PROGRAMs
 * (descriptors) it is for, and its length; they are taken in turn. REPEAT: the most runs a call. RATE: runs a second, 0
 * for as fast as it goes; what is due is made up a millisecond's worth at a time. CONTROL: a file whose first 64-bit
 * number is how many runs there may have been so far, and whose second is how many there were. At the end, JSON on
 * stdout.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <fcntl.h>
#include <unistd.h>

#include <bpf/bpf.h>

struct control {
	volatile uint64_t allowed, done;
};

/* A signal that is blocked does not cut BPF_PROG_TEST_RUN short; one that is handled does, and how often it ran is lost. */
static int stopping(void)
{
	sigset_t pending;

	sigpending(&pending);
	return sigismember(&pending, SIGTERM);
}

static void *map_file(const char *path, int protection, size_t *size)
{
	int fd = open(path, protection & PROT_WRITE ? O_RDWR : O_RDONLY);
	struct stat about;
	void *memory;

	if (fd < 0 || fstat(fd, &about)) {
		perror(path);
		exit(1);
	}
	memory = mmap(0, about.st_size, protection, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		perror(path);
		exit(1);
	}
	close(fd);
	*size = about.st_size;
	return memory;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static uint64_t due(const struct control *control, double rate, double begun)
{
	uint64_t allowed = control->allowed, scheduled;

	if (!rate)
		return allowed;
	scheduled = (now() - begun) * rate;
	return scheduled < allowed ? scheduled : allowed;
}

int main(int argc, char **argv)
{
	const struct timespec tick = { .tv_nsec = 1000000 };
	uint64_t done = 0, target;
	const unsigned char *frames;
	struct control *control;
	size_t size, at = 0;
	struct rusage used;
	sigset_t blocked;
	double begun, rate;
	int cpu, most;

	if (argc < 7)
		return 2;
	cpu = atoi(argv[1]);
	frames = map_file(argv[2], PROT_READ, &size);
	most = atoi(argv[3]);
	rate = atof(argv[4]);
	control = map_file(argv[5], PROT_READ | PROT_WRITE, &(size_t){ 0 });
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, 0);
	if (cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set))
			perror("sched_setaffinity");
	}
	begun = now();
	while (!stopping()) {
		target = due(control, rate, begun);
		if (done >= target)
			nanosleep(&tick, 0);
		while (done < target && !stopping()) {
			const uint32_t *head = (const void *)(frames + at);
			LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = head + 2, .data_size_in = head[1],
				    .repeat = target - done < (uint64_t)most ? target - done : (uint64_t)most);

			if (bpf_prog_test_run_opts(atoi(argv[6 + head[0]]), &run)) {
				perror("BPF_PROG_TEST_RUN");
				return 1;
			}
			done += run.repeat;
			control->done = done;
			at += 8 + (head[1] + 3) / 4 * 4;
			if (at >= size)
				at = 0;
		}
	}
	getrusage(RUSAGE_SELF, &used);
	printf("{\"done\": %llu, \"seconds\": %.6f, \"cpu_s\": %.6f}\n", (unsigned long long)done, now() - begun,
	       used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	return 0;
}
