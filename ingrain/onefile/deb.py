"""A Debian package of the same files: unpacked, so that dpkg knows each of them and nothing is unpacked at a start.

It has the unit and a configuration, which stays as the operator leaves it, and starts nothing by itself. Formats:
deb(5), deb-control(5), the Debian Policy Manual.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

from ingrain import __version__
from ingrain.onefile.native import GLIBC
from ingrain.onefile.tree import ROOT

_CONTROL = """\
Package: ingrain
Version: {version}
Architecture: amd64
Maintainer: The ingrain developers <ingrain@packages.invalid>
Installed-Size: {kilobytes}
Depends: libc6 (>= {glibc})
Suggests: python3-bpfcc
Section: admin
Priority: optional
Description: security telemetry of processes and containers, by eBPF
 An agent for hosts that run containers. It sees, for every process and
 container, which names are looked up, which TLS connections are opened, how
 much goes over TCP and UDP, which files are touched, what is printed and what
 runs; and takes that through pipelines to StatsD or S3.
 .
 The interpreter and all libraries that it needs come along.
"""
_CHANGELOG = """\
ingrain ({version}) unstable; urgency=medium

  * Built from the sources of this version by `make dist`.

 -- The ingrain developers <ingrain@packages.invalid>  Wed, 01 Jan 2025 00:00:00 +0000
"""
_DATE = "1735689600"
"""Of every file, so that the same inputs give the same bytes: the changelog's, in seconds since 1970."""

_OVERRIDES = """\
# The tree is the package's own, for hosts without Python: an interpreter, its
# libraries and packages as their authors publish them, and compiled Python.
ingrain: embedded-library
ingrain: library-not-linked-against-libc
ingrain: package-installs-python-bytecode
ingrain: unstripped-binary-or-object
# Programs for the kernel's virtual machine.
ingrain: binary-from-other-architecture [usr/lib/ingrain/*.bpf.o]
"""
"""What Debian's checker, lintian, would take for errors."""

_COPYRIGHT = """\
ingrain is free software: GPL-2.0-or-later. On Debian systems that licence is in
/usr/share/common-licenses/GPL-2.

It comes with an interpreter, libraries and packages of others. Their copyrights
and licences are in /usr/lib/ingrain/{name}/licenses
and in the folders *.dist-info beside it.
"""
_SCRIPTS = {
    "postinst": """\
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    [ -z "$2" ] || systemctl try-restart ingrain.service
fi
""",
    "prerm": """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop ingrain.service
fi
""",
    "postrm": """\
#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
if [ "$1" = purge ]; then
    rm -rf /var/cache/ingrain
fi
""",
}


def build(program: Path, files: Path, name: str, folder: Path, out: Path) -> Path:
    """The package, in the folder `out`. program: without the tree, which is in `files` and is called `name`."""
    shutil.copytree(files, folder / "usr" / "lib" / "ingrain" / name)
    _place(folder / "usr" / "bin" / "ingrain", program.read_bytes())
    _place(folder / "etc" / "ingrain" / "ingrain.toml", (ROOT / "config" / "archive.toml").read_bytes())
    _place(folder / "usr" / "lib" / "systemd" / "system" / "ingrain.service", unit().encode())
    documents = folder / "usr" / "share" / "doc" / "ingrain"
    _place(documents / "changelog.gz", gzip.compress(_CHANGELOG.format(version=__version__).encode(), 9, mtime=0))
    _place(documents / "copyright", _COPYRIGHT.format(name=name).encode())
    _place(folder / "usr" / "share" / "lintian" / "overrides" / "ingrain", _OVERRIDES.encode())
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (folder / "usr" / "bin" / "ingrain").chmod(0o755)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // 1024
    glibc = ".".join(map(str, GLIBC))
    control = _CONTROL.format(version=__version__, kilobytes=size, glibc=glibc)
    _place(folder / "DEBIAN" / "control", control.encode())
    _place(folder / "DEBIAN" / "conffiles", b"/etc/ingrain/ingrain.toml\n")
    for script, text in _SCRIPTS.items():
        _place(folder / "DEBIAN" / script, text.encode())
        (folder / "DEBIAN" / script).chmod(0o755)
    package = out / f"ingrain_{__version__}_amd64.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(folder), str(package)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _DATE}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)  # noqa: S603 no shell
    return package


def unit() -> str:
    """The unit, for the place where a package has its programs."""
    return (ROOT / "config" / "ingrain.service").read_text().replace("/usr/local/bin/ingrain", "/usr/bin/ingrain")


def _place(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
