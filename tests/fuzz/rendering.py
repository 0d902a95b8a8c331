"""What goes out: StatsD lines, JSON, lines for people and names of objects, read back by other means; and Regex."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
import pyarrow as pa
from chain import batch_of

from fuzz.promises import check_text
from fuzz.target import Chosen, Target, piece
from ingrain.account import Station
from ingrain.backends import layout
from ingrain.backends.bodies import JsonArray
from ingrain.backends.cardinality import Cardinality
from ingrain.backends.lines import json_lines, rfc3339, text_lines
from ingrain.backends.series import series
from ingrain.batch import TEXT, Column, Kind, Measurement
from ingrain.grains.dns import ANSWERS
from ingrain.steps.regex import Pattern, Regex, RegexSettings

_ROWS = 8
_TAGS = (
    Column("process", TEXT, "name"),
    Column("d_port", pa.uint16(), "port"),
    Column("alpn", pa.list_(TEXT), "list"),
    Column("answers", ANSWERS, "structs"),
)
_VALUES = (Column("value", pa.int64(), "bytes"), Column("packets", pa.int64(), "packets"))
_COUNTED = Measurement("volume.out", "counted", _TAGS, values=_VALUES)
_NOW = Measurement("load", "a gauge", _TAGS, Kind.GAUGE, values=_VALUES)


def _rows(chosen: Chosen) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while chosen.left and len(rows) < _ROWS:
        there = chosen.number()
        name = chosen.text()
        answer = {"name": name, "type": "A", "data": chosen.text() if there & 8 else None, "ttl": chosen.number(4)}
        rows.append(
            {
                "timestamp": chosen.number(7),
                "value": int.from_bytes(chosen.take(4), "little", signed=True),
                "packets": chosen.number(2),
                "process": name if there & 1 else None,
                "d_port": chosen.number(2) if there & 2 else None,
                "alpn": [name, None] if there & 4 else None,
                "answers": [answer] * (there >> 6) if there & 16 else None,
            }
        )
    return rows


_PLAIN = re.compile(r"([0-9A-Za-z_.-]+):(-?[0-9]+)\|([cg])")
_TAGGED = re.compile(r"(volume\.out(?:\.packets)?|load(?:\.packets)?):(-?[0-9]+)\|([cg])(?:\|#(.+))?")
_TAG = re.compile(r"([0-9A-Za-z_.-]+):([^|,#@\x00-\x1f\x7f-\x9f\u2028\u2029]+)")


def statsd(data: bytes) -> bool:
    """Each line is one of the protocol, whatever the tags hold; values add up, and so do records."""
    chosen = Chosen(data)
    how = chosen.number()
    use_tags, measurement = bool(how & 1), _NOW if how & 2 else _COUNTED
    known = Cardinality(1 + (how >> 4))
    rows = _rows(chosen)
    if not rows:
        return False
    told, sums = 0, Counter[str]()
    for some in series(batch_of(measurement, rows), "", known, use_tags=use_tags):
        told += int(some.records.sum())
        for text in some.text.to_pylist():
            assert text.endswith("\n")
            for line in text[:-1].split("\n"):
                name, value, kind = _parsed(line, use_tags=use_tags)
                assert kind == ("g" if measurement is _NOW else "c")
                sums[name] += int(value)
    assert told == len(rows)
    if measurement is _COUNTED and use_tags:
        assert sums["volume.out"] == sum(row["value"] for row in rows)
        assert sums["volume.out.packets"] == sum(row["packets"] for row in rows)
    return True


def _parsed(line: str, *, use_tags: bool) -> tuple[str, str, str]:
    found = (_TAGGED if use_tags else _PLAIN).fullmatch(line)
    assert found, line
    if use_tags and found[4] is not None:
        assert all(_TAG.fullmatch(tag) for tag in found[4].split(",")), line
    return found[1], found[2], found[3]


def lines(data: bytes) -> bool:
    """JSON says every value exactly; a line for people is one harmless line."""
    rows = _rows(Chosen(data))
    if not rows:
        return False
    batch = batch_of(_COUNTED, rows)
    made = "".join(json_lines(batch).to_pylist()).split("\n")
    assert made.pop() == ""
    stamps = rfc3339(batch.records.column("timestamp")).to_pylist()
    expected = [row | {"timestamp": at, "measurement": "volume.out"} for row, at in zip(rows, stamps, strict=True)]
    assert [json.loads(one) for one in made] == expected
    made = "".join(text_lines(batch).to_pylist()).split("\n")
    assert made.pop() == ""
    assert len(made) == len(rows)
    check_text(*made)
    return True


def bodies(data: bytes) -> bool:
    """A body for ingraind's takers is JSON that says each number exactly, and so are its halves, all records told."""
    rows = _rows(Chosen(data))
    if not rows:
        return False
    file = io.BytesIO()
    made = JsonArray(file, _COUNTED, _COUNTED.schema, 1 << 20)
    assert made.write(batch_of(_COUNTED, rows).records) == len(rows)
    made.finish()
    records = json.loads(file.getvalue())
    for row, record in zip(rows, records, strict=True):
        assert [record[key] for key in ("timestamp", "measurement", "packets")] == [
            row[key] for key in ("timestamp", "value", "packets")
        ]
        assert record["tags"].get("process") == row["process"]
    halves = JsonArray.halves(file.getvalue())
    assert (halves is None) == (len(rows) == 1)
    assert halves is None or [one for half in halves for one in json.loads(half)] == records
    return True


def names(data: bytes) -> bool:
    """An object's name has three folders and a file, of harmless parts, and tells its first record's time."""
    chosen = Chosen(data)
    first = int.from_bytes(chosen.take(8), "little", signed=True)
    made = layout.key(chosen.rest().decode("utf-8", "surrogateescape"), first, "parquet")
    parts = made.split("/")
    assert len(parts) == 4
    assert all(re.fullmatch(r"[0-9A-Za-z_=-][0-9A-Za-z._=-]*", part) for part in parts)
    assert first < 0 or layout.first(made) == first
    return True


def regex(data: bytes) -> bool:
    """A pattern is refused, or each value is what it was or what it becomes, and a null stays one."""
    chosen = Chosen(data)
    pattern, becomes = chosen.text(), chosen.text()
    table = {"patterns": [{"key": tag.name, "regex": pattern, "replace_with": becomes} for tag in _TAGS]}
    try:
        settings = msgspec.convert(table, RegexSettings)
    except msgspec.ValidationError:
        return False
    assert isinstance(settings.patterns[0], Pattern)
    rows = _rows(chosen)
    if not rows:
        return False
    step = Regex(settings, Station("regex"), None)  # type: ignore[arg-type] # what comes out is looked at here
    (done,) = step.process(batch_of(_COUNTED, rows))
    done.records.validate(full=True)
    made = done.records.drop_columns(["timestamp"]).to_pylist()
    for before, after in zip(rows, made, strict=True):
        for was, now in zip(_values(before), _values(after), strict=True):
            assert now in {was, becomes} if was is not None else now is None
    return True


def _values(row: dict[str, Any]) -> list[str | None]:
    port = row["d_port"]
    answers = [one["data"] for one in row["answers"] or ()]
    return [row["process"], None if port is None else str(port), *(row["alpn"] or ()), *answers]


def _row(there: int, name: str, data: str) -> bytes:
    return bytes([there]) + piece(name.encode()) + (piece(data.encode()) if there & 8 else b"") + b"\7" * 19


_HOSTILE = ("x|c\nfoo:1", "\x1b[31m", '"}\n{"a":1', "a b=c", "\u202egnp.exe", "", "\\", "a,b:c#|@0.1", "conn12")


def _some_rows() -> Iterable[bytes]:
    for at, name in enumerate(_HOSTILE):
        yield bytes([0x10 | at & 3]) + _row(0xFF, name, "192.0.2.1") + _row(0x5F, "b", name) + _row(0x12, "c", "")


def _without_kind() -> Iterable[bytes]:
    return (one[1:] for one in _some_rows())


def _patterns() -> Iterable[bytes]:
    for pattern in (r"conn\d+", "^$", "(a|b)*c", "[^a-z]", r"\pL{2,}", "(?i)A", "x{1001}", r"(?<=a)b", ""):
        yield piece(pattern.encode()) + piece(b"new") + next(iter(_without_kind())) + _row(0xFF, "conn12", "conn1")


def _measured() -> Iterable[bytes]:
    return [(1_740_830_400_000_000_000).to_bytes(8, "little") + name for name in (b"dns.answer", b"../\0x", b".")]


TARGETS = (
    Target("statsd", statsd, _some_rows, 1, longest=1024),
    Target("lines", lines, _without_kind, 1, longest=1024),
    Target("bodies", bodies, _without_kind, 1, longest=1024),
    Target("names", names, _measured, 30, longest=256),
    Target("regex", regex, _patterns, 1, longest=1024),
)
