"""What Suricata says of a capture in its EVE log, and what ingrain's records say, in one form that can be compared."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from pathlib import Path
from typing import Any

Ends = tuple[str, int, str, int]
"""The client's address and port, and the server's."""

Event = dict[str, Any]

_SETTINGS = """%YAML 1.1
---
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: eve.json
      types:
        - dns: {requests: yes, responses: yes, formats: [detailed]}
        - tls: {custom: [sni, version, ja3, ja3s, ja4], session-resumption: yes}
        - quic: {ja4: on}
app-layer:
  protocols:
    tls: {enabled: yes, ja3-fingerprints: yes, ja4-fingerprints: yes}
    quic: {enabled: yes, ja3-fingerprints: yes, ja4-fingerprints: yes}
    dns:
      udp: {enabled: yes, detection-ports: {dp: "53, 54, 5353"}}
      tcp: {enabled: yes, detection-ports: {dp: "53, 54, 5353"}}
"""


def suricata(capture: Path, folder: Path) -> list[Event]:
    """Its EVE log of the capture, in its order. The checksums are not looked at: loopback leaves them out."""
    folder.mkdir()
    settings = folder / "suricata.yaml"
    settings.write_text(_SETTINGS)
    command: list[str | Path] = [
        "suricata",
        "-c",
        settings,
        "-r",
        capture,
        "-l",
        folder,
        "-k",
        "none",
        "-S",
        "/dev/null",
    ]
    subprocess.run([*command, "--runmode", "single"], check=True, capture_output=True)
    return [json.loads(line) for line in (folder / "eve.json").read_text().splitlines()]


def ends_of(event: Event) -> Ends:
    """Its connection: an event has the client's end first, whoever sent what it is about."""
    client, server = (str(ipaddress.ip_address(event[key])) for key in ("src_ip", "dest_ip"))
    return client, event["src_port"], server, event["dest_port"]


def ends_of_record(record: Event, *, answer: bool) -> Ends:
    source, destination = (record["s_ip"], record["s_port"]), (record["d_ip"], record["d_port"])
    return (*destination, *source) if answer else (*source, *destination)
