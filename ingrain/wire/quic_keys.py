"""The keys of QUIC's Initial packets, which protect against accidents, not against readers (RFC 9001 5, RFC 9369 3.3).

In: the version, the connection id that the client chose first, and a packet. Out: the packet's number and its frames.
The ciphers are those of the `cryptography` library, which is loaded when the first packet is opened (6 MB).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import cache, lru_cache
from typing import NamedTuple

from ingrain.wire.malformed import Malformed

V1, V2 = 0x00000001, 0x6B3343CF
_SALTS = {
    V1: bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),  # RFC 9001 5.2
    V2: bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),  # RFC 9369 3.3.1
}
_PREFIXES = {V1: b"quic ", V2: b"quicv2 "}
_CLIENT, _SERVER = b"client in", b"server in"
_TAG, _SAMPLE = 16, 16


class Keys(NamedTuple):
    """Those of one side: for the payload, its nonce, and the header protection."""

    key: bytes
    iv: bytes
    header: bytes


@lru_cache(maxsize=1024)  # most connections send several Initial packets, close to each other
def initial_keys(version: int, connection_id: bytes, *, client: bool) -> Keys:
    """The client's or the server's keys. connection_id: the one in which the client's first packet was sent."""
    secret = hmac.digest(_SALTS[version], connection_id, "sha256")
    secret = _expand(secret, _CLIENT if client else _SERVER, 32)
    prefix = _PREFIXES[version]
    return Keys(*(_expand(secret, prefix + label, size) for label, size in ((b"key", 16), (b"iv", 12), (b"hp", 16))))


def open_initial(keys: Keys, packet: bytes, number_at: int, expected: int) -> tuple[int, bytes]:
    """The packet's number and its frames. Raises Malformed where it was not sealed with these keys, or was damaged.

    packet: from its first byte to its end. number_at: where its number is. expected: the number that is due next.
    """
    if len(packet) < number_at + 4 + _SAMPLE:
        raise Malformed(f"an Initial packet of {len(packet)} bytes is too short to be protected")
    encrypt_block, open_sealed = _ciphers()
    mask = encrypt_block(keys.header, packet[number_at + 4 : number_at + 4 + _SAMPLE])
    first = packet[0] ^ (mask[0] & 0x0F)
    size = (first & 3) + 1
    truncated = int.from_bytes(packet[number_at : number_at + size]) ^ int.from_bytes(mask[1 : 1 + size])
    header = bytes([first]) + packet[1:number_at] + truncated.to_bytes(size)
    number = _whole(truncated, size, expected)
    nonce = (int.from_bytes(keys.iv) ^ number).to_bytes(len(keys.iv))
    return number, open_sealed(keys.key, nonce, packet[number_at + size :], header)


def _whole(truncated: int, size: int, expected: int) -> int:
    """The packet number of which these are the last bytes: the one that is closest to the expected (RFC 9000 A.3)."""
    window = 1 << 8 * size
    number = (expected & -window) | truncated
    if number <= expected - window // 2:
        return number + window
    if number > expected + window // 2 and number >= window:
        return number - window
    return number


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label of RFC 8446 7.1, with no context and for no more bytes than one round gives."""
    return hmac.digest(secret, _round(label, size), "sha256")[:size]


@cache
def _round(label: bytes, size: int) -> bytes:
    """What the first round of HKDF-Expand hashes."""
    label = b"tls13 " + label
    return size.to_bytes(2) + bytes([len(label)]) + label + b"\0\x01"


@cache
def _ciphers() -> tuple[Callable[[bytes, bytes], bytes], Callable[[bytes, bytes, bytes, bytes], bytes]]:
    """AES of one block, and AES-GCM's opening."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - hosts without QUIC do without it
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    def encrypt_block(key: bytes, block: bytes) -> bytes:
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)  # noqa: S305 - RFC 9001 5.4.3

    def open_sealed(key: bytes, nonce: bytes, sealed: bytes, header: bytes) -> bytes:
        try:
            return AESGCM(key).decrypt(nonce, sealed, header)
        except InvalidTag:
            raise Malformed("an Initial packet is damaged, or the beginning of its connection was not seen") from None

    return encrypt_block, open_sealed
