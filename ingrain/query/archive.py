"""Where an archive is, and which of its objects a question needs: those of its measurements and hours.

In: a folder, `s3://BUCKET/PREFIX`, or the configuration that writes it. Out: keys as `ingrain.backends.layout` makes
them; what else lies there is passed over, and counted.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from ingrain.query.errors import UsageError
from ingrain.query.ranges import Ranges
from ingrain.text import harmless

VARIABLE = "INGRAIN_ARCHIVE"
"""The environment's word for where the archive is."""

_KEY = re.compile(
    r"measurement=([0-9A-Za-z._-]+)/date=(\d{4}-\d\d-\d\d)/hour=(\d\d)/"
    r"[0-9A-Za-z._-]+-[0-9]{1,19}-[0-9a-f]{8}-[0-9]+\.(parquet|jsonl\.gz)"
)
HOUR = timedelta(hours=1)
_AT_ONCE = 16  # listings; a bucket answers each in some 50 ms

Window = tuple[datetime | None, datetime | None]
"""From when (with it) to when (without it), UTC; None: as far as there is something."""

Hours = Callable[[datetime], bool]
"""Whether an hour, told by its beginning (UTC), may have a record that is wanted."""

FOREIGN = "not part of an archive"
JSON_LINES = "of JSON lines, which cannot be queried"


class Store(Protocol):
    """A folder or bucket. All raise OSError.

    failure: why nothing can be had any more, where that is so; what is wrong with one object is none.
    """

    failure: ConnectionError | None

    def folders(self, below: str) -> list[str]:
        """Names of the folders right below a key that ends with a slash, or below the root: an empty one."""

    def keys(self, below: str) -> Iterator[tuple[str, int]]:
        """Every object at any depth below it, with its size in bytes."""

    def open(self, key: str, size: int) -> Ranges:
        """An object, of which several threads may read."""


class Folder:
    """A local one. Links to folders are not followed: an archive has none, and they could go in circles."""

    def __init__(self, root: str) -> None:
        self.failure: ConnectionError | None = None
        self.root = Path(root)
        if not self.root.is_dir():
            why = "is no folder" if self.root.exists() else "is not there"
            raise UsageError(f"the archive {harmless(root)} {why}")

    def folders(self, below: str) -> list[str]:
        """As the protocol says."""
        return [one.name for one in self._scan(below) if one.is_dir(follow_symlinks=False)]

    def keys(self, below: str) -> Iterator[tuple[str, int]]:
        """As the protocol says; what is hidden is being written."""
        for one in self._scan(below):
            if one.name.startswith("."):
                continue
            if one.is_dir(follow_symlinks=False):
                yield from self.keys(f"{below}{one.name}/")
            elif one.is_file(follow_symlinks=False):
                yield below + one.name, one.stat(follow_symlinks=False).st_size

    def open(self, key: str, size: int) -> Ranges:
        """As the protocol says."""
        descriptor = os.open(self.root / key, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        return Ranges(
            size,
            lambda start, end: os.pread(descriptor, end - start, start),
            lambda: os.close(descriptor),
        )

    def _scan(self, below: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / below) as found:
                return sorted(found, key=lambda one: one.name)
        except (FileNotFoundError, NotADirectoryError):
            return []


@dataclass(slots=True)
class Found:
    """Objects of one measurement, by key, with their sizes; and how many of which kind were passed over."""

    objects: dict[str, int] = field(default_factory=dict)
    passed: Counter[str] = field(default_factory=Counter)


class Archive:
    """An archive in a store. `place`: how it is called to people."""

    def __init__(self, store: Store, place: str) -> None:
        self.store = store
        self.place = harmless(place)

    def measurements(self) -> list[str]:
        """Those that it has anything of, in alphabetical order."""
        found = (name.partition("=") for name in self.store.folders(""))
        return sorted(name for word, _, name in found if word == "measurement" and re.fullmatch(r"[\w.-]+", name))

    def find(self, wanted: Sequence[tuple[str, Hours]]) -> dict[str, Found]:
        """The objects of these measurements and hours, by measurement. Raises OSError."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = pool.map(lambda one: self._find(*one), wanted)
            return dict(zip((name for name, _ in wanted), found, strict=True))

    def _find(self, measurement: str, hours: Hours) -> Found:
        found = Found()
        root = f"measurement={measurement}/"
        for name in self.store.folders(root):
            day = _date(name)
            if day is None:
                found.passed[FOREIGN] += 1
            elif any(hours(day + n * HOUR) for n in range(24)):
                for key, size in self.store.keys(f"{root}{name}/"):
                    self._take(found, key, size, hours)
        return found

    @staticmethod
    def _take(found: Found, key: str, size: int, hours: Hours) -> None:
        told = _KEY.fullmatch(key)
        hour = _hour(told[2], told[3]) if told else None
        if told is None or hour is None:
            if not key.rpartition("/")[2].startswith("."):
                found.passed[FOREIGN] += 1
        elif not hours(hour):
            pass
        elif told[4] != "parquet":
            found.passed[JSON_LINES] += 1
        else:
            found.objects[key] = size


def within(window: Window) -> Hours:
    """The hours that have a part of the window."""
    since, until = window
    return lambda hour: (since is None or _last(hour) >= since) and (until is None or hour < until)


def is_inside(key: str, window: Window) -> bool:
    """Whether the hour of an object is all in the window."""
    since, until = window
    told = _KEY.fullmatch(key)
    hour = _hour(told[2], told[3]) if told else None
    return hour is not None and (since is None or hour >= since) and (until is None or _last(hour) < until)


def _last(hour: datetime) -> datetime:
    """The last moment of an hour that a time can tell."""
    return hour.replace(minute=59, second=59, microsecond=999_999)


def open_archive(place: str | None, config: Path | None, region: str | None, endpoint_url: str | None) -> Archive:
    """The archive that is named, or else that of the configuration, or else of the environment.

    Raises UsageError where none is, or it cannot be had; ConfigError of a configuration with mistakes.
    """
    if place is None and config is not None:
        return _configured(config)
    place = place or os.environ.get(VARIABLE)
    if not place:
        raise UsageError(
            f"which archive? Name it by --archive FOLDER or --archive s3://BUCKET/PREFIX, by {VARIABLE} in the "
            "environment, or by --config FILE, the configuration of the agent that writes it"
        )
    if not place.startswith("s3://"):
        return Archive(Folder(place), place)
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    return _bucket(place, {"bucket": bucket, "prefix": prefix, "region": region, "endpoint_url": endpoint_url})


def _configured(file: Path) -> Archive:
    from ingrain import config  # noqa: PLC0415 - only who names a configuration needs what reads it

    pipelines = [one for one in config.load(file).pipelines.values() if one.backend in ("Archive", "S3")]
    if len(pipelines) != 1:
        names = ", ".join(one.name for one in pipelines)
        which = f"has several ({names}): name one by --archive" if names else "has none"
        raise UsageError(f"{file}: expected one pipeline that ends in Archive or S3; it {which}")
    settings = pipelines[0].settings
    if pipelines[0].backend == "Archive":
        return Archive(Folder(settings.path), settings.path)
    bucket = settings.bucket or os.environ.get("AWS_S3_BUCKET", "")
    what = {"bucket": bucket, "prefix": settings.prefix, "region": settings.region}
    return _bucket(f"s3://{bucket}/{settings.prefix}", what | {"endpoint_url": settings.endpoint_url})


def _bucket(place: str, what: dict[str, Any]) -> Archive:
    from ingrain.query.bucket import Bucket  # noqa: PLC0415 - boto3 takes half a second, which a folder does not need

    return Archive(Bucket(**what), place)


def _date(folder: str) -> datetime | None:
    """The beginning of the day that a folder is named after."""
    return _hour(folder.removeprefix("date="), "00") if folder.startswith("date=") else None


def _hour(day: str, hour: str) -> datetime | None:
    try:
        return datetime.fromisoformat(f"{day}T{hour}:00").replace(tzinfo=UTC)
    except ValueError:
        return None
