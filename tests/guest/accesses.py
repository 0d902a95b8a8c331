"""Does, once each, what can be done with files, below the folder that it is given; also what fails.

Everything is done by absolute paths, so that what strace shows of it can be compared word by word.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path

folder = Path(sys.argv[1])
RENAME_EXCHANGE = 2
AT_FDCWD = -100
LIBC = ctypes.CDLL(None, use_errno=True)


def at(name: str) -> str:
    return str(folder / name)


def fails(what: str, *arguments: object, **more: object) -> None:
    with contextlib.suppress(OSError):
        getattr(os, what)(*arguments, **more)
        raise SystemExit(f"{what} was to fail")


# opened, read, written
one = os.open(at("one"), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
os.write(one, b"x" * 1000)
os.writev(one, [b"y" * 10, b"z" * 20])
os.pwrite(one, b"p" * 7, 5)
os.pwritev(one, [b"q" * 3, b"r" * 4], 50)
os.lseek(one, 0, os.SEEK_SET)
os.read(one, 300)
os.readv(one, [bytearray(10), bytearray(20)])
os.pread(one, 17, 0)
os.preadv(one, [bytearray(5), bytearray(6)], 8)
os.lseek(one, 0, os.SEEK_END)
os.read(one, 100)
os.close(os.open(at("one"), os.O_RDONLY | os.O_CLOEXEC))
os.close(os.open(at("one"), os.O_PATH | os.O_NOFOLLOW))
os.close(os.open(at(""), os.O_RDONLY | os.O_DIRECTORY))
os.close(os.open(at("appended"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
os.close(os.open(at("one"), os.O_WRONLY | os.O_CREAT))
nameless = os.open(at(""), os.O_RDWR | os.O_TMPFILE, 0o600)
os.write(nameless, b"secret")
os.close(nameless)

# from file to file, pipe and back
two = os.open(at("two"), os.O_RDWR | os.O_CREAT, 0o600)
os.copy_file_range(one, two, 400, 0, 0)
os.sendfile(two, one, 0, 200)
ends = os.pipe()
os.sendfile(ends[1], one, 0, 150)
os.read(ends[0], 150)
os.splice(one, ends[1], 120, offset_src=0)
os.splice(ends[0], two, 120, offset_dst=0)

# through memory
shared = mmap.mmap(two, 100, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
shared[0:4] = b"seen"
shared.close()
mmap.mmap(one, 100, mmap.MAP_PRIVATE, mmap.PROT_READ).close()

# size, mode, owner
os.ftruncate(two, 300)
os.truncate(at("one"), 64)
os.close(os.open(at("two"), os.O_WRONLY | os.O_TRUNC))
os.chmod(at("one"), 0o4755)
os.fchmod(one, 0o600)
os.chown(at("one"), 1, 2)
os.fchown(two, -1, 3)

# a child with the descriptor, and another program
os.lseek(one, 0, os.SEEK_SET)
os.set_inheritable(one, True)
child = os.fork()
if not child:
    os.read(one, 33)
    os._exit(0)
os.waitpid(child, 0)
subprocess.run(["cat", at("one")], check=True, stdout=subprocess.DEVNULL)

# entries of directories
os.mkdir(at("folder"))
os.mkfifo(at("fifo"))
os.mknod(at("plain"))
os.symlink(at("one"), at("pointer"))
os.link(at("one"), at("further"))
os.rename(at("two"), at("folder/2"))
os.rename(at("folder/2"), at("further"))
Path(at("third")).touch()
if LIBC.renameat2(AT_FDCWD, at("third").encode(), AT_FDCWD, at("further").encode(), RENAME_EXCHANGE):
    raise SystemExit(f"renameat2: {os.strerror(ctypes.get_errno())}")
os.unlink(at("third"))
os.unlink(at("fifo"))
os.unlink(at("pointer"))

# what fails
os.mkdir(at("full"))
Path(at("full/file")).touch()
fails("open", at("absent"), os.O_RDONLY)
fails("open", at("one"), os.O_RDWR | os.O_CREAT | os.O_EXCL)
fails("unlink", at("absent"))
fails("rmdir", at("full"))
fails("rename", at("folder"), at("full"))
fails("link", at("one"), at("full/file"))
fails("mkdir", at("full"))
fails("truncate", at("full"), 1)
os.rmdir(at("folder"))
