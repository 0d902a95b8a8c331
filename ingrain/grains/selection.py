"""Which containers are watched: patterns of their ids and names.

In: events with the ids of containers' cgroups. Out: those of containers that are watched. Nobody waits for the name of
a container: events of one that is not known yet are kept, and no others, for as long and as many as records are that
wait (ingrain/containers/waiting.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ingrain.containers import Containers
from ingrain.containers.identity import Identity
from ingrain.containers.record import ID
from ingrain.containers.waiting import HOLD_BYTES, HOLD_S
from ingrain.kernel.records import Events, select

Held = tuple[float, Events, list[bytes]]
"""Since when, what."""

_LONG_AGO = float("-inf")


class Selection:
    """Containers of which an id or name matches a pattern; an id also where the pattern is how it begins."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(patterns)
        self.watches = lru_cache(maxsize=4096)(self._watches)
        """Whether a container that is called so is watched; None is what is in none."""

    def _watches(self, identity: Identity | None) -> bool:
        names = () if identity is None else (identity.container_id, identity.container)
        return any(
            fnmatchcase(name, pattern) or (ID.fullmatch(name) is not None and name.startswith(pattern))
            for name in names
            if name is not None
            for pattern in self._patterns
        )


class Chosen:
    """Events of the containers that are watched.

    mute(cgroup_id), unmute(cgroup_id): have the kernel half hand over nothing of a container any more, or again. One
    whose name is not known, because it cannot be found, is not muted: the name may still come.
    """

    def __init__(
        self, selection: Selection, containers: Containers, mute: Callable[[int], None], unmute: Callable[[int], None]
    ) -> None:
        self._selection, self._containers = selection, containers
        self._mute, self._unmute = mute, unmute
        self._muted: set[int] = set()
        self._changes = 0
        self._held: list[Held] = []

    def choose(self, events: Events, texts: Sequence[bytes]) -> tuple[Events, list[bytes]]:
        """Those of these, and of those that waited, of which it is known now that they are watched.

        events have `container`; texts: one for each.
        """
        self._containers.settle()
        held, self._held = self._held, []
        taken = [self._sort(*one) for one in [*held, (time.monotonic(), events, list(texts))]]
        while sum(_size(one) for one in self._held) > HOLD_BYTES:
            taken.append(self._sort(_LONG_AGO, *self._held.pop(0)[1:]))
        return _together(taken)

    def end(self, nothing: Events) -> tuple[Events, list[bytes]]:
        """All that waits, by what is known now."""
        held, self._held = self._held, []
        return _together([(nothing, []), *(self._sort(_LONG_AGO, *one[1:]) for one in held)])

    def refresh(self) -> None:
        """Look again at those that were muted, where any container has another name than before."""
        if self._changes == self._containers.changes:
            return
        self._changes = self._containers.changes
        muted = list(self._muted)
        for cgroup_id, identity in zip(muted, self._containers.identities(muted), strict=True):
            if identity is None or self._selection.watches(identity):
                self._muted.discard(cgroup_id)
                self._unmute(cgroup_id)

    def _sort(self, since: float, events: Events, texts: list[bytes]) -> tuple[Events, list[bytes]]:
        """Those that are watched. Those of which that is not known are kept, if they have not waited for too long."""
        cgroup_ids, which = np.unique(events["container"], return_inverse=True)
        if time.monotonic() - since > HOLD_S:
            self._containers.give_up(cgroup_ids)
        identities = self._containers.identities(cgroup_ids.tolist())
        unknown = np.array([one in self._containers.lacking for one in cgroup_ids.tolist()], np.bool_)
        watched = np.array([self._selection.watches(one) for one in identities], np.bool_) & ~unknown
        for cgroup_id in cgroup_ids[~watched & ~unknown].tolist():
            if self._containers.is_settled(cgroup_id):
                self._muted.add(cgroup_id)
                self._mute(cgroup_id)
        if unknown.any():
            self._held.append((since, *_those(unknown[which], events, texts)))
        return _those(watched[which], events, texts)


def _those(rows: npt.NDArray[np.bool_], events: Events, texts: list[bytes]) -> tuple[Events, list[bytes]]:
    return select(events, rows), [texts[row] for row in np.flatnonzero(rows).tolist()]


def _together(parts: Sequence[tuple[Events, list[bytes]]]) -> tuple[Events, list[bytes]]:
    return np.concatenate([events for events, _ in parts]), [text for _, texts in parts for text in texts]


def _size(held: Held) -> int:
    _since, events, texts = held
    return events.nbytes + sum(map(len, texts))
