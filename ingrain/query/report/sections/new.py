"""What was not seen in the baseline: the answer of `ingrain ask new-names`, the earliest first."""

from collections.abc import Sequence

from ingrain.query.question import Said
from ingrain.query.questions.new_names import NEW_NAMES
from ingrain.query.report.figures import IN_ALL, Figure, Row, Section
from ingrain.query.report.span import Span
from ingrain.query.report.table import table

_OF_A_KIND = 20
_KINDS = {
    "name": "DNS name",
    "sni": "server name (SNI)",
    "ja4": "client fingerprint (JA4)",
    "ja3s": "server fingerprint (JA3S)",
    "destination": "destination",
}

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


def _draw(span: Span, rows: Sequence[Row]) -> str:
    return table(span, [row | {"kind": _KINDS.get(row["kind"], row["kind"])} for row in rows])


NEW = Section(
    "new",
    "New in this period",
    "Names, fingerprints and destinations that were not seen in the baseline, the time right before this period: the "
    f"first {_OF_A_KIND} of each kind.",
    (
        Figure(
            "new",
            "",
            _SQL,
            _draw,
            lambda span: NEW_NAMES.parameters(_said(span)),
            lambda span: NEW_NAMES.windows(_said(span)),
            empty="Nothing new: all names, fingerprints and destinations of this period are in the baseline, too.",
        ),
    ),
    ("DNS", "TLS", "Network"),
)
