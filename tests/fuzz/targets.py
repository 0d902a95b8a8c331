"""The list of what is fuzzed."""

from __future__ import annotations

from fuzz import (
    buffers,
    capture,
    config,
    dns_streams,
    engines,
    grains,
    own,
    quic,
    rendering,
    servers,
    spool,
    status,
    wire,
)
from fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (
        wire,
        dns_streams,
        quic,
        capture,
        buffers,
        grains,
        own,
        engines,
        config,
        spool,
        status,
        servers,
        rendering,
    )
    for target in module.TARGETS
}
