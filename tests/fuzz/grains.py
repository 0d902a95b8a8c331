"""Grains: event structs of any bytes, with any bytes behind them, become records that are safe and add up."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from dns_messages import answer, query, stream
from hellos import client_hello
from hellos import message as handshake
from packets import drained, layout
from quic_peers import crypto, initial

from fuzz.promises import check_batch
from fuzz.target import Chosen, Target, piece
from fuzz.wire import bodies
from ingrain.grains.container import Container
from ingrain.grains.dns import DNS
from ingrain.grains.files import Files
from ingrain.grains.grain import Grain
from ingrain.grains.lookups import Lookups
from ingrain.grains.network import Network
from ingrain.grains.process import Process
from ingrain.grains.tls import TLS
from ingrain.kernel.records import Drained

_EVENTS = 16
_DRAINED = 1  # bit: what came before this event is one drain


class _Told:
    """Stands for a loaded program: what a grain asks of one is layouts. Its maps are not written to here."""

    maps: ClassVar[dict[str, int]] = {"muted": -1}

    def __init__(self, program: str) -> None:
        self._program = program

    def dtype(self, name: str) -> np.dtype[np.void]:
        return layout(self._program, name)


def _dns() -> Grain:
    made = DNS()
    made.lookups = Lookups()
    return made


def _tls() -> Grain:
    made = TLS()
    made.lookups = Lookups()
    made.lookups.note(struct.pack("=QI", 1, 7), "example.com", [bytes(16)], 1)
    return made


def _opened(grain: Callable[[], Grain]) -> Grain:
    made = grain()
    made.open(_Told(made.program))  # type: ignore[arg-type] # all that it asks for
    return made


def decode(make: Callable[[], Grain], data: bytes) -> bool:
    """received + further = told + malformed + cut + parts, whatever the bytes; and all that is told is harmless."""
    grain, chosen = make(), Chosen(data)
    dtype = layout(grain.program, grain.event)
    received = told = later = 0
    while chosen.left and received < _EVENTS:
        events: list[bytes] = []
        behind: list[bytes] = []
        grain.seen_until = chosen.number(8)
        while chosen.left and len(events) < _EVENTS:
            how = chosen.number()
            events.append(chosen.take(dtype.itemsize))
            behind.append(chosen.piece() if grain.packets else b"")
            if how & _DRAINED:
                break
        received += len(events)
        of_kernel = np.frombuffer(b"".join(events), dtype)
        for batch in grain.decode(Drained(of_kernel, behind if grain.packets else [])):
            check_batch(batch)
            told += len(batch)
        assert received + grain.further == told + grain.malformed + grain.cut + grain.parts
        later += _later(grain)
    grain.finish()
    later += _later(grain)
    return told + later > 0


def _later(grain: Grain) -> int:
    """Records that were waiting; what others count in the kernel is not there to be read."""
    if not isinstance(grain, Container | DNS | TLS):
        return 0
    batches = list(grain.poll())
    for batch in batches:
        check_batch(batch)
    return sum(map(len, batches))


def _written(*drains: Drained) -> bytes:
    """For seeds: bytes that `decode` takes for these."""
    parts = []
    for one in drains:
        parts.append((1 << 40).to_bytes(8, "little"))
        for number, event in enumerate(one.events):
            parts.append(bytes([_DRAINED if number == len(one.events) - 1 else 0]))
            parts.append(event.tobytes())
            if one.payloads:
                parts.append(piece(one.payloads[number]))
    return b"".join(parts)


_FLOW = {"time": 1 << 30, "pid": 7, "start": 1, "comm": b"curl", "s_ip": "10.0.0.1", "d_ip": "2001:db8::1", "s_port": 9}


def _lookups() -> Iterable[bytes]:
    asked, told = query("Example.com"), answer("example.com", "A", "192.0.2.1")
    turned = _FLOW | {"s_ip": "2001:db8::1", "d_ip": "10.0.0.1", "s_port": 0, "d_port": 9, "direction": 1}
    yield _written(drained("dns", [asked, told], _FLOW, turned))
    whole = stream(asked, query("b.example"))
    yield _written(drained("dns", [whole[20:], whole[:20]], _FLOW, offsets=[20, 0]))
    yield _written(drained("dns", [told[:40]], _FLOW, sent=[200]), drained("dns", [b"\xff" * 20], _FLOW))


def _handshakes() -> Iterable[bytes]:
    whole = client_hello(bodies()[1][1])
    yield _written(drained("tls", [whole], _FLOW))
    yield _written(drained("tls", [whole[100:], whole[:100]], _FLOW, offsets=[100, 0]))
    sealed = initial(crypto(0, handshake(*bodies()[1])))
    yield _written(drained("tls", [sealed], _FLOW | {"proto": socket.IPPROTO_UDP}))


def _flows() -> Iterable[bytes]:
    made = drained("dns", [b"", b""], _FLOW, _FLOW | {"direction": 1, "proto": 17})
    yield _written(Drained(np.ascontiguousarray(made.events["flow"])))


def _event(program: str, struct: str, **fields: Any) -> Any:
    made = np.zeros((), layout(program, struct))
    made["process"]["time"], made["process"]["pid"], made["process"]["start"] = 1 << 30, 7, 1
    made["process"]["comm"] = b"prog"
    for name, value in fields.items():
        made[name] = value
    return made


def _tasks() -> Iterable[bytes]:
    args, exe, cwd = b"prog\0-x\0", b"prog\0bin\0usr\0", b"home\0"
    ancestor = np.zeros((), layout("process", "ancestor"))
    ancestor["pid"], ancestor["comm"] = 1, b"init"
    behind = args + exe + cwd + ancestor.tobytes()
    sizes = {"args": len(args), "args_all": len(args), "exe": len(exe), "cwd": len(cwd)}
    events = [
        _event("process", "task", **sizes),
        _event("process", "task", kind=1, code=9),
        _event("process", "task", kind=2),
    ]
    yield _written(Drained(np.array(events), [behind, b"", b""]))


def _accesses() -> Iterable[bytes]:
    paths = b"passwd\0etc\0" + b"new\0tmp\0"
    kinds = [_event("files", "access", kind=kind, path=11, detail=[0o100644, 2], marks=kind) for kind in range(10)]
    yield _written(Drained(np.array(kinds), [paths] * len(kinds)))


def _output() -> Iterable[bytes]:
    texts = [b"one\ntw", b"o\n", b"\x1b[2Jlast", b"later\n"]
    places = [0, 6, 8, 100]
    events = [
        _event("container", "output", stream=3, number=1, position=at, captured=len(text), covers=len(text))
        for at, text in zip(places, texts, strict=True)
    ]
    yield _written(Drained(np.array(events[:2]), texts[:2]), Drained(np.array(events[2:]), texts[2:]))
    yield _written(Drained(np.array(events[::-1]), texts[::-1]))


TARGETS = (
    Target("grain_dns", partial(decode, _dns), _lookups, 2),
    Target("grain_tls", partial(decode, _tls), _handshakes, 2),
    Target("grain_network", partial(decode, Network), _flows, 2),
    Target("grain_process", partial(decode, partial(_opened, Process)), _tasks, 2),
    Target("grain_files", partial(decode, Files), _accesses, 2),
    Target("grain_container", partial(decode, partial(_opened, Container)), _output, 2),
)
