"""`ingrain top`: what an agent sees, as it sees it, in a terminal.

In: records and the account of a running agent, or of probes of its own. Out: a screen, once a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingrain.grains import GRAINS
from ingrain.live.source import Live
from ingrain.local import LocalError
from ingrain.top.app import Top
from ingrain.top.sources import Own, Seen, Source


def show(socket: str, kinds: Sequence[str] | None, cgroup: str | None) -> int:
    """Show it until the user ends it; the command's exit code.

    socket: the agent's, where it is asked. kinds, cgroup: of probes of its own; None, None: those of the agent, if one
    answers.
    """

    def connect(seen: Seen, ended: Callable[[str], None]) -> Source:
        if kinds is None and cgroup is None:
            try:
                return Live(socket, seen, ended)
            except LocalError:  # then it looks for itself
                pass
        return Own(kinds or list(GRAINS), cgroup, seen)

    app = Top(connect)
    app.run()
    return app.return_code or 0
