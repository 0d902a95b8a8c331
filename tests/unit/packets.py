"""Packets as a drain gives them, with the layout that the compiler wrote into the probe's object."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from ingrain.batch import Batch
from ingrain.kernel.btf import Btf
from ingrain.kernel.program import OBJECTS
from ingrain.kernel.records import Drained

TCP, UDP = 6, 17
OUT, IN, UNKNOWN = 0, 1, 2
NO_CONTAINER = dict.fromkeys(("container_id", "container", "image", "pod", "namespace"))
BEGIN = (1 << 32) - 100
"""Sequence number at which streams begin: soon before the numbers begin anew."""


@cache
def layout(program: str, struct_name: str) -> np.dtype[np.void]:
    """A struct of an object, read from its BTF without loading it into the kernel."""
    return _btf(program).dtype(struct_name)


def variables(program: str, section: str) -> dict[str, tuple[int, int]]:
    """Offset and size of each variable of an object's section, likewise."""
    return _btf(program).variables(section)


def _btf(program: str) -> Btf:
    return Btf(section((OBJECTS / f"{program}.bpf.o").read_bytes(), b".BTF"))


def section(elf: bytes, name: bytes) -> bytes:
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", elf, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + size * number) for number in range(count)]
    names = headers[names_index][4]
    for name_at, _type, _flags, _address, offset, length in headers:
        if elf[names + name_at : elf.index(b"\0", names + name_at)] == name:
            return elf[offset : offset + length]
    raise LookupError(name)


def address(text: str) -> list[int]:
    """An address as the kernel half writes it: IPv4 mapped into IPv6."""
    return list(socket.inet_pton(socket.AF_INET6, text if ":" in text else f"::ffff:{text}"))


def drained(
    program: str,
    payloads: Sequence[bytes],
    *flows: dict[str, Any],
    sent: Sequence[int] = (),
    offsets: Sequence[int] = (),
) -> Drained:
    """What a drain of these payloads gives; flows: fields of each (the last also of those that follow).

    sent: how long each was on the wire, where more was sent than captured. offsets: over TCP: where in its stream each
    begins; without them each TLS payload begins one, and DNS messages are datagrams.
    """
    events = np.zeros(len(payloads), layout(program, "packet"))
    events["flow"]["time"] = time.monotonic_ns()
    events["flow"]["proto"] = UDP if program == "dns" and not offsets else TCP
    events["payload_len"] = sent or [len(payload) for payload in payloads]
    events["begin"] = BEGIN
    events["seq"] = [(BEGIN + offset) % (1 << 32) for offset in offsets or [0] * len(payloads)]
    for number in range(len(payloads) if flows else 0):
        for field, value in flows[min(number, len(flows) - 1)].items():
            events["flow"][field][number] = address(value) if field in {"s_ip", "d_ip"} else value
    return Drained(events, list(payloads))


def rows(*batches: Batch) -> list[dict[str, Any]]:
    """Records as Python's objects, with the name of their measurement; timestamps as nanoseconds."""
    told = []
    for batch in batches:
        stamps = batch.records.column("timestamp").cast(pa.int64())
        records = batch.records.set_column(0, "timestamp", stamps).to_pylist()
        told += [row | {"measurement": batch.measurement.name} for row in records]
    return told
