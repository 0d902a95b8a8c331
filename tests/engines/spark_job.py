"""What test_engines.py asks Spark, in a Python of its own: a document on standard input, its answers on the output.

In: `statements` that make the tables, `window` (two timestamps in UTC) of each table, and `questions`: SQL, arguments,
and which of them are timestamps. Out: the rows of each.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from pyspark.sql import SparkSession


def main() -> None:
    """One session for all."""
    job = json.load(sys.stdin)
    building = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    for setting, value in {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": job["warehouse"],
    }.items():
        building = building.config(setting, value)
    spark = building.getOrCreate()
    for statement in job["statements"]:
        spark.sql(statement)
    answers = []
    for question in job["questions"]:
        for table, (since, until) in question["windows"].items():
            bounds = f"timestamp >= TIMESTAMP '{since}' AND timestamp < TIMESTAMP '{until}'"
            spark.sql(
                f"CREATE OR REPLACE TEMP VIEW {table} AS SELECT * FROM spark_catalog.default.{table} WHERE {bounds}"
            )
        arguments = {
            name: datetime.fromisoformat(value) if name in question["times"] else value
            for name, value in question["arguments"].items()
        }
        answers.append(
            [plain(row.asDict(recursive=True)) for row in spark.sql(question["sql"], args=arguments).collect()]
        )
    spark.stop()
    json.dump(answers, sys.stdout)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON has it, timestamps in microseconds."""
    return {
        name: round(value.timestamp() * 1e6) if isinstance(value, datetime) else value for name, value in row.items()
    }


if __name__ == "__main__":
    main()
