"""The graph that a configuration describes, as text: each pipeline with the probes, steps and backend on its way."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ingrain.config.model import Config, PipelineConfig
from ingrain.config.problems import dotted
from ingrain.settings import Settings, shown
from ingrain.text import harmless

_WIDTH = 110


def describe(config: Config) -> str:
    """The graph in plain text: a block a pipeline, in the direction of the data, with settings that are not default."""
    agent = ["\n  ".join(["agent", *_changed(config.agent)])] if _changed(config.agent) else []
    return "\n\n".join([*agent, *(_pipeline(config, pipeline) for pipeline in config.pipelines.values())])


def _pipeline(config: Config, pipeline: PipelineConfig) -> str:
    feeding = [probe for probe in config.probes if pipeline.name in probe.pipelines]
    rows = [("probe", probe.type, _changed(probe.settings)) for probe in feeding]
    if not rows:
        rows.append(("probe", "-", ["(nothing feeds this pipeline)"]))
    rows += [("step", kind, _changed(settings)) for kind, settings in pipeline.steps]
    rows.append(("backend", pipeline.backend, _changed(pipeline.settings)))
    width = max(len(name) for _, name, _ in rows)
    lines = [f"pipeline {dotted((pipeline.name,))}"]
    for what, name, settings in rows:
        head = f"  {what:<7}  {name:<{width}}  "
        first, *rest = settings or [""]
        lines.append(f"{head}{first}".rstrip())
        lines += [" " * len(head) + line for line in rest]
    return "\n".join(lines)


def _changed(settings: Settings) -> list[str]:
    """The settings that differ from their default as lines of TOML; a list that is too long for one has several."""
    lines = []
    for field in msgspec.structs.fields(type(settings)):
        value = getattr(settings, field.name)
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        if value == default:
            continue
        told = shown(field.type)
        line = f"{field.encode_name} = {_toml(told(value) if told else value)}"
        if isinstance(value, list) and len(line) > _WIDTH:
            lines += [f"{field.encode_name} = [", *(f"  {_toml(item)}," for item in value), "]"]
        else:
            lines.append(line)
    return lines


def _toml(value: Any) -> str:
    match value:
        case Settings():
            fields = ((field.encode_name, getattr(value, field.name)) for field in msgspec.structs.fields(type(value)))
            return "{ " + ", ".join(f"{name} = {_toml(one)}" for name, one in fields if one is not None) + " }"
        case dict():
            return "{ " + ", ".join(f"{dotted((name,))} = {_toml(one)}" for name, one in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case str():
            return json.dumps(harmless(value), ensure_ascii=False)
        case bool():
            return str(value).lower()
        case _:
            return str(value)
