"""JA4, the fingerprint of TLS clients that FoxIO defines: `t13d1516h2_8daaf6152771_e5627efa2ab1`.

In: the numbers of a ClientHello. Out: its fingerprint. Written from technical_details/JA4.md of FoxIO-LLC/ja4, which is
under the BSD licence; the other fingerprints of that family (JA4S, JA4H, JA4X ...) are not, and are not here.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256

from ingrain.wire.hello_fields import (
    ALPN,
    SERVER_NAME,
    SIGNATURE_ALGORITHMS,
    VERSIONS,
    Offer,
    numbers,
    protocols,
    signature_algorithms,
    versions,
)
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
_KEPT_ITEMS = 256  # of lists whose hash is kept; longer ones no client has
_IN_FIRST_PART = frozenset({SERVER_NAME, ALPN})


def ja4(offer: Offer, transport: str) -> str:
    """The client's fingerprint, 36 characters; the first is the transport that the hello came over, TCP or QUIC."""
    get = offer.contents.get
    ciphers_count, ciphers_hash = _ciphers(offer.ciphers)
    kinds = tuple(sorted([kind for kind in offer.extensions if kind not in GREASE]))
    algorithms = get(SIGNATURE_ALGORITHMS, b"")
    few = len(kinds) + len(algorithms) <= _KEPT_ITEMS
    host, count, extensions_hash = (_kept_extensions if few else _extensions)(kinds, algorithms)
    version = _VERSIONS.get(_highest(get(VERSIONS, b"")) or offer.version, _UNKNOWN)
    first = f"{transport}{version}{host}{ciphers_count}{count}{_protocol(get(ALPN, b''))}"
    return f"{first}_{ciphers_hash}_{extensions_hash}"


@kept
def _highest(extension: bytes) -> int:
    """The highest number in supported_versions; 0 without it, where the hello's own one counts."""
    return max(_real(versions(extension)), default=0) if extension else 0


@kept
def _protocol(extension: bytes) -> str:
    """First and last character of ALPN's first protocol; of its hex digits where one of them is no letter or digit."""
    names = protocols(extension) if extension else ()
    first = next((one for one in names if len(one) != 2 or int.from_bytes(one) not in GREASE), None)  # noqa: PLR2004
    if first is None:
        return _UNKNOWN
    ends = bytes((first[0], first[-1]))
    return ends.decode("ascii") if ends.isalnum() else f"{ends[0] >> 4:x}{ends[1] & 0xF:x}"


@kept
def _ciphers(listed: bytes) -> tuple[str, str]:
    """How many there are, and the hash of them sorted."""
    real = sorted(_real(numbers(listed)))
    return _count(len(real)), _hash(_hex(real))


def _extensions(kinds: tuple[int, ...], algorithms: bytes) -> tuple[str, str, str]:
    """Whether there is a host name; how many there are; the hash of the sorted, and of the signature algorithms."""
    hashed = _hex([kind for kind in kinds if kind not in _IN_FIRST_PART])
    listed = _hex(_real(signature_algorithms(algorithms))) if algorithms else ""
    text = f"{hashed}_{listed}" if hashed and listed else hashed
    return "d" if SERVER_NAME in kinds else "i", _count(len(kinds)), _hash(text)


_kept_extensions = lru_cache(maxsize=256)(_extensions)  # a client may shuffle them, but they are the same sorted


def _real(items: Iterable[int]) -> list[int]:
    return [number for number in items if number not in GREASE]


def _count(items: int) -> str:
    return f"{min(items, _COUNT_MAX):02}"


def _hex(real: list[int]) -> str:
    return ",".join([f"{number:04x}" for number in real])


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12] if text else _NONE
