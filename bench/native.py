"""The bench's own native parts: compiled at the beginning, and the load generator as a process that can be steered."""

from __future__ import annotations

import json
import mmap
import os
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).parent
_WARNINGS = ("-O2", "-Wall", "-Wextra", "-Werror")
UNLIMITED = (1 << 64) - 1
FLOOD_FRAME = bytes(12) + b"\x08\x00" + bytes([0x45, 0, 0, 20]) + bytes(16)
"""The least that BPF_PROG_TEST_RUN takes for a packet; the flood does not look at it."""


def compile_all(folder: Path) -> None:
    """Compile the programs in C and the BPF objects into the folder. Raises CalledProcessError where clang fails."""
    for name in ("flood", "empty"):
        compile_bpf(name, folder)
    for name in ("generate", "reader", "receiver"):
        _clang([*_WARNINGS, HERE / f"{name}.c", "-o", folder / name, "-lbpf"])


def compile_bpf(name: str, folder: Path) -> None:
    """Compile one BPF object into the folder. Raises CalledProcessError where clang fails."""
    found = subprocess.run(["gcc", "-print-multiarch"], check=False, capture_output=True, text=True)
    include = f"/usr/include/{found.stdout.strip() or os.uname().machine + '-linux-gnu'}"
    bpf = ["-target", "bpf", "-mcpu=v2", "-g", f"-I{HERE.parent / 'probes' / 'core'}", "-idirafter", include, "-c"]
    _clang([*_WARNINGS, *bpf, HERE / f"{name}.bpf.c", "-o", folder / f"{name}.bpf.o"])


def _clang(arguments: Sequence[str | Path]) -> None:
    subprocess.run(["clang", *map(str, arguments)], check=True)


@dataclass(frozen=True, slots=True)
class Generated:
    """What a generator did: program runs, how long it was at it, and its processor seconds."""

    done: int
    seconds: float
    cpu_s: float


class Generator:
    """`generate` at work on one CPU, from `__enter__` to `stop`.

    programs: descriptors of BPF programs. frames: each with the number of the program it is for. repeat: runs of one
    frame in a row, at the most. rate: runs a second, 0 for no limit. closed: nothing runs beyond `allow`.
    """

    def __init__(
        self,
        folder: Path,
        programs: Sequence[int],
        frames: Iterable[tuple[int, bytes]] = ((0, FLOOD_FRAME),),
        *,
        cpu: int = -1,
        repeat: int = 4096,
        rate: float = 0.0,
        closed: bool = False,
    ) -> None:
        self._frames = tempfile.NamedTemporaryFile(dir=folder, suffix=".frames")  # noqa: SIM115 closed by stop()
        for program, frame in frames:
            self._frames.write(struct.pack("=II", program, len(frame)) + frame + bytes(-len(frame) % 4))
        self._frames.flush()
        self._control = tempfile.NamedTemporaryFile(dir=folder, suffix=".control")  # noqa: SIM115 closed by stop()
        self._control.truncate(16)
        self._shared = mmap.mmap(self._control.fileno(), 16)
        self._programs = tuple(programs)
        self._command = [folder / "generate", cpu, self._frames.name, repeat, rate, self._control.name, *programs]
        self._process: subprocess.Popen[str] | None = None
        self._done: Generated | None = None
        self.allow(0 if closed else UNLIMITED)

    def allow(self, runs: int) -> None:
        """How many runs there may have been, all in all."""
        self._shared[:8] = struct.pack("=Q", runs)

    @property
    def done(self) -> int:
        """How many runs there were."""
        return int(struct.unpack_from("=Q", self._shared, 8)[0])

    def start(self) -> Self:
        """Begin."""
        command = [str(word) for word in self._command]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=self._programs)
        return self

    def stop(self) -> Generated:
        """End, once; what it did. Raises RuntimeError where the generator failed."""
        if self._done is None:
            self._done = self._end()
        return self._done

    def _end(self) -> Generated:
        try:
            if self._process is None:
                return Generated(0, 0.0, 0.0)
            self._process.terminate()
            said, _ = self._process.communicate()
            if self._process.returncode:
                raise RuntimeError(f"the generator failed with exit code {self._process.returncode}")
            told = json.loads(said)
            return Generated(**told)
        finally:
            self._shared.close()
            self._control.close()
            self._frames.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
