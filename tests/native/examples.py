"""The examples of `config/` as native tests run them: on a test's cgroup, in a hurry, without what traces."""

from __future__ import annotations

import re
from pathlib import Path

CONFIG = Path(__file__).parents[2] / "config"
EVERYTHING = CONFIG.parent / "tests/guest/everything.py"
"""A program that does something of everything."""

_TRACING = re.compile(
    r'\[\[probe\]\]\npipelines = .*\n+\[probe\.config\]\ntype = "(?:Files|Container|Process)"\n(?:[^\[\n].*\n)*'
)
_SEEING = re.compile(r'(?<=\[probe\.config\]\n)type = "(?!Agent).*')
_AGENT = re.compile(r'type = "Agent"(?:\ninterval_s = \d+)?')


def adapted(name: str, group: Path, folder: Path) -> str:
    """The example's network probes for the processes of the cgroup, with all that it keeps in the folder's `state`.

    What traces needs a guest: tests/guest/test_examples.py runs that.
    """
    toml = (CONFIG / name).read_text().replace("/var/lib/ingrain", str(folder / "state"))
    toml = _SEEING.sub(rf'\g<0>\ncgroup = "{group.name}"', _TRACING.sub("", toml))
    toml = _AGENT.sub('type = "Agent"\ninterval_s = 1', toml).replace("interval_s = 10", "interval_s = 1")
    return f'[agent]\nsocket = "{folder / "status.sock"}"\n' + toml
