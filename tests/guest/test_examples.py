"""The examples whose probes trace run as they stand, on the whole of a machine: what they see arrives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bucket import objects, use
from conftest import read
from serving import Exporter, statsd_exporter, until, versitygw

from ingrain import config
from ingrain.agent import Agent

pytestmark = pytest.mark.timeout(900)  # 40 programs of Files alone, which an emulated processor verifies slowly

CONFIG = Path(__file__).parents[2] / "config"
EVERYTHING = Path(__file__).parent / "everything.py"


@contextmanager
def running(name: str, folder: Path) -> Iterator[Agent]:
    """The example with folders of its own: /var/lib/ingrain is not there."""
    text = (CONFIG / name).read_text().replace("/var/lib/ingrain", str(folder / "state"))
    file = folder / name
    file.write_text(text.replace('"/etc", "/root"', f'"/etc", "{folder}"'))
    agent = Agent(config.load(file))
    agent.start()
    try:
        yield agent
    finally:
        agent.stop()


def work(folder: Path) -> Path:
    watched = folder / "watched"
    watched.mkdir()
    subprocess.run([sys.executable, "-ISB", EVERYTHING, watched], input="\n", text=True, check=True)
    return watched


def heard(exporter: Exporter) -> set[str]:
    return {name for name, _, _ in exporter.samples()}


def test_files_are_in_the_archive_and_who_accessed_one_is_answered_from_it(tmp_path: Path) -> None:
    with running("files.toml", tmp_path) as agent:
        watched = work(tmp_path)
    written = [row for row in read(tmp_path / "state/archive", "file.write") if row["path"] == str(watched / "one")]
    assert sum(row["value"] for row in written) == 10_000
    (station,) = agent.account().pipelines["archive"]
    assert station.received == station.delivered > 0
    asked = ["ask", "who-accessed", str(watched / "one"), "--config", str(tmp_path / "files.toml"), "--format", "json"]
    done = subprocess.run([sys.executable, "-m", "ingrain", *asked], capture_output=True, text=True, check=True)
    answer = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"open", "write"} <= {row["action"] for row in answer}
    assert sum(row["bytes"] for row in answer if row["action"] == "write") == 10_000


def test_all_probes_at_once_are_heard_by_statsd_and_are_in_the_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    use(monkeypatch, tmp_path)
    mapping = CONFIG / "grafana/statsd-mapping.yaml"
    with statsd_exporter(tmp_path, f"--statsd.mapping-config={mapping}") as exporter, versitygw(tmp_path) as server:
        host, _, port = exporter.address.partition(":")
        for name, value in {
            "STATSD_HOST": host,
            "STATSD_PORT": port,
            "AWS_S3_BUCKET": "logs",
            "AWS_ENDPOINT_URL_S3": server.url,
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        with running("everything.toml", tmp_path) as agent:
            work(tmp_path)
        assert "cannot run" not in caplog.text
        wanted = {
            "ingrain_dns_answer_total",
            "ingrain_tls_handshake_clienthello_total",
            "ingrain_volume_out_bytes_total",
            "ingrain_process_exec_total",
            "ingrain_process_exit_total",
            "ingrain_file_open_total",
            "ingrain_file_write_bytes_total",
            "ingrain_events_received_total",
        }
        until(f"all of {wanted}", lambda: wanted <= heard(exporter))
        kept = {key.split("/")[1].partition("=")[2] for key in objects(server)}
        assert {"dns.answer", "tls.handshake.clienthello", "volume.out", "process.exec", "file.write"} <= kept
    assert agent.account().pipelines["s3"][-1].lost == 0
