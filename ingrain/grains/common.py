"""The columns that every network record has, decoded from `struct flow`, which every network event has (probes/flow.h).

Each distinct name and address of a batch is decoded once; rows are only looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingrain.batch import TEXT, TIMESTAMP, Column
from ingrain.containers import COLUMNS, NAMES, Containers, nothing
from ingrain.grains.addresses import addresses
from ingrain.grains.grain import Made
from ingrain.kernel.loaders import Loader
from ingrain.kernel.records import Events
from ingrain.settings import Settings
from ingrain.text import safe

PROCESS = (
    Column("process", TEXT, "process name, up to 15 bytes; of network records before Linux 5.11 the thread's name"),
    Column("process_id", pa.uint32(), "process id in the host's pid namespace"),
    Column("process_uid", pa.uint64(), "identifies the process, also when its process id is reused"),
    Column("uid", pa.uint32(), "user id of the process"),
    Column("cgroup_id", pa.uint64(), "id of the cgroup v2 of the process; of network records, of the socket"),
    *COLUMNS,
)
"""Tags of every record: whose it is."""

COMMON = (
    *PROCESS,
    Column("s_ip", TEXT, "source address"),
    Column("s_port", pa.uint16(), "source port"),
    Column("d_ip", TEXT, "destination address"),
    Column("d_port", pa.uint16(), "destination port"),
    Column("proto", TEXT, "tcp or udp; quic for TLS over QUIC"),
    Column("direction", TEXT, "out: sent by the process; in: received by it"),
)
"""Tags of every network record, whose process is the one that owns the socket. Process, process_id, process_uid and uid
are null where it is not known; they, cgroup, container and direction are null in records of a capture's packets, which
belong to no socket."""

_PROTOCOLS = pa.array(["tcp", "udp"])
_DIRECTIONS = pa.array(["out", "in"])
_UDP = 17
_UNKNOWN = 2  # a direction: enum direction of probes/flow.h
_NAME_BYTES = 16
_PID_BITS = 22  # PID_MAX_LIMIT of linux/threads.h


def is_cgroup(path: str) -> None:
    """Raise ValueError for what no cgroup is called."""
    if "\0" in path:
        raise ValueError("expected a path, which has no NUL in it")


def is_device(name: str) -> None:
    """Raise ValueError for what no network device is called."""
    if not name or "\0" in name:
        raise ValueError('expected the name of a network device, like "eth0"; without it all are observed')


class ProbeSettings(Settings, frozen=True):
    """What all probes with a kernel half have in common.

    cgroup: path, below the cgroup v2 mount, of the cgroup to observe; by default the root: all processes and containers
    buffer_kb: size of each CPU's perf buffer; 1024 holds a burst of about 10,000 connections or 2,000 DNS messages
    loader: which object of the probe is loaded; by default the agent's `loader`
    """

    cgroup: Annotated[str, msgspec.Meta(extra={"check": is_cgroup})] | None = None
    buffer_kb: Annotated[int, msgspec.Meta(ge=8, le=262_144)] = 1024
    loader: Loader | None = None


class NetworkSettings(ProbeSettings, frozen=True):
    """What DNS, TLS and Network have in common.

    interface: observe only packets sent or received over this network device of the agent's own network namespace
    xdp_mode: accepted for ingraind's files, without effect
    """

    interface: Annotated[str, msgspec.Meta(extra={"check": is_device})] | None = None
    xdp_mode: str | None = None


class TracingSettings(ProbeSettings, frozen=True):
    """What the probes that trace the kernel have in common.

    hooks: how the probe attaches to kernel functions; `auto` uses fentry where the kernel has it, else kprobes
    """

    hooks: Literal["auto", "fentry", "kprobe"] = "auto"


def common(flows: Events, containers: Containers | None) -> dict[str, Made]:
    """The `COMMON` columns of a structured array of `struct flow`. containers: tells whose cgroups they are."""
    return processes(flows, containers) | {
        "s_ip": lambda: addresses(flows["s_ip"]),
        "s_port": lambda: pa.array(np.ascontiguousarray(flows["s_port"])),
        "d_ip": lambda: addresses(flows["d_ip"]),
        "d_port": lambda: pa.array(np.ascontiguousarray(flows["d_port"])),
        "proto": lambda: pa.DictionaryArray.from_arrays((flows["proto"] == _UDP).astype(np.int32), _PROTOCOLS),
        "direction": lambda: pa.DictionaryArray.from_arrays(
            pa.array(flows["direction"].astype(np.int32), mask=_where(flows["direction"] >= _UNKNOWN)), _DIRECTIONS
        ),
    }


def processes(events: Events, containers: Containers | None) -> dict[str, Made]:
    """The `PROCESS` columns of a structured array that has `pid`, `start`, `uid`, `comm` and `cgroup_id`.

    containers: tells whose cgroups they are.
    """
    cgroup_ids = np.ascontiguousarray(events["cgroup_id"])
    mask = _where(events["pid"] == 0)

    def process() -> pa.DictionaryArray:
        named = names(events["comm"])
        if mask is None:
            return named
        return pa.DictionaryArray.from_arrays(pa.array(named.indices.to_numpy(), mask=mask), named.dictionary)

    @cache
    def identities() -> dict[str, pa.Array]:
        return containers.columns(cgroup_ids) if containers else nothing(len(events))

    return {
        "process": process,
        "process_id": lambda: pa.array(np.ascontiguousarray(events["pid"]), mask=mask),
        "process_uid": lambda: uids(events["pid"], events["start"]),
        "uid": lambda: pa.array(np.ascontiguousarray(events["uid"]), mask=mask),
        "cgroup_id": lambda: pa.array(cgroup_ids, mask=_where(cgroup_ids == 0)),
        **{name: partial(_of, identities, name) for name in NAMES},
    }


def _of(identities: Callable[[], dict[str, pa.Array]], name: str) -> pa.Array:
    return identities()[name]


def uids(pids: npt.NDArray[np.uint32], starts: npt.NDArray[np.uint64]) -> pa.Array:
    """What tells processes apart for ever, from their ids and starts (ticks of 10 ms since boot; 0: not known, null).

    The boot's own random id is mixed in, so that hosts and boots differ, too.
    """
    mixed = (starts << np.uint64(_PID_BITS) | pids) ^ _boot()
    return pa.array(mixed, pa.uint64(), mask=_where(starts == 0))


@cache
def _boot() -> np.uint64:
    """64 bits of /proc/sys/kernel/random/boot_id (Documentation/admin-guide/sysctl/kernel.rst)."""
    return np.uint64(int(Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:16], 16))


def timestamps(flows: Events, clock: Callable[[npt.NDArray[np.uint64]], npt.NDArray[np.int64]]) -> pa.Array:
    """When each event happened, UTC."""
    return pa.array(clock(flows["time"]), TIMESTAMP)


def _where(unknown: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    return unknown if unknown.any() else None


def ones(count: int) -> pa.Array:
    """The value of `count` events."""
    return pa.array(np.ones(count, dtype=np.int64))


def names(column: npt.NDArray[np.bytes_]) -> pa.DictionaryArray:
    """Names of processes as `TEXT`, by decoding the distinct ones."""
    packed = pa.py_buffer(np.ascontiguousarray(column))
    encoded = pa.Array.from_buffers(pa.binary(_NAME_BYTES), len(column), [None, packed]).dictionary_encode()
    texts = pa.array([process_name(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(encoded.indices, texts)


@lru_cache(maxsize=4096)
def process_name(raw: bytes) -> str:
    """A `comm` as text: older kernels leave there, behind its end, what stood there before."""
    return safe(raw.partition(b"\0")[0])
