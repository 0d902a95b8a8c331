"""`ingrain replay` for tests: in this process, or in one of its own, as an operator has it; and what came of it."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import read

from ingrain import cli

MEASUREMENTS = ("dns.query", "dns.answer", "tls.handshake.clienthello", "tls.handshake.serverhello")

Row = dict[str, Any]


@dataclass
class Replayed:
    """An `ingrain replay` that has ended: its exit code, what it said, its account, and what it archived."""

    code: int
    said: str
    account: Row
    archive: Path

    def rows(self, measurement: str) -> list[Row]:
        return read(self.archive, measurement)

    @property
    def records(self) -> list[Row]:
        return [row | {"measurement": name} for name in MEASUREMENTS for row in self.rows(name)]

    def probe(self, name: str) -> Row:
        return next(probe for probe in self.account["probes"] if probe["name"] == name)


Replay = Callable[..., Replayed]
Command = Callable[[Sequence[str]], tuple[int, str]]
"""Runs `ingrain` with these words; its exit code, and what it said."""


def replaying(folder: Path, command: Command) -> Replay:
    """`replay(CAPTURE)`: a file's bytes or its path, with these probes, into an archive of its own."""

    def replayed(capture: bytes | Path, *probes: str) -> Replayed:
        place = folder / f"replay-{len(list(folder.glob('replay-*')))}"
        place.mkdir()
        if isinstance(capture, bytes):
            (place / "capture").write_bytes(capture)
            capture = place / "capture"
        toml = "".join(
            f'[[probe]]\npipelines = ["archive"]\n[probe.config]\ntype = "{probe}"\n'
            for probe in probes or ("DNS", "TLS")
        )
        toml += f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{place / "archive"}"\n'
        config, account = place / "config.toml", place / "account.json"
        config.write_text(toml)
        code, said = command(["replay", str(capture), "--config", str(config), "--account", str(account)])
        told = json.loads(account.read_text()) if account.exists() else {}
        found = Replayed(code, said, told, place / "archive")
        if told:
            adds_up(found)
        return found

    return replayed


def here(words: Sequence[str]) -> tuple[int, str]:
    """In this process."""
    said = io.StringIO()
    with _own_logging(), redirect_stderr(said), ThreadPoolExecutor(1) as thread:  # which stays on one processor
        return thread.submit(cli.main, [*words]).result(), said.getvalue()


@contextmanager
def _own_logging() -> Iterator[None]:
    """What a command does to the logging of this process is undone."""
    loggers = [logging.getLogger(), logging.getLogger("ingrain")]
    before = [(one.handlers.copy(), one.level) for one in loggers]
    try:
        yield
    finally:
        for one, (handlers, level) in zip(loggers, before, strict=True):
            one.handlers[:] = handlers
            one.setLevel(level)


def apart(words: Sequence[str]) -> tuple[int, str]:
    """In one of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "ingrain", *words], capture_output=True, text=True, check=False, timeout=200
    )
    return done.returncode, done.stderr


def adds_up(replayed: Replayed) -> None:
    """Every packet, event and record is accounted for, from the file to the backend."""
    capture = replayed.account["capture"]
    left_out = capture["not_ip"] + capture["malformed"] + sum(capture["unknown_links"].values())
    assert capture["read"] == capture["whole"] + capture["fragments"] + left_out
    assert capture["fragments"] == capture["joined"] + sum(capture["lost_fragments"].values())
    assert capture["delivered"] == capture["whole"] + capture["reassembled"] - capture["split"] + capture["segments"]
    records = 0
    for probe in replayed.account["probes"]:
        assert (probe["lost"], probe["failed"], probe["corrupt"]) == (0, 0, 0)
        assert probe["handed_over"] == probe["received"] <= capture["delivered"]
        made = probe["told"] + probe["malformed"] + probe["cut"] + probe["parts"]
        assert probe["received"] + probe["further"] == made
        assert probe["told"] == probe["records"]
        records += probe["records"]
    (backend,) = replayed.account["pipelines"]["archive"]
    assert (backend["received"], backend["delivered"]) == (records, records)
    assert (backend["refused"], backend["lost"]) == (0, 0)
    assert len(replayed.records) == records
