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
	return see(function, BPF_CORE_READ(file, f_path.mnt), BPF_CORE_READ(file, f_path.dentry));
}

static __always_inline struct slot *see_path(__u32 function, struct path *path)
{
	return see(function, BPF_CORE_READ(path, mnt), BPF_CORE_READ(path, dentry));
}

#define MODE_CREATED (1 << 20) /* FMODE_CREATED of linux/fs.h */

static __always_inline int tell_opened(void *ctx, struct call *call, __u32 flags)
{
	struct file *file = (void *)call->result;
	struct slot *s = is_error(call->result) ? 0 : see_file(call->function, file);

	if (!s)
		return 0;
	s->access.detail[0] = flags;
	if (BPF_CORE_READ(file, f_mode) & MODE_CREATED)
		s->access.marks |= IS_NEW;
	if (!tell(ctx, s, OPENED) && is_counted(file, 0))
		is_named(&s->access.file);
	return 0;
}

/* The file itself has no flag any more that is about how it is opened, O_CREAT for instance. */
static __always_inline int opened(void *ctx, struct call *call)
{
	struct open_flags *how = (void *)call->args[0];

	return tell_opened(ctx, call, BPF_CORE_READ(how, open_flag));
}

/* By a handle (open_by_handle_at(2)), or by the kernel. */
static __always_inline int opened_below(void *ctx, struct call *call)
{
	struct file *file = (void *)call->result;

	return is_error(call->result) ? 0 : tell_opened(ctx, call, BPF_CORE_READ(file, f_flags));
}

ON_RETURN(do_filp_open, 3, 3, 3, 0, 0, 0, opened)
ON_RETURN(do_file_open, 3, 3, 3, 0, 0, 0, opened)
ON_RETURN(do_file_open_root, 4, 3, 1, 0, 0, 0, opened_below)

static __always_inline int mapped(void *ctx, struct call *call)
{
	struct slot *s = call->args[0] && !is_error(call->result) ? see_file(call->function, (void *)call->args[0]) : 0;

	if (!s)
		return 0;
	s->access.detail[0] = call->args[1];
	s->access.detail[1] = call->args[2];
	tell(ctx, s, MAPPED);
	return 0;
}

ON_RETURN(vm_mmap_pgoff, 6, 6, 1, 4, 5, 0, mapped)

static __always_inline int tell_truncated(void *ctx, struct slot *s, struct dentry *dentry)
{
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);

	if (!s)
		return 0;
	s->access.size = BPF_CORE_READ(inode, i_size);
	tell(ctx, s, TRUNCATED);
	return 0;
}

static __always_inline int truncated(void *ctx, struct call *call)
{
	struct path *path = (void *)call->args[0];

	if (is_error(call->result))
		return 0;
	return tell_truncated(ctx, see_path(call->function, path), BPF_CORE_READ(path, dentry));
}

/* Of a file that is open, or is being opened; where it is not, vfs_truncate() calls this. */
static __always_inline int truncated_open(void *ctx, struct call *call)
{
	struct file *file = (void *)(maps_ids() ? call->args[1] : call->args[0]);

	if (!file || is_error(call->result))
		return 0;
	return tell_truncated(ctx, see_file(call->function, file), BPF_CORE_READ(file, f_path.dentry));
}

ON_RETURN(vfs_truncate, 2, 2, 1, 0, 0, 0, truncated)
ON_RETURN(do_truncate, 4, 5, 4, 5, 0, 0, truncated_open)

static __always_inline int mode_changed(void *ctx, struct call *call)
{
	struct slot *s = is_error(call->result) ? 0 : see_path(call->function, (void *)call->args[0]);

	if (!s)
		return 0;
	s->access.detail[0] = call->args[1];
	tell(ctx, s, MODE);
	return 0;
}

static __always_inline int owner_changed(void *ctx, struct call *call)
{
	struct slot *s = is_error(call->result) ? 0 : see_path(call->function, (void *)call->args[0]);

	if (!s)
		return 0;
	s->access.detail[0] = call->args[1];
	s->access.detail[1] = call->args[2];
	tell(ctx, s, OWNER);
	return 0;
}

ON_RETURN(chmod_common, 2, 2, 1, 2, 0, 0, mode_changed)
ON_RETURN(chown_common, 3, 3, 1, 2, 3, 0, owner_changed)

ON_MOVE(vfs_read, 4, 1, 0, 1)
ON_MOVE(vfs_readv, 5, 1, 0, 1)
ON_MOVE(vfs_write, 4, 0, 1, 1)
ON_MOVE(vfs_writev, 5, 0, 1, 1)
/* Where they are no part of what follows, it is sendfile(2). */
ON_MOVE(do_splice_direct, 6, 1, 3, !is_within(MOVING))
ON_MOVE(splice_file_to_pipe, 5, 1, 0, !is_within(MOVING))
ON_WHOLE_MOVE(do_splice, 6, 1, 3)
ON_WHOLE_MOVE(vfs_copy_file_range, 6, 1, 3)

SEC("raw_tracepoint/sys_exit")
int syscall_returns(struct bpf_raw_tracepoint_args *ctx)
{
	return all_moved(ctx, FUNCTION_system_call, ctx->args[1]);
}

SEC("raw_tp/io_uring_complete")
int uring_complete(struct bpf_raw_tracepoint_args *ctx)
{
	return uring_moved(ctx, (void *)ctx->args[1]);
}

ON_HOOK(security_path_rename, 5, vfs_rename, 1, 2, 4, 5)
ON_HOOK(security_path_link, 3, vfs_link, 2, 1, 3, 0)
ON_HOOK(security_path_symlink, 3, vfs_symlink, 1, 2, 0, 0)
ON_HOOK(security_path_mkdir, 3, vfs_mkdir, 1, 2, 0, 0)
ON_HOOK(security_path_mknod, 4, vfs_mknod, 1, 2, 0, 0)
ON_HOOK(security_path_unlink, 2, vfs_unlink, 1, 2, 0, 0)
ON_HOOK(security_path_rmdir, 2, vfs_rmdir, 1, 2, 0, 0)

/* The second number of arguments is that of Linux 5.12 to 5.16: kernels since then say themselves what was returned. */
ON_CHANGE(vfs_rename, 1, 1)
ON_CHANGE(vfs_link, 4, 5)
ON_CHANGE(vfs_symlink, 3, 4)
ON_CHANGE(vfs_mkdir, 3, 4)
ON_CHANGE(vfs_mknod, 4, 5)
ON_CHANGE(vfs_unlink, 3, 4)
ON_CHANGE(vfs_rmdir, 2, 3)

SEC("fentry/d_delete")
int d_delete_fentry(__u64 *ctx)
{
	return entry_goes(ctx, TRACED_1(ctx));
}

SEC("kprobe/d_delete")
int d_delete_kprobe(struct pt_regs *ctx)
{
	return entry_goes(ctx, PROBED_1(ctx));
}
