"""Whitelist keeps the listed tags and nothing else of them."""

from __future__ import annotations

from chain import VOLUME, batch_of, chain

from ingrain.steps.whitelist import Whitelist, WhitelistSettings

ROWS = [{"value": 5, "packets": 1, "process": "curl", "d_port": 443}, {"value": 7, "packets": 2, "process": "ssh"}]


def columns_after(*allow: str) -> list[str]:
    with chain((Whitelist, WhitelistSettings(allow=list(allow)))) as steps:
        steps.tell(batch_of(VOLUME, ROWS))
        steps.flush()
        (batch,) = steps.batches
        assert batch.records.column("value").to_pylist() == [5, 7]
        return list(batch.records.schema.names)


def test_tags_that_are_not_listed_are_dropped_and_values_stay() -> None:
    assert columns_after("process") == ["timestamp", "value", "packets", "process"]


def test_an_empty_list_keeps_no_tag() -> None:
    assert columns_after() == ["timestamp", "value", "packets"]


def test_a_tag_that_no_batch_has_is_no_matter() -> None:
    assert columns_after("d_port", "path") == ["timestamp", "value", "packets", "d_port"]


def test_later_spellings_of_a_tag_are_understood() -> None:
    assert columns_after("process_str") == ["timestamp", "value", "packets", "process"]


def test_every_record_is_passed_on_and_counted() -> None:
    with chain((Whitelist, WhitelistSettings(allow=["process"]))) as steps:
        steps.tell(batch_of(VOLUME, ROWS), batch_of(VOLUME, ROWS))
        steps.flush()
        assert (steps.stations[0].received, steps.stations[0].delivered) == (4, 4)
        assert [row["process"] for row in steps.rows] == ["curl", "ssh", "curl", "ssh"]
