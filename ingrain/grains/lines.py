"""Lines from what many writers wrote to streams: put in order, and split at newlines, a whole drain at a time.

In: `struct output` and texts (probes/container.bpf.c), as they came out of the per-CPU buffers. Out: `Lines`. What
waits, for its newline or for what stands before it, is bounded in time, for each stream, and in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ingrain.kernel.records import Events, select

LINE_BYTES = 16384
"""A longer line is told in pieces of this size."""
LINE_NS = 1_000_000_000
"""How long a line waits for its newline."""
ORDER_NS = 500_000_000
"""How long an event waits for those before it, which may be in another CPU's buffer, or lost."""
WAITING_BYTES = 16 << 20
"""What waits in all streams together: twice that, for newlines and for order. Above it nothing waits."""
_STREAMS_MAX = 16384  # as many as the kernel half knows

_NEWLINE = b"\n"
_WHOLE, _BROKEN, _OPEN = range(3)  # what ends a line: its newline; bytes that are missing, or no time; nothing yet
_NEVER = 1 << 62

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines, stream by stream, each stream's in their order.

    text: bytes (uint8) that hold all of them. starts, ends: where in it each is, without its newline. partial: whether
    it has none. sizes: its bytes without the newline, those that were not captured included. events: the one in which
    it begins.
    """

    text: npt.NDArray[np.uint8]
    starts: Numbers
    ends: Numbers
    partial: Flags
    sizes: Numbers
    events: Events

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(slots=True)
class _Rest:
    """A line that is not whole yet, and the event in which it begins."""

    text: bytes
    event: Events


class Assembler:
    """Puts lines together. They do not depend on how a stream was cut into writes and events, or on their CPUs."""

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self._nothing = np.empty(0, dtype)
        # stream -> bytes that came of it, bytes that were lost, and the time of its last event
        self._came: dict[int, tuple[int, int, int]] = {}
        self._rests: dict[int, _Rest] = {}
        self._held, self._held_texts = self._nothing, list[bytes]()

    def add(self, events: Events, texts: Sequence[bytes], now: int) -> Lines:
        """Lines that these events (`struct output`) and their texts complete. now: ns, on the events' clock."""
        if len(self._held):
            if sum(map(len, self._held_texts)) > WAITING_BYTES:
                now = _NEVER
            events = np.concatenate([self._held, events])
            texts = [*self._held_texts, *texts]
        order = np.lexsort((events["offset"], events["process"]["time"], events["position"], events["stream"]))
        events = select(events, order)
        ready, broken = self._in_order(events, now)
        self._held, self._held_texts = select(events, ~ready), [texts[i] for i in order[~ready].tolist()]
        parts = _Parts(select(events, ready))
        self._gather(parts, [texts[i] for i in order[ready].tolist()], broken[ready])
        return self._split(parts)

    def release(self, now: int) -> Iterator[Lines]:
        """What has waited long enough, as it is."""
        if len(self._held):
            yield self.add(self._nothing, [], now)
        crowded = sum(len(rest.text) for rest in self._rests.values()) > WAITING_BYTES
        late = [
            stream
            for stream, rest in self._rests.items()
            if crowded or int(rest.event["process"]["time"][0]) + LINE_NS <= now
        ]
        parts = _Parts(self._nothing)
        for stream in late:
            parts.begin(self._rests.pop(stream))
            parts.end(_BROKEN)
        yield self._split(parts)

    def finish(self) -> Iterator[Lines]:
        """All that waits, as it is: nothing will come any more."""
        return self.release(_NEVER)

    def _in_order(self, events: Events, now: int) -> tuple[Flags, Flags]:
        """Which events follow on what came before them, and before which of them bytes are missing.

        The times of those that do are made to follow on each other, too.
        """
        times = events["process"]["time"]
        covers = events["covers"].astype(np.int64)
        lost = _counted(events["lost"])
        # How many bytes of its stream were handed over before it: the others of them are lost.
        before = _counted(events["position"]) + events["offset"] - lost
        came = np.cumsum(covers) - covers
        ready, broken = np.ones(len(events), np.bool_), np.zeros(len(events), np.bool_)
        broken[1:] = lost[1:] > lost[:-1]
        for stream, first, last in _runs(events["stream"]):
            here = slice(first, last)
            came_before, lost_before, time_before = self._came.pop(stream, (0, 0, 0))
            broken[first] = lost[first] > lost_before
            if (before[here] <= came_before + came[here] - came[first]).all():
                came_before += int(covers[here].sum())
            else:
                late = events["process"]["time"][here].astype(np.int64) + ORDER_NS <= now
                for i in range(first, last):
                    if before[i] > came_before:
                        if not late[i - first]:
                            ready[i:last] = False
                            last = i  # noqa: PLW2901 the others wait
                            break
                        broken[i], came_before = True, int(before[i])
                    came_before += int(covers[i])
            if last > first:
                lost_before = max(lost_before, int(lost[last - 1]))
                # CPUs' clocks may differ, and writers may meet: what stands later in the stream is not told as earlier.
                times[first] = max(int(times[first]), time_before)
                np.maximum.accumulate(times[first:last], out=times[first:last])
                time_before = int(times[last - 1])
            self._came[stream] = came_before, lost_before, time_before
        while len(self._came) > _STREAMS_MAX:
            del self._came[next(iter(self._came))]
        return ready, broken

    def _gather(self, parts: _Parts, texts: Sequence[bytes], broken: Flags) -> None:
        """The events' texts, each stream's behind what waits of it, with an end wherever a line must end."""
        events = parts.fresh
        missing = events["covers"].astype(np.int64) - events["captured"]
        special = np.flatnonzero(broken | (missing > 0))
        for stream, first, last in _runs(events["stream"]):
            if stream in self._rests:
                parts.begin(self._rests.pop(stream))
            at = first
            for i in special[slice(*np.searchsorted(special, [first, last]))].tolist():
                parts.add(texts[at:i], at)
                if broken[i]:
                    parts.end(_BROKEN)
                parts.add(texts[i : i + 1], i)
                if missing[i]:
                    parts.end(_BROKEN, int(missing[i]))
                at = i + 1
            parts.add(texts[at:last], at)
            parts.end(_OPEN)

    def _split(self, parts: _Parts) -> Lines:
        text = np.frombuffer(b"".join(parts.texts), np.uint8)
        sizes = np.fromiter(map(len, parts.texts), np.int64, len(parts.texts))
        begins = np.cumsum(sizes) - sizes
        ends = np.flatnonzero(text == _NEWLINE[0])
        starts = np.concatenate([np.zeros(1, np.int64), ends + 1])[: len(ends)]
        kinds, missing = np.zeros(len(ends), np.int64), np.zeros(len(ends), np.int64)
        forced = np.searchsorted(ends, begins[parts.ends])
        kinds[forced], missing[forced] = parts.kinds, parts.missing

        # A long line becomes several; what is missing and how it ends is the last one's.
        count = np.maximum(1, -(-(ends - starts) // LINE_BYTES))
        line = np.repeat(np.arange(len(ends)), count)
        piece = np.arange(len(line)) - (np.cumsum(count) - count)[line]
        starts = starts[line] + piece * LINE_BYTES
        ends = np.minimum(starts + LINE_BYTES, ends[line])
        is_last = piece == count[line] - 1
        kinds, missing = np.where(is_last, kinds[line], _BROKEN), np.where(is_last, missing[line], 0)

        events = parts.events
        sources = np.array(parts.sources, np.int64)[np.searchsorted(begins, starts, "right") - 1]
        for i in np.flatnonzero((kinds == _OPEN) & (ends > starts)).tolist():
            event = select(events, sources[i : i + 1])
            self._rests[int(event["stream"][0])] = _Rest(text[starts[i] : ends[i]].tobytes(), event)
        told = (kinds == _WHOLE) | (kinds == _BROKEN) & ((ends > starts) | (missing > 0))
        starts, ends, kinds = starts[told], ends[told], kinds[told]
        return Lines(text, starts, ends, kinds != _WHOLE, ends - starts + missing[told], select(events, sources[told]))


class _Parts:
    """Texts in the order in which they are joined; an end that is no newline stands among them as one."""

    def __init__(self, events: Events) -> None:
        self.fresh = events
        self._begun: list[Events] = []
        self.texts: list[bytes] = []
        self.sources: list[int] = []  # of each text, in `events`
        self.ends: list[int] = []  # which texts are such ends,
        self.kinds: list[int] = []
        self.missing: list[int] = []  # and how many bytes are missing there

    @property
    def events(self) -> Events:
        """Those that the texts come from."""
        return np.concatenate([self.fresh, *self._begun]) if self._begun else self.fresh

    def begin(self, rest: _Rest) -> None:
        """With what waits of a stream."""
        self.texts.append(rest.text)
        self.sources.append(len(self.fresh) + len(self._begun))
        self._begun.append(rest.event)

    def add(self, texts: Sequence[bytes], first: int) -> None:
        """Texts of as many events, from the first on."""
        self.texts += texts
        self.sources += range(first, first + len(texts))

    def end(self, kind: int, missing: int = 0) -> None:
        """A line, if there is one, before what comes now."""
        self.ends.append(len(self.texts))
        self.kinds.append(kind)
        self.missing.append(missing)
        self.texts.append(_NEWLINE)
        self.sources.append(self.sources[-1] if self.sources else 0)


def _counted(column: npt.NDArray[np.uint64]) -> Numbers:
    """Bytes of a stream, as numbers that can be added up also where they are damaged."""
    return np.minimum(column, np.uint64(_NEVER)).astype(np.int64)


def _runs(streams: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int, int]]:
    """Each stream, where its events begin, and where they end."""
    if not len(streams):
        return
    firsts = [0, *(np.flatnonzero(streams[1:] != streams[:-1]) + 1).tolist()]
    yield from zip(streams[firsts].tolist(), firsts, [*firsts[1:], len(streams)], strict=True)
