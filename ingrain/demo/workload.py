"""What the demo does, by real programs, and what they themselves say they did.

Everything is counted as `(process, deed) -> amount`, the same form in which `seen.py` reads the archive.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from ingrain.demo.agent import DemoError
from ingrain.demo.deeds import Deeds

NEEDED = {"dnsmasq": "dnsmasq-base", "dig": "bind9-dnsutils", "openssl": "openssl"}
"""Programs that the workload runs, and the Debian packages that have them."""

_LOOKUPS = [
    ("www.demo.test", "A", "NOERROR"),
    ("www.demo.test", "AAAA", "NOERROR"),
    ("alias.demo.test", "A", "NOERROR"),
    ("demo.test", "MX", "NOERROR"),
    ("demo.test", "TXT", "NOERROR"),
    ("_ldap._tcp.demo.test", "SRV", "NOERROR"),
    ("missing.demo.test", "A", "NXDOMAIN"),
]
_RECORDS = [
    "--host-record=www.demo.test,192.0.2.7,2001:db8::7",
    "--cname=alias.demo.test,www.demo.test",
    "--mx-host=demo.test,mail.demo.test,10",
    "--txt-record=demo.test,it works",
    "--srv-host=_ldap._tcp.demo.test,ldap.demo.test,389",
    "--local=/demo.test/",
]
_CIPHERS = {
    "ECDHE-RSA-AES256-GCM-SHA384": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305": "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}
"""OpenSSL's own names of TLS 1.2 ciphers, by IANA's; those of TLS 1.3 are the same."""

Enter = Callable[[], None]


class Workload:
    """Programs in a cgroup (`enter` moves a new process there). What must be older than the agent starts at once."""

    def __init__(self, enter: Enter) -> None:
        self._enter = enter
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="ingrain-demo-")))
        self.deeds: Deeds = Counter()
        self._store = self._transfer("store", "serve")  # a server that is older than the agent
        self._addresses: dict[str, tuple[str, int]] = json.loads(_line(self._store))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def run(self) -> None:
        """Do it all."""
        self._look_up()
        self._shake_hands()
        self._move_bytes()

    def _look_up(self) -> None:
        port = _free_port(socket.SOCK_DGRAM)
        self._start(
            *("dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root"),
            *("--pid-file=", f"--port={port}", "--listen-address=127.0.0.1,::1", "--bind-interfaces", *_RECORDS),
        )
        _until(lambda: _answers(port), "dnsmasq does not answer")
        for server in ("127.0.0.1", "::1"):
            for name, kind, expected in _LOOKUPS:
                dig = self._start("dig", f"@{server}", "-p", str(port), "+tries=1", "+noall", "+comments", name, kind)
                said, _ = dig.communicate(timeout=20)
                found = re.search(r"status: (\w+)", said)
                if not found or found[1] != expected:
                    raise DemoError(f"dig {name} {kind} said {said!r}")
                self.deeds["dig", f"DNS query {name} {kind}"] += 1
                self.deeds["dig", f"DNS answer received, {name} {kind} {found[1]}"] += 1
                self.deeds["dnsmasq", f"DNS answer sent, {name} {kind} {found[1]}"] += 1

    def _shake_hands(self) -> None:
        key, certificate = self._folder / "key.pem", self._folder / "certificate.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=demo.test"),
                *("-keyout", str(key), "-out", str(certificate), "-days", "1"),
            ],
            check=True,
            capture_output=True,
        )
        for host in ("127.0.0.1", "[::1]"):
            port = _free_port(socket.SOCK_STREAM)
            self._start(
                *("openssl", "s_server", "-quiet", "-accept", f"{host}:{port}"),
                *("-key", str(key), "-cert", str(certificate), "-alpn", "h2"),
            )
            _until(lambda h=host, p=port: _listens(h.strip("[]"), p), "openssl s_server does not listen")  # type: ignore[misc]
            for version, option in (("TLS 1.2", "-tls1_2"), ("TLS 1.3", "-tls1_3")):
                name = f"{option[1:].replace('_', '-')}.demo.test"
                client = self._start(
                    *("openssl", "s_client", "-connect", f"{host}:{port}", option, "-servername", name, "-alpn", "h2")
                )
                said, _ = client.communicate("", timeout=20)
                found = re.search(r"Cipher is (\S+)", said)
                if not found or found[1] == "(NONE)":
                    raise DemoError(f"openssl s_client {option} said {said!r}")
                agreed = f"{version} {_CIPHERS.get(found[1], found[1])}"
                self.deeds["openssl", f"TLS ClientHello sent, {name}"] += 1
                self.deeds["openssl", f"TLS ServerHello received, {agreed}"] += 1
                self.deeds["openssl", f"TLS ClientHello received, {name}"] += 1
                self.deeds["openssl", f"TLS ServerHello sent, {agreed}"] += 1

    def _move_bytes(self) -> None:
        sizes = {"TCP IPv4": 3_000_001, "TCP IPv6": 2_000_003, "UDP IPv4": 200_000, "UDP IPv6": 100_000}
        for name, shown, factor in (
            ("backup", "backup", 1),
            ("conn1", "docker_conn_proxy", 2),
            ("conn2", "docker_conn_proxy", 3),
        ):
            plan = [
                [what, self._addresses[what], size * factor // 1000 * 1000 + size % 1000]
                for what, size in sizes.items()
            ]
            mover = self._transfer(name, "send")
            said, _ = mover.communicate(json.dumps(plan) + "\n", timeout=60)
            self._note(shown, json.loads(said))
            for what in sizes:
                if what.startswith("TCP"):
                    self.deeds[shown, f"{what} connections opened"] += 1
                    self.deeds["store", f"{what} connections accepted"] += 1
        said, _ = self._store.communicate(timeout=20)
        self._note("store", json.loads(said.splitlines()[-1]))

    def _note(self, process: str, done: dict[str, int]) -> None:
        for what, amount in done.items():
            self.deeds[process, f"{what}, bytes"] += amount

    def _transfer(self, name: str, role: str) -> subprocess.Popen[str]:
        return self._start(sys.executable, str(Path(__file__).with_name("transfer.py")), name, role)

    def _start(self, *command: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=self._enter,  # noqa: PLW1509 there are no threads in the demo yet that hold a lock
        )
        self._stack.callback(_end, program)
        return program


def _end(program: subprocess.Popen[Any]) -> None:
    program.kill()
    program.communicate()


def _line(program: subprocess.Popen[str]) -> str:
    line = program.stdout.readline() if program.stdout else ""
    if not line:
        raise DemoError("a process of the workload ended at once")
    return line


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET6, kind) as probe:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("::", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    """Whether something is bound there: asking it would be a look-up that the agent sees too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _listens(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError:
            return True
    return False


def _until(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            raise DemoError(failure)
        time.sleep(0.02)
    time.sleep(0.05)
