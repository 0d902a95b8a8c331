"""The arguments of `ingrain query`, `ask`, `report` and `schema`. What does them is imported when they are run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ingrain.query.errors import QueryError

_WHEN = 'times: "1d", "2 hours ago", "yesterday", "monday 14:30", "2026-03-01", ISO 8601; local where no zone is named'

_QUERY = """\
Ask an archive in SQL (DuckDB's). Each measurement is a table: dns_answer, or "dns.answer" in quotes.
Only the objects of --since and --until, and of them only the columns that the question needs, are read.

  ingrain query --archive /srv/archive "SELECT process, count(*) FROM dns_query GROUP BY ALL ORDER BY ALL" --since 1d
  ingrain query --archive s3://logs/eu "DESCRIBE file_open"
"""
_ASK = "Ask an archive a ready question. Without one, all are listed, with examples. In names, * is any text."
_REPORT = """\
Make one HTML file of an archive: traffic over time, who talks to whom, names, TLS, files, containers, what is new, and
gaps in the record. It needs no network to be read, and DuckDB does the sums, so it may be a day of many hosts.

  ingrain report --archive s3://logs/eu --since yesterday --until today -o yesterday.html
"""
_SCHEMA = "Print the tables that an archive has, or what makes another engine know them."


COMMANDS = ("query", "ask", "report", "schema")


INTERRUPTED = 130
"""The exit code where a question is ended by Ctrl-C: as shells have it, 128 and SIGINT's number."""


def run(options: argparse.Namespace) -> int:
    """Do one of them; the exit code. Raises QueryError, and ConfigError of a configuration with mistakes."""
    if options.command == "schema":
        from ingrain.query import tables  # noqa: PLC0415 - an agent needs neither

        return tables.schema(options)
    try:
        from ingrain.query import commands  # noqa: PLC0415 - and this needs DuckDB
    except ImportError as error:
        if error.name not in ("duckdb", "fsspec"):
            raise
        raise QueryError(
            f"{error.name} is not installed, without which no archive can be asked. Install it with the extra `query`: "
            "pip install 'ingrain[query]'"
        ) from error
    if options.command == "report":
        from ingrain.query.report import command  # noqa: PLC0415 - which the questions do not need

        return command.report(options)
    try:
        return commands.RUN[options.command](options)
    except KeyboardInterrupt:
        return INTERRUPTED


def add(commands: Any) -> None:
    """Add them to the commands (argparse's subparsers)."""
    raw = argparse.RawDescriptionHelpFormatter
    query = commands.add_parser(
        "query", help="ask an archive in SQL", formatter_class=raw, description=_QUERY, epilog=_WHEN
    )
    query.add_argument("sql", metavar="SQL", help="one SELECT; - reads it from standard input")
    query.add_argument("--since", metavar="WHEN", help="only records from then on; all by default")
    _where(query)
    _answer(query)
    ask = commands.add_parser(
        "ask", help="ask an archive a ready question", formatter_class=raw, description=_ASK, epilog=_WHEN
    )
    ask.add_argument("question", metavar="QUESTION", nargs="?", help="which one")
    ask.add_argument("what", metavar="WHAT", nargs="?", default="", help="what it is about")
    ask.add_argument("--since", metavar="WHEN", default="1d", help="only records from then on; 1d by default")
    ask.add_argument("--baseline", metavar="LENGTH", default="7d", help="of new-names: the time before; 7d by default")
    ask.add_argument("--limit", metavar="N", type=_positive, default=20, help="of top-talkers; 20 by default")
    ask.add_argument("--follow", action="store_true", help="of logs: go on with what comes, until Ctrl-C")
    ask.add_argument("--sql", action="store_true", help="print the question's SQL, and do not ask it")
    _where(ask)
    _answer(ask)
    report = commands.add_parser(
        "report", help="make an HTML page of an archive", formatter_class=raw, description=_REPORT, epilog=_WHEN
    )
    report.add_argument("--since", metavar="WHEN", default="1d", help="only records from then on; 1d by default")
    report.add_argument(
        "--baseline", metavar="LENGTH", default="7d", help="the time before, in which nothing is new; 7d"
    )
    report.add_argument(
        "-o", "--output", metavar="FILE", type=Path, default=Path("report.html"), help="report.html by default"
    )
    _where(report)
    schema = commands.add_parser("schema", help="print the tables of an archive", description=_SCHEMA)
    schema.add_argument("measurements", metavar="MEASUREMENT", nargs="*", help="only these")
    schema.add_argument(
        "--dialect",
        choices=("markdown", "athena", "spark", "clickhouse"),
        default="markdown",
        help="statements for this engine; else a page for people",
    )
    schema.add_argument(
        "--location", metavar="URL", default="s3://BUCKET/PREFIX", help="where the archive is, as that engine says it"
    )


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--until", metavar="WHEN", help="only records from before then; now by default")
    where = parser.add_argument_group("the archive")
    where.add_argument("--archive", metavar="PLACE", help="a folder, or s3://BUCKET/PREFIX; else INGRAIN_ARCHIVE")
    where.add_argument("--config", dest="file", type=Path, metavar="FILE", help="that of the agent which writes it")
    where.add_argument("--region", help="of the bucket; else as boto3 finds it")
    where.add_argument("--endpoint-url", metavar="URL", help="of a server other than AWS's; else as boto3 finds it")
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--memory-limit", metavar="SIZE", default="768MB", help="what does not fit goes to TMPDIR; 768MB by default"
    )
    limits.add_argument("--threads", metavar="N", type=_positive, default=0, help="as many as there are cores, else")


def _answer(parser: argparse.ArgumentParser) -> None:
    answer = parser.add_argument_group("the answer")
    answer.add_argument("--format", choices=("table", "csv", "json", "parquet"), help="table by default")
    answer.add_argument("--output", type=Path, metavar="FILE", help="write it there; its name may tell the format")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
