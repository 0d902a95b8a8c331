"""Whitelist: keep the listed tags, drop the others. In: any batch; out: its timestamp, values and the allowed tags.

What a step behind it makes tags of (`Step.needs`) goes on under names that only that step knows.
"""

from __future__ import annotations

from collections.abc import Iterable

from ingrain.account import Station
from ingrain.batch import Batch
from ingrain.settings import Settings
from ingrain.stage import Downstream, Place, Step
from ingrain.tags import aside, canonical


class WhitelistSettings(Settings, frozen=True):
    """Which tags are kept.

    allow: the tags to keep
    """

    allow: list[str]


class Whitelist(Step):
    """A projection: no row is looked at."""

    Settings = WhitelistSettings

    def __init__(self, settings: WhitelistSettings, station: Station, downstream: Downstream) -> None:
        super().__init__(station, downstream)
        self._allow = {canonical(tag) for tag in settings.allow}

    @classmethod
    def wants(cls, settings: WhitelistSettings, after: frozenset[str] | None) -> frozenset[str] | None:
        """What it lets through."""
        allowed = frozenset(map(canonical, settings.allow))
        return allowed if after is None else allowed & after

    @classmethod
    def leaves(cls, settings: WhitelistSettings, before: frozenset[str]) -> frozenset[str]:
        """What it lets through."""
        return before & frozenset(map(canonical, settings.allow))

    @classmethod
    def names(cls, settings: WhitelistSettings) -> Iterable[tuple[Place, str]]:
        """The tags that it lets through."""
        return ((("allow", at), tag) for at, tag in enumerate(settings.allow))

    def process(self, batch: Batch) -> Iterable[Batch]:
        """The batch without the tags that are not allowed."""
        dropped = [tag for tag in batch.tags if tag not in self._allow]
        if not dropped:
            yield batch
            return
        kept = batch.records.drop_columns(dropped)
        for tag in dropped:
            name = tag if tag in self.carried else aside(tag)  # an earlier one may have put it aside
            if name in self.carried:
                kept = kept.append_column(name, batch.records.column(tag))
        yield batch.with_records(kept)
