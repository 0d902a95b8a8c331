"""The wheel runs where there is no compiler, no libbpf and no source tree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASK = """\
import json, pathlib, ingrain
from ingrain import doctor
_host, found = doctor.examine(["DNS", "TLS", "Network"])
mapped = [line.split()[-1] for line in pathlib.Path("/proc/self/maps").read_text().splitlines() if ".so" in line]
print(json.dumps({"package": ingrain.__file__, "runs": [one.runs for one in found], "mapped": sorted(set(mapped))}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what git knows, and installed into a folder."""
    folder = tmp_path_factory.mktemp("wheel")
    source, target = folder / "source", folder / "target"
    source.mkdir()
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], check=True, capture_output=True).stdout
    tar = subprocess.Popen(
        ["tar", "-C", ROOT, "--null", "-T", "-", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    unpack = subprocess.Popen(["tar", "-C", source, "-x"], stdin=tar.stdout)
    assert tar.stdin
    tar.stdin.write(listed)
    tar.stdin.close()
    assert (unpack.wait(), tar.wait()) == (0, 0)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source], check=True, cwd=folder
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True, cwd=folder)
    return target


def test_it_carries_the_compiled_probes_and_the_sources_that_bcc_compiles(installed: Path) -> None:
    kernel, probes = installed / "ingrain" / "kernel", ROOT / "probes"
    objects = {path.name for path in (kernel / "objects").iterdir()}
    assert objects == {f"{path.name.removesuffix('.c')}.o" for path in probes.glob("*.bpf.c")}
    sources = {path.relative_to(kernel / "sources"): path.read_bytes() for path in kernel.rglob("sources/**/*.[ch]")}
    wanted = [*probes.glob("*.[ch]"), *(probes / "bcc").glob("*.h")]
    assert sources == {path.relative_to(probes): path.read_bytes() for path in wanted}


def test_its_probes_run_by_its_own_libbpf_without_a_compiler(installed: Path, tmp_path: Path) -> None:
    bare = {"PATH": "/nonexistent", "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], check=True, capture_output=True, text=True, env=bare, cwd=tmp_path, timeout=60
    )
    told = json.loads(done.stdout)
    assert Path(told["package"]).is_relative_to(installed)
    assert told["runs"] == [True, True, True]
    libraries = [Path(path) for path in told["mapped"] if "libbpf" in path or "libelf" in path]
    assert len(libraries) == 2
    assert all(path.is_relative_to(installed) for path in libraries)
