"""Fetches kernels for guests into .cache/kernels/VERSION: `python -m guest.fetch all`, or some suites, or none.

Without a suite it is the distribution's own, whose kernel has its headers, too: for the distribution's BCC. Debian's
archive is asked for the newest kernel of each suite with lists and settings of apt's that are kept below the cache too:
the machine's own stay as they are, and nothing is installed. A kernel that is there and still the newest is not fetched
again. Where the archive cannot be asked, the kernel that is there is used, and that is said.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from guest import kernels

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
UNRELEASED = "sid"
"""The suite that has no security updates of its own."""

_PARTS = re.compile(r"\b(linux-(?:image|binary|modules|base)-\d\S*) \(= ([^)]+)\)")
"""What a kernel's packages depend on and is part of it; the rest is for installing it."""
_HEADERS = re.compile(r"\b(linux-headers-\S+-common) \(= ([^)]+)\)")
"""What a kernel's headers depend on and is part of them; the rest is for building modules."""


class FetchError(RuntimeError):
    """A kernel could not be had; the message says which, and what failed."""


class Index:
    """Debian's packages of one suite, as apt knows them, with lists, settings and state in a folder of their own."""

    def __init__(self, suite: str, folder: Path) -> None:
        self._suite = suite
        self._sources = folder / "debian.sources"
        for name in ("lists/partial", "cache/archives/partial", "state"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        settings = {
            "Dir::Etc::SourceList": self._sources,
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": folder / "state",
            "Dir::State::Status": folder / "status",
            "Dir::State::Lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "APT::Sandbox::User": "root",  # apt's own user may not be able to write here
        }
        self._settings = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]

    def update(self) -> None:
        """Ask the archive. Raises FetchError where none of those that may have the suite answers with all of it."""
        errors = []
        for archive in _archives(self._suite):
            self._sources.write_text("\n".join(_source(*part) for part in archive))
            try:
                self._run("apt-get", "update", "-qq", "--error-on=any")
            except FetchError as error:
                errors.append(str(error))
            else:
                return
        raise FetchError("\n".join(errors))

    def show(self, package: str) -> str:
        """What is told of the newest version of a package."""
        return self._run("apt-cache", "show", "--no-all-versions", package)

    def download(self, packages: dict[str, str], folder: Path) -> None:
        """Download these versions of packages."""
        self._run("apt-get", "download", "-qq", *(f"{name}={version}" for name, version in packages.items()), at=folder)

    def _run(self, command: str, *words: str, at: Path | None = None) -> str:
        line = [command, *self._settings, *words]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=at)
        if done.returncode:
            said = "; ".join((done.stderr or done.stdout).strip().splitlines())
            raise FetchError(f"{command} {' '.join(words)} ({self._suite}) failed: {said}")
        return done.stdout


def _archives(suite: str) -> Iterator[list[tuple[str, str, bool]]]:
    """Where the suite and its security updates may be: address, suite, and whether that is still kept up to date.

    First where this machine has its own suites from, then where Debian keeps the old ones.
    """
    codename = kernels.own_suite()
    own = _own(codename) or "http://deb.debian.org/debian"
    own_security = _own(f"{codename}-security") or "http://deb.debian.org/debian-security"
    old = "http://archive.debian.org/debian"
    for main, security, current in ((own, own_security, True), (old, f"{old}-security", False)):
        yield [(main, suite, current)] + [(security, f"{suite}-security", current)] * (suite != UNRELEASED)


def _own(suite: str) -> str:
    """Where this machine's apt has a suite from; nothing where it has not."""
    wanted = ("Created-By: Packages", "Component: main", f"Codename: {suite}")
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted], capture_output=True, text=True, check=False
    )
    return next(iter(done.stdout.split()), "")


def _source(address: str, suite: str, current: bool) -> str:  # noqa: FBT001 a line of the file
    """A source in apt's form (sources.list(5), deb822)."""
    return (
        f"Types: deb\nURIs: {address}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
        f"Targets: Packages\nLanguages: none\nCheck-Valid-Until: {'yes' if current else 'no'}\n"
    )


def parts(show: Callable[[str], str], package: str) -> tuple[str, dict[str, str]]:
    """The version of a kernel's package, and the packages that it consists of with theirs.

    show: gives a package's description in Debian's form. Raises FetchError where that names no kernel.
    """
    version = field(show(package), "Version")
    found: dict[str, str] = {}
    pending = dict(_PARTS.findall(field(show(package), "Depends")))
    while pending:
        name, its_version = pending.popitem()
        found[name] = its_version
        further = dict(_PARTS.findall(field(show(name), "Depends")))
        pending |= {other: one for other, one in further.items() if other not in found}
    if not version or not found:
        raise FetchError(f"{package} {version} depends on no kernel")
    return version, found


def field(description: str, name: str) -> str:
    """A field of a package's description in Debian's form; nothing where it has none."""
    return next((line.partition(": ")[2] for line in description.splitlines() if line.startswith(f"{name}: ")), "")


def fetch(suite: str, cache: Path) -> str:
    """Have the newest kernel of a suite in the cache; what was done. Raises FetchError where there is none to use."""
    try:
        index = Index(suite, cache / "index" / suite)
        index.update()
        version, packages = parts(index.show, f"linux-image-{_architecture()}")
        there = kernels.cached(suite, cache)
        if there.version != version:
            _unpack(index, packages, cache / version, suite, version)
        if suite == kernels.own_suite():
            _add_headers(index, cache / version, kernels.cached(suite, cache).release)
        if there.version == version:
            return f"{suite}: {version}, the newest, is there"
    except (FetchError, OSError) as error:
        there = kernels.cached(suite, cache)
        if not there.version:
            raise FetchError(f"no kernel of {suite} could be fetched, and none is in {cache}: {error}") from error
        return f"{suite}: {there.version} is there and is used; whether it is the newest is not known: {error}"
    for folder in kernels.superseded(suite, version, cache):
        shutil.rmtree(folder)
    return f"{suite}: {version} fetched"


def _architecture() -> str:
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


def _unpack(index: Index, packages: dict[str, str], folder: Path, suite: str, version: str) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    archives = partial / "archives"
    archives.mkdir(parents=True)
    index.download(packages, archives)
    for archive in sorted(archives.iterdir()):
        _command("dpkg", "--extract", str(archive), str(partial))
    shutil.rmtree(archives)
    if not (partial / "lib").exists():  # where modules are below usr/lib only; kmod looks below lib
        (partial / "lib").symlink_to("usr/lib")
    for modules in (partial / "lib" / "modules").iterdir():
        _command("/usr/sbin/depmod", "--basedir", str(partial), modules.name)
    kernels.record(partial, suite, version)
    partial.rename(folder)


def _add_headers(index: Index, folder: Path, release: str) -> None:
    """Have the headers of the kernel in this folder below its usr/src, as they are where they are installed."""
    if (folder / "usr" / "src").exists():
        return
    name = f"linux-headers-{release}"
    told = index.show(name)
    partial = folder / "headers.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    index.download({name: field(told, "Version"), **dict(_HEADERS.findall(field(told, "Depends")))}, partial)
    for archive in sorted(partial.glob("*.deb")):
        _command("dpkg", "--extract", str(archive), str(partial))
    for link in partial.glob(f"**/lib/modules/{release}/*"):
        (folder / "lib" / "modules" / release / link.name).unlink(missing_ok=True)
        shutil.move(link, folder / "lib" / "modules" / release / link.name)
    (partial / "usr" / "src").rename(folder / "usr" / "src")
    shutil.rmtree(partial)


def _command(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FetchError(f"{' '.join(words)} failed: {done.stderr.strip()}")


def main(words: list[str]) -> int:
    """Fetch what was asked for."""
    suites = kernels.SUITES if words == ["all"] else words or [kernels.own_suite()]
    kernels.CACHE.mkdir(parents=True, exist_ok=True)
    with (kernels.CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for suite in suites:
            try:
                print(f"kernel of {fetch(suite, kernels.CACHE)}", flush=True)  # noqa: T201 it says what it does
            except FetchError as error:
                print(f"guest.fetch: {error}", file=sys.stderr)  # noqa: T201 its last words
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
