"""What the dashboards show, said once: groups of charts over what `config/datadog.toml` has the agent send.

`datadog.py` and `grafana.py` say it in the words of each; `make dashboards` writes their files.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

WHOSE = ("namespace", "pod", "container", "process")
"""Tags by which all charts of what was seen can be narrowed down."""


class Form(Enum):
    """How a chart looks.

    What happened in each moment (of the ten series with the most), the ten highest of the whole time, one number for
    it, or what was not there when it began (Datadog's dashboards cannot tell that: its monitors do).
    """

    BARS = auto()
    TOP = auto()
    NUMBER = auto()
    NEW = auto()


class Unit(Enum):
    """What is counted."""

    EVENTS = auto()
    BYTES = auto()
    NS = auto()


@dataclass(frozen=True, slots=True)
class Value:
    """A measurement's value, by its StatsD name: `dns.query`, or `volume.out.packets` for a column other than `value`.

    where: only series whose tags have these values, which `|` separates; `*` is any text, `!VALUES`: none of them.
    """

    name: str
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    values: by what each is called. by: the tags that tell series apart. over: each value is divided by it. gauge: the
    highest of the series counts, not their sum. alarming: it should be 0. about: what its title does not say.
    """

    title: str
    form: Form
    values: dict[str, Value]
    by: tuple[str, ...] = ()
    over: Value | None = None
    unit: Unit = Unit.EVENTS
    gauge: bool = False
    alarming: bool = False
    about: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Charts under one heading. narrowed: whether they can be narrowed down by `WHOSE`."""

    title: str
    charts: tuple[Chart, ...]
    narrowed: bool = True


def bars(
    title: str, *by: str, unit: Unit = Unit.EVENTS, over: Value | None = None, about: str = "", **values: Value
) -> Chart:
    """What happened in each moment; `by` these tags, where there are any."""
    return Chart(title, Form.BARS, _called(values), by, over, unit, about=about)


def top(title: str, value: Value, *by: str, unit: Unit = Unit.EVENTS, about: str = "") -> Chart:
    """The ten highest of the whole time."""
    return Chart(title, Form.TOP, {"": value}, by, unit=unit, about=about)


def new(title: str, value: Value, *by: str) -> Chart:
    """What was not there when the time began."""
    return Chart(title, Form.NEW, {"": value}, by, about="In the selected time range, and not at its beginning.")


def number(title: str, value: Value, unit: Unit = Unit.EVENTS) -> Chart:
    """The whole time in one number."""
    return Chart(title, Form.NUMBER, {"": value}, unit=unit)


def alarm(title: str, value: Value, about: str) -> Chart:
    """A number that should be 0."""
    return Chart(title, Form.NUMBER, {"": value}, alarming=True, about=about)


def highest(title: str, value: Value, *by: str, unit: Unit = Unit.EVENTS, about: str = "") -> Chart:
    """A gauge: the highest in each moment."""
    return Chart(title, Form.BARS, {"": value}, by, unit=unit, gauge=True, about=about)


def _called(values: dict[str, Value]) -> dict[str, Value]:
    return {name.replace("_", " "): value for name, value in values.items()}


HELLO, ANSWERED = "tls.handshake.clienthello", "tls.handshake.serverhello"

GROUPS = (
    Group(
        "Is the record complete?",
        (
            alarm("Events lost", Value("ingrain.events.lost"), "Kernel buffers were full: what happened is not known."),
            alarm("Records lost", Value("ingrain.records.lost"), "A step or a backend could not pass records on."),
            alarm(
                "Records refused",
                Value("ingrain.records.refused"),
                "Turned away by a pipeline that is full: its backend is slower than what comes in.",
            ),
        ),
        narrowed=False,
    ),
    Group(
        "Overview",
        (
            number("DNS queries", Value("dns.query")),
            number("TLS handshakes", Value(HELLO)),
            number("Bytes sent", Value("volume.out"), Unit.BYTES),
            number("Bytes received", Value("volume.in"), Unit.BYTES),
            number("Programs started", Value("process.exec")),
            number("Watched files opened", Value("file.open")),
            bars("Connections", opened=Value("connection.out"), accepted=Value("connection.in")),
            bars("Lines printed by pod", "namespace", "pod", value=Value("container.stdout", (("pod", "*"),))),
        ),
    ),
    Group(
        "DNS",
        (
            bars("Queries by process", "process", value=Value("dns.query")),
            bars("Answers by response code", "rcode", value=Value("dns.answer")),
            bars(
                "Mean time to answer by process",
                "process",
                unit=Unit.NS,
                value=Value("dns.answer.latency_ns", (("query_seen", "true"),)),
                over=Value("dns.answer", (("query_seen", "true"),)),
                about="Of answers whose query was seen.",
            ),
            top("Most queried names", Value("dns.query"), "q_name"),
            top(
                "Names that do not exist (NXDOMAIN)", Value("dns.answer", (("rcode", "NXDOMAIN"),)), "q_name", "process"
            ),
            top("Query types", Value("dns.query"), "q_type"),
            new("New names", Value("dns.query"), "q_name", "process"),
        ),
    ),
    Group(
        "TLS",
        (
            bars("Handshakes by process", "process", value=Value(HELLO)),
            bars("Negotiated versions", "tls_version", value=Value(ANSWERED)),
            top("Negotiated cipher suites", Value(ANSWERED), "ciphersuite"),
            top("Requested server names (SNI)", Value(HELLO), "sni"),
            top("Client fingerprints (JA4)", Value(HELLO), "ja4", "process"),
            new("New client fingerprints", Value(HELLO), "ja4", "process"),
            top(
                "Server names without a DNS look-up",
                Value(HELLO, (("sni_matches_dns", "false"),)),
                "sni",
                "process",
                about="The process did not look up the name before, or got another address for it.",
            ),
            top(
                "Encrypted DNS",
                Value(HELLO, (("encrypted_dns", "*"),)),
                "encrypted_dns",
                "process",
                about="Connections for DNS over TLS, QUIC or HTTPS: what they look up is not seen.",
            ),
        ),
    ),
    Group(
        "Network",
        (
            bars("Bytes sent by process", "process", unit=Unit.BYTES, value=Value("volume.out")),
            bars("Bytes received by process", "process", unit=Unit.BYTES, value=Value("volume.in")),
            top("Bytes sent by pod", Value("volume.out", (("pod", "*"),)), "namespace", "pod", unit=Unit.BYTES),
            top("Connections opened, by destination port", Value("connection.out"), "process", "d_port", "proto"),
            top("Connections accepted, by local port", Value("connection.in"), "process", "d_port", "proto"),
            bars("Packets", sent=Value("volume.out.packets"), received=Value("volume.in.packets")),
        ),
    ),
    Group(
        "Files",
        (
            bars(
                "Changes to watched files",
                written=Value("file.write.calls"),
                truncated=Value("file.truncate"),
                created=Value("file.create"),
                renamed=Value("file.rename"),
                linked=Value("file.link"),
                deleted=Value("file.delete"),
                mode=Value("file.chmod"),
                owner=Value("file.chown"),
                about="Below the directories that monitor_dirs names.",
            ),
            bars("Bytes read and written", unit=Unit.BYTES, read=Value("file.read"), written=Value("file.write")),
            top("Opens by path", Value("file.open"), "path", "process"),
            top("Bytes written by path", Value("file.write"), "path", "process", unit=Unit.BYTES),
            top("Deletions by path", Value("file.delete"), "path", "process"),
            top("Memory mappings by path", Value("file.mmap"), "path", "process"),
        ),
    ),
    Group(
        "Containers",
        (
            bars("Lines printed", stdout=Value("container.stdout"), stderr=Value("container.stderr")),
            bars(
                "Bytes printed",
                unit=Unit.BYTES,
                stdout=Value("container.stdout.bytes"),
                stderr=Value("container.stderr.bytes"),
            ),
            top("Lines to stdout by container", Value("container.stdout"), "namespace", "pod", "container"),
            top("Lines to stderr by container", Value("container.stderr"), "namespace", "pod", "container"),
            top("Bytes to stdout by image", Value("container.stdout.bytes"), "image", unit=Unit.BYTES),
        ),
    ),
    Group(
        "Processes",
        (
            bars("Programs started, processes ended", started=Value("process.exec"), ended=Value("process.exit")),
            top("Most started programs", Value("process.exec"), "executable"),
            top("Programs by parent process", Value("process.exec"), "parent", "executable"),
            top("Ended by a signal", Value("process.exit", (("signal", "*"),)), "process", "signal"),
            top(
                "Exit status other than 0",
                Value("process.exit", (("status", "*"), ("status", "!0"))),
                "process",
                "status",
            ),
            bars(
                "Mean run time",
                unit=Unit.NS,
                value=Value("process.exit.run_ns"),
                over=Value("process.exit"),
                about="Of the processes that ended.",
            ),
            top("Killed for lack of memory (OOM)", Value("process.oom"), "process", "container"),
        ),
    ),
    Group(
        "System calls",
        (
            bars(
                "Monitored calls", "syscall", value=Value("syscall.enter"), about="Those that monitor_syscalls names."
            ),
            top("Calls by process", Value("syscall.enter"), "syscall", "process"),
            top("Calls by 32-bit programs", Value("syscall.enter", (("abi", "i386"),)), "syscall", "process"),
            new("Calls new to a process", Value("syscall.enter"), "syscall", "process"),
        ),
    ),
    Group(
        "Health of the agent",
        (
            bars("Events received by probe", "probe", value=Value("ingrain.events.received")),
            bars("Events lost in the kernel by probe", "probe", value=Value("ingrain.events.lost")),
            bars("Malformed messages by probe", "probe", value=Value("ingrain.events.malformed")),
            bars("Records delivered by stage", "pipeline", "stage", value=Value("ingrain.records.delivered")),
            bars("Records lost by stage", "pipeline", "stage", value=Value("ingrain.records.lost")),
            bars("Records refused by pipeline", "pipeline", value=Value("ingrain.records.refused")),
            highest("Records waiting in inboxes", Value("ingrain.inbox.depth"), "pipeline", "stage"),
            highest(
                "Age at delivery",
                Value("ingrain.delivery.latency"),
                "pipeline",
                unit=Unit.NS,
                about="Of the oldest record of the latest delivery.",
            ),
            highest(
                "Waiting in spools",
                Value("ingrain.spool.bytes"),
                "pipeline",
                unit=Unit.BYTES,
                about="What a server did not take yet; beyond spool_max_mb the oldest is lost.",
            ),
        ),
        narrowed=False,
    ),
)
