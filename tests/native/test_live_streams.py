"""Messages over several segments of live TCP connections: told once, with their process; and captured, the same.

The traffic runs in a network namespace made for the test; dumpcap captures it beside the agent.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, Watch, read
from record import recorded
from serving import until

LACKING = [name for name in ("dumpcap", "tshark", "ip", "ss", "dnsmasq", "dig", "openssl") if not shutil.which(name)]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}")

NAMES_PROCESSES = tuple(map(int, platform.release().split(".")[:2])) >= (5, 11)
"""Before, who owns a socket is told by the name of the thread that made it."""
DNS_PORT, TLS_PORT, PLAIN_PORT = 5400, 9443, 9500
MEASUREMENTS = ("dns.query", "dns.answer", "tls.handshake.clienthello", "tls.handshake.serverhello")
ONLY_AT_SOCKETS = (
    "process", "process_id", "process_uid", "uid", "cgroup_id", "container_id", "container", "image", "pod",
    "namespace", "direction", "timestamp", "latency_ns",
)  # fmt: skip

CLIENT = """
import ctypes, socket, ssl, sys
name, port, size, delay = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)  # PR_SET_NAME
import time
with socket.socket() as sock:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    sock.connect(("127.0.0.1", port))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([f"protocol-number-{number}" for number in range(80)])
    came, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(came, sent, server_hostname="long.test")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            pass
        flight = sent.read()
        for at in range(0, len(flight), size):
            sock.sendall(flight[at : at + size])
            time.sleep(delay)
        came.write(sock.recv(65536))
"""
"""A TLS client whose hello is long, and goes out in pieces of `size` bytes."""

DOWNLOAD = """
import socket, sys
port, size = int(sys.argv[1]), int(sys.argv[2])
with socket.create_server(("127.0.0.1", port)) as listener:
    with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as server:
        client.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
        server.recv(100)
        client.sendall(b"and so on")
        server.recv(100)
        for sender, receiver in ((server, client), (client, server)):
            for _ in range(size // 50000):
                sender.sendall(bytes(50000))
                receiver.recv(50000, socket.MSG_WAITALL)
"""
"""Many bytes in both directions of a connection that holds neither DNS nor TLS."""

Row = dict[str, Any]


class Place:
    """The namespace, with the servers that a test starts in it."""

    def __init__(self, start: Start, namespace: str, folder: Path) -> None:
        self._start, self._inside, self._folder = start, ("ip", "netns", "exec", namespace), folder

    def start(self, *command: str) -> subprocess.Popen[str]:
        return self._start(*self._inside, *command, stderr=subprocess.DEVNULL)

    def tls_server(self) -> None:
        key, certificate = str(self._folder / "key.pem"), str(self._folder / "certificate.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a.test", "-days", "1",
             "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        self.start(
            "openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{TLS_PORT}", "-key", key, "-cert", certificate
        )
        self._wait_for(TLS_PORT)

    def resolver(self) -> None:
        self.start(
            "dnsmasq", "-k", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root", "--pid-file=",
            f"--port={DNS_PORT}", "--listen-address=127.0.0.1", "--bind-interfaces", "--local=/test/",
            "--host-record=www.a.test,192.0.2.1,2001:db8::1",
            *(f"--txt-record=long.test,{letter * 250}" for letter in "abcdefghij"),
        )  # fmt: skip
        self._wait_for(DNS_PORT)

    def dig(self, *question: str) -> None:
        self.start("dig", "@127.0.0.1", "-p", str(DNS_PORT), "+tries=1", *question).communicate(timeout=60)

    def connect(self, size: int, delay: float = 0.0) -> None:
        """A TLS client that sends its hello in pieces of so many bytes."""
        words = ("longtalker", str(TLS_PORT), str(size), str(delay))
        assert self.start(sys.executable, "-c", CLIENT, *words).wait(60) == 0

    @contextmanager
    def dump(self) -> Iterator[Path]:
        """dumpcap on the loopback; its file."""
        path = self._folder / "live.pcapng"
        with recorded(path, "-i", "lo", namespace=self._inside[-1]):
            yield path

    def _wait_for(self, port: int) -> None:
        """Until somebody listens; nothing is sent to find out."""
        command = [*self._inside, "ss", "-Htln", f"sport = :{port}"]
        until(
            f"somebody to listen on port {port}",
            lambda: subprocess.run(command, check=True, capture_output=True, text=True).stdout,
        )


@pytest.fixture
def place(start: Start, namespace: str, tmp_path: Path) -> Place:
    return Place(start, namespace, tmp_path)


@pytest.mark.parametrize(("size", "delay"), [(1 << 20, 0), (300, 0), (300, 0.01), (1, 0)])
def test_a_long_hello_is_one_record_with_its_process(
    watch: Callable[..., Watch], place: Place, size: int, delay: float
) -> None:
    watched = watch("TLS")
    with watched():
        place.tls_server()
        place.connect(size, delay)
    offered = watched.rows("tls.handshake.clienthello")
    assert sorted((row["direction"], row["process"], row["sni"], len(row["alpn"])) for row in offered) == [
        ("in", "openssl", "long.test", 80),
        ("out", "longtalker", "long.test", 80),
    ]
    chosen = watched.rows("tls.handshake.serverhello")
    assert sorted((row["direction"], row["process"]) for row in chosen) == [("in", "longtalker"), ("out", "openssl")]
    (probe,) = watched.account.probes
    assert (probe.malformed, probe.unfinished, probe.lost) == (0, 0, 0)


def test_dns_over_tcp_has_its_process(watch: Callable[..., Watch], place: Place) -> None:
    watched = watch("DNS")
    with watched():
        place.resolver()
        place.dig("+tcp", "www.a.test", "A")
        place.dig("+tcp", "long.test", "TXT")
    asked, answered = watched.rows("dns.query"), watched.rows("dns.answer")
    expected = [("www.a.test", "A"), ("long.test", "TXT")]
    dig = "dig" if NAMES_PROCESSES else "isc-net-0000"
    for rows, sender, receiver in ((asked, dig, "dnsmasq"), (answered, "dnsmasq", dig)):
        for direction, process in (("out", sender), ("in", receiver)):
            mine = [row for row in rows if row["direction"] == direction]
            assert [(row["q_name"], row["q_type"]) for row in mine] == expected
            assert {(row["process"], row["proto"]) for row in mine} == {(process, "tcp")}
    assert [sum(len(one["data"]) for one in row["answers"]) for row in answered if row["q_type"] == "TXT"] == [2520] * 2
    assert all(row["query_seen"] and row["latency_ns"] > 0 for row in answered)
    (probe,) = watched.account.probes
    assert (probe.malformed, probe.unfinished, probe.lost) == (0, 0, 0)


def test_ordinary_packets_of_long_streams_are_not_handed_over(watch: Callable[..., Watch], place: Place) -> None:
    watched = watch("DNS", "TLS", "Network")
    with watched():
        assert place.start(sys.executable, "-c", DOWNLOAD, str(PLAIN_PORT), str(10_000_000)).wait(120) == 0
    assert sum(row["value"] for row in watched.rows("volume.out")) > 20_000_000  # it was seen
    handed_over = {probe.name: probe.handed_over for probe in watched.account.probes}
    assert (handed_over["DNS"], handed_over["TLS"]) == (0, 0)


def test_a_capture_of_live_traffic_gives_the_records_that_it_gave_live_with_the_capture_s_times(
    watch: Callable[..., Watch], place: Place, tmp_path: Path
) -> None:
    watched = watch("DNS", "TLS")
    with place.dump() as path, watched():
        place.resolver()
        place.tls_server()
        for question in (("www.a.test", "A"), ("WWW.a.test", "AAAA"), ("nothing.test", "A"), ("long.test", "TXT")):
            place.dig(*question)  # the last one's answer is truncated, and it is asked again over TCP
            place.dig("+tcp", *question)
        place.dig("+noedns", "+ignore", "long.test", "TXT")
        place.connect(1 << 20)
        place.connect(200)
    replayed = replay(path, tmp_path)
    for measurement in MEASUREMENTS:
        live = watched.rows(measurement)
        again = replayed[measurement]
        assert again
        for direction in ("out", "in"):
            left_out = ONLY_AT_SOCKETS + (("sni_matches_dns",) if direction == "in" else ())
            mine = [row for row in live if row["direction"] == direction]
            assert counted(mine, left_out) == counted(again, left_out)
        if measurement == "dns.answer":
            assert all(row["query_seen"] and row["latency_ns"] > 0 for row in again)
            assert {row["truncated"] for row in again} == {False, True}
    stamps = tshark(path)
    for name, measurements in (("dns", MEASUREMENTS[:2]), ("tls", MEASUREMENTS[2:])):
        assert {row["timestamp"] for one in measurements for row in replayed[one]} == stamps[name]


def replay(capture: Path, folder: Path) -> dict[str, list[Row]]:
    archive, config, account = folder / "replayed", folder / "replay.toml", folder / "replay.json"
    toml = "".join(f'[[probe]]\npipelines = ["a"]\n[probe.config]\ntype = "{one}"\n' for one in ("DNS", "TLS"))
    config.write_text(toml + f'[pipeline.a.config]\nbackend = "Archive"\npath = "{archive}"\n')
    command = [sys.executable, "-m", "ingrain", "replay", capture, "--config", config, "--account", account]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    for probe in json.loads(account.read_text())["probes"]:
        assert (probe["malformed"], probe["cut"], probe["unfinished"], probe["lost"]) == (0, 0, 0, 0)
    return {name: read(archive, name) for name in MEASUREMENTS}


def counted(rows: list[Row], left_out: tuple[str, ...]) -> Counter[str]:
    """Each record, less what only one of the two can know, as text; and how often it was told."""
    return Counter(json.dumps({key: row[key] for key in row if key not in left_out}, sort_keys=True) for row in rows)


def tshark(capture: Path) -> dict[str, set[int]]:
    """Nanoseconds at which tshark sees DNS messages and TLS hellos become whole."""
    found = {}
    for name, display in (("dns", "dns"), ("tls", "tls.handshake.type in {1,2}")):
        decode = [
            "-d",
            f"udp.port=={DNS_PORT},dns",
            "-d",
            f"tcp.port=={DNS_PORT},dns",
            "-d",
            f"tcp.port=={TLS_PORT},tls",
        ]
        done = subprocess.run(
            ["tshark", "-r", str(capture), *decode, "-Y", display, "-T", "fields", "-e", "frame.time_epoch"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        found[name] = {int(line.replace(".", "")) for line in done.stdout.split()}
    return found
