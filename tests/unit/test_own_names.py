"""Records that have names of their own keep them through every step, and every backend tells them by these."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chain import chain

from ingrain.account import Station
from ingrain.backends.archive import Archive, ArchiveSettings
from ingrain.backends.cardinality import Cardinality
from ingrain.backends.ingraind import ingraind_lines
from ingrain.backends.lines import json_lines, text_lines
from ingrain.backends.series import series
from ingrain.batch import Batch
from ingrain.own.statsd_metrics import Metrics
from ingrain.steps import percentiles
from ingrain.steps.buffer import Buffer, BufferSettings
from ingrain.steps.regex import Pattern, Regex, RegexSettings
from ingrain.steps.whitelist import Whitelist, WhitelistSettings


def batches(lines: bytes) -> list[Batch]:
    made = Metrics(1000, "")
    made.take(lines)
    return made.flush(0)


def sent(batch: Batch, prefix: str = "", *, limit: int = 100, use_tags: bool = True) -> list[str]:
    found = series(batch, prefix, Cardinality(limit), use_tags=use_tags)
    return [line for some in found for text in some.text.to_pylist() for line in text.splitlines()]


def test_what_comes_in_under_a_name_goes_out_under_it() -> None:
    (batch,) = batches(b"page.views:1|c|#env:prod\npage.views:2|c|#env:dev\nlogins:0.5|c|#env:prod")
    assert sent(batch) == ["page.views:1|c|#env:prod", "page.views:2|c|#env:dev", "logins:0.5|c|#env:prod"]
    assert sent(batch, "a.", use_tags=False) == [
        "a.page.views.prod:1|c", "a.page.views.dev:2|c", "a.logins.prod:0.5|c",
    ]  # fmt: skip


def test_whole_numbers_keep_all_their_digits_and_others_are_what_they_were() -> None:
    lines = b"a:12345678901|c\nb:0.1|c\nc:1e20|c\nd:-0.25|c\ne:-3|c"
    found = dict(line.removesuffix("|c").split(":") for line in sent(batches(lines)[0]))
    assert {name: float(value) for name, value in found.items()} == {
        "a": 12345678901,
        "b": 0.1,
        "c": 1e20,
        "d": -0.25,
        "e": -3,
    }
    assert (found["a"], found["e"]) == ("12345678901", "-3")


def test_a_gauge_below_zero_is_set_to_zero_under_its_own_name_first() -> None:
    assert sent(batches(b"a:1|g\nb:-2.5|g|")[0]) == ["a:1|g"]
    assert sent(batches(b"a:1|g\nb:-2.5|g")[0]) == ["a:1|g", "b:0|g", "b:-2.5|g"]


def test_names_are_series_of_the_guard_and_what_is_beyond_has_the_measurement_s() -> None:
    (batch,) = batches(b"\n".join(b"n%d:1|c" % n for n in range(10)))
    assert sent(batch, limit=2) == ["n0:1|c", "n1:1|c", "statsd.counter:8|c|#overflow:true"]


def test_steps_keep_the_name_and_buffer_sums_up_by_it() -> None:
    first, again = b"a:1|c|#env:prod,job:1\nb:5|c|#env:prod,job:2", b"a:1.5|c|#env:prod,job:3\na:1|c|#env:dev,job:1"
    regex = RegexSettings(patterns=[Pattern(key="env", regex="^p", replace_with="production")])
    steps: list[tuple[type[Any], Any]] = [
        (Whitelist, WhitelistSettings(allow=["env"])), (Regex, regex), (Buffer, BufferSettings(interval_s=86_400)),
    ]  # fmt: skip
    with chain(*steps) as made:
        made.tell(*batches(first), *batches(again))
        made.flush()
        found = sorted(line for batch in made.batches for line in sent(batch))
    assert found == ["a:1|c|#env:dev", "a:2.5|c|#env:production", "b:5|c|#env:production"]


def test_of_a_gauge_buffer_keeps_the_last_of_each_name() -> None:
    with chain((Buffer, BufferSettings(interval_s=86_400))) as made:
        made.tell(*batches(b"a:1|g\nb:2|g"), *batches(b"a:0.75|g"))
        made.flush()
        assert [line for batch in made.batches for line in sent(batch)] == ["a:0.75|g", "b:2|g"]


def test_lines_for_people_and_machines_have_the_name_as_the_measurement() -> None:
    (batch,) = batches(b"page.views:1.5|c|#env:a b,measurement:x")
    (line,) = json_lines(batch).to_pylist()
    assert json.loads(line, object_pairs_hook=list)[1:] == [
        ("measurement", "page.views"), ("value", 1.5), ("env", "a b"), ("measurement_", "x"),
    ]  # fmt: skip
    assert text_lines(batch).to_pylist() == ['1970-01-01T00:00:00.000000000Z page.views 1.5 env="a b" measurement_=x\n']


HOSTILE = [b"../../etc/passwd", b"a/b\x00c", b"x|c", b"\x1b[2J", b"\xff\xfe", b".", b"..", b"a" * 200, b"dns.query"]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_hostile_names_make_no_places_and_as_many_names_no_more_objects(tmp_path: Any, form: Any) -> None:
    names = [*HOSTILE, *(b"n%d" % n for n in range(500))]
    station = Station("archive")
    ref = Archive.start(ArchiveSettings(path=str(tmp_path / "archive"), format=form), station)
    made = batches(b"\n".join(name + b":1|c" for name in names))
    for batch in made:
        ref.tell(batch)
    ref.proxy().flush().get()
    ref.stop()
    objects = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(objects) == len(made) == 1
    assert {path.parent.parent.parent.name for path in objects} == {"measurement=statsd.counter"}
    assert (station.delivered, station.lost) == (sum(map(len, made)), 0)
    if form == "parquet":
        read = pq.read_table(objects[0])
        assert {"page", "n499", ".._.._etc_passwd"} - set(read.column("metric").to_pylist()) == {"page"}
        assert read.schema.field("value").type == pa.float64()


def test_percentiles_of_a_buffer_are_told_by_name_and_are_rounded_where_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = b"\n".join(b"a:%d.25|c|#n:%d" % (n, n) for n in range(1, 101)) + b"\nb:-0.5|c|#n:1\nb:0|c|#n:2"
    for most, exact in ((1000, True), (10, False)):
        monkeypatch.setattr(percentiles, "EXACT_PAIRS", most)
        steps = [(Whitelist, WhitelistSettings(allow=[])), (Buffer, BufferSettings(enable_histograms=True))]
        with chain(*steps) as made:
            made.tell(*batches(lines))
            made.flush()
            found = dict(line.split(":", 1) for batch in made.batches for line in sent(batch) if ":0|g" not in line)
        assert found["a"] == "5075|c"
        assert found["b"] == "-0.5|c"
        for part in percentiles.PERCENTILES:
            told = float(found[f"a_{part}"].removesuffix("|g"))
            assert told == part + 0.25 if exact else told == pytest.approx(part + 0.25, rel=0.008)


def test_ingraind_s_bodies_have_the_name_with_its_unit() -> None:
    (batch,) = batches(b"page.views:1.5|c|#env:prod\nlogins:2|c|#env:dev")
    assert [json.loads(line) for line in ingraind_lines(batch, "\n").to_pylist()] == [
        {"timestamp": 0, "kind": 1, "name": "page.views_count", "measurement": 1.5, "tags": {"env": "prod"}},
        {"timestamp": 0, "kind": 1, "name": "logins_count", "measurement": 2, "tags": {"env": "dev"}},
    ]


def test_no_tag_that_a_step_adds_takes_the_place_of_the_name() -> None:
    (batch,) = batches(b"a:1|c|#host:x")
    other = pa.array(["evil"]).dictionary_encode()
    batch = batch.with_tags({"metric": other, "host": other, "kernel": other})
    assert sent(batch) == ["a:1|c|#host:evil,kernel:evil"]
