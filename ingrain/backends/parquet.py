"""Parquet: the writer of objects in that form. Records in, bytes to a file out.

This is the only module that imports pyarrow.parquet, which takes 8 MB of memory.
"""

from __future__ import annotations

from contextlib import suppress
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ingrain.batch import Measurement


class ParquetWriter:
    """A row group for each call of `write`, compressed with zstd. The Arrow schema is in the file's metadata."""

    def __init__(self, file: BinaryIO, measurement: Measurement, schema: pa.Schema, limit: int) -> None:
        del measurement, limit  # the one is in the object's name, the other is looked at between row groups
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

    def write(self, records: pa.RecordBatch) -> int:
        """Append a row group."""
        self._writer.write_batch(records, row_group_size=max(1, records.num_rows))
        return int(records.num_rows)

    def finish(self) -> None:
        """Write the footer."""
        self._writer.close()

    def abandon(self) -> None:
        """Let Arrow's writer close itself, as it does at the latest when it is collected, without a file behind it."""
        self._sink.gone = True
        with suppress(OSError, pa.ArrowException):  # it may not be able to end what failed
            self._writer.close()


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
