"""Both halves know a DNS stream by the same test: the kernel's at its beginning, the user's behind a gap."""

from __future__ import annotations

import random

from dns_messages import answer, message, query, stream
from frames import CLIENT, SERVER, tcp

from ingrain.kernel.buffers import Buffers
from ingrain.kernel.program import Program
from ingrain.kernel.testrun import ETHERNET, TestRun
from ingrain.wire.dns_stream import begins_message

SEED = 5
SEGMENTS = 4000
TOLD_BY = 15  # bytes; of shorter beginnings the kernel waits for more
INTERESTING = (0, 1, 12, 16, 0x3F, 0x40, 0x80, 0xC0, 0xFF)
VALID = [
    stream(query("a.test")),
    stream(answer("a.test", "A", "192.0.2.1")),
    stream(message([], [("b.local", "PTR", "c.local.")], flags=0x8400, number=0)),
]


def segment(chance: random.Random) -> bytes:
    made = bytearray(chance.choice(VALID))
    for _ in range(chance.randrange(4)):
        made[chance.randrange(TOLD_BY)] = chance.choice((*INTERESTING, chance.randrange(256)))
    return bytes(made)


def test_the_kernel_takes_for_dns_what_the_user_side_takes_for_dns() -> None:
    chance = random.Random(SEED)
    segments = [segment(chance) for _ in range(SEGMENTS)]
    with Program("dns", {"replay": 1}) as program:
        buffers = Buffers(program, "packet", 4096, packets=True)
        run = TestRun(program.fd("dns_ingress")).run
        for port, payload in enumerate(segments, 1):
            assert run(tcp((CLIENT[0], port), SERVER, payload, seq=1)[ETHERNET:], port)
        drained = buffers.drain()
        buffers.close()
    taken = set(drained.events["flow"]["s_port"].tolist()) if drained else set()
    expected = {port for port, payload in enumerate(segments, 1) if begins_message(payload)}
    assert 0 < len(expected) < SEGMENTS
    assert taken == expected
