"""What a package is called on this distribution, how it is installed, and the error where it is missing."""

from __future__ import annotations

import errno
import os
import platform

from ingrain.kernel.libbpf import KernelError

# ID of os-release(5) -> how to install, BCC for Python, the running kernel's headers
_NAMES = {
    "debian": ("apt-get install", "python3-bpfcc", "linux-headers-{release}"),
    "fedora": ("dnf install", "python3-bcc", "kernel-devel-{release}"),
    "suse": ("zypper install", "python3-bcc", "kernel-default-devel"),
    "arch": ("pacman -S", "python-bcc", "linux-headers"),
}


class NotInstalledError(KernelError):
    """What compiling needs is not here; `fix` is the command that installs it."""

    def __init__(self, what: str, fix: str) -> None:
        OSError.__init__(self, errno.ENOPKG, f"{what}: {fix}")
        self.log, self.fix = "", fix


def install_bcc() -> str:
    """The command that installs BCC."""
    how, bcc, _headers = _names()
    return f"{how} {bcc}"


def install_headers() -> str:
    """The command that installs the running kernel's headers."""
    how, _bcc, headers = _names()
    return f"{how} {headers.format(release=os.uname().release)}"


def _names() -> tuple[str, str, str]:
    try:
        told = platform.freedesktop_os_release()
    except OSError:
        told = {}
    for name in (told.get("ID", ""), *told.get("ID_LIKE", "").split()):
        for family, names in _NAMES.items():
            if name == family or (family == "suse" and "suse" in name):
                return names
    return ("install, by the names that this distribution has for them:", "python3-bpfcc", "linux-headers-{release}")
