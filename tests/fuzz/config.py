"""The configuration: files of any text, and files that are right but for the values of some keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from fuzz.promises import check_text
from fuzz.target import Chosen, Target, piece, scratch
from ingrain import config
from ingrain.backends import BACKENDS
from ingrain.config import ConfigError
from ingrain.config.model import AgentConfig, LogConfig
from ingrain.grains import GRAINS, OWN
from ingrain.registry import find_class
from ingrain.settings import Settings
from ingrain.steps import STEPS

_EXAMPLES = Path(__file__).parents[2] / "config"
_LONGEST = 4000  # characters of what is said about one mistake
_DEEPEST = 3


def config_text(data: bytes) -> bool:
    """A file is a configuration, of which a graph can be shown, or its mistakes are told: in harmless words."""
    file = scratch() / "ingrain.toml"
    file.write_bytes(data)
    file.chmod(0o600)
    try:
        loaded = config.load(file)
    except ConfigError as error:
        _check(error.problems, data)
        return not error.problems
    _check(loaded.warnings, data)
    for line in config.describe(loaded).split("\n"):
        check_text(line)
    return True


def _check(problems: Iterable[Any], data: bytes) -> None:
    for problem in problems:
        assert 0 <= problem.line <= data.count(b"\n") + 1
        check_text(problem.key, problem.message)
        assert len(str(problem)) <= _LONGEST + len(problem.key)


def config_values(data: bytes) -> bool:
    """The same of a file with a table of every kind, whose keys have any values."""
    chosen = Chosen(data)
    probe, step, backend = (_one(chosen, registry) for registry in (GRAINS | OWN, STEPS, BACKENDS))
    tables = [
        ('[[probe]]\npipelines = ["p"]\n[probe.config]', "type", probe),
        ("[pipeline.p.config]", "backend", backend),
        ("[[pipeline.p.steps]]", "type", step),
    ]
    text = ""
    for head, tag, (name, model) in tables[: 2 + chosen.number() % 2]:
        text += f'{head}\n{tag} = "{name}"\n{_keys(chosen, model)}'
    text += f"[agent]\n{_keys(chosen, AgentConfig)}[log]\n{_keys(chosen, LogConfig)}"
    return config_text(text.encode())


def _one(chosen: Chosen, registry: dict[str, str]) -> tuple[str, type[Settings]]:
    name = sorted(registry)[chosen.number() % len(registry)]
    return name, find_class(registry[name]).Settings


def _keys(chosen: Chosen, model: type[Settings]) -> str:
    names = [field.encode_name for field in msgspec.structs.fields(model)]
    which = chosen.number(2)
    return "".join(f"{name} = {_value(chosen)}\n" for at, name in enumerate(names) if which >> at & 1)


_ODD = (
    "inf", "nan", "-0.0", "1e400", "0.5", "true", "false",
    "1979-05-27T07:32:00Z", "1979-05-27", "07:32:00.999999", "1979-05-27 07:32:00",
)  # fmt: skip
_PLAIN: tuple[Callable[[Chosen], str], ...] = (
    lambda chosen: str(chosen.number(chosen.number() % 10) - 2),
    lambda chosen: "0x" + chosen.take(1 + chosen.number(2) % 4096).hex(),
    lambda chosen: _ODD[chosen.number() % len(_ODD)],
    lambda chosen: json.dumps(chosen.text(), ensure_ascii=False).replace("\x7f", "\\u007f"),
)
_INNER = ("key", "regex", "replace_with", "a b")


def _value(chosen: Chosen, depth: int = 0) -> str:
    """A value as TOML writes it; at the deepest no list and no table."""
    kind = chosen.number() % (len(_PLAIN) + (0 if depth >= _DEEPEST else 2))
    if kind < len(_PLAIN):
        return _PLAIN[kind](chosen)
    count = chosen.number() % (len(_INNER) + 1)
    if kind == len(_PLAIN):
        return "[" + ", ".join(_value(chosen, depth + 1) for _ in range(count)) + "]"
    return "{" + ", ".join(f'"{name}" = {_value(chosen, depth + 1)}' for name in _INNER[:count]) + "}"


def _examples() -> Iterable[bytes]:
    for file in sorted(_EXAMPLES.glob("*.toml")):
        yield file.read_bytes()
    probe = b'log = {type = "Syslog"}\n[[probe]]\npipelines = ["a b"]\nconfig.type = "DNS"\n'
    yield probe + b'[pipeline]\n"a b".config = {backend = "Console"}\n'


def _chosen() -> Iterable[bytes]:
    console = sorted(BACKENDS).index("Console")
    for at in range(len(GRAINS | OWN)):
        yield bytes([at, 0, console, 0]) + bytes(10)
    text, table, listed = b"\3" + piece(b"/etc"), b"\5\3", b"\4\1"
    step, statsd = sorted(STEPS).index("Regex"), sorted(BACKENDS).index("StatsD")
    patterns = b"\1\0" + listed + table + (b"\3" + piece(b"a+")) * 3
    yield bytes([0, step, statsd, 1]) + b"\0\0" + b"\1\0" + text + patterns
    yield bytes([1, 0, console, 0]) + b"\2\0\1\x20\1" + b"\xff" * 300


_WORDS = (
    b"[[probe]]", b"[probe.config]", b"pipelines", b"[pipeline.", b".config]", b".steps]]", b"type", b"backend",
    *(name.encode() for name in (*GRAINS, *OWN, *STEPS, *BACKENDS)), b'"""', b"'''", b"\\u", b"0x", b"1979-05-27",
)  # fmt: skip

TARGETS = (
    Target("config_text", config_text, _examples, 2, words=_WORDS, longest=8192),
    Target("config_values", config_values, _chosen, 2, longest=1024),
)
