"""The containers' half of the demo: what two real containers did, and what Files, Container and Process saw of it.

`python -m ingrain.demo.tracing` is this half alone. It runs where the kernel can be traced: on this machine, or in a
guest (guest.py).
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from ingrain.demo import agent, seen
from ingrain.demo.agent import DemoError
from ingrain.demo.deeds import Deeds, show
from ingrain.demo.podman import PARENT, Container, Podman, PodmanError
from ingrain.demo.seen import Row
from ingrain.kernel import cgroup
from ingrain.text import bytes_of

PROBES = ("Container", "Files", "Process")

_CONFIG = """\
[[probe]]
pipelines = ["archive"]
[probe.config]
type = "Container"
cgroup = "{cgroup}"

[[probe]]
pipelines = ["archive"]
[probe.config]
type = "Process"
cgroup = "{cgroup}"

[[probe]]
pipelines = ["archive"]
[probe.config]
type = "Files"
cgroup = "{cgroup}"
monitor_dirs = ["/etc", "/tmp"]
ignore_dirs = ["/tmp/private"]

[pipeline.archive.config]
backend = "Archive"
path = "{archive}"
"""

_STORE = """\
read go < /tmp/go
i=0; while [ $i -lt 500 ]; do echo "order $i is taken"; i=$((i+1)); done
echo "a card was refused" >&2
"""
"""It is older than the agent: of its beginning nothing is seen."""

_WEB = """\
echo web is up
i=0; while [ $i -lt 1000 ]; do echo "GET /page/$i 200"; i=$((i+1)); done
echo "the disk is almost full" >&2
/bin/cat /etc/passwd > /tmp/copy
/bin/cat /etc/passwd
/bin/mv /tmp/copy /etc/accounts
/bin/chmod 600 /etc/accounts
/bin/rm /etc/accounts
/bin/mkdir /tmp/private
/bin/cp /etc/passwd /tmp/private/passwd
read bye < /tmp/bye
exit 3
"""
_COMMANDS = {"sh": 1, "cat": 2, "mv": 1, "chmod": 1, "rm": 1, "mkdir": 1, "cp": 1}
"""The programs that it executes; by their paths, since this shell has them inside, too."""

_PATHS = ("/etc/passwd", "/etc/accounts", "/tmp/copy", "/tmp/private")  # noqa: S108 in the container

_PATIENCE_S = 120


def _of_the_script(passwd: int) -> Deeds:
    """What `_WEB` does to files; passwd: bytes of /etc/passwd. What it does below /tmp/private nobody wants to know."""
    return Counter(
        {
            ("web", "cat opened /etc/passwd"): 2,
            ("web", "cat read /etc/passwd, bytes"): 2 * passwd,
            ("web", "sh opened /tmp/copy"): 1,
            ("web", "cat wrote /tmp/copy, bytes"): passwd,
            ("web", "mv renamed /tmp/copy to /etc/accounts"): 1,
            ("web", "chmod made /etc/accounts 0600"): 1,
            ("web", "rm deleted /etc/accounts"): 1,
            ("web", "cp opened /etc/passwd"): 1,
            ("web", "cp read /etc/passwd, bytes"): passwd,
        }
    )


_FILES: dict[str, Callable[[Row], str]] = {
    "file.open": lambda row: f"opened {row['path']}",
    "file.read": lambda row: f"read {row['path']}, bytes",
    "file.write": lambda row: f"wrote {row['path']}, bytes",
    "file.rename": lambda row: f"renamed {row['path']} to {row['new_path']}",
    "file.chmod": lambda row: f"made {row['path']} {row['mode']}",
    "file.delete": lambda row: f"deleted {row['path']}",
}


def _printed(name: str, stream: str, texts: Iterable[bytes]) -> Deeds:
    """How much was printed, and what: the digest of it stands in the words, so another text is another deed."""
    lines = list(texts)
    digest = hashlib.sha256(b"\n".join(lines)).hexdigest()[:16]
    return Counter({(name, f"printed on {stream}, lines (sha256 {digest})"): len(lines)}) if lines else Counter()


def _did(container: Container, status: int, commands: dict[str, int]) -> Deeds:
    """What the engine recorded of a container, and which programs its script says."""
    name = container.name
    deeds: Deeds = Counter()
    for stream in ("stdout", "stderr"):
        texts = [line.line.encode(errors="surrogateescape") for line in container.printed() if line.stream == stream]
        deeds.update(_printed(name, stream, texts))
    deeds.update({(name, f"executed {program}"): count for program, count in commands.items()})
    deeds[name, f"ended with status {status}"] += 1
    return deeds


def _rows(archive: Path, measurement: str) -> list[Row]:
    """A measurement's records, in time order."""
    return sorted(seen.rows(archive, measurement), key=lambda row: int(row["timestamp"]))


def _saw(archive: Path, first: dict[str, int]) -> Deeds:
    """What the agent saw of the containers. first: process id of each one's first process, as the host counts."""
    deeds: Deeds = Counter()
    for stream in ("stdout", "stderr"):
        rows = _rows(archive, f"container.{stream}")
        for name in first:
            texts = [bytes_of(row["line"]) for row in rows if row["container"] == name]
            deeds.update(_printed(name, stream, texts))
    for row in _rows(archive, "process.exec"):
        if row["container"] in first:
            deeds[row["container"], f"executed {row['process']}"] += row["value"]
    for row in _rows(archive, "process.exit"):
        if row["process_id"] == first.get(row["container"]):
            deeds[row["container"], f"ended with status {row['status']}"] += row["value"]
    for measurement, tell in _FILES.items():
        for row in _rows(archive, measurement):
            if (row["path"] or _PATHS[0]).startswith(_PATHS):
                deeds[row["container"] or "(no container)", f"{row['process']} {tell(row)}"] += row["value"]
    return +deeds


def _who_accessed(archive: Path, path: str) -> None:
    """Which processes accessed a file, and when: one of the questions that an archive is for."""
    print(f"\nWhich processes accessed {path}, and when? From the archive:\n")
    rows = [
        (row["timestamp"], row["container"] or "", row["process"], row["process_id"], tell(row), row["value"])
        for measurement, tell in _FILES.items()
        for row in _rows(archive, measurement)
        if row["path"] == path
    ]
    for stamp, container, process, number, what, value in sorted(rows):
        seconds, rest = divmod(int(stamp), 1_000_000_000)
        hours, minutes = seconds // 3600 % 24, seconds // 60 % 60
        when = f"{hours:02}:{minutes:02}:{seconds % 60:02}.{rest // 1000:06}"
        print(f"  {when}  {container:<8} {process:<8} {number:>6}  {what:<34} {value:>8,}")


def run() -> bool:
    """Run it; whether what was seen is what was done. Raises DemoError."""
    folder = Path(tempfile.mkdtemp(prefix="ingrain-demo-"))
    archive, config = folder / "archive", folder / "demo.toml"
    (cgroup.mount() / PARENT).mkdir(exist_ok=True)
    config.write_text(_CONFIG.format(cgroup=PARENT, archive=archive))
    try:
        podman = Podman(folder)
        go, bye = podman.root / "tmp" / "go", podman.root / "tmp" / "bye"
        os.mkfifo(go)
        os.mkfifo(bye)
        print("\nA container starts, then the agent, then another container:\n", flush=True)
        with podman.run("store", _STORE) as store, agent.running(config):
            with podman.run("web", _WEB) as web:
                _say(go)
                _say(bye)
                ended = {one.name: podman.wait(one) for one in (store, web)}
            first = {one.name: one.pid for one in (store, web)}
        passwd = len((podman.root / "etc" / "passwd").read_bytes())
        did = _did(store, ended["store"], {}) + _did(web, ended["web"], _COMMANDS) + _of_the_script(passwd)
    except PodmanError as error:
        raise DemoError(str(error)) from error
    print("\nWhat the containers did, by their engine's log and their scripts, and what the agent recorded:")
    equal = show(did, _saw(archive, first))
    _who_accessed(archive, "/etc/passwd")
    return equal


def _say(fifo: Path) -> None:
    """A line to the shell that reads from there, as soon as it does. Raises DemoError where it never does."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > deadline:
                raise DemoError(f"nobody reads {fifo}: the container's shell has ended") from error
            time.sleep(0.05)
        else:
            os.write(descriptor, b"go\n")
            os.close(descriptor)
            return


def main() -> int:
    """Run this half; its exit code."""
    try:
        return 0 if run() else 1
    except DemoError as error:
        print(f"the demo failed: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
