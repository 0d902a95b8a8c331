"""Which containers are watched: patterns of their ids and names.

In: a cgroup's id, and how that is resolved. Out: yes or no, remembered for each cgroup.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ingrain.kernel import cgroup

_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_REMEMBERED = 16384

Names = tuple[str, ...]


def container_of(cgroup_id: int) -> Names | None:
    """What the container is called whose first process is in this cgroup: its id, then its names, if they are known.

    The id stands in the cgroup's path (`libpod-ID`, `docker-ID.scope`, `cri-containerd-ID.scope`). None where there is
    no such cgroup any more, or it is no container's.
    """
    root = cgroup.mount()
    for folder, _folders, _files in os.walk(root):
        try:
            if cgroup.identifier(Path(folder)) == cgroup_id:
                found = _ID.findall(str(Path(folder).relative_to(root)))
                return (found[-1],) if found else None
        except FileNotFoundError:
            continue  # it went away while it was looked at
    return None


class Selection:
    """Containers of which an id or name matches a pattern; an id also where the pattern is how it begins.

    patterns: None is all of them. resolve: how a cgroup's container is found.
    """

    def __init__(self, patterns: Sequence[str] | None, resolve: Callable[[int], Names | None] = container_of) -> None:
        self.all = patterns is None
        self._patterns = patterns or ()
        self._resolve = resolve
        self._known: OrderedDict[int, bool] = OrderedDict()

    def watches(self, cgroup_id: int) -> bool:
        """Whether the container whose first process is in this cgroup is watched."""
        if self.all:
            return True
        known = self._known.get(cgroup_id)
        if known is None:
            names = self._resolve(cgroup_id) or ()
            known = any(
                fnmatchcase(name, pattern) or (_ID.fullmatch(name) is not None and name.startswith(pattern))
                for name in names
                for pattern in self._patterns
            )
            self._known[cgroup_id] = known
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known
