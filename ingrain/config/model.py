"""What a configuration says, typed: the probes, the pipelines that they feed, and where the agent's own log goes.

`config.load` makes it of a file; the agent builds its graph of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from ingrain.config.positions import Path
from ingrain.config.problems import Problem, Problems, near, quoted
from ingrain.kernel.loaders import Loader
from ingrain.room import bytes_of, is_size
from ingrain.settings import Settings
from ingrain.status import SOCKET, is_socket


@dataclass(frozen=True, slots=True)
class ProbeConfig:
    """A `[[probe]]`: `settings` is its grain's model."""

    type: str
    settings: Any
    pipelines: list[str]


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """A `[pipeline.NAME]`: its steps (type and settings) in the order of the data, and the backend at its end.

    Two are equal where they describe the same, wherever in a file that stands. lines: of what is in the file.
    """

    name: str
    backend: str
    settings: Any
    steps: list[tuple[str, Any]]
    lines: Mapping[Path, int] = field(default_factory=lambda: {(): 0}, compare=False, repr=False)

    @property
    def spool(self) -> str | None:
        """The folder that no other pipeline may have at the same time."""
        spool = getattr(self.settings, "spool", None)
        return None if spool is None else os.path.normpath(spool)

    def lacking(self) -> list[Problem]:
        """What it needs of this host and does not find: it could not start. Nothing is changed by looking."""
        problems = Problems(self.lines)
        path: Path = ("pipeline", self.name)
        parts = [((*path, "config"), self.settings)]
        parts += [((*path, "steps", at), settings) for at, (_, settings) in enumerate(self.steps)]
        for where, settings in parts:
            fields = {one.encode_name for one in msgspec.structs.fields(type(settings))}
            for lack in settings.lacking():
                problems.mistake_of(where, fields, lack)
        return problems.mistakes


LEVELS = ("OFF", "ERROR", "WARN", "INFO", "DEBUG", "TRACE")
"""What `log_level` may say, in any case, as in ingraind."""


def is_level(level: str) -> None:
    """Raise ValueError for what is none of LEVELS."""
    if level.upper() not in LEVELS:
        raise ValueError(
            f"expected one of {', '.join(LEVELS)}, found {quoted(level)}.{near(level, LEVELS)}".rstrip(".")
        )


class LogConfig(Settings, frozen=True):
    """`[log]`.

    type: `EnvLogger` writes to stderr, `Syslog` to /dev/log
    log_level: `OFF`, `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE` (the same), in any case: nothing below is written
    """

    type: Literal["EnvLogger", "Syslog"] = "EnvLogger"
    log_level: Annotated[str, msgspec.Meta(extra={"check": is_level})] = "INFO"

    @property
    def level(self) -> str:
        """One of LEVELS."""
        return self.log_level.upper()


class AgentConfig(Settings, frozen=True):
    """`[agent]`.

    socket: Unix socket for `ingrain status` and `ingrain top`; several agents on one host need one each
    loader: which object of a probe is loaded: `core`, `bcc`, or `auto`: `core` if the kernel has BTF, else `bcc`
    memory_limit: the most resident memory, for example `150M`; pipelines refuse and count what would exceed it
    """

    socket: Annotated[str, msgspec.Meta(extra={"check": is_socket})] = SOCKET
    loader: Loader = "auto"
    memory_limit: Annotated[str | None, msgspec.Meta(extra={"check": is_size})] = None

    @property
    def memory(self) -> int | None:
        """The limit in bytes."""
        return None if self.memory_limit is None else bytes_of(self.memory_limit)


@dataclass(frozen=True, slots=True)
class Config:
    """A file without a mistake. `warnings` tell what is allowed and probably not meant, in the order of lines."""

    probes: list[ProbeConfig]
    pipelines: dict[str, PipelineConfig]
    log: LogConfig
    agent: AgentConfig
    warnings: list[Problem] = field(default_factory=list)

    def fed(self, probes: Iterable[ProbeConfig]) -> dict[str, PipelineConfig]:
        """The pipelines that these probes feed, by name, in the order of the file."""
        names = {name for probe in probes for name in probe.pipelines}
        return {name: pipeline for name, pipeline in self.pipelines.items() if name in names}

    def lacking(self) -> list[Problem]:
        """What its pipelines need of this host and do not find, in the order of lines: here it could not run now."""
        found = [problem for pipeline in self.fed(self.probes).values() for problem in pipeline.lacking()]
        return sorted(found, key=lambda problem: problem.line)
