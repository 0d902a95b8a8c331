"""An agent has the capabilities that it needs, in every thread, and no others; it works with them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from agents import OWN, agent
from serving import until

from ingrain.kernel.host import CAPABILITIES, SYS_ADMIN
from ingrain.privileges import IPC_LOCK, KILL, withheld

NEEDED = sum(1 << bit for bit, _about in CAPABILITIES.values()) | (1 << SYS_ADMIN if withheld() else 0)
SYS_RESOURCE = 24
FIELDS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")


def held(pid: int) -> list[dict[str, int]]:
    """What each thread of a process holds, as the kernel tells."""
    threads = [task.read_text().splitlines() for task in Path(f"/proc/{pid}/task").glob("*/status")]
    return [
        {name: int(value, 16) for name, value in (line.split(":", 1) for line in lines) if name in FIELDS}
        for lines in threads
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
def test_root_keeps_what_is_needed_in_every_thread_and_gets_no_more(tmp_path: Path) -> None:
    mine = held(os.getpid())[0]
    lifts = bool(mine["CapEff"] >> SYS_RESOURCE & 1)
    expected = (NEEDED | (0 if lifts else 1 << IPC_LOCK)) & mine["CapEff"]
    assert mine["CapEff"] & ~NEEDED, "there is something to give up"
    with agent(
        OWN.format(socket=tmp_path / "status.sock") + '[pipeline.out.config]\nbackend = "Console"\n', tmp_path
    ) as running:
        threads = held(running.process.pid)
        limits = Path(f"/proc/{running.process.pid}/limits").read_text()
    assert len(threads) > 3
    for thread in threads:
        assert thread == {
            "CapInh": 0,
            "CapPrm": expected,
            "CapEff": expected,
            "CapBnd": expected,
            "CapAmb": 0,
            "NoNewPrivs": 1,
        }
    if lifts:
        (locked,) = [line for line in limits.splitlines() if line.startswith("Max locked memory")]
        assert locked.split()[3:5] == ["unlimited", "unlimited"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
@pytest.mark.parametrize("given", [(), ("--inh-caps", "+kill", "--ambient-caps", "+kill")])
def test_what_commands_need_to_signal_others_is_kept_where_it_was_given_for_that(
    tmp_path: Path, given: tuple[str, ...]
) -> None:
    with subprocess.Popen(["sleep", "1000"], user=65534, group=65534, extra_groups=[]) as other:
        toml = OWN.format(socket=tmp_path / "status.sock") + '[pipeline.out.config]\nbackend = "Console"\n'
        toml += f'[[pipeline.out.steps]]\ntype = "Exec"\ncommand = ["kill", "{other.pid}"]\nmax_per_s = 1\n'
        with agent(toml, tmp_path, before=("setpriv", *given, "--")) as running:
            threads = held(running.process.pid)

            def tried() -> bool:
                detail = running.status()[1]["account"]["pipelines"]["out"][0]["detail"]
                return bool(detail.keys() & {"ran", "failed"})

            until("the command to have an end", tried)
        ended = other.wait(60) if given else other.poll()
        other.kill()
    inherited = 1 << KILL if given else 0
    for thread in threads:
        assert (thread["CapInh"], thread["CapAmb"], thread["NoNewPrivs"]) == (inherited, inherited, 1)
        assert [thread[name] & 1 << KILL for name in ("CapPrm", "CapEff", "CapBnd")] == [inherited] * 3
    said = "can signal any process" if given else "without CAP_KILL they can signal that user's processes alone"
    assert said in running.said
    detail = running.account["pipelines"]["out"][0]["detail"]
    assert (ended, detail.get("ran", 0) > 0) == ((-signal.SIGTERM, True) if given else (None, False))
    assert detail["matched"] > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_any_runs_with_none(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    os.chown(tmp_path, 65534, 65534)
    toml = OWN.format(socket=tmp_path / "status.sock") + '[pipeline.out.config]\nbackend = "Console"\n'
    with agent(toml, tmp_path, user=65534, group=65534, extra_groups=[]) as running:
        assert {(one["CapEff"], one["CapPrm"], one["NoNewPrivs"]) for one in held(running.process.pid)} == {(0, 0, 1)}
