"""A line of StatsD's protocol is understood as its documents say, and nothing that anybody sends is taken for one."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.own.statsd_lines import RESERVED, TAGS, MalformedError, Metric, NoMetricError, metric, numbers
from ingrain.text import harmless


def read(line: bytes) -> tuple[Metric, list[float]]:
    name, _, rest = line.partition(b":")
    value, _, kind = rest.partition(b"|")
    return metric(name, kind), numbers(value)


@pytest.mark.parametrize(
    ("line", "family", "value", "weight", "tags"),
    [
        (b"page.views:1|c", "counter", [1], 1, {}),
        (b"page.views:-2.5|c|@0.1", "counter", [-2.5], 10, {}),
        (b"fuel.level:0.5|g", "gauge", [0.5], 1, {}),
        (b"song.length:240|h|@0.5", "timer", [240], 2, {}),
        (b"song.length:240|d|#a:b", "timer", [240], 1, {"a": "b"}),
        (b"request:3.2e2|ms", "timer", [320], 1, {}),
        (b"users.uniques:1234|s", "set", [1234], 1, {}),
        (b"users.online:1|c|@0.5|#country:china", "counter", [1], 2, {"country": "china"}),
        (b"users.online:1|c|#country:china|@0.5", "counter", [1], 2, {"country": "china"}),
        (b"a:1|c|#b:2,canary,ip:::1", "counter", [1], 1, {"b": "2", "canary": "true", "ip": "::1"}),
        (b"a:1|c|#b:c|#d:e", "counter", [1], 1, {"b": "c", "d": "e"}),  # as ingraind has it
        (b"a:1|c|#env:x,env:y,env:x", "counter", [1], 1, {"env": "x y"}),
        (b"a:1:2:3|ms", "timer", [1, 2, 3], 1, {}),  # protocol 1.1
        (b"a:1|g|#t:u|c:83c0a99c0a54c0c187f461c7980e9b57f3f6a8b0c918c8d93df19a9de6f3fe1d", "gauge", [1], 1, {"t": "u"}),
        (b"a:1|c|T1656581400|e:it-false,cn-nginx|card:low", "counter", [1], 1, {}),  # protocols 1.3 to 1.5
        (b"a:1|c\r", "counter", [1], 1, {}),
        (b"a:1|c|#process_str:bash", "counter", [1], 1, {"process": "bash"}),
    ],
)
def test_what_the_documents_show_is_understood(
    line: bytes, family: str, value: list[float], weight: float, tags: dict[str, str]
) -> None:
    told, found = read(line)
    assert (told.family, found, told.weight, dict(told.tags)) == (family, value, weight, tags)
    assert told.name == line.partition(b":")[0].decode()


@pytest.mark.parametrize(
    "line",
    [
        b"", b"foo", b"foo:", b"foo:1", b"foo:1|", b"foo:1|x", b"foo:bar|c", b"foo:|c", b"foo:1||c", b":1|c",
        b"foo:1|c|", b"foo:1234|ms|bar", b"foo:1|g|@bar", b"foo:1|c|@0", b"foo:1|c|@-1", b"foo:1|c|@2", b"foo:1|c|@nan",
        b"foo:*42|g", b"foo:nan|c", b"foo:inf|g", b"foo:1e999|c", b"foo:1e31|c", b"foo:1_000|c", b"foo: 1|c",
        b"foo:1:x|ms", b"foo:0x10|c", b"foo:--1|c", b"a" * 201 + b":1|c",
        b"a:1|c|#" + b",".join(b"k%d:v" % n for n in range(TAGS + 1)),
    ],
)  # fmt: skip
def test_what_is_no_metric_is_malformed(line: bytes) -> None:
    with pytest.raises(MalformedError):
        read(line)


@pytest.mark.parametrize("line", [b"_e{5,4}:title|text|t:warning", b"_sc|Redis connection|2|#env:dev|m:timed out"])
def test_events_and_service_checks_are_told_from_what_is_malformed(line: bytes) -> None:
    with pytest.raises(NoMetricError):
        read(line)


def test_the_values_of_a_tag_are_taken_in_a_time_that_is_linear_in_their_number() -> None:
    def seconds(values: int) -> float:
        tags = b"#" + b",".join(b"k:%d" % value for value in range(values))
        best = 60.0
        for _ in range(3):
            begun = time.process_time()
            metric(b"a", b"c|" + tags)
            best = min(best, time.process_time() - begun)
        return best

    assert seconds(16_000) < 16 * seconds(2_000)  # where each is compared with all others it is 64 times as long


def test_no_tag_takes_the_place_of_a_column_that_is_there_anyway() -> None:
    keys = [*RESERVED, "timestamp", "measurement"]
    told, _ = read(b"a:1|c|#" + ",".join(f"{key}:x" for key in keys).encode())
    assert sorted(key for key, _ in told.tags) == sorted(f"{key}_" for key in keys)


@given(
    st.binary(min_size=1, max_size=40).filter(lambda raw: b":" not in raw),
    st.dictionaries(st.binary(max_size=20), st.binary(max_size=20), max_size=5),
)
def test_whatever_a_client_calls_things_they_are_harmless_names_and_values(
    name: bytes, tags: dict[bytes, bytes]
) -> None:
    rest = b"c|#" + b",".join(key + b":" + value for key, value in tags.items())
    try:
        told = metric(name, rest.replace(b"\n", b""))
    except ValueError:
        return
    assert all(one.isascii() and (one.isalnum() or one in "_.-") for one in told.name)
    for key, value in told.tags:
        assert all(one.isascii() and (one.isalnum() or one in "_./-") for one in key)
        assert harmless(value) == value


@given(st.binary(max_size=60))
def test_a_value_is_finite_numbers_or_malformed(raw: bytes) -> None:
    try:
        found = numbers(raw)
    except MalformedError:
        return
    assert found
    assert all(map(math.isfinite, found))
