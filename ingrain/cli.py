"""The command line: `run`, `check`, `replay`, `status` and `doctor`; `query`, `ask` and `schema` are in ingrain/query.

Exit codes: 0 done as asked; 1 the agent could not do its work, or is not well; 2 the command or the configuration is
wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
from pathlib import Path
from typing import get_args

from ingrain import __version__, config, report, signals
from ingrain.account import Account
from ingrain.agent import AgentError
from ingrain.config import Config, ConfigError, LogConfig
from ingrain.grains import GRAINS
from ingrain.kernel.loaders import Loader
from ingrain.pipeline import PipelineError
from ingrain.query import arguments as asking
from ingrain.query.errors import QueryError, UsageError
from ingrain.service import Service
from ingrain.status import SOCKET, StatusError, ask
from ingrain.syslog import DEV_LOG, Lines, Syslog

_DESCRIPTION = """\
ingrain sees which names are looked up, which TLS connections are opened, how much each process sends, who touches
which files, what runs and what containers print, on all of this host, and takes it through pipelines to StatsD or S3.
"""

_EPILOG = """\
a first look:
  ingrain doctor                      can the probes run here? if not, what would mend it?
  ingrain check config/archive.toml   what would this configuration do? what is wrong with it?
  ingrain run config/archive.toml     do it, until Ctrl-C; then tell what became of every event
  ingrain status                      is the agent that runs here well? what became of its events so far?
  ingrain replay traffic.pcapng --config config/archive.toml
                                      the same with the packets of a capture
  ingrain ask who-accessed /etc/passwd --archive s3://logs/eu
                                      a question to what agents wrote; `ingrain ask` lists those that there are

exit codes: 0 done, 1 the agent could not do its work or is not well, 2 the command or the configuration is wrong
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
    commands = {"run": _run, "check": _check, "replay": _replay, "status": _status, "top": _top, "doctor": _doctor}
    commands |= dict.fromkeys(asking.COMMANDS, asking.run)
    try:
        return commands[options.command](options)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{options.file}:{problem}", file=sys.stderr)
        return 2
    except QueryError as error:
        print(f"ingrain: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:  # of what it prints: /dev/full
        print(f"ingrain: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("ingrain", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"ingrain {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run the agent until SIGINT or SIGTERM",
        formatter_class=raw,
        description="Run the agent in the foreground. SIGINT or SIGTERM ends it: probes are detached, buffers drained, "
        "pipelines flushed,\nand the account of every event is printed to stderr. SIGHUP has it read the file again: "
        "what is the same\nstays, what is another is replaced without loss; a file with a mistake changes nothing.",
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
    status = commands.add_parser(
        "status",
        help="show whether the running agent is well, and its account",
        formatter_class=raw,
        description="Ask the running agent what is wrong with it now, and what became of every event so far.\n"
        "Only root and the agent's own user may. Exit code 0 only where nothing is wrong.",
    )
    status.add_argument("--socket", metavar="PATH", default=SOCKET, help=f"where to ask; else {SOCKET}")
    status.add_argument("--json", action="store_true", help="for machines")
    top = commands.add_parser(
        "top",
        help="show what is seen, as it is seen",
        formatter_class=raw,
        description="Show, once a second, rates and losses of each probe, and who sends, looks up, opens and prints\n"
        "what. It watches the running agent; where none answers, it runs probes of its own until it is ended.",
    )
    top.add_argument("--socket", metavar="PATH", default=SOCKET, help=f"the agent's; else {SOCKET}")
    top.add_argument("--probe", action="append", choices=GRAINS, help="run only these probes, and watch no agent")
    top.add_argument("--cgroup", metavar="PATH", help="see only its processes, by probes of top's own")
    doctor = commands.add_parser(
        "doctor",
        help="show which probes can run on this host",
        formatter_class=raw,
        description="Try every probe, or those named, on a cgroup made for the trial, and say by which hooks it\n"
        "runs, or why not and what would mend it. Exit code 1 where no probe runs.",
    )
    doctor.add_argument("probes", metavar="PROBE", nargs="*", help=f"only these; there are {', '.join(GRAINS)}")
    doctor.add_argument(
        "--loader", choices=get_args(Loader), default="auto", help="which object of each probe; auto by default"
    )
    doctor.add_argument("--json", action="store_true", help="for machines")
    asking.add(commands)
    return parser


def _check(options: argparse.Namespace) -> int:
    loaded = config.load(options.file)
    _warn(options.file, loaded)
    for problem in loaded.lacking():  # it may be for another host
        print(f"{options.file}:{problem} (warning: here `run` would refuse the file for this)", file=sys.stderr)
    print(config.describe(loaded))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from ingrain import doctor  # noqa: PLC0415 the other commands do not need it

    unknown = sorted(set(options.probes) - set(GRAINS))
    if unknown:
        print(f"ingrain: there is no probe {', '.join(unknown)}; there are {', '.join(GRAINS)}", file=sys.stderr)
        return 2
    host, found = doctor.examine(options.probes, options.loader)
    print(doctor.as_json(host, found) if options.json else doctor.text(host, found))
    return 0 if any(one.runs for one in found) else 1


def _run(options: argparse.Namespace) -> int:
    loaded = config.load(options.file)
    _start_logging(loaded.log)
    _warn(options.file, loaded)
    try:
        account = Service(options.file, loaded, _start_logging).run()
    except AgentError as error:
        print(f"ingrain: {error}", file=sys.stderr)
        return 1
    except PipelineError as error:
        print(f"ingrain: {error}", file=sys.stderr)
        return 2
    return _tell(account, options.account)


def _tell(account: Account, path: Path | None) -> int:
    """The account to stderr and, where that is asked for, to a file first: stderr may be gone."""
    written = 0 if path is None else _write(path, account)
    print(report.table(account), file=sys.stderr)
    return written


def _replay(options: argparse.Namespace) -> int:
    from ingrain.capture import Capture, CaptureError  # noqa: PLC0415 the other commands do not need it
    from ingrain.replay import Replay  # noqa: PLC0415 likewise

    loaded = config.load(options.file)
    _start_logging(loaded.log)
    _warn(options.file, loaded)
    try:
        with Capture(options.capture) as capture:
            signals.hold()  # from here on they end it in order; until here there is nothing to be ended
            account, broken = Replay(loaded).run(capture)
    except (AgentError, CaptureError) as error:
        print(f"ingrain: {error}", file=sys.stderr)
        return 1
    except PipelineError as error:
        print(f"ingrain: {error}", file=sys.stderr)
        return 2
    written = _tell(account, options.account)
    if broken:
        print(f"ingrain: {broken}", file=sys.stderr)
    return 1 if broken else written


def _status(options: argparse.Namespace) -> int:
    try:
        status = ask(options.socket)
    except StatusError as error:
        print(f"ingrain: {error}", file=sys.stderr)
        return 1
    print(report.as_json(status) if options.json else report.state(status))
    return 1 if status.problems else 0


def _top(options: argparse.Namespace) -> int:
    try:
        from ingrain import top  # noqa: PLC0415 the other commands do not need it
    except ModuleNotFoundError as error:
        print(f"ingrain: `top` needs {error.name}: pip install 'ingrain[top]'", file=sys.stderr)
        return 1
    return top.show(options.socket, options.probe, options.cgroup)


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


def _start_logging(log: LogConfig) -> None:
    handler: logging.Handler = logging.StreamHandler()
    missing = None
    if log.type == "Syslog":
        try:
            handler = Syslog()
        except OSError as error:  # the agent is worth more than its log
            missing = error
    handler.setFormatter(Lines())
    # What libraries say in detail is theirs to know: boto3 tells tokens and signatures.
    logging.basicConfig(level=max(_LEVELS[log.level], logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("ingrain").setLevel(_LEVELS[log.level])
    if missing:
        what = "the log goes to stderr: %s cannot be used: %s. In a container, mount the host's there"
        logging.getLogger(__name__).warning(what, DEV_LOG, missing.strerror)
