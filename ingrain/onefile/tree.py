"""The tree of files that the one file carries: the agent, the packages that it needs, libbpf; less what is never used.

Packages are the wheels of requirements.lock, by its hashes, of those builds that the oldest system can load.
"""

from __future__ import annotations

import compileall
import fnmatch
import importlib.metadata
import py_compile
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from ingrain.onefile.native import GLIBC

ROOT = Path(__file__).parents[2]

_OURS = ("demo", "onefile")
"""Of the agent's own package, what is for those who have the repository."""

_SOURCE = "ingrain/kernel/compiler.py"
"""A program that other Pythons run."""

_ARROW = ("lib", "_compute", "_csv", "_fs", "_parquet")
"""pyarrow's modules that it loads itself, or the agent does; those of other formats, stores and engines stay behind."""

_SERVICES = ("s3", "signin", "sso", "sso-oidc", "sts")
"""What botocore has to know: S3, and where credentials may come from."""

_UNUSED = (
    "*/tests/*", "*/include/*", "numpy/f2py/*", "numpy/_core/lib/*", "pyarrow/src/*", "boto3/data/*",
    "boto3/examples/*", "bin/*", "*.py[ix]", "*.px[di]", "*.a", "*.pc", "*.typed", "*.cmake", "*/RECORD",
    "*/direct_url.json",
)  # fmt: skip
_NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")


def lay(tree: Path, native: Path) -> None:
    """Put everything there. native: the folder of `native.made`."""
    _packages(tree)
    ours = shutil.ignore_patterns("__pycache__", *_OURS, "lib")
    shutil.copytree(ROOT / "ingrain", tree / "ingrain", ignore=ours)
    carried = tree / "ingrain" / "kernel" / "lib"
    carried.mkdir()
    shutil.copytree(native / "licenses", tree / "licenses")
    shutil.copy(ROOT / "LICENSE", tree / "licenses" / "ingrain")
    shutil.copytree(native / "carried", tree / "carried")
    shutil.copytree(native / "dynload", tree / "dynload")
    for name in ("libbpf.so.1", "libelf.so.1"):
        (tree / "carried" / name).rename(carried / name)
    _leave_out(tree)
    compile_all(tree)


def compile_all(folder: Path) -> None:
    """Compiled modules instead of sources, which know nothing of where they were compiled."""
    if not compileall.compile_dir(
        folder, quiet=1, legacy=True, stripdir=folder, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    ):
        raise ValueError(f"{folder} has a module that cannot be compiled")
    for source in folder.rglob("*.py"):
        if str(source.relative_to(folder)) != _SOURCE:
            source.unlink()


def versions() -> dict[str, str]:
    """The packages that the agent, its `top` and its questions to archives need, with those that they need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, str] = {}
    extras = project["optional-dependencies"]
    waiting = [Requirement(line) for line in (*project["dependencies"], *extras["top"], *extras["query"])]
    while waiting:
        wanted = waiting.pop()
        if wanted.name.lower() in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        distribution = importlib.metadata.distribution(wanted.name)
        found[wanted.name.lower()] = distribution.version
        waiting += [Requirement(line) for line in distribution.requires or ()]
    return found


def _packages(tree: Path) -> None:
    locked = (ROOT / "requirements.lock").read_text().replace("\\\n", " ").splitlines()
    wanted = {re.sub(r"[-_.]+", "-", name) for name in versions()}
    lines = [line for line in locked if line.partition("==")[0] in wanted]
    chosen = tree.with_name("requirements")
    chosen.write_text("\n".join(lines))
    major, minor = GLIBC
    builds = [f"manylinux_{major}_{number}_x86_64" for number in range(minor, 16, -1)] + ["manylinux2014_x86_64"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    pip += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--target", str(tree), "--requirement", str(chosen)]
    pip += ["--implementation=cp", f"--python-version={sys.version_info.major}.{sys.version_info.minor}"]
    subprocess.run([*pip, *(f"--platform={build}" for build in builds)], check=True)  # noqa: S603 no shell


def _leave_out(tree: Path) -> None:
    arrow = tree / "pyarrow"
    kept = {path for name in _ARROW for path in arrow.glob(f"{name}.*.so")}
    waiting = list(kept)
    while waiting:
        for name in _needed(waiting.pop()):
            library = arrow / name
            if library.exists() and library not in kept:
                kept.add(library)
                waiting.append(library)
    for path in sorted(tree.rglob("*")):
        inside = str(path.relative_to(tree))
        unused = any(fnmatch.fnmatchcase(inside, pattern) for pattern in _UNUSED)
        unused |= path.parent == arrow and ".so" in path.name and path not in kept
        if path.is_file() and unused:
            path.unlink()
    data = tree / "botocore" / "data"
    for service in data.iterdir():
        if service.is_dir() and service.name not in _SERVICES:
            shutil.rmtree(service)
    for folder in sorted((path for path in tree.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _needed(library: Path) -> list[str]:
    told = subprocess.run(["readelf", "--dynamic", library], capture_output=True, text=True, check=True)  # noqa: S603, S607
    return _NEEDED.findall(told.stdout)
