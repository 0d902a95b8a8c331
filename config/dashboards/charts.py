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

    What happened in each moment, the ten highest of the whole time, one number for it, or what was not there when it
    began (Datadog's dashboards cannot tell that: its monitors do).
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

    where: only series whose tags have these values; `*`: whatever it is, `!VALUE`: any but that.
    """

    name: str
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    values: by what each is called. by: the tags that tell series apart. over: each value is divided by it. gauge: the
    highest of the series counts, not their sum.
    """

    title: str
    form: Form
    values: dict[str, Value]
    by: tuple[str, ...] = ()
    over: Value | None = None
    unit: Unit = Unit.EVENTS
    gauge: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Charts under one heading. narrowed: whether they can be narrowed down by `WHOSE`."""

    title: str
    charts: tuple[Chart, ...]
    narrowed: bool = True


def bars(title: str, *by: str, unit: Unit = Unit.EVENTS, over: Value | None = None, **values: Value) -> Chart:
    """What happened in each moment; `by` these tags, where there are any."""
    return Chart(title, Form.BARS, _called(values), by, over, unit)


def top(title: str, value: Value, *by: str, unit: Unit = Unit.EVENTS) -> Chart:
    """The ten highest of the whole time."""
    return Chart(title, Form.TOP, {"": value}, by, unit=unit)


def new(title: str, value: Value, *by: str) -> Chart:
    """What was not there when the time began."""
    return Chart(title, Form.NEW, {"": value}, by)


def number(title: str, value: Value, unit: Unit = Unit.EVENTS) -> Chart:
    """The whole time in one number."""
    return Chart(title, Form.NUMBER, {"": value}, unit=unit)


def highest(title: str, value: Value, *by: str, unit: Unit = Unit.EVENTS) -> Chart:
    """A gauge: the highest in each moment."""
    return Chart(title, Form.BARS, {"": value}, by, unit=unit, gauge=True)


def _called(values: dict[str, Value]) -> dict[str, Value]:
    return {name.replace("_", " "): value for name, value in values.items()}


HELLO, ANSWERED = "tls.handshake.clienthello", "tls.handshake.serverhello"
LOST = {"events": Value("ingrain.events.lost"), "records": Value("ingrain.records.lost")}

GROUPS = (
    Group(
        "Overview",
        (
            number("Names asked for", Value("dns.query")),
            number("TLS handshakes", Value(HELLO)),
            number("Bytes sent", Value("volume.out"), Unit.BYTES),
            number("Bytes received", Value("volume.in"), Unit.BYTES),
            number("Programs begun", Value("process.exec")),
            number("Watched files opened", Value("file.open")),
            bars("Connections", opened=Value("connection.out"), accepted=Value("connection.in")),
            bars("Lines printed", "namespace", "pod", value=Value("container.stdout")),
        ),
    ),
    Group(
        "DNS",
        (
            bars("Names asked for", "process", value=Value("dns.query")),
            bars("Answers", "rcode", value=Value("dns.answer")),
            bars(
                "Time until the answer, on average",
                "process",
                unit=Unit.NS,
                value=Value("dns.answer.latency_ns", (("query_seen", "true"),)),
                over=Value("dns.answer", (("query_seen", "true"),)),
            ),
            top("Names", Value("dns.query"), "q_name"),
            top("Names that are not there", Value("dns.answer", (("rcode", "NXDOMAIN"),)), "q_name", "process"),
            top("Types asked for", Value("dns.query"), "q_type"),
            new("Names not seen before", Value("dns.query"), "q_name", "process"),
        ),
    ),
    Group(
        "TLS",
        (
            bars("Handshakes begun", "process", value=Value(HELLO)),
            bars("Versions chosen", "tls_version", value=Value(ANSWERED)),
            top("Cipher suites chosen", Value(ANSWERED), "ciphersuite"),
            top("Servers", Value(HELLO), "sni"),
            top("Fingerprints of clients (JA4)", Value(HELLO), "ja4", "process"),
            new("Fingerprints not seen before", Value(HELLO), "ja4", "process"),
            top(
                "Servers that were not looked up before",
                Value(HELLO, (("sni_matches_dns", "false"),)),
                "sni",
                "process",
            ),
            top("Encrypted DNS", Value(HELLO, (("encrypted_dns", "*"),)), "encrypted_dns", "process"),
        ),
    ),
    Group(
        "Network",
        (
            bars("Bytes sent", "process", unit=Unit.BYTES, value=Value("volume.out")),
            bars("Bytes received", "process", unit=Unit.BYTES, value=Value("volume.in")),
            top("Bytes sent by pod", Value("volume.out", (("pod", "*"),)), "namespace", "pod", unit=Unit.BYTES),
            top("Connections opened", Value("connection.out"), "process", "d_port", "proto"),
            top("Connections accepted", Value("connection.in"), "process", "d_port", "proto"),
            bars("Packets", sent=Value("volume.out.packets"), received=Value("volume.in.packets")),
        ),
    ),
    Group(
        "Files",
        (
            bars(
                "Watched files changed",
                written=Value("file.write.calls"),
                truncated=Value("file.truncate"),
                created=Value("file.create"),
                renamed=Value("file.rename"),
                linked=Value("file.link"),
                deleted=Value("file.delete"),
                mode=Value("file.chmod"),
                owner=Value("file.chown"),
            ),
            bars("Bytes", unit=Unit.BYTES, read=Value("file.read"), written=Value("file.write")),
            top("Opened", Value("file.open"), "path", "process"),
            top("Written, in bytes", Value("file.write"), "path", "process", unit=Unit.BYTES),
            top("Deleted", Value("file.delete"), "path", "process"),
            top("Mapped into memory", Value("file.mmap"), "path", "process"),
        ),
    ),
    Group(
        "Containers",
        (
            bars("Lines", out=Value("container.stdout"), errors=Value("container.stderr")),
            bars(
                "Bytes",
                unit=Unit.BYTES,
                out=Value("container.stdout.bytes"),
                errors=Value("container.stderr.bytes"),
            ),
            top("Lines by container", Value("container.stdout"), "namespace", "pod", "container"),
            top("Errors by container", Value("container.stderr"), "namespace", "pod", "container"),
            top("Bytes by image", Value("container.stdout.bytes"), "image", unit=Unit.BYTES),
        ),
    ),
    Group(
        "Processes",
        (
            bars("Programs begun, and processes ended", begun=Value("process.exec"), ended=Value("process.exit")),
            top("Programs", Value("process.exec"), "executable"),
            top("Who began them", Value("process.exec"), "parent", "executable"),
            top("Ended by a signal", Value("process.exit", (("signal", "*"),)), "process", "signal"),
            top("Failed", Value("process.exit", (("status", "*"), ("status", "!0"))), "process", "status"),
            bars(
                "How long they ran, on average",
                unit=Unit.NS,
                value=Value("process.exit.run_ns"),
                over=Value("process.exit"),
            ),
            top("Killed for want of memory", Value("process.oom"), "process", "container"),
        ),
    ),
    Group(
        "System calls",
        (
            bars("Calls that are monitored", "syscall", value=Value("syscall.enter")),
            top("Who made them", Value("syscall.enter"), "syscall", "process"),
            top("Made as 32-bit programs do", Value("syscall.enter", (("abi", "i386"),)), "syscall", "process"),
            new("Calls of a process not seen before", Value("syscall.enter"), "syscall", "process"),
        ),
    ),
    Group(
        "The agent itself",
        (
            number("Events lost", LOST["events"]),
            number("Records lost", LOST["records"]),
            number("Records refused", Value("ingrain.records.refused")),
            bars("Events", "probe", value=Value("ingrain.events.received")),
            bars("Events lost in the kernel", "probe", value=LOST["events"]),
            bars("Malformed messages", "probe", value=Value("ingrain.events.malformed")),
            bars("Records delivered", "pipeline", "stage", value=Value("ingrain.records.delivered")),
            bars("Records lost", "pipeline", "stage", value=LOST["records"]),
            bars("Records refused by full pipelines", "pipeline", value=Value("ingrain.records.refused")),
            highest("Records that wait", Value("ingrain.inbox.depth"), "pipeline", "stage"),
            highest("Age at delivery", Value("ingrain.delivery.latency"), "pipeline", unit=Unit.NS),
            highest("Waiting in spools", Value("ingrain.spool.bytes"), "pipeline", unit=Unit.BYTES),
        ),
        narrowed=False,
    ),
)
