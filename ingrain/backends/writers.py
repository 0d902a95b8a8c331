"""What stands in an object: Parquet, or gzipped JSON lines. Records in, bytes to a file out.

This is the only module that imports pyarrow.parquet, which takes 8 MB of memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from ingrain.backends.lines import json_lines, raw
from ingrain.batch import Batch, Measurement

_GZIP = 16 + zlib.MAX_WBITS  # zlib.h: 16 more writes gzip's header
_LEVEL = 3  # of JSON lines it takes half the time of zlib's default, for a tenth more bytes
_ROWS = 16_384  # rendered as JSON at a time: some megabytes of text


class Writer(Protocol):
    """One object in the making."""

    def write(self, records: pa.RecordBatch) -> None:
        """Append records. Raises OSError when the file does not take them."""

    def finish(self) -> None:
        """Write what stands at the end. Raises OSError too."""

    def abandon(self) -> None:
        """Nothing will be written any more. Raises nothing."""


class ParquetWriter:
    """A row group for each call of `write`, compressed with zstd. The Arrow schema is in the file's metadata."""

    def __init__(self, file: BinaryIO, measurement: Measurement, schema: pa.Schema) -> None:
        del measurement  # it is in the object's name
        self._sink = _Sink(file)
        # Sorted timestamps are stored as small differences; values and numbers repeat, and dictionaries suit them.
        dictionaries = [field.name for field in schema if field.name != "timestamp"]
        # Least and greatest text of a row group tell readers little, and finding them is half the cost of writing.
        measured = [field.name for field in schema if not pa.types.is_dictionary(field.type)]
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression="zstd",
            use_dictionary=dictionaries,
            column_encoding={"timestamp": "DELTA_BINARY_PACKED"},
            write_statistics=measured,
        )

    def write(self, records: pa.RecordBatch) -> None:
        """Append a row group."""
        self._writer.write_batch(records, row_group_size=max(1, records.num_rows))

    def finish(self) -> None:
        """Write the footer."""
        self._writer.close()

    def abandon(self) -> None:
        """Let Arrow's writer close itself, as it does at the latest when it is collected, without a file behind it."""
        self._sink.gone = True
        with suppress(OSError, pa.ArrowException):  # it may not be able to end what failed
            self._writer.close()


class JsonLinesWriter:
    """Gzipped lines, as `ingrain.backends.lines.json_lines` says."""

    def __init__(self, file: BinaryIO, measurement: Measurement, schema: pa.Schema) -> None:
        del schema  # each line tells its names
        self._file = file
        self._measurement = measurement
        self._gzip = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)

    def write(self, records: pa.RecordBatch) -> None:
        """Append a line for each record."""
        for start in range(0, records.num_rows, _ROWS):
            data, bounds = raw(json_lines(Batch(self._measurement, records.slice(start, _ROWS))))
            self._file.write(self._gzip.compress(data[bounds[0] : bounds[-1]]))

    def finish(self) -> None:
        """Write what the compressor holds, and gzip's end."""
        self._file.write(self._gzip.flush())

    def abandon(self) -> None:
        """Nothing has to be undone."""


WRITERS: dict[str, Callable[[BinaryIO, Measurement, pa.Schema], Writer]] = {
    "parquet": ParquetWriter,
    "jsonl": JsonLinesWriter,
}
"""`format` of the settings -> its writer."""


class _Sink:
    """A file as Arrow writes to it, that can be taken away: Arrow's writer cannot be let go without its footer."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0
        self.gone = False

    def write(self, data: bytes) -> int:
        if not self.gone:
            self._file.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing is held here."""

    def close(self) -> None:
        """The file is closed by whoever opened it."""
