"""The arguments of `ingrain query`, `ask`, `report` and `schema`. What does them is imported when they are run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ingrain import extra, signals
from ingrain.query.errors import QueryError
from ingrain.text import harmless

_TIMES = """\
times (WHEN):
  1d, 90m, "2 hours ago", "an hour ago"     that long before now
  today, yesterday, monday, "last monday"   the start of that day
  "this week", "last month"                 the start of that week, month or year
  14:30, "yesterday 14:30"                  a time of day
  2026-03-01, "2026-03-01 14:30 UTC"        a date, also in ISO 8601
"""
_CODES = """\
exit codes: 0 answered, 1 failed, 2 wrong usage, 3 answered but incomplete (objects were left out), 130 interrupted
"""
_ANSWERED = f"""\
{_TIMES}Without a zone they are local, or in --timezone.

{_CODES}"""
_QUERY = """\
Query an archive in SQL (DuckDB's dialect). Each measurement is a table: dns_answer, or "dns.answer" in quotes.
Only the objects of the hours that --since, --until and the SQL's own conditions on timestamp, date and hour allow are
read, and of these only the columns that the query uses.

  ingrain query --archive /srv/archive "SELECT process, count(*) FROM dns_query GROUP BY ALL" --since 1d
  ingrain query --archive s3://logs/eu "SELECT * FROM file_open WHERE date = '2026-03-01' AND hour = 14"
  ingrain query --archive s3://logs/eu "DESCRIBE file_open"
"""
_ASK = """\
Ask an archive one of the ready questions. In names and paths, * matches any text.

  ingrain ask                                                  list all questions, with examples
  ingrain ask who-accessed /etc/passwd --since 1d --archive s3://logs/eu
  ingrain ask talked-to 203.0.113.0/24 --since yesterday --archive /srv/archive
"""
_REPORT = """\
Summarize an archive in one self-contained HTML file: traffic over time, who talks to whom, names, TLS, files,
containers, what is new, and gaps in the record. The file can be read without a network.

  ingrain report --archive s3://logs/eu --since yesterday --until today -o yesterday.html
"""
_SCHEMA = """\
Describe the tables of an archive, or print the statements that define them in another engine.

  ingrain schema dns.answer
  ingrain schema --dialect athena --location s3://logs/eu
"""


COMMANDS = ("query", "ask", "report", "schema")


_THREADS = 256
_ROWS = 1_000_000_000

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
        if error.name not in ("duckdb", "fsspec", "wcwidth"):
            raise
        raise QueryError(extra.missing(error.name, "query")) from error
    try:
        with signals.raised():  # what does not fit in memory is in a folder that would stay
            if options.command == "report":
                from ingrain.query.report import command  # noqa: PLC0415 - which the questions do not need

                return command.report(options)
            return commands.RUN[options.command](options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except signals.EndedError as ended:
        return ended.code


def add(commands: Any) -> None:
    """Add them to the commands (argparse's subparsers)."""
    raw = argparse.RawDescriptionHelpFormatter
    query = commands.add_parser(
        "query", help="query an archive in SQL", formatter_class=raw, description=_QUERY, epilog=_ANSWERED
    )
    query.add_argument("sql", metavar="SQL", help="one SELECT; - reads it from standard input")
    query.add_argument("--since", metavar="WHEN", help="only records from then on; default: from the first")
    query.add_argument("--until", metavar="WHEN", help="only records before then; default: to the last")
    query.add_argument(
        "--timezone",
        metavar="ZONE",
        help="zone of dates in the SQL and of times in tables, e.g. Europe/Berlin; default: UTC",
    )
    _where(query)
    _answer(query, "table")
    ask = commands.add_parser(
        "ask", help="ask an archive a ready question", formatter_class=raw, description=_ASK, epilog=_ANSWERED
    )
    ask.add_argument("question", metavar="QUESTION", nargs="?", help="one of those that `ingrain ask` lists")
    ask.add_argument("what", metavar="WHAT", nargs="?", default="", help="what it is about: a path, a name, an address")
    ask.add_argument("--since", metavar="WHEN", help="only records from then on; default: a day before --until")
    ask.add_argument("--until", metavar="WHEN", help="only records before then; default: now")
    ask.add_argument("--timezone", metavar="ZONE", help="zone of times in tables, e.g. Europe/Berlin; default: local")
    ask.add_argument(
        "--baseline",
        metavar="LENGTH",
        default="7d",
        help="new-names: the time before --since to compare with; default: 7d",
    )
    ask.add_argument("--limit", metavar="N", type=_whole(_ROWS), default=20, help="top-talkers: rows; default: 20")
    ask.add_argument("--follow", action="store_true", help="logs: keep printing new lines until Ctrl-C")
    ask.add_argument("--sql", action="store_true", help="print the SQL, for `ingrain query`, instead of running it")
    _where(ask)
    _answer(ask, "table; logs: lines")
    report = commands.add_parser(
        "report",
        help="summarize an archive in an HTML file",
        formatter_class=raw,
        description=_REPORT,
        epilog=f"{_TIMES}Without a zone they are local.\n\n{_CODES}",
    )
    report.add_argument("--since", metavar="WHEN", help="only records from then on; default: a day before --until")
    report.add_argument("--until", metavar="WHEN", help="only records before then; default: now")
    report.add_argument(
        "--baseline", metavar="LENGTH", default="7d", help="the time before --since to compare with; default: 7d"
    )
    report.add_argument(
        "-o", "--output", metavar="FILE", type=Path, default=Path("report.html"), help="default: report.html"
    )
    _where(report)
    schema = commands.add_parser(
        "schema", help="describe the tables of an archive", formatter_class=raw, description=_SCHEMA
    )
    schema.add_argument("measurements", metavar="MEASUREMENT", nargs="*", help="only these, e.g. dns.answer")
    schema.add_argument(
        "--dialect",
        choices=("markdown", "athena", "spark", "clickhouse"),
        default="markdown",
        help="the engine to print statements for; default: markdown, a description to read",
    )
    schema.add_argument(
        "--location",
        metavar="URL",
        default="s3://BUCKET/PREFIX",
        help="where the archive is, as that engine addresses it; default: s3://BUCKET/PREFIX, to be replaced",
    )


def _where(parser: argparse.ArgumentParser) -> None:
    where = parser.add_argument_group("the archive")
    where.add_argument("--archive", metavar="PLACE", help="a folder, or s3://BUCKET/PREFIX; default: $INGRAIN_ARCHIVE")
    where.add_argument(
        "--config",
        dest="file",
        type=Path,
        metavar="FILE",
        help="the archive that an agent with this configuration writes",
    )
    where.add_argument("--region", help="region of the bucket; default: as boto3 finds it")
    where.add_argument("--endpoint-url", metavar="URL", help="S3 server other than AWS's; default: as boto3 finds it")
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--memory-limit",
        metavar="SIZE",
        default="768MB",
        help="memory for DuckDB, beyond which it uses $TMPDIR; default: 768MB",
    )
    limits.add_argument("--threads", metavar="N", type=_whole(_THREADS), default=0, help="default: one per core")


def _answer(parser: argparse.ArgumentParser, default: str) -> None:
    answer = parser.add_argument_group("the answer")
    answer.add_argument(
        "--format",
        choices=("table", "csv", "json", "parquet"),
        help=f"default: by the name of --output, else {default}",
    )
    answer.add_argument("--output", type=Path, metavar="FILE", help="write the answer to a file")


def _whole(most: int) -> Callable[[str], int]:
    """What makes a whole number of a text. Raises argparse.ArgumentTypeError for what is none from 1 to this one."""

    def number(text: str) -> int:
        with suppress(ValueError):
            if 1 <= int(text) <= most:
                return int(text)
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {most}, found {harmless(text)!r}")

    return number
