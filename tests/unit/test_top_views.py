"""What top shows: the sums of a window and of all the time, however records come, and nothing that harms a terminal."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.batch import Batch
from ingrain.grains.dns import DNS
from ingrain.grains.network import VOLUME
from ingrain.live.frames import LENGTH, MOST, Frame, FrameError, decode, encode, size_of
from ingrain.top import tally
from ingrain.top.tally import Tally
from ingrain.top.views import VIEWS, WINDOW_S, Table

PROCESSES, NAMES = (next(view for view in VIEWS if view.title == title) for title in ("Processes", "Names"))
QUERY = next(one for one in DNS.measurements if one.name == "dns.query")


def sent(*rows: tuple[str | None, int, int]) -> Batch:
    """Process, id, bytes."""
    told = [{"timestamp": 0, "process": p, "process_id": i, "value": v, "packets": 1} for p, i, v in rows]
    return Batch(VOLUME[0], pa.RecordBatch.from_pylist(told, VOLUME[0].schema))


def frame(batch: Batch) -> Frame:
    return Frame(batch.measurement.name, batch.records, 0)


def test_a_frame_comes_out_as_it_went_in() -> None:
    batch = sent(("curl", 7, 100), (None, 8, 1))
    content = encode(batch, 3)
    assert size_of(content[: LENGTH.size]) == len(content) - LENGTH.size
    got = decode(content[LENGTH.size :])
    assert (got.measurement, got.left_out) == ("volume.out", 3)
    assert got.records.to_pylist() == batch.records.to_pylist()


@given(st.binary(max_size=300))
def test_bytes_that_are_no_frame_are_refused(content: bytes) -> None:
    with pytest.raises(FrameError, match="no record"):
        decode(content)


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_frame_with_a_damaged_byte_is_a_frame_or_refused(at: int, byte: int) -> None:
    content = bytearray(encode(sent(("curl", 7, 100), ("wget", 8, 1)), 0)[LENGTH.size :])
    content[at % len(content)] = byte
    try:
        got = decode(bytes(content))
    except FrameError:
        return
    assert got.records.num_rows >= 0
    assert all(isinstance(name, str) for name in got.records.schema.names)


def test_a_length_that_no_frame_has_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(FrameError, match="no record"):
        size_of(LENGTH.pack(MOST + 1))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100), st.integers(0, 3)), max_size=40))
def test_rates_are_those_of_the_window_and_counts_of_all_the_time(events: list[tuple[int, int, int]]) -> None:
    sums, now, put = Tally(1, WINDOW_S), 0, []
    for key, amount, later in events:
        now += later
        sums.add((str(key),), 0, amount, now)
        put.append((key, amount, now))
    now += 3
    total: Counter[str] = Counter()
    recent: Counter[str] = Counter()
    for key, amount, at in put:
        total[str(key)] += amount
        recent[str(key)] += amount if at > now - WINDOW_S else 0
    rows = list(sums.rows(now))
    assert {row.key[0]: row.total[0] for row in rows} == dict(total)
    assert {row.key[0]: row.recent[0] for row in rows} == dict(recent)


def test_a_flood_of_keys_is_bounded_and_what_came_last_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "KEYS", 100)
    sums = Tally(1, WINDOW_S)
    for number in range(1000):
        sums.add((str(number),), 0, 1, number / 1000)
    assert [row.key[0] for row in sums.rows(1.0)] == [str(number) for number in range(900, 1000)]


def test_a_key_that_was_forgotten_and_comes_again_has_the_rate_of_what_came_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tally, "KEYS", 100)
    sums = Tally(1, WINDOW_S)
    sums.add(("a",), 0, 1000, 0.0)
    for number in range(100):
        sums.add((str(number),), 0, 1, 1.0)
    sums.add(("a",), 0, 5, 2.0)
    for now in (2.0, WINDOW_S, WINDOW_S + 1.0):
        assert [row.recent for row in sums.rows(now) if row.key == ("a",)] == [[5]]
    assert [row.recent for row in sums.rows(WINDOW_S + 2.0) if row.key == ("a",)] == [[0]]


def test_records_of_one_process_add_up_and_those_of_nobody_are_left_out() -> None:
    table = Table(PROCESSES)
    table.add(frame(sent(("curl", 7, 100), ("curl", 7, 1), ("curl", 8, 5))), 0.0)
    table.add(frame(sent(("curl", 7, 1000))), 1.0)
    assert {row.key: row.total[0] for row in table.rows(2.0)} == {("curl", "7"): 1101, ("curl", "8"): 5}


def test_only_rows_that_contain_the_text_are_shown_and_the_last_process_that_asked() -> None:
    rows = [
        {"timestamp": 0, "value": 1, "q_name": name, "process": process}
        for name, process in [("a.example", "curl"), ("b.test", "dig"), ("a.example", "wget")]
    ]
    table = Table(NAMES)
    table.add(frame(Batch(QUERY, pa.RecordBatch.from_pylist(rows, QUERY.schema))), 0.0)
    (row,) = table.rows(0.0, "EXAMPLE")
    assert (row.key, row.total, row.last["process"]) == (("a.example",), [2, 0], "wget")
    assert [row.key for row in table.rows(0.0, "dig")] == [("b.test",)]


def test_what_an_agent_of_another_making_sends_reaches_no_terminal_as_a_command() -> None:
    table = Table(PROCESSES)
    table.add(frame(sent(("\x1b[31mred\x07", 7, 1))), 0.0)
    (row,) = table.rows(0.0)
    assert row.key[0] == "\\x1b[31mred\\x07"
