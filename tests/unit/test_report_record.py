"""How complete a record is, as the report says it: silent hosts, gaps, losses, and what is not recorded at all."""

from __future__ import annotations

from pathlib import Path

import day
import pytest
from archived import HOUR, Row
from reports import Page, made_of, tile, when


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("report")
    return made_of(day.events(), folder)


def test_a_gap_is_where_a_host_has_no_record_and_a_loss_where_its_agent_told_of_one(page: Page) -> None:
    [gap] = page.rows("record", "gaps")
    assert (gap["host"], gap["since"][:19], gap["until"][:19], gap["gap_s"]) == (
        "db-1", when(day.SILENT[0]), when(day.SILENT[1]), 45 * 60,
    )  # fmt: skip
    [loss] = page.rows("record", "losses")
    assert (loss["host"], loss["what"], loss["place"], loss["lost"], loss["first"][:19]) == (
        "web-1", "events lost", "probe Files", day.LOST, when(day.LOST_AT),
    )  # fmt: skip
    places = page.rows("record", "strips")
    silent = range(28, 37)
    assert {row["place"] for row in places if row["host"] == "db-1"} == set(range(72)) - set(silent)
    assert [(row["host"], row["place"], row["lost"]) for row in places if row["lost"]] == [("web-1", 50, day.LOST)]
    assert page.text.count('class="gone"') == len(silent) + 1, "those, and one in the legend"
    assert page.text.count('class="lost"') == 1 + 1


@pytest.mark.parametrize("minutes", [1, 10, 60, 75])
def test_a_host_that_is_heard_of_every_ten_seconds_has_no_gap_in_a_short_report_either(
    tmp_path: Path, minutes: int
) -> None:
    quiet = range(20 * day.MINUTE, 22 * day.MINUTE)  # of which there is a gap only where a minute of it is reported
    told = [at for at in range(5 * day.SECOND, minutes * day.MINUTE, 10 * day.SECOND) if at not in quiet]
    made: dict[str, list[Row]] = {
        "ingrain.events.lost": [{"timestamp": day.NINE + at, "host": "h", "probe": "DNS", "value": 0} for at in told]
    }
    begin, end = when(day.NINE + 7 * day.SECOND), when(day.NINE + minutes * day.MINUTE)
    page = made_of(made, tmp_path, "--since", f"{begin}Z", "--until", f"{end}Z")
    gaps = [(row["gap_s"], row["since"][:19]) for row in page.rows("record", "gaps")]
    assert gaps == ([(120, when(day.NINE + quiet.start))] if minutes > 22 else [])
    assert page.text.count('class="full"') == len({at // day.MINUTE for at in told}) + 1, "those, and one in the legend"
    assert page.text.count('class="part"') == 1


def test_a_host_that_stopped_before_the_period_comes_first_with_its_last_record(tmp_path: Path) -> None:
    made = {
        "dns.query": [
            {"timestamp": day.NINE - 20 * HOUR, "host": "gone-1", "q_name": "a.example"},
            {"timestamp": day.NINE - 30 * day.MINUTE, "host": "gone-2", "q_name": "a.example"},
            {"timestamp": day.NINE - 100 * HOUR, "host": "forgotten", "q_name": "a.example"},
            {"timestamp": day.NINE, "host": "there", "q_name": "a.example"},
        ]
    }
    page = made_of(made, tmp_path, "--baseline", "2d")
    told = page.rows("record", "hosts")
    assert [(row["host"], row["silent_s"], row["records"]) for row in told] == [
        ("gone-2", 6 * 3600 + 30 * 60, 0), ("gone-1", 26 * 3600, 0), ("there", None, 1),
    ]  # fmt: skip
    assert told[0]["last_seen"][:19] == when(day.NINE - 30 * day.MINUTE)
    assert "2 hosts are silent, with records in the baseline only: gone-2, gone-1." in page.text
    assert page.text.count('<tr class="warn">') == 2
    assert tile(page, "hosts") == "1"


def test_losses_that_no_agent_reports_are_not_recorded_and_not_none(tmp_path: Path) -> None:
    query = {"timestamp": day.NINE, "q_name": "a.example"}
    made: dict[str, list[Row]] = {"dns.query": [{**query, "host": "mute"}]}
    page = made_of(made, tmp_path / "mute")
    assert tile(page, "lost") == "not recorded"
    assert page.rows("record", "hosts")[0]["lost"] is None
    assert "Losses are not recorded for 1 of 1 hosts." in page.text
    assert "Not recorded. Route a probe of type = &quot;Agent&quot;" in page.text
    made["dns.query"].append({**query, "host": "well"})
    made["ingrain.events.lost"] = [{"timestamp": day.NINE, "host": "well", "probe": "DNS", "value": 0}]
    page = made_of(made, tmp_path / "both")
    assert tile(page, "lost") == "0"
    assert {row["host"]: row["lost"] for row in page.rows("record", "hosts")} == {"well": 0, "mute": None}
    assert "Losses are not recorded for 1 of 2 hosts." in page.text


def test_without_a_baseline_it_is_said_that_all_is_new(page: Page, tmp_path: Path) -> None:
    made = {"dns.query": [{"timestamp": day.NINE, "host": "h", "q_name": "a.example"}]}
    assert "No records of the baseline (7 d): all counts as new" in made_of(made, tmp_path).text
    assert "No records of the baseline" not in page.text


def test_what_no_probe_records_is_said_with_the_probe_that_would_record_it(tmp_path: Path) -> None:
    page = made_of({"dns.query": [{"timestamp": day.NINE, "host": "h", "q_name": "a.example"}]}, tmp_path)
    assert page.document["not_recorded"] == ["traffic", "talks", "tls", "files", "programs", "containers"]
    assert "Route a probe of type = &quot;TLS&quot; to the pipeline that writes this archive." in page.text
    assert tile(page, "client fingerprints") == "not recorded"
    assert tile(page, "DNS names") == "1"
