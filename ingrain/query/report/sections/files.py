"""Accesses to the paths that are watched."""

from ingrain.query.report.figures import WHO, Section, several, union
from ingrain.query.report.stacks import over_time
from ingrain.query.report.table import top

_CHANGES = ("truncate", "create", "rename", "link", "delete", "chmod", "chown")
_COUNTED = ("read", "write")  # in records of many calls, whose bytes they have

_OVER_TIME = union(
    [f"SELECT timestamp, '{action}' AS series, value FROM file_{action}" for action in ("open", "mmap", *_CHANGES)]  # noqa: S608 - constants
    + [f"SELECT timestamp, '{action}', calls FROM file_{action}" for action in _COUNTED]  # noqa: S608 - likewise
)
_EACH = union(
    [
        f"SELECT timestamp, path, process, container, '{action}' AS action, {number} FROM file_{action}"  # noqa: S608 - likewise
        for action, number in [
            *((one, "value AS times, 0 AS bytes") for one in ("open", "mmap", *_CHANGES)),
            *((one, "calls, value") for one in _COUNTED),
        ]
    ]
)


def _sum(column: str, action: str, name: str) -> str:
    return f"coalesce(sum({column}) FILTER (action = '{action}'), 0) AS {name}"


_SUMS = ("opens", "reads", "bytes_read", "writes", "bytes_written", "other_changes")

FILES = Section(
    "files",
    "Files",
    "Accesses to the paths that the Files probe watches. Reads and writes are numbers of calls.",
    (
        over_time("over_time", "Accesses over time", f"\n{_OVER_TIME}"),
        top(
            "paths",
            "Most accessed paths",
            f"""
    SELECT path, {", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in _SUMS)},
        {several("who", "accessed_by")}, max(last) AS last
    FROM (
        SELECT path, {WHO} AS who, {_sum("times", "open", "opens")}, {_sum("times", "read", "reads")},
            {_sum("bytes", "read", "bytes_read")}, {_sum("times", "write", "writes")},
            {_sum("bytes", "write", "bytes_written")},
            coalesce(sum(times) FILTER (action NOT IN ('open', 'mmap', 'read', 'write')), 0) AS other_changes,
            sum(times) AS times, max(timestamp) AS last
        FROM ({_EACH}
        )
        WHERE path IS NOT NULL
        GROUP BY ALL
    )
    GROUP BY path""",  # noqa: S608 - constants
            order="opens + reads + writes + other_changes DESC, path",
            bar="opens",
        ),
    ),
    ("Files",),
)
