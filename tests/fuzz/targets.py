"""The list of what is fuzzed."""

from __future__ import annotations

from fuzz import buffers, capture, config, engines, grains, own, quic, rendering, servers, spool, status, wire
from fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (wire, quic, capture, buffers, grains, own, engines, config, spool, status, servers, rendering)
    for target in module.TARGETS
}
