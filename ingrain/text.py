"""Safe text: bytes that a process or a packet chose, as a string that can do no harm further on."""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def safe(raw: bytes) -> str:
    r"""Valid UTF-8 with no control, line-separating or direction-changing character.

    What is not valid UTF-8, or is such a character, is written as the escape that Python and C use (`\x1b`, `\u202e`),
    so that different bytes stay different and nothing reaches a terminal, a line protocol or a path as a command. A
    backslash that stands before an escape's letter is the process's own: names are shown, never parsed back.
    """
    return _UNSAFE.sub(_escape, raw.decode("utf-8", "backslashreplace"))


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"  # noqa: PLR2004 - what two digits hold
