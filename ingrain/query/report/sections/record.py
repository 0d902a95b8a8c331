"""The record itself: what there is of it, when there is none, and what the agents say they lost."""

from collections.abc import Mapping, Sequence
from typing import Any

from ingrain.query.report import strips
from ingrain.query.report.figures import Figure, Section, ranked, union
from ingrain.query.report.span import Span, microseconds
from ingrain.query.report.stacks import over_time
from ingrain.query.report.table import ROWS, table, top
from ingrain.query.schema import literal, quoted

HOSTS = 20
"""Of how many there is a strip: those with most gaps."""

_OF_PROBES = ("lost", "missed", "uncounted", "corrupt", "failed")
_OF_STAGES = ("lost", "refused")

_LOSSES = union(
    [
        f"SELECT timestamp, host, 'events {name}' AS what, 'probe ' || probe AS place, value FROM ingrain_events_{name}"  # noqa: S608 - constants
        for name in _OF_PROBES
    ]
    + [
        f"SELECT timestamp, host, 'records {name}', pipeline || ': ' || stage, value FROM ingrain_records_{name}"  # noqa: S608 - likewise
        for name in _OF_STAGES
    ]
)


def record(measurements: Sequence[str]) -> Section:
    """Of an archive that has these measurements."""
    # What an empty archive has, too; DuckDB has to be told of a table at least.
    all_of_it = union([_rows(name) for name in measurements or ["ingrain.events.lost"]])
    return Section(
        "record",
        "The record, and its gaps",
        "When there are records of each host. A host that has none may have been quiet: with the probe Agent in the "
        "pipeline that writes the archive it never is, and what was lost is known as well.",
        (
            Figure("hosts", f"Gaps, of the {HOSTS} hosts with most of them", _hosts(all_of_it), strips.draw, _in_hosts),
            Figure("gaps", "The longest gaps", _gaps(all_of_it), lambda _span, rows: table(rows, "gap_s"), _in_gaps),
            top(
                "losses",
                "Losses, as the agents told them",
                f"""
    SELECT host, what, place, CAST(sum(value) AS BIGINT) AS lost, min(timestamp) AS first, max(timestamp) AS last
    FROM ({_LOSSES}
    )
    WHERE value > 0
    GROUP BY host, what, place""",  # noqa: S608 - constants
                order="lost DESC, host, what, place",
                bar="lost",
            ),
            over_time(
                "over_time",
                "Records over time",
                f"\n        SELECT timestamp, split_part(measurement, '.', 1) AS series, 1 AS value FROM ({all_of_it})",  # noqa: S608 - quoted
            ),
            Figure(
                "measurements",
                "What the archive has",
                _measurements(all_of_it),
                lambda _span, rows: table(rows, "records"),
                lambda _span: {"limit": 2 * ROWS},
            ),
        ),
    )


def _rows(measurement: str) -> str:
    return f"SELECT {literal(measurement)} AS measurement, host, timestamp FROM {quoted(measurement)}"  # noqa: S608 - quoted


def _hosts(all_of_it: str) -> str:
    """Of each host and bucket: in how many of the fine ones there is a record, and how much was lost."""
    return f"""
WITH heard AS (
    SELECT host, (epoch_us(timestamp) - $first_us) // $fine_us AS fine, 0 AS lost FROM ({all_of_it})
    GROUP BY ALL
    UNION ALL
    SELECT host, (epoch_us(timestamp) - $first_us) // $fine_us, sum(value) FROM ({_LOSSES})
    WHERE value > 0
    GROUP BY ALL
), hosts AS (
    SELECT host, count(DISTINCT fine) AS heard, sum(lost) AS lost FROM heard
    GROUP BY host
    ORDER BY heard, lost DESC, host
    LIMIT $limit
)
SELECT heard.host, fine // $fines AS bucket, count(DISTINCT fine) AS heard, CAST(sum(heard.lost) AS BIGINT) AS lost
FROM heard JOIN hosts ON heard.host = hosts.host
GROUP BY heard.host, bucket
ORDER BY min(hosts.heard), heard.host, bucket"""  # noqa: S608 - quoted


def _gaps(all_of_it: str) -> str:
    """Times without a record, from the fine bucket after one to that of the next; at both ends, too."""
    gaps = f"""
    SELECT host, make_timestamptz(greatest($since_us, $first_us + (fine + 1) * $fine_us)) AS since,
        make_timestamptz(least($until_us, $first_us + next * $fine_us)) AS until,
        (epoch_us(until) - epoch_us(since)) // 1000000 AS gap_s
    FROM (
        SELECT host, fine, lead(fine, 1, $fine_count) OVER (PARTITION BY host ORDER BY fine) AS next
        FROM (
            SELECT host, (epoch_us(timestamp) - $first_us) // $fine_us AS fine FROM ({all_of_it})
            UNION
            SELECT host, -1 FROM ({all_of_it})
        )
    )
    WHERE next > fine + 1 AND until > since"""  # noqa: S608 - quoted
    return ranked(gaps, "gap_s DESC, host, since")


def _measurements(all_of_it: str) -> str:
    return ranked(
        f"""
    SELECT measurement, count(*) AS records, count(DISTINCT host) AS hosts, min(timestamp) AS first,
        max(timestamp) AS last
    FROM ({all_of_it})
    GROUP BY measurement""",  # noqa: S608 - quoted
        "records DESC, measurement",
    )


def _fine(span: Span) -> dict[str, int]:
    return {"first_us": microseconds(span.first), "fine_us": round(span.fine.total_seconds() * 1e6)}


def _in_hosts(span: Span) -> Mapping[str, Any]:
    return _fine(span) | {"fines": span.step // span.fine, "limit": HOSTS}


def _in_gaps(span: Span) -> Mapping[str, Any]:
    ends = {"since_us": microseconds(span.since), "until_us": microseconds(span.until)}
    return _fine(span) | ends | {"fine_count": span.fine_count, "limit": ROWS}
