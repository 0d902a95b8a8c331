"""An archive of known events: what a host with three containers did around noon, written by the real writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from ingrain.account import Station
from ingrain.backends.archive import Archive, ArchiveSettings
from ingrain.batch import Batch
from ingrain.query.schema import measurements

Row = dict[str, Any]

NOON = 1_740_830_400_000_000_000
"""2025-03-01 12:00 UTC, in ns."""

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
WHEN = ("--since", "2025-03-01T12:00:00Z", "--until", "2025-03-01T13:00:00Z")
"""The hour in which it all happens."""

CURL: Row = {"process": "curl", "process_id": 71, "uid": 0, "container": "web1", "container_id": "c0ffee00" * 8}
CRON: Row = {"process": "cron", "process_id": 9, "uid": 0}
CAT: Row = {"process": "cat", "process_id": 80, "uid": 1000}


def answers(*records: tuple[str, str, str]) -> list[dict[str, Any]]:
    """The answer section."""
    return [{"name": name, "type": kind, "data": data, "ttl": 60} for name, kind, data in records]


_ALIAS = answers(("www.Example.test", "CNAME", "cdn.test"), ("cdn.test", "A", "192.0.2.7"))

EVENTS: dict[str, list[Row]] = {
    "file.open": [
        {**CAT, "timestamp": NOON + 1, "path": "/etc/passwd", "flags": "O_RDONLY"},
        {**CAT, "timestamp": NOON + 2 * SECOND, "path": "/etc/passwd_", "flags": "O_RDONLY"},
        {**CRON, "timestamp": NOON - DAY, "path": "/etc/passwd"},
        {**CRON, "timestamp": NOON + HOUR, "path": "/etc/passwd"},
    ],
    "file.read": [{**CAT, "timestamp": NOON + 5 * SECOND, "path": "/etc/passwd", "value": 1234, "calls": 2}],
    "file.rename": [
        {**CRON, "timestamp": NOON + 7 * SECOND, "path": "/etc/passwd+", "new_path": "/etc/passwd"},
    ],
    "dns.query": [
        {**CURL, "timestamp": NOON + 10 * SECOND, "q_name": "www.Example.test", "q_type": "A", "direction": "out"},
        {**CRON, "timestamp": NOON - 2 * DAY, "q_name": "old.test", "q_type": "A"},
        {**CRON, "timestamp": NOON + 11 * SECOND, "q_name": "old.test", "q_type": "A"},
    ],
    "dns.answer": [
        {
            **CURL,
            "timestamp": NOON + 12 * SECOND,
            "q_name": "www.example.test",
            "q_type": "A",
            "rcode": "NOERROR",
            "answers": _ALIAS,
            "latency_ns": 5,
        },
        {
            **CRON,
            "timestamp": NOON - HOUR,
            "q_name": "mail.test",
            "q_type": "AAAA",
            "rcode": "NOERROR",
            "answers": answers(("mail.test", "AAAA", "2001:db8::25")),
            "latency_ns": 5,
        },
    ],
    "tls.handshake.clienthello": [
        {
            **CURL,
            "timestamp": NOON + 20 * SECOND,
            "sni": "www.example.test",
            "d_ip": "192.0.2.8",
            "d_port": 443,
            "ja4": "t13d_new",
            "alpn": ["h2", "http/1.1"],
        },
        {**CRON, "timestamp": NOON - 2 * DAY, "sni": "old.test", "d_ip": "192.0.2.9", "d_port": 443, "ja4": "t13d_old"},
        {
            **CRON,
            "timestamp": NOON + 21 * SECOND,
            "sni": "old.test",
            "d_ip": "192.0.2.9",
            "d_port": 443,
            "ja4": "t13d_old",
        },
    ],
    "connection.out": [
        {**CURL, "timestamp": NOON + 30 * SECOND, "d_ip": "192.0.2.7", "d_port": 443, "proto": "tcp"},
        {**CURL, "timestamp": NOON + 31 * SECOND, "d_ip": "192.0.2.8", "d_port": 443, "proto": "tcp"},
        {**CRON, "timestamp": NOON + 32 * SECOND, "d_ip": "2001:db8::25", "d_port": 25, "proto": "tcp"},
        {**CRON, "timestamp": NOON + 33 * SECOND, "d_ip": "192.0.2.99", "d_port": 123, "proto": "udp"},
    ],
    "volume.out": [
        {**CURL, "timestamp": NOON + 40 * SECOND, "d_ip": "192.0.2.7", "proto": "tcp", "value": 100, "packets": 3},
        {**CURL, "timestamp": NOON + 41 * SECOND, "d_ip": "192.0.2.7", "proto": "tcp", "value": 50, "packets": 1},
        {**CRON, "timestamp": NOON + 41 * SECOND, "d_ip": "192.0.2.99", "proto": "udp", "value": 48, "packets": 1},
    ],
    "volume.in": [
        {**CURL, "timestamp": NOON + 40 * SECOND, "s_ip": "192.0.2.7", "proto": "tcp", "value": 9000, "packets": 7},
    ],
    "process.exec": [
        {
            **CURL,
            "timestamp": NOON + 9 * SECOND,
            "executable": "/usr/bin/curl",
            "args": ["curl", "a b", ""],
            "parent": "sh",
            "parent_id": 70,
            "cwd": "/",
        },
        {
            **CAT,
            "timestamp": NOON + 1 * SECOND,
            "executable": "/usr/bin/cat",
            "args": ["cat", "/etc/passwd"],
            "parent": "bash",
            "parent_id": 60,
            "cwd": "/root",
        },
    ],
    "container.stdout": [
        {**CURL, "timestamp": NOON + 50 * SECOND, "line": "GET / 200", "bytes": 9},
        {**CURL, "timestamp": NOON + 52 * SECOND, "line": "naïve \\x1b[31m", "bytes": 12},
        {
            **CAT,
            "container": "web2",
            "container_id": "dead" * 16,
            "timestamp": NOON + 51 * SECOND,
            "line": "no",
            "bytes": 2,
        },
    ],
    "container.stderr": [{**CURL, "timestamp": NOON + 51 * SECOND, "line": "slow", "bytes": 4}],
}


def write(folder: Path, events: dict[str, list[Row]] | None = None) -> Path:
    """The archive, in this folder."""
    backend = Archive(ArchiveSettings(path=str(folder)), Station("archive"))
    for name, rows in (EVENTS if events is None else events).items():
        backend.deliver(batch(name, rows))
    backend.flush()
    backend.close()
    return folder


def batch(name: str, rows: list[Row]) -> Batch:
    """Records of a measurement; `value` is 1 where they do not tell it, what else they do not tell null."""
    measurement = measurements()[name]
    return Batch(measurement, pa.RecordBatch.from_pylist([{"value": 1, **row} for row in rows], measurement.schema))
