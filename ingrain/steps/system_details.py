"""AddSystemDetails: add the tags `host` and `kernel`. In: any batch; out: the same rows with these tags.

Both are constants: a dictionary of one value each, whatever the number of rows.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from functools import cache

import numpy as np
import pyarrow as pa

from ingrain.account import Station
from ingrain.batch import Batch
from ingrain.settings import Settings
from ingrain.stage import Downstream, Step
from ingrain.text import harmless

TAGS = frozenset({"host", "kernel"})
"""What it adds, both `TEXT`: the host's full name, and its kernel's release as uname(2) tells it."""


class AddSystemDetailsSettings(Settings, frozen=True):
    """It has no settings."""


class AddSystemDetails(Step):
    """A tag of that name that a record has already is replaced, as in ingraind."""

    Settings = AddSystemDetailsSettings

    def __init__(self, settings: AddSystemDetailsSettings, station: Station, downstream: Downstream) -> None:
        super().__init__(station, downstream)
        del settings
        self._details = {"host": host(), "kernel": harmless(os.uname().release)}

    @classmethod
    def wants(cls, settings: AddSystemDetailsSettings, after: frozenset[str] | None) -> frozenset[str] | None:
        """What those after it want of what they do not get here."""
        del settings
        return None if after is None else after - TAGS

    @classmethod
    def leaves(cls, settings: AddSystemDetailsSettings, before: frozenset[str]) -> frozenset[str]:
        """What it adds, too."""
        del settings
        return before | TAGS

    def process(self, batch: Batch) -> Iterable[Batch]:
        """The batch with both tags."""
        first = pa.array(np.zeros(len(batch), np.int32))
        columns = {
            name: pa.DictionaryArray.from_arrays(first, pa.array([text]), safe=False)
            for name, text in self._details.items()
        }
        yield batch.with_tags(columns)


@cache
def host() -> str:
    """The full name of this host, asked for once a process; its short one where no resolver knows more.

    NODE_NAME of the environment wins: so a Kubernetes manifest tells a pod its node (spec.nodeName), whose name the pod
    itself does not have.
    """
    node = os.environ.get("NODE_NAME", "")
    return harmless(node or _full(socket.gethostname()))


def _full(short: str) -> str:
    try:
        full = socket.getaddrinfo(short, None, flags=socket.AI_CANONNAME)[0][3]
    except (OSError, UnicodeError):  # nobody knows this host; a name that is none in DNS
        return short
    return full if full.startswith(f"{short}.") else short  # its line in /etc/hosts may begin with another: localhost
