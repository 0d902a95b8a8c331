"""JA3 and JA3S: the fingerprints of TLS clients and servers that salesforce/ja3 defines (2017), as MD5 hex digits.

In: the numbers of a hello. Out: its fingerprint, or the text that is hashed. GREASE is left out of a client's numbers;
a server may send none (RFC 8701 4), and JA3S leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import md5

from ingrain.wire.hello_fields import GROUPS, POINT_FORMATS, Choice, Offer, groups, numbers, point_formats
from ingrain.wire.kept import kept
from ingrain.wire.tls_registry import GREASE


def ja3(offer: Offer) -> str:
    """The client's fingerprint: 32 hex digits."""
    return _md5(ja3_text(offer))


def ja3_text(offer: Offer) -> str:
    """`771,4865-4866,0-10-11,29-23,0`: version, cipher suites, extensions, groups and point formats, in decimal.

    The version is the hello's own one, which TLS 1.3 leaves at 771.
    """
    extensions: Iterable[int] = offer.extensions  # which browsers shuffle: nothing is kept of them
    if not GREASE.isdisjoint(extensions):
        extensions = [kind for kind in extensions if kind not in GREASE]
    get = offer.contents.get
    return (
        f"{offer.version},{_ciphers(offer.ciphers)},{'-'.join(map(str, extensions))},"
        f"{_groups(get(GROUPS, b''))},{_point_formats(get(POINT_FORMATS, b''))}"
    )


def ja3s(choice: Choice) -> str:
    """The server's fingerprint: 32 hex digits."""
    return _md5(ja3s_text(choice))


def ja3s_text(choice: Choice) -> str:
    """`771,4865,51-43`: version (the hello's own one), cipher suite and extensions."""
    return f"{choice.version},{choice.cipher},{'-'.join(map(str, choice.extensions))}"


@kept
def _ciphers(listed: bytes) -> str:
    return _dashed(numbers(listed))


@kept
def _groups(extension: bytes) -> str:
    return _dashed(groups(extension)) if extension else ""


@kept
def _point_formats(extension: bytes) -> str:
    return _dashed(point_formats(extension)) if extension else ""


def _dashed(items: Iterable[int]) -> str:
    return "-".join([str(number) for number in items if number not in GREASE])


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
