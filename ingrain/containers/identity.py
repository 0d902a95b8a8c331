"""Who a container is: the five columns by which records tell it, made for all rows of a batch at once.

In: for each row the number of its cgroup, and for each number the container. Out: `TEXT` columns, null where a cgroup
is in no container, or its engine told nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingrain.batch import TEXT, Column


class Identity(NamedTuple):
    """What a container is called. All is safe text; None is what its engine did not tell, or what it has not."""

    container_id: str | None = None
    container: str | None = None
    image: str | None = None
    pod: str | None = None
    namespace: str | None = None


COLUMNS = (
    Column("container_id", TEXT, "container id, as the engine assigned it; null outside containers"),
    Column("container", TEXT, "container name; in a pod the name from the pod spec, POD for the sandbox"),
    Column("image", TEXT, "image of the container, as it was requested from the engine"),
    Column("pod", TEXT, "Kubernetes pod of the container"),
    Column("namespace", TEXT, "Kubernetes namespace of the pod"),
)
"""The columns, named and ordered as the fields of `Identity`."""

NAMES = frozenset(Identity._fields)
"""Their names."""

_NOBODY = Identity()


def nothing(rows: int) -> dict[str, pa.Array]:
    """The columns of records that are in no container."""
    return dict.fromkeys(Identity._fields, pa.nulls(rows, TEXT))


def columns(numbers: npt.NDArray[np.int32], identities: Sequence[Identity | None]) -> dict[str, pa.Array]:
    """The columns of rows (int32, an index into `identities` each). Columns that can do so share their indices."""
    if not any(identities):
        return nothing(len(numbers))
    absent = pa.nulls(len(numbers), TEXT)
    indices: dict[tuple[bool, ...], pa.Array] = {}
    made: dict[str, pa.Array] = {}
    for name, values in zip(Identity._fields, zip(*(one or _NOBODY for one in identities), strict=True), strict=True):
        there = tuple(value is not None for value in values)
        if not any(there):
            made[name] = absent
            continue
        if there not in indices:
            indices[there] = _indices(numbers, np.array(there))
        texts = [value for value in values if value is not None]
        made[name] = pa.DictionaryArray.from_arrays(indices[there], pa.array(texts, pa.string()), safe=False)
    return made


def _indices(numbers: npt.NDArray[np.int32], there: npt.NDArray[np.bool_]) -> pa.Array:
    """Each row's index into those values that are there; null for the others."""
    if there.all():
        return pa.array(numbers)
    places = np.maximum(np.cumsum(there) - 1, 0).astype(np.int32)[numbers]
    valid = np.packbits(there[numbers], bitorder="little")
    return pa.Array.from_buffers(pa.int32(), len(numbers), [pa.py_buffer(valid), pa.py_buffer(places)])
