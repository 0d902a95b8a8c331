"""Which programs ran."""

from ingrain.query.report.figures import WHO, Section, several
from ingrain.query.report.table import top

PROGRAMS = Section(
    "programs",
    "Programs",
    "Executables that were started, and the processes that started them.",
    (
        top(
            "programs",
            "Most started",
            f"""
    SELECT executable, CAST(sum(times) AS BIGINT) AS runs, {several("who", "started_by")}, min(first) AS first,
        max(last) AS last
    FROM (
        SELECT executable, {WHO} AS who, sum(value) AS times, min(timestamp) AS first, max(timestamp) AS last
        FROM (SELECT executable, parent AS process, container, timestamp, value FROM process_exec)
        WHERE executable IS NOT NULL
        GROUP BY ALL
    )
    GROUP BY executable""",  # noqa: S608 - constants
            order="runs DESC, executable",
            bar="runs",
        ),
    ),
    ("Process",),
)
