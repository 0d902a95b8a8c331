"""A guest: one of the kernels under QEMU's emulation, with the host's files, running one command.

By hand: `python -m guest.boot 6.1 COMMAND...` runs a command in a guest, and shows what it says.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from guest import kernels
from guest.kernels import ROOT, Kernel

SHARED = Path("/run/shared")
"""Where a guest has the folder that it shares with the host, and may write to."""

_ABANDONED_S = 3600
"""After so long a guest ends, whatever it does; it also ends with the process that started it."""

_CPUS, _MEMORY = "2", "2G"
_NOT_NEEDED = (
    *("kvm_amd", "kvm_intel", "ccp", "ahci", "sg", "sr_mod", "psmouse", "serio_raw", "evdev", "pcspkr", "button"),
    *("iTCO_wdt", "i6300esb", "lpc_ich", "i2c_i801", "qemu_fw_cfg", "powernow_k8", "acpi_cpufreq"),
    *("aesni_intel", "ghash_clmulni_intel", "sha512_ssse3", "sha256_ssse3", "sha1_ssse3"),
)
"""Drivers that a guest would load for devices that no test uses, and that take a good part of the time to boot."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class GuestError(RuntimeError):
    """A guest cannot be started; the message says what is missing."""


class Guest:
    """A kernel that boots, runs a command as root with the repository's top as its folder, and powers off.

    `shared` is a folder of the host that the guest has as `SHARED`; files: what is in it when the guest boots. machine:
    further options of QEMU.
    `console` holds what the kernel and the command said. Raises GuestError where the kernel or a program is missing.
    """

    def __init__(
        self,
        kernel: Kernel,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        machine: str = "",
    ) -> None:
        if kernel.image is None:
            raise GuestError(
                f"there is no kernel of {kernel.suite} in {kernels.CACHE}; `make test` and `make test-kernels` fetch "
                f"it, and so does PYTHONPATH=tests python -m guest.fetch {kernel.suite}"
            )
        self._folder = Path(tempfile.mkdtemp(prefix="ingrain-guest-"))
        self.shared = self._folder / "shared"
        self.shared.mkdir()
        for name, text in (files or {}).items():
            (self.shared / name).write_text(text)
        self.console = self._folder / "console"
        script = self._enter(command, environment or {})
        self._process = _start(kernel.image, script, self.shared, self._folder, machine)
        self._pump = threading.Thread(target=self._copy, daemon=True)
        self._pump.start()

    def _enter(self, command: Sequence[str], environment: Mapping[str, str]) -> Path:
        """The script that the guest begins with: its command line has no room for all this."""
        inherited = {name: os.environ[name] for name in ("PYTHONPATH", "INGRAIN_LINES") if name in os.environ}
        names = [f"{name}={value}" for name, value in {**inherited, **environment}.items()]
        enter = [ROOT / "tests" / "guest" / "enter.sh", ROOT, sys.prefix, "env", *names, *command]
        script = self.shared / "enter"
        script.write_text(f"exec bash {shlex.join(map(str, enter))}\n")
        return script

    @property
    def ended(self) -> int | None:
        """Its exit code, once it has powered off."""
        return self._process.poll()

    def _copy(self) -> None:
        assert self._process.stdout
        with self._process.stdout as source, self.console.open("wb", buffering=0) as target:
            while data := os.read(source.fileno(), 1 << 16):
                target.write(data)

    def wait(self, seconds: float) -> bool:
        """Wait until it has powered off; false where it has not by then."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.ended is not None

    def last_lines(self, count: int = 40) -> str:
        """The end of what its console shows."""
        text = self.console.read_bytes().decode(errors="replace") if self.console.exists() else ""
        lines = [_CONTROL.sub("", line).rstrip() for line in text.replace("\r", "").split("\n")]
        return "\n".join([line for line in lines if line][-count:])

    def end(self) -> None:
        """Turn it off, if it still runs, and leave nothing behind."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.ended is not None:
                break
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            self.wait(5)
        with suppress(ProcessLookupError):  # QEMU, where those before it were ended without it
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pump.join(5)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.end()


def _start(image: Path, script: Path, shared: Path, folder: Path, machine: str) -> subprocess.Popen[bytes]:
    binaries = Path(sys.prefix) / "bin"
    path = (
        f"{binaries}:{os.environ['PATH']}:/usr/sbin:/sbin"  # vng calls its own other half, modprobe and depmod by name
    )
    for program, package in (("vng", "virtme-ng, from PyPI"), ("qemu-system-x86_64", "qemu-system-x86, from Debian")):
        if not shutil.which(program, path=path):
            raise GuestError(f"{program} is not installed ({package}); `make test` installs it")
    host = "-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"
    command = [
        "setpriv", "--pdeathsig", "TERM", "timeout", "--kill-after=10", str(_ABANDONED_S),
        "vng", "--run", str(image), "--disable-kvm", "--force-9p", "--cpus", _CPUS, "--memory", _MEMORY,
        f"--rwdir={SHARED}={shared}", f"--qemu-opts={host} {machine}",
        # The kernel's console, with what matters of it: why it did not boot, or died.
        "--verbose", "--append", "loglevel=4",
        # On a busy machine an emulated timer is late, and the kernel would take it for one that is not connected.
        "--append", "no_timer_check",
        "--append", f"modprobe.blacklist={','.join(_NOT_NEEDED)}",
        "--exec", f"bash {SHARED / script.name}",
    ]  # fmt: skip
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # a pipe, since QEMU would empty a file again and again
        stderr=subprocess.STDOUT,
        cwd="/",
        env=os.environ | {"PATH": path, "TMPDIR": str(folder)},
        start_new_session=True,
    )


def boot(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    machine: str = "",
) -> Guest:
    """A guest with the kernel of this name. Raises GuestError where there is none, or it cannot be started."""
    there = {kernel.name: kernel for kernel in map(kernels.cached, kernels.SUITES)}
    if name not in there:
        raise GuestError(f"there is no kernel {name} in {kernels.CACHE}; there are: {', '.join(there)}")
    return Guest(there[name], command, environment, files, machine)


def main(words: list[str]) -> int:
    """Run a command in a guest by hand."""
    if len(words) < 2:
        print("python -m guest.boot KERNEL COMMAND...", file=sys.stderr)  # noqa: T201 how it is used
        return 2
    try:
        with boot(words[0], words[1:]) as guest:
            guest.wait(_ABANDONED_S)
            print(guest.last_lines(1_000_000))  # noqa: T201 what it is for
            return guest.ended or 0
    except GuestError as error:
        print(f"guest.boot: {error}", file=sys.stderr)  # noqa: T201 its last words
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
