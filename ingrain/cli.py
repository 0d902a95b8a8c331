"""The command line: `run`, `check`, `replay` and `doctor`.

Exit codes: 0 done as asked; 1 the agent could not do its work; 2 the command or the configuration is wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import logging.handlers
import signal
import sys
from pathlib import Path
from typing import Any

from ingrain import config
from ingrain.__main__ import ENDING
from ingrain.account import Account
from ingrain.agent import Agent, AgentError
from ingrain.config import Config, ConfigError
from ingrain.grains import GRAINS

_DESCRIPTION = """\
ingrain sees which names are looked up, which TLS connections are opened, and how much each process sends,
in every container of this host, and takes it through pipelines to StatsD or S3.
"""

_EPILOG = """\
a first look:
  ingrain doctor                      can the probes run here? if not, what would mend it?
  ingrain check config/archive.toml   what would this configuration do? what is wrong with it?
  ingrain run config/archive.toml     do it, until Ctrl-C; then tell what became of every event
  ingrain replay traffic.pcapng --config config/archive.toml
                                      the same with the packets of a capture

exit codes: 0 done, 1 the agent could not do its work, 2 the command or the configuration is wrong
"""

_LEVELS = {
    "OFF": logging.CRITICAL + 1,
    "ERROR": logging.ERROR,
    "WARN": logging.WARNING,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "TRACE": logging.DEBUG,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not have every letter of a name
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    command = {"run": _run, "check": _check, "replay": _replay, "doctor": _doctor}[options.command]
    try:
        return command(options)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{options.file}:{problem}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:  # of what it prints: /dev/full
        print(f"ingrain: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("ingrain", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run the agent until SIGINT or SIGTERM",
        formatter_class=raw,
        description="Run the agent in the foreground. SIGINT or SIGTERM ends it: probes are detached, buffers drained, "
        "pipelines flushed,\nand the account of every event is printed to stderr.",
    )
    run.add_argument("file", type=Path, metavar="FILE", help="the configuration, TOML")
    run.add_argument("--account", type=Path, metavar="PATH", help="also write the final account there, as JSON")
    check = commands.add_parser(
        "check",
        help="check a configuration and show what it would do",
        formatter_class=raw,
        description="Print the graph that the configuration describes, or every mistake in it with its line.\n"
        "Nothing is loaded or attached. Exit code 2 where there is a mistake; warnings do not count.",
    )
    check.add_argument("file", type=Path, metavar="FILE", help="the configuration, TOML")
    replay = commands.add_parser(
        "replay",
        help="let the packets of a capture be seen",
        formatter_class=raw,
        description="Let the packets of a capture go through the same kernel programs and pipelines as live traffic,\n"
        "at full speed and with their own times. Nothing is attached. What is known by its socket (process, cgroup,\n"
        "direction) is unknown, and the Network probe, which counts at sockets, is left out.\n"
        "Exit code 1 where the capture cannot be read to its end; what could be read is delivered.",
    )
    replay.add_argument("capture", metavar="CAPTURE", help="pcap or pcapng, also gzip-compressed; - is standard input")
    replay.add_argument(
        "--config", dest="file", type=Path, metavar="FILE", required=True, help="the configuration, TOML"
    )
    replay.add_argument("--account", type=Path, metavar="PATH", help="also write the account there, as JSON")
    doctor = commands.add_parser(
        "doctor",
        help="show which probes can run on this host",
        formatter_class=raw,
        description="Try every probe, or those named, on a cgroup made for the trial, and say by which hooks it\n"
        "runs, or why not and what would mend it. Exit code 1 where no probe runs.",
    )
    doctor.add_argument("probes", metavar="PROBE", nargs="*", help=f"only these; there are {', '.join(GRAINS)}")
    doctor.add_argument("--json", action="store_true", help="for machines")
    return parser


def _check(options: argparse.Namespace) -> int:
    loaded = config.load(options.file)
    _warn(options.file, loaded)
    print(config.describe(loaded))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from ingrain import doctor  # noqa: PLC0415 the other commands do not need it

    unknown = sorted(set(options.probes) - set(GRAINS))
    if unknown:
        print(f"ingrain: there is no probe {', '.join(unknown)}; there are {', '.join(GRAINS)}", file=sys.stderr)
        return 2
    host, found = doctor.examine(options.probes)
    print(doctor.as_json(host, found) if options.json else doctor.text(host, found))
    return 0 if any(one.runs for one in found) else 1


def _run(options: argparse.Namespace) -> int:
    loaded = config.load(options.file)
    _start_logging(loaded)
    _warn(options.file, loaded)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    agent = Agent(loaded)
    try:
        agent.start()
    except AgentError as error:
        print(f"ingrain: {error}", file=sys.stderr)
        return 1
    except ValueError as error:  # a setting that the environment should have given
        print(f"ingrain: {error}", file=sys.stderr)
        return 2
    logging.getLogger(__name__).info("running; SIGINT or SIGTERM ends it")
    signal.sigwait(ENDING)
    return _tell(agent.stop(), options.account)


def _tell(account: Account, path: Path | None) -> int:
    """The account to stderr and, where that is asked for, to a file first: stderr may be gone."""
    written = 0 if path is None else _write(path, account)
    print(_table(account), file=sys.stderr)
    return written


def _replay(options: argparse.Namespace) -> int:
    from ingrain.capture import Capture, CaptureError  # noqa: PLC0415 the other commands do not need it
    from ingrain.replay import Replay  # noqa: PLC0415 likewise

    loaded = config.load(options.file)
    _start_logging(loaded)
    _warn(options.file, loaded)
    try:
        with Capture(options.capture) as capture:
            account, broken = Replay(loaded).run(capture)
    except (AgentError, CaptureError) as error:
        print(f"ingrain: {error}", file=sys.stderr)
        return 1
    except ValueError as error:  # as above
        print(f"ingrain: {error}", file=sys.stderr)
        return 2
    written = _tell(account, options.account)
    if broken:
        print(f"ingrain: {broken}", file=sys.stderr)
    return 1 if broken else written


def _write(path: Path, account: Account) -> int:
    try:
        path.write_text(json.dumps(account.document(), indent=2) + "\n")
    except OSError as error:
        print(f"ingrain: the account cannot be written to {path}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _warn(file: Path, loaded: Config) -> None:
    for warning in loaded.warnings:
        print(f"{file}:{warning} (warning)", file=sys.stderr)


def _start_logging(loaded: Config) -> None:
    handler: logging.Handler = logging.StreamHandler()
    missing = None
    if loaded.log.type == "Syslog":
        try:
            handler = logging.handlers.SysLogHandler("/dev/log")
        except OSError as error:  # the agent is worth more than its log
            missing = error
    handler.setFormatter(logging.Formatter("ingrain: %(levelname)s: %(message)s"))
    logging.basicConfig(level=_LEVELS[loaded.log.log_level], handlers=[handler], force=True)
    logging.getLogger("pykka").setLevel(logging.WARNING)
    if missing:
        logging.getLogger(__name__).warning("the log goes to stderr: /dev/log cannot be used (%s)", missing.strerror)


def _table(account: Account) -> str:
    """The account, aligned: a line a probe, a line a stage."""
    rows: list[tuple[str, ...]] = [
        ("probe", "handed over", "received", "lost", "parts", "malformed", "cut", "unfinished", "uncounted", "records")
    ]
    for probe in account.probes:
        seen = (probe.handed_over, probe.received, probe.lost, probe.parts, probe.malformed, probe.cut)
        cells = [f"{n:,}" for n in (*seen, probe.unfinished, probe.uncounted, probe.records)]
        faults = {"bytes uncounted": probe.uncounted_bytes, "failed": probe.failed, "bytes corrupt": probe.corrupt}
        faults |= {"runs missed": probe.missed, "readings of counts failed": probe.failed_polls}
        rows.append((probe.name, *cells, "  ".join(f"{name} {count:,}" for name, count in faults.items() if count)))
    text = _aligned(rows)
    if account.capture is not None:
        text = f"{_counts(account.capture)}\n\n{text}"
    rows = [("stage", "received", "delivered", "merged", "refused", "lost", "in flight")]
    for stations in account.pipelines.values():
        for s in stations:
            numbers = (s.received, s.delivered, s.merged, s.refused, s.lost, s.in_flight)
            spool = {"resumed": s.resumed, "spooled": s.spooled, "bytes spooled": s.spooled_bytes}
            told = {name: count for name, count in spool.items() if count} | s.detail
            detail = "  ".join(f"{name} {count:,}" for name, count in sorted(told.items()))
            rows.append((s.name, *(f"{number:,}" for number in numbers), detail))
    return f"{text}\n\n{_aligned(rows)}"


def _counts(capture: dict[str, Any]) -> str:
    """What became of a capture's packets, in a line: what was none of them is left out."""
    flat = [(name, count) for name, count in capture.items() if isinstance(count, int)]
    for name, counts in capture.items():
        if isinstance(counts, dict):
            flat += [(f"{name} ({which})", count) for which, count in counts.items()]
    return "packets  " + "  ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in flat if count)


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join(cells + list(row[len(widths) :])).rstrip())
    return "\n".join(lines)
