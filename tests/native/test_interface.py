"""`interface`: packets of a device of the agent's own network namespace, whatever number it has there and elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from agents import agent
from conftest import Start, Talker, Watch, read

SEND = """
import socket, sys
for line in sys.stdin:
    size, address = line.split()
    with socket.socket(type=socket.SOCK_DGRAM) as near:
        near.sendto(b"x" * int(size), (address, 9))
    print(size, flush=True)
"""


@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_device_of_the_same_number_in_another_network_namespace_is_another(
    watch: Callable[..., Watch], start: Start, namespace: str, opened: str
) -> None:
    here, there = Talker(start, "here"), Talker(start, "there", "ip", "netns", "exec", namespace)

    def open_all() -> None:
        for one in (here, there):
            one("socket", "s", family=4, proto="udp")

    watched = watch("Network", extra='interface = "lo"')
    if opened == "before":
        open_all()
    with watched():
        if opened == "after":
            open_all()
        here("sendto", "s", size=100, to=here("bind", "far", family=4, proto="udp"))
        there("sendto", "s", size=3, to=there("bind", "far", family=4, proto="udp"))
    for way in ("out", "in"):
        assert [(row["process"], row["value"]) for row in watched.rows(f"volume.{way}")] == [("here", 100)]


def test_a_device_is_seen_again_when_it_was_made_anew(
    group: Path, start: Start, namespace: str, tmp_path: Path
) -> None:
    def ip(*words: str) -> None:
        subprocess.run(["ip", "-n", namespace, *words], check=True)

    def make() -> None:
        ip("link", "add", "wire", "type", "bridge")
        ip("address", "add", "192.0.2.1/24", "dev", "wire")
        ip("link", "set", "wire", "up")

    make()
    sender = start("ip", "netns", "exec", namespace, sys.executable, "-c", SEND)

    def send(size: int, address: str) -> None:
        assert sender.stdin
        assert sender.stdout
        sender.stdin.write(f"{size} {address}\n")
        sender.stdin.flush()
        assert sender.stdout.readline() == f"{size}\n"

    toml = f'[agent]\nsocket = "{tmp_path / "status.sock"}"\n'
    toml += f'[[probe]]\npipelines = ["a"]\n[probe.config]\ntype = "Network"\ncgroup = "{group.name}"\n'
    toml += f'interface = "wire"\n[pipeline.a.config]\nbackend = "Archive"\npath = "{tmp_path / "archive"}"\n'
    with agent(toml, tmp_path, before=("nsenter", f"--net=/run/netns/{namespace}")) as running:
        send(1, "192.0.2.2")
        send(10, "127.0.0.1")
        ip("link", "delete", "wire")
        running.wait_for("wire is gone")
        ip("link", "add", "other", "type", "bridge")  # takes a number
        make()
        running.wait_for("wire is another device now")
        send(100, "192.0.2.2")
        send(1000, "127.0.0.1")
    assert sorted(row["value"] for row in read(tmp_path / "archive", "volume.out")) == [1, 100]


def test_an_interface_that_is_not_there_is_an_error_that_names_those_that_are(
    group: Path, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        f'[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "DNS"\ncgroup = "{group.name}"\ninterface = "eth7"\n'
        '[pipeline.out.config]\nbackend = "Console"\n'
    )
    command = ["nsenter", f"--net=/run/netns/{namespace}", sys.executable, "-m", "ingrain", "run", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "there is no interface eth7 here; there are: lo" in done.stderr
