"""Traffic of real programs, recorded by dumpcap in a network namespace that holds nothing else.

`unshare --net --mount --pid --fork --kill-child python record.py SCENE FILE` plays one of the scenes, and writes the
packets to FILE. Where a program that the scene needs is missing, exit status 77, and its name on standard output.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

LACKING = 77
FOUR, SIX = "127.0.0.1", "::1"
_LIBC = ctypes.CDLL(None, use_errno=True)
_PATIENCE = 60.0  # seconds for a program to do what it is waited for


class Lacking(Exception):  # noqa: N818 - no error, but a reason to leave a scene out
    """What a scene needs is not on this machine."""


class Stage:
    """A namespace of this process's own, where programs run that end with it. `folder` is theirs to write to."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._logs: dict[int, Path] = {}

    def need(self, *programs: str) -> None:
        """Raises Lacking where one of them is not installed."""
        missing = [program for program in programs if not shutil.which(program)]
        if missing:
            raise Lacking(", ".join(missing))

    def start(self, *command: str | Path, **environment: str) -> subprocess.Popen[bytes]:
        """A program that goes on until the scene is over. What it says stands in a file."""
        log = self.folder / f"{Path(command[0]).name}-{len(self._logs)}.log"
        with log.open("wb") as said:
            program = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=said, stderr=said, env={**os.environ, **environment}
            )
        self._logs[program.pid] = log
        self._stack.callback(_end, program)
        return program

    def says(self, program: subprocess.Popen[bytes], words: bytes) -> None:
        """Waits until a program that was started has said this."""
        log = self._logs[program.pid]
        wait(lambda: words in log.read_bytes(), f"{log.stem} does not say {words.decode()}")

    def run(self, *command: str | Path, said: bytes = b"", **environment: str) -> bytes:
        """A client's run, whatever comes of it: what counts is what it sent. Returns what it printed."""
        return subprocess.run(
            command, input=said, capture_output=True, check=False, timeout=60, env={**os.environ, **environment}
        ).stdout

    @staticmethod
    def browsers() -> Any:
        """curl_cffi: a curl with BoringSSL that offers what browsers do: GREASE, ECH, post-quantum keys."""
        try:
            return importlib.import_module("curl_cffi")
        except ImportError:
            raise Lacking("curl_cffi (of the dev dependencies)") from None

    def together(self, *commands: Sequence[str | Path]) -> None:
        """Clients' runs, a few at the same time."""
        for first in range(0, len(commands), 6):
            running = [
                subprocess.Popen(one, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                for one in commands[first : first + 6]
            ]
            for program in running:
                program.wait(60)

    def own_etc(self) -> None:
        """What is written to /etc and /run from here on is seen by this scene's programs alone, and gone with it."""
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
        for folder in ("upper", "work"):
            Path("/run", folder).mkdir()
        options = "lowerdir=/etc,upperdir=/run/upper,workdir=/run/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, "/etc"], check=True)

    def certificate(self) -> Path:
        """A file with a new key and a certificate of its own."""
        self.need("openssl")
        file, only = self.folder / "certificate.pem", self.folder / "only.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a.test", "-days", "1",
             "-keyout", file, "-out", only],
            check=True, capture_output=True,
        )  # fmt: skip
        file.write_text(file.read_text() + only.read_text())
        return file

    def listening(self, port: int, host: str = FOUR) -> None:
        """Waits until connections to that port are taken."""
        wait(lambda: _connects(host, port), f"nothing listens on {host} port {port}")


def wait(done: Callable[[], bool], otherwise: str) -> None:
    """Until something is done. Raises TimeoutError where it never is."""
    end = time.monotonic() + _PATIENCE
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        time.sleep(0.02)


def _connects(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _end(program: subprocess.Popen[bytes]) -> None:
    program.kill()
    program.wait()


@contextmanager
def recorded(file: Path, *options: str, namespace: str = "") -> Iterator[None]:
    """All packets go to the file, a few to the discard port at both ends among them. Raises OSError where one was lost.

    options: dumpcap's. namespace: that of the network, by its name; without, this process's own. dumpcap tells neither
    when it begins to see packets nor when it has written what it saw, so those are waited for.
    """
    inside = ("ip", "netns", "exec", namespace) if namespace else ()
    command = [*inside, "dumpcap", "-q", "-B", "64", *options, "-w", str(file)]
    with _sender(namespace) as sender, subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as dumpcap:
        try:
            _seen(sender, file, b"the scene begins")
            yield
            _seen(sender, file, b"the scene is over")
        finally:
            dumpcap.terminate()
            _out, told = dumpcap.communicate(timeout=_PATIENCE)
    if "/0 (pcap:0/dumpcap:0" not in told:
        raise OSError(f"dumpcap lost packets: {told}")


def _sender(namespace: str) -> socket.socket:
    """A UDP socket of the namespace: a thread that enters it for good makes it."""

    def make() -> socket.socket:
        if namespace:
            with Path("/run/netns", namespace).open() as there:
                if _LIBC.setns(there.fileno(), 0):
                    raise OSError(ctypes.get_errno(), f"the namespace {namespace} cannot be entered")
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


def _seen(sender: socket.socket, file: Path, mark: bytes) -> None:
    def is_there() -> bool:
        sender.sendto(mark, (FOUR, 9))
        time.sleep(0.05)
        return file.exists() and mark in file.read_bytes()

    wait(is_there, f"dumpcap does not write {file}")


Scene = Callable[[Stage], None]


def main(scenes: dict[str, Scene], name: str, file: Path) -> int:
    """Plays a scene on a loopback whose segments are no larger than an Ethernet's."""
    subprocess.run(["ip", "link", "set", "lo", "up", "mtu", "1500", "gso_max_segs", "1"], check=True)
    try:
        with ExitStack() as stack, recorded(file, "-i", "lo"):
            scenes[name](Stage(file.parent, stack))
    except Lacking as error:
        sys.stdout.write(str(error))
        return LACKING
    return 0


if __name__ == "__main__":
    import scenes_dns
    import scenes_quic
    import scenes_tls

    sys.exit(main({**scenes_dns.SCENES, **scenes_tls.SCENES, **scenes_quic.SCENES}, sys.argv[1], Path(sys.argv[2])))
