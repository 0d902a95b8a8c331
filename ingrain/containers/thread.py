"""The containers that records come from, as a grain asks for them: columns for a batch's cgroups, at once.

A thread finds containers as their cgroups are made, before their first process runs. A cgroup that is not known yet
when its first records are read (the thread had no time so far) is `lacking`; its records wait (waiting.py), and nobody
else does.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingrain.containers.identity import Identity, columns
from ingrain.containers.known import Container
from ingrain.containers.paths import Place
from ingrain.containers.resolver import Resolver

Result = TypeVar("Result")

log = logging.getLogger(__name__)

START_S = 5.0
"""How long `start` waits until what runs already is known; a disk that is slower than that must not stop the agent."""

_END_S = 2.0
_RECOVERY_S: float | None = 2.0  # until work that failed is done again,
_PAUSE_S = 0.1  # and other work, which may fail as soon as it is tried
_NICE = -10  # it has little to do, and that before a short-lived cgroup is gone again
_REMEMBERED = 1 << 14  # cgroups that were asked for without an answer
_UNKNOWN = Container(Place(None), "", Identity())


class Containers:
    """Containers of the cgroups below `mount`, whose engines' records are below `host`. One thread asks.

    Raises OSError where the mount cannot be opened.
    """

    def __init__(self, mount: Path, host: Path = Path("/")) -> None:
        self.late = 0
        """Cgroups of which records were told before their container, or its name, was known."""
        self.lacking: set[int] = set()
        """Cgroups that came in `columns` and are being looked for: what their records tell so far is not all."""
        self._resolver = Resolver(mount, host)
        self._known = self._resolver.known.cgroups
        self._known[0] = None  # no cgroup has this id: records have it whose cgroup is not known
        self._asked: deque[int] = deque()
        self._unanswered: set[int] = set()
        self._answered = threading.Condition()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = self._failed = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="containers", daemon=True)

    def start(self) -> None:
        """Begin to find containers; those that run already are known when this returns."""
        self._thread.start()
        if not self._ready.wait(START_S):
            log.warning(
                "reading what engines know of their containers takes long; records may lack some names at first"
            )

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join(_END_S)
        if self._thread.is_alive():
            return  # it hangs in a disk, and goes with the process
        self._resolver.close()
        os.close(self._wake)
        if self.late:
            log.warning(
                "of %d cgroups records were told without their container's name, which was not found in time", self.late
            )

    def columns(self, cgroup_ids: npt.NDArray[np.uint64]) -> dict[str, pa.Array]:
        """The columns of ingrain/containers/identity.py for records of these cgroups (uint64; 0: not known), at once.

        Those of them that are to be waited for are `lacking` afterwards.
        """
        encoded = pa.array(cgroup_ids).dictionary_encode()
        return columns(encoded.indices.to_numpy(), self.identities(encoded.dictionary.to_pylist()))

    def identities(self, cgroup_ids: list[int]) -> list[Identity | None]:
        """Who each of these cgroups belongs to, as far as that is known; None: nobody. `lacking` is as of `columns`."""
        found = [self._known.get(one, _UNKNOWN) for one in cgroup_ids]
        if any(container is not None and not container.settled for container in found):
            self._ask(cgroup_ids)
            found = [self._known.get(one, _UNKNOWN) for one in cgroup_ids]  # what was found since is told
        return [None if container is None else container.identity for container in found]

    def is_settled(self, cgroup_id: int) -> bool:
        """Whether all that there is to know of it is known, for now: its record may change."""
        return not self._lacks(cgroup_id)

    @property
    def changes(self) -> int:
        """How often so far a container was found to be called otherwise than before."""
        return self._resolver.known.changes

    def settle(self) -> None:
        """Those that are known meanwhile are no longer `lacking`."""
        self.lacking = set(filter(self._lacks, self.lacking))

    def give_up(self, cgroup_ids: npt.NDArray[np.uint64]) -> None:
        """Nobody waits any more for those of these that are not known; they are counted as `late`."""
        self.settle()
        for one in self.lacking.intersection(cgroup_ids.tolist()):
            self.lacking.discard(one)
            self.late += 1
            container = self._known.get(one)
            if container is not None:
                container.waited = True
            elif len(self._unanswered) < _REMEMBERED:
                self._unanswered.add(one)

    def wait(self, seconds: float) -> None:
        """Until nothing is `lacking`, or these seconds are over. Not for those who must not be held up."""
        with self._answered:
            self._answered.wait_for(lambda: not any(map(self._lacks, self.lacking)), seconds)

    def _ask(self, cgroup_ids: list[int]) -> None:
        """Have those found that are not known, each once."""
        for one in [*self._unanswered]:
            if one in self._known:  # so late that it is not waited for again, for its name
                self._unanswered.discard(one)
                if (container := self._known.get(one)) is not None:
                    container.waited = True
        for one in cgroup_ids:
            if one not in self.lacking and self._lacks(one) and not self._was_waited_for(one):
                self.lacking.add(one)
                if one not in self._known:
                    self._asked.append(one)
        if self._asked:
            os.eventfd_write(self._wake, 1)

    def _lacks(self, cgroup_id: int) -> bool:
        container = self._known.get(cgroup_id, _UNKNOWN)
        return container is not None and not container.settled

    def _was_waited_for(self, cgroup_id: int) -> bool:
        container = self._known.get(cgroup_id)
        return container.waited if container is not None else cgroup_id in self._unanswered

    def _run(self) -> None:
        with suppress(OSError):  # without CAP_SYS_NICE it waits for its turn as everybody does
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._resolver.fd is not None:
            poll.register(self._resolver.fd, select.POLLIN)
        self._try(self._resolver.scan, None)
        while not self._stopping:
            wait = self._try(self._resolver.refresh, _RECOVERY_S)
            with self._answered:
                self._answered.notify_all()
            self._ready.set()
            poll.poll(None if wait is None else wait * 1000)
            self._try(self._answer, None)

    def _answer(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        self._resolver.follow()
        self._resolver.answer([self._asked.popleft() for _ in range(len(self._asked))])

    def _try(self, work: Callable[[], Result], otherwise: Result) -> Result:
        try:
            return work()
        except Exception:  # the thread's edge: one container must not leave the others without their names
            if not self._failed:
                self._failed = True
                log.exception("a container could not be told; further errors of this kind are not shown")
            time.sleep(_PAUSE_S)
            return otherwise
