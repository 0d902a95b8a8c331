"""How much memory records of messages take while they are made: bounded, whatever the messages are and how many."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
from hellos import alpn, client_body, client_hello, extension, key_share
from packets import OUT, drained

from ingrain.grains.dns import DNS
from ingrain.grains.messages import BATCH_BYTES
from ingrain.grains.text_columns import text_lists, texts
from ingrain.grains.tls import TLS

LABEL = b"\x3f" + bytes(63)  # 63 bytes that are 252 characters as text
NAME = LABEL * 3 + b"\x3d" + bytes(61) + b"\0"  # as long as a name may be: 255 bytes, and 1,003 characters
MIB = 1 << 20


def answers(records: list[bytes]) -> bytes:
    """An answer of class IN with these records."""
    header = struct.pack("!HHHHHH", 7, 0x8180, 1, len(records), 0, 0)
    return header + NAME + struct.pack("!HH", 1, 1) + b"".join(records)


def record(kind: int, data: bytes) -> bytes:
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


@pytest.fixture
def pool() -> Iterator[pa.MemoryPool]:
    """Arrow's memory of the test alone."""
    before = pa.default_memory_pool()
    mine = pa.proxy_memory_pool(before)
    pa.set_memory_pool(mine)
    yield mine
    pa.set_memory_pool(before)


def most(grain: DNS | TLS, payloads: list[bytes], pool: pa.MemoryPool) -> tuple[int, int]:
    """Records, and the most bytes that Python and Arrow took while they were made and let go of."""
    events = drained(grain.program, payloads, *({"s_port": number} for number in range(len(payloads))))
    told = 0
    tracemalloc.start()
    for batch in grain.decode(events):
        told += len(batch)
        del batch
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return told, peak + pool.max_memory()


def test_a_long_name_that_stands_many_times_in_many_answers_is_no_memory(pool: pa.MemoryPool) -> None:
    """Names by a pointer of two bytes: text sixty times as long as what was sent."""
    payload = answers([record(2, b"\xc0\x0c")] * 1100)
    told, peak = most(DNS(), [bytes([0, number]) + payload[2:] for number in range(60)], pool)
    assert told == 60
    assert peak < 10 * MIB


def test_long_texts_that_all_differ_are_made_into_batches_a_part_at_a_time(pool: pa.MemoryPool) -> None:
    """MX records, each of which has another preference before the same long name."""
    payloads = [
        answers([record(15, struct.pack("!H", number * 1000 + place) + b"\xc0\x0c") for place in range(1000)])
        for number in range(60)
    ]
    told, peak = most(DNS(), payloads, pool)
    assert told == 60
    assert peak < 10 * BATCH_BYTES + 20 * MIB


def very_many_protocols(number: int) -> bytes:
    return client_body(alpn(*(b"%d" % (number * 3000 + place) for place in range(2000))), key_share(bytes(32)))


def very_many_extensions(number: int) -> bytes:
    return client_body(*[extension(35, b"")] * (3000 + number))


@pytest.mark.parametrize("body", [very_many_protocols, very_many_extensions])
def test_hellos_with_very_much_in_them_are_not_remembered(body: Callable[[int], bytes]) -> None:
    payloads = [client_hello(body(number)) for number in range(60)]
    events = drained("tls", payloads, *({"s_port": number} for number in range(len(payloads))))
    grain = TLS()
    tracemalloc.start()
    assert sum(len(batch) for _ in range(3) for batch in grain.decode(events)) == 180
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 4 * MIB


def test_a_drain_of_several_batches_tells_every_message_once_and_in_order() -> None:
    payloads = [answers([record(1, bytes(4))] * 900) for _ in range(400)]
    flows = [{"s_port": number, "direction": OUT} for number in range(len(payloads))]
    batches = list(DNS().decode(drained("dns", payloads, *flows)))
    assert len(batches) > 1
    assert [port for batch in batches for port in batch.records.column("s_port").to_pylist()] == list(range(400))


def test_texts_are_a_dictionary_of_the_distinct_ones_in_their_order() -> None:
    column = texts(["b", None, "a", "b", None, "c", "a"])
    column.validate(full=True)
    assert column.to_pylist() == ["b", None, "a", "b", None, "c", "a"]
    assert column.dictionary.to_pylist() == ["b", "a", "c"]
    for nothing in ([], [None, None]):
        assert texts(nothing).to_pylist() == nothing


def test_lists_of_texts_are_those_of_the_rows_asked_for() -> None:
    one, other = ("a", "b"), ("b",)
    values = [one, None, other, one, ()]
    assert text_lists(values).to_pylist() == [["a", "b"], None, ["b"], ["a", "b"], []]
    chosen = text_lists(values, pa.array([3, 3, 1, 4, 2]))
    chosen.validate(full=True)
    assert chosen.to_pylist() == [["a", "b"], ["a", "b"], None, [], ["b"]]
