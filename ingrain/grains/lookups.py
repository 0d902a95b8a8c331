"""Who looked up which name and what it was told, as far as it was seen: so that a TLS hello can be held against it."""

from __future__ import annotations

from collections import OrderedDict

NAMES = 1 << 14
"""Remembered at the most, of all processes together: a name costs some 500 bytes."""

ADDRESSES = 64
"""Remembered of one name and process: those that were answered last."""

NAME_BYTES = 256
"""Of a name at the most: a DNS name has no more, so a longer host name was never looked up."""


class Lookups:
    """Names by process, with the addresses that were answered. The ones that were looked up longest ago go first.

    Times are nanoseconds of the packets' clock.
    """

    def __init__(self) -> None:
        self._names: OrderedDict[tuple[bytes, str], dict[bytes, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._names)

    def note(self, process: bytes, name: str, addresses: list[bytes], time: int) -> None:
        """The process was told then that the name has these addresses (16 bytes each)."""
        if not addresses:
            return
        key = process, name.lower()
        known = self._names.setdefault(key, {})
        self._names.move_to_end(key)
        for address in addresses:
            known[address] = min(known.pop(address, time), time)
        while len(known) > ADDRESSES:
            del known[next(iter(known))]
        if len(self._names) > NAMES:
            self._names.popitem(last=False)

    def has(self, process: bytes, name: str, address: bytes, time: int) -> bool:
        """Whether the process was told before that the name has this address."""
        if len(name) > NAME_BYTES:
            return False
        known = self._names.get((process, name.lower().removesuffix("."))) or {}
        return known.get(address, time) < time
