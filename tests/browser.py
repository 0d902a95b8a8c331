"""A real browser without a screen, by the Chrome DevTools Protocol over pipes: what a page does and looks like."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")


class Browser:
    """One page. `events`: what the browser told of it, in order, as the protocol has it."""

    def __init__(self, to: BinaryIO, told: BinaryIO) -> None:
        self._to = to
        self._told = told
        self._asked = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to a command."""
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while True:
            told = self._next()
            if told.get("id") == self._asked:
                assert "error" not in told, told["error"]
                return dict(told["result"])

    def open(
        self, page: Path, *, dark: bool = False, paper: bool = False, width: int = 1100, height: int = 900
    ) -> None:
        """Show a file, and wait until all of it is there. paper: as it is printed."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="print" if paper else "", features=[scheme])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.events.clear()
        self.call("Page.navigate", url=page.absolute().as_uri())
        while not any(one["method"] == "Page.loadEventFired" for one in self.events):
            self._next()

    def evaluate(self, script: str) -> Any:
        """What a script's expression is in the page."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def point(self, selector: str) -> None:
        """Move the mouse over an element's middle, in view."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{found}.scrollIntoView({{block: 'center'}})")
        box = self.evaluate(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({found}.getBoundingClientRect())"
        )
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])

    def complaints(self) -> list[str]:
        """What stands in its console, and what was thrown."""
        told = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [json.dumps(one["params"]) for one in self.events if one["method"] in told]

    def requests(self) -> list[str]:
        """The addresses that it asked for anything."""
        return [one["params"]["request"]["url"] for one in self.events if one["method"] == "Network.requestWillBeSent"]

    def picture(self, file: Path, height: int) -> None:
        """What the page looks like from its top to this height, as PNG."""
        clip = {"x": 0, "y": 0, "width": self.evaluate("innerWidth"), "height": height, "scale": 1}
        told = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(told["data"]))

    def _next(self) -> dict[str, Any]:
        raw = bytearray()
        while (byte := self._told.read(1)) != b"\0":
            assert byte, "the browser is gone"
            raw += byte
        told: dict[str, Any] = json.loads(raw)
        if "method" in told:
            self.events.append(told)
        return told


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser that keeps what it keeps in this folder; the test is skipped where there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed")
    theirs, to = _pipe()
    told, ours = _pipe()
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={folder}"]
    # Descriptors 3 and 4 are where it expects the pipes.
    command = ["bash", "-c", f'exec "$0" "$@" 3<&{theirs} 4>&{ours}', program, *options]
    with (
        subprocess.Popen(
            command, pass_fds=(theirs, ours), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process,
        os.fdopen(to, "wb") as commands,
        os.fdopen(told, "rb") as events,
    ):
        os.close(theirs)
        os.close(ours)
        try:
            yield Browser(commands, events)
        finally:
            process.kill()


def _pipe() -> tuple[int, int]:
    """Both ends above 10, so that neither is where the other has to be."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]
