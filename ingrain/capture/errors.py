"""The errors of reading captures: what the parts say, and what the caller gets, who learns what was read before."""

from __future__ import annotations


class Unreadable(ValueError):  # noqa: N818 - what a file is; the caller's error is CaptureError
    """Said by the part that reads: the file cannot be read any further.

    `what` completes a sentence that begins with the file's name; `offset` is the byte from which nothing could be read.
    """

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(what)
        self.what = what
        self.offset = offset


class CaptureError(ValueError):
    """A file that is no capture, or that cannot be read to its end; the message says which, where and why.

    offset: byte from which nothing could be read (of what a compressed file holds). packets: packets that were read
    before it; what they gave was delivered.
    """

    def __init__(self, message: str, offset: int = 0, packets: int = 0) -> None:
        super().__init__(message)
        self.offset = offset
        self.packets = packets
