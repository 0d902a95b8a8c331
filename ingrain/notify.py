"""What a service manager is told, and its watchdog: systemd's protocol, sd_notify(3), a datagram to $NOTIFY_SOCKET."""

from __future__ import annotations

import logging
import os
import socket
import time

log = logging.getLogger(__name__)

_PATIENCE_S = 1.0
_LENGTH = 200  # of a status: it stands in a line of `systemctl status`


class ServiceManager:
    """Who started the agent, as its environment says; where nobody waits to be told, nothing is said."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._said = ""
        self._away = False

    @property
    def watchdog_s(self) -> float | None:
        """The agent has to be told alive this often, in seconds; None where nobody watches."""
        micros, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
        if not micros.isdecimal() or not int(micros) or process not in ("", str(os.getpid())):
            return None
        return int(micros) / 1e6

    def ready(self) -> None:
        """The agent is at work."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The agent takes another configuration; `ready` follows."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The agent ends."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """The agent is alive."""
        self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """How the agent is, in a line; only what is new is said."""
        if text != self._said:
            self._said = text
            self._tell(f"STATUS={text.splitlines()[0][:_LENGTH]}")

    def _tell(self, *assignments: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
                told.settimeout(_PATIENCE_S)
                told.sendto("\n".join(assignments).encode(), address)
        except OSError as error:  # a manager that does not read must not hold the agent up
            if not self._away:
                what = "the service manager at %s cannot be told %s: %s; what else it cannot be told is not logged"
                log.warning(what, self._address, assignments[0], error)
            self._away = True
        else:
            if self._away:
                log.warning("the service manager at %s can be told again", self._address)
            self._away = False
