"""Safe text: what a process, a packet or a file chose, as a string that can do no harm further on."""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\udc80-\udcff]")
_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))")
_ASCII = 0x7F
_NO_UTF_8 = 0xDC00  # and the byte: what Python makes of bytes that are not valid (PEP 383)


def safe(raw: bytes) -> str:
    r"""Valid UTF-8 with no control, line-separating or direction-changing character.

    What is not valid UTF-8, or is such a character, is written as the escape that Python and C use (`\x1b`, `\u202e`),
    and a backslash as two, so that different bytes stay different and nothing reaches a terminal, a line protocol or a
    path as a command.
    """
    return harmless(raw.decode("utf-8", "surrogateescape").replace("\\", "\\\\"))


def bytes_of(text: str) -> bytes:
    r"""The bytes that `safe` made this text of: the way back, without loss."""
    return _ESCAPED.sub(_unescape, text).encode("utf-8", "surrogateescape")


def _unescape(match: re.Match[str]) -> str:
    byte, code = match.groups()
    if byte:
        value = int(byte, 16)
        return chr(value + _NO_UTF_8 if value > _ASCII else value)
    return chr(int(code, 16)) if code else "\\"


def harmless(text: str) -> str:
    """The text with such characters as escapes, and else as it is; what `safe` gave comes out the same."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code >= _NO_UTF_8:
        return f"\\x{code - _NO_UTF_8:02x}" if code < 0xE000 else f"\\u{code:04x}"  # noqa: PLR2004 - where surrogates end
    return f"\\u{code:04x}" if code > _ASCII else f"\\x{code:02x}"
