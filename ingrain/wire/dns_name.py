"""Domain names in DNS messages, off the wire (RFC 1035 3.1, compression 4.1.4) and as text (RFC 1035 5.1, RFC 4343).

In: a message's bytes and an offset. Out: the name's labels, or its text, which is printable ASCII whatever the packet
held.
"""

from __future__ import annotations

from functools import lru_cache

from ingrain.wire.malformed import Malformed

HEADER_SIZE = 12
_NAME_MAX = 255  # with the root's zero; RFC 1035 3.1
_LABEL_MAX = 63
_POINTER = 0xC0
_SPECIAL = frozenset(b'"$().;@\\')  # what master files give a meaning

ESCAPED = tuple(
    f"\\{chr(byte)}" if byte in _SPECIAL else chr(byte) if 0x20 < byte < 0x7F else f"\\{byte:03d}"  # noqa: PLR2004 - VCHAR
    for byte in range(256)
)
"""Each byte as it stands in a name's text: itself, `\\X` where X has a meaning in master files, else `\\DDD`."""
_PLAIN = bytes(byte for byte in range(256) if len(ESCAPED[byte]) == 1)


def read(message: bytes, at: int, known: dict[int, bytes]) -> tuple[bytes, int]:
    """The name at `at`: its labels as on the wire, but whole and without the root's zero; and the offset behind it.

    `known` is the message's names by offset: empty at first, and filled here. With it no pointer is followed twice, so
    the time that a message takes grows with its length, whatever its pointers do. Raises Malformed for a pointer that
    does not lead strictly backwards (so no loop is possible), a label type other than the two of RFC 1035, and a name
    longer than 255 bytes; IndexError where the message ends within the name.
    """
    run = at
    end = 0
    pointing: list[tuple[int, bytes]] = []  # runs of labels that end in a pointer
    while True:
        length = message[at]
        if not length:
            if at - run >= _NAME_MAX:
                raise Malformed(f"the name at offset {run} is longer than {_NAME_MAX} bytes")
            name = known[run] = message[run:at]
            end = end or at + 1
            break
        if length <= _LABEL_MAX:
            at += length + 1
        elif length >= _POINTER:
            target = (length - _POINTER) << 8 | message[at + 1]
            if not HEADER_SIZE <= target < run:
                raise Malformed(f"the pointer at offset {at} does not lead backwards to a name")
            pointing.append((run, message[run:at]))
            end = end or at + 2
            found = known.get(target)
            if found is not None:
                name = found
                break
            at = run = target
        else:
            raise Malformed(f"the label at offset {at} is of an unknown type (0x{length:02x})")
    for start, labels in reversed(pointing):
        name = labels + name
        if len(name) >= _NAME_MAX:
            raise Malformed(f"the name at offset {start} is longer than {_NAME_MAX} bytes")
        known[start] = name
    return name, end


@lru_cache(maxsize=8192)
def text(labels: bytes) -> str:
    """The presentation form of what `read` gives: case as on the wire, no dot at the end, the root as `.`."""
    if not labels:
        return "."
    end = 1 + labels[0]
    label = labels[1:end]
    shown = "".join([ESCAPED[byte] for byte in label]) if label.translate(None, _PLAIN) else label.decode("ascii")
    return f"{shown}.{text(labels[end:])}" if end < len(labels) else shown  # the names of a zone share its text
