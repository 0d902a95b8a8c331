"""Console: a record is a line, whatever is in it; what stdout does not take is counted, and nothing waits for ever."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from chain import VOLUME, batch_of, tagged
from hypothesis import given
from hypothesis import strategies as st

from ingrain.account import Station
from ingrain.backends.console import Console, ConsoleSettings
from ingrain.backends.lines import json_lines, rfc3339, text_lines
from ingrain.backends.output import Output
from ingrain.batch import TIMESTAMP, Batch
from ingrain.text import harmless

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
STAMPS = st.integers(-9_223_372_036 * 10**9, (1 << 63) - 1)  # what Arrow, which reads them back here, can read
HOSTILE = ["x|c\nfoo:1", "\x1b[31m", '"}\n{"a":1', "a b=c", "\u202egnp.exe", "", "\\", "\x00"]


@dataclass
class Pipe:
    read: int
    write: int

    def taken(self) -> str:
        """All that was written, once the writing end is closed."""
        os.close(self.write)
        with os.fdopen(os.dup(self.read)) as file:
            return file.read()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pair = Pipe(*os.pipe())
    yield pair
    for end in (pair.read, pair.write):
        with suppress(OSError):  # the test closed it
            os.close(end)


def console(pipe: Pipe, form: str = "text", stall_s: float = 60.0) -> Console:
    settings = ConsoleSettings(format="json" if form == "json" else "text")
    return Console(settings, Station("console"), Output(pipe.write, stall_s))


def drain(backend: Console, pipe: Pipe) -> str:
    """What stands in the pipe when the backend has let go of it."""
    os.close(backend._output._descriptor)
    return pipe.taken()


def counted(backend: Console) -> tuple[int, int]:
    return backend.station.delivered, backend.station.lost


def test_a_record_is_a_line_of_time_measurement_value_and_tags(pipe: Pipe) -> None:
    backend = console(pipe)
    stamp = 1_740_830_400_000_000_001
    row = {"timestamp": stamp, "value": 12, "packets": 2, "process": "curl", "d_port": 443}
    backend.deliver(batch_of(VOLUME, [row, {**row, "process": "a b", "d_port": None}]))
    assert counted(backend) == (2, 0)
    assert drain(backend, pipe) == (
        "2025-03-01T12:00:00.000000001Z volume.out 12 packets=2 process=curl d_port=443\n"
        '2025-03-01T12:00:00.000000001Z volume.out 12 packets=2 process="a b"\n'
    )


def test_as_json_a_record_is_an_object_a_line_with_lists_and_structs(pipe: Pipe) -> None:
    answers = [[{"type": "A", "data": "192.0.2.1", "ttl": 60}, {"type": "TXT", "data": 'a"\nb', "ttl": 0}], [], None]
    column = pa.array(
        answers, pa.list_(pa.struct([("type", pa.string()), ("data", pa.string()), ("ttl", pa.uint32())]))
    )
    backend = console(pipe, "json")
    backend.deliver(tagged("answers", column))
    objects = [json.loads(line) for line in drain(backend, pipe).splitlines()]
    assert [one["answers"] for one in objects] == answers
    assert objects[0] == {
        "timestamp": "1970-01-01T00:00:00.000000000Z",
        "measurement": "m",
        "value": 1,
        "answers": answers[0],
    }


@given(st.lists(st.tuples(STAMPS, INT64, st.none() | st.text() | st.sampled_from(HOSTILE)), min_size=1, max_size=20))
def test_json_lines_say_every_value_exactly(rows: list[tuple[int, int, str | None]]) -> None:
    made = [{"timestamp": t, "value": v, "packets": -v - 1, "process": p, "d_port": v % 65536} for t, v, p in rows]
    batch = batch_of(VOLUME, made)
    lines = "".join(json_lines(batch).to_pylist())
    assert lines.count("\n") == len(rows)
    read = [json.loads(line) for line in lines.split("\n")[:-1]]
    for one in read:
        one["timestamp"] = pa.array([one["timestamp"]]).cast(TIMESTAMP).cast(pa.int64())[0].as_py()
        assert one.pop("measurement") == "volume.out"
    assert read == made


@given(st.lists(st.text() | st.sampled_from(HOSTILE), min_size=1, max_size=20))
def test_whatever_a_process_calls_itself_it_is_one_word_of_one_line(names: list[str]) -> None:
    made = [{"value": 1, "packets": 1, "process": name, "d_port": 1} for name in names]
    for name, line in zip(names, text_lines(batch_of(VOLUME, made)).to_pylist(), strict=True):
        assert line.endswith(" d_port=1\n")
        body = line[:-1]
        assert all(one == " " or (one.isprintable() or ord(one) > 0x9F) for one in body)
        assert not {"\n", "\r", "\x1b", "\u2028", "\u202e"} & set(body)
        word = body.split(" process=", 1)[1].removesuffix(" d_port=1")
        if word.startswith('"'):
            word = json.loads(word)
        else:
            assert not set(' "=') & set(word)
        assert word in (name, harmless(name)) or not name.isprintable()  # Python prints what is drawn as nothing


@given(STAMPS)
def test_every_timestamp_has_nine_digits_of_a_second(stamp: int) -> None:
    (text,) = rfc3339(pa.array([stamp], pa.int64()).cast(TIMESTAMP)).to_pylist()
    whole, _, fraction = text.removesuffix("Z").partition(".")
    assert int(fraction) == stamp % 1_000_000_000
    assert len(fraction) == 9
    assert pa.array([f"{whole}Z"]).cast(pa.timestamp("s", "UTC")).cast(pa.int64())[0].as_py() == stamp // 1_000_000_000


def test_a_slice_of_a_batch_is_rendered_as_that_slice() -> None:
    column = pa.array([[{"type": "A", "data": str(n), "ttl": n}] for n in range(5)])
    batch = tagged("answers", column)
    whole = json_lines(batch).to_pylist()
    assert json_lines(Batch(batch.measurement, batch.records.slice(2, 2))).to_pylist() == whole[2:4]


def test_a_reader_that_has_gone_costs_the_records_and_is_told_once(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    backend = console(pipe)
    backend.deliver(batch_of(VOLUME, [{"value": 1, "packets": 1}]))
    os.close(pipe.read)
    for _ in range(3):
        backend.deliver(batch_of(VOLUME, [{"value": 1, "packets": 1}] * 10))
    assert counted(backend) == (1, 30)
    assert backend.station.detail["Broken pipe"] == 30
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "Broken pipe" in caplog.text


def test_a_reader_that_does_not_read_costs_what_does_not_fit_and_no_line_is_torn(pipe: Pipe) -> None:
    backend = console(pipe, stall_s=0.05)
    row = {"value": 1, "packets": 1, "process": "p" * 90}
    backend.deliver(batch_of(VOLUME, [row] * 5000))
    delivered, lost = counted(backend)
    assert delivered + lost == 5000
    assert 0 < delivered < 5000
    assert backend.station.detail["nobody reads"] == lost
    backend.deliver(batch_of(VOLUME, [row] * 10))
    assert counted(backend) == (delivered, lost + 10)

    text: list[str] = []
    with os.fdopen(os.dup(pipe.read)) as file:
        reader = threading.Thread(target=lambda: text.append(file.read()))
        reader.start()
        while counted(backend)[0] == delivered:  # the reader is about to make room
            backend.deliver(batch_of(VOLUME, [{**row, "process": "again"}]))
        backend.close()
        os.close(backend._output._descriptor)
        os.close(pipe.write)
        reader.join()
    lines = text[0].splitlines(keepends=True)
    assert len(lines) == counted(backend)[0]
    assert {len(line.split()) for line in lines} == {5}
    assert all(line.endswith("\n") for line in lines)
    assert "process=again" in lines[-1]


def test_a_line_that_is_never_finished_is_lost(pipe: Pipe) -> None:
    backend = console(pipe, stall_s=0.0)
    backend.deliver(batch_of(VOLUME, [{"value": 1, "packets": 1, "process": "p" * 100_000}]))
    assert counted(backend) == (1, 0), "the pipe holds 64 KiB: the line was begun"
    backend.close()
    assert counted(backend) == (0, 1)
    assert backend.station.detail["cut off"] == 1


def test_consoles_that_share_stdout_keep_their_lines_apart(pipe: Pipe) -> None:
    output = Output(pipe.write)
    both = [Console(ConsoleSettings(), Station(name), output) for name in ("a", "b")]
    text: list[str] = []
    with os.fdopen(os.dup(pipe.read)) as file:
        reader = threading.Thread(target=lambda: text.append(file.read()))
        reader.start()
        rows = [[{"value": 1, "packets": 1, "process": letter * 3000}] * 200 for letter in "ab"]
        writers = [
            threading.Thread(target=one.deliver, args=(batch_of(VOLUME, some),))
            for one, some in zip(both, rows, strict=True)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        os.close(output._descriptor)
        os.close(pipe.write)
        reader.join()
    words = [line.split("process=")[1] for line in text[0].splitlines()]
    assert sorted(words) == ["a" * 3000] * 200 + ["b" * 3000] * 200


def test_where_stdout_was_closed_no_record_gets_into_a_file_that_has_its_number(tmp_path: Path) -> None:
    other = tmp_path / "other"
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from chain import VOLUME, batch_of
from ingrain.account import Station
from ingrain.backends.console import Console, ConsoleSettings
os.dup2(os.open({str(other)!r}, os.O_WRONLY | os.O_CREAT), 1)
console = Console(ConsoleSettings(), Station("console"))
console.deliver(batch_of(VOLUME, [{{"value": 1}}]))
sys.exit(console.station.detail != {{"Bad file descriptor": 1}})
"""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert other.read_bytes() == b""


def test_the_descriptor_itself_stays_as_its_other_owners_left_it(pipe: Pipe) -> None:
    console(pipe)
    assert os.get_blocking(pipe.write)
