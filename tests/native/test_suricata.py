"""What `ingrain replay` records of real programs' traffic is what Suricata 7 says of the same file, message by message.

Each scene is recorded in a network namespace of its own, and then sent again in the ways of variants.py, all in one
capture. Where the two do not say the same, the test says where, why, and by which standard, and checks just that.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns_said
import pytest
import tls_said
import variants
from eve import Event, suricata
from record import LACKING
from variants import SECOND

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MISSING = [name for name in ("suricata", "dumpcap", "editcap", "tshark", "unshare", "ip") if not shutil.which(name)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

PROBES = {"dns": "DNS", "tls": "TLS", "quic": "TLS"}
REPLAY = """
[[probe]]
pipelines = ["rows"]
[probe.config]
type = "{probe}"
[pipeline.rows.config]
backend = "Console"
format = "json"
"""


@dataclass(frozen=True)
class Seen:
    """A scene as both tell it, in all ways that its packets were sent, of which there are `ways`."""

    scene: str
    capture: Path
    ways: int
    records: list[Event]
    events: list[Event]
    probe: dict[str, int]
    """The probe's account."""


Recorded = Callable[[str], Path]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A scene's capture, recorded when it is first asked for."""
    known: dict[str, Path] = {}

    def record(scene: str) -> Path:
        if scene not in known:
            file = tmp_path_factory.mktemp(scene) / "recorded.pcapng"
            alone = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
            played = subprocess.run(
                [*alone, sys.executable, HERE / "record.py", scene, file],
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            if played.returncode == LACKING:
                pytest.skip(f"not installed: {played.stdout.strip()}")
            assert played.returncode == 0, played.stderr
            known[scene] = file
        return known[scene]

    return record


def replay(scene: str, capture: Path, folder: Path) -> tuple[list[Event], dict[str, int]]:
    """The records, and the account of the probe."""
    config, account = folder / "replay.toml", folder / "account.json"
    config.write_text(REPLAY.format(probe=PROBES[scene.split("-")[0]]))
    done = subprocess.run(
        [sys.executable, "-m", "ingrain", "replay", capture, "--config", config, "--account", account],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (probe,) = json.loads(account.read_text())["probes"]
    return [json.loads(line) for line in done.stdout.splitlines()], probe


def seen(scene: str, recorded: Recorded, folder: Path) -> Seen:
    packets = variants.read(recorded(scene))
    ways, frames = variants.all_ways(packets)
    capture = variants.write(folder / "capture.pcap", frames, variants.ETHERNET)
    records, probe = replay(scene, capture, folder)
    events = suricata(capture, folder / "suricata")
    assert records
    assert probe["lost"] == probe["cut"] == probe["unfinished"] == 0
    return Seen(scene, capture, ways, records, events, probe)


def every_way(messages: Counter[Any], ways: int) -> bool:
    """Whether each message is there once for every way that it was sent (or as often, twice, ...)."""
    return bool(messages) and not any(count % ways for count in messages.values())


@pytest.mark.parametrize("scene", ["dns-udp", "dns-tcp", "dns-resolved", "dns-multicast"])
def test_dns_messages(scene: str, recorded: Recorded, tmp_path: Path) -> None:
    told = seen(scene, recorded, tmp_path)
    assert told.probe["malformed"] == 0
    ours = dns_said.told_by_ingrain(told.records)
    assert every_way(Counter(said for messages in ours.values() for said in messages), told.ways)
    theirs = dns_said.told_by_suricata(told.events)
    unasked = dns_said.unasked(told.records)
    assert bool(unasked) == (scene == "dns-multicast")
    assert theirs == dns_said.logged({key: messages for key, messages in ours.items() if key not in unasked})


@pytest.mark.parametrize(
    "scene",
    ["openssl", "resumption", "gnutls", "curl", "go", "node", "python", "nss"],
)
def test_tls_hellos(scene: str, recorded: Recorded, tmp_path: Path) -> None:
    told = seen(f"tls-{scene}", recorded, tmp_path)
    assert told.probe["malformed"] == 0
    theirs, ours = tls_said.told_by_suricata(told.events), tls_said.told_by_ingrain(told.records)
    assert theirs.keys() <= ours.keys()
    added = 0
    for ends, (offers, choices) in ours.items():
        event = theirs.get(ends)
        if event is None:
            assert not choices, ends
            continue
        assert (event.sni, event.ja3) == (offers[0]["sni"], offers[0]["ja3"]), ends
        chosen = (choices[0]["tls_version"], choices[0]["ja3s"]) if choices else (event.version, None)
        if tls_said.is_sum(event.ja4, offers):
            added += 1
        else:
            assert event.ja4 == tls_said.expected_ja4(offers[0]["ja4"], event.ja3_text), ends
            assert (event.version, event.ja3s) == chosen, ends
    assert bool(added) == (scene == "nss")


@pytest.mark.parametrize("scene", ["clients", "retry", "versions", "browsers"])
def test_quic_hellos(scene: str, recorded: Recorded, tmp_path: Path) -> None:
    told = seen(f"quic-{scene}", recorded, tmp_path)
    theirs, ours = tls_said.quic_told_by_suricata(told.events), tls_said.quic_told_by_ingrain(told.records)
    assert theirs == ours
