"""JA4, the fingerprint of TLS clients that FoxIO defines: `t13d1516h2_8daaf6152771_e5627efa2ab1`.

In: the numbers of a ClientHello. Out: its fingerprint. Written from technical_details/JA4.md of FoxIO-LLC/ja4, which is
under the BSD licence; the other fingerprints of that family (JA4S, JA4H, JA4X ...) are not, and are not here.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256

from ingrain.wire.hello_fields import ALPN, GREASE, SERVER_NAME, Offer

_VERSIONS = {
    0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2",
    0xFEFF: "d1", 0xFEFD: "d2", 0xFEFC: "d3",
}  # fmt: skip
_NONE = "0" * 12  # instead of the hash of an empty list
_COUNT_MAX = 99
_IN_FIRST_PART = frozenset({SERVER_NAME, ALPN})
_KEPT_MAX = 128  # numbers of a list that is kept: with 512 lists of each kind some 1 MB, and 5 MB at worst


def ja4(offer: Offer) -> str:
    """The fingerprint of a client that sent its hello over TCP: 36 characters, the first a `t`."""
    return f"t{_behind_transport(offer)}"


def ja4_quic(offer: Offer) -> str:
    """The fingerprint of a client that sent its hello over QUIC: it begins with a `q` and is the same from there on."""
    return f"q{_behind_transport(offer)}"


def _behind_transport(offer: Offer) -> str:
    extensions = sorted([kind for kind in offer.extensions if kind not in GREASE])
    hashed = tuple([kind for kind in extensions if kind not in _IN_FIRST_PART])
    fits = len(hashed) <= _KEPT_MAX and len(offer.signature_algorithms) <= _KEPT_MAX
    count, ciphers = (_kept_ciphers if len(offer.ciphers) <= _KEPT_MAX else _ciphers)(offer.ciphers)
    return (
        f"{_version(offer)}{'d' if SERVER_NAME in offer.extensions else 'i'}"
        f"{count}{min(len(extensions), _COUNT_MAX):02}{_protocol(offer)}"
        f"_{ciphers}_{(_kept_extensions if fits else _extensions)(hashed, offer.signature_algorithms)}"
    )


def _version(offer: Offer) -> str:
    """The highest number offered, in supported_versions if there is one; what has no digits of its own is `00`."""
    real = [number for number in offer.versions if number not in GREASE]
    return _VERSIONS.get(max(real) if real else offer.version, "00")


def _protocol(offer: Offer) -> str:
    """First and last character of ALPN's first protocol; of its hex digits where one of them is no letter or digit."""
    for protocol in offer.protocols:
        if len(protocol) == 2 and int.from_bytes(protocol) in GREASE:  # noqa: PLR2004 - bytes of a GREASE value
            continue
        if not protocol:
            break
        ends = bytes((protocol[0], protocol[-1]))
        return ends.decode("ascii") if ends.isalnum() else f"{ends[0] >> 4:x}{ends[1] & 0xF:x}"
    return "00"


def _ciphers(ciphers: tuple[int, ...]) -> tuple[str, str]:
    """How many there are, in two digits, and the hash of them sorted."""
    real = sorted([number for number in ciphers if number not in GREASE])
    return f"{min(len(real), _COUNT_MAX):02}", _hash(_hex(real)) if real else _NONE


def _extensions(extensions: tuple[int, ...], algorithms: tuple[int, ...]) -> str:
    """The hash of the sorted extensions and of the signature algorithms in their order."""
    real = [number for number in algorithms if number not in GREASE]
    if not extensions:
        return _NONE
    return _hash(f"{_hex(extensions)}_{_hex(real)}" if real else _hex(extensions))


_kept_ciphers = lru_cache(maxsize=512)(_ciphers)
_kept_extensions = lru_cache(maxsize=512)(_extensions)


def _hex(numbers: list[int] | tuple[int, ...]) -> str:
    return ",".join([f"{number:04x}" for number in numbers])


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]
