"""AddSystemDetails: add the tags `host` and `kernel`. In: any batch; out: the same rows with these tags.

Both are constants: a dictionary of one value each, whatever the number of rows.
"""

from __future__ import annotations

import os
import socket
import threading
import time
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


_PATIENCE_S = 1.0
"""How long a start or a reload waits for the name: what most resolvers need, so that the first record has it."""

_AGAIN_S = 60.0  # a resolver that is away is asked again


class AddSystemDetailsSettings(Settings, frozen=True):
    """It has no settings."""


class AddSystemDetails(Step):
    """A tag of that name that a record has already is replaced, as in ingraind."""

    Settings = AddSystemDetailsSettings

    def __init__(self, settings: AddSystemDetailsSettings, station: Station, downstream: Downstream) -> None:
        super().__init__(station, downstream)
        del settings
        self._host = host()
        self._host.wait(_PATIENCE_S)
        self._kernel = harmless(os.uname().release)

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
            for name, text in (("host", self._host.now()), ("kernel", self._kernel))
        }
        yield batch.with_tags(columns)


class HostName:
    """The full name of this host, looked up in a thread of its own: a resolver that is away takes half a minute.

    Until it is known, and where no resolver knows more, it is the short one. NODE_NAME of the environment wins: so a
    Kubernetes manifest tells a pod its node (spec.nodeName), whose name the pod itself does not have.
    """

    def __init__(self) -> None:
        node = os.environ.get("NODE_NAME", "")
        self._short = socket.gethostname()
        self._name = harmless(node or self._short)
        self._known = threading.Event()
        if node:
            self._known.set()
        else:
            threading.Thread(target=self._look_up, name="host name", daemon=True).start()

    def now(self) -> str:
        """As far as it is known now."""
        return self._name

    def wait(self, seconds: float) -> None:
        """Until it is known, for so long at the most."""
        self._known.wait(seconds)

    def _look_up(self) -> None:
        while (full := _full(self._short)) is None:
            time.sleep(_AGAIN_S)
        self._name = harmless(full)
        self._known.set()


@cache
def host() -> HostName:
    """Looked up once a process."""
    return HostName()


def _full(short: str) -> str | None:
    """None: the resolver is away."""
    try:
        full = socket.getaddrinfo(short, None, flags=socket.AI_CANONNAME)[0][3]
    except socket.gaierror as error:
        return None if error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL) else short
    except (OSError, UnicodeError):  # nobody knows this host; a name that is none in DNS
        return short
    return full if full.startswith(f"{short}.") else short  # its line in /etc/hosts may begin with another: localhost
