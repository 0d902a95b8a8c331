"""What every grain is: the user half of a probe, which turns raw structs into records.

A grain names its kernel half (`program`, an object of probes/), the event struct that it hands over, and what it makes
of it (`measurements`). The agent drains the buffers and calls `decode`; `poll`, where a grain counts in the kernel,
reads the counts at the interval that the settings give.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingrain.batch import Batch, Measurement
from ingrain.containers import Containers
from ingrain.grains.lookups import Lookups
from ingrain.kernel import clock
from ingrain.kernel.program import Program
from ingrain.kernel.records import Drained
from ingrain.settings import Settings

Made: TypeAlias = pa.Array | Callable[[], pa.Array]
"""A column, or what makes it, if anybody wants it."""


class Grain(ABC):
    """The user half of a probe. One thread calls it."""

    Settings: ClassVar[type[Settings]]
    measurements: ClassVar[tuple[Measurement, ...]]
    program: ClassVar[str]
    """Its kernel half: `probes/PROGRAM.bpf.c`."""
    event: ClassVar[str]
    """Name of the event struct that the kernel half hands over."""
    packets: ClassVar[bool] = False
    """Whether the packet's bytes stand behind the struct."""
    patience: ClassVar[float] = 0.0
    """Seconds that its events may wait in the buffers: few large drains cost less than many small ones."""
    some_of: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Functions that its programs trace and that not every kernel has; of each group of them it needs one."""

    def __init__(self) -> None:
        self.malformed = 0
        """Messages that are not what they claim to be, or not wholly: then there may be a record of the rest."""
        self.cut = 0
        """Messages that made no record, because what was captured of them, or of their stream, is not enough."""
        self.parts = 0
        """Events that made none, because they hold only a part of what a later one completes, or nothing new."""
        self.further = 0
        """Records, malformed and cut messages beyond the first of an event."""
        self.unfinished = 0
        """Messages of which parts came, but never all."""
        self.clock: Callable[[npt.NDArray[np.uint64]], npt.NDArray[np.int64]] = clock.to_utc
        """From the events' clock to nanoseconds since 1970 UTC; another where the events are a capture's."""
        self.settings: Any = self.Settings()
        """What the configuration says; the defaults until a probe is made of this grain."""
        self.lookups: Lookups | None = None
        """Who looked up which name, where the agent knows it: DNS writes it, TLS reads it."""
        self.containers: Containers | None = None
        """Which container a cgroup is, where there are cgroups."""
        self.seen_until = 0
        """All events from before this moment (ns, of the events' clock) have come, or are lost."""
        self.wanted: frozenset[str] | None = None
        """Tags that some pipeline looks at (see `want`); None: all. The others are not made."""
        self._schemas: dict[str, pa.Schema] = {}

    @abstractmethod
    def decode(self, drained: Drained) -> Iterator[Batch]:
        """Records of what was drained."""

    def want(self, tags: frozenset[str] | None) -> None:
        """Make these tags from now on, and no others; None: all that there are."""
        self.wanted = tags
        self._schemas.clear()

    def batch(self, measurement: Measurement, columns: Mapping[str, Made]) -> Batch:
        """Records of these columns, which are all of the measurement's, in any order."""
        schema = self._schemas.get(measurement.name)
        if schema is None:
            schema = self._schemas[measurement.name] = measurement.narrowed(self.wanted)
        made = [column() if callable(column) else column for column in map(columns.__getitem__, schema.names)]
        return Batch(measurement, pa.RecordBatch.from_arrays(made, schema=schema))

    def constants(self) -> Mapping[str, int]:
        """What the settings are to its programs: values of `const volatile` variables. Called before they are loaded.

        Raises KernelError where this machine has not what the settings say.
        """
        return {}

    def unused(self) -> Collection[str]:
        """Functions that its programs trace, and kinds of programs, that its settings do not need on this kernel."""
        return ()

    def attached(self) -> None:  # noqa: B027 - only a grain that looks for what was there before needs it
        """The programs hang on their hooks: what happens from now on is seen."""

    def open(self, program: Program) -> None:  # noqa: B027 - only a grain that counts in the kernel needs it
        """The kernel half is loaded; a grain that reads its maps keeps it."""

    def poll(self) -> Iterator[Batch]:
        """Records of what was counted in the kernel since the last call."""
        return iter(())

    def finish(self) -> None:  # noqa: B027 - only a grain that waits for the rest of something needs it
        """No more events will come."""
