"""What stands in a request: records as one JSON array in ingraind's layout, or as JSON lines. Never too large a body.

Records in, bytes to a file out, as of every writer. What a server does not take whole can be taken apart again.
"""

from __future__ import annotations

from typing import BinaryIO, ClassVar

import numpy as np
import pyarrow as pa

from ingrain.backends.ingraind import ingraind_lines
from ingrain.backends.lines import json_lines, raw
from ingrain.backends.pieces import pieces
from ingrain.batch import Batch, Measurement

_ROWS, _TEXT = 2048, 512 << 10  # rendered at a time: half a megabyte, of which what does not fit is rendered again


class Body:
    """Each record is a line of its own, so a line end is never within one. `limit`: the bytes it may have.

    opening: stands before the first record. closing: stands at the end, in place of the last record's own, `ending`,
    which is as long. content_type: what the server is told that it is.
    """

    content_type: ClassVar[str]
    opening: ClassVar[bytes] = b""
    ending: ClassVar[bytes] = b"\n"
    closing: ClassVar[bytes] = b"\n"

    def __init__(self, file: BinaryIO, measurement: Measurement, schema: pa.Schema, limit: int) -> None:
        del schema  # each record tells its names
        self._file = file
        self._measurement = measurement
        self._room = limit - len(self.opening)
        self._empty = True
        file.write(self.opening)

    def render(self, batch: Batch) -> pa.StringArray:
        """A line for each record, with `ending` at its end."""
        raise NotImplementedError

    def write(self, records: pa.RecordBatch) -> int:
        """Append as many records as there is room for; one that alone is larger than a body has one to itself."""
        taken = 0
        for piece in pieces(Batch(self._measurement, records), _ROWS, _TEXT):
            data, bounds = raw(self.render(piece))
            fits = int(np.searchsorted(bounds[1:] - bounds[0], self._room, side="right"))
            fits = max(fits, int(self._empty))
            self._file.write(data[bounds[0] : bounds[fits]])
            self._room -= int(bounds[fits] - bounds[0])
            self._empty = self._empty and not fits
            taken += fits
            if fits < len(piece):
                break
        return taken

    def finish(self) -> None:
        """Write what stands at the end."""
        self._file.seek(-len(self.ending), 1)
        self._file.write(self.closing)

    def abandon(self) -> None:
        """Nothing has to be undone."""

    @classmethod
    def halves(cls, body: bytes) -> tuple[bytes, bytes] | None:
        """The body as two; None where there is but one record in it."""
        middle, last = len(body) // 2, len(body) - len(cls.closing)
        cut = body.rfind(cls.ending, 0, min(middle + 1, last))
        if cut < 0:
            cut = body.find(cls.ending, middle - 1, last)
        if cut < 0:
            return None
        return body[:cut] + cls.closing, cls.opening + body[cut + len(cls.ending) :]


class JsonArray(Body):
    """An array of objects, as ingraind posts it."""

    content_type = "application/json"
    opening = b"["
    ending = b",\n"
    closing = b"]\n"

    def render(self, batch: Batch) -> pa.StringArray:
        """As ingraind has them."""
        return ingraind_lines(batch, ",\n")


class JsonLines(Body):
    """An object a line (https://github.com/ndjson/ndjson-spec), as in the archive."""

    content_type = "application/x-ndjson"

    def render(self, batch: Batch) -> pa.StringArray:
        """As `json_lines` says."""
        return json_lines(batch)
