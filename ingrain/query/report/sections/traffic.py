"""How much went over the network, when, and by whom."""

from ingrain.query.questions.top_talkers import TOP_TALKERS
from ingrain.query.report.figures import Figure, Section
from ingrain.query.report.stacks import over_time
from ingrain.query.report.table import ROWS, table

_TALKERS = f"""
SELECT *, bytes_out + bytes_in AS bytes FROM ({TOP_TALKERS.sql}
)
ORDER BY bytes DESC, host, container, process"""  # noqa: S608 - constants

TRAFFIC = Section(
    "traffic",
    "Traffic",
    "Payload of TCP and UDP, as programs sent and received it.",
    (
        over_time(
            "over_time",
            "Bytes over time",
            """
        SELECT timestamp, 'sent' AS series, value FROM volume_out
        UNION ALL
        SELECT timestamp, 'received', value FROM volume_in""",
            in_bytes=True,
        ),
        Figure(
            "talkers",
            f"Who sends and receives the most: {ROWS} at most",
            _TALKERS,
            lambda _span, rows: table(rows, "bytes"),
            lambda _span: {"limit": ROWS},
        ),
    ),
)
