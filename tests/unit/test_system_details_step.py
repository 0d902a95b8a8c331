"""AddSystemDetails tells of each record the host and its kernel, and every stage behind it takes these tags."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any

import pyarrow as pa
import pytest
from chain import VOLUME, batch_of, chain, tagged
from through import loaded, through

from ingrain.backends.cardinality import Cardinality
from ingrain.backends.series import series
from ingrain.batch import TEXT
from ingrain.pipeline import Pipeline
from ingrain.steps import system_details
from ingrain.steps.system_details import AddSystemDetails, AddSystemDetailsSettings

ADD = 'type = "AddSystemDetails"'
ROWS = [{"value": 5, "packets": 1, "process": "curl", "d_port": 443}, {"value": 7, "packets": 2, "process": "ssh"}]
SUMMED = 'type = "Buffer"\ninterval_s = 3600'


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    system_details.host.cache_clear()
    yield
    system_details.host.cache_clear()


def test_each_record_tells_the_host_and_its_kernel_as_the_host_s_own_programs_do() -> None:
    with chain((AddSystemDetails, AddSystemDetailsSettings())) as steps:
        steps.tell(batch_of(VOLUME, ROWS))
        steps.flush()
        (batch,) = steps.batches
    kernel = subprocess.run(["uname", "-r"], capture_output=True, text=True, check=True).stdout.strip()
    assert {(row["host"], row["kernel"]) for row in steps.rows} == {(system_details.host().now(), kernel)}
    assert system_details.host().now().partition(".")[0] == socket.gethostname().partition(".")[0]
    assert batch.tags == ["process", "d_port", "host", "kernel"]
    assert batch.records.drop_columns(["host", "kernel"]).equals(batch_of(VOLUME, ROWS).records)


def test_a_tag_is_one_dictionary_value_however_many_rows_there_are() -> None:
    with chain((AddSystemDetails, AddSystemDetailsSettings())) as steps:
        steps.tell(tagged("process", pa.array(["a"] * 10_000, TEXT)))
        steps.flush()
        column = steps.batches[0].records.column("host")
    assert (column.type, len(column), len(column.dictionary)) == (TEXT, 10_000, 1)
    column.validate(full=True)


def test_a_host_that_the_record_names_itself_is_replaced_as_in_ingraind() -> None:
    with chain((AddSystemDetails, AddSystemDetailsSettings())) as steps:
        steps.tell(tagged("host", pa.array(["forged"], TEXT)))
        steps.flush()
        assert steps.batches[0].tags == ["host", "kernel"]
        assert steps.rows[0]["host"] == system_details.host().now()


def test_a_pod_is_told_its_node_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "node-7\x1b")
    assert system_details.host().now() == "node-7\\x1b"


def test_a_resolver_that_is_away_holds_up_neither_start_nor_records_and_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers, asked = Queue[Any](), Event()

    def resolve(*_: object, **__: object) -> Any:
        asked.set()
        answer = answers.get()
        if isinstance(answer, Exception):
            raise answer
        return [(2, 1, 6, answer, ("127.0.1.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(system_details, "_PATIENCE_S", 0.01)
    monkeypatch.setattr(system_details, "_AGAIN_S", 0.01)
    short = socket.gethostname()
    with chain((AddSystemDetails, AddSystemDetailsSettings())) as steps:
        assert asked.wait(60)
        steps.tell(batch_of(VOLUME, ROWS[:1]))
        steps.flush()
        assert [row["host"] for row in steps.rows] == [short]
        answers.put(socket.gaierror(socket.EAI_AGAIN, "away"))
        answers.put(f"{short}.example.net")
        system_details.host().wait(60)
        steps.tell(batch_of(VOLUME, ROWS[:1]))
        steps.flush()
        assert [row["host"] for row in steps.rows] == [short, f"{short}.example.net"]


@pytest.mark.parametrize(
    ("short", "canonical", "expected"),
    [("web", "web.example.net", "web.example.net"), ("web", "localhost", "web"), ("web", "webmail.net", "web")],
)
def test_the_full_name_is_one_of_this_host(
    monkeypatch: pytest.MonkeyPatch, short: str, canonical: str, expected: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, canonical, ("127.0.1.1", 0))])
    assert system_details._full(short) == expected


def unknown(*_: object, **__: object) -> Any:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_host_that_no_resolver_knows_has_its_short_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert system_details._full("no-such-host.invalid") == "no-such-host.invalid"
    monkeypatch.undo()
    assert system_details._full("x" * 64) == "x" * 64, "no label of DNS is so long"


def test_steps_and_the_backend_behind_it_take_its_tags(tmp_path: Path) -> None:
    regex = 'type = "Regex"\npatterns = [{ key = "kernel", regex = "^", replace_with = "some" }]'
    whitelist = 'type = "Whitelist"\nallow = ["process", "host", "kernel"]'
    with through(tmp_path, ADD, regex, whitelist, SUMMED) as run:
        run.pipeline.put(batch_of(VOLUME, [*ROWS, ROWS[0]]))
    told = [(row["process"], row["host"], row["kernel"], row["value"]) for row in run.rows["volume.out"]]
    assert told == [("curl", system_details.host().now(), "some", 10), ("ssh", system_details.host().now(), "some", 7)]


def test_statsd_has_them_as_tags() -> None:
    with chain((AddSystemDetails, AddSystemDetailsSettings())) as steps:
        steps.tell(batch_of(VOLUME, ROWS[:1]))
        steps.flush()
    (told,) = series(steps.batches[0], "", Cardinality(10), use_tags=True)
    line = f"|c|#process:curl,d_port:443,host:{system_details.host().now()},kernel:{os.uname().release}\n"
    assert told.text.to_pylist() == [f"volume.out:5{line}volume.out.packets:1{line}"]


def test_no_probe_is_asked_for_what_is_added_here(tmp_path: Path) -> None:
    pipeline = Pipeline(loaded(tmp_path, ADD, 'type = "Whitelist"\nallow = ["process", "host"]'))
    assert pipeline.wants == frozenset({"process"})
    assert Pipeline(loaded(tmp_path, ADD)).wants is None
