// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who opens, maps, truncates, renames, links, makes and deletes files, and changes their mode and owner, as events;
 * what is read and written is counted (moved.h). Only what succeeded is told, and only in directories that are watched.
 */
#include "changes.h"
#include "uring.h"

/* An event about a file at a path; 0 where it is not to be seen. */
static __always_inline struct slot *see(__u32 function, struct vfsmount *mnt, struct dentry *dentry)
{
	struct slot *s = new_event(function);

	if (!s)
		return 0;
	walk_from(s, (__u64)mnt, (__u64)dentry);
	if (!walk(function))
		return 0;
	identify(&s->access.file, mnt, dentry, BPF_CORE_READ(dentry, d_inode), 0);
	s->access.path = s->walk.bytes;
	s->access.marks = marks_of(&s->walk, dentry);
	return s;
}

static __always_inline struct slot *see_file(__u32 function, struct file *file)
{
	struct path path;

	BPF_CORE_READ_INTO(&path, file, f_path);
	return see(function, path.mnt, path.dentry);
}

#define MODE_CREATED (1 << 20) /* FMODE_CREATED of linux/fs.h */

/* What open_flags has of flags that are only about how a file is opened (O_CREAT ...), the file itself has not. */
static __always_inline int opening(__u64 args[4])
{
	args[0] = BPF_CORE_READ((struct open_flags *)args[0], open_flag);
	return 1;
}

/* By a handle (open_by_handle_at(2)), or by the kernel. */
static __always_inline int opening_below(__u64 args[4])
{
	args[0] = ANY;
	return 1;
}

static __always_inline int opened(void *ctx, struct call *call)
{
	struct file *file = (void *)call->result;
	struct slot *s = see_file(call->function, file);

	if (!s)
		return 0;
	s->access.detail[0] = (__u32)call->args[0] == ANY ? BPF_CORE_READ(file, f_flags) : call->args[0];
	if (BPF_CORE_READ(file, f_mode) & MODE_CREATED)
		s->access.marks |= IS_NEW;
	if (!tell(ctx, s, OPENED) && counted_directions && is_counted(file, 0))
		is_named(&s->access.file);
	return 0;
}

ON_RETURN(do_filp_open, OPENING, 3, 3, 3, 0, 0, 0, opening, opened)
ON_RETURN(do_file_open, OPENING, 3, 3, 3, 0, 0, 0, opening, opened)
ON_RETURN(do_file_open_root, OPENING, 4, 3, 0, 0, 0, 0, opening_below, opened)

/* The file that was opened gets its descriptor: no kretprobe saw the end of that. */
SEC("kprobe/fd_install")
int fd_install_kprobe(struct pt_regs *ctx)
{
	struct call call;

	if (!ends(OPENING, ANY, PROBED_2(ctx), &call))
		return 0;
	call.function = FUNCTION_fd_install;
	return opened(ctx, &call);
}

static __always_inline int mapping(__u64 args[4])
{
	return args[0] != 0;
}

static __always_inline int mapped(void *ctx, struct call *call)
{
	struct slot *s = see_file(call->function, (void *)call->args[0]);

	if (!s)
		return 0;
	s->access.detail[0] = call->args[1];
	s->access.detail[1] = call->args[2];
	tell(ctx, s, MAPPED);
	return 0;
}

ON_RETURN(vm_mmap_pgoff, CHANGING, 6, 6, 1, 4, 5, 0, mapping, mapped)

/* The first two arguments become mount and entry. */
static __always_inline int of_path(__u64 args[4])
{
	struct path *path = (void *)args[0];

	args[0] = (__u64)BPF_CORE_READ(path, mnt);
	args[1] = (__u64)BPF_CORE_READ(path, dentry);
	return 1;
}

/* Of a file that is open, or is being opened; where it is not, vfs_truncate() calls do_truncate(). */
static __always_inline int of_open_file(__u64 args[4])
{
	struct file *file = (void *)behind_ids(args[0], args[1]);

	args[0] = (__u64)BPF_CORE_READ(file, f_path.mnt);
	args[1] = (__u64)BPF_CORE_READ(file, f_path.dentry);
	return file != 0;
}

static __always_inline struct slot *see_changed(struct call *call)
{
	return see(call->function, (void *)call->args[0], (void *)call->args[1]);
}

static __always_inline int truncated(void *ctx, struct call *call)
{
	struct dentry *dentry = (void *)call->args[1];
	struct slot *s = see_changed(call);

	if (!s)
		return 0;
	s->access.size = BPF_CORE_READ(dentry, d_inode, i_size);
	tell(ctx, s, TRUNCATED);
	return 0;
}

ON_RETURN(vfs_truncate, CHANGING, 2, 2, 1, 0, 0, 0, of_path, truncated)
ON_RETURN(do_truncate, CHANGING, 4, 5, 4, 5, 0, 0, of_open_file, truncated)

static __always_inline int mode_changed(void *ctx, struct call *call)
{
	struct slot *s = see_changed(call);

	if (!s)
		return 0;
	s->access.detail[0] = call->args[2];
	tell(ctx, s, MODE);
	return 0;
}

static __always_inline int owner_changed(void *ctx, struct call *call)
{
	struct slot *s = see_changed(call);

	if (!s)
		return 0;
	s->access.detail[0] = call->args[2];
	s->access.detail[1] = call->args[3];
	tell(ctx, s, OWNER);
	return 0;
}

ON_RETURN(chmod_common, CHANGING, 2, 2, 1, 0, 2, 0, of_path, mode_changed)
ON_RETURN(chown_common, CHANGING, 3, 3, 1, 0, 2, 3, of_path, owner_changed)

ON_MOVE(vfs_read, 4, 1, 0, 1)
ON_MOVE(vfs_readv, 5, 1, 0, 1)
ON_MOVE(vfs_write, 4, 0, 1, 1)
ON_MOVE(vfs_writev, 5, 0, 1, 1)
/* Where they are no part of what follows, it is sendfile(2). */
ON_MOVE(do_splice_direct, 6, 1, 3, !is_within(MOVING))
ON_MOVE(splice_file_to_pipe, 5, 1, 0, !is_within(MOVING))
ON_WHOLE_MOVE(do_splice, 6, 1, 3)
ON_WHOLE_MOVE(vfs_copy_file_range, 6, 1, 3)

static __always_inline void file_is_left(void *ctx, struct call *call, int one_thing)
{
	__u32 function = call->function;

	if (!one_thing) {
		count_missed();
		return;
	}
	call->function = FUNCTION_system_call;
	switch (is_error(call->result) ? ANY : function) {
	case FUNCTION_vm_mmap_pgoff:
		mapped(ctx, call);
		break;
	case FUNCTION_vfs_truncate:
	case FUNCTION_do_truncate:
		truncated(ctx, call);
		break;
	case FUNCTION_chmod_common:
		mode_changed(ctx, call);
		break;
	case FUNCTION_chown_common:
		owner_changed(ctx, call);
		break;
	}
}

/* What is left of a system call when it returns: bytes that it moved, and what no kretprobe saw the end of. */
SEC("raw_tracepoint/sys_exit")
int syscall_returns(struct bpf_raw_tracepoint_args *ctx)
{
	__s64 result = ctx->args[1];
	struct call call;
	int one_thing;

	if (!own_calls())
		return 0;
	one_thing = does_one_thing((void *)ctx->args[0]);
	if (ends(MOVING, ANY, result, &call)) {
		if (one_thing)
			has_moved(ctx, FUNCTION_system_call, (void *)call.args[0], (void *)call.args[1], result, 0);
		else
			count_missed();
	}
	if (ends(OPENING, ANY, result, &call) && !is_error(result)) /* of a program that is executed, for instance */
		count_missed();
	if (ends(CHANGING, ANY, result, &call))
		file_is_left(ctx, &call, one_thing);
	if (ends(DIRECTORY, ANY, result, &call))
		change_is_left(ctx, result, one_thing);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int thread_ends(void *ctx __attribute__((unused)))
{
	__u32 thread = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&calls, &thread);
	bpf_map_delete_elem(&changes, &thread);
	return 0;
}

SEC("raw_tp/io_uring_complete")
int uring_complete(struct bpf_raw_tracepoint_args *ctx)
{
	return uring_moved(ctx, (void *)ctx->args[1]);
}

ON_RETURN(io_read, MOVING, 2, 2, 1, 0, 0, 0, requesting, requested)
ON_RETURN(io_write, MOVING, 2, 2, 1, 0, 0, 0, requesting, requested)

SEC("fentry/io_req_rw_complete")
int io_req_rw_complete_fentry(__u64 *ctx)
{
	return uring_completes(ctx, (void *)TRACED_1(ctx));
}

SEC("kprobe/io_req_rw_complete")
int io_req_rw_complete_kprobe(struct pt_regs *ctx)
{
	return uring_completes(ctx, (void *)PROBED_1(ctx));
}

ON_HOOK(security_path_rename, 5, vfs_rename, 1, 2, 4, 5)
ON_HOOK(security_path_link, 3, vfs_link, 2, 1, 3, 0)
ON_HOOK(security_path_symlink, 3, vfs_symlink, 1, 2, 0, 0)
ON_HOOK(security_path_mkdir, 3, vfs_mkdir, 1, 2, 0, 0)
ON_HOOK(security_path_mknod, 4, vfs_mknod, 1, 2, 0, 0)
ON_HOOK(security_path_unlink, 2, vfs_unlink, 1, 2, 0, 0)
ON_HOOK(security_path_rmdir, 2, d_delete, 1, 2, 0, 0)

/* The second number of arguments is that of Linux 5.12 to 5.16: kernels since then have the result at hand. */
ON_CHANGE(vfs_rename, renames_by_struct() ? 1 : 6, 1, OF_RENAME)
ON_CHANGE(vfs_link, 4, 5, FIRST)
ON_CHANGE(vfs_symlink, 3, 4, SECOND)
ON_CHANGE(vfs_mkdir, 3, 4, SECOND)
ON_CHANGE(vfs_mknod, 4, 5, SECOND)
ON_CHANGE_OF(vfs_mknod, vfs_create, 4, 5, SECOND_OR_THIRD) /* mknod(2) of a regular file */
ON_CHANGE(vfs_unlink, 3, 4, SECOND)

/* The last that vfs_rmdir() does, if it succeeds; that itself may be a part of its callers (Linux 5.10). */
SEC("fentry/d_delete")
int d_delete_fentry(__u64 *ctx)
{
	return changed(ctx, FUNCTION_d_delete, FUNCTION_d_delete, TRACED_1(ctx), 0);
}

SEC("kprobe/d_delete")
int d_delete_kprobe(struct pt_regs *ctx)
{
	return changed(ctx, FUNCTION_d_delete, FUNCTION_d_delete, PROBED_1(ctx), 0);
}
