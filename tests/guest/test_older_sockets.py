"""What is done to find the owners of older sockets leaves their traffic class (net_cls of cgroup v1) as it is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Start, Talker

from ingrain.kernel import sockets
from ingrain.kernel.libbpf import KernelError
from ingrain.kernel.sockets import Seeding
from ingrain.owners import load_owners


@pytest.fixture
def classes(kernel: str, tmp_path: Path) -> Iterator[Path]:
    """The hierarchy of net_cls."""
    if kernel == "native":
        pytest.skip("a hierarchy of cgroup v1 is for the whole machine")
    folder = tmp_path / "net_cls"
    folder.mkdir()
    subprocess.run(["mount", "-t", "cgroup", "-o", "net_cls", "net_cls", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_older_sockets_keep_their_traffic_class(kernel: str, group: Path, start: Start, classes: Path) -> None:
    talker = Talker(start, "talker")
    own = classes / "own"
    own.mkdir()
    (own / "net_cls.classid").write_text("0x100001")
    (own / "cgroup.procs").write_text(str(talker.pid))
    port = talker("listen", "l", family=4, proto="tcp")[1]

    def told() -> str:
        command = ["ss", "--tcp", "--listening", "--tos", "--no-header", f"sport = :{port}"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert "class_id:0x100001" in told()
    with load_owners() as owners:
        assert sockets.borrow(group, owners) == Seeding(unreachable=1)
        assert "class_id:0x100001" in told()
        try:
            assert sockets.iterate(group, owners) == Seeding(noted=1)
        except KernelError:
            if kernel != "5.10":
                raise
            return
    assert "class_id:0x100001" in told()
