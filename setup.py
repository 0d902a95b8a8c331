"""Building the wheel compiles the probes and takes libbpf along: the target needs neither a compiler nor libbpf."""

import platform
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
KERNEL = ROOT / "ingrain" / "kernel"
LIBRARIES = ("libbpf.so.1", "libelf.so.1")


def compile_probes() -> None:
    """Compile every probe to ingrain/kernel/objects; what BCC compiles is copied to ingrain/kernel/sources."""
    make = ["make", "--no-print-directory", "-C", str(ROOT / "probes"), f"OUT={KERNEL / 'objects'}"]
    subprocess.run(make, check=True)


def carry_libraries() -> None:
    """Copy libbpf and the libelf that it needs to ingrain/kernel/lib."""
    folder = KERNEL / "lib"
    folder.mkdir(exist_ok=True)
    for name in LIBRARIES:
        found = subprocess.run(["clang", f"-print-file-name={name}"], check=True, capture_output=True, text=True)
        path = Path(found.stdout.strip())
        if not path.is_absolute():
            raise SystemExit(f"{name} is not installed; on Debian: apt-get install libbpf1 libelf1")
        shutil.copyfile(path.resolve(), folder / name)


class BuildWithProbes(build_py):
    """The package's files, the compiled probes among them."""

    def run(self) -> None:
        """Compile and copy before setuptools collects the package's files.

        Exits where that fails: of an editable installation, setuptools takes an exception for a mere warning.
        """
        try:
            compile_probes()
            carry_libraries()
        except (OSError, subprocess.SubprocessError) as error:
            raise SystemExit(f"the probes could not be built: {error}") from error
        super().run()


class OneWheel(bdist_wheel):
    """One wheel for every Python 3 on this architecture: the native files are no extension modules."""

    def get_tag(self) -> tuple[str, str, str]:
        """Tag of the wheel."""
        return "py3", "none", f"linux_{platform.machine()}"


class Native(Distribution):
    """A distribution that is not pure Python."""

    def has_ext_modules(self) -> bool:
        """Say so."""
        return True


setup(cmdclass={"build_py": BuildWithProbes, "bdist_wheel": OneWheel}, distclass=Native)
