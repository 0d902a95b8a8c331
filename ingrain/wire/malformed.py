"""The two errors of the wire decoders: bytes that are not what the kernel half took them for, and missing bytes."""

from __future__ import annotations


class Malformed(ValueError):  # noqa: N818 - the field's word for such a message
    """The bytes break the format; the message says where. Grains count it and make no record."""


class Cut(ValueError):  # noqa: N818 - the field's word for such a message
    """The bytes are of the format as far as they go, but end before what a record tells: no record, counted apart.

    needed: bytes that must be there in all before it is worth to try again, where that is known; else 0.
    """

    def __init__(self, message: str, needed: int = 0) -> None:
        super().__init__(message)
        self.needed = needed
