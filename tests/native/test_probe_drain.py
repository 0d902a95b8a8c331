"""One drain of a probe's buffers: its batches go on one by one, and a fault costs only what follows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from dns_messages import query
from frames import CLIENT, SERVER, udp

from ingrain.batch import Batch
from ingrain.grains import messages
from ingrain.grains.common import NetworkSettings
from ingrain.grains.dns import DNS
from ingrain.grains.messages import Told
from ingrain.grains.packets import Layout, Packet
from ingrain.kernel.testrun import ETHERNET, TestRun
from ingrain.probe import Probe
from ingrain.wire.dns_message import Message


class Outlet:
    """A pipeline that keeps what it gets."""

    wants = None

    def __init__(self) -> None:
        self.got: list[Batch] = []

    def offer(self, batch: Batch) -> bool:
        self.got.append(batch)
        return True


class Counting(DNS):
    """Fails at the packet of this number. `ahead`: packets decoded that are not offered yet, at the most."""

    fails_at = -1
    ahead = 0

    def __init__(self, outlet: Outlet) -> None:
        super().__init__()
        self._outlet = outlet
        self._seen = 0

    def told(self, packet: Packet, at: Layout) -> Sequence[Told[Message, int | None]] | None:
        self._seen += 1
        self.ahead = max(self.ahead, self._seen - sum(map(len, self._outlet.got)))
        if self._seen == self.fails_at:
            raise RuntimeError("a fault of its own")
        return super().told(packet, at)


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Probe, Counting, Outlet]]:
    monkeypatch.setattr(messages, "BATCH_BYTES", 1)
    outlet = Outlet()
    grain = Counting(outlet)
    made = Probe(grain, NetworkSettings(), [outlet], {"replay": 1}, {})  # type: ignore[list-item] # all that is asked of one
    run = TestRun(made.program.fd("dns_ingress")).run
    for number in range(10):
        assert run(udp(CLIENT, SERVER, query(f"{number}.test"))[ETHERNET:], number)
    yield made, grain, outlet
    made.close()


def test_a_drain_is_offered_as_it_is_decoded(probe: tuple[Probe, Counting, Outlet]) -> None:
    made, grain, outlet = probe
    drained = made.buffers.drain()
    assert drained
    made.drained(drained)
    assert [len(batch) for batch in outlet.got] == [1] * 10
    assert grain.ahead == 1
    assert (made.account().told, made.account().failed) == (10, 0)


def test_a_fault_costs_what_was_not_decoded_yet_and_the_account_adds_up(probe: tuple[Probe, Counting, Outlet]) -> None:
    made, grain, outlet = probe
    grain.fails_at = 7
    drained = made.buffers.drain()
    assert drained
    with pytest.raises(RuntimeError):
        made.drained(drained)
    account = made.account()
    assert (len(outlet.got), account.received, account.told, account.failed) == (6, 10, 6, 4)
