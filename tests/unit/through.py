"""Batches through a whole pipeline that a configuration describes, and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from archived import Row, objects, rows

from ingrain import config
from ingrain.account import Station
from ingrain.config.model import PipelineConfig
from ingrain.pipeline import Pipeline

HEAD = """\
[[probe]]
pipelines = ["out"]
[probe.config]
type = "Network"
[pipeline.out.config]
backend = "Archive"
format = "jsonl"
path = "{path}"
"""


@dataclass
class Through:
    """A pipeline that works; what it wrote is there when it is finished."""

    pipeline: Pipeline
    folder: Path
    rows: dict[str, list[Row]] = field(default_factory=dict)
    """By measurement, in the order in which they were written."""

    @property
    def stations(self) -> list[Station]:
        return self.pipeline.stations


def loaded(folder: Path, *steps: str) -> PipelineConfig:
    """A pipeline of these steps, each the lines of its table, as a file says it; without a warning."""
    file = folder / "config.toml"
    head = HEAD.format(path=folder / "archive")
    file.write_text(head + "".join(f"[[pipeline.out.steps]]\n{step}\n" for step in steps))
    read = config.load(file)
    assert [str(warning) for warning in read.warnings] == []
    return read.pipelines["out"]


@contextmanager
def through(folder: Path, *steps: str) -> Iterator[Through]:
    """Such a pipeline at work inside; it is finished at the end, and has lost nothing."""
    pipeline = Pipeline(loaded(folder, *steps))
    pipeline.fill()
    pipeline.begin()
    at_work = Through(pipeline, folder)
    yield at_work
    pipeline.flush()
    assert pipeline.finish(deadline=float("inf"))
    for path in objects(folder / "archive"):
        for row in rows(path):
            at_work.rows.setdefault(row.pop("measurement"), []).append(row)
    assert [(one.name, one.lost, one.in_flight) for one in pipeline.stations if one.lost or one.in_flight] == []
