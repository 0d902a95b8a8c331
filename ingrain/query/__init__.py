"""Questions to an archive: its Parquet objects, in a folder or a bucket, as tables for SQL. No agent imports this.

`archive` finds the objects of a time, `files` reads them and writes none, `engine` asks DuckDB, `questions` are the
ready ones, `output` shows the answers.
"""
