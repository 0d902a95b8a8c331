/* What Debian 12's libraries call and Debian 11's glibc lacks, by the system calls that the newer glibc uses, too. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* glibc 2.34; Python falls back to a loop where the kernel (before 5.9) lacks it. */
int close_range(unsigned int first, unsigned int last, int flags)
{
	return syscall(SYS_close_range, first, last, flags);
}

/* glibc 2.36; expat's salt of hashes. */
void arc4random_buf(void *buffer, size_t size)
{
	while (size) {
		ssize_t got = getrandom(buffer, size, 0);

		if (got < 0 && errno != EINTR)
			abort();
		if (got > 0) {
			buffer = (char *)buffer + got;
			size -= got;
		}
	}
}
