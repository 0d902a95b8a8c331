"""What the agents report that they lost, by their own account (the probe `Agent`): SQL of rows, one a reading."""

from ingrain.query.report.figures import union

ACCOUNT = "ingrain."
"""How the names of the account's measurements begin."""

UNREADABLE = "bytes unreadable"
"""Of what is lost, what is not counted in events or records."""

_OF_PROBES = {
    "lost": "events lost",
    "missed": "program runs missed",
    "uncounted": "packets or calls not counted",
    "corrupt": UNREADABLE,
    "failed": "events not decoded",
}
_OF_STAGES = {"lost": "records lost", "refused": "records refused"}

LOSSES = union(
    [
        f"SELECT timestamp, host, '{what}' AS what, 'probe ' || probe AS place, value FROM ingrain_events_{name}"  # noqa: S608 - constants
        for name, what in _OF_PROBES.items()
    ]
    + [
        f"SELECT timestamp, host, '{what}', 'pipeline ' || pipeline || ', ' || stage, value FROM ingrain_records_{name}"  # noqa: S608 - likewise
        for name, what in _OF_STAGES.items()
    ]
)
"""Rows of `timestamp`, `host`, `what`, `place` and `value`; most values are 0."""
