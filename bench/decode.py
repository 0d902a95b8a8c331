"""Decoding alone, on one core: DNS answers and ClientHellos into records, beside a parser for each.

What is decoded was handed over by the probes' own programs. Our side makes Arrow batches of all that a record tells,
fingerprints too; dnspython makes a message object, dpkt the fields of a hello and its extensions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dns.message
import dpkt.ssl
from load import Kind

from ingrain import memory
from ingrain.grains import GRAINS
from ingrain.grains.lookups import Lookups
from ingrain.kernel.buffers import Buffers
from ingrain.kernel.program import Program
from ingrain.kernel.records import Drained
from ingrain.kernel.testrun import TestRun
from ingrain.registry import find_class

_DRAIN = 4000
"""Messages that are drained at once: what 100,000 a second leave in the buffers in 40 ms."""
_ETHERNET = 14


@dataclass(frozen=True, slots=True)
class Decoded:
    """Messages a second of processor time: ours, and the peer's."""

    ours: float
    peer: float


def answers(kind: Kind, seconds: float) -> Decoded:
    """DNS answers, beside dnspython."""
    return _measure(kind, lambda payload: bool(payload[2] & 0x80), dns.message.from_wire, seconds)


def hellos(kind: Kind, seconds: float) -> Decoded:
    """ClientHellos, beside dpkt."""
    return _measure(kind, lambda payload: payload[5] == 1, _dpkt, seconds)


def _dpkt(payload: bytes) -> object:
    hello = dpkt.ssl.TLSHandshake(dpkt.ssl.TLSRecord(payload).data).data
    return hello.ciphersuites, hello.extensions


def _measure(kind: Kind, wanted: Callable[[bytes], bool], peer: Callable[[bytes], object], seconds: float) -> Decoded:
    drains = _drains(kind, wanted)
    payloads = [payload for drained in drains for payload in drained.payloads]
    grain = find_class(GRAINS[kind.probe])()
    grain.lookups = Lookups()  # as where both DNS and TLS are configured
    memory.frugal()  # as in the agent

    def ours() -> None:
        for drained in drains:
            told = sum(len(batch) for batch in grain.decode(drained))
            if told != len(drained.events):
                raise RuntimeError(f"of {len(drained.events)} messages {told} were told")

    def theirs() -> None:
        for payload in payloads:
            peer(payload)

    return Decoded(len(payloads) / _best(ours, seconds), len(payloads) / _best(theirs, seconds))


def _drains(kind: Kind, wanted: Callable[[bytes], bool]) -> Sequence[Drained]:
    drains = []
    with Program(kind.probe.lower(), {}) as program:
        buffers = Buffers(program, "packet", 16384, packets=True)
        runs = [TestRun(program.fd(name)) for name in kind.programs]
        for number, (one, frame) in enumerate(kind.frames, 1):
            runs[one].run(frame[_ETHERNET:], 0)
            if number % _DRAIN == 0 or number == len(kind.frames):
                drained = buffers.drain()
                if drained is not None:
                    drains.append(_only(drained, wanted))
        buffers.close()
    return drains


def _only(drained: Drained, wanted: Callable[[bytes], bool]) -> Drained:
    rows = [row for row, payload in enumerate(drained.payloads) if wanted(payload)]
    return Drained(drained.events[rows], [drained.payloads[row] for row in rows])


def _best(work: Callable[[], None], seconds: float) -> float:
    """The least processor time of one pass, of as many as fit in the time: what else the machine does adds to it."""
    best = float("inf")
    until = time.monotonic() + seconds
    while True:
        used = time.thread_time()
        work()
        best = min(best, time.thread_time() - used)
        if time.monotonic() >= until:
            return best
