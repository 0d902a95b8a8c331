"""The containers' half of the demo in a guest, for machines whose own kernel does not let itself be traced.

The guest is one of those that the tests use (docs/kernels.md), so it is there in the repository: `make demo` runs this.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from ingrain.demo.agent import DemoError

_PATIENCE_S = 900
_COMMAND = (
    "python -m ingrain.demo.tracing > {shared}/told 2>&1; echo $? > {shared}/ended; mv {shared}/ended {shared}/code"
)


class Guest:
    """A guest with the distribution's kernel, which boots while other things are shown. Raises DemoError."""

    def __init__(self) -> None:
        try:
            from guest import boot, fetch, kernels  # noqa: PLC0415 they are the repository's, not the package's
        except ImportError as error:
            raise DemoError(
                "this kernel cannot be traced, and the guests that can are in the repository: run `make demo` there"
            ) from error
        if fetch.main([]):
            raise DemoError("the guest's kernel could not be fetched")
        kernel = kernels.cached(kernels.own_suite())
        self.name = f"Linux {kernel.release} under QEMU's emulation"
        try:
            self._guest = boot.Guest(kernel, ["sh", "-c", _COMMAND.format(shared=boot.SHARED)])
        except boot.GuestError as error:
            raise DemoError(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guest.end()

    def show(self) -> bool:
        """What it says, as it comes; whether what was seen there is what was done. Raises DemoError."""
        shown, begun = 0, time.monotonic()
        code = self._guest.shared / "code"
        while True:
            ended = code.exists() or self._guest.ended is not None
            shown = self._show_from(shown)
            if ended:
                break
            if time.monotonic() - begun > _PATIENCE_S:
                raise DemoError(f"the guest did not end within {_PATIENCE_S} s:\n{self._guest.last_lines()}")
            time.sleep(0.2)
        if not code.exists():
            raise DemoError(f"the guest ended by itself:\n{self._guest.last_lines()}")
        return code.read_text().strip() == "0"

    def _show_from(self, at: int) -> int:
        told = self._guest.shared / "told"
        if not told.exists():
            return at
        with told.open("rb") as file:
            file.seek(at)
            new = file.read()
        sys.stdout.write(new.decode(errors="replace"))
        sys.stdout.flush()
        return at + len(new)
