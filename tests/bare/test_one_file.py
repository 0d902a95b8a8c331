"""What dist/ingrain is made of, where it unpacks that, and what a start or an upgrade must not be disturbed by."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from agents import OWN, agent
from bare import CACHE, PROGRAM, ROOT, Bare, system
from serving import until
from test_service_unit import calls, groups, setting

from ingrain import __version__
from ingrain.onefile import native, start

pytestmark = [pytest.mark.dist, pytest.mark.timeout(900)]

PACKAGE = ROOT / "dist" / f"ingrain_{__version__}_amd64.deb"
NEEDED = re.compile(r"\bGLIBC_(\d+)\.(\d+)")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that is unpacked."""
    if not PROGRAM.exists():
        pytest.skip("dist/ingrain is not there: make dist")
    folder = tmp_path_factory.mktemp("files")
    with (
        zipfile.ZipFile(PROGRAM) as whole,
        whole.open(start.PAYLOAD) as packed,
        tarfile.open(fileobj=packed, mode="r|xz") as tree,
    ):
        tree.extractall(folder)
    return folder


@pytest.fixture
def bare() -> Bare:
    """One of the systems, with nothing unpacked there."""
    if os.geteuid() != 0:
        pytest.skip("only root can make systems and enter them")
    return system("bookworm")


def natives(files: Path) -> Iterator[Path]:
    for path in (PROGRAM, *files.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF" and path.suffix != ".o":  # probes are for the kernel
                    yield path


def test_no_file_needs_a_newer_glibc_than_that_of_the_oldest_system(files: Path) -> None:
    newest: dict[str, tuple[int, ...]] = {}
    for path in natives(files):
        told = subprocess.run(["objdump", "-T", path], capture_output=True, text=True, check=True).stdout
        newest[path.name] = max((tuple(map(int, found)) for found in NEEDED.findall(told)), default=(0, 0))
    assert len(newest) > 30
    assert newest["ingrain"] > (2, 0)
    assert not {name: version for name, version in newest.items() if version > native.GLIBC}


def test_every_library_that_a_file_needs_is_glibc_s_or_comes_along(files: Path) -> None:
    parts = ("c.so.6", "m.so.6", "dl.so.2", "rt.so.1", "util.so.1", "pthread.so.0")
    glibc = {"ld-linux-x86-64.so.2", *(f"lib{part}" for part in parts)}
    there = {path.name for path in files.rglob("*")}
    needed: set[str] = set()
    for path in natives(files):
        told = subprocess.run(["readelf", "--dynamic", path], capture_output=True, text=True, check=True).stdout
        needed |= set(re.findall(r"\(NEEDED\).*\[(.+)\]", told))
    assert "libarrow.so" in {name.partition(".so")[0] + ".so" for name in needed}
    assert needed <= glibc | there


def test_it_tells_what_it_is_made_of_and_has_the_licences(files: Path) -> None:
    with zipfile.ZipFile(PROGRAM) as whole:
        parts = dict(line.split(" ", 1) for line in whole.read("manifest").decode().splitlines())
    assert parts["ingrain"] == __version__
    assert {"libpython3.11-dev", "libssl-dev", "libbpf1", "libelf1", "libstdc++6", "pyarrow", "boto3"} <= set(parts)
    licences = {path.name for path in (files / "licenses").iterdir()}
    linked = {"libssl-dev", "libffi-dev", "libexpat1-dev", "liblzma-dev", "zlib1g-dev", "libbpf1", "libstdc++6"}
    assert {"ingrain", "python3.11", *linked} <= licences
    assert linked <= set(parts)


def test_a_later_start_unpacks_nothing(bare: Bare) -> None:
    assert bare.run("ingrain", "--version").returncode == 0
    (tree,) = (bare.root / CACHE).iterdir()
    before = tree.stat().st_ino
    done = bare.run("ingrain", "--version", also='mount --bind "$root" "$root"; mount -o remount,bind,ro "$root"')
    assert done.returncode == 0, done.stderr
    assert [path.stat().st_ino for path in (bare.root / CACHE).iterdir()] == [before]


def test_a_system_that_can_only_be_read_needs_one_folder(bare: Bare) -> None:
    reading = 'mount --bind "$root" "$root"; mount -o remount,bind,ro "$root"'
    done = bare.run("ingrain", "--version", also=reading)
    assert done.returncode == 1
    assert "/var/cache/ingrain (Read-only file system); name one: INGRAIN_CACHE=/FOLDER" in done.stderr
    given = f'{reading}; mount -t tmpfs -o mode=755 none "$root/run"'
    done = bare.run("ingrain", "--version", also=given, env={**os.environ, "CACHE_DIRECTORY": "/run/ingrain"})
    assert done.returncode == 0, done.stderr
    done = bare.run("ingrain", "--version", also=given, env={**os.environ, start.OVERRIDE: "/run/ingrain"})
    assert done.returncode == 0, done.stderr
    barred = given.replace("mode=755", "mode=755,noexec")
    done = bare.run("ingrain", "--version", also=barred, env={**os.environ, start.OVERRIDE: "/run/ingrain"})
    assert (done.returncode, "/run/ingrain (it is mounted noexec)" in done.stderr) == (1, True)


def test_it_needs_no_variable_no_path_and_no_proc(bare: Bare) -> None:
    done = bare.run("env", "-i", "/usr/local/bin/ingrain", "--version", also='umount --lazy "$root/proc"')
    assert (done.returncode, done.stdout) == (0, f"ingrain {__version__}\n"), done.stderr


@pytest.mark.parametrize("name", ["PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONINSPECT", "LC_ALL"])
def test_it_does_not_listen_to_variables_that_are_for_python(bare: Bare, tmp_path: Path, name: str) -> None:
    for module in ("encodings", "start", "sitecustomize", "ingrain"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit(99)")
    words = ("sh", "-c", f"cd {tmp_path} && exec env {name}={tmp_path} ingrain --version")
    done = bare.run(*words, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_user_who_is_not_root_has_it_in_his_own_folder(bare: Bare) -> None:
    home = bare.root / "home" / "somebody"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    os.chown(home, 1234, 1234)
    words = ("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "ingrain", "--version")
    done = bare.run(*words, env={"PATH": os.environ["PATH"], "HOME": "/home/somebody"})
    assert done.returncode == 0, done.stderr
    (tree,) = (home / ".cache" / "ingrain").iterdir()
    assert (tree.stat().st_uid, tree.stat().st_mode & 0o777) == (1234, 0o700)


def test_with_capabilities_of_its_own_it_loads_nothing_of_a_user_s(bare: Bare) -> None:
    program = bare.root / "usr/local/bin/ingrain"
    subprocess.run(["setcap", "cap_bpf+ep", program], check=True)
    words = ("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "ingrain", "--version")
    done = bare.run(*words, env={"PATH": os.environ["PATH"], start.OVERRIDE: "/tmp"})
    assert done.returncode == 1
    assert "its libraries have to be in /usr/lib/ingrain" in done.stderr


def test_a_running_agent_keeps_its_own_file_when_another_takes_its_place(bare: Bare, tmp_path: Path) -> None:
    own = OWN.format(socket=tmp_path / "status.sock")
    before = f'{own}[pipeline.out.config]\nbackend = "Console"\n'
    after = f'{own}[pipeline.out.config]\nbackend = "Archive"\npath = "{tmp_path / "archive"}"\nroll_s = 1\n'
    with agent(before, tmp_path, command=bare.command("ingrain")) as running:
        other = bare.root / "usr/local/bin/other"
        other.write_bytes(b"\x7fELF" + bytes(PROGRAM.stat().st_size))
        other.rename(bare.root / "usr/local/bin/ingrain")
        running.reload(after)  # takes modules that it did not have before
        until("a file in the archive", lambda: list((tmp_path / "archive").rglob("*.parquet")))


def test_systemd_s_unit_forbids_nothing_that_its_first_start_does(bare: Bare, tmp_path: Path) -> None:
    cache, trace = tmp_path / "cache", tmp_path / "trace"
    command = ["strace", "-f", "-q", "-o", str(trace), str(bare.root / "usr/local/bin/ingrain"), "--version"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "CACHE_DIRECTORY": str(cache)})
    assert list(cache.iterdir())
    made = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", trace.read_text(errors="replace"), re.MULTILINE))
    assert {"flock", "syncfs", "rename"} <= made
    assert made - set(calls([*setting("SystemCallFilter"), "@default"], groups())) == set()


def test_debian_s_checker_finds_no_error_in_the_package() -> None:
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed")
    done = subprocess.run(["lintian", "--fail-on", "error", PACKAGE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_package_unpacks_nothing_keeps_its_configuration_and_goes_without_a_trace(bare: Bare) -> None:
    (bare.root / "usr/local/bin/ingrain").unlink()
    shutil.copy(PACKAGE, bare.root / "package.deb")
    assert bare.run("dpkg", "--install", "/package.deb").returncode == 0
    done = bare.run("ingrain", "check", "/etc/ingrain/ingrain.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (bare.root / CACHE).exists()
    config = bare.root / "etc/ingrain/ingrain.toml"
    config.write_text("# mine\n")
    assert bare.run("dpkg", "--install", "/package.deb").returncode == 0
    assert config.read_text() == "# mine\n"
    assert bare.run("dpkg", "--verify", "ingrain").stdout.split() == ["??5??????", "c", "/etc/ingrain/ingrain.toml"]
    assert bare.run("dpkg", "--purge", "ingrain").returncode == 0
    assert not [*bare.root.glob("usr/**/*ingrain*"), *bare.root.glob("etc/ingrain*")]
