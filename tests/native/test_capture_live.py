"""Captures of live traffic: what the kernel cut into fragments, or left uncut, comes out as programs sent it."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Start
from record import recorded

from ingrain.capture import Capture
from ingrain.capture.segments import SEGMENT_MAX
from ingrain.kernel.program import Program
from ingrain.kernel.testrun import TestRun
from ingrain.owners import load_owners

LACKING = [name for name in ("dumpcap", "ip") if not shutil.which(name)]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}")

SEED = 11
TALK = """
import random, socket, sys
chance = random.Random(int(sys.argv[1]))
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    with socket.socket(family, socket.SOCK_DGRAM) as receiver, socket.socket(family, socket.SOCK_DGRAM) as sender:
        receiver.bind((host, 5300))
        for size in (10, 1400, 1500, 4000, 9000, 30000, 65000):
            sender.sendto(chance.randbytes(size), (host, 5300))
            receiver.recv(70000)
    with socket.create_server((host, 5301), family=family) as listener:
        with socket.create_connection((host, 5301)) as client, listener.accept()[0] as server:
            data = memoryview(chance.randbytes(1000000))
            for at in range(0, len(data), 100000):  # no more than the buffers hold
                client.sendall(data[at : at + 100000])
                server.recv(100000, socket.MSG_WAITALL)
"""


def sent() -> tuple[list[bytes], list[bytes]]:
    """The datagrams and the streams that the talk consists of."""
    chance = random.Random(SEED)
    datagrams, streams = [], []
    for _family in (4, 6):
        datagrams += [chance.randbytes(size) for size in (10, 1400, 1500, 4000, 9000, 30000, 65000)]
        streams.append(chance.randbytes(1_000_000))
    return datagrams, streams


@pytest.fixture
def captured(start: Start, namespace: str, tmp_path: Path) -> Callable[..., Path]:
    def capture(*options: str) -> Path:
        inside = ("ip", "netns", "exec", namespace)
        subprocess.run([*inside, "ip", "link", "set", "lo", "mtu", "1500"], check=True)
        path = tmp_path / "live"
        with recorded(path, *options, namespace=namespace):
            talk = start(*inside, sys.executable, "-c", TALK, str(SEED))
            assert talk.wait(120) == 0
        return path

    return capture


def ports(packet: bytes) -> tuple[int, int, bytes]:
    """Protocol, port of the receiver, and the transport's header and payload."""
    four = packet[0] >> 4 == 4
    rest = packet[20 if four else 40 :]
    return packet[9 if four else 6], rest[2] << 8 | rest[3], rest


@pytest.mark.parametrize(
    "options",
    [("-i", "lo", "-P"), ("-i", "lo"), ("-i", "any", "-y", "LINUX_SLL"), ("-i", "any", "-y", "LINUX_SLL2")],
    ids=["pcap", "pcapng", "cooked", "cooked_2"],
)
def test_what_was_sent_is_what_the_capture_gives(captured: Callable[..., Path], options: tuple[str, ...]) -> None:
    before = time.time_ns()
    path = captured(*options)
    after = time.time_ns()
    expected, streams = sent()
    datagrams: list[bytes] = []
    begins: dict[int, int] = {}
    seen = {4: bytearray(len(streams[0])), 6: bytearray(len(streams[1]))}
    with Capture(str(path)) as capture:
        for when, packet in capture:
            assert before < when < after
            proto, port, rest = ports(packet)
            version = packet[0] >> 4
            if proto == 17 and port == 5300:
                datagrams.append(rest[8:])
            elif proto == 6 and port == 5301:
                assert len(packet) <= SEGMENT_MAX
                seq, payload = int.from_bytes(rest[4:8], "big"), rest[(rest[12] >> 4) * 4 :]
                at = seq - begins.setdefault(version, seq + 1) & 0xFFFFFFFF  # the first is the SYN
                if payload:  # some of it may come twice
                    seen[version][at : at + len(payload)] = payload
    counts = capture.counts
    assert not counts.lost_fragments
    assert (counts.reassembled, counts.truncated, counts.malformed) == (10, 0, 0)
    assert counts.split
    assert datagrams == expected
    assert [bytes(seen[version]) for version in (4, 6)] == streams


def test_the_kernel_takes_every_packet_but_datagrams_longer_than_a_page(captured: Callable[..., Path]) -> None:
    path = captured("-i", "lo")
    with load_owners() as owners, Program("dns", {"self": 0, "replay": 1}, {"owners": owners.maps["owners"]}) as probe:
        kernel = TestRun(probe.fd("dns_ingress"))
        with Capture(str(path)) as capture:
            for when, packet in capture:
                taken = kernel.run(packet, when)
                proto, _port, _rest = ports(packet)
                assert taken or (proto == 17 and len(packet) > SEGMENT_MAX)
        assert capture.counts.split
        assert capture.counts.segments > 500
