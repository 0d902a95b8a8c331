"""Bare systems, as debootstrap makes them, to try things in that must run anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

MIRROR = "DEBOOTSTRAP_MIRROR"
"""Variable that names another archive than debootstrap's own default; `SUITE=URL` of several, separated by blanks."""

_SCRIPTS = Path("/usr/share/debootstrap/scripts")
_UBUNTU = {"focal": "20.04", "jammy": "22.04", "noble": "24.04"}


class BareError(RuntimeError):
    """A bare system could not be made; the message has debootstrap's own words."""


def make(suite: str, folder: Path) -> None:
    """Have the smallest system of that suite there is in a folder. Raises BareError.

    What is needed is `debootstrap`, and the keys that the suite's archive is signed with.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # A suite that this debootstrap is older than is made as its predecessors.
    script = _SCRIPTS / ("gutsy" if suite in _UBUNTU else "sid")
    mirrors = dict(word.partition("=")[::2] for word in os.environ.get(MIRROR, "").split())
    command = ["debootstrap", "--variant=minbase", suite, str(folder), mirrors.get(suite, ""), str(script)]
    log = folder.with_name(f"{folder.name}.log")
    with log.open("w") as said:
        done = subprocess.run(command, stdout=said, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        lines = log.read_text(errors="replace").splitlines()
        shutil.rmtree(folder, ignore_errors=True)
        raise BareError(f"debootstrap cannot make {suite}: {' '.join(lines[-3:])} ({log})")
