"""Real containers of a real engine are told by their names: from their first packet on, and by a new one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Watch
from serving import until

from guest.containers import Container, Podman
from ingrain.agent import Agent
from ingrain.kernel import cgroup

pytestmark = pytest.mark.timeout(900)  # an emulated processor takes seconds for each of podman's commands

PARENT = "libpod_parent"
"""The cgroup that podman's are below, with `--cgroup-manager cgroupfs`."""

CONNECT = "ifconfig lo up 2> /dev/null; nc -w 1 127.0.0.1 {} < /dev/null"
"""Nobody listens there: the connection's beginning is seen, and refused."""


@pytest.fixture
def watching(tmp_path: Path) -> Watch:
    (cgroup.mount() / PARENT).mkdir(exist_ok=True)
    toml = (
        f'[[probe]]\npipelines = ["archive"]\n[probe.config]\ntype = "Network"\ncgroup = "{PARENT}"\n'
        f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{tmp_path / "archive"}"\n'
    )
    return Watch(toml, tmp_path)


@contextmanager
def running(watching: Watch) -> Iterator[Agent]:
    with watching() as agent:
        yield agent
        containers = agent._probes.containers
        assert containers is not None
        assert containers.late == 0


def connections(watching: Watch) -> dict[int, tuple[str | None, ...]]:
    """Destination's port -> whose connection it was."""
    columns = ("process", "container_id", "container", "image", "pod", "namespace")
    return {row["d_port"]: tuple(row[name] for name in columns) for row in watching.rows("connection.out")}


def is_over(container: Container) -> None:
    until("its first process to end", lambda: not Path(f"/proc/{container.pid}").exists())


def test_a_container_s_first_packet_has_its_name(watching: Watch, podman: Podman) -> None:
    with (
        running(watching),
        podman.run("web1", CONNECT.format(4001)) as one,
        podman.run("web2", CONNECT.format(4002)) as other,
    ):
        is_over(one)
        is_over(other)
    assert connections(watching) == {
        4001: ("nc", one.id, "web1", None, None, None),
        4002: ("nc", other.id, "web2", None, None, None),
    }


def test_one_that_runs_before_the_agent_has_its_name_and_its_new_name_when_it_gets_one(
    watching: Watch, podman: Podman
) -> None:
    script = f"while ! [ -e /tmp/go1 ]; do sleep 0.2; done; {CONNECT.format(4003)}; touch /tmp/done1;"
    script += f"while ! [ -e /tmp/go2 ]; do sleep 0.2; done; {CONNECT.format(4004)}"
    inside = podman.root / "tmp"
    with podman.run("before", script) as container, running(watching) as agent:
        containers = agent._probes.containers
        assert containers is not None
        (inside / "go1").touch()
        until("its first connection", (inside / "done1").exists)
        subprocess.run(["podman", "rename", "before", "after"], check=True, capture_output=True)
        known = containers._known[cgroup.identifier(cgroup.find(container.cgroup))]
        assert known is not None
        until("the new name", lambda: known.identity.container == "after")
        (inside / "go2").touch()
        is_over(container)
    assert connections(watching) == {
        4003: ("nc", container.id, "before", None, None, None),
        4004: ("nc", container.id, "after", None, None, None),
    }


def test_a_container_tells_the_image_that_it_was_made_of(watching: Watch, podman: Podman) -> None:
    """podman.run makes containers of a folder; this one is made of an image of it."""
    image = "localhost/tiny:1"
    packed = subprocess.run(["tar", "-C", str(podman.root), "-c", "."], check=True, capture_output=True).stdout
    subprocess.run(["podman", "import", "-", image], input=packed, check=True, capture_output=True)
    options = ["--runtime", "crun", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
    run = ["run", "--rm", "--name", "shop", "--network", "none", "--log-driver", "none", image]
    with running(watching):
        command = ["podman", *options, *run, "/bin/sh", "-c", CONNECT.format(4005)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode in {0, 1}, done.stderr
    ((process, container_id, *rest),) = connections(watching).values()
    assert (process, rest) == ("nc", ["shop", image, None, None])
    assert container_id is not None
    assert len(container_id) == 64
