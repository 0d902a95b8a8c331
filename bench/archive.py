"""Questions to a day of events: how long they take, in how much memory, and how many bytes an event takes on disk.

A seeded generator makes a host's day (connections, volumes, DNS, TLS, files, programs) and has the agent's own writer
write it; the same events of one measurement stand beside as gzipped JSON lines, and are asked the same. Run it as
`python bench/archive.py FOLDER --events 100000000`; the folder is kept, and used again when it holds that day.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingrain.account import Station
from ingrain.backends.archive import Archive, ArchiveSettings
from ingrain.batch import TEXT, TIMESTAMP, Batch, Measurement
from ingrain.query.schema import measurements

DAY_NS = 86_400_000_000_000
FIRST = 1_740_787_200_000_000_000
"""2025-03-01 00:00 UTC, in ns."""

WHEN = ("--since", "2025-03-01T00:00:00Z", "--until", "2025-03-02T00:00:00Z")
SHARES = {  # of a host's events
    "volume.out": 0.20,
    "volume.in": 0.20,
    "file.open": 0.25,
    "file.read": 0.10,
    "connection.out": 0.08,
    "dns.query": 0.06,
    "dns.answer": 0.06,
    "tls.handshake.clienthello": 0.03,
    "process.exec": 0.02,
}
SAME = "file.open"
"""What stands beside as JSON lines, too."""

BATCH = 50_000
RARE = 10_000  # one event of so many is of the path and name that are asked for
QUESTIONS = {
    "who-accessed": ("who-accessed", "/etc/passwd"),
    "looked-up": ("looked-up", "rare.example.test"),
    "top-talkers": ("top-talkers",),
}


class Day:
    """A generator of records. Names are of Zipf's kind: a few are most of what is seen."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._chance = np.random.default_rng(seed)
        self._pools: dict[str, pa.Array] = {
            "process": _texts("proc-{}", 200),
            "container": _texts("service-{}", 40),
            "container_id": pa.array([f"{n:064x}" for n in range(40)]),
            "image": _texts("registry.example/team/image-{}:1.0", 40),
            "path": pa.array(["/etc/passwd", *(f"/srv/app-{n % 97}/data/{n}.db" for n in range(20_000))]),
            "q_name": pa.array(["rare.example.test", *(f"host-{n}.zone-{n % 211}.test" for n in range(20_000))]),
            "sni": _texts("host-{}.test", 5_000),
            "s_ip": _addresses(50),
            "d_ip": _addresses(20_000),
            "ja3": pa.array([f"{n:032x}" for n in range(60)]),
            "ja4": pa.array([f"t13d1516h2_{n:012x}_{n * 7:012x}" for n in range(60)]),
            "executable": _texts("/usr/bin/program-{}", 300),
            "cwd": _texts("/srv/app-{}", 100),
            "parent": _texts("parent-{}", 50),
        }
        self._counts = False  # whether `value` counts bytes, and is not 1 an event
        self._few = {
            "proto": pa.array(["tcp", "udp"]),
            "direction": pa.array(["out", "in"]),
            "q_type": pa.array(["A", "AAAA", "HTTPS"]),
            "rcode": pa.array(["NOERROR", "NXDOMAIN"]),
            "flags": pa.array(["O_RDONLY", "O_RDWR", "O_WRONLY|O_CREAT|O_TRUNC"]),
            "device": pa.array(["259:1", "0:27"]),
            "client_version": pa.array(["TLS 1.3", "TLS 1.2"]),
        }

    def batch(self, measurement: Measurement, start: int, end: int, rows: int) -> Batch:
        """So many records, in order, between two moments (ns, UTC)."""
        # Each batch for itself: what stands in both forms is the same, whatever else is made.
        self._chance = np.random.default_rng([self._seed, zlib.crc32(measurement.name.encode()), start])
        stamps = np.sort(self._chance.integers(start, end, rows))
        whose = self._zipf(rows, 200)
        self._counts = measurement.unit != "events"
        columns = [self._column(field, stamps, whose) for field in measurement.schema]
        return Batch(measurement, pa.RecordBatch.from_arrays(columns, schema=measurement.schema))

    def _column(  # noqa: PLR0911 - a line a kind
        self, field: pa.Field, stamps: npt.NDArray[np.int64], whose: npt.NDArray[np.int64]
    ) -> pa.Array:
        rows, name = len(stamps), field.name
        if name == "timestamp":
            return pa.array(stamps, TIMESTAMP)
        if name in ("process", "container", "container_id", "image"):  # one process is in one container
            pool = self._pools[name]
            return pa.DictionaryArray.from_arrays(pa.array((whose % len(pool)).astype(np.int32)), pool)
        if name in ("process_id", "process_uid", "cgroup_id", "uid"):
            return pa.array(whose * (2_654_435_761 if name == "process_uid" else 1) + 1000).cast(field.type)
        if name in self._pools:
            return self._named(name, rows)
        if name in self._few:
            return self._drawn(self._few[name], self._chance.integers(0, len(self._few[name]), rows))
        if pa.types.is_boolean(field.type):
            return pa.array(self._chance.random(rows) < 0.05)  # noqa: PLR2004 - a flag is rare
        if pa.types.is_integer(field.type):
            return self._number(name, rows).cast(field.type)
        if pa.types.is_list(field.type):
            return self._list(field.type, rows)
        return pa.nulls(rows, TEXT) if field.type == TEXT else pa.nulls(rows, field.type)

    def _named(self, name: str, rows: int) -> pa.Array:
        pool = self._pools[name]
        drawn = self._zipf(rows, len(pool) - 1) + 1
        if name in ("path", "q_name"):
            drawn[self._chance.random(rows) < 1 / RARE] = 0
        return self._drawn(pool, drawn)

    def _number(self, name: str, rows: int) -> pa.Array:  # noqa: PLR0911 - a line a column
        match name:
            case "value" if not self._counts:
                return pa.array(np.ones(rows, np.int64))
            case "d_port":
                return pa.array(self._chance.choice(np.array([443, 80, 53, 5432, 6379]), rows))
            case "s_port":
                return pa.array(self._chance.integers(32_768, 61_000, rows))
            case "latency_ns":
                return pa.array(self._chance.integers(200_000, 80_000_000, rows))
            case "inode":
                return pa.array(self._zipf(rows, 20_000) + 131_072)
            case "value":
                return pa.array(self._zipf(rows, 1_000_000) * 13)
            case _:
                return pa.array(self._zipf(rows, 1000))

    def _list(self, kind: pa.DataType, rows: int) -> pa.Array:
        if pa.types.is_struct(kind.value_type):
            offsets = pa.array(np.arange(rows + 1, dtype=np.int32))
            fields = [
                self._drawn(pool, self._zipf(rows, len(pool)))
                if pa.types.is_dictionary(one.type)
                else pa.array(self._chance.choice(np.array([60, 300, 3600]), rows)).cast(one.type)
                for one, pool in zip(kind.value_type, self._pool_of(kind.value_type), strict=True)
            ]
            return pa.ListArray.from_arrays(
                offsets, pa.StructArray.from_arrays(fields, fields=list(kind.value_type)), kind
            )
        lists = pa.array([[f"item-{n}", "h2", "http/1.1"] for n in range(60)])
        taken = lists.take(pa.array(self._zipf(rows, 60)))
        return pa.ListArray.from_arrays(taken.offsets, taken.values.dictionary_encode(), kind)

    def _pool_of(self, kind: pa.DataType) -> Iterator[pa.Array]:
        for one in kind:
            yield {"name": self._pools["q_name"], "type": self._few["q_type"], "data": self._pools["d_ip"]}.get(
                one.name, self._pools["process"]
            )

    def _zipf(self, rows: int, size: int) -> npt.NDArray[np.int64]:
        return np.minimum(self._chance.zipf(1.3, rows) - 1, 1 << 40) % size

    def _drawn(self, pool: pa.Array, drawn: npt.NDArray[np.int64]) -> pa.Array:
        used, places = np.unique(drawn, return_inverse=True)
        return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), pool.take(pa.array(used)))


def _texts(form: str, count: int) -> pa.Array:
    return pa.array([form.format(n) for n in range(count)])


def _addresses(count: int) -> pa.Array:
    return pa.array([f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(count)])


def write(folder: Path, events: int, seed: int, objects_an_hour: int) -> None:
    """A day of events, and one measurement's again as JSON lines."""
    for form, chosen in (("parquet", list(SHARES)), ("jsonl", [SAME])):
        place = folder / form
        shutil.rmtree(place, ignore_errors=True)
        backend = Archive(ArchiveSettings(path=str(place), format=form), Station(form))  # type: ignore[arg-type]
        day = Day(seed)
        step = DAY_NS // (24 * objects_an_hour)
        for start in range(FIRST, FIRST + DAY_NS, step):
            for name in chosen:
                left = round(events * SHARES[name] / (24 * objects_an_hour))
                pieces = max(1, -(-left // BATCH))
                for piece in range(pieces):
                    begin = start + step * piece // pieces
                    backend.deliver(day.batch(measurements()[name], begin, begin + step // pieces, left // pieces))
            backend.flush()
        backend.close()
        assert not backend.station.lost, backend.station
        print(f"{form}: {backend.station.delivered:,} events in {backend.station.detail['objects']:,} objects")


@dataclass(frozen=True, slots=True, order=True)
class Took:
    """What a command took: seconds on the clock and of processors, resident memory at the most (KiB), its lines."""

    seconds: float
    cpu_s: float
    memory: int
    rows: int

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s ({self.cpu_s:.2f} CPU s), {self.memory >> 10} MB, {self.rows:,} rows"


def asked(folder: Path, *words: str) -> Took:
    """A question, asked by the command line."""
    command = [sys.executable, "-m", "ingrain", "ask", *words, *WHEN, "--archive", str(folder), "--format", "json"]
    return timed(command)


def timed(command: list[str]) -> Took:
    """Any command that prints lines."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        said = process.stdout.read() if process.stdout else b""
        _pid, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Took(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss, said.count(b"\n"))


def peers(folder: Path) -> dict[str, Callable[[], Took]]:
    """The same question to gzipped JSON lines: by DuckDB, and by zcat and grep."""
    files = str(folder / "jsonl/**/*.jsonl.gz")
    sql = f"SELECT * FROM read_json('{files}') WHERE path = '/etc/passwd'"
    quiet = "import duckdb; duckdb.sql('SET enable_progress_bar = false')"
    duckdb = [
        sys.executable,
        "-c",
        f"{quiet}; [print(row) for row in duckdb.sql({sql!r}).fetchall()]",
    ]
    grep = f"find '{folder}/jsonl' -name '*.gz' | xargs zcat | (grep -F '\"path\":\"/etc/passwd\"'; true)"
    return {"DuckDB": lambda: timed(duckdb), "zcat and grep": lambda: timed(["sh", "-c", grep])}


def size(folder: Path) -> int:
    """Bytes of all its files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Write the day where it is not there, and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000, help="in the day; 1,000,000 by default")
    parser.add_argument("--objects-an-hour", type=int, default=1, help="of each measurement; a live agent makes 60")
    parser.add_argument("--seed", type=int, default=20_250_301)
    parser.add_argument("--tries", type=int, default=3, help="of which the best is told")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has been compiled, too
    made = {"events": options.events, "objects": options.objects_an_hour, "seed": options.seed}
    note = options.folder / "made.json"
    if not note.exists() or json.loads(note.read_text()) != made:
        begun = time.perf_counter()
        write(options.folder, options.events, options.seed, options.objects_an_hour)
        note.write_text(json.dumps(made))
        print(f"written in {time.perf_counter() - begun:,.0f} s")
    parquet, lines = options.folder / "parquet", options.folder / "jsonl"
    print(f"an event on disk: {size(parquet) / options.events:.1f} bytes as Parquet")
    same, same_lines = size(parquet / f"measurement={SAME}"), size(lines)
    count = options.events * SHARES[SAME]
    print(f"of {SAME}: {same / count:.1f} bytes as Parquet, {same_lines / count:.1f} as gzipped JSON lines")
    for name, words in QUESTIONS.items():
        print(f"{name}: {min(asked(parquet, *words) for _ in range(options.tries))}")
    for name, ask in peers(options.folder).items():
        took = min(ask() for _ in range(options.tries))
        print(f"who-accessed, of {SAME} in gzipped JSON lines, by {name}: {took}")


if __name__ == "__main__":
    main()
