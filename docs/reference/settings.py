"""Every key of the configuration: its type and bounds, its default, and what its model's docstring says of it.

In: the settings models. Out: Markdown. A docstring describes a key on a line of its own, `key: what it means`; further
lines of it are indented.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from ingrain.backends import BACKENDS
from ingrain.config.model import AgentConfig, LogConfig
from ingrain.grains import GRAINS, OWN
from ingrain.grains.common import NetworkSettings, ProbeSettings, TracingSettings
from ingrain.registry import find_class
from ingrain.settings import Settings
from ingrain.steps import STEPS

_LONG = 60
"""Characters of a default that a table has room for."""

_NAMES = {str: "text", int: "integer", float: "number", bool: "boolean"}


def described(model: type[Settings]) -> dict[str, str]:
    """Key -> what the docstrings of the model and its bases say of it. Raises ValueError for a key that none does."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, Settings):
            text = re.sub(r"\n {4}", " ", inspect.getdoc(one) or "")
            found |= dict(re.findall(r"^(\w+): (.+)$", text, re.MULTILINE))
    keys = [field.encode_name for field in msgspec.structs.fields(model)]
    if missing := set(keys) - found.keys():
        raise ValueError(f"the docstring of {model.__name__} says nothing of {', '.join(sorted(missing))}")
    return {key: found[key] for key in keys}


def summary(place: str) -> str:
    """What a module at `module:Class` is for: the first sentence of its docstring, without the type's name."""
    text = inspect.getdoc(inspect.getmodule(find_class(place))) or ""
    first = re.split(r"\.\s", re.sub(r"\s+", " ", text.partition("\n\n")[0]) + " ", maxsplit=1)[0]
    said = first.partition(": ")[2]
    return f"{said[:1].upper()}{said[1:]}"


def steps_in_short() -> str:
    """A line per step."""
    return _in_short("step", STEPS)


def backends_in_short() -> str:
    """A line per backend."""
    return _in_short("backend", BACKENDS)


def agent() -> str:
    """The keys of `[agent]`."""
    return _table(AgentConfig)


def log() -> str:
    """The keys of `[log]`."""
    return _table(LogConfig)


def probes() -> str:
    """The keys that probes share, then those of each."""
    models = {kind: find_class(place).Settings for kind, place in GRAINS.items()}
    parts = []
    for base, whose in (
        (ProbeSettings, "All probes that observe the kernel"),
        (NetworkSettings, "{} also"),
        (TracingSettings, "{} also"),
    ):
        kinds = [f"`{kind}`" for kind, model in models.items() if issubclass(model, base)]
        shared = ProbeSettings if base is not ProbeSettings else Settings
        title = whose.format(f"{', '.join(kinds[:-1])} and {kinds[-1]}")
        parts += [f"**{title}:**", _table(base, _inherited(base, shared))]
    for kind, model in models.items():
        base = NetworkSettings if issubclass(model, NetworkSettings) else TracingSettings
        parts += [f"### {kind}", f"{summary(GRAINS[kind])}.", *_own(model, base)]
    for kind, place in OWN.items():
        parts += [f"### {kind}", f"{summary(place)}.", *_all(find_class(place).Settings)]
    return "\n\n".join(parts)


def steps() -> str:
    """The keys of each step."""
    return _each(STEPS)


def backends() -> str:
    """The keys of each backend."""
    return _each(BACKENDS)


def _in_short(what: str, registry: Mapping[str, str]) -> str:
    rows = [f"| {what} | |", "|---|---|"]
    return "\n".join(rows + [f"| `{kind}` | {summary(place)} |" for kind, place in registry.items()])


def _each(registry: Mapping[str, str]) -> str:
    parts = []
    for kind, place in registry.items():
        parts += [f"### {kind}", f"{summary(place)}.", *_all(find_class(place).Settings)]
    return "\n\n".join(parts)


def _own(model: type[Settings], base: type[Settings]) -> list[str]:
    return _all(model, _inherited(model, base)) or ["No keys but those above."]


def _all(model: type[Settings], left_out: Iterable[str] = ()) -> list[str]:
    """Its table, a line for each default that is too long for that, and the tables of what its lists are made of."""
    left = set(left_out)
    fields = [one for one in msgspec.structs.fields(model) if one.encode_name not in left]
    if not fields:
        return []
    parts = [_table(model, left)]
    for one in fields:
        default = _default(one)
        if len(default) > _LONG:
            parts.append(f"`{one.encode_name}` by default: " + default[1:-1].replace('"', "`"))
        if nested := _nested(one.type):
            parts += [f"Each of `{one.encode_name}`:", _table(nested)]
    return parts


def _inherited(model: type[Settings], base: type[Settings]) -> set[str]:
    """Keys that are in the model what they are in its base."""
    theirs = {one.encode_name: (one.type, _default(one)) for one in msgspec.structs.fields(base)}
    about = described(base)
    return {
        one.encode_name
        for one in msgspec.structs.fields(model)
        if theirs.get(one.encode_name) == (one.type, _default(one))
        and described(model)[one.encode_name] == about[one.encode_name]
    }


def _table(model: type[Settings], left_out: Iterable[str] = ()) -> str:
    about, left = described(model), set(left_out)
    rows = ["| key | type | default | |", "|---|---|---|---|"]
    for one in _own_first(model):
        if one.encode_name not in left:
            default = _default(one)
            shown = (
                "see below" if len(default) > _LONG else f"`{default}`" if default not in ("", "required") else default
            )
            rows.append(f"| `{one.encode_name}` | {_type(one.type)} | {shown} | {about[one.encode_name]} |")
    return "\n".join(rows)


def _own_first(model: type[Settings]) -> list[msgspec.structs.FieldInfo]:
    """Required keys, then those that the model itself declares, then those of its bases."""
    own = inspect.get_annotations(model)
    return sorted(msgspec.structs.fields(model), key=lambda one: (not one.required, one.name not in own))


def _default(field: msgspec.structs.FieldInfo) -> str:
    """As TOML; empty where there is none to write down."""
    if field.required:
        return "required"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return "" if value is None else json.dumps(value) if value != {} else "{ }"


def _type(kind: Any) -> str:
    bounds: dict[str, int] = {}
    if hasattr(kind, "__metadata__"):
        for meta in kind.__metadata__:
            bounds |= {name: bound for name in ("ge", "le") if (bound := getattr(meta, name)) is not None}
        kind = kind.__origin__
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(one) for one in get_args(kind) if one is not type(None))
    if origin is Literal:
        return ", ".join(f'`"{one}"`' for one in get_args(kind))
    if origin is list:
        (item,) = get_args(kind)
        return f"list of {'tables' if _nested(kind) else _type(item)}"
    if origin is dict:
        return f"table of {_type(get_args(kind)[1])}"
    if "le" in bounds:
        return f"{_NAMES[kind]}, {bounds['ge']:,} to {bounds['le']:,}"
    return f"{_NAMES[kind]}, from {bounds['ge']:,}" if "ge" in bounds else _NAMES[kind]


def _nested(kind: Any) -> type[Settings] | None:
    """The model of a list's items."""
    if hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    if get_origin(kind) is not list:
        return None
    (item,) = get_args(kind)
    return item if isinstance(item, type) and issubclass(item, Settings) else None
