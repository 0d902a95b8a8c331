"""An object as DuckDB's threads share it: each reads what it asked for, whatever the others do meanwhile."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ingrain.query.files import Shared

SIZE = 100_000


def opened(folder: Path) -> Shared:
    """A file in which each four bytes are their own number."""
    file = folder / "object"
    file.write_bytes(b"".join(at.to_bytes(4, "little") for at in range(SIZE // 4)))
    return Shared(io.FileIO(file))


def test_a_thread_reads_where_it_went_though_another_has_moved_meanwhile(tmp_path: Path) -> None:
    shared, moved = opened(tmp_path), threading.Event()

    def other() -> int:
        assert moved.wait(60)
        shared.seek(4)
        return int.from_bytes(shared.read(4) or b"", "little")

    with ThreadPoolExecutor() as pool, shared:
        told = pool.submit(other)
        shared.seek(400)
        moved.set()
        assert told.result(60) == 1
        assert shared.tell() == 400
        assert int.from_bytes(shared.read(4) or b"", "little") == 100
        assert shared.tell() == 404


def test_positions_are_counted_from_the_beginning_from_here_and_from_the_end(tmp_path: Path) -> None:
    with opened(tmp_path) as shared:
        assert shared.seek(-4, io.SEEK_END) == SIZE - 4
        assert int.from_bytes(shared.read() or b"", "little") == SIZE // 4 - 1
        assert shared.seek(-8, io.SEEK_CUR) == SIZE - 8
        assert shared.seek(8) == 8
        assert int.from_bytes(shared.read(4) or b"", "little") == 2


def test_many_threads_at_once_each_read_their_own_part(tmp_path: Path) -> None:
    with opened(tmp_path) as shared, ThreadPoolExecutor(8) as pool:

        def part(at: int) -> bool:
            shared.seek(4 * at)
            return int.from_bytes(shared.read(4) or b"", "little") == at

        assert all(pool.map(part, range(SIZE // 4)))
