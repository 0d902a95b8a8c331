"""The agent's own telemetry tells what was counted, each thing once, also when a pipeline refuses it for a while."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

from ingrain.account import Account, ProbeAccount, Station
from ingrain.batch import Batch, Kind
from ingrain.telemetry import MEASUREMENTS, Telemetry, TelemetrySettings


class Door:
    """A pipeline's, as far as telemetry sees it: open or shut."""

    name = "door"

    def __init__(self) -> None:
        self.open = True
        self.told: Counter[tuple[str, ...]] = Counter()
        self.gauges: dict[tuple[str, ...], int] = {}

    def offer(self, batch: Batch) -> bool:
        if self.open:
            for row in batch.records.drop_columns(["timestamp"]).to_pylist():
                key = (batch.measurement.name, *(row[tag] for tag in batch.tags))
                if batch.measurement.kind is Kind.GAUGE:
                    self.gauges[key] = row["value"]
                else:
                    self.told[key] += row["value"]
        return self.open


def telemetry(account: Account, *doors: Door) -> Telemetry:
    return Telemetry(TelemetrySettings(), list(doors), lambda: account)  # type: ignore[arg-type] # doors


def test_every_count_of_the_account_is_told_once() -> None:
    probe, station = ProbeAccount("DNS"), Station("pipeline a: b: StatsD", gauges={"inbox.depth": 4})
    door = Door()
    own = telemetry(Account([probe], {"a: b": [station]}), door)
    for number, one in enumerate(fields(ProbeAccount)[1:], 1):
        setattr(probe, one.name, number)
    station.received, station.delivered, station.refused, station.lost = 10, 7, 2, 3
    own._tell()
    own._tell()
    probe.received += 100
    own._tell()
    for number, one in enumerate(fields(ProbeAccount)[1:], 1):
        assert door.told[f"ingrain.events.{one.name}", "DNS"] == number + 100 * (one.name == "received")
    found = {key[0].rpartition(".")[2]: value for key, value in door.told.items() if key[1:] == ("a: b", "StatsD")}
    assert found == {"received": 10, "delivered": 7, "merged": 0, "refused": 2, "lost": 3}
    assert door.gauges == {("ingrain.inbox.depth", "a: b", "StatsD"): 4}


def test_what_a_full_pipeline_refused_is_told_later_and_not_twice_to_another() -> None:
    probe, full, other = ProbeAccount("DNS"), Door(), Door()
    other.name = "other"
    own = telemetry(Account([probe], {}), full, other)
    probe.lost, full.open = 5, False
    own._tell()
    full.open, probe.lost = True, 6
    own._tell()
    key = "ingrain.events.lost", "DNS"
    assert (full.told[key], other.told[key]) == (6, 6)


def test_what_was_counted_before_it_began_is_not_told() -> None:
    probe, door = ProbeAccount("DNS", received=1000), Door()
    own = telemetry(Account([probe], {}), door)
    probe.received += 1
    own._tell()
    assert door.told["ingrain.events.received", "DNS"] == 1


def test_the_last_reading_is_told_at_the_end() -> None:
    probe, door = ProbeAccount("DNS"), Door()
    own = telemetry(Account([probe], {}), door)
    own.start()
    probe.received = 9
    own.finish()
    assert door.told["ingrain.events.received", "DNS"] == 9


def test_no_two_measurements_have_the_same_name() -> None:
    names = [measurement.name for measurement in MEASUREMENTS]
    assert len(set(names)) == len(names)
