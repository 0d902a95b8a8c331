"""A replay that waits for its server shows on a terminal how much of it is delivered."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from frames import CLIENT, Tape, pcap, query, udp

RESOLVER = (bytes([192, 0, 2, 53]), 53)


@pytest.fixture
def server() -> Iterator[tuple[str, threading.Event]]:
    """One that answers when it is let."""
    may = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            assert may.wait(60)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_address[1]}/in", may
        may.set()
        serving.shutdown()


def test_what_is_not_delivered_yet_is_shown_on_a_terminal(server: tuple[str, threading.Event], tmp_path: Path) -> None:
    url, may = server
    tape = Tape()
    for number in range(10):
        tape.add(udp(CLIENT, RESOLVER, query(f"n{number}.test")))
    (tmp_path / "capture").write_bytes(pcap(tape.frames))
    (tmp_path / "config.toml").write_text(
        '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "DNS"\n'
        f'[pipeline.out.config]\nbackend = "HTTP"\nuri = "{url}"\n'
    )
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ingrain", "replay", str(tmp_path / "capture")]
    environment = {**os.environ, "STATE_DIRECTORY": str(tmp_path / "state")}
    with subprocess.Popen(
        [*command, "--config", str(tmp_path / "config.toml")], stderr=theirs, env=environment
    ) as replaying:
        os.close(theirs)
        shown = b""
        try:
            while b"% delivering" not in shown:
                shown += os.read(ours, 1 << 16)
            may.set()
            while b"\x1b[K" not in shown:
                shown += os.read(ours, 1 << 16)
            assert replaying.wait(60) == 0
        finally:
            replaying.kill()
            os.close(ours)
    assert b"[" + b" " * 40 + b"]   0% delivering" in shown
