"""What stands in an object: what all writers have in common, and gzipped JSON lines. Records in, bytes to a file."""

from __future__ import annotations

import zlib
from typing import BinaryIO, Protocol

import pyarrow as pa

from ingrain.backends.lines import json_lines, raw
from ingrain.backends.pieces import pieces
from ingrain.batch import Batch, Measurement

_GZIP = 16 + zlib.MAX_WBITS  # zlib.h: 16 more writes gzip's header
_LEVEL = 3  # of JSON lines it takes half the time of zlib's default, for a tenth more bytes
_ROWS, _TEXT = 16_384, 4 << 20  # rendered as JSON at a time: some megabytes


class Writer(Protocol):
    """One object in the making: `Writer(file, measurement, schema, limit)`, limit: how many bytes it should have."""

    def write(self, records: pa.RecordBatch) -> int:
        """Append records, as many as may be in this object; how many. A new object takes at least one.

        Raises OSError when the file does not take them.
        """

    def finish(self) -> None:
        """Write what stands at the end. Raises OSError too."""

    def abandon(self) -> None:
        """Nothing will be written any more. Raises nothing."""


class JsonLinesWriter:
    """Gzipped lines, as `ingrain.backends.lines.json_lines` says."""

    def __init__(self, file: BinaryIO, measurement: Measurement, schema: pa.Schema, limit: int) -> None:
        del schema, limit  # each line tells its names; what it takes compressed is looked at between calls of `write`
        self._file = file
        self._measurement = measurement
        self._gzip = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)

    def write(self, records: pa.RecordBatch) -> int:
        """Append a line for each record."""
        for piece in pieces(Batch(self._measurement, records), _ROWS, _TEXT):
            data, bounds = raw(json_lines(piece))
            self._file.write(self._gzip.compress(data[bounds[0] : bounds[-1]]))
        return int(records.num_rows)

    def finish(self) -> None:
        """Write what the compressor holds, and gzip's end."""
        self._file.write(self._gzip.flush())

    def abandon(self) -> None:
        """Nothing has to be undone."""


WRITERS = {
    "parquet": "ingrain.backends.parquet:ParquetWriter",
    "jsonl": "ingrain.backends.writers:JsonLinesWriter",
    "json": "ingrain.backends.bodies:JsonArray",
    "ndjson": "ingrain.backends.bodies:JsonLines",
}
"""What an object is made of -> its writer's class; imported when a pipeline has such objects."""
