"""Programs that run what their arguments say: where a value that stands in an argument could become a command.

The rule is the simplest that is sound for them. A command of one of them has no `{ tag }` at all, but among the
arguments of a script: `[SHELL, "-c", SCRIPT, NAME, ARGUMENT ...]` and `[INTERPRETER, "/FILE", ARGUMENT ...]`, in
exactly that form. What comes behind a script's place is never read as an option or as code by the interpreter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_POSITIONAL = _names("ash bash dash ksh lksh mksh posh rbash sh yash zsh pypy python")
"""Of these the first argument behind `-c` that is no option is the script, and ends the options (POSIX, sh)."""

_FILES = _POSITIONAL | _names("expect fish lua luajit node nodejs perl php raku ruby tclsh")
"""These run a file that comes first, and leave all that is behind it to that."""

_INTERPRETERS = _FILES | _names(
    "awk gawk mawk nawk sed ed ex vi vim nvim emacs csh tcsh pwsh bc dc gdb m4 make psql mysql mariadb sqlite3"
)
"""Looked for in all of a command: they may be behind a program that runs them."""

_LAUNCHERS = _names(
    "busybox toybox env nice ionice chrt taskset timeout time nohup setsid stdbuf sudo doas su runuser sg pkexec "
    "setpriv capsh chroot unshare nsenter flock xargs parallel watch script ssh systemd-run start-stop-daemon tmux "
    "screen"
)
"""These run a program that comes somewhere among their arguments, or what a shell makes of one."""

_KNOWN = _INTERPRETERS | _LAUNCHERS

_BUILD = re.compile(r"[-.]?\d{1,2}(\.\d{1,2})*(-[\w-]+)?$|[-.](static|dbg|tiny|basic|nox|gtk3)$")
"""Behind a program's name: a version, and what Debian has behind it or instead of it (`perl5.36-x86_64-linux-gnu`)."""

_THEN_A_PROGRAM = ("-exec", "-execdir", "-ok", "-okdir")  # find(1)


def runs_values(command: Sequence[str], has_tags: Callable[[str], object]) -> str:
    """The program of this command that could run a value as a command; empty where there is none.

    has_tags: whether a value goes into an argument.
    """
    if not any(map(has_tags, command)):
        return ""
    first = _name(command[0])
    if first in _LAUNCHERS:
        return first
    looked_at = _beside_script(command, has_tags)
    for before, argument in pairwise(looked_at):
        if before in _THEN_A_PROGRAM and (has_tags(argument) or _name(argument) in _LAUNCHERS):
            return before
    return next((name for name in map(_name, looked_at) if name in _INTERPRETERS), "")


def _beside_script(command: Sequence[str], has_tags: Callable[[str], object]) -> Sequence[str]:
    """What has to be looked at: where the command is a script and its arguments, those alone."""
    first, second, third = (*command, "", "")[:3]
    if _name(first) in _POSITIONAL and second == "-c" and third and third[0] not in "-+" and not has_tags(third):
        return command[4:]  # behind its name, which may be that of a shell
    if _name(first) in _FILES and second.startswith("/") and not has_tags(second):
        return command[2:]
    return command


def _name(argument: str) -> str:
    """A program's name, without its folder and what tells builds of it apart: `python` of /usr/bin/python3.11."""
    name = argument.rpartition("/")[2]
    return name if name in _KNOWN else _BUILD.sub("", name)
