// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Programs that are started, processes that end, and those that the kernel kills for want of memory.
 */
#include "path.h"

enum kind {
	EXEC = 0,
	EXIT = 1,
	OOM = 2,
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
	__u32 exe_deleted; /* it has no entry any more, or never had one: a memory file */
	__u32 cwd;      /* of the working directory's; */
	__u32 cwd_end;
	__u32 unused;
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

/* It is larger than the stack. The program may be preempted, but never by itself: see recursion_misses. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* Threads that were chosen to be killed, and when. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} victims SEC(".maps");

struct once {
	__u64 began;
	__u32 pid;
	__u32 kind;
};

/* What was told of processes of which several threads may find it: that it ended, as none goes on, or was a victim. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct once);
	__type(value, __u8);
} told SEC(".maps");

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

/*
 * Whether it is the first process of its process namespace: a container's, as a rule. `typed`: the verifier knows what
 * the pointer points to, so it can be loaded from, which is cheaper than a call.
 */
static __always_inline int is_first(struct task_struct *task, int typed)
{
	struct pid *pid = FIELD(typed, task, thread_pid);
	__u32 level = FIELD(typed, pid, level);
	struct upid *number = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			      level * bpf_core_type_size(struct upid);

	return level ? BPF_CORE_READ(number, nr) == 1 : FIELD(typed, task, tgid) == 1;
}

static __always_inline void read_ancestors(struct scratch *s, struct task_struct *task, int typed)
{
	for (int i = 0; i < ANCESTORS_MAX; i++) {
		__u32 at = s->task.captured & (TEXT_BYTES - 1);
		struct ancestor a = {};

		if (i && is_first(task, typed))
			break;
		task = FIELD(typed, task, real_parent);
		task = FIELD(typed, task, group_leader);
		a.pid = FIELD(typed, task, tgid);
		if (!a.pid)
			break;
		a.start = FIELD(typed, task, start_boottime) / TICK;
		if (typed)
			__builtin_memcpy(a.comm, task->comm, sizeof(a.comm));
		else
			BPF_CORE_READ_INTO(&a.comm, task, comm);
		bpf_probe_read_kernel(s->text + at, sizeof(a), &a); /* not aligned: some machines cannot store it so */
		s->task.captured = at + sizeof(a);
	}
}

SEC("raw_tp/sched_process_exec")
int BPF_PROG(process_exec)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct file *exe = BPF_CORE_READ(mm, exe_file);
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	__u32 zero = 0;
	struct scratch *s = in_scope() ? bpf_map_lookup_elem(&scratch, &zero) : 0;

	if (!s)
		return 0;
	__builtin_memset(&s->task, 0, sizeof(s->task));
	read_process(&s->task.process);
	s->task.args = read_args(s, mm);
	s->task.exe = read_path(BPF_CORE_READ(exe, f_path.mnt), BPF_CORE_READ(exe, f_path.dentry), s->text,
				&s->task.captured, &s->task.exe_end);
	s->task.exe_deleted = !BPF_CORE_READ(exe, f_path.dentry, d_hash.pprev);
	s->task.cwd = read_path(BPF_CORE_READ(fs, pwd.mnt), BPF_CORE_READ(fs, pwd.dentry), s->text, &s->task.captured,
				&s->task.cwd_end);
	if (has_task_btf())
		read_ancestors(s, bpf_get_current_task_btf()->group_leader, 1);
	else
		read_ancestors(s, BPF_CORE_READ(task, group_leader), 0);
	count_output(bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, s,
					   sizeof(s->task) + (s->task.captured & (TEXT_BYTES - 1))));
	return 0;
}

#define GROUP_EXIT 4 /* SIGNAL_GROUP_EXIT of linux/sched/signal.h */

/* Whether it is the first thread of its process to tell that. Where there is no room for it, twice is better than never. */
static __always_inline int is_first_to_tell(struct task_struct *leader, enum kind kind)
{
	struct once once = { .began = began(leader), .pid = BPF_CORE_READ(leader, tgid), .kind = kind };
	__u8 yes = 1;

	return !has_already(bpf_map_update_elem(&told, &once, &yes, BPF_NOEXIST));
}

/* The process as it is now, at a time that was before. */
static __always_inline void tell_victim(void *ctx, __u64 chosen)
{
	struct task victim = { .kind = OOM };

	read_process(&victim.process);
	victim.process.time = chosen;
	hand_over(ctx, &victim);
}

static __always_inline void tell_end(void *ctx, struct task_struct *leader, struct signal_struct *signal)
{
	struct task ended = { .kind = EXIT };

	read_process(&ended.process);
	ended.ran = bpf_ktime_get_boot_ns() - began(leader);
	ended.code = BPF_CORE_READ(signal, flags) & GROUP_EXIT ? BPF_CORE_READ(signal, group_exit_code) :
								 BPF_CORE_READ(leader, exit_code);
	hand_over(ctx, &ended);
}

SEC("raw_tp/sched_process_exit")
int BPF_PROG(process_exit)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	__u32 thread = bpf_get_current_pid_tgid();
	__u64 *chosen = bpf_map_lookup_elem(&victims, &thread);

	if (chosen) {
		__u64 when = *chosen;

		bpf_map_delete_elem(&victims, &thread);
		if (in_scope() && is_first_to_tell(leader, OOM))
			tell_victim(ctx, when);
	}
	if (!BPF_CORE_READ(signal, live.counter) && in_scope() && is_first_to_tell(leader, EXIT)) /* none goes on */
		tell_end(ctx, leader, signal);
	return 0;
}

/* Nobody asks for it any more: of a process that is the leader's, the last of its threads to go. */
SEC("raw_tp/sched_process_free")
int process_free(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	struct once once = { .pid = BPF_CORE_READ(task, tgid), .kind = EXIT };

	if ((__u32)BPF_CORE_READ(task, pid) != once.pid)
		return 0;
	once.began = began(task);
	bpf_map_delete_elem(&told, &once);
	once.kind = OOM;
	bpf_map_delete_elem(&told, &once);
	return 0;
}

struct mark_victim { /* /sys/kernel/tracing/events/oom/mark_victim/format; newer kernels have more behind it */
	__u64 common;
	int pid;
};

/* The process is told when it, or rather the thread that was chosen, ends: only then, on every kernel, it can be read. */
SEC("tracepoint/oom/mark_victim")
int process_oom(struct mark_victim *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 thread = ctx->pid;

	if (bpf_map_update_elem(&victims, &thread, &now, BPF_ANY))
		count_missed();
	return 0;
}
