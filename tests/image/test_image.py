"""The image of docker/Dockerfile builds, holds what the agent needs and no more, and its agent runs as in a pod."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from built import Image, rights_of_the_pod
from conftest import Start, Talker, group, start

from ingrain.kernel.host import CAPABILITIES

pytestmark = [pytest.mark.image, pytest.mark.timeout(4000)]
__all__ = ["group", "start"]

MB = 1_000_000
LARGEST = 400 * MB
"""Half of it is the agent's libraries; the rest is what debootstrap makes, more than `debian:12-slim`, and Python."""


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    made = Image(tmp_path_factory.mktemp("image"))
    made.build()
    return made


@pytest.fixture
def container(image: Image) -> Iterator[str]:
    with image.container() as name:
        yield name


def said(image: Image, container: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(image.run(container, *command), capture_output=True, text=True, check=False)


def rights_of(pid: int) -> set[int]:
    """Bits of the capabilities that a process has."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    held = int(status["CapEff"], 16)
    return {bit for bit in range(held.bit_length()) if held >> bit & 1}


def test_it_is_started_as_the_agent_and_is_small(image: Image, container: str) -> None:
    assert image.settings()["Entrypoint"] == ["/opt/ingrain/bin/ingrain"]
    size = said(image, container, "du", "--bytes", "--summarize", "--one-file-system", "/")
    assert int(size.stdout.split()[0]) < LARGEST


def test_it_holds_no_compiler_and_nothing_that_installs_packages(image: Image, container: str) -> None:
    for program in ("cc", "gcc", "clang", "make", "pip", "pip3", "/opt/ingrain/bin/pip"):
        assert said(image, container, "sh", "-c", f"command -v {program}").returncode != 0, program


def test_every_example_in_it_is_one_that_it_takes(image: Image, container: str) -> None:
    listed = said(image, container, "sh", "-c", "ls /etc/ingrain/*.toml").stdout.split()
    assert len(listed) > 5
    for example in listed:
        done = said(image, container, "ingrain", "check", example)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_agent_in_it_sees_with_the_rights_of_the_pod_and_has_given_up_what_it_does_not_need(
    image: Image, container: str, start: Start, group: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir(mode=0o700)
    (tmp_path / "ingrain.toml").write_text(
        '[agent]\nsocket = "/tmp/status.sock"\n'
        f'[[probe]]\npipelines = ["lines", "s3"]\n[probe.config]\ntype = "Network"\ncgroup = "{group.name}"\n'
        '[pipeline.lines.config]\nbackend = "Archive"\npath = "/out/archive"\nformat = "jsonl"\n'
        '[pipeline.s3.config]\nbackend = "S3"\nbucket = "logs"\nendpoint_url = "http://127.0.0.1:9"\n'
        'spool = "/out/spool"\n'
    )
    volumes = [f"{tmp_path / 'ingrain.toml'}:/etc/ingrain/ingrain.toml:ro", f"{tmp_path / 'out'}:/out"]
    inside = "ingrain run /etc/ingrain/ingrain.toml --account /out/account.json"
    # Its first line is the id of the agent's own process: a signal to buildah would not reach it.
    command = image.run(container, "sh", "-c", f"echo $$; exec {inside}", volumes=volumes)
    one, other = Talker(start, "one"), Talker(start, "other")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        pid = int(process.stdout.readline())
        heard = ""
        for line in process.stderr:
            heard += line
            if "running; " in line:
                break
        else:
            pytest.fail(heard)
        held = rights_of(pid)
        one("storm", count=50, to=other("bind", "u", family=4, proto="udp"))
        subprocess.run(["kill", f"-{signal.SIGTERM.value}", str(pid)], check=True)
        heard += process.communicate(timeout=300)[1]
    assert process.returncode == 0, heard
    assert held >= {bit for bit, _ in CAPABILITIES.values()}
    assert len(held) <= len(rights_of_the_pod())
    told = json.loads((tmp_path / "out/account.json").read_text())
    (network,) = told["probes"]
    assert network["handed_over"] == network["received"] == 100
    assert told["pipelines"]["lines"][-1]["delivered"] == network["records"]
    assert told["pipelines"]["s3"][-1]["spooled"] == network["records"]
