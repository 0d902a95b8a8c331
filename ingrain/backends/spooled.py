"""What S3 and HTTP share: an object is finished in a spool folder, then sent until the server has it, then removed.

In: any batch. Out: objects as in `ingrain.backends.objects`, by `put`. No error of the server is final: whatever it
says, the object waits in the spool, over restarts and crashes too. What ends that is told in SpoolSettings.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Self

import msgspec
import pykka

from ingrain.account import Station
from ingrain.backends import layout
from ingrain.backends.objects import HELD_BYTES, Object, Objects, ObjectSettings
from ingrain.backends.reach import Reach
from ingrain.backends.spool import Spool, Spooled, SpoolError
from ingrain.backends.uploader import Result, Uploader
from ingrain.inbox import Tick
from ingrain.settings import is_absolute
from ingrain.text import harmless

log = logging.getLogger(__name__)

FLUSH_S = 10.0
"""How long a flush waits for uploads: less than the agent waits for a pipeline when it stops. The rest stays."""

_FOLDER_BYTES = 255  # of a folder's name, of every usual file system (NAME_MAX)

_SAID = 300  # of what a server tells, in characters


class SpoolSettings(ObjectSettings, frozen=True):
    """Where finished objects wait for the server, how many, and for how long.

    spool: the folder, used by this pipeline alone; by default `spool/PIPELINE` in the service's state folder
    spool_max_mb: the most MiB of finished objects in it; by default a tenth of the file system, at most 4096. Of a full
        spool the oldest objects are dropped that are not being sent; in a small one an object is complete at half of it
    spool_max_age_s: objects that have waited for longer are dropped; by default a week
    concurrency: objects sent at the same time
    """

    spool: Annotated[str | None, msgspec.Meta(extra={"check": is_absolute})] = None
    spool_max_mb: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)] | None = None
    spool_max_age_s: Annotated[int, msgspec.Meta(ge=1, le=366 * 86_400)] = 7 * 86_400
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2

    def __post_init__(self) -> None:
        """Raise ValueError also for a spool that no full object fits."""
        super().__post_init__()
        if self.spool_max_mb is not None and self.spool_max_mb < 2 * self.roll_mb:
            raise ValueError(f"spool_max_mb: expected at least {2 * self.roll_mb}, room for two objects of roll_mb")

    def lacking(self) -> list[str]:
        """A folder that can be no spool."""
        try:
            if self.spool is not None:
                Spool.check(Path(self.spool))
        except SpoolError as error:
            return [f"spool: {error}"]
        return []

    def of_pipeline(self, name: str) -> Self:
        """With the folder that a pipeline of this name has. Raises ValueError where there is no place for it."""
        if self.spool is not None:
            return self
        folder = _state_folder() / "spool" / layout.folder_part(name, _FOLDER_BYTES)
        return msgspec.structs.replace(self, spool=str(folder))


class Sent(Objects):
    """Records are delivered when the server has said that it has their object, and the spool has let go of it.

    Until then they are `spooled`; those that were left there before are `resumed`. Lost are the oldest that the spool
    has no room for, or new ones where those that are being sent take it all; and those that got too old. `to`: where
    they go, in words. Raises ValueError when the folder can be no spool.
    """

    def __init__(self, settings: SpoolSettings, station: Station, to: str, form: str) -> None:
        folder = settings.of_pipeline(station.name).spool or ""
        super().__init__(settings, station, f"writing to the spool {folder}", form)
        self._folder = Path(folder)
        self._limit = settings.spool_max_mb << 20 if settings.spool_max_mb else None
        self._wanted = settings.roll_mb << 20
        self._max_age = settings.spool_max_age_s * 10**9
        self._threads = settings.concurrency
        self._server = Reach(station, f"uploading to {to}")
        self._some = Reach(station, f"uploading some objects to {to}")
        self._room = Reach(station, f"keeping everything in the spool {folder}")
        self._uploader: Uploader | None = None
        try:
            self._start()
        except SpoolError as error:
            raise ValueError(f"spool: {error}") from error
        except OSError as error:  # it may be mounted or mended later; until then objects are lost, counted
            self.reach.fails(os.strerror(error.errno or 0), "It is tried again with every object")

    def put(self, key: str, file: BinaryIO) -> int:
        """Send an object; how many of its records the server will never take, whatever is done about it.

        Called in several threads; raises whatever went wrong.
        """
        raise NotImplementedError

    def why(self, error: Exception) -> str:
        """What `put` raised, as the operator should read it."""
        raise NotImplementedError

    def create(self, key: str) -> BinaryIO:
        """A file in the spool."""
        del key
        return self._ready().spool.create()

    def store(self, made: Object) -> None:
        """Finish the object in the spool; the uploader has it from there. Where it cannot have room it is lost."""
        uploader = self._ready()
        spool = uploader.spool
        made.file.flush()
        made.size = made.file.tell()
        if made.size > spool.limit:
            raise OSError(f"an object of {made.size} bytes is larger than the whole spool may be ({spool.limit})")
        dropped, fits = uploader.make_room(made.size)
        self._dropped(dropped, *_full(spool))
        if not fits:
            self.discard(made.key, made.file)
            self._not_kept(made.rows, *_full(spool))
            return
        one = spool.commit(made.file, made.key, made.rows)
        self._hold(one.rows, one.size)
        uploader.add(one)
        self.wake_in(self._max_age / 1e9 + 1.0)

    def discard(self, key: str, file: BinaryIO) -> None:
        """Remove the file from the spool."""
        del key
        if self._uploader is not None:
            self._uploader.spool.discard(file)

    def tick(self) -> None:
        """Drop what is too old, count what was sent, complete the objects that are old enough."""
        if self._uploader is not None:
            self._drop_old(self._uploader)
            self._settle(self._uploader)
        super().tick()

    def flush(self) -> None:
        """Complete all objects, and send what can be sent within FLUSH_S. The rest stays in the spool."""
        deadline = time.monotonic() + FLUSH_S
        try:
            super().flush()
        finally:
            if self._uploader is not None:
                self._uploader.hurry(deadline)
                self._settle(self._uploader)

    def close(self) -> None:
        """End, and tell what stays in the spool for the next start."""
        super().close()
        if self._uploader is None:
            return
        self._let_go(self._uploader)
        if self.station.spooled:
            what = "%s: %d records in %d bytes stay in the spool %s: the next start sends them"
            log.warning(what, self.station.name, self.station.spooled, self.station.spooled_bytes, self._folder)

    def on_failure(self, *why: object) -> None:
        """The stage dies: the next one has the spool, with all that is in it."""
        super().on_failure(*why)
        self.station.left += self.station.spooled
        self._hold(-self.station.spooled, -self.station.spooled_bytes)

    def _ready(self) -> Uploader:
        """With the spool that is where it should be. Raises OSError where there is none."""
        if self._uploader is None or not self._uploader.spool.there:
            try:
                self._start()
            except SpoolError as error:
                raise OSError(str(error)) from error
        if self._uploader is None:
            raise OSError(f"there is no spool {self._folder}")
        return self._uploader

    def _start(self) -> None:
        """Open the spool, and send what is in it. Raises SpoolError and OSError."""
        if self._uploader is not None:  # its folder was taken away
            self._let_go(self._uploader)
            self._lost(
                self.station.spooled, self.station.spooled_bytes, "gone from the spool", "its folder was removed"
            )
        spool = Spool.open(self._folder, self._limit)
        try:
            self._uploader = Uploader(spool, self.put, self._threads, self._wake)
        except BaseException:
            spool.close()
            raise
        self._fit(spool.limit)
        found = self._uploader.found
        self._resume(found.rows, found.bytes)
        if found.objects:
            what = "%s: the spool %s has %d records in %d objects of an earlier run; they are sent now"
            log.info(what, self.station.name, self._folder, found.rows, found.objects)
        if spool.unfinished:
            self.station.detail["objects cut off"] += spool.unfinished
            what = "%s: removed %d objects (%d bytes) that a crash left incomplete; their records are lost"
            log.warning(what, self.station.name, spool.unfinished, spool.unfinished_bytes)
        self._dropped(self._uploader.drop(lambda _, held: held > spool.limit), *_full(spool))
        self._drop_old(self._uploader)

    def _fit(self, limit: int) -> None:
        """Have two objects in a spool of so many bytes, each with what it can grow by before its end."""
        self.roll_bytes, self.held_bytes = min(self._wanted, limit // 2), min(HELD_BYTES, limit // 2)
        if self.roll_bytes < self._wanted:
            what = "%s: the spool %s has room for %d bytes: objects are complete at %d, which is less than roll_mb"
            log.warning(what, self.station.name, self._folder, limit, self.roll_bytes)

    def _let_go(self, uploader: Uploader) -> None:
        uploader.close()
        self._settle(uploader)
        self._uploader = None

    def _wake(self) -> None:
        """Called by the uploader's threads."""
        with suppress(pykka.ActorDeadError):
            self.actor_ref.tell(Tick())

    def _drop_old(self, uploader: Uploader) -> None:
        age = uploader.spool.age
        dropped = uploader.drop(lambda one, _: age(one) > self._max_age)
        self._dropped(dropped, "too old", f"some of it waited for more than {self._max_age // 10**9} s")
        oldest = uploader.oldest()
        if oldest is not None:
            self.wake_in(max(0.0, (self._max_age - age(oldest)) / 1e9) + 1.0)

    def _dropped(self, dropped: Sequence[Spooled], why: str, told: str) -> None:
        if dropped:
            rows, size = sum(one.rows for one in dropped), sum(one.size for one in dropped)
            self._lost(rows, size, why, told)

    def _lost(self, rows: int, size: int, why: str, told: str) -> None:
        """Count what was in the spool and will never be sent."""
        if rows or size:
            self._hold(-rows, -size)
            self._not_kept(rows, why, told)

    def _not_kept(self, rows: int, why: str, told: str) -> None:
        self.station.lost += rows
        self.station.detail[why] += rows
        self._room.fails(told, "What is not kept is counted as lost; of what waits, that is the oldest")

    def _hold(self, rows: int, size: int) -> None:
        self.station.spooled += rows
        self.station.spooled_bytes += size
        self.station.gauges["spool.bytes"] = self.station.spooled_bytes

    def _resume(self, rows: int, size: int) -> None:
        """Count what is in the spool and was put there by somebody else."""
        self.station.resumed += rows
        self._hold(rows, size)

    def _settle(self, uploader: Uploader) -> None:
        """Count what came of the tries, and what somebody else did to the spool."""
        removed = uploader.removed()
        if removed.rows > 0:
            self._lost(removed.rows, removed.bytes, "gone from the spool", "objects were removed from its folder")
        else:
            self._resume(-removed.rows, -removed.bytes)
        for result in uploader.results():
            self._count(result)
            self._guarded("what came of an upload", 0, self._report, result, uploader.spool.limit)
        if not uploader.refused():
            self._some.works()

    def _count(self, result: Result) -> None:
        one = result.one
        if result.error is None:
            self._hold(-one.rows, -one.size)
            self.stored(one.rows - result.unfit, one.size, layout.first(one.key) or one.stamp)
            if result.unfit:
                self.station.lost += result.unfit
                self.station.detail["too large"] += result.unfit
        elif not result.kept:
            self._lost(one.rows, one.size, "damaged in the spool", f"{one.key} {result.error}")

    def _report(self, result: Result, limit: int) -> None:
        if result.error is None:
            self._worked(limit)
        elif result.alone:
            what = f"{result.one.key} is refused, while others are taken: {self._why(result.error)}"
            self._some.fails(what, "They wait, and are tried again")
        elif result.kept:
            waits = f"Everything waits in the spool {self._folder}, and is tried again until it works"
            self._server.fails(self._why(result.error), waits)

    def _why(self, error: Exception) -> str:
        return harmless(self.why(error))[:_SAID]

    def _worked(self, limit: int) -> None:
        self._server.works()
        if self.station.spooled_bytes < limit // 2:
            self._room.works()


def _full(spool: Spool) -> tuple[str, str]:
    """Why something is not kept, in few words and as it is told."""
    return "spool full", f"it is full ({spool.limit:,} bytes)"


def _state_folder() -> Path:
    """Where this service keeps what outlives it: by systemd (StateDirectory=), root's place, or the user's (XDG)."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    if os.geteuid() == 0:
        return Path("/var/lib/ingrain")
    named = os.environ.get("XDG_STATE_HOME", "")
    try:
        state = Path(named) if named.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise ValueError("spool: this user has no home to keep it in; name a folder") from error
    return state / "ingrain"
