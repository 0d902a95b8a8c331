"""Bytes that processes read and write, as the kernel half counts them (probes/moved.h), with whose they are.

The counts of an interval come from one of two maps, by number; process and path came before in an event, once an
interval. What is known of such events is bounded; counts beyond it are told without process and path.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ingrain.kernel import maps
from ingrain.kernel.program import Program
from ingrain.kernel.records import Events

_BYTES_MAX = 32 << 20
_INTERVALS = 2
"""How long an event is kept, and counts are that wait for theirs: it comes with the next drain, if it comes."""


@dataclass(slots=True)
class Known:
    """One process's access to one file: its event (as bytes of the struct) and the path."""

    event: bytes
    path: str
    interval: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted, a row a process and file. `known` has what is known of each; None where it is nothing."""

    keys: Events
    moved: Events
    known: list[Known | None]


class Moved:
    """The two maps NAME_a and NAME_b of a program; the programs' own is in the array of maps NAME. Raises KernelError."""

    def __init__(self, program: Program) -> None:
        self._outer = program.maps["moved"]
        self._maps = [program.maps["moved_a"], program.maps["moved_b"]]
        self._key, self._value = program.dtype("file_of"), program.dtype("moved")
        self._active = 0
        self._interval = 0
        self._known: dict[bytes, Known] = {}
        self._bytes = 0
        self._waiting: dict[bytes, tuple[npt.NDArray[np.void], int]] = {}

    def learn(self, key: bytes, event: bytes, path: str) -> None:
        """Whose counts those with this key are."""
        self._forget(key)
        if self._bytes < _BYTES_MAX:
            self._known[key] = Known(event, path, self._interval)
            self._bytes += len(event) + len(path)

    def take(self) -> Counted:
        """What was counted since the last call, as far as it is known whose it is, or will not be known any more."""
        read, self._active = self._active, 1 - self._active
        maps.swap(self._outer, self._maps[self._active])
        keys, values = maps.take_all(self._maps[read], self._key, self._value)
        self._interval += 1
        told: list[tuple[bytes, npt.NDArray[np.void], Known | None]] = []
        for key, (value, since) in list(self._waiting.items()):
            if key in self._known or since + _INTERVALS <= self._interval:
                told.append((key, value, self._known.get(key)))
                del self._waiting[key]
        for number, key in enumerate(_rows(keys)):
            value = values[number : number + 1]
            known = self._known.get(key)
            if known is None and value["named"][0] and key not in self._waiting:
                self._waiting[key] = (value, self._interval)
            else:
                told.append((key, value, known))
        for key in [key for key, known in self._known.items() if known.interval + _INTERVALS < self._interval]:
            self._forget(key)
        return Counted(
            np.frombuffer(b"".join(key for key, _value, _known in told), self._key),
            np.concatenate([np.empty(0, self._value), *(value for _key, value, _known in told)]),
            [known for _key, _value, known in told],
        )

    def _forget(self, key: bytes) -> None:
        known = self._known.pop(key, None)
        if known:
            self._bytes -= len(known.event) + len(known.path)


def _rows(array: Events) -> list[bytes]:
    raw, width = array.tobytes(), array.dtype.itemsize
    return [raw[at : at + width] for at in range(0, len(raw), width)]
