"""What containers print, how much and how fast."""

from ingrain.query.report.figures import Figure, Section, ranked
from ingrain.query.report.stacks import over_time
from ingrain.query.report.table import ROWS, table

_LINES = """
        SELECT timestamp, host, coalesce(container, container_id, 'unknown') AS container, value AS out, 0 AS err, bytes
        FROM container_stdout
        UNION ALL
        SELECT timestamp, host, coalesce(container, container_id, 'unknown'), 0, value, bytes FROM container_stderr"""

_CONTAINERS = ranked(
    f"""
    SELECT container, host, CAST(sum(out) AS BIGINT) AS stdout_lines, CAST(sum(err) AS BIGINT) AS stderr_lines,
        CAST(sum(bytes) AS BIGINT) AS bytes, round(sum(out + err) / $minutes, 2) AS lines_a_minute,
        max(timestamp) AS last
    FROM ({_LINES}
    )
    GROUP BY container, host""",  # noqa: S608 - constants
    "bytes DESC, container, host",
)

CONTAINERS = Section(
    "containers",
    "Containers",
    "Lines that containers wrote to stdout and stderr. Rates are averages over the period.",
    (
        over_time(
            "over_time",
            "Lines over time, by container",
            f"\n        SELECT timestamp, container AS series, out + err AS value FROM ({_LINES})",  # noqa: S608 - likewise
        ),
        Figure(
            "containers",
            "Most output",
            _CONTAINERS,
            lambda span, rows: table(span, rows, "bytes"),
            lambda span: {"limit": ROWS, "minutes": (span.until - span.since).total_seconds() / 60},
        ),
    ),
    ("Container",),
)
