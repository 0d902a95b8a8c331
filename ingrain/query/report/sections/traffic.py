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
    "TCP and UDP payload, as processes sent and received it; headers and retransmissions are not counted.",
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
            f"Top {ROWS} processes by bytes",
            _TALKERS,
            lambda span, rows: table(span, rows, "bytes"),
            lambda _span: {"limit": ROWS},
        ),
    ),
    ("Network",),
)
