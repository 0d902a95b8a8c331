"""A batch on its way over a socket: a length in 4 bytes (little endian), then an Arrow IPC stream of one record batch.

The schema's metadata has the name of the measurement, its kind, and how many records were left out before it.
https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pyarrow as pa

from ingrain.batch import Batch

LENGTH = struct.Struct("<I")
MOST = 256 << 20
"""Bytes of a frame's content: more than any batch has."""

_MEASUREMENT, _LEFT_OUT = b"measurement", b"left_out"


class FrameError(ValueError):
    """These bytes are no frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Records of a measurement; left_out: how many of any measurement were not sent before them."""

    measurement: str
    records: pa.RecordBatch
    left_out: int


def encode(batch: Batch, left_out: int) -> bytes:
    """Length and content."""
    told = {_MEASUREMENT: batch.measurement.name.encode(), _LEFT_OUT: str(left_out).encode()}
    records = batch.records.replace_schema_metadata(told)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, records.schema) as writer:
        writer.write_batch(records)
    content: bytes = sink.getvalue().to_pybytes()
    return LENGTH.pack(len(content)) + content


def size_of(length: bytes) -> int:
    """How long the content is that follows. Raises FrameError where no content is so long."""
    (size,) = LENGTH.unpack(length)
    if size > MOST:
        raise FrameError(f"the agent sends what is no record: it would have {size:,} bytes")
    return int(size)


def decode(content: bytes) -> Frame:
    """What `encode` made, without its length. Raises FrameError for anything else."""
    try:
        with pa.ipc.open_stream(content) as reader:
            told = reader.schema.metadata or {}
            records = reader.read_next_batch()
        records.validate(full=True)
        str(records.schema.names)  # which are no UTF-8 where they were damaged
        return Frame(told[_MEASUREMENT].decode(), records, int(told[_LEFT_OUT]))
    except (pa.ArrowException, OSError, KeyError, ValueError, StopIteration) as error:
        raise FrameError(f"the agent sends what is no record: {error}") from error
