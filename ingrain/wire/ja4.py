"""JA4, the fingerprint of TLS clients that FoxIO defines: `t13d1516h2_8daaf6152771_e5627efa2ab1`.

In: the numbers of a ClientHello. Out: its fingerprint. Written from technical_details/JA4.md of FoxIO-LLC/ja4, which is
under the BSD licence; the other fingerprints of that family (JA4S, JA4H, JA4X ...) are not, and are not here.
"""

from __future__ import annotations

from hashlib import sha256

from ingrain.wire.hello_fields import ALPN, SERVER_NAME, Offer
from ingrain.wire.kept import kept
from ingrain.wire.tls_registry import GREASE

TCP, QUIC = "t", "q"

_VERSIONS = {
    0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2",
    0xFEFF: "d1", 0xFEFD: "d2", 0xFEFC: "d3",
}  # fmt: skip
_UNKNOWN = "00"
_NONE = "0" * 12  # instead of the hash of an empty list
_COUNT_MAX = 99
_IN_FIRST_PART = frozenset({SERVER_NAME, ALPN})


def ja4(offer: Offer, transport: str) -> str:
    """The client's fingerprint, 36 characters; the first is the transport that the hello came over, TCP or QUIC."""
    ciphers_count, ciphers_hash = _ciphers(offer.ciphers)
    extensions = tuple(sorted(_real(offer.extensions)))
    kind = "d" if SERVER_NAME in extensions else "i"
    first = f"{transport}{_version(offer)}{kind}{ciphers_count}{_count(extensions)}{_protocol(offer.protocols)}"
    return f"{first}_{ciphers_hash}_{_extensions(extensions, offer.signature_algorithms)}"


def _version(offer: Offer) -> str:
    """The highest number in supported_versions, or the hello's own one without it."""
    return _VERSIONS.get(max(_real(offer.versions), default=offer.version), _UNKNOWN)


def _protocol(protocols: tuple[bytes, ...]) -> str:
    """First and last character of ALPN's first protocol; of its hex digits where one of them is no letter or digit."""
    first = next((one for one in protocols if len(one) != 2 or int.from_bytes(one) not in GREASE), None)  # noqa: PLR2004
    if first is None:
        return _UNKNOWN
    ends = bytes((first[0], first[-1]))
    return ends.decode("ascii") if ends.isalnum() else f"{ends[0] >> 4:x}{ends[1] & 0xF:x}"


@kept
def _ciphers(ciphers: tuple[int, ...]) -> tuple[str, str]:
    """How many there are, and the hash of them sorted."""
    real = tuple(sorted(_real(ciphers)))
    return _count(real), _hash(_hex(real))


def _extensions(extensions: tuple[int, ...], algorithms: tuple[int, ...]) -> str:
    """The hash of the sorted extensions and of the signature algorithms in their order."""
    kinds = _hex(tuple([kind for kind in extensions if kind not in _IN_FIRST_PART]))
    listed = _hex(algorithms)
    return _hash(f"{kinds}_{listed}" if kinds and listed else kinds)


def _real(numbers: tuple[int, ...]) -> list[int]:
    return [number for number in numbers if number not in GREASE]


def _count(numbers: tuple[int, ...]) -> str:
    return f"{min(len(numbers), _COUNT_MAX):02}"


@kept
def _hex(numbers: tuple[int, ...]) -> str:
    return ",".join([f"{number:04x}" for number in _real(numbers)])


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12] if text else _NONE
