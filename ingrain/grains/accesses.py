"""What an event of Files says: its columns, by the kind of access (`struct access` of probes/access.h).

In: events of one kind, and the paths behind each. Out: columns, or what makes them if anybody wants them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from ingrain.grains.grain import Made
from ingrain.grains.opening import device_name, kind_of, open_flags, permissions, protection
from ingrain.grains.paths import path_of
from ingrain.grains.text_columns import texts
from ingrain.kernel.records import Events

OPENED, MAPPED, RENAMED, LINKED, CREATED, DELETED, MODE, OWNER, TRUNCATED, NAMED = range(10)
READ, WRITTEN = range(2)
# all of these: enums of probes/access.h and probes/moved.h
_IS_CUT, _IS_DELETED, _IS_NEW, _NEW_IS_CUT = 1, 2, 4, 8
_SHARED = 1  # MAP_SHARED of mmap(2), and a bit of MAP_SHARED_VALIDATE
_UNCHANGED = 0xFFFFFFFF  # an owner of chown(2)

Behind = Sequence[bytes | None]
"""The names behind each event (probes/path.h), of its path and then of its new path; None where they are not known."""


def files(events: Events, behind: Behind) -> dict[str, Made]:
    """Which file it is: the columns that all kinds have."""
    inodes, devices = events["file"]["inode"], events["file"]["device"]
    return {
        "path": lambda: texts(_paths(events, behind)),
        "inode": lambda: pa.array(np.ascontiguousarray(inodes), mask=inodes == 0),
        "device": lambda: texts([device_name(one) if one else None for one in devices.tolist()]),
        "path_cut": lambda: _marked(events, _IS_CUT | _NEW_IS_CUT),
    }


def deleted(events: Events, _behind: Behind) -> dict[str, Made]:
    """Whether the file had no entry at its path any more."""
    return {"deleted": lambda: _marked(events, _IS_DELETED)}


def _paths(events: Events, behind: Behind) -> list[str | None]:
    each = zip(behind, events["path"].tolist(), (events["marks"] & _IS_CUT).tolist(), strict=True)
    return [None if names is None else path_of(names[:size], end) for names, size, end in each]


def _new_paths(events: Events, behind: Behind) -> list[str | None]:
    cut = ((events["marks"] & _NEW_IS_CUT) != 0).tolist()
    each = zip(behind, events["path"].tolist(), cut, strict=True)
    return [None if names is None else path_of(names[size:], end) for names, size, end in each]


def _marked(events: Events, marks: int) -> pa.Array:
    return pa.array((events["marks"] & marks) != 0)


def _each(events: Events, word: Callable[[int], str]) -> pa.Array:
    return texts([word(detail) for detail in events["detail"][:, 0].tolist()])


def _opened(events: Events, behind: Behind) -> dict[str, Made]:
    return deleted(events, behind) | {
        "flags": lambda: _each(events, open_flags),
        "created": lambda: _marked(events, _IS_NEW),
    }


def _mapped(events: Events, behind: Behind) -> dict[str, Made]:
    return deleted(events, behind) | {
        "protection": lambda: _each(events, protection),
        "shared": lambda: pa.array((events["detail"][:, 1] & _SHARED) != 0),
    }


def _two(events: Events, behind: Behind) -> dict[str, Made]:
    return {"new_path": lambda: texts(_new_paths(events, behind))}


def _created(events: Events, _behind: Behind) -> dict[str, Made]:
    return {"kind": lambda: _each(events, kind_of)}


def _deleted(_events: Events, _behind: Behind) -> dict[str, Made]:
    return {}


def _mode(events: Events, behind: Behind) -> dict[str, Made]:
    return deleted(events, behind) | {"mode": lambda: _each(events, permissions)}


def _owner(events: Events, behind: Behind) -> dict[str, Made]:
    def ids(which: int) -> pa.Array:
        one = np.ascontiguousarray(events["detail"][:, which])
        return pa.array(one, mask=one == _UNCHANGED)

    return deleted(events, behind) | {"owner": lambda: ids(0), "group": lambda: ids(1)}


def _truncated(events: Events, behind: Behind) -> dict[str, Made]:
    return deleted(events, behind) | {"size": lambda: pa.array(np.ascontiguousarray(events["size"]))}


OF_KIND: dict[int, Callable[[Events, Behind], dict[str, Made]]] = {
    OPENED: _opened,
    MAPPED: _mapped,
    RENAMED: _two,
    LINKED: _two,
    CREATED: _created,
    DELETED: _deleted,
    MODE: _mode,
    OWNER: _owner,
    TRUNCATED: _truncated,
}
"""Kind -> the columns that it has beside those of all."""
