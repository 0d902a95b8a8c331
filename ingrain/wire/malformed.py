"""The one error of the wire decoders: bytes that are not what the kernel half took them for."""

from __future__ import annotations


class Malformed(ValueError):  # noqa: N818 - the field's word for such a message
    """The bytes break the format; the message says where. Grains count it and make no record."""
