"""The agent's own log, in lines, and to the host's syslog: a datagram a line to /dev/log, as of syslog(3) (RFC 3164).

Unlike the standard library's handler it never waits for a syslog that hangs: what that does not take goes to stderr.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from contextlib import suppress
from typing import Any

from ingrain.text import harmless

DEV_LOG = "/dev/log"
"""Where a Linux host's syslog listens: rsyslog, syslog-ng, journald and busybox all do."""

_USER = 1 << 3  # the facility, as of ingraind's log (RFC 3164 section 4.1.1)
_SEVERITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7
_LINE = 2048  # bytes of a line; syslogs cut off what is longer, some of them at 1,024


class Lines(logging.Formatter):
    """A record is a line, whatever a name in it holds; a trace has its own lines."""

    def __init__(self) -> None:
        super().__init__("ingrain: %(levelname)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line without the trace."""
        return harmless(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The trace."""
        return "\n".join(map(harmless, super().formatException(ei).splitlines()))


class Syslog(logging.Handler):
    """Each line of a record (a trace has several) is sent by itself. Raises OSError where nobody listens.

    A formatter's text that begins with `ingrain: ` has the process's id there, as syslog wants it.
    """

    def __init__(self, path: str = DEV_LOG) -> None:
        super().__init__()
        self._path = path
        self._socket = self._connected()

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record, or write to stderr what cannot be sent. Raises nothing."""
        try:
            text = self.format(record).removeprefix("ingrain: ")
        except Exception:  # noqa: BLE001 - a handler's edge: logging tells what the caller did wrong
            self.handleError(record)
            return
        for line in text.splitlines():
            safe = harmless(line)
            told = f"<{_USER | severity(record.levelno)}>ingrain[{os.getpid()}]: {safe}".encode("utf-8", "replace")
            if not self._sent(told[:_LINE]):
                with suppress(OSError, ValueError):  # closed, or nobody reads it
                    sys.stderr.write(f"ingrain: {safe}\n")

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        super().close()

    def _sent(self, line: bytes) -> bool:
        try:
            self._socket.send(line)
        except BlockingIOError:  # it hangs, or is overrun
            return False
        except OSError:  # it was started anew, maybe
            try:
                again = self._connected()
            except OSError:
                return False
            self._socket.close()
            self._socket = again
            with suppress(OSError):
                again.send(line)
                return True
            return False
        return True

    def _connected(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            made.settimeout(0.0)
            made.connect(self._path)
        except BaseException:
            made.close()
            raise
        return made


def severity(level: int) -> int:
    """A level of Python's logging as one of syslog's."""
    return next((code for least, code in _SEVERITIES if level >= least), _DEBUG)
