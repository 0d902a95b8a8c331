"""Every probe runs in an agent that has given up all capabilities but those that it says it needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from agents import agent

from ingrain.grains import GRAINS
from ingrain.kernel.host import CAPABILITIES

pytestmark = pytest.mark.timeout(900)  # Files alone loads 40 programs, and an emulated processor verifies them slowly


def test_an_agent_with_what_it_needs_alone_runs_every_probe(tmp_path: Path) -> None:
    toml = f'[agent]\nsocket = "{tmp_path / "status.sock"}"\n[pipeline.out.config]\nbackend = "Console"\n'
    for kind in GRAINS:
        toml += f'[[probe]]\npipelines = ["out"]\n[probe.config]\ntype = "{kind}"\nbuffer_kb = 4096\n'
    with agent(toml, tmp_path, patience_s=600) as running:
        (held,) = [
            int(line.split()[1], 16)
            for line in Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
            if line.startswith("CapEff")
        ]
    assert held == sum(1 << bit for bit, _about in CAPABILITIES.values())
    for kind in GRAINS:
        assert f"probe {kind} sees" in running.said
    assert {probe["name"] for probe in running.account["probes"]} == set(GRAINS)
