"""Who looked up which name and what it was told, as far as it was seen: so that a TLS hello can be held against it."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Sequence

NAMES = 1 << 14
"""Remembered at the most, of all clients together: a name costs some 500 bytes, and a client as many."""

SHARE = NAMES >> 3
"""Of one client: one that looks up ever new names costs the others nothing."""

ADDRESSES = 64
"""Remembered of one name and client: those that were answered last."""

NAME_BYTES = 256
"""Of a name at the most: a DNS name has no more, so a longer host name was never looked up."""

Client = bytes
"""Who asks, as `struct flow` has it: when the process began (8 bytes, ticks since boot) and its id (4 bytes), since ids
are used again; where the process is not known, its address (16 bytes)."""

_START, _PROCESS = 8, 12  # bytes


class Lookups:
    """Names by client, with the addresses that were answered. Times are nanoseconds of the packets' clock.

    Of clients the one that did nothing for longest loses names first, of its names those looked up longest ago.
    """

    def __init__(self) -> None:
        self._clients: OrderedDict[Client, _Names] = OrderedDict()
        self._count = 0
        self._gone_until = -1  # the latest start of a client that was forgotten

    def __len__(self) -> int:
        """Names, of all clients together."""
        return self._count

    def note(self, client: Client, name: str, addresses: Sequence[bytes], time: int) -> None:
        """The client was told then that the name (in lower case) has these addresses (16 bytes each)."""
        if not addresses:
            return
        known = self._clients.get(client)
        if known is None:
            known = self._clients[client] = _Names()
        else:
            self._clients.move_to_end(client)
        self._count += known.note(name, addresses, time)
        while self._count > NAMES:
            self._forget_one()

    def has(self, client: Client, name: str, address: bytes, time: int) -> bool | None:
        """Whether the client was told before that the name has this address; None where that may be forgotten."""
        if len(name) > NAME_BYTES:
            return False
        known = self._clients.get(client)
        if known is None:
            return None if self._gone_until >= 0 and _start(client) <= self._gone_until else False
        self._clients.move_to_end(client)
        told = known.when(name.lower().removesuffix("."), address)
        if told is not None and told < time:
            return True
        return None if known.forgotten else False

    def _forget_one(self) -> None:
        """The oldest name of the client that did nothing for longest."""
        client, known = next(iter(self._clients.items()))
        known.forget_one()
        self._count -= 1
        if not len(known):
            del self._clients[client]
            self._gone_until = max(self._gone_until, _start(client))


class _Names:
    """Those of one client, with addresses and when each was first seen. forgotten: some are gone."""

    __slots__ = ("_names", "forgotten")

    def __init__(self) -> None:
        self._names: OrderedDict[str, dict[bytes, int]] = OrderedDict()
        self.forgotten = False

    def __len__(self) -> int:
        return len(self._names)

    def note(self, name: str, addresses: Sequence[bytes], time: int) -> int:
        """Remember them; how many more names there are now."""
        before = len(self._names)
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = dict.fromkeys(addresses, time)
            if before >= SHARE:
                self.forget_one()
        else:
            self._names.move_to_end(name)
            for address in addresses:
                known[address] = min(known.pop(address, time), time)
        while len(known) > ADDRESSES:
            del known[next(iter(known))]
            self.forgotten = True
        return len(self._names) - before

    def when(self, name: str, address: bytes) -> int | None:
        """When the address was told first."""
        known = self._names.get(name)
        return None if known is None else known.get(address)

    def forget_one(self) -> None:
        """The name that was looked up longest ago."""
        self._names.popitem(last=False)
        self.forgotten = True


def _start(client: Client) -> int:
    """When a process began; 0 where that is not known."""
    return int.from_bytes(client[:_START], sys.byteorder) if len(client) == _PROCESS else 0
