"""Numbers of TLS as names: versions, cipher suites, groups, and what stands for numbers that have no name.

A GREASE value (RFC 8701: it means nothing, and is sent to keep peers tolerant) is `GREASE_0x0A0A`; any other number
without a registered name is `0x1234`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from ingrain.wire.iana_ciphers import NAMES
from ingrain.wire.iana_groups import NAMES as GROUP_NAMES

GREASE = frozenset(range(0x0A0A, 0x10000, 0x1010))
"""The 16 values that RFC 8701 2 sets aside in 16-bit registries: 0x0A0A, 0x1A1A ... 0xFAFA."""

VERSION_NAMES = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}


def version_name(number: int) -> str:
    """The version as `TLS 1.3`."""
    return VERSION_NAMES.get(number) or _number(number)


def highest_version(numbers: Sequence[int]) -> str:
    """The name of the highest of these versions (at least one).

    Only where none is a version with a name are drafts' numbers compared, and GREASE only where there is nothing else.
    """
    named = [number for number in numbers if number in VERSION_NAMES]
    real = named or [number for number in numbers if number not in GREASE]
    return version_name(max(real or numbers))


def cipher_name(number: int) -> str:
    """The cipher suite's (or signalling value's) IANA name."""
    return NAMES.get(number) or _number(number)


def group_name(number: int) -> str:
    """The IANA name of a key exchange group (an elliptic curve, a finite field, a post-quantum hybrid)."""
    return GROUP_NAMES.get(number) or _number(number)


@cache
def _number(number: int) -> str:  # of 65,536 at the most, and the same string wherever it is offered
    return f"{'GREASE_' if number in GREASE else ''}0x{number:04X}"
