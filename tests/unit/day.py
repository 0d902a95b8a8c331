"""Six known hours of two hosts, made by a seeded generator and written by the real writer; and the day before them.

From 11:20 to 12:05 there is no record of `db-1`; at 13:10 `web-1` lost 1,234 events. `mail-1` stopped the day before.
`/usr/bin/nc` and what it talks to are new. `hostile` are others, with names that somebody chose to do harm.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from archived import HOUR, Row, archive

from ingrain.batch import TEXT, Batch
from ingrain.query.schema import measurements

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
NINE = 1_740_819_600_000_000_000
"""2025-03-01 09:00 UTC, in ns: when it begins."""

SINCE, UNTIL = datetime(2025, 3, 1, 9, tzinfo=UTC), datetime(2025, 3, 1, 15, tzinfo=UTC)
STEP = timedelta(minutes=5)
WHEN = ("--since", SINCE.isoformat(), "--until", UNTIL.isoformat())
SILENT = (NINE + 140 * MINUTE, NINE + 185 * MINUTE)
LOST_AT, LOST = NINE + 250 * MINUTE, 1234

HOSTILE = (
    "</script><script>document.title='pwned'</script>",
    "<!--<script>",
    "\"'><img src=x onerror=document.title='pwned'>",
    "\u202egnp.exe",
    "שלום",
    "]]></svg><style>*{display:none}</style>",
)

_CLIENTS = (  # process, container, host, name, address, ja4, weight
    ("nginx", "shop", "web-1", "api.example.test", "203.0.113.10", "t13d1516h2_8daaf6152771_02713d6af862", 9),
    ("python3", "worker", "web-1", "queue.example.test", "203.0.113.24", "t13d1812h1_85036bcba153_375ca2c5e164", 5),
    ("curl", None, "web-1", "deb.example.org", "198.51.100.7", "t13d3112h2_e8f1e7e78f70_6bebaf5329ac", 1),
    ("postgres", "db", "db-1", "backup.example.net", "198.51.100.80", "t12d1209h1_a09f3c656075_14788d8d241b", 4),
    ("restic", "backup", "db-1", "s3.example.net", "2001:db8::53", "t13d190900_9dc949149365_97f8aa674fd9", 6),
)
_STOPPED: Row = {"process": "postfix", "process_id": 25, "container": None, "host": "mail-1"}
_FILES = ("/etc/passwd", "/etc/shadow", "/etc/ssh/sshd_config", "/var/lib/app/users.db", "/root/.ssh/authorized_keys")


def write(folder: Path, made: dict[str, list[Row]]) -> Path:
    """An archive of these, in this folder."""
    with archive(folder) as backend:
        for name, rows in made.items():
            measurement = measurements()[name]
            schema = measurement.schema.append(pa.field("host", TEXT))
            table = pa.RecordBatch.from_pylist([{"value": 1, **row} for row in rows], schema)
            backend.deliver(Batch(measurement, table))
    return folder


def events() -> dict[str, list[Row]]:
    """The records of the six hours, and some of the day before, by measurement; always the same."""
    chance = random.Random(7)  # the same events every time
    made: dict[str, list[Row]] = {}

    def add(name: str, at: int, who: Row, **more: Any) -> None:
        if who["host"] != "db-1" or not SILENT[0] <= at < SILENT[1]:
            made.setdefault(name, []).append({"timestamp": at, **who, **more})

    for process, container, host, name, address, ja4, weight in _CLIENTS:
        who = {"process": process, "process_id": 100 + weight, "container": container, "host": host}
        _talk(add, chance, who, (name, address, ja4), busy=weight, begin=NINE - 20 * HOUR)
        for minute in range(360):
            busy = weight * (1 + (minute // 45) % 3) if minute % 7 else 0
            _talk(add, chance, who, (name, address, ja4), busy=busy, begin=NINE + minute * MINUTE)
            if container and chance.random() < 0.7:
                kind = "container.stderr" if chance.random() < 0.1 else "container.stdout"
                add(kind, NINE + minute * MINUTE + chance.randrange(MINUTE), who, line="x", bytes=chance.randrange(200))
            if chance.random() < 0.2:
                path = chance.choice(_FILES)
                at = NINE + minute * MINUTE + chance.randrange(MINUTE)
                add("file.open", at, who, path=path)
                add("file.read", at, who, path=path, value=chance.randrange(9000), calls=chance.randrange(1, 4))
    _new(add)
    _talk(
        add,
        chance,
        _STOPPED,
        ("mx.example.test", "198.51.100.25", "t13d1516h2_8daaf6152771_02713d6af862"),
        busy=1,
        begin=NINE - 20 * HOUR,
    )
    for minute in range(360):
        for host in ("web-1", "db-1"):  # as often as a host has to be heard of to have no gap
            told = LOST if (host, minute) == ("web-1", (LOST_AT - NINE) // MINUTE) else 0
            add("ingrain.events.lost", NINE + minute * MINUTE, {"host": host}, probe="Files", value=told)
    return made


def _talk(add: Any, chance: random.Random, who: Row, peer: tuple[str, str, str], *, busy: int, begin: int) -> None:
    name, address, ja4 = peer
    at = begin + chance.randrange(50 * SECOND)
    if not busy:
        return
    answer = {"name": name, "type": "AAAA" if ":" in address else "A", "data": address, "ttl": 60}
    add("dns.query", at, who, q_name=name, q_type=answer["type"])
    fails = chance.random() < 0.04
    add(
        "dns.answer",
        at + 9,
        who,
        q_name=name,
        q_type=answer["type"],
        rcode="NXDOMAIN" if fails else "NOERROR",
        answers=[] if fails else [answer],
        latency_ns=9,
    )
    add("connection.out", at + SECOND, who, d_ip=address, d_port=443, proto="tcp")
    add("tls.handshake.clienthello", at + SECOND, who, sni=name, d_ip=address, ja4=ja4, client_version="TLS 1.3")
    old = ja4.startswith("t12")
    add(
        "tls.handshake.serverhello",
        at + SECOND,
        who,
        tls_version="TLS 1.2" if old else "TLS 1.3",
        ja3s=ja4[:8],
        ciphersuite="TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" if old else "TLS_AES_128_GCM_SHA256",
    )
    add("volume.out", at + 2 * SECOND, who, d_ip=address, proto="tcp", value=busy * chance.randrange(20_000), packets=5)
    add("volume.in", at + 2 * SECOND, who, s_ip=address, proto="tcp", value=busy * chance.randrange(90_000), packets=9)


def _new(add: Any) -> None:
    """What was never there before, and is what one looks for in such a report."""
    who = {"process": "nc", "process_id": 666, "container": "shop", "host": "web-1"}
    at = NINE + 200 * MINUTE
    add("process.exec", at, who, executable="/usr/bin/nc", parent="nginx", args=["nc", "192.0.2.66"])
    add("connection.out", at + SECOND, who, d_ip="192.0.2.66", d_port=4444, proto="tcp")
    add("volume.out", at + 2 * SECOND, who, d_ip="192.0.2.66", proto="tcp", value=48_000_000, packets=9000)
    add("file.open", at + SECOND, who, path="/etc/shadow")


def hostile() -> dict[str, list[Row]]:
    """Records of programs, names, paths and addresses that are called as in `HOSTILE`."""
    made: dict[str, list[Row]] = {}
    for number, text in enumerate(HOSTILE):
        who: Row = {"timestamp": NINE + number, "process": text, "container": text, "host": text}
        named: dict[str, Row] = {
            "dns.query": {"q_name": text},
            "dns.answer": {"q_name": text, "rcode": text, "latency_ns": 0},
            "tls.handshake.clienthello": {"sni": text, "ja4": text, "d_ip": text},
            "tls.handshake.serverhello": {"tls_version": text, "ciphersuite": text, "ja3s": text},
            "container.stdout": {"line": text, "bytes": 1},
            "file.open": {"path": text},
            "process.exec": {"executable": text, "parent": text},
            "connection.out": {"d_ip": text},
            "volume.out": {"d_ip": text, "value": 5, "packets": 1},
        }
        for name, more in named.items():
            made.setdefault(name, []).append(who | more)
    losses = [{"timestamp": NINE, "host": text, "probe": text, "value": 1} for text in HOSTILE]
    return made | {"ingrain.events.lost": losses}
