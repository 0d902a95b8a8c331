"""Names of key exchange groups, as the IANA registry "TLS Supported Groups" has them.

Values that the registry reserves for private use or GREASE, or leaves unassigned, are not here.
"""

from __future__ import annotations

_RUNS: dict[int, str] = {
    1: (
        "sect163k1 sect163r1 sect163r2 sect193r1 sect193r2 sect233k1 sect233r1 sect239k1 sect283k1 sect283r1 "
        "sect409k1 sect409r1 sect571k1 sect571r1 secp160k1 secp160r1 secp160r2 secp192k1 secp192r1 secp224k1 "
        "secp224r1 secp256k1 secp256r1 secp384r1 secp521r1 brainpoolP256r1 brainpoolP384r1 brainpoolP512r1 "
        "x25519 x448 brainpoolP256r1tls13 brainpoolP384r1tls13 brainpoolP512r1tls13 "
        "GC256A GC256B GC256C GC256D GC512A GC512B GC512C curveSM2"
    ),
    256: "ffdhe2048 ffdhe3072 ffdhe4096 ffdhe6144 ffdhe8192",
    512: "MLKEM512 MLKEM768 MLKEM1024",
    4587: "SecP256r1MLKEM768 X25519MLKEM768 SecP384r1MLKEM1024 curveSM2MLKEM768",
    25497: "X25519Kyber768Draft00 SecP256r1Kyber768Draft00",  # drafts' own, obsolete, and still sent
    65281: "arbitrary_explicit_prime_curves arbitrary_explicit_char2_curves",
}
"""The first number of a run of numbers without a gap -> their names."""

NAMES = {first + place: name for first, names in _RUNS.items() for place, name in enumerate(names.split())}
