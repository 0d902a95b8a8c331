"""Containers that come and go by the thousand, each with processes that live for a moment (churn.c)."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ingrain.kernel import cgroup

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from engines import Host

ALIVE = 50
"""Containers at a time: so each is there for half a second, which is little for an engine to make and remove one."""

GROWTH_KB = 16 << 10
"""What an agent's highest may be more in the second half than in the first: of 100,000 processes, 0.3 KB for each."""


@dataclass(frozen=True, slots=True)
class Lived:
    """A process: its name, id and port, and whose it was."""

    process: str
    pid: int
    port: int
    container_id: str
    container: str


def compiled(folder: Path) -> Path:
    """The program, without libraries: a guest would look for these on its host, for each process 60 ms."""
    flags = ["-O2", "-static", "-Wall", "-Werror"]
    subprocess.run(["clang", *flags, Path(__file__).parent / "churn.c", "-o", folder / "churn"], check=True)
    return folder / "churn"


def churn(program: Path, group: Path, host: Host, containers: int, each: int) -> Iterator[list[Lived]]:
    """The processes of one container after the other; its cgroup and its engine's record are there for a while."""
    alive: deque[tuple[Path, Path]] = deque()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        port = sink.getsockname()[1]
        for number in range(containers):
            identifier, name = f"{number:064x}", f"job{number}"
            record = host.docker(identifier, name).parent
            folder = group / f"docker-{identifier}.scope"
            folder.mkdir()
            alive.append((folder, record))
            command = [str(program), str(number * each), str(each), str(port)]
            inside = partial(cgroup.enter, folder)
            told = subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=inside).stdout
            lived = [tuple(map(int, line.split())) for line in told.splitlines()]
            yield [Lived(f"churn-{process}", pid, from_, identifier, name) for process, pid, from_ in lived]
            if len(alive) > ALIVE:
                _remove(*alive.popleft())
    for gone in alive:
        _remove(*gone)


def highest_kb(pid: int) -> int:
    """Resident memory of a process at its highest, since this was asked the last time (proc_pid_clear_refs(5)).

    Its latest would depend on what is just being written: once a minute, some 10 MB.
    """
    process = Path(f"/proc/{pid}")
    (line,) = (line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM:"))
    (process / "clear_refs").write_text("5")
    return int(line.split()[1])


def _remove(folder: Path, record: Path) -> None:
    folder.rmdir()
    shutil.rmtree(record)
