"""What a configuration allows and its author probably did not mean: warnings, which stop nothing.

ingraind's own files have such things: a pipeline that nothing feeds, a Whitelist that names a tag of another probe.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ingrain import grains
from ingrain.batch import Measurement
from ingrain.config.model import Config, PipelineConfig
from ingrain.config.problems import Problems, near, quoted
from ingrain.registry import find_class
from ingrain.steps import STEPS
from ingrain.tags import canonical


def doubt(config: Config, measured: Mapping[int, Sequence[Measurement]], problems: Problems) -> None:
    """Warn of pipelines without records and of keys that no record has.

    `measured`: what each probe (by its number) measures.
    """
    for name, pipeline in config.pipelines.items():
        feeding = [at for at, probe in enumerate(config.probes) if name in probe.pipelines]
        present = {config.probes[at].type: measured[at] for at in feeding}
        if not feeding:
            problems.warn(("pipeline", name), "no probe feeds this pipeline")
        elif not any(_has_more_tags(config.probes[at].type) for at in feeding):
            _doubt_keys(pipeline, present, problems)
        if any(_comes_back(config.probes[at].settings, pipeline) for at in feeding):
            problems.warn(("pipeline", name), "this sends to where the probe listens that feeds it: all comes again")


def _has_more_tags(kind: str) -> bool:
    """Whether a probe of this type has tags that others name."""
    return kind in grains.OWN and find_class(grains.OWN[kind]).more_tags is True


def _comes_back(probe: object, pipeline: PipelineConfig) -> bool:
    """Whether a server's metrics are sent to itself, as far as addresses that read the same tell."""
    sent_to = getattr(pipeline.settings, "address", "")
    if sent_to is None:  # then it is the environment's (see the StatsD backend)
        sent_to = f"{os.environ.get('STATSD_HOST') or '127.0.0.1'}:{os.environ.get('STATSD_PORT') or '8125'}"
    return bool(sent_to) and getattr(probe, "bind_address", None) == sent_to


def _doubt_keys(pipeline: PipelineConfig, present: Mapping[str, Sequence[Measurement]], problems: Problems) -> None:
    of_probes = frozenset(tag.name for measurements in present.values() for one in measurements for tag in one.tags)
    tags = seen = of_probes
    dropped: dict[str, str] = {}
    for at, (kind, settings) in enumerate(pipeline.steps):
        step = find_class(STEPS[kind])
        for where, key in step.names(settings):
            path = ("pipeline", pipeline.name, "steps", at, *where)
            if canonical(key) in tags:
                continue
            if canonical(key) in dropped:
                who = dropped[canonical(key)]
                problems.warn(path, f"no record has {quoted(key)} here: a {who} before this step drops it")
                continue
            measuring = ", ".join(present)
            told = f"no record of {measuring} has the tag {quoted(key)}.{near(key, seen)}"
            problems.warn(path, told.removesuffix("."))
        carried = step.needs(settings, None) & seen - tags
        left = step.leaves(settings, tags | carried) - carried
        dropped |= dict.fromkeys(tags - left, kind)
        tags, seen = left, seen | left
