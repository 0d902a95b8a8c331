"""Whose it was, as the report says it: names of peers, and the processes that did something."""

from __future__ import annotations

from pathlib import Path

import day
from archived import Row
from reports import made_of

from ingrain.query.report import figures


def test_a_peer_has_only_names_that_the_same_process_of_the_same_host_and_container_asked_for(tmp_path: Path) -> None:
    cdn = "203.0.113.99"
    shop: Row = {"host": "web-1", "container": "shop", "process": "nginx"}
    others: list[Row] = [
        {"host": "web-1", "container": "shop", "process": "nc"},
        {"host": "web-1", "container": None, "process": "nginx"},
        {"host": "web-2", "container": "shop", "process": "nginx"},
    ]
    made: dict[str, list[Row]] = {
        "volume.out": [
            {**who, "timestamp": day.NINE, "d_ip": cdn, "value": 9, "packets": 1} for who in (shop, *others)
        ],
        "tls.handshake.clienthello": [
            {**shop, "timestamp": day.NINE, "d_ip": cdn, "sni": "aaa.example"},
            {**others[0], "timestamp": day.NINE, "d_ip": cdn, "sni": "C2.example"},
        ],
        "dns.answer": [
            {
                **others[0], "timestamp": day.NINE, "q_name": name, "rcode": "NOERROR", "latency_ns": 1,
                "answers": [{"name": name, "type": "A", "data": cdn, "ttl": 60}],
            }
            for name in ("c2.example", "front.example")
        ],
    }  # fmt: skip
    told = {
        (row["host"], row["container"], row["process"]): row["names"]
        for row in made_of(made, tmp_path).rows("talks", "pairs")
    }
    assert told == {
        ("web-1", "shop", "nginx"): ["aaa.example"],
        ("web-1", "shop", "nc"): ["c2.example", "front.example"],
        ("web-1", None, "nginx"): None,
        ("web-2", "shop", "nginx"): None,
    }


def test_each_of_several_processes_is_named_and_of_many_it_is_said_how_many(tmp_path: Path) -> None:
    who = [
        {"host": "h", "process": f"p{at}", "container": "c" if at % 2 else None} for at in range(figures.SEVERAL + 3)
    ]
    made: dict[str, list[Row]] = {}
    for at, one in enumerate(who):
        for name, more in (
            ("dns.query", {"q_name": "A.example"}),
            ("tls.handshake.clienthello", {"sni": "a.example", "ja4": "t13", "d_ip": "192.0.2.1"}),
            ("file.open", {"path": "/etc/shadow"}),
            ("process.exec", {"executable": "/bin/sh", "parent": one["process"]}),
        ):
            made.setdefault(name, []).extend([{**one, **more, "timestamp": day.NINE + at}] * (20 - at))
    page = made_of(made, tmp_path)
    expected = [f"p{at} in c" if at % 2 else f"p{at}" for at in range(figures.SEVERAL)]
    for section, figure, column in (
        ("names", "names", "queried_by"), ("tls", "fingerprints", "sent_by"), ("tls", "names", "sent_by"),
        ("files", "paths", "accessed_by"), ("programs", "programs", "started_by"),
    ):  # fmt: skip
        (row,) = page.rows(section, figure)
        assert row[column] == expected, "the busiest first"
        assert row[f"{column}_in_all"] == len(who)
    assert page.text.count(f"{', '.join(expected)} and 3 more") == 5
