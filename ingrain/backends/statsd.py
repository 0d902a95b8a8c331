"""StatsD: counters and gauges, plain or with DogStatsD tags, over UDP or a Unix datagram socket.

In: any batch. Out: a line per series, many lines in a datagram, as `ingrain.backends.series` says. A series is
sent whole or not at all: its records are delivered when the socket took the datagram, else lost.
"""

from __future__ import annotations

import logging
import os
import re
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
import numpy as np

from ingrain.account import Station
from ingrain.backends.cardinality import Cardinality
from ingrain.backends.datagrams import Address, Peer, parse
from ingrain.backends.lines import raw
from ingrain.backends.reach import Reach
from ingrain.backends.series import Series, series
from ingrain.batch import Batch
from ingrain.settings import Settings
from ingrain.stage import Backend

log = logging.getLogger(__name__)

PORT = 8125
"""StatsD's own default."""

UDP_BYTES = 1432
"""What no Ethernet path splits up, with room for what IPv6 and tunnels add; statsd's documentation advises it."""

UNIX_BYTES = 8192
"""What DogStatsD servers read at once from a Unix socket by default."""

PATIENCE_S = 1.0
"""How long a batch waits altogether for room in a full buffer or for a name to be looked up."""


def is_address(address: str) -> None:
    """Raise ValueError for what is no address."""
    parse(address, PORT)


def is_prefix(prefix: str) -> None:
    """Raise ValueError for a prefix that StatsD would change."""
    if not re.fullmatch(r"[0-9A-Za-z_.-]*", prefix):
        raise ValueError("has a character that StatsD does not keep in names; it may have a-z, A-Z, 0-9, '_', '-', '.'")


class StatsDSettings(Settings, frozen=True):
    """Where metrics are sent, and how.

    address: `HOST:PORT`, `[IPV6]:PORT` or `unix:///PATH`; by default STATSD_HOST and STATSD_PORT of the environment,
        else 127.0.0.1:8125
    use_tags: send DogStatsD tags; otherwise tag values become part of the metric's name
    prefix: put before every name, with a dot
    datagram_bytes: the most bytes in a datagram; by default 1432 over UDP and 8192 on a Unix socket
    max_series: the most series kept apart; everything beyond goes into one series, `overflow`
    """

    address: Annotated[str | None, msgspec.Meta(extra={"check": is_address})] = None
    use_tags: bool = False
    prefix: Annotated[str, msgspec.Meta(extra={"check": is_prefix})] = ""
    datagram_bytes: Annotated[int, msgspec.Meta(ge=256, le=65_507)] | None = None
    max_series: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000

    def lacking(self) -> list[str]:
        """An address of the environment that is one, where the file has none."""
        try:
            _address(self)
        except ValueError as error:
            return [str(error)]
        return []


class StatsD(Backend):
    """`detail`: datagrams, series (lines summed up to a value each) and bytes that were sent, and reasons of losses.

    Records beyond `max_series` are delivered, too; they are counted as `overflow`.

    Raises ValueError when the environment says where to send, and what it says is no address.
    """

    Settings = StatsDSettings

    def __init__(self, settings: StatsDSettings, station: Station) -> None:
        super().__init__(station)
        address = _address(settings)
        self._limit = settings.datagram_bytes or (UNIX_BYTES if address.path else UDP_BYTES)
        self._prefix = settings.prefix + ("." if settings.prefix and not settings.prefix.endswith(".") else "")
        self._use_tags = settings.use_tags
        self._max_series = settings.max_series
        self._known = Cardinality(settings.max_series)
        self._stalled = False  # then no batch waits again until something is sent: the agent must be able to stop
        self._peer = Peer(address)
        self._reach = Reach(station, f"sending to {address}")

    def deliver(self, batch: Batch) -> None:
        """Send the batch's series."""
        deadline = time.monotonic() + (0.0 if self._stalled else PATIENCE_S)
        for some in series(batch, self._prefix, self._known, use_tags=self._use_tags):
            if some.overflow:
                self._beyond(int(some.records.sum()))
            self._send(some, batch.oldest, deadline)

    def close(self) -> None:
        """Close the socket."""
        self._peer.close()

    def _send(self, some: Series, oldest: int, deadline: float) -> None:
        data, offsets = raw(some.text)
        bounds = offsets.tolist()
        records = np.concatenate(([0], np.cumsum(some.records))).tolist()
        station = self.station
        for first, last in packed(bounds, self._limit):
            # The line end is left out: some servers take an empty line for a mistake.
            datagram = data[bounds[first] : bounds[last] - 1]
            count = records[last] - records[first]
            if len(datagram) > self._limit:
                if not station.detail["too long"]:
                    log.error(
                        "%s: a series takes %d bytes, and datagram_bytes is %d. Such records are counted as lost; a "
                        "Whitelist without the longest tags makes them fit",
                        *(station.name, len(datagram), self._limit),
                    )
                self._lose(count, "too long")
                continue
            why = self._peer.send(datagram, deadline)
            if why:
                self._stalled = True
                self._lose(count, "unreachable")
                self._reach.fails(why, "Records are counted as lost until it works; every batch tries again")
                continue
            self._stalled = False
            self._reach.works()
            self.delivered(count, oldest)
            station.detail["datagrams"] += 1
            station.detail["series"] += last - first
            station.detail["bytes"] += len(datagram)

    def _beyond(self, records: int) -> None:
        if not self.station.detail["overflow"]:
            log.warning(
                "%s: there are more series than max_series (%d); what is beyond goes under one, `overflow`. "
                "A Whitelist without the tags that run away, or a Regex, tells them apart again",
                *(self.station.name, self._max_series),
            )
        self.station.detail["overflow"] += records

    def _lose(self, records: int, why: str) -> None:
        self.station.lost += records
        self.station.detail[why] += records


def _address(settings: StatsDSettings) -> Address:
    return parse(settings.address, PORT) if settings.address else from_environment()


def from_environment() -> Address:
    """What STATSD_HOST and STATSD_PORT say, as in ingraind. Raises ValueError when that is no address."""
    host = os.environ.get("STATSD_HOST", "") or "127.0.0.1"
    port = os.environ.get("STATSD_PORT", "") or str(PORT)
    try:
        return parse(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", PORT)
    except ValueError as error:
        raise ValueError(
            f"the environment says STATSD_HOST={host!r}, STATSD_PORT={port!r}: no host, or no port from 1 to 65535"
        ) from error


def packed(bounds: Sequence[int], limit: int) -> Iterator[tuple[int, int]]:
    """Ranges of lines that fit into a datagram of `limit` bytes together, in order; one that does not fit stands alone.

    Line n, with its end of one byte, is at `bounds[n]` to `bounds[n + 1]`; the last line's end does not count.
    """
    first, count = 0, len(bounds) - 1
    while first < count:
        last = max(first + 1, bisect_right(bounds, bounds[first] + limit + 1) - 1)
        yield first, last
        first = last
