"""Files of engines that are no such files: nothing in their place is waited for, followed, or taken for a record."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from engines import ID, Host, put
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingrain.containers.documents import Documents, listing
from ingrain.containers.paths import Engine, Place
from ingrain.containers.record import Record
from ingrain.containers.records import Records
from ingrain.text import harmless

PLACES = (
    f"var/lib/docker/containers/{ID}/config.v2.json",
    "var/lib/containers/storage/overlay-containers/containers.json",
    f"var/lib/containers/storage/overlay-containers/{ID}/userdata/config.json",
    f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json",
    "etc/docker/daemon.json",
    "etc/passwd",
)
"""Every file that is read."""

UID = "8f1f2c55-9a64-4bd3-8c6a-0d8f1b1f2c33"


def find_all(root: Path) -> list[Record | None]:
    records = Records(root)
    return [records.find(Place(ID, engine, UID, user)) for engine in Engine for user in (None, 1000)]


def text_of(data: bytes) -> str:
    return data.decode()


def test_a_fifo_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    for place in PLACES:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / place)
    ended = threading.Event()

    def look() -> None:
        assert not any(find_all(tmp_path))
        ended.set()

    threading.Thread(target=look, daemon=True).start()
    assert ended.wait(60), "it waits for somebody to write into a FIFO"


@pytest.mark.parametrize("link", ["the file", "a folder on the way"])
def test_a_link_is_not_followed(tmp_path: Path, link: str) -> None:
    real, there = tmp_path / "secret" / "file", tmp_path / "root" / "below"
    put(real, b"secret")
    there.parent.mkdir()
    if link == "the file":
        there.mkdir()
        (there / "file").symlink_to(real)
    else:
        there.symlink_to(real.parent)
    documents = Documents(text_of, 100)
    assert documents.read(tmp_path / "root", "below", "file") is None
    assert documents.read(tmp_path / "secret", "file") == "secret"


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    documents = Documents(text_of, 100)
    put(tmp_path / "fits", b"x" * 100)
    put(tmp_path / "not", b"x" * 101)
    assert documents.read(tmp_path, "fits") == "x" * 100
    assert documents.read(tmp_path, "not") is None
    assert Documents(text_of, 100).read(Path("/proc/self"), "maps") is None  # claims to have no bytes, and has many
    os.truncate(tmp_path / "not", 1 << 40)
    assert documents.read(tmp_path, "not") is None


def test_folders_devices_and_what_is_absent_are_none(tmp_path: Path) -> None:
    documents = Documents(text_of, 100)
    (tmp_path / "folder").mkdir()
    assert documents.read(tmp_path, "folder") is None
    assert documents.read(Path("/dev"), "zero") is None
    assert documents.read(tmp_path, "absent") is None
    assert documents.read(tmp_path / "absent", "too") is None


def test_a_half_written_file_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = Host(tmp_path).docker(ID, "web1")
    whole = path.read_bytes()
    records = Records(tmp_path)
    for upto in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:upto])
        assert records.find(Place(ID, Engine.DOCKER)) is None
    path.write_bytes(whole)
    assert records.find(Place(ID, Engine.DOCKER)) == Record("web1", "nginx:1.25")


def test_a_file_that_did_not_change_is_read_once_and_one_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    read: list[bytes] = []

    def decode(data: bytes) -> bytes:
        read.append(data)
        return data

    documents = Documents(decode, 100)
    put(tmp_path / "file", b"one")
    time.sleep(0.15)  # what has just changed may change again within the clock's tick
    assert [documents.read(tmp_path, "file") for _ in range(5)] == [b"one"] * 5
    assert len(read) == 1
    (tmp_path / "file").unlink()
    assert documents.read(tmp_path, "file") is None
    put(tmp_path / "file", b"two")
    assert documents.read(tmp_path, "file") == b"two"


def test_a_file_that_changes_within_the_clocks_tick_is_read_again(tmp_path: Path) -> None:
    documents = Documents(text_of, 100)
    for number in range(200):
        (tmp_path / "file").write_text(f"{number:03}")
        assert documents.read(tmp_path, "file") == f"{number:03}"


BOMBS = {
    "nested lists": b"[" * 900_000,
    "nested objects": b'{"Config":' * 90_000,
    "an object of lists": b'{"Config":{"Labels":' + b"[" * 500_000,
    "a long number": b'{"Name":' + b"9" * 900_000 + b"}",
    "a wide list": b'{"Name":[' + b"[]," * 300_000 + b"[]]}",
    "a wide list that nobody asked for": b'{"other":[' + b"[]," * 300_000 + b"[]]}",
    "no UTF-8": b'{"Name":"/\xff\xfe","Config":{"Image":"\xc3\x28"}}',
    "half a pair": b'{"Name":"/\\ud800"}',
    "nothing": b"",
    "null": b"null",
    "a byte order mark": b'\xef\xbb\xbf{"Name":"/web"}',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_json_that_is_no_record_is_none(tmp_path: Path, bomb: bytes) -> None:
    for place in PLACES:
        put(tmp_path / place, bomb)
    assert not any(find_all(tmp_path))


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "Name",
                    "Config",
                    "Image",
                    "Labels",
                    "id",
                    "names",
                    "metadata",
                    "annotations",
                    "data-root",
                    "image-name",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
_LABELS = st.dictionaries(
    st.sampled_from(["io.kubernetes.pod.name", "io.kubernetes.cri.container-name", "io.kubernetes.cri-o.ImageName"]),
    st.text(max_size=2000),
)
_RECORDS = st.one_of(
    st.binary(max_size=200),
    _JSON.map(lambda value: json.dumps(value).encode()),
    st.builds(
        lambda name, labels: json.dumps({"Name": name, "Config": {"Labels": labels}}).encode(), st.text(), _LABELS
    ),
    st.builds(lambda name: json.dumps([{"id": ID, "names": [name], "metadata": name}]).encode(), st.text()),
    _LABELS.map(lambda labels: json.dumps({"annotations": labels}).encode()),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.lists(_RECORDS, min_size=len(PLACES), max_size=len(PLACES)))
def test_whatever_stands_there_makes_safe_text_of_bounded_length(tmp_path: Path, contents: list[bytes]) -> None:
    for place, content in zip(PLACES, contents, strict=True):
        put(tmp_path / place, content)
    for record in find_all(tmp_path):
        if record is not None:
            for text in (record.name, record.image, record.pod, record.namespace):
                assert text is None or (text and harmless(text) == text and len(text) <= 8 * 1024)
                assert text is None or text.encode("utf-8")


def test_a_folder_with_very_many_names_is_looked_at_as_far_as_its_limit(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).touch()
    assert len(listing(tmp_path, 20)) == 20
    assert len(listing(tmp_path, 100)) == 50
    assert listing(tmp_path / "absent", 20) == []
