"""DuckDB's threads share the file of an object: what one reads is what it asked for, whatever the others do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import FOLDER, plant, records

from ingrain.query.archive import Archive, Folder
from ingrain.query.engine import Asked, Engine, Limits
from ingrain.query.ranges import Ranges

DATA = bytes(range(256))


@pytest.fixture
def opened(tmp_path: Path) -> Ranges:
    (tmp_path / "object").write_bytes(DATA)
    return Folder(str(tmp_path)).open("object", len(DATA))


def test_a_place_that_one_thread_goes_to_is_no_other_s(opened: Ranges) -> None:
    with ThreadPoolExecutor(1) as other, opened:
        opened.seek(100)
        assert other.submit(opened.tell).result() == 0
        other.submit(opened.seek, 7).result()
        assert opened.read(3) == DATA[100:103]
        assert other.submit(opened.read, 3).result() == DATA[7:10]
        assert (opened.tell(), other.submit(opened.tell).result()) == (103, 10)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(-1, 300))))
def test_what_is_read_is_what_a_file_has_there(places: list[tuple[int, int]]) -> None:
    reads: list[tuple[int, int]] = []

    def read(start: int, end: int) -> bytes:
        reads.append((start, end))
        return DATA[start:end]

    one = Ranges(len(DATA), read)
    for at, size in places:
        assert one.seek(at) == at
        assert one.read(size) == DATA[at : None if size < 0 else at + size]
    assert all(start < end <= len(DATA) for start, end in reads)
    one.seek(-10, 2)
    assert one.read() == DATA[-10:]


def test_a_file_is_closed_once(tmp_path: Path) -> None:
    closed: list[int] = []
    one = Ranges(0, lambda _start, _end: b"", lambda: closed.append(1))
    one.close()
    one.close()
    assert closed == [1]
    del tmp_path


def test_many_threads_have_the_answer_of_one(tmp_path: Path) -> None:
    count = 40_000
    names = pa.array([f"n{number:09}" * 4 for number in range(count)])
    path = plant(tmp_path, "a-1-00000000-1.parquet", b"", FOLDER)
    pq.write_table(records(count, q_name=names), path, row_group_size=500)
    sql = "SELECT count(*), sum(hash(q_name)), max(q_name) FROM dns_query"
    answers = set()
    for threads in (1, 16, 16, 16):
        engine = Engine(Archive(Folder(str(tmp_path)), "it"), Limits(threads=threads))
        answer = engine.ask(Asked(sql, (None, None)))
        answers |= {*answer.rows()}
        assert not answer.unreadable
        engine.close()
    assert len(answers) == 1
