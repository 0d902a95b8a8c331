// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Programs that are started, processes that end, and those that the kernel kills for want of memory.
 */
#include "path.h"

enum kind {
	EXEC = 0,
	EXIT = 1,
	OOM = 2, /* told when the process ends: only then it can be read whole, on every kernel */
};

struct task {
	struct process process;
	__u64 ran;      /* EXIT: ns since its process began */
	__u32 kind;
	__u32 code;     /* EXIT: as wait(2) gives it */
	__u32 args;     /* EXEC: bytes of each of what follows: the arguments, */
	__u32 args_all; /* (as many as there are) */
	__u32 exe;      /* the names of the executable's path, */
	__u32 exe_end;
	__u32 cwd;      /* of the working directory's; */
	__u32 cwd_end;
	__u32 captured; /* of all of them; the ancestors are the last */
	__u32 payload;  /* 0 */
};

EVENT(task);

struct ancestor {
	__u64 start;
	__u32 pid;
	char comm[16];
	__u32 unused;
};

EVENT(ancestor);

#define ARGS_BYTES 4096
#define ANCESTORS_MAX 32

struct scratch {
	struct task task;
	char text[TEXT_BYTES + PATH_BYTES];
};

/*
 * An event may be larger than the stack. Each program has its own: on some kernels one task's may be interrupted by
 * another's on the same CPU, but never by itself (such runs are left out, and counted as recursion_misses).
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* Processes that were chosen to be killed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} victims SEC(".maps");

struct once {
	__u64 start;
	__u32 pid;
	__u32 unused;
};

/* Processes whose end was told: of threads that end at the same time, several may find that none goes on. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct once);
	__type(value, __u8);
} ended SEC(".maps");

static __always_inline void hand_over_task(void *ctx, struct scratch *s)
{
	count_output(bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, s,
					   sizeof(s->task) + (s->task.captured & (TEXT_BYTES - 1))));
}

/* They stand first in the text. */
static __always_inline __u32 read_args(struct scratch *s, struct mm_struct *mm)
{
	unsigned long from = BPF_CORE_READ(mm, arg_start), to = BPF_CORE_READ(mm, arg_end);
	__u32 size = to - from < ARGS_BYTES ? to - from : ARGS_BYTES;

	s->task.args_all = to - from;
	if (bpf_probe_read_user(s->text, size & (2 * ARGS_BYTES - 1), (void *)from))
		size = 0;
	s->task.captured = size;
	return size;
}

/* Whether it is the first process of its process namespace: a container's, as a rule. */
static __always_inline int is_first(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid *number = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			      level * bpf_core_type_size(struct upid);

	return BPF_CORE_READ(number, nr) == 1;
}

static __always_inline void read_ancestors(struct scratch *s, struct task_struct *task)
{
	for (int i = 0; i < ANCESTORS_MAX; i++) {
		__u32 at = s->task.captured & (TEXT_BYTES - 1);
		struct ancestor a = {};

		if (i && is_first(task))
			break;
		task = BPF_CORE_READ(task, real_parent, group_leader);
		a.pid = BPF_CORE_READ(task, tgid);
		if (!a.pid)
			break;
		a.start = start_of(task);
		BPF_CORE_READ_INTO(&a.comm, task, comm);
		bpf_probe_read_kernel(s->text + at, sizeof(a), &a); /* not aligned: some machines cannot store it so */
		s->task.captured = at + sizeof(a);
	}
}

/* An event without text; 0 where the current process is not to be seen. */
static __always_inline struct scratch *begin(enum kind kind)
{
	__u32 number = kind;
	struct scratch *s = in_scope() ? bpf_map_lookup_elem(&scratch, &number) : 0;

	if (s) {
		__builtin_memset(&s->task, 0, sizeof(s->task));
		s->task.kind = kind;
		read_process(&s->task.process);
	}
	return s;
}

SEC("raw_tp/sched_process_exec")
int BPF_PROG(process_exec)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct file *exe = BPF_CORE_READ(mm, exe_file);
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct scratch *s = begin(EXEC);

	if (!s)
		return 0;
	s->task.args = read_args(s, mm);
	s->task.exe = read_path(BPF_CORE_READ(exe, f_path.mnt), BPF_CORE_READ(exe, f_path.dentry), s->text,
				&s->task.captured, &s->task.exe_end);
	s->task.cwd = read_path(BPF_CORE_READ(fs, pwd.mnt), BPF_CORE_READ(fs, pwd.dentry), s->text, &s->task.captured,
				&s->task.cwd_end);
	read_ancestors(s, BPF_CORE_READ(task, group_leader));
	hand_over_task(ctx, s);
	return 0;
}

#define GROUP_EXIT 4 /* SIGNAL_GROUP_EXIT of linux/sched/signal.h */

SEC("raw_tp/sched_process_exit")
int BPF_PROG(process_exit)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct once once = { .start = start_of(leader), .pid = pid };
	struct scratch *s;
	__u8 told = 1;
	__u64 *killed;

	if (BPF_CORE_READ(signal, live.counter) || !in_scope()) /* threads of it go on */
		return 0;
	if (bpf_map_update_elem(&ended, &once, &told, BPF_NOEXIST))
		return 0;
	s = begin(EXIT);
	if (!s)
		return 0;
	s->task.ran = bpf_ktime_get_boot_ns() - BPF_CORE_READ(leader, start_boottime);
	s->task.code = BPF_CORE_READ(signal, flags) & GROUP_EXIT ? BPF_CORE_READ(signal, group_exit_code) :
								   BPF_CORE_READ(leader, exit_code);
	killed = bpf_map_lookup_elem(&victims, &pid);
	if (killed) {
		__u64 exited = s->task.process.time;

		s->task.kind = OOM;
		s->task.process.time = *killed;
		hand_over_task(ctx, s);
		s->task.process.time = exited;
		s->task.kind = EXIT;
		bpf_map_delete_elem(&victims, &pid);
	}
	hand_over_task(ctx, s);
	return 0;
}

struct mark_victim { /* /sys/kernel/tracing/events/oom/mark_victim/format; newer kernels have more behind it */
	__u64 common;
	int pid;
};

SEC("tracepoint/oom/mark_victim")
int process_oom(struct mark_victim *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 pid = ctx->pid;

	bpf_map_update_elem(&victims, &pid, &now, BPF_ANY);
	return 0;
}
