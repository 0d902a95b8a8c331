"""`ingrain top`: what an agent sees, as it sees it, in a terminal.

In: records and the account of a running agent, or of probes of its own. Out: a screen, once a second.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from ingrain.grains import GRAINS
from ingrain.live.source import Live
from ingrain.local import LocalError
from ingrain.status import SOCKET
from ingrain.top.app import Top
from ingrain.top.sources import Own, Seen, Source


def show(socket: str | None, kinds: Sequence[str] | None, cgroup: str | None) -> int:
    """Show it until the user ends it; the command's exit code: 1 where there is nothing to watch, which is told.

    So it is where nobody could end it: without a terminal it would run probes until it is killed.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        sys.stderr.write("ingrain: top needs a terminal to read keys from; `ingrain status` does without\n")
        return 1
    app = Top(lambda seen, ended: connect(socket, kinds, cgroup, seen, ended))
    app.run()
    if app.failed:
        sys.stderr.write(f"ingrain: {app.failed}\n")
    return app.return_code or 0


def connect(
    socket: str | None, kinds: Sequence[str] | None, cgroup: str | None, seen: Seen, ended: Callable[[str], None]
) -> Source:
    """What is to be watched. Raises LocalError for an agent that cannot be, AgentError where no probe can run.

    socket: that of the agent; None: the usual one, if an agent is there. kinds, cgroup: of probes of its own; with
    neither, the agent is watched.
    """
    if kinds is None and cgroup is None:
        try:
            return Live(socket or SOCKET, seen, ended)
        except LocalError as error:
            if socket is not None or not isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
                raise
    return Own(kinds or list(GRAINS), cgroup, seen)
