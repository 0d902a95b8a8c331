"""What was never seen in the time before: the answer of `ingrain ask new-names`, the earliest first."""

from ingrain.query.question import Said
from ingrain.query.questions.new_names import NEW_NAMES
from ingrain.query.report.figures import IN_ALL, Figure, Section
from ingrain.query.report.span import Span
from ingrain.query.report.table import table

_OF_A_KIND = 20

_SQL = f"""
SELECT * EXCLUDE (rank) FROM (
    SELECT *, row_number() OVER (PARTITION BY kind ORDER BY first_seen, value) AS rank, count(*) OVER () AS {IN_ALL}
    FROM ({NEW_NAMES.sql}
    )
)
WHERE rank <= {_OF_A_KIND}
ORDER BY kind, first_seen, value"""  # noqa: S608 - constants


def _said(span: Span) -> Said:
    return Said("", span.since, span.until, span.baseline)


NEW = Section(
    "new",
    "New",
    f"Names, TLS names, fingerprints and destinations that were not seen in the baseline before: {_OF_A_KIND} of each "
    "kind at most. Where there is no record of that time, all is new.",
    (
        Figure(
            "new",
            "",
            _SQL,
            lambda _span, rows: table(rows),
            lambda span: NEW_NAMES.parameters(_said(span)),
            lambda span: NEW_NAMES.windows(_said(span)),
        ),
    ),
)
