"""Which container a record comes from: cgroup ids to names, by cgroups' paths and what engines have on record.

`Containers` (thread.py) is what the agent owns and grains ask; `nothing` makes the same columns without one.
"""

from ingrain.containers.identity import COLUMNS, nothing
from ingrain.containers.thread import Containers

__all__ = ["COLUMNS", "Containers", "nothing"]
