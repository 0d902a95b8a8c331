"""JA3 and JA3S: the fingerprints of TLS clients and servers that salesforce/ja3 defines (2017), as MD5 hex digits.

In: the numbers of a hello. Out: its fingerprint, or the text that is hashed. GREASE is left out of a client's numbers;
a server may send none (RFC 8701 4), and JA3S leaves nothing out.
"""

from __future__ import annotations

from hashlib import md5

from ingrain.wire.hello_fields import Choice, Offer, numbers
from ingrain.wire.kept import kept
from ingrain.wire.tls_registry import GREASE


def ja3(offer: Offer) -> str:
    """The client's fingerprint: 32 hex digits."""
    return _md5(ja3_text(offer))


def ja3_text(offer: Offer) -> str:
    """`771,4865-4866,0-10-11,29-23,0`: version, cipher suites, extensions, groups and point formats, in decimal.

    The version is the hello's own one, which TLS 1.3 leaves at 771.
    """
    extensions = offer.extensions  # which browsers shuffle: of these nothing is kept
    if not GREASE.isdisjoint(extensions):
        extensions = tuple([kind for kind in extensions if kind not in GREASE])
    return (
        f"{offer.version},{_dashed(offer.ciphers)},{'-'.join(map(str, extensions))},"
        f"{_dashed(offer.groups)},{'-'.join(map(str, offer.point_formats))}"
    )


def ja3s(choice: Choice) -> str:
    """The server's fingerprint: 32 hex digits."""
    return _md5(ja3s_text(choice))


def ja3s_text(choice: Choice) -> str:
    """`771,4865,51-43`: version (the hello's own one), cipher suite and extensions."""
    return f"{choice.version},{choice.cipher},{'-'.join(map(str, choice.extensions))}"


@kept
def _dashed(listed: bytes) -> str:
    return "-".join([str(number) for number in numbers(listed) if number not in GREASE])


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
