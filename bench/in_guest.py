"""The guest's half of tracing.py: `in_guest.py PEERS EMPTY ARCHIVE RESULTS ROUNDS JOBS`.

PEERS: the folder of peers.py. EMPTY: the empty program's object, without `.bpf.o`. ARCHIVE: what the job unpacks.
RESULTS: gets a figure a line, in JSON. ROUNDS: in each every watcher has its turn, with JOBS jobs that count, after one
that does not, between as many that nobody watches: what else the host does slows all of them.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import operations
import watchers
from agent import BenchError
from job import Job, settle
from watchers import Watcher, Watching


def main() -> None:
    """Measure all there is."""
    peers, empty, archive, results = map(Path, sys.argv[1:5])
    rounds, jobs = map(int, sys.argv[5:7])
    with results.open("a", buffering=1) as told, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for cost in operations.measure(empty, folder / "operations"):
            print(json.dumps({"cost": dataclasses.asdict(cost)}), file=told)
        _have_headers(peers)
        job = Job.of(archive, folder / "job")
        everybody: dict[str, Watching] = {
            "ingrain": watchers.ingrain,
            "ingrain_opens": watchers.ingrain_opens,
            "opensnoop": watchers.opensnoop,
            "bpftrace": watchers.bpftrace,
            "auditd": watchers.Auditd(peers),
        }
        for turn in range(rounds):
            order = list(everybody) if turn % 2 == 0 else list(reversed(everybody))
            for who in order:
                try:
                    turn_of_it: dict[str, object] = {"watched": _watched(who, everybody[who], job, jobs)}
                except BenchError as error:  # the others' figures are good nevertheless
                    turn_of_it = {"failed": f"{who}: {error}"}
                    job.clear()
                print(json.dumps(turn_of_it), file=told)
        print(json.dumps({"done": True}), file=told)


def _watched(who: str, watching: Watching, job: Job, jobs: int) -> dict[str, object]:
    """One watcher's turn. Raises BenchError where it did not see what it says nothing was lost of."""
    with tempfile.TemporaryDirectory() as name:
        alone = _done(job, jobs)
        job.clear()
        with watching(job.folder, Path(name)) as watcher:
            used = watcher.cpu_s()
            seconds = _done(job, jobs)
            cpu_s = (watcher.cpu_s() - used) / (jobs + 1)
        missed, files = _missed(who, watcher, job), len(job.names)
        job.clear()
        alone += _done(job, jobs)
        job.clear()
    return {
        "who": who, "alone": alone, "seconds": seconds, "cpu_s": cpu_s,
        "lost": watcher.lost, "missed": missed, "files": files,
    }  # fmt: skip


def _done(job: Job, jobs: int) -> list[float]:
    """Seconds that each job took; before them there is one that warms up."""
    taken = []
    for _ in range(jobs + 1):
        settle()
        taken.append(job.do())
    settle()
    return taken[1:]


def _missed(who: str, watcher: Watcher, job: Job) -> int:
    missing = job.paths - watcher.seen
    if len(missing) > (0 if not watcher.lost else len(job.paths) // 2):
        raise BenchError(
            f"{who} told {len(job.paths) - len(missing):,} of {len(job.paths):,} files that were read, and says that "
            f"it lost {watcher.lost:,}; {min(missing)} is not among them"
        )
    return len(missing)


def _have_headers(peers: Path) -> None:
    """Put the kernel's headers where BCC looks for them; in this guest those folders are its own."""
    modules = Path("/lib/modules") / platform.release()
    there = modules.resolve()
    modules.unlink()
    shutil.copytree(peers / "lib" / "modules" / modules.name, modules, symlinks=True)
    for one in there.iterdir():
        if not (modules / one.name).is_symlink():
            (modules / one.name).symlink_to(one)
    for one in (peers / "usr" / "src").iterdir():
        (Path("/usr/src") / one.name).symlink_to(one)


if __name__ == "__main__":
    main()
