"""A DuckDB of its own, in memory, that reads the objects of an archive and can reach and set nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb

from ingrain.query import damage
from ingrain.query.errors import UsageError
from ingrain.query.files import SCHEME, Objects
from ingrain.query.schema import literal

Prepare = Callable[[duckdb.DuckDBPyConnection], None]
"""What a database is to have done before its configuration is locked."""


def connect(
    objects: Objects, prepare: Prepare, *, memory: str, threads: int, spill: str, timezone: str
) -> duckdb.DuckDBPyConnection:
    """One that reads these objects. spill: the folder for what does not fit. timezone: in which SQL reckons days.

    Raises UsageError for limits that DuckDB does not take.
    """
    settings: dict[str, Any] = {
        "memory_limit": memory,
        "temp_directory": spill,
        "autoload_known_extensions": False,
        "autoinstall_known_extensions": False,
        "python_enable_replacements": False,
    }
    if threads:
        settings["threads"] = threads
    try:
        connection = duckdb.connect(config=settings)
    except duckdb.Error as error:
        raise UsageError(f"DuckDB takes no such limit: {damage.reason(error)}") from error
    connection.register_filesystem(objects)
    prepare(connection)
    for setting in (
        f"TimeZone = {literal(timezone)}",
        "enable_progress_bar = true",
        "enable_progress_bar_print = false",
        "parquet_metadata_cache = true",
        f"allowed_directories = [{literal(SCHEME)}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection
