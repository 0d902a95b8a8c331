"""A spool folder with anything in it, as an agent finds it when it starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from spooling import KEY, put
from spooling import spool as opened

from fuzz.target import Chosen, Target, piece, scratch
from ingrain.backends.spool import DamagedError, _told

_NAME_BYTES = 255
_FILE, _FOLDER, _LINK, _FIFO, _TWICE = range(5)


def spool(data: bytes) -> bool:
    """What is no object is left alone; each object is read as it was put there; one that is added comes after all."""
    chosen = Chosen(data)
    folder = scratch() / "spool"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(0o700)
    while chosen.left:
        kind = chosen.number() % 5
        name = chosen.piece().replace(b"/", b"").replace(b"\0", b"")[:_NAME_BYTES]
        _make(kind, folder / os.fsdecode(name), folder / f"twin {chosen.left}", chosen.piece())
    before = _names_in(folder)
    with opened(folder) as made:
        found = sorted(made)
        for one in found:
            assert os.fsencode(one.name) in before
            try:
                with made.read(one) as file:
                    assert len(file.read()) == one.size
            except DamagedError:
                assert (folder / one.name).stat().st_size != one.size
        added = put(made, content=b"new")
        assert sorted(made) == [*found, added]
        assert max(made) == added
    left = _names_in(folder)
    assert left - before == {added.name.encode()}
    for name in before - left:
        assert name.endswith(b".part")
    with opened(folder) as made:
        assert sorted(made) == [*found, added]
    return bool(found)


def _names_in(folder: Path) -> set[bytes]:
    return {os.fsencode(path.name) for path in folder.iterdir()}


def _make(kind: int, path: Path, twin: Path, content: bytes) -> None:
    """Something of that kind, unless something of that name is there."""
    if os.path.lexists(path):
        return
    if kind == _FOLDER:
        path.mkdir()
    elif kind == _LINK:
        path.symlink_to("/etc/hostname")
    elif kind == _FIFO:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
        if kind == _TWICE:
            twin.hardlink_to(path)


def spool_names(data: bytes) -> bool:
    """A name is an object's only where it is the one that the object would have."""
    name = data.decode("utf-8", "surrogateescape")
    one = _told(name)
    if one is None:
        return False
    assert one.name == name
    assert not one.key.startswith("/")
    assert not {"", ".", ".."} & set(one.key.split("/"))
    return True


def _left() -> Iterable[bytes]:
    name = f"{1_740_830_400_000_000_000}-3-4-{KEY.format(1).replace('/', ',')}".encode()
    for kind in range(5):
        yield bytes([kind]) + piece(name) + piece(b"PAR1")
    yield b"\0" + piece(b"3.part") + piece(b"cut off") + b"\0" + piece(b"notes.txt") + piece(b"")
    yield b"\0" + piece(b"7-1-4-a") + piece(b"PAR1") + b"\0" + piece(b"007-1-4-b") + piece(b"PAR1")


def _names() -> Iterable[bytes]:
    return (b"1740830400000000000-3-4-" + KEY.format(1).replace("/", ",").encode(), b"7-1-4-a", b"007-1-4-..")


TARGETS = (
    Target("spool", spool, _left, 1, longest=1024),
    Target("spool_names", spool_names, _names, 50, longest=300),
)
