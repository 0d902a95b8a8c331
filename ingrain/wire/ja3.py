"""JA3 and JA3S: the fingerprints of TLS clients and servers that salesforce/ja3 defines (2017), as MD5 hex digits.

In: the numbers of a hello. Out: its fingerprint, or the text that is hashed. GREASE is left out of a client's numbers;
a server may send none (RFC 8701 4), and JA3S leaves nothing out.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import md5

from ingrain.wire.hello_fields import GREASE, Choice, Offer

_KEPT_MAX = 128  # numbers of a list that is kept: with 512 lists some 0.4 MB, and 2 MB at worst


def ja3(offer: Offer) -> str:
    """The client's fingerprint: 32 hex digits."""
    return _md5(ja3_text(offer))


def ja3_text(offer: Offer) -> str:
    """`771,4865-4866,0-10-11,29-23,0`: version, cipher suites, extensions, groups and point formats, in decimal."""
    return (
        f"{offer.version},{_joined(offer.ciphers)},{_dashed(offer.extensions)},"
        f"{_joined(offer.groups)},{_joined(offer.point_formats)}"
    )


def ja3s(choice: Choice) -> str:
    """The server's fingerprint: 32 hex digits."""
    return _md5(ja3s_text(choice))


def ja3s_text(choice: Choice) -> str:
    """`771,4865,51-43`: version (the hello's own one), cipher suite and extensions."""
    return f"{choice.version},{choice.cipher},{'-'.join(map(str, choice.extensions))}"


def _joined(numbers: tuple[int, ...]) -> str:
    """The same text; for lists that repeat, as all but the extensions of browsers that shuffle them do."""
    return _kept(numbers) if len(numbers) <= _KEPT_MAX else _dashed(numbers)


@lru_cache(maxsize=512)
def _kept(numbers: tuple[int, ...]) -> str:
    return _dashed(numbers)


def _dashed(numbers: tuple[int, ...]) -> str:
    return "-".join([str(number) for number in numbers if number not in GREASE])


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
