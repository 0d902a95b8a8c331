"""StatsD: a server for StatsD clients, with DogStatsD's extensions. In: datagrams of their protocol.

Out, every `flush_interval`: a record a series, with the name that the client gave it, by `statsd.counter`,
`statsd.gauge`, `statsd.set` and `statsd.timer`; a StatsD backend sends it on under that name.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import msgspec

from ingrain.account import Account, ProbeAccount
from ingrain.backends.datagrams import parse
from ingrain.backends.statsd import PORT, is_address, is_prefix
from ingrain.own.probe import OwnProbe
from ingrain.own.receiver import PIECE_BYTES, Receiver
from ingrain.own.statsd_metrics import KEY_SETS, OVERFLOW, Metrics
from ingrain.own.statsd_series import MEASUREMENTS
from ingrain.pipeline import Outlet
from ingrain.probe import ProbeError
from ingrain.settings import Settings

log = logging.getLogger(__name__)

_TICK_S = 0.2  # how long the end waits for the thread
_PAUSE_S = 0.005  # more come meanwhile, and a round costs more than they do; Unix sockets hold few, and are not left
_DAY_MS = 86_400_000


def is_interval(interval: int | str) -> None:
    """Raise ValueError for what is no interval in milliseconds, as a number or as text."""
    text = str(interval)
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_DAY_MS)) and 1 <= int(text) <= _DAY_MS):
        raise ValueError(f"expected milliseconds, a whole number from 1 to {_DAY_MS}, like 10000")


class StatsDSettings(Settings, frozen=True):
    """Where clients send, and how often their metrics are passed on.

    bind_address: `HOST:PORT`, `[IPV6]:PORT`, or `unix:///PATH` for a datagram socket that anybody may write to; only
        this host reaches the default
    flush_interval: milliseconds, as a number or, as in ingraind, as text
    prefix: put before every name, with a dot; without one, clients can use the names of the agent's own measurements
    max_series: the most names and tag sets kept apart; what exceeds it is counted, line by line, in `statsd.overflow`
    buffer_kb: socket buffer, which the agent gets with CAP_NET_ADMIN; a small datagram takes 0.8 KB of it
    """

    bind_address: Annotated[str, msgspec.Meta(extra={"check": is_address})] = f"127.0.0.1:{PORT}"
    flush_interval: Annotated[int | str, msgspec.Meta(extra={"check": is_interval})] = 10_000
    prefix: Annotated[str, msgspec.Meta(extra={"check": is_prefix})] = ""
    max_series: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    buffer_kb: Annotated[int, msgspec.Meta(ge=8, le=1 << 20)] = 8192


class StatsD(OwnProbe):
    """The server. Of its account, events are datagrams, and messages are their lines."""

    kind = "StatsD"
    Settings = StatsDSettings
    measurements = tuple(MEASUREMENTS.values())
    more_tags = True

    def __init__(self, settings: StatsDSettings, pipelines: Sequence[Outlet], agent: Callable[[], Account]) -> None:
        super().__init__(settings, pipelines, agent)
        prefix = settings.prefix + ("." if settings.prefix and not settings.prefix.endswith(".") else "")
        self._metrics = Metrics(settings.max_series, prefix)
        self._interval = int(settings.flush_interval) / 1000
        self._address = parse(settings.bind_address, PORT)
        self._receiver: Receiver | None = None
        self._account = ProbeAccount(self.kind)
        self._said: set[str] = set()
        self._malformed = 0  # lines; datagrams without one are malformed, too

    def open(self) -> str:
        """Bind the address."""
        settings = self.settings
        try:
            self._receiver = Receiver(self._address, settings.buffer_kb << 10)
        except (OSError, UnicodeError) as error:  # UnicodeError: a zone of IPv6 that is too long for a name
            raise ProbeError(
                f"{self._address} cannot be listened at: {getattr(error, 'strerror', None) or error}; "
                "is another server there, or bind_address not of this host?"
            ) from error
        if self._receiver.buffer_bytes < settings.buffer_kb << 10:
            log.warning(
                "probe StatsD: its buffer has %d KB of %d (buffer_kb): CAP_NET_ADMIN, or a greater sysctl "
                "net.core.rmem_max, lets it have them",
                *(self._receiver.buffer_bytes >> 10, settings.buffer_kb),
            )
        return f"listens at {self._address}, and flushes every {self._interval:g} s"

    def run(self) -> None:
        """Read, and flush; at the end read what is left, and flush a last time."""
        receiver = self._receiver
        if receiver is None:
            return
        due = time.monotonic() + self._interval
        while not self.stopping.is_set():
            if receiver.wait(min(_TICK_S, due - time.monotonic())):
                size = self._drain(receiver)
                if size < PIECE_BYTES and not self._address.path:
                    self.stopping.wait(_PAUSE_S)
            now = time.monotonic()
            if now >= due or self._metrics.full:
                self._flush()
                due = due if now < due else max(due + self._interval, now)
        receiver.shut()
        while self._drain(receiver):
            pass
        self._flush()

    def close(self) -> None:
        """Close the socket."""
        if self._receiver is not None:
            self._receiver.close()

    def account(self) -> ProbeAccount:
        """Datagrams and lines so far. Those that the kernel dropped are lost."""
        return replace(self._account, lost=self._receiver.dropped() if self._receiver else 0)

    def _drain(self, receiver: Receiver) -> int:
        """Take in what is there; how many bytes, line ends behind datagrams included."""
        drained, account, metrics = receiver.drain(), self._account, self._metrics
        metrics.take(drained.data)
        account.received += drained.datagrams
        account.handed_over = account.received
        account.malformed += drained.blank - self._malformed + metrics.malformed
        self._malformed = metrics.malformed
        account.cut += drained.cut
        account.told, account.ignored = metrics.told, metrics.ignored
        account.further = account.told + account.malformed + account.ignored + account.cut - account.received
        self._say()
        return len(drained.data)

    def _say(self) -> None:
        """Tell once what an operator should know of what comes in; beyond that it is counted."""
        metrics = self._metrics
        if metrics.malformed and "malformed" not in self._said:
            self._said.add("malformed")
            log.warning("probe StatsD: a line is malformed; others are counted alone. %s", metrics.example)
        if metrics.beyond and "beyond" not in self._said:
            self._said.add("beyond")
            log.warning(
                "probe StatsD: there are more series than are told apart (max_series is %d, and tags may have %d sets "
                "of keys); how many lines of others come tells %s",
                *(self.settings.max_series, KEY_SETS, OVERFLOW),
            )

    def _flush(self) -> None:
        self._account.records += self.offer(self._metrics.flush(time.time_ns()))
