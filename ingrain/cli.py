"""The command line: `run`, `check`, `replay`, `status`, `top` and `doctor`; what asks archives is in ingrain/query.

Exit codes: 0 success; 1 the command failed, or the agent is not well; 2 wrong usage, or mistakes in the configuration;
130 Ctrl-C; of questions to archives also 3, 143 and 129 (`ingrain.query.commands`, `ingrain.query.arguments`).
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
from pathlib import Path
from typing import get_args

from ingrain import __version__, config, extra, report, signals
from ingrain.account import Account
from ingrain.config import Config, ConfigError, LogConfig
from ingrain.grains import GRAINS
from ingrain.kernel.loaders import Loader
from ingrain.pipeline import PipelineError
from ingrain.query import arguments as asking
from ingrain.query.errors import QueryError, UsageError
from ingrain.status import SOCKET, StatusError, ask
from ingrain.syslog import DEV_LOG, Lines, Syslog

_DESCRIPTION = """\
ingrain monitors a Linux host with eBPF: DNS lookups, TLS handshakes, network traffic, file accesses, processes and the
output of containers. It sends what it sees through configurable pipelines to StatsD, S3, HTTP or files, and answers
questions about what it has archived.
"""

_EPILOG = """\
first steps:
  ingrain doctor                      which probes can run on this host? if not all, what is missing?
  ingrain check config/archive.toml   is this configuration valid, and what would it do?
  ingrain run config/archive.toml     run the agent until Ctrl-C, then print what became of every event
  ingrain status                      is the running agent healthy?
  ingrain top                         watch what it sees, live
  ingrain ask who-accessed /etc/passwd --archive s3://logs/eu
                                      query what agents have archived; `ingrain ask` lists the questions

`ingrain help COMMAND` explains a command.
exit codes: 0 success, 1 failed or unhealthy, 2 wrong usage or invalid configuration
"""

_RUN = """\
Run the agent in the foreground until SIGINT or SIGTERM. It then detaches its probes, drains buffers, flushes pipelines
and prints an account of every event to stderr. On SIGHUP it reloads the configuration: what has not changed keeps
running, the rest is replaced without loss. A file with mistakes is rejected, and changes nothing.

  ingrain run config/archive.toml
"""
_CHECK = """\
Check a configuration without loading anything: print the pipelines that it describes, or every mistake with its line.
The exit code is 2 if there are mistakes; warnings do not count.

  ingrain check config/archive.toml
"""
_REPLAY = """\
Send the packets of a capture through the same kernel programs and pipelines as live traffic, at full speed and with
their original timestamps. Nothing is attached. A capture does not tell which socket a packet belongs to, so process,
cgroup and direction are unknown, and only the probes DNS and TLS run.
The exit code is 1 if the capture cannot be read to its end; what could be read is delivered.

  ingrain replay traffic.pcapng --config config/archive.toml
  tcpdump -w - -c 1000 | ingrain replay - --config config/archive.toml
"""
_STATUS = """\
Ask the running agent whether it is healthy, and what became of every event so far. Only root and the agent's own user
may ask. The exit code is 0 only if nothing is wrong.

  ingrain status
  ingrain status --json | jq .problems
"""
_TOP = """\
Show live, in the terminal, the rates and losses of each probe, and which processes, names, files and containers are
most active. It watches the running agent; if there is none, it runs probes of its own while it is open.

  ingrain top
  ingrain top --probe DNS --probe TLS --cgroup /sys/fs/cgroup/system.slice
"""
_DOCTOR = """\
Try each probe on a cgroup created for the test, and report which kernel hooks it would use, or why it cannot run and
what to do about it. The exit code is 1 if no probe can run.

  ingrain doctor
  ingrain doctor Files Process
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
    commands |= {"help": _help} | dict.fromkeys(asking.COMMANDS, asking.run)
    try:
        return commands[options.command](options)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{options.file}:{problem}", file=sys.stderr)
        return 2
    except QueryError as error:
        print(f"ingrain: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        return asking.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:  # of what it prints: /dev/full
        print(f"ingrain: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ingrain", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"ingrain {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, about: str, description: str) -> argparse.ArgumentParser:
        raw = argparse.RawDescriptionHelpFormatter
        added: argparse.ArgumentParser = commands.add_parser(
            name, help=about, description=description, formatter_class=raw
        )
        return added

    run = add("run", "run the agent", _RUN)
    run.add_argument("file", type=Path, metavar="FILE", help="the configuration (TOML)")
    run.add_argument("--account", type=Path, metavar="PATH", help="also write the final account to PATH, as JSON")
    check = add("check", "validate a configuration and show what it would do", _CHECK)
    check.add_argument("file", type=Path, metavar="FILE", help="the configuration (TOML)")
    replay = add("replay", "process the packets of a capture file", _REPLAY)
    replay.add_argument("capture", metavar="CAPTURE", help="pcap or pcapng, optionally gzipped; - reads standard input")
    replay.add_argument(
        "--config", dest="file", type=Path, metavar="FILE", required=True, help="the configuration (TOML)"
    )
    replay.add_argument("--account", type=Path, metavar="PATH", help="also write the account to PATH, as JSON")
    status = add("status", "show the health and the account of the running agent", _STATUS)
    status.add_argument("--socket", metavar="PATH", default=SOCKET, help=f"the agent's socket; default: {SOCKET}")
    status.add_argument("--json", action="store_true", help="print JSON")
    status.add_argument(
        "--alive", action="store_true", help="exit with 0 unless it hangs or does not answer; for liveness probes"
    )
    top = add("top", "watch live what the agent sees", _TOP)
    top.add_argument("--socket", metavar="PATH", help=f"the agent's socket; default: {SOCKET}, if an agent is there")
    top.add_argument(
        "--probe", action="append", choices=GRAINS, help="run only this probe (repeatable), watch no agent"
    )
    top.add_argument("--cgroup", metavar="PATH", help="watch only processes in this cgroup, by probes of top's own")
    doctor = add("doctor", "find out which probes can run on this host", _DOCTOR)
    doctor.add_argument("probes", metavar="PROBE", nargs="*", help=f"only these: {', '.join(GRAINS)}")
    doctor.add_argument(
        "--loader", choices=get_args(Loader), default="auto", help="which build of each probe to load; default: auto"
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    asking.add(commands)
    explain = commands.add_parser("help", help="explain a command")
    explain.add_argument("about", metavar="COMMAND", nargs="?", choices=commands.choices, help="the command to explain")
    return parser


def _help(options: argparse.Namespace) -> int:
    _parser().parse_args([options.about, "--help"] if options.about else ["--help"])  # which exits
    return 0


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
    from ingrain.agent import AgentError  # noqa: PLC0415 the other commands do not need it
    from ingrain.service import Service  # noqa: PLC0415 likewise

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
    from ingrain.agent import AgentError  # noqa: PLC0415 the other commands do not need it
    from ingrain.capture import Capture, CaptureError  # noqa: PLC0415 likewise
    from ingrain.replay import Replay  # noqa: PLC0415 likewise

    loaded = config.load(options.file)
    _start_logging(loaded.log)
    _warn(options.file, loaded)
    try:
        with Capture(options.capture) as capture, signals.held():  # they end it in order, once it is open
            account, broken = Replay(loaded).run(capture)
            written = _tell(account, options.account)
    except (AgentError, CaptureError) as error:
        print(f"ingrain: {error}", file=sys.stderr)
        return 1
    except PipelineError as error:
        print(f"ingrain: {error}", file=sys.stderr)
        return 2
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
    return 1 if (status.hung if options.alive else status.problems) else 0


def _top(options: argparse.Namespace) -> int:
    try:
        from ingrain import top  # noqa: PLC0415 the other commands do not need it
    except ModuleNotFoundError as error:
        print(f"ingrain: {extra.missing(error.name or 'textual', 'top')}", file=sys.stderr)
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
