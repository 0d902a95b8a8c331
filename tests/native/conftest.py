"""A cgroup of the tests' own on this machine's kernel, programs that run inside it, and an agent that watches it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from ingrain import config
from ingrain.account import Account
from ingrain.agent import Agent
from ingrain.kernel import cgroup, host
from ingrain.kernel.cgroup import CgroupError

HERE = Path(__file__).parent
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _rights() -> None:
    """These tests load programs into this kernel."""
    _held, missing = host.capabilities()
    if missing:
        pytest.skip(f"loading programs natively needs {', '.join(missing)}: run as root")
    try:
        cgroup.mount()
    except CgroupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", autouse=True)
def _patient() -> Iterator[None]:
    """A busy machine takes long to end what runs in a cgroup."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cgroup, "_REMOVE_S", 60.0)
        yield


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup that holds only what a test puts in; whatever still runs in it is ended with the test."""
    with cgroup.temporary(f"ingrain-test-{os.getpid()}-{next(_numbers)}") as folder:
        yield folder


Start = Callable[..., subprocess.Popen[str]]


@contextmanager
def starting(group: Path) -> Iterator[Start]:
    """Start programs in the cgroup, with pipes; they are ended at the end."""
    with ExitStack() as stack:

        def _start(*command: str | Path, **options: Any) -> subprocess.Popen[str]:
            program = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: cgroup.enter(group),  # noqa: PLW1509 it only writes a file
                **options,
            )
            stack.enter_context(program)
            stack.callback(program.kill)
            return program

        yield _start


@pytest.fixture
def start(group: Path) -> Iterator[Start]:
    """Start a program in the cgroup, with pipes; it is ended with the test."""
    with starting(group) as start:
        yield start


class Talker:
    """`talker.py` in the test's cgroup, under a name of its own; a call is an order, and its result the answer."""

    def __init__(self, start: Start, name: str, *inside: str) -> None:
        self._program: subprocess.Popen[str] = start(*inside, sys.executable, HERE / "talker.py")
        self.name = name
        self("rename", to=name)
        self.pid = self("pid")

    def __call__(self, do: str, name: str = "", **order: Any) -> Any:
        self.begin(do, name, **order)
        return self.answer()

    def begin(self, do: str, name: str = "", **order: Any) -> None:
        assert self._program.stdin
        self._program.stdin.write(json.dumps({"do": do, "name": name, **order}) + "\n")
        self._program.stdin.flush()

    def answer(self) -> Any:
        assert self._program.stdout
        return json.loads(self._program.stdout.readline())


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with only a loopback."""
    name = f"ingrain-test-{os.getpid()}"
    if not shutil.which("ip"):
        pytest.skip("ip (iproute2) is not installed")
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


class Watch:
    """An agent that runs in this process, archives to a folder, and what it gave when it was stopped."""

    def __init__(self, toml: str, folder: Path) -> None:
        self.file = folder / "config.toml"
        self.file.write_text(toml)
        self._archive = folder / "archive"
        loaded = config.load(self.file)
        by = msgspec.structs.replace(loaded.agent, loader=os.environ["INGRAIN_TEST_LOADER"])
        self.agent = Agent(replace(loaded, agent=by))
        self.account: Account

    @contextmanager
    def __call__(self) -> Iterator[Agent]:
        self.agent.start()
        try:
            yield self.agent
        finally:
            self.account = self.agent.stop()

    def rows(self, measurement: str) -> list[dict[str, Any]]:
        """All records of a measurement in the archive."""
        return read(self._archive, measurement)


def read(archive: Path, measurement: str) -> list[dict[str, Any]]:
    """Records of a measurement in an archive, by pyarrow's own reader; timestamps as nanoseconds."""
    import pyarrow.parquet as pq  # noqa: PLC0415 not every test needs it

    rows: list[dict[str, Any]] = []
    for path in sorted((archive / f"measurement={measurement}").rglob("*.parquet")):
        table = pq.ParquetFile(path).read()
        at = table.schema.get_field_index("timestamp")
        table = table.set_column(at, "timestamp", table.column(at).cast(pa.int64()))
        rows += table.to_pylist()
    return rows


def watching(cgroup: str, folder: Path, *probes: str, extra: str = "") -> Watch:
    """An agent with these probes on a cgroup, into an archive. extra: lines of their settings."""
    toml = "".join(
        f'[[probe]]\npipelines = ["archive"]\n[probe.config]\ntype = "{probe}"\ncgroup = "{cgroup}"\n{extra}\n'
        for probe in probes
    )
    toml += f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{folder / "archive"}"\n'
    return Watch(toml, folder)


@pytest.fixture
def watch(group: Path, tmp_path: Path) -> Callable[..., Watch]:
    """An agent with these probes on the test's cgroup, into an archive."""
    return partial(watching, group.name, tmp_path)


@pytest.fixture
def replay(tmp_path: Path) -> Callable[..., Any]:
    """A capture's replay in this process: replaying.py."""
    import replaying  # noqa: PLC0415 it needs this module

    return replaying.replaying(tmp_path, replaying.here)


@pytest.fixture
def replay_apart(tmp_path: Path) -> Callable[..., Any]:
    """The same as an operator has it, in a process of its own."""
    import replaying  # noqa: PLC0415 it needs this module

    return replaying.replaying(tmp_path, replaying.apart)
