"""One file, copied to a system with glibc and no Python: the agent is there, whole, and sees what the wheel's sees."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from agents import OWN, agent
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from bare import CACHE, SUITES, Bare, system
from known import WHEN, write
from serving import until

from ingrain import __version__
from ingrain.kernel import cgroup

pytestmark = [pytest.mark.dist, pytest.mark.timeout(900)]  # debootstrap is the network's, and dpkg's work

GLIBC = re.compile(r"/(ld|ld-linux-x86-64|lib(c|m|dl|rt|util|pthread|resolv|nss_\w+))[-.]([\d.]+\.so|so\.\d+)$")
DEMO = """
import sys
from ingrain.demo import network
sys.exit(0 if network.run({"DNS", "TLS", "Network"}, sys.argv[1:]) else 1)
"""


@pytest.fixture(scope="module", params=SUITES, ids=[name.replace(" ", "-") for name in SUITES.values()])
def bare(request: pytest.FixtureRequest) -> Bare:
    """Each of the systems in turn."""
    if os.geteuid() != 0:
        pytest.skip("only root can make systems and enter them")
    return system(request.param)


def test_there_is_no_python_and_no_libbpf(bare: Bare) -> None:
    assert not [*bare.root.glob("usr/bin/python*"), *bare.root.glob("usr/lib/**/lib[pb][yp][tf]*")]


def test_it_tells_its_version(bare: Bare) -> None:
    done = bare.run("ingrain", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ingrain {__version__}\n", "")


def test_it_tells_what_a_configuration_would_do_and_what_is_wrong_with_it(bare: Bare, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[[probe]]\npipelines = ["one", "two"]\n[probe.config]\ntype = "DNS"\n'
        '[pipeline.one.config]\nbackend = "S3"\nbucket = "logs"\n[pipeline.two.config]\nbackend = "StatsD"\n'
    )
    done = bare.run("ingrain", "check", config)
    assert (done.returncode, done.stderr) == (0, "")
    config.write_text('[[probe]]\npipelines = []\n[probe.config]\ntype = "DNS"\nno_such_key = 1\n')
    done = bare.run("ingrain", "check", config)
    assert done.returncode == 2
    assert "no_such_key" in done.stderr


def test_the_doctor_finds_the_network_s_probes_able(bare: Bare) -> None:
    done = bare.run("ingrain", "doctor", "--json", "DNS", "TLS", "Network")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [one["runs"] for one in json.loads(done.stdout)["probes"]] == [True, True, True]


def test_it_passes_the_demo(bare: Bare) -> None:
    command = [sys.executable, "-c", DEMO, *bare.command("ingrain")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the archive" in done.stdout


def test_it_reads_what_quic_has_sealed(bare: Bare, tmp_path: Path) -> None:
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, server_name="sealed.test"))
    client.connect(("192.0.2.2", 443), now=0.0)
    capture = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 16, 101)  # pcap, of packets that begin with IP
    for payload, _address in client.datagrams_to_send(now=0.0):
        udp = struct.pack("!HHHH", 40000, 443, 8 + len(payload), 0) + payload
        ip = struct.pack("!BBHIBBH", 0x45, 0, 20 + len(udp), 0, 64, 17, 0) + bytes([192, 0, 2, 1, 192, 0, 2, 2]) + udp
        capture += struct.pack("<IIII", 1, 0, len(ip), len(ip)) + ip
    (tmp_path / "quic.pcap").write_bytes(capture)
    config = tmp_path / "config.toml"
    config.write_text(
        '[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "TLS"\n'
        '[pipeline.out.config]\nbackend = "Console"\nformat = "json"\n'
    )
    done = bare.run("ingrain", "replay", tmp_path / "quic.pcap", "--config", config)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["sni"] for line in done.stdout.splitlines()] == ["sealed.test"]


def test_it_answers_questions_to_an_archive(bare: Bare, tmp_path: Path) -> None:
    archive = ("--archive", write(tmp_path / "archive"))
    done = bare.run("ingrain", "ask", "who-accessed", "/etc/passwd", *WHEN, *archive, "--format", "json")
    assert (done.returncode, done.stderr.partition("nothing of")[0]) == (0, "ingrain: in that time the archive has ")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["action"], row["process"]) for row in rows] == [("open", "cat"), ("read", "cat"), ("rename", "cron")]
    sql = "SELECT date_trunc('day', timestamp) AS day, count(*) AS n FROM dns_query WHERE hour = 12 GROUP BY ALL"
    done = bare.run("ingrain", "query", sql, *archive, "--timezone", "Asia/Kolkata")
    assert done.returncode == 0, done.stderr
    assert "2025-03-01 00:00:00.000000+05:30" in done.stdout  # though it has no time zones
    done = bare.run("ingrain", "query", "FROM dns_query", *archive, "--output", tmp_path / "answer.parquet")
    assert done.returncode == 0, done.stderr
    assert pq.read_metadata(tmp_path / "answer.parquet").num_rows == 3
    done = bare.run("ingrain", "report", *WHEN, *archive, "--output", tmp_path / "report.html")
    assert done.returncode == 0, done.stderr
    assert "/etc/passwd" in (tmp_path / "report.html").read_text()


def test_an_agent_maps_nothing_of_what_answers_questions(bare: Bare, tmp_path: Path) -> None:
    toml = OWN.format(socket=tmp_path / "status.sock") + '[pipeline.out.config]\nbackend = "Console"\n'
    with agent(toml, tmp_path, command=bare.command("ingrain")) as running:
        mapped = Path(f"/proc/{running.process.pid}/maps").read_text()
    assert f"/{CACHE}/tree-" in mapped
    assert "duckdb" not in mapped


def test_of_the_system_it_loads_glibc_alone(bare: Bare, tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    with cgroup.temporary(f"ingrain-test-{os.getpid()}") as group:
        toml = OWN.format(socket=tmp_path / "status.sock").replace('["out"]', '["s3", "archive"]')
        toml += f'[[probe]]\npipelines = ["archive"]\n[probe.config]\ntype = "TLS"\ncgroup = "{group.name}"\n'
        toml += (
            '[pipeline.s3.config]\nbackend = "S3"\nbucket = "logs"\nendpoint_url = "https://localhost:9"\nroll_s = 1\n'
        )
        toml += f'[pipeline.archive.config]\nbackend = "Archive"\npath = "{tmp_path / "archive"}"\nroll_s = 1\n'
        with agent(toml, tmp_path, command=bare.command("ingrain"), env=os.environ | keys) as running:
            running.wait_for("EndpointConnectionError")  # boto3 was at its work
            until("a file in the archive", lambda: list(tmp_path.rglob("archive/**/*.parquet")))
            mapped = Path(f"/proc/{running.process.pid}/maps").read_text()
    files = {line.split(maxsplit=5)[5] for line in mapped.splitlines() if ".so" in line}
    unpacked = {path for path in files if f"/{CACHE}/tree-" in path}
    names = {Path(path).name.split(".")[0] for path in unpacked}
    assert names >= {"libarrow", "libparquet", "_multiarray_umath", "libbpf", "libelf", "libstdc++"}
    assert not [path for path in files - unpacked if not GLIBC.search(path)]
