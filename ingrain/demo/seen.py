"""What the agent saw, read from its archive, in the form in which the workload says what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingrain.demo.deeds import Deeds

Row = dict[str, Any]


def _version(row: Row) -> str:
    return f"{row['proto'].upper()} {'IPv6' if ':' in row['s_ip'] else 'IPv4'}"


def _went(row: Row) -> str:
    return "sent" if row["direction"] == "out" else "received"


_DEEDS: dict[str, Callable[[Row], str | None]] = {
    "dns.query": lambda row: f"DNS query {row['q_name']} {row['q_type']}" if row["direction"] == "out" else None,
    "dns.answer": lambda row: f"DNS answer {_went(row)}, {row['q_name']} {row['q_type']} {row['rcode']}",
    "tls.handshake.clienthello": lambda row: f"TLS ClientHello {_went(row)}, {row['sni']}",
    "tls.handshake.serverhello": lambda row: f"TLS ServerHello {_went(row)}, {row['tls_version']} {row['ciphersuite']}",
    "volume.out": lambda row: f"{_version(row)} sent, bytes",
    "volume.in": lambda row: f"{_version(row)} received, bytes",
    "connection.out": lambda row: f"{_version(row)} connections opened" if row["proto"] == "tcp" else None,
    "connection.in": lambda row: f"{_version(row)} connections accepted" if row["proto"] == "tcp" else None,
}

_BESIDE = {"dns.answer": ("latency_ns",), "volume.out": ("packets",), "volume.in": ("packets",)}
"""Values that measurements have beside `value`."""

_MOVERS = {"store", "backup", "docker_conn_proxy"}
"""Processes whose bytes and connections the workload counts; DNS and TLS are counted by their messages."""


def rows(archive: Path, measurement: str) -> Iterator[Row]:
    """The records of a measurement; timestamps in nanoseconds."""
    for path in sorted(archive.glob(f"measurement={measurement}/**/*.parquet")):
        table = pq.ParquetFile(path).read()
        at = table.schema.get_field_index("timestamp")
        yield from table.set_column(at, "timestamp", table.column(at).cast(pa.int64())).to_pylist()


def deeds(archive: Path) -> Deeds:
    """Everything that the workload counts too."""
    seen: Deeds = Counter()
    for measurement, deed in _DEEDS.items():
        for row in rows(archive, measurement):
            what = deed(row)
            if what and (not measurement.startswith(("volume", "connection")) or row["process"] in _MOVERS):
                seen[row["process"] or "(unknown)", what] += row["value"]
    return +seen


def totals(archive: Path) -> Counter[str]:
    """The sums of each measurement's values, by the names that StatsD has for them."""
    found: Counter[str] = Counter()
    for measurement in _DEEDS:
        for row in rows(archive, measurement):
            found[measurement] += row["value"]
            for name in _BESIDE.get(measurement, ()):
                found[f"{measurement}.{name}"] += row[name]
    return found
