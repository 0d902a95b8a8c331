"""A pipeline to S3 that a reload replaces: what is in its spool is its successor's, and arrives once."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pyarrow.parquet as pq
from agents import OWN, agent
from serving import Gateway, free_port, until, versitygw

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": Gateway.access,
    "AWS_SECRET_ACCESS_KEY": Gateway.secret,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def rows(server: Gateway) -> int:
    objects = (server.folder / "logs").rglob("*.parquet")
    return sum(pq.ParquetFile(io.BytesIO(one.read_bytes())).metadata.num_rows for one in objects)


def test_what_waits_for_a_server_that_is_away_outlives_the_pipeline_that_a_reload_replaces(tmp_path: Path) -> None:
    port = free_port()
    toml = OWN.format(socket=tmp_path / "status.sock") + (
        '[pipeline.out.config]\nbackend = "S3"\nbucket = "logs"\nregion = "us-east-1"\nroll_s = 1\n'
        f'endpoint_url = "http://127.0.0.1:{port}"\n'
    )
    step = '[[pipeline.out.steps]]\ntype = "Whitelist"\nallow = ["probe", "stage"]\n'
    environment = {**os.environ, **ENVIRONMENT, "STATE_DIRECTORY": str(tmp_path)}
    with agent(toml, tmp_path, env=environment) as running:
        until("something in the spool", lambda: running.status()[1]["account"]["pipelines"]["out"][-1]["spooled"])
        for text in (toml + step, toml, toml + step):
            running.reload(text)
        assert running.status()[1]["account"]["pipelines"]["out"][-1]["spooled"]
        with versitygw(tmp_path, port) as server:
            until("all of it to arrive", lambda: not running.status()[1]["account"]["pipelines"]["out"][-1]["spooled"])
            running.process.terminate()
            running.process.wait(60)
            arrived = rows(server)
    backend = next(one for one in running.account["pipelines"]["out"] if one["name"].endswith("S3"))
    whitelist = next(one for one in running.account["pipelines"]["out"] if one["name"].endswith("Whitelist"))
    assert backend["delivered"] == arrived > 0
    assert backend["received"] == backend["delivered"]
    assert backend["lost"] == backend["refused"] == backend["spooled"] == 0
    assert backend["resumed"] == backend["left"]
    assert whitelist["received"] == whitelist["delivered"] > 0
