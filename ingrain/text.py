"""Safe text: what a process, a packet or a file chose, as a string that can do no harm further on."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # controls
    r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    # ^ Default_Ignorable_Code_Point (Unicode's DerivedCoreProperties.txt): what is drawn as nothing, or turns the text
    r"\u2028\u2029"  # separators of lines and paragraphs
    r"\udc80-\udcff]"  # bytes that are not valid UTF-8
)
_ESCAPED = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U000([0-9a-f]{5}))")
_ASCII = 0x7F
_NO_UTF_8 = 0xDC00  # and the byte: what Python makes of bytes that are not valid (PEP 383)


def safe(raw: bytes) -> str:
    r"""Valid UTF-8 with no character that controls a terminal, separates lines, changes directions or is invisible.

    What is not valid UTF-8, or is such a character, is written as the escape that Python and C use (`\x1b`, `\u202e`,
    `\U000e0041`), and a backslash as two, so that different bytes stay different, also to the eye, and nothing reaches
    a terminal, a line protocol or a path as a command.
    """
    return harmless(raw.decode("utf-8", "surrogateescape").replace("\\", "\\\\"))


def bytes_of(text: str) -> bytes:
    r"""The bytes that `safe` made this text of: the way back, without loss."""
    return _ESCAPED.sub(_unescape, text).encode("utf-8", "surrogateescape")


def _unescape(match: re.Match[str]) -> str:
    byte, *codes = match.groups()
    if byte:
        value = int(byte, 16)
        return chr(value + _NO_UTF_8 if value > _ASCII else value)
    code = codes[0] or codes[1]
    return chr(int(code, 16)) if code else "\\"


def harmless(text: str) -> str:
    """The text with such characters as escapes, and else as it is; what `safe` gave comes out the same."""
    if text.isascii() and text.isprintable():  # nearly every text, in half the time
        return text
    return _UNSAFE.sub(escape, text)


def escape(match: re.Match[str]) -> str:
    """The escape of the one character that was found."""
    code = ord(match.group())
    if _NO_UTF_8 <= code <= _NO_UTF_8 + 0xFF:
        return f"\\x{code - _NO_UTF_8:02x}"
    if code <= _ASCII:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - as far as four digits go
