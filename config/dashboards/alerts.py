"""What somebody should be told of, said once: `datadog.py` makes monitors of it, `rules.py` rules for Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from dashboards.charts import HELLO, Value

HOST = "host"
"""Among the tags of an alert: the host itself, which each system knows by a label of its own."""

SECRETS = "/etc/shadow|/etc/gshadow|/root/.ssh/*"
"""What few programs have to open."""

READERS = "sshd|su|sudo|login|cron|systemd|passwd|unix_chkpwd"
"""Those few."""


class When(Enum):
    """What raises an alert: the value was counted at all, records came in and none went out, or nothing came.

    NEW: a series that the days before did not have.
    """

    COUNTED = auto()
    STALLED = auto()
    SILENT = auto()
    NEW = auto()


class Severity(Enum):
    """How soon somebody should look, from now to some day."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Alert:
    """One of them.

    title: with its tags in braces. by: the tags that tell alerts apart. minutes: how long a time is looked at. about:
    what it means. remedy: what to do, step by step.
    """

    name: str
    title: str
    when: When
    value: Value
    by: tuple[str, ...]
    minutes: int
    severity: Severity
    about: str
    remedy: tuple[str, ...]

    @property
    def steps(self) -> str:
        """The remedy as a numbered list, Markdown."""
        return "\n".join(f"{number}. {step}" for number, step in enumerate(self.remedy, 1))


_ON_THE_HOST = "Ask `ingrain status` on {host}: it says what is wrong now."
_IS_IT_MEANT = "Find out whether that was meant: a deployment, a package manager, an administrator."
_WHO = "See who did it, and in which container: `ingrain ask who-accessed {path}`."


def _changed(done: str, told: str, value: str) -> Alert:
    return Alert(
        f"watched-files-{done}",
        f"{{process}} {told} {{path}} on {{host}}",
        When.COUNTED,
        Value(value),
        (HOST, "process", "path"),
        5,
        Severity.WARNING,
        "A watched file is not what it was.",
        (_WHO, _IS_IT_MEANT, "Mute this alert for processes that change such files every day."),
    )


ALERTS = (
    Alert(
        "events-lost",
        "ingrain on {host} loses events of its probe {probe}",
        When.COUNTED,
        Value("ingrain.events.lost"),
        (HOST, "probe"),
        5,
        Severity.WARNING,
        "The kernel's buffers of this probe were full: some of what happened is not recorded.",
        (
            "Look at the traffic of {host}: a flood may be an attack, or cover one.",
            "Give the probe larger buffers (`buffer_kb`), or the agent more of the processor.",
            "Have the probe see less: `cgroup`, `interface`, `monitor_dirs`, `monitor_syscalls`.",
        ),
    ),
    Alert(
        "records-lost",
        "ingrain on {host} loses records in pipeline {pipeline}, stage {stage}",
        When.COUNTED,
        Value("ingrain.records.lost"),
        (HOST, "pipeline", "stage"),
        5,
        Severity.CRITICAL,
        "This stage could not pass records on, and they are gone.",
        (
            _ON_THE_HOST,
            "If the stage is S3 or HTTP: is the spool full (`spool_max_mb`), or its disk?",
            "If it is StatsD: does the server listen, and is `address` right?",
        ),
    ),
    Alert(
        "records-refused",
        "ingrain on {host} turns records away from pipeline {pipeline}",
        When.COUNTED,
        Value("ingrain.records.refused"),
        (HOST, "pipeline"),
        5,
        Severity.WARNING,
        "The pipeline is full: its backend is slower than what comes in, or memory is tight.",
        (
            _ON_THE_HOST,
            "Send less: a Whitelist with fewer tags, and a Buffer before the backend.",
            "If it says that memory is tight, raise `memory_limit`, and the limit of the pod or unit with it.",
        ),
    ),
    Alert(
        "delivery-stalled",
        "ingrain on {host} delivers nothing from pipeline {pipeline}, stage {stage}",
        When.STALLED,
        Value("ingrain.records.received"),
        (HOST, "pipeline", "stage"),
        15,
        Severity.CRITICAL,
        "For a quarter of an hour records came in and none went out. What is for S3 or HTTP waits in the spool; when "
        "that is full (`spool_max_mb`), the oldest is lost.",
        (
            _ON_THE_HOST,
            "Check the server that it names: is it up, is it reached from {host}, are the credentials valid?",
            "A Buffer or a `roll_s` of more than some minutes needs a longer window in this alert.",
        ),
    ),
    Alert(
        "agent-silent",
        "ingrain on {host} is silent",
        When.SILENT,
        Value("ingrain.records.delivered"),
        (HOST,),
        10,
        Severity.CRITICAL,
        "The agent reports its own account even when nothing happens. So the host or the agent is down, or what it "
        "sends does not arrive. Until it is back, what happens on {host} may go unrecorded.",
        (
            "Is the host up? If it was taken out of service, resolve this alert.",
            "Does the agent run? `systemctl status ingrain`, or `kubectl --namespace ingrain get pods --output wide`.",
            "If it does, `ingrain status` says whether its metrics get through.",
            "An agent that was stopped by nobody you know is an incident.",
        ),
    ),
    Alert(
        "new-names",
        "{process} looked up {q_name}, a name not seen in a week",
        When.NEW,
        Value("dns.query"),
        ("q_name", "process"),
        24 * 60,
        Severity.INFO,
        "Looked up within the last day, and on none of the seven days before it, by a process of this name.",
        (
            "See which hosts and containers did: `ingrain ask looked-up {q_name}`.",
            "If you do not know the name, see what was sent there: `ingrain ask talked-to {q_name}`.",
        ),
    ),
    Alert(
        "new-fingerprints",
        "{process} began TLS with fingerprint {ja4}, not seen in a week",
        When.NEW,
        Value(HELLO),
        ("ja4", "process"),
        24 * 60,
        Severity.INFO,
        "A process of this name used a TLS library, or settings of one, that it used on none of the seven days before.",
        (
            "An update of the program explains it. Without one, another program may go by its name.",
            "See where it connected to: client fingerprints and server names in `ingrain report`.",
        ),
    ),
    Alert(
        "watched-files-opened",
        "{process} opened {path} on {host}",
        When.COUNTED,
        Value("file.open", (("path", SECRETS), ("process", f"!{READERS}"))),
        (HOST, "process", "path"),
        5,
        Severity.CRITICAL,
        "A program that usually has no business there opened a file that holds secrets.",
        (_WHO, _IS_IT_MEANT, "If nobody knows of it, consider the secrets stolen: change passwords and keys."),
    ),
    _changed("written", "wrote to", "file.write.calls"),
    _changed("renamed", "renamed", "file.rename"),
    _changed("deleted", "deleted", "file.delete"),
    _changed("mode-changed", "changed the mode of", "file.chmod"),
    _changed("owner-changed", "changed the owner of", "file.chown"),
)
