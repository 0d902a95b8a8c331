"""Metrics are summed up as StatsD's server does, bounded, and every line is told, malformed or ignored."""

from __future__ import annotations

import json
import math
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from doors import rows
from hypothesis import given
from hypothesis import strategies as st

from ingrain.own import statsd_metrics
from ingrain.own.statsd_metrics import KEY_SETS, OVERFLOW, Metrics

PROCESS_METRICS = Path(__file__).parents[2] / ".cache/statsd/node_modules/statsd/lib/process_metrics.js"
NPM = """
const { process_metrics } = require(process.argv[1]);
const values = JSON.parse(process.argv[2]);
const metrics = { timers: { t: values }, timer_counters: { t: values.length }, pctThreshold: [] };
process_metrics(metrics, [], 10000, 0, (done) => console.log(JSON.stringify(done.timer_data.t)));
"""


def metrics(max_series: int = 100, prefix: str = "") -> Metrics:
    return Metrics(max_series, prefix)


def told(made: Metrics) -> dict[str, Any]:
    """What is flushed: the value, or of timers all values, by name and tags."""
    found = {}
    for batch in made.flush(0):
        for row in rows(batch):
            numbers = {name: row.pop(name) for name in batch.measurement.value_names}
            tags = "".join(f",{key}={value}" for key, value in row.items() if key != "name")
            found[f"{batch.measurement.name} {row['name']}{tags}"] = numbers["value"] if len(numbers) == 1 else numbers
    return found


def test_counters_add_up_at_the_weight_of_their_samples() -> None:
    made = metrics()
    made.take(b"a:1|c\na:2|c|@0.1\na:1|c|#env:prod\na:1|c\n\na:-0.5|c|#env:prod")
    assert told(made) == {"statsd.counter a": 22.0, "statsd.counter a,env=prod": 0.5}
    assert told(made) == {}, "what was told is not told again"
    made.take(b"a:1|c")
    assert told(made) == {"statsd.counter a": 1.0}


def test_the_order_of_tags_makes_no_other_series() -> None:
    made = metrics()
    made.take(b"a:1|c|#x:1,y:2\na:1|c|#y:2,x:1")
    assert told(made) == {"statsd.counter a,x=1,y=2": 2.0}


def test_a_gauge_is_set_or_changed_in_the_order_of_its_lines_and_is_kept() -> None:
    made = metrics()
    made.take(b"g:1|g\ng:2|g\ng:1|g\ng:2|g\ng:+3|g\ng:-1.5|g\nh:-4|g")
    assert told(made) == {"statsd.gauge g": 3.5, "statsd.gauge h": -4.0}
    made.take(b"g:+1|g\ng:+1|g")
    assert told(made) == {"statsd.gauge g": 5.5}, "and those that did not change are not told again"


def test_a_set_counts_what_is_distinct_in_an_interval() -> None:
    made = metrics()
    made.take(b"u:a|s\nu:b|s\nu:a|s\nu:x:y|s\nu:\xff\x00|s")
    made.take(b"u:a|s")
    assert told(made) == {"statsd.set u": 4.0}
    made.take(b"u:a|s")
    assert told(made) == {"statsd.set u": 1.0}


def test_timers_histograms_and_distributions_tell_number_sum_and_percentiles() -> None:
    made = metrics()
    made.take(
        b"\n".join(b"t:%d|%s" % (n, [b"ms", b"h", b"d"][n % 3]) for n in range(1, 101)) + b"\nt:1000:2000|ms|@0.5"
    )
    found = told(made)
    assert found["statsd.counter t.count"] == 104.0
    assert found["statsd.counter t.sum"] == 5050.0 + 3000
    assert found["statsd.timer t"] == {"value": 8050 / 102, "lower": 1, "upper": 2000} | {
        "p25": 26, "p50": 51, "p75": 77, "p90": 92, "p95": 97, "p99": 1000,
    }  # fmt: skip


@pytest.mark.parametrize("values", [[3.5], [1, 1, 1], [0.1 * n for n in range(100, 0, -1)], [-5, 1e6, 7, 0]])
def test_a_timer_is_what_the_original_server_makes_of_the_same_values(values: list[float]) -> None:
    if not PROCESS_METRICS.exists():
        pytest.fail("npm's statsd is not there: run tests/servers/install.sh, as make test does")
    command = ["node", "-e", NPM, str(PROCESS_METRICS), json.dumps(values)]
    theirs = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    made = metrics()
    made.take("\n".join(f"t:{value}|ms" for value in values).encode())
    ours = told(made)
    timer = ours["statsd.timer t"]
    assert ours["statsd.counter t.count"] == theirs["count"]
    assert math.isclose(ours["statsd.counter t.sum"], theirs["sum"])
    assert math.isclose(timer["value"], theirs["mean"])
    assert (timer["lower"], timer["upper"]) == (theirs["lower"], theirs["upper"])
    if len(values) % 2:
        assert timer["p50"] == theirs["median"]


def test_a_prefix_stands_before_every_name() -> None:
    made = metrics(prefix="apps.")
    made.take(b"dns.query:1|c\nt:1|ms")
    assert {name.partition(" ")[2] for name in told(made)} == {"apps.dns.query", "apps.t.count", "apps.t.sum", "apps.t"}


def test_series_beyond_the_bound_go_under_one_that_counts_their_lines() -> None:
    made = metrics(max_series=10)
    made.take(b"\n".join(b"n%d:5|c" % n for n in range(1000)))
    made.take(b"n3:5|c\nn999:5|g")
    found = told(made)
    assert found.pop(f"statsd.counter {OVERFLOW}") == 991.0
    assert found == {f"statsd.counter n{n}": 10.0 if n == 3 else 5.0 for n in range(10)}
    assert (made.told, made.beyond) == (1002, 991)
    assert told(made) == {}


def test_sets_of_keys_are_bounded_too_and_long_tags_count_for_more_series() -> None:
    made = metrics(max_series=1000)
    made.take(b"\n".join(b"a:1|c|#k%d:1" % n for n in range(KEY_SETS + 50)))
    assert len(made.flush(0)) == KEY_SETS + 1
    assert made.beyond == 50
    made = metrics(max_series=10)
    made.take(b"\n".join(b"a:1|c|#k:%d%s" % (n, b"x" * 5000) for n in range(10)))
    assert made.beyond == 9


def test_what_was_not_seen_for_long_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    made = metrics(max_series=1)
    made.take(b"a:1|g")
    made.flush(0)
    monkeypatch.setattr(statsd_metrics, "FORGET_S", -1.0)
    made.flush(0)
    made.take(b"b:1|g")
    assert told(made) == {"statsd.gauge b": 1.0}
    assert made.beyond == 0


def test_spellings_of_a_series_without_end_take_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statsd_metrics, "_KNOWN_BYTES", 10_000)
    made = metrics()
    for n in range(1, 1000):
        made.take(b"a:1|c|@0.%04d" % n)
        assert len(made._known) <= 10_000 // 256
    assert made.told == 999


def test_values_that_are_held_are_bounded_by_an_early_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statsd_metrics, "HELD", 1000)
    monkeypatch.setattr(statsd_metrics, "_UNCHECKED_BYTES", 1)
    made = metrics()
    made.take(b"\n".join(b"t:%d|ms" % n for n in range(1000)))
    assert not made.full
    made.take(b"t:1|ms")
    assert made.full
    made.flush(0)
    made.take(b"u:" + b"x" * 10_000 + b"|s")
    assert made.full


LINE = st.builds(
    lambda name, value, rest: name + b":" + value + b"|" + rest,
    st.sampled_from([b"a", b"b.c", b"", b"_e{1,1}", b"\xff\x1b[2J"]),
    st.sampled_from([b"1", b"-2.5", b"+3", b"nan", b"", b"1:2", b"1e300", b"9" * 400]),
    st.sampled_from([b"c", b"g", b"ms", b"s", b"h|@0.5", b"d|#a:b", b"x", b"c|#", b"c|#\x00:\n", b"g|@0", b"c|@1e-6"]),
)


@given(st.lists(st.lists(LINE | st.binary(max_size=30), max_size=20).map(b"\n".join), max_size=5))
def test_whatever_comes_every_line_is_counted_once_and_all_values_are_finite(pieces: list[bytes]) -> None:
    made = metrics(max_series=3)
    lines = sum(bool(line) for piece in pieces for line in piece.split(b"\n"))
    assert sum(made.take(piece) for piece in pieces) == lines == made.messages
    assert made.told + made.malformed + made.ignored == lines
    for batch in made.flush(0):
        batch.records.validate(full=True)
        for name in batch.measurement.value_names:
            assert all(map(math.isfinite, batch.records.column(name).to_pylist()))


@given(st.lists(st.integers(-1000, 1000).map(lambda n: b"g:%+d|g" % n if n % 2 else b"g:%d|g" % abs(n)), min_size=1))
def test_a_gauge_is_the_same_however_its_lines_are_cut_into_pieces(lines: list[bytes]) -> None:
    whole, pieces = metrics(), metrics()
    whole.take(b"\n".join(lines))
    for start, end in pairwise([*range(0, len(lines), 3), len(lines)]):
        pieces.take(b"\n".join(lines[start:end]))
    assert told(whole) == told(pieces)
