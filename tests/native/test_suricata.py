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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import dns_said
import pytest
import tls_said
import variants
from eve import Event, suricata
from record import LACKING

from ingrain.wire import dns_stream

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SURICATA = "7."
AT_ONCE = 3
"""Scenes that are recorded."""

TRIES = 5
"""Recordings of a scene, of which one should be taken for no other protocol's."""


def lacking() -> str:
    """Why nothing of this can be tested here; empty where it can."""
    missing = [name for name in ("suricata", "dumpcap", "editcap", "tshark", "unshare", "ip") if not shutil.which(name)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    said = subprocess.run(["suricata", "-V"], capture_output=True, text=True, check=False).stdout
    return (
        "" if f"version {SURICATA}" in said else f"what is expected here is what Suricata {SURICATA}x says, not {said}"
    )


pytestmark = [pytest.mark.skipif(bool(lacking()), reason=lacking()), pytest.mark.timeout(900)]

TYPES = {"A": "1", "PTR": "12", "HINFO": "13", "TXT": "16", "AAAA": "28", "SRV": "33"}
REPLAY = """
[[probe]]
pipelines = ["rows"]
[probe.config]
type = "DNS"
[[probe]]
pipelines = ["rows"]
[probe.config]
type = "TLS"
[pipeline.rows.config]
backend = "Console"
format = "json"
"""


@dataclass(frozen=True)
class Seen:
    """A scene as both tell it, in all ways that its packets were sent, of which there are `ways`."""

    ways: int
    records: list[Event]
    events: list[Event]
    malformed: int


Recorded = Callable[[str], Path]


@pytest.fixture(scope="module")
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """A scene's capture. All that are asked for are recorded at once, a few at a time: most of it is waiting."""

    def record(scene: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
        alone = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        for number in range(TRIES):
            file = folder / str(number) / "recorded.pcapng"
            file.parent.mkdir()
            command = [*alone, sys.executable, str(HERE / "record.py"), scene, str(file)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode or scene.startswith("dns") or not could_be_dns(file):
                break
        return done, file

    asked = {
        str(item.callspec.params["scene"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        played = {scene: pool.submit(record, scene, tmp_path_factory.mktemp(scene)) for scene in sorted(asked)}

        def found(scene: str) -> Path:
            done, file = played[scene].result()
            if done.returncode == LACKING:
                pytest.skip(f"not installed: {done.stdout.strip()}")
            assert done.returncode == 0, done.stderr
            return file

        yield found


def could_be_dns(capture: Path) -> bool:
    """Whether a stream begins as one of DNS does, too: some hellos do by their random bytes, up to one of sixty."""
    return any(packet.is_tcp and dns_stream.begins_message(packet.payload) for packet in variants.read(capture))


def replay(scene: str, capture: Path, folder: Path) -> tuple[list[Event], int]:
    """The records, all of the scene's protocol, and how many packets were malformed. Nothing else was lost."""
    config, account = folder / "replay.toml", folder / "account.json"
    config.write_text(REPLAY)
    done = subprocess.run(
        [sys.executable, "-m", "ingrain", "replay", capture, "--config", config, "--account", account],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    kind = "dns" if scene.startswith("dns") else "tls"
    assert {record["measurement"].partition(".")[0] for record in records} == {kind}
    probes = json.loads(account.read_text())["probes"]
    assert len(probes) == 2
    assert not any(probe[loss] for probe in probes for loss in ("lost", "cut", "unfinished", "uncounted", "corrupt"))
    return records, sum(probe["malformed"] for probe in probes)


def scenes(protocol: str, *chosen: tuple[str, int]) -> list[Any]:
    """Scenes of a protocol, and what each has to have more of than so many; called by their own names."""
    return [pytest.param(f"{protocol}-{name}", least, id=name) for name, least in chosen]


def seen(scene: str, recorded: Recorded, folder: Path) -> Seen:
    ways, frames = variants.all_ways(variants.read(recorded(scene)))
    capture = variants.write(folder / "capture.pcap", frames, variants.ETHERNET)
    records, malformed = replay(scene, capture, folder)
    return Seen(ways, records, suricata(capture, folder / "suricata"), malformed)


def every_way(messages: Counter[Any], ways: int) -> bool:
    """Whether each message is there once for every way that it was sent (or as often, twice, ...)."""
    return bool(messages) and not any(count % ways for count in messages.values())


@pytest.mark.parametrize(
    ("scene", "types"), scenes("dns", ("udp", 20), ("tcp", 20), ("resolved", 20), ("multicast", 4))
)
def test_dns_messages(scene: str, types: int, recorded: Recorded, tmp_path: Path) -> None:
    told = seen(scene, recorded, tmp_path)
    assert told.malformed == 0
    assert len({record["q_type"] for record in told.records}) > types
    ours = dns_said.told_by_ingrain(told.records)
    assert every_way(Counter(said for messages in ours.values() for said in messages), told.ways)
    theirs = dns_said.told_by_suricata(told.events)
    unasked = dns_said.unasked(told.records)
    assert bool(unasked) == (scene == "dns-multicast")
    assert theirs == dns_said.logged({key: messages for key, messages in ours.items() if key not in unasked})


@pytest.mark.parametrize(
    ("scene", "fingerprints"),
    scenes(
        "tls", ("openssl", 10), ("resumption", 3), ("gnutls", 20), ("curl", 10), ("go", 7), ("node", 6), ("python", 7),
        ("nss", 5),
    ),
)  # fmt: skip
def test_tls_hellos(scene: str, fingerprints: int, recorded: Recorded, tmp_path: Path) -> None:
    told = seen(scene, recorded, tmp_path)
    assert told.malformed == 0
    assert len({record.get("ja4") for record in told.records}) > fingerprints
    theirs, ours = tls_said.told_by_suricata(told.events), tls_said.told_by_ingrain(told.records)
    by_way: dict[str, dict[tuple[int, int], Any]] = {way: {} for way in variants.WAYS}
    for (client, port, _server, to), hellos in ours.items():
        by_way[variants.way_of(client)][port, to] = tls_said.without_ends(hellos)
    whole = by_way["as it is"]
    only_first = {ends: tls_said.without_second(hellos) for ends, hellos in whole.items()}
    assert whole
    for way, found in by_way.items():
        assert found == (only_first if way in variants.TINY else whole), way
    added = tls_said.handshakes(theirs, {ends: whole[ends[1], ends[3]] for ends in ours})
    assert added == (scene == "tls-nss")


@pytest.mark.parametrize(
    ("scene", "fingerprints"), scenes("quic", ("clients", 4), ("retry", 4), ("versions", 1), ("browsers", 5))
)
def test_quic_hellos(scene: str, fingerprints: int, recorded: Recorded, tmp_path: Path) -> None:
    told = seen(scene, recorded, tmp_path)
    assert len({record.get("ja4") for record in told.records}) > fingerprints
    assert {record["proto"] for record in told.records} == {"quic"}
    theirs, ours = tls_said.quic_told_by_suricata(told.events), tls_said.quic_told_by_ingrain(told.records)
    changed = tls_said.of_two_versions(told.events)
    assert bool(changed) == (scene == "quic-versions")
    # aioquic's client seals the first packet that it calls one of v2 with the keys of v1
    assert told.malformed == len(changed)
    assert every_way(Counter(str(hellos) for hellos in ours.values()), told.ways)
    assert all(choices for _offers, choices in ours.values())
    assert theirs == {ends: (offers, [] if ends in changed else choices) for ends, (offers, choices) in ours.items()}


@pytest.mark.parametrize("link", [variants.RAW_IP, variants.COOKED], ids=["raw", "cooked"])
@pytest.mark.parametrize("scene", ["dns-udp", "tls-node", "quic-clients"])
def test_captures_of_other_link_types(scene: str, link: int, recorded: Recorded, tmp_path: Path) -> None:
    frame = variants.cooked if link == variants.COOKED else variants.Packet.datagram
    packets = ((one.time, frame(one)) for one in variants.read(recorded(scene)))
    capture = variants.write(tmp_path / "capture.pcap", packets, link)
    records, malformed = replay(scene, capture, tmp_path)
    events = suricata(capture, tmp_path / "suricata")
    assert malformed == 0
    if scene.startswith("dns"):
        assert dns_said.told_by_suricata(events) == dns_said.logged(dns_said.told_by_ingrain(records))
    elif scene.startswith("quic"):
        assert tls_said.quic_told_by_suricata(events) == tls_said.quic_told_by_ingrain(records)
    else:
        assert not tls_said.handshakes(tls_said.told_by_suricata(events), tls_said.told_by_ingrain(records))


@pytest.mark.parametrize("scene", ["dns-multicast"])
def test_answers_of_multicast_dns_are_those_that_tshark_tells(scene: str, recorded: Recorded, tmp_path: Path) -> None:
    """Suricata leaves out those that nobody asked for at the same ends, so nearly all of them."""
    file = recorded(scene)
    records, _malformed = replay(scene, file, tmp_path)
    fields = [
        word for name in ("count.answers", "resp.name", "resp.type", "resp.ttl") for word in ("-e", f"dns.{name}")
    ]
    lines = subprocess.run(
        ["tshark", "-r", file, "-Y", "dns.flags.response == 1 && !icmp", "-T", "fields", "-E", "aggregator=|", *fields],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    theirs = []
    for line in lines:
        count, names, *lists = line.split("\t")
        kinds, ttls = (one.split("|")[: int(count)] for one in lists)
        theirs.append((names.split("|")[: len(kinds) - kinds.count(TYPES["SRV"])], kinds, ttls))
    ours = sorted((one for one in records if one["measurement"] == "dns.answer"), key=itemgetter("timestamp"))
    assert len(ours) > 5
    assert theirs == [
        (
            [
                dns_said.name(one["name"]) for one in record["answers"] if one["type"] != "SRV"
            ],  # tshark leaves these out
            [TYPES[one["type"]] for one in record["answers"]],
            [str(one["ttl"]) for one in record["answers"]],
        )
        for record in ours
    ]
