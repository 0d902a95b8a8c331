"""Bytes that processes read and write, as the kernel half counts them (probes/moved.h), with whose they are.

The counts of an interval come from one of two maps, by a key. Process and path came before, in an event with that key:
the file was opened in the interval, or the event is for the counts alone. What is remembered of such events is bounded;
counts beyond it are told without process and path.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ingrain.kernel.keyed import Keyed
from ingrain.kernel.program import Program
from ingrain.kernel.records import Events

_BYTES_MAX = 32 << 20
_INTERVALS = 2
"""How long an event is remembered, and counts wait for theirs: it comes with the next drain, if it comes."""


@dataclass(frozen=True, slots=True)
class Known:
    """One process's access to one file: its event (the bytes of the struct) and the names of the path."""

    event: bytes
    names: bytes


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted for a key, as bytes of the struct; `known` is None where it is not known whose it is."""

    key: bytes
    moved: bytes
    known: Known | None


class Whose:
    """Brings counts and events together, in whichever order they come."""

    def __init__(self) -> None:
        self._interval = 0
        self._bytes = 0
        self._ending = False
        self._known: dict[bytes, tuple[Known, int]] = {}
        self._waiting: list[tuple[bytes, bytes, int]] = []

    def learn(self, key: bytes, known: Known) -> None:
        """Whose counts with this key are."""
        self._forget(key)
        if self._bytes < _BYTES_MAX:
            self._known[key] = known, self._interval
            self._bytes += len(known.event) + len(known.names)

    def join(self, counted: Iterable[tuple[bytes, bytes, bool]]) -> list[Counted]:
        """What can be told now, of these and of earlier counts.

        counted: key, counts, and whether an event with the key was handed over. Each is told once, at the latest when
        its event has not come for two intervals.
        """
        self._interval += 1
        waiting, self._waiting = self._waiting, []
        told = []
        fresh = [(key, moved, self._interval if named else -_INTERVALS) for key, moved, named in counted]
        for key, moved, since in [*waiting, *fresh]:
            known = self._known.get(key)
            if known is None and since + _INTERVALS > self._interval and not self._ending:
                self._waiting.append((key, moved, since))
            else:
                told.append(Counted(key, moved, known[0] if known else None))
        for key in [key for key, (_known, since) in self._known.items() if since + _INTERVALS < self._interval]:
            self._forget(key)
        return told

    def finish(self) -> None:
        """No more events will come: what waits is told with the next call of `join`."""
        self._ending = True

    def _forget(self, key: bytes) -> None:
        known, _since = self._known.pop(key, (None, 0))
        if known:
            self._bytes -= len(known.event) + len(known.names)


class Moved:
    """The counts of a program by `struct file_of`."""

    def __init__(self, program: Program) -> None:
        self._counted = Keyed(program, "moved", "file_of", "moved")

    def take(self) -> list[tuple[bytes, bytes, bool]]:
        """What was counted since the last call: key, counts, and whether an event with the key was handed over.

        Raises KernelError.
        """
        keys, values = self._counted.take()
        return list(zip(rows_of(keys), rows_of(values), (values["named"] != 0).tolist(), strict=True))


def rows_of(array: Events) -> list[bytes]:
    """Each row's struct, as bytes."""
    raw, width = array.tobytes(), array.dtype.itemsize
    return [raw[at : at + width] for at in range(0, len(raw), width)]
