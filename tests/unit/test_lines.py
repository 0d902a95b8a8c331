"""Lines from pieces of streams: the same ones however writers, events, CPUs and drains cut the streams up."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingrain.grains import line_text
from ingrain.grains import lines as module
from ingrain.grains.line_text import text_of
from ingrain.grains.lines import LINE_BYTES, LINE_NS, ORDER_NS, Assembler, Lines
from ingrain.text import bytes_of, harmless, safe

OUTPUT = np.dtype(
    [
        ("process", [("time", np.uint64), ("pid", np.uint32)]),
        ("stream", np.uint64),
        ("position", np.uint64),
        ("lost", np.uint64),
        ("offset", np.uint32),
        ("covers", np.uint32),
        ("captured", np.uint32),
    ]
)
"""What of `struct output` lines are made of."""

Event = tuple[tuple[tuple[int, int], int, int, int, int, int, int], bytes]
Told = list[tuple[int, bytes, bool, int]]


def event(
    text: bytes,
    *,
    position: int = 0,
    offset: int = 0,
    time: int = 1,
    stream: int = 1,
    lost: int = 0,
    missing: int = 0,
    pid: int = 7,
) -> Event:
    return ((time, pid), stream, position, lost, offset, len(text) + missing, len(text)), text


def add(assembler: Assembler, events: Sequence[Event], now: int = 1) -> Told:
    return told(assembler.add(np.array([head for head, _ in events], OUTPUT), [text for _, text in events], now))


def told(lines: Lines) -> Told:
    """Stream, line, whether it is partial, size."""
    texts = [lines.text[a:b].tobytes() for a, b in zip(lines.starts, lines.ends, strict=True)]
    return list(zip(lines.events["stream"].tolist(), texts, lines.partial.tolist(), lines.sizes.tolist(), strict=True))


def rest(assembler: Assembler) -> Told:
    return list(itertools.chain.from_iterable(map(told, assembler.finish())))


def expected(stream: int, text: bytes) -> Told:
    """What a stream is told as, by another way of counting."""
    *whole, last = text.split(b"\n")
    lines: Told = []
    for content, is_whole in [*((line, True) for line in whole), (last, False)]:
        pieces = [content[i : i + LINE_BYTES] for i in range(0, len(content), LINE_BYTES)] or [b""]
        lines += [(stream, piece, True, len(piece)) for piece in pieces[:-1]]
        if is_whole or pieces[-1]:
            lines.append((stream, pieces[-1], not is_whole, len(pieces[-1])))
    return lines


def cut(data: st.DataObject, text: bytes, most: int) -> list[bytes]:
    """Anyhow, in pieces that are not empty."""
    at = sorted(data.draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=most)))
    return [piece for piece in (text[a:b] for a, b in itertools.pairwise([0, *at, len(text)])) if piece]


def written(data: st.DataObject, stream: int, text: bytes, clock: Iterable[int]) -> list[Event]:
    """The events of a stream: any writes, each in any pieces."""
    events, position = [], 0
    for write, time in zip(cut(data, text, 8), clock, strict=False):
        offset = 0
        for piece in cut(data, write, 3):
            events.append(event(piece, position=position, offset=offset, time=time, stream=stream))
            offset += len(piece)
        position += len(write)
    return events


texts = st.lists(st.sampled_from([b"\n", b"a", b"bc", b"\x00", b"\xff\\", b"0123456789" * 2000]), max_size=12).map(
    b"".join
)


@given(st.lists(texts, min_size=1, max_size=3), st.data())
def test_lines_do_not_depend_on_how_streams_were_cut_nor_on_the_order_of_their_pieces(
    streams: list[bytes], data: st.DataObject
) -> None:
    events = [
        one for number, text in enumerate(streams, 1) for one in written(data, number, text, itertools.count(number))
    ]
    shuffled = data.draw(st.permutations(events))
    assembler = Assembler(OUTPUT)
    found: Told = []
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        found += add(assembler, shuffled[:size])
        shuffled = shuffled[size:]
    found += rest(assembler)
    for number, text in enumerate(streams, 1):
        assert [line for line in found if line[0] == number] == expected(number, text)


@given(st.lists(st.tuples(texts, st.booleans()), max_size=12))
def test_ends_on_both_sides_of_a_loss_are_never_glued_together(writes: list[tuple[bytes, bool]]) -> None:
    """What is between two losses is told as a stream of its own would be."""
    assembler = Assembler(OUTPUT)
    position, lost, stretches, events = 0, 0, [b""], []
    for time, (text, is_lost) in enumerate((write for write in writes if write[0]), 1):
        if is_lost:
            lost += len(text)
            stretches.append(b"")
        else:
            events.append(event(text, position=position, lost=lost, time=time))
            stretches[-1] += text
        position += len(text)
    found = [line for one in events for line in add(assembler, [one])] + rest(assembler)
    assert found == [line for stretch in stretches for line in expected(1, stretch)]


def test_a_line_that_two_processes_wrote_is_told_as_the_firsts() -> None:
    assembler = Assembler(OUTPUT)
    assert not add(assembler, [event(b"one ", pid=1)])
    head = np.array([event(b"line\nnext\n", position=4, time=2, pid=2)[0]], OUTPUT)
    lines = assembler.add(head, [b"line\nnext\n"], 2)
    assert lines.events["process"]["pid"].tolist() == [1, 2]
    assert lines.events["process"]["time"].tolist() == [1, 2]


def test_what_was_not_captured_of_a_write_counts_and_ends_the_line() -> None:
    assembler = Assembler(OUTPUT)
    found = add(assembler, [event(b"a\nbc", missing=100), event(b"d\n", position=104, time=2)])
    assert found == [(1, b"a", False, 1), (1, b"bc", True, 102), (1, b"d", False, 1)]


def test_a_write_of_which_nothing_was_captured_is_told_by_its_size() -> None:
    assembler = Assembler(OUTPUT)
    assert add(assembler, [event(b"a\n"), event(b"", position=2, missing=9, time=2)]) == [
        (1, b"a", False, 1),
        (1, b"", True, 9),
    ]


def test_a_line_waits_a_second_for_its_newline() -> None:
    assembler = Assembler(OUTPUT)
    add(assembler, [event(b"prompt> ", time=10)])
    assert [told(lines) for lines in assembler.release(9 + LINE_NS)] == [[]]
    assert [told(lines) for lines in assembler.release(10 + LINE_NS)] == [[(1, b"prompt> ", True, 8)]]
    assert add(assembler, [event(b"yes\n", position=8, time=20)]) == [(1, b"yes", False, 3)]


def test_a_piece_waits_half_a_second_for_those_before_it_and_is_told_as_broken_off_then() -> None:
    assembler = Assembler(OUTPUT)
    assert add(assembler, [event(b"one "), event(b"three\n", position=8, time=10)]) == []
    assert next(told(lines) for lines in assembler.release(10 + ORDER_NS)) == [
        (1, b"one ", True, 4),
        (1, b"three", False, 5),
    ]
    assert add(assembler, [event(b"four\n", position=14, time=11)]) == [(1, b"four", False, 4)]


def test_writes_that_two_cpus_took_at_the_same_time_are_not_mixed() -> None:
    """Both say that they stand at the same place: neither saw the other."""
    assembler = Assembler(OUTPUT)
    pieces = [
        event(b"aaa", time=5, pid=1),
        event(b"bbb", time=6, pid=2),
        event(b"AAA\n", offset=3, time=5, pid=1),
        event(b"BBB\n", offset=3, time=6, pid=2),
        event(b"c\n", position=14, time=7),
    ]
    assert [line for _, line, _, _ in add(assembler, pieces)] == [b"aaaAAA", b"bbbBBB", b"c"]


def test_what_waits_is_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES", 1000)
    assembler = Assembler(OUTPUT)
    add(assembler, [event(b"x" * 100, stream=number) for number in range(1, 12)])
    assert sum(size for lines in assembler.release(2) for *_, size in told(lines)) == 1100


def test_pieces_out_of_order_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES", 1000)
    assembler = Assembler(OUTPUT)
    for number in range(1, 12):
        assert not add(assembler, [event(b"y" * 99 + b"\n", position=1_000_000 + 200 * number, time=number)])
    assert len(add(assembler, [event(b"z\n", position=2_000_000, time=20)])) == 12


def test_streams_that_went_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STREAMS_MAX", 10)
    assembler = Assembler(OUTPUT)
    for number in range(1, 100):
        add(assembler, [event(b"line\n", stream=number)])
    assert len(assembler._came) == 10


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=20))
def test_every_byte_of_a_line_can_be_had_back_from_its_text(wanted: list[bytes]) -> None:
    text = b"".join(line + b"\n" for line in wanted)
    assembler = Assembler(OUTPUT)
    lines = assembler.add(np.array([event(text)[0]][: len(text)], OUTPUT), [text][: len(text)], 1)
    column = text_of(lines, np.arange(len(lines)))
    column.validate(full=True)
    assert [bytes_of(line) for line in column.to_pylist()] == wanted
    assert all(line.isprintable() or not line.isascii() for line in column.to_pylist())


def whole(lines: Sequence[bytes]) -> Lines:
    """Lines that a writer wrote at once."""
    text = b"".join(line + b"\n" for line in lines)
    return Assembler(OUTPUT).add(np.array([event(text)[0]], OUTPUT), [text], 1)


odd = st.one_of(
    st.binary(max_size=20), st.text(max_size=20).map(str.encode), st.sampled_from([b"\\", b"\x1b[31m", b""])
)


@given(st.lists(st.tuples(st.lists(odd, max_size=4).map(b"".join), st.booleans()), min_size=1, max_size=20))
def test_lines_of_a_batch_are_the_text_that_each_is_by_itself(wanted: list[tuple[bytes, bool]]) -> None:
    each = [(line.replace(b"\n", b""), told) for line, told in wanted]
    column = text_of(whole([line for line, _ in each]), np.flatnonzero([told for _, told in each]))
    column.validate(full=True)
    assert column.to_pylist() == [safe(line) for line, told in each if told]


@pytest.mark.parametrize(
    ("line", "looks"),
    [
        ("plain, {}", 0),
        (r"C:\{}\n", 0),
        ("\x1b[31mcolour\x1b[0m\t{}", 0),
        ("Grüße an {}, 日本", 1),
        ("Grüße\x1b[0m \\ {}", 1),
    ],
)
def test_usual_lines_are_made_together(line: str, looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def counted(text: str) -> str:
        looked.append(text)
        return harmless(text)

    monkeypatch.setattr(line_text, "harmless", counted)
    lines = whole([line.format(number).encode() for number in range(1000)])
    assert text_of(lines, np.arange(1000)).to_pylist() == [safe(line.format(n).encode()) for n in range(1000)]
    assert len(looked) == looks


def test_text_is_made_in_a_few_bytes_for_each_of_its_own() -> None:
    lines = whole([b"a line with a \\ of sixty-four bytes in all, which is number %06d" % n for n in range(40_000)])
    tracemalloc.start()
    try:
        text_of(lines, np.arange(len(lines)))
        _kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(lines.text)


@pytest.mark.parametrize("position", [(1 << 63) - 5, 1 << 63, (1 << 64) - 1])
def test_a_position_that_no_stream_has_costs_no_other_stream_anything(position: int) -> None:
    assembler = Assembler(OUTPUT)
    now = 1 + ORDER_NS
    assert add(assembler, [event(b"odd\n", position=position), event(b"fine\n", stream=2)], now) == [
        (1, b"odd", False, 3),
        (2, b"fine", False, 4),
    ]
    assert add(assembler, [event(b"more\n", stream=2, position=5), event(b"x\n")], now)[-1] == (2, b"more", False, 4)
    assert rest(assembler) == []
