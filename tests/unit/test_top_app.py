"""The screen of top, by keys that a user presses: tables, sorting, filter, pause, problems; in 80x24."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pictures import picture
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from ingrain.account import Account, ProbeAccount
from ingrain.batch import Measurement
from ingrain.grains.dns import DNS
from ingrain.grains.files import Files
from ingrain.grains.network import CONNECTION, VOLUME
from ingrain.grains.process import Process
from ingrain.live.frames import Frame
from ingrain.status import Status
from ingrain.top.app import Top

QUERY, OPEN, EXEC = (
    next(one for one in grain.measurements if one.name == name)
    for grain, name in ((DNS, "dns.query"), (Files, "file.open"), (Process, "process.exec"))
)


class Agent:
    """What is watched: what it is told to say."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.probes = [ProbeAccount("Network")]
        self.stopped = False
        self.seen: Callable[[Frame], None]
        self.ended: Callable[[str], None]

    def connect(self, seen: Callable[[Frame], None], ended: Callable[[str], None]) -> Agent:
        self.seen, self.ended = seen, ended
        return self

    def status(self) -> Status:
        account = Account(self.probes, {})
        return Status("1.0", 7, "/etc/ingrain.toml", time.time() - 3661, time.time(), self.problems, account)

    def stop(self) -> None:
        self.stopped = True

    def says(self, measurement: Measurement, *rows: dict[str, Any]) -> None:
        told = [{"timestamp": 0, "value": 1, "packets": 1, **row} for row in rows]
        self.seen(Frame(measurement.name, pa.RecordBatch.from_pylist(told, measurement.schema), 0))


def drive(test: Callable[[Agent, Pilot[None]], Any], size: tuple[int, int] = (80, 24)) -> Agent:
    """The test in an app of this size."""

    async def run() -> Agent:
        agent = Agent()
        async with Top(agent.connect).run_test(size=size) as pilot:
            await pilot.pause(0.2)
            await test(agent, pilot)
        return agent

    return asyncio.run(run())


def cells(pilot: Pilot[None], title: str) -> list[list[str]]:
    table = pilot.app.query_one(f"#table-{title}", DataTable)
    return [[cell.plain for cell in table.get_row_at(row)] for row in range(table.row_count)]


def titles(pilot: Pilot[None], title: str) -> list[str]:
    table = pilot.app.query_one(f"#table-{title}", DataTable)
    return [str(column.label).rstrip() for column in table.ordered_columns]


def said(pilot: Pilot[None], widget: str) -> str:
    return str(pilot.app.query_one(f"#{widget}", Static).render())


async def drawn(pilot: Pilot[None], what: Callable[[], object]) -> None:
    """Wait until it is shown."""
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, "it was never shown"
        await pilot.pause(0.1)


def test_processes_are_sorted_by_what_they_send_and_by_any_other_column() -> None:
    async def test(agent: Agent, pilot: Pilot[None]) -> None:
        rows = [("curl", 7, 10_000), ("backup", 8, 5_000_000), ("idle", 9, 10)]
        agent.says(VOLUME[0], *({"process": name, "process_id": pid, "value": sent} for name, pid, sent in rows))
        agent.says(QUERY, {"process": "idle", "process_id": 9, "q_name": "a.example"})
        await drawn(pilot, lambda: len(cells(pilot, "Processes")) == 3)
        assert [row[:3] for row in cells(pilot, "Processes")] == [
            ["backup", "8", "500.0 kB"],
            ["curl", "7", "1.0 kB"],
            ["idle", "9", "1 B"],
        ]
        assert titles(pilot, "Processes")[2:4] == ["sent/s ▼", "recv/s"]
        await pilot.press("s", "s", "s")  # received, connections, names
        assert cells(pilot, "Processes")[0][0] == "idle"
        assert titles(pilot, "Processes")[2:6] == ["sent/s", "recv/s", "conns", "names ▼"]
        await pilot.press("r")
        assert cells(pilot, "Processes")[-1][0] == "idle"
        assert titles(pilot, "Processes")[5] == "names ▲"

    assert drive(test).stopped


def test_a_filter_shows_only_rows_that_contain_it_until_it_is_taken_away() -> None:
    async def test(agent: Agent, pilot: Pilot[None]) -> None:
        agent.says(QUERY, *({"process": "curl", "q_name": name} for name in ("a.example", "b.test", "c.example")))
        await pilot.press("2")
        await drawn(pilot, lambda: len(cells(pilot, "Names")) == 3)
        await pilot.press("/", *"EXAM", "enter")
        await drawn(pilot, lambda: len(cells(pilot, "Names")) == 2)
        assert sorted(row[0] for row in cells(pilot, "Names")) == ["a.example", "c.example"]
        await pilot.press("escape")
        assert len(cells(pilot, "Names")) == 3

    drive(test)


def test_a_pause_keeps_what_is_shown() -> None:
    async def test(agent: Agent, pilot: Pilot[None]) -> None:
        await pilot.press("space")
        agent.says(VOLUME[0], {"process": "curl", "process_id": 7, "value": 1000})
        await pilot.pause(2.5)
        assert cells(pilot, "Processes") == []
        await pilot.press("space")
        await drawn(pilot, lambda: cells(pilot, "Processes"))

    drive(test)


def test_rates_losses_and_problems_are_told_and_so_is_the_end() -> None:
    async def test(agent: Agent, pilot: Pilot[None]) -> None:
        await drawn(pilot, lambda: "up 01:01:0" in said(pilot, "agent"))
        agent.probes = [ProbeAccount("Network", records=5010, lost=42)]
        agent.problems = ["pipeline s3: uploading failed: [bold]no[/bold] \x1b[31mway"]
        await drawn(pilot, lambda: "42 lost" in said(pilot, "probes"))
        assert "[bold]no[/bold] \\x1b[31mway" in said(pilot, "problems"), "it is neither markup nor a command"
        agent.ended("the agent has ended")
        await drawn(pilot, lambda: said(pilot, "problems") == "the agent has ended")

    drive(test)


def test_hostile_names_are_texts_in_a_table_and_above_it() -> None:
    async def test(agent: Agent, pilot: Pilot[None]) -> None:
        agent.probes = [ProbeAccount("Net\x9bwork")]
        await drawn(pilot, lambda: said(pilot, "probes").startswith("Net\\u009bwork 0/s"))
        agent.says(VOLUME[0], {"process": "[red]x[/]\x1b]0;", "process_id": 7, "value": 1000})
        await drawn(pilot, lambda: cells(pilot, "Processes"))
        assert cells(pilot, "Processes")[0][0] == "[red]x[/]\\x1b]0;"

    drive(test)


BUSY = (
    # process, id, container, bytes sent in ten seconds, connections, names, files opened, programs run
    ("restic", 1420, "backup", 48_200_000, 2, 1, 61, 0),
    ("nginx", 811, "shop", 9_730_000, 384, 2, 12, 0),
    ("postgres", 902, "db", 2_100_000, 16, 0, 44, 0),
    ("python3", 1033, "worker", 640_000, 9, 4, 130, 0),
    ("sh", 2205, "worker", 0, 0, 0, 4, 3),
    ("curl", 2210, None, 12_300, 1, 5, 9, 1),
)
RATES = {"Network": 4821, "DNS": 140, "TLS": 38, "Files": 266, "Process": 4}


def test_a_picture_of_it_shows_what_it_shows(tmp_path: Path) -> None:
    taken = picture("top.svg", tmp_path)

    async def test(agent: Agent, pilot: Pilot[None]) -> None:
        agent.probes = [ProbeAccount(name) for name in RATES]
        await drawn(pilot, lambda: "Process 0/s" in said(pilot, "probes"))
        agent.probes = [ProbeAccount(name, records=rate, lost=17 * (name == "Files")) for name, rate in RATES.items()]
        agent.problems = ["probe Files: 17 events were lost within the last minute, in the kernel's buffers"]
        for process, pid, container, sent, connections, names, opens, runs in BUSY:
            who = {"process": process, "process_id": pid, "container": container}
            agent.says(VOLUME[0], {**who, "value": sent})
            agent.says(VOLUME[1], {**who, "value": sent // 7})
            for measurement, times in (
                (CONNECTION[0], connections), (QUERY, names), (OPEN, opens), (EXEC, runs)
            ):  # fmt: skip
                if times:
                    agent.says(measurement, *([who] * times))
        await drawn(pilot, lambda: len(cells(pilot, "Processes")) == len(BUSY) and "17 lost" in said(pilot, "probes"))
        fonts = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # which it would fetch
        taken.write_text(fonts.sub("", pilot.app.export_screenshot(title="ingrain top")))

    drive(test, size=(100, 20))
    shown = taken.read_text()
    assert all(process in shown for process, *_ in BUSY)
    assert "@font-face" not in shown
