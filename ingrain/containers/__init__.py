"""Which container a record comes from: cgroup ids to names, by cgroups' paths and what engines have on record.

`Containers` (thread.py) is what the agent owns and grains ask; `nothing` makes the same columns without one. `Waiting`
keeps a probe's records for as long as their container is being looked for.
"""

from ingrain.containers.identity import COLUMNS, NAMES, nothing
from ingrain.containers.thread import Containers
from ingrain.containers.waiting import Waiting

__all__ = ["COLUMNS", "NAMES", "Containers", "Waiting", "nothing"]
