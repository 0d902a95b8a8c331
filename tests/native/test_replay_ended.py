"""A replay that ends before its capture does, or loses a stage: what was read is delivered, and the account says so."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import read
from frames import CLIENT, Tape, pcap, query, udp
from replaying import Row

RESOLVER = (bytes([192, 0, 2, 53]), 53)

STEPS = """
import sys, threading
from ingrain import replay, stage, steps
from ingrain.settings import Settings

class Dying(stage.Step):
    '''Dies of its first batch.'''

    Settings, alive = Settings, False

    def __init__(self, settings, station, downstream):
        super().__init__(station, downstream)

    def process(self, batch):
        if not Dying.alive:
            Dying.alive = True
            sys.exit("as libraries should not")
        yield batch

class Noting(Dying):
    '''Says that it has a batch.'''

    def process(self, batch):
        print("it has a batch", file=sys.stderr, flush=True)
        yield batch

class Hanging(Noting):
    '''Takes a batch and never comes back.'''

    def process(self, batch):
        next(super().process(batch))
        threading.Event().wait()

sys.modules["of_this_test"] = sys.modules["__main__"]
steps.STEPS |= {"Dying": "of_this_test:Dying", "Noting": "of_this_test:Noting", "Hanging": "of_this_test:Hanging"}
replay.ENDED_SECONDS = 0.2
from ingrain.__main__ import main
sys.exit(main())
"""


@contextmanager
def replaying(folder: Path, *steps: str) -> Iterator[subprocess.Popen[bytes]]:
    """A replay of what is written to its standard input, through these steps; its account is in `account.json`."""
    toml = '[[probe]]\npipelines = ["archive"]\n[probe.config]\ntype = "DNS"\n'
    toml += f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{folder / "archive"}"\n'
    toml += "".join(f'[[pipeline.archive.steps]]\ntype = "{step}"\n' for step in steps)
    (folder / "config.toml").write_text(toml)
    command = [sys.executable, "-c", STEPS, "replay", "-", "--config", folder / "config.toml"]
    command += ["--account", folder / "account.json"]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload] # of a dict
        try:
            yield process
        finally:
            process.kill()


def queries(count: int) -> bytes:
    """A capture of so many."""
    tape = Tape()
    for number in range(count):
        tape.add(udp(CLIENT, RESOLVER, query(f"n{number}.test", number)))
    return pcap(tape.frames)


def begin(process: subprocess.Popen[bytes], count: int) -> None:
    """Send so many packets, and wait for the first records."""
    assert process.stdin
    assert process.stderr
    process.stdin.write(queries(count))
    process.stdin.flush()
    while b"it has a batch" not in (line := process.stderr.readline()):
        assert line, "it has ended"


def account(folder: Path) -> tuple[Row, list[Row]]:
    """The capture's counts, and the stages of the pipeline, which add up."""
    told = json.loads((folder / "account.json").read_text())
    stages = told["pipelines"]["archive"]
    assert told["probes"][0]["records"] == stages[0]["received"] + stages[0]["refused"]
    for one in stages:
        in_flight = one["received"] - one["delivered"] - one["merged"] - one["lost"]
        assert (in_flight == 0) == (not one["name"].endswith("Hanging"))
    return told["capture"], stages


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_replay_that_a_signal_ends_delivers_what_it_has_read_and_gives_its_account(
    tmp_path: Path, number: signal.Signals
) -> None:
    with replaying(tmp_path, "Noting") as process:
        begin(process, 2000)  # and there may be more to come
        process.send_signal(number)
        said = process.stderr.read() if process.stderr else b""
        process.wait(60)
    assert process.returncode == 1
    capture, (_, backend) = account(tmp_path)
    assert f"ended by {number.name} after {capture['read']:,} packets".encode() in said
    assert backend["delivered"] == len(read(tmp_path / "archive", "dns.query")) == capture["read"] > 0


def test_a_replay_one_of_whose_stages_dies_goes_on_and_counts_what_that_cost(tmp_path: Path) -> None:
    with replaying(tmp_path, "Dying") as process:
        _, said = process.communicate(queries(5000), timeout=60)
    assert process.returncode == 0, said
    capture, (dying, backend) = account(tmp_path)
    assert capture["read"] == 5000 == dying["lost"] + backend["delivered"]
    assert dying["lost"] == dying["detail"]["died with it"] > 0
    assert len(read(tmp_path / "archive", "dns.query")) == backend["delivered"]


def test_a_replay_one_of_whose_stages_hangs_is_ended_by_a_signal_and_gives_its_account(tmp_path: Path) -> None:
    with replaying(tmp_path, "Hanging") as process:
        begin(process, 5000)
        assert process.stdin
        process.stdin.close()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    capture, (hanging, backend) = account(tmp_path)
    in_flight = hanging["received"] - hanging["lost"]
    assert hanging["received"] == capture["read"]
    assert in_flight > 0
    assert hanging["detail"].get("abandoned", 0) == hanging["lost"]
    assert backend["received"] == 0
