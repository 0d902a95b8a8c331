"""Read ingraind's TOML file into typed models, or tell every mistake in it at once, each with its line.

A file has `[[probe]]` tables (`pipelines`, and `[probe.config]` with a `type`), `[pipeline.NAME.config]` with a
`backend`, `[[pipeline.NAME.steps]]` with a `type`, and optionally `[log]` and `[agent]`. Nothing is loaded, opened or
attached here.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path as FilePath
from typing import Any, TypeVar

import tomli

from ingrain import backends, grains, steps
from ingrain.config import doubts, validate
from ingrain.config.model import AgentConfig, Config, LogConfig, PipelineConfig, ProbeConfig
from ingrain.config.ownership import writable_by_others
from ingrain.config.positions import Path, positions
from ingrain.config.problems import ConfigError, Problem, Problems, dotted, listed, near, plain, unknown_key
from ingrain.registry import find_class
from ingrain.settings import Settings
from ingrain.text import harmless

S = TypeVar("S", bound=Settings)

FILE_BYTES = 1 << 20
"""The largest file that is read: a configuration has some KB, and a device given by mistake has no end."""


def load(path: FilePath | str) -> Config:
    """The configuration in the file. Raises ConfigError with all its mistakes; a file that cannot be read is one."""
    path = FilePath(path)
    try:
        source = _text(path)
        tables = tomli.loads(source)
        problems = Problems(positions(source))
    except _Unreadable as error:
        raise ConfigError([error.problem], path) from error
    except tomli.TOMLDecodeError as error:
        where = Problem(error.lineno, "", f"not TOML: {harmless(error.msg)} (column {error.colno})")
        raise ConfigError([where], path) from error
    except (RecursionError, ValueError) as error:  # nesting, and digits of a number, beyond what Python takes
        raise ConfigError([Problem(0, "", f"not a configuration: {error}")], path) from error
    config = _Reader(tables, problems).config()
    if problems.mistakes:
        raise ConfigError(problems.mistakes, path)
    return config


class _Unreadable(Exception):  # noqa: N818 - never leaves this file
    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.problem = Problem(line, "", message)


def _text(path: FilePath) -> str:
    try:
        with path.open("rb") as file:
            doubtful = writable_by_others(path, file)
            if doubtful:
                raise _Unreadable(doubtful)
            raw = file.read(FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise _Unreadable("there is no such file") from error
    except IsADirectoryError as error:
        raise _Unreadable("this is a folder; name the TOML file in it") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > FILE_BYTES:
        raise _Unreadable(f"larger than {FILE_BYTES >> 20} MiB: not a configuration")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8, which TOML has to be: byte 0x{raw[error.start]:02x}"
        raise _Unreadable(message, line) from error


class _Reader:
    """The tables of one file, on their way to models."""

    def __init__(self, tables: dict[str, Any], problems: Problems) -> None:
        self._tables = tables
        self._problems = problems
        self._spools: dict[str, str] = {}

    def config(self) -> Config:
        self._known((), self._tables, ("probe", "pipeline", "log", "agent"))
        named = self._table((), self._tables, "pipeline", required=False) or {}
        pipelines = [self._pipeline(("pipeline", name), name, table) for name, table in named.items()]
        probes = [self._probe(("probe", at), table, named) for at, table in enumerate(self._probe_tables())]
        found = Config(
            [probe for probe in probes if probe],
            {pipeline.name: pipeline for pipeline in pipelines if pipeline},
            self._top(LogConfig, "log"),
            self._top(AgentConfig, "agent"),
            self._problems.warnings,
        )
        if not self._problems.mistakes:
            doubts.doubt(found, {at: self._measured(probe) for at, probe in enumerate(found.probes)}, self._problems)
            self._problems.warnings.sort(key=lambda problem: problem.line)
        return found

    def _top(self, model: type[S], key: str) -> S:
        """A table at the top that may be missing; the defaults where it is, or has a mistake."""
        table = self._table((), self._tables, key, required=False)
        return (validate.settings(model, table, (key,), self._problems) if table else None) or model()

    def _probe_tables(self) -> list[Any]:
        probes = self._tables.get("probe", [])
        if not isinstance(probes, list):
            self._problems.mistake(("probe",), "write [[probe]], in two pairs of brackets: there can be several")
            return []
        if not probes:
            self._problems.mistake((), "no probe: there must be a [[probe]], which tells what to see")
        return probes

    def _probe(self, path: Path, table: Any, pipelines: Collection[str]) -> ProbeConfig | None:
        if not self._is_table(path, table):
            return None
        self._known(path, table, ("pipelines", "config"))
        feeds = self._feeds(path, table, pipelines)
        config = self._table(path, table, "config")
        path = (*path, "config")
        known = grains.GRAINS | grains.OWN | grains.OLDER
        kind = self._choice(path, config, "type", known)
        if config is None or kind is None:
            return None
        settings = self._settings(path, config, "type", known)
        return None if settings is None else ProbeConfig(kind, settings, feeds)

    def _feeds(self, path: Path, table: Mapping[str, Any], pipelines: Collection[str]) -> list[str]:
        feeds = table.get("pipelines")
        if not isinstance(feeds, list) or not feeds:
            where = (*path, "pipelines") if "pipelines" in table else path
            self._problems.mistake(where, 'pipelines must list where the records go, like pipelines = ["s3"]')
            return []
        for at, name in enumerate(feeds):
            where = (*path, "pipelines", at)
            if not isinstance(name, str):
                self._problems.mistake(where, "expected the name of a pipeline, in quotes")
            elif name not in pipelines:
                there = f" There are: {listed(pipelines)}" if pipelines else " There are none"
                self._problems.mistake(where, f"there is no pipeline {plain(name)}.{near(name, pipelines)}{there}")
            elif name in feeds[:at]:
                self._problems.mistake(where, f"pipeline {plain(name)} is listed twice: each record would go in twice")
        return feeds

    def _pipeline(self, path: Path, name: str, table: Any) -> PipelineConfig | None:
        if not name or harmless(name) != name:
            self._problems.mistake(path, "a pipeline's name may not be empty or hold control characters")
        if not self._is_table(path, table):
            return None
        self._known(path, table, ("config", "steps"))
        config = self._table(path, table, "config")
        backend = self._choice((*path, "config"), config, "backend", backends.BACKENDS)
        settings = None
        if config is not None and backend in backends.BACKENDS:
            settings = self._settings((*path, "config"), config, "backend", backends.BACKENDS)
        if settings is not None:
            settings = self._of_pipeline((*path, "config"), name, settings)
        chain = self._steps((*path, "steps"), table.get("steps", []))
        if settings is None or backend is None or None in chain:
            return None
        whole = [step for step in chain if step is not None]
        return PipelineConfig(name, backend, settings, whole, self._problems.lines)

    def _of_pipeline(self, path: Path, name: str, settings: Any) -> Any:
        try:
            settings = settings.of_pipeline(name)
        except ValueError as error:
            self._problems.mistake(path, str(error))
            return None
        spool = getattr(settings, "spool", None)
        if spool is not None:
            other = self._spools.setdefault(os.path.normpath(spool), name)
            if other != name:
                what = f"pipeline {plain(other)} has the same spool, {plain(spool)}; each needs a folder of its own"
                self._problems.mistake((*path, "spool"), what)
        return settings

    def _steps(self, path: Path, tables: Any) -> list[tuple[str, Any] | None]:
        if not isinstance(tables, list):
            self._problems.mistake(path, f"write [[{dotted(path)}]], in two pairs of brackets, for each step")
            return []
        return [self._step((*path, at), table) for at, table in enumerate(tables)]

    def _step(self, path: Path, table: Any) -> tuple[str, Any] | None:
        if not self._is_table(path, table):
            return None
        kind = self._choice(path, table, "type", steps.STEPS)
        settings = None if kind is None else self._settings(path, table, "type", steps.STEPS)
        return None if kind is None or settings is None else (kind, settings)

    def _choice(self, path: Path, table: Mapping[str, Any] | None, key: str, have: Collection[str]) -> str | None:
        """What `type` or `backend` says, when there is such a thing."""
        if table is None:
            return None
        kind, names = table.get(key), ", ".join(have)
        if key not in table:
            self._problems.mistake(path, f"{key} is missing; it takes one of {names}")
        elif not isinstance(kind, str):
            self._problems.mistake((*path, key), f"expected one of {names}, in quotes")
        elif kind in have:
            return kind
        else:
            close = near(kind, have)
            self._problems.mistake((*path, key), f"there is no {plain(kind)}.{close} Allowed: {names}")
        return None

    def _settings(self, path: Path, table: dict[str, Any], key: str, registry: Mapping[str, str]) -> Any:
        try:
            found = find_class(registry[table[key]])
        except (ImportError, OSError) as error:  # OSError: a shared library that the module needs
            self._problems.mistake((*path, key), f"{table[key]} cannot be loaded here: {error}")
            return None
        return validate.settings(found.Settings, table, path, self._problems, tag=key)

    def _measured(self, probe: ProbeConfig) -> Any:
        place = (grains.GRAINS | grains.OWN | grains.OLDER).get(probe.type)
        return find_class(place).measurements if place else None

    def _known(self, path: Path, table: Mapping[str, Any], keys: Collection[str]) -> None:
        for key in table:
            if key not in keys:
                self._problems.mistake((*path, key), unknown_key(key, keys))

    def _table(self, path: Path, table: Mapping[str, Any], key: str, *, required: bool = True) -> dict[str, Any] | None:
        if key not in table:
            if required:
                self._problems.mistake(path, f"the table {key} is missing")
            return None
        found = table[key]
        return found if self._is_table((*path, key), found) else None

    def _is_table(self, path: Path, value: Any) -> bool:
        if not isinstance(value, dict):
            self._problems.mistake(path, "expected a table")
            return False
        return True
