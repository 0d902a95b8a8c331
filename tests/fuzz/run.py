"""Fuzz with coverage as a guide, each target in a process of its own: `python -m fuzz.run --runs 100000 --target dns`.

An input that breaks a promise is kept in FOLDER/found/TARGET, with its traceback beside it, and the fuzzing goes on.
What was learned stays in FOLDER/corpus, so that the next run begins there; FOLDER/account.json adds up all runs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ingrain"]):
    from fuzz.findings import Findings, found
    from fuzz.target import Target
    from fuzz.targets import TARGETS

KEPT = Path(__file__).parent / "found"
"""What was found once, by target: the tests read it again, and fuzzing begins with it, too."""

LEAST = 200
"""Runs of each target: a slow one would have next to none of a few."""

_MEMORY_MB = 1024
_HANGS_S = 600  # by the clock, on a machine that may be busy
_DONE = re.compile(r"stat::number_of_executed_units: (\d+)")
_REACHED = re.compile(r"cov: (\d+) ft: \d+ corp: (\d+)")


@dataclass(slots=True)
class Account:
    """What was done with one target: runs, in so many seconds of CPU time; branches that they reached, and by how many
    inputs; what was found.
    """

    runs: int = 0
    seconds: float = 0.0
    branches: int = 0
    inputs: int = 0
    found: list[str] = field(default_factory=list)


def fuzz(target: Target, runs: int, folder: Path, seed: int) -> None:
    """Fuzz in this process, which libFuzzer ends: with 0 where all runs were made."""
    corpus, seeds, words = (folder / what / target.name for what in ("corpus", "seeds", "words"))
    for one in (corpus, seeds, words.parent, folder / "crashed"):
        one.mkdir(parents=True, exist_ok=True)
    known = (path.read_bytes() for path in sorted((KEPT / target.name).glob("*")))
    for number, data in enumerate([*target.seeds(), *known]):
        (seeds / str(number)).write_bytes(data)
    options: dict[str, object] = {
        "runs": runs, "seed": seed, "max_len": target.longest, "timeout": _HANGS_S, "rss_limit_mb": _MEMORY_MB,
        "artifact_prefix": f"{folder}/crashed/{target.name}-", "print_final_stats": 1,
    }  # fmt: skip
    if target.words:
        words.write_text("".join('"' + "".join(map("\\x{:02x}".format, word)) + '"\n' for word in target.words))
        options["dict"] = words
    arguments = [target.name, *(f"-{key}={value}" for key, value in options.items()), str(corpus), str(seeds)]
    atheris.Setup(arguments, Findings(folder / "found" / target.name, target.run).try_one)
    atheris.Fuzz()


def start(target: Target, runs: int, folder: Path, seed: int, scratch: str) -> int:
    """The same in a child; its process id. scratch: where it may leave files."""
    child = os.fork()
    if child:
        return child
    try:
        tempfile.tempdir = scratch
        log = os.open(folder / f"{target.name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        fuzz(target, runs, folder, seed)
    except Exception:  # noqa: BLE001 the child's edge
        traceback.print_exc()
    finally:
        os._exit(1)


def told(name: str, folder: Path, code: int, seconds: float) -> Account:
    """What a child did, by what it left."""
    log = (folder / f"{name}.log").read_text(errors="replace")
    done, reached = _DONE.search(log), _REACHED.findall(log)
    account = Account(int(done[1]) if done else 0, seconds)
    if reached:
        account.branches, account.inputs = map(int, reached[-1])
    account.found = [f"found/{name}/{one}" for one in found(folder / "found" / name)]
    account.found += [f"crashed/{path.name}" for path in sorted((folder / "crashed").glob(f"{name}-*"))]
    if code and not account.found:
        account.found = [f"{name}.log: it ended with {code}"]
    return account


def shared(targets: Sequence[Target], runs: int) -> dict[str, int]:
    """So many runs in all, or a few more: each target its share, and LEAST at the least."""
    whole = sum(target.share for target in targets)
    return {target.name: max(LEAST, -(-runs * target.share // whole)) for target in targets}


def every(targets: Sequence[Target], runs: int, folder: Path, seed: int, jobs: int) -> Iterator[tuple[str, Account]]:
    """Fuzz these, `jobs` at a time; each as it is done."""
    waiting = list(shared(targets, runs).items())
    running: dict[int, str] = {}
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="fuzz", dir=memory) as scratch:
        while waiting or running:
            while waiting and len(running) < jobs:
                name, count = waiting.pop(0)
                running[start(TARGETS[name], count, folder, seed, scratch)] = name
            child, status, used = os.wait4(-1, 0)
            name = running.pop(child)
            yield name, told(name, folder, os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime)


def add(path: Path, name: str, account: Account) -> None:
    """To what was done before."""
    before = json.loads(path.read_text()) if path.exists() else {}
    known = before.get(name, asdict(Account()))
    runs, seconds = known["runs"] + account.runs, known["seconds"] + account.seconds
    before[name] = asdict(account) | {"runs": runs, "seconds": round(seconds, 1)}
    path.write_text(json.dumps(before, indent=1, sort_keys=True) + "\n")


def main() -> int:
    """Fuzz what the command line says; 1 where a promise was broken."""
    parser = argparse.ArgumentParser("fuzz.run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--target", action="append", choices=sorted(TARGETS), help="this, and others named so; else all"
    )
    parser.add_argument("--runs", type=int, default=100_000, help="in all; each target has its share")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the fuzzer's chance; 0: another one each time")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"))
    options = parser.parse_args()
    logging.disable()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    targets = [target for name, target in TARGETS.items() if name in (options.target or TARGETS)]
    runs = broken = 0
    for name, account in every(targets, options.runs, folder, options.seed, options.jobs):
        add(folder / "account.json", name, account)
        pace = f"{account.runs:>10,} runs  {account.runs / max(account.seconds, 0.001):>7,.0f} a CPU second"
        reached = f"{account.branches:>5,} branches by {account.inputs:>5,} inputs  {len(account.found)} findings"
        print("\n  ".join([f"{name:<16}{pace}  {reached}", *account.found]), flush=True)
        runs, broken = runs + account.runs, broken + len(account.found)
    print(f"{runs:,} runs, {broken} findings, kept in {folder}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
