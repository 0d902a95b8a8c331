"""What comes from elsewhere: lines that anybody may send to the StatsD server, and what osqueryi prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from fuzz.promises import check_batch, check_text
from fuzz.target import Chosen, Target, piece
from ingrain.backends.cardinality import Cardinality
from ingrain.backends.lines import json_lines
from ingrain.backends.series import series
from ingrain.batch import Batch
from ingrain.own.osquery import Query, batches_of
from ingrain.own.osqueryi import QueryError, rows
from ingrain.own.statsd_metrics import Metrics

_DATAGRAMS = 8
_SERIES = 8  # told apart: few, so that there are soon too many
_LINE = re.compile(r"[0-9A-Za-z_.-]+:(-?[0-9.e+-]+)\|[cg](\|#[^|#\n]+)?")
_QUERY = Query(name="q", measurement="number", measurement_type="count", query="SELECT 1")


def statsd_server(data: bytes) -> bool:
    """Each line is told, malformed or ignored, all else a line end; what is told can be sent on, and read as JSON."""
    chosen, metrics = Chosen(data), Metrics(_SERIES, "")
    lines = told = 0
    for _ in range(_DATAGRAMS):
        if not chosen.left:
            break
        datagrams = chosen.piece()
        came = metrics.take(datagrams)
        assert came == sum(1 for line in datagrams.split(b"\n") if line)
        lines += came
        assert lines == metrics.messages == metrics.told + metrics.malformed + metrics.ignored
        if chosen.number() & 1:
            told += _flushed(metrics)
    told += _flushed(metrics)
    check_text(metrics.example)
    return told > 0


def _flushed(metrics: Metrics) -> int:
    batches = metrics.flush(1_740_830_400_000_000_000)
    for batch in batches:
        _check_foreign(batch)
        for some in series(batch, "", Cardinality(_SERIES), use_tags=True):
            for line in "".join(some.text.to_pylist()).splitlines():
                found = _LINE.fullmatch(line)
                assert found, line
                assert abs(float(found[1])) < float("inf")
    return sum(map(len, batches))


def _check_foreign(batch: Batch) -> None:
    """Names that others chose are harmless, and none hides another."""
    check_batch(batch)
    names = batch.records.schema.names
    assert len(set(names)) == len(names)
    check_text(*names)
    for line in json_lines(batch).to_pylist():
        assert json.loads(line).keys() == {"measurement", *names} - {batch.measurement.named_by}


def osquery(data: bytes) -> bool:
    """Any output is rows, each of which is a record or malformed; or QueryError says in harmless words why not."""
    try:
        found = list(rows(data))
    except QueryError as error:
        check_text(str(error))
        return False
    batches, malformed = batches_of(_QUERY, found, 1)
    for batch in batches:
        _check_foreign(batch)
    assert sum(map(len, batches)) + malformed == len(found)
    return bool(batches)


def _datagrams() -> Iterable[bytes]:
    lines = (
        b"hits:1|c", b"hits:3|c|@0.1", b"load:-2.5|g", b"load:+1|g", b"users:me|s", b"took:12:13.5:1e3|ms|#a:b,c",
        b"d:1|d|#env:x,env:y,value:z|c:in-1|T1656581400", b"_e{1,1}:a|b", b"_sc|x|0", b"bad name\x1b:1|h",
    )  # fmt: skip
    yield piece(b"\n".join(lines)) + b"\1" + piece(b"\n".join(lines[:5])) + b"\0"
    for line in lines:
        yield piece(line) + b"\1" + piece(line + b"\n") + b"\0"


def _printed() -> Iterable[bytes]:
    answers = [{"number": "5", "name": "a\n", "timestamp": "x"}, {"number": "1.5", "name": None}, {"value": [1]}, 7]
    yield json.dumps(answers).encode()
    yield json.dumps(answers[:2]).encode() + b"\n" + json.dumps(answers[:1]).encode()
    yield b"[" + b'{"a":' + b"[" * 600 + b"]" * 600 + b"}]"
    yield b'[{"number": -0.0, "b\\ud800": NaN, "c": 1e999}]'


_WORDS = (b"|c", b"|g", b"|ms", b"|s", b"|@0.5", b"|#a:b", b",c:d", b"_e{", b"_sc|", b"|T1", b"\n", b"1e30")

TARGETS = (
    Target("statsd_server", statsd_server, _datagrams, 4, words=_WORDS, longest=1024),
    Target("osquery", osquery, _printed, 4, words=(b'"number"', b"null", b"NaN", b"\\u001b", b"[", b"{}")),
)
