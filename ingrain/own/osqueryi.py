"""One run of osqueryi: a query in, rows out. No shell starts it, and neither its time nor its output is endless.

Its output with `--json` is an array of objects whose values are text, by column; of a pack one after the other.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from ingrain.steps.commands import ENVIRONMENT
from ingrain.text import harmless

OUTPUT_BYTES = 16 << 20
"""The longest output: some hundred thousand rows."""

_TOLD = "HOME", "TZ", "TMPDIR"  # of the environment, beside what all commands get
_SAID_BYTES = 4096  # of its errors: the end tells why
_SAID = 200  # characters of it in a message
_TICK_S = 0.2  # how long the agent's end waits
_PIECE = 1 << 16


class QueryError(RuntimeError):
    """There is no answer; the message says why."""


def ask(command: Sequence[str], timeout_s: float, stopping: threading.Event) -> list[Any]:
    """The rows that this command prints. Raises QueryError where it gives none, or is stopped meanwhile."""
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's program, by its arguments, with no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT | {name: os.environ[name] for name in _TOLD if name in os.environ},
            start_new_session=True,  # what it starts can be ended with it; and no terminal's signals
        )
    except OSError as error:
        raise QueryError(f"{command[0]} cannot be started: {error.strerror or error}") from error
    with process:
        try:
            printed, said = _read(process, time.monotonic() + timeout_s, timeout_s, stopping)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise QueryError(f"it ended with {_ending(process.returncode)}: {_shown(said)}")
    return list(rows(printed))


def rows(printed: bytes) -> Iterator[Any]:
    """What stands in the arrays that were printed, one behind the other. Raises QueryError where that is not so."""
    decoder, at = json.JSONDecoder(), 0
    text = printed.decode("utf-8", "replace").strip()
    while at < len(text):
        try:
            found, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise QueryError(f"what it printed is no JSON: {_shown(printed)}") from error
        if not isinstance(found, list):
            raise QueryError(f"what it printed is no array of rows: {_shown(printed)}")
        yield from found
        while at < len(text) and text[at].isspace():
            at += 1


def _read(
    process: subprocess.Popen[bytes], deadline: float, timeout_s: float, stopping: threading.Event
) -> tuple[bytes, bytes]:
    """All that it prints, and the end of what it says, when it has ended."""
    if process.stdout is None or process.stderr is None:
        raise QueryError("it has no output")
    printed, said = bytearray(), bytearray()
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ, printed)
        waiting.register(process.stderr, selectors.EVENT_READ, said)
        while waiting.get_map():
            if stopping.is_set():
                raise QueryError("the agent ends, or does without it")
            if time.monotonic() >= deadline:
                raise QueryError(f"it did not answer within {timeout_s:g} s (timeout_ms)")
            for key, _ in waiting.select(_TICK_S):
                piece = os.read(key.fd, _PIECE)
                if not piece:
                    waiting.unregister(key.fileobj)
                key.data.extend(piece)
                del said[:-_SAID_BYTES]
                if len(printed) > OUTPUT_BYTES:
                    raise QueryError(f"it printed more than {OUTPUT_BYTES >> 20} MiB; a LIMIT in the query helps")
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise QueryError(f"it did not end within {timeout_s:g} s (timeout_ms)") from error
    return bytes(printed), bytes(said)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _shown(raw: bytes) -> str:
    text = " ".join(harmless(raw.decode("utf-8", "replace")).split())
    return text[-_SAID:] or "it said nothing"
