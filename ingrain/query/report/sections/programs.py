"""Which programs ran."""

from ingrain.query.report.figures import Section
from ingrain.query.report.table import top

PROGRAMS = Section(
    "programs",
    "Programs",
    "Programs that were started, by what started them.",
    (
        top(
            "programs",
            "",
            """
    SELECT executable, count(*) AS runs, count(DISTINCT parent) AS parents, min(parent) AS a_parent,
        count(DISTINCT container) AS containers, min(timestamp) AS first, max(timestamp) AS last
    FROM process_exec
    WHERE executable IS NOT NULL
    GROUP BY executable""",
            order="runs DESC, executable",
            bar="runs",
        ),
    ),
)
