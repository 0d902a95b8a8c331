"""The report of a known archive: its figures are those of the archive, as pyarrow and Python find them."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import day
import pytest
from archived import Row, objects, rows, thrice
from hypothesis import example, given
from hypothesis import strategies as st
from reports import Page, made_of, report, tile

from ingrain import cli
from ingrain.query.archive import Archive, Folder
from ingrain.query.engine import Engine, Limits
from ingrain.query.report import alerts, look, ribbons, stacks, strips, table, units
from ingrain.query.report.figures import Answered, answer
from ingrain.query.report.page import page as html
from ingrain.query.report.sections.programs import PROGRAMS
from ingrain.query.report.sections.record import record
from ingrain.query.report.span import Span


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return day.write(tmp_path_factory.mktemp("archive"), day.events())


@pytest.fixture(scope="module")
def page(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report(archive, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def records(archive: Path) -> dict[str, list[Row]]:
    """Those of the six hours, by measurement."""
    found: dict[str, list[Row]] = defaultdict(list)
    end = day.NINE + 6 * 60 * day.MINUTE
    for path in objects(archive):
        name = next(part.removeprefix("measurement=") for part in path.parts if part.startswith("measurement="))
        found[name] += [row for row in rows(path) if day.NINE <= row["timestamp"] < end]
    return found


def buckets(told: Iterable[Row], series: Callable[[Row], str], value: Callable[[Row], int]) -> Counter[tuple[int, str]]:
    sums: Counter[tuple[int, str]] = Counter()
    for row in told:
        sums[(row["timestamp"] - day.NINE) // (5 * day.MINUTE), series(row)] += value(row)
    return sums


def in_page(told: list[Row]) -> dict[tuple[int, str], int]:
    return {(row["bucket"], row["series"]): row["value"] for row in told}


def test_traffic_is_the_sum_of_bytes_by_bucket_and_by_process(page: Page, records: dict[str, list[Row]]) -> None:
    sums = buckets(records["volume.out"], lambda _: "sent", lambda row: int(row["value"]))
    sums += buckets(records["volume.in"], lambda _: "received", lambda row: int(row["value"]))
    assert in_page(page.rows("traffic", "over_time")) == sums
    by_process: Counter[tuple[str, ...]] = Counter()
    for row in records["volume.out"] + records["volume.in"]:
        by_process[row["host"], row["container"], row["process"]] += row["value"]
    told = [((row["host"], row["container"], row["process"]), row["bytes"]) for row in page.rows("traffic", "talkers")]
    assert told == sorted(by_process.items(), key=lambda one: -one[1])
    assert page.text.count(f"<b>{units.amount(sum(row['value'] for row in records['volume.out']))}</b>") == 1


def test_pairs_have_their_bytes_connections_and_the_name_that_tls_asked_for(
    page: Page, records: dict[str, list[Row]]
) -> None:
    pairs: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for name, column, of in (
        ("volume.out", "d_ip", "out"), ("volume.in", "s_ip", "in"), ("connection.out", "d_ip", "opened"),
    ):  # fmt: skip
        for row in records[name]:
            pairs[row["process"], row[column]][of] += row["value"]
    names = {row["d_ip"]: [row["sni"]] for row in records["tls.handshake.clienthello"]}
    told = page.rows("talks", "pairs")
    assert page.figures["talks"]["pairs"]["in_all"] == len(told) == len(pairs)
    for row in told:
        pair = pairs[row["process"], row["peer"]]
        assert (row["bytes_out"], row["bytes_in"], row["opened"]) == (pair["out"], pair["in"], pair["opened"])
        assert row["names"] == names.get(row["peer"])
    assert ("nc", "192.0.2.66", None) in [(row["process"], row["peer"], row["names"]) for row in told]


def test_names_and_codes_are_counted(page: Page, records: dict[str, list[Row]]) -> None:
    asked = Counter(row["q_name"] for row in records["dns.query"])
    failed = Counter(row["q_name"] for row in records["dns.answer"] if row["rcode"] != "NOERROR")
    told = page.rows("names", "names")
    assert {row["name"]: (row["queries"], row["failed"]) for row in told} == {
        name: (count, failed[name]) for name, count in asked.items()
    }
    codes = buckets(records["dns.answer"], lambda row: str(row["rcode"]), lambda _: 1)
    assert in_page(page.rows("names", "over_time")) == codes


def test_tls_versions_fingerprints_and_names_are_counted(page: Page, records: dict[str, list[Row]]) -> None:
    versions = Counter((row["tls_version"], row["ciphersuite"]) for row in records["tls.handshake.serverhello"])
    assert {
        (row["tls_version"], row["ciphersuite"]): row["handshakes"] for row in page.rows("tls", "versions")
    } == versions
    hellos = records["tls.handshake.clienthello"]
    assert {row["ja4"]: row["hellos"] for row in page.rows("tls", "fingerprints")} == Counter(
        row["ja4"] for row in hellos
    )
    assert {row["name"]: row["hellos"] for row in page.rows("tls", "names")} == Counter(row["sni"] for row in hellos)


def test_accesses_to_files_are_counted_by_calls_and_bytes(page: Page, records: dict[str, list[Row]]) -> None:
    opens = Counter(row["path"] for row in records["file.open"])
    calls: Counter[str] = Counter()
    read: Counter[str] = Counter()
    for row in records["file.read"]:
        calls[row["path"]] += row["calls"]
        read[row["path"]] += row["value"]
    assert {row["path"]: (row["opens"], row["reads"], row["bytes_read"]) for row in page.rows("files", "paths")} == {
        path: (opens[path], calls[path], read[path]) for path in opens
    }
    over_time = buckets(records["file.open"], lambda _: "open", lambda _: 1)
    over_time += buckets(records["file.read"], lambda _: "read", lambda row: int(row["calls"]))
    assert in_page(page.rows("files", "over_time")) == over_time


def test_containers_have_their_lines_bytes_and_rates(page: Page, records: dict[str, list[Row]]) -> None:
    lines = records["container.stdout"] + records["container.stderr"]
    told = {row["container"]: row for row in page.rows("containers", "containers")}
    for name, count in Counter(row["container"] for row in lines).items():
        assert told[name]["stdout_lines"] + told[name]["stderr_lines"] == count
        assert told[name]["bytes"] == sum(row["bytes"] for row in lines if row["container"] == name)
        assert told[name]["lines_a_minute"] == round(count / 360, 2)


def test_new_is_what_the_day_before_had_not(page: Page) -> None:
    assert [(row["kind"], row["value"], row["process"]) for row in page.rows("new", "new")] == [
        ("destination", "192.0.2.66", "nc")
    ]
    assert [row["executable"] for row in page.rows("programs", "programs")] == ["/usr/bin/nc"]


def test_what_a_buffer_summed_up_counts_as_the_events_that_it_is(tmp_path: Path) -> None:
    who = {"timestamp": day.NINE, "host": "web-1", "process": "curl", "d_ip": "192.0.2.9"}
    more: dict[str, list[Row]] = {
        "connection.in": [{**who, "s_ip": "192.0.2.9"}],
        "file.chmod": [{**who, "path": "/etc/passwd"}],
        "tls.handshake.clienthello": [{**who, "sni": "odd.test", "ja4": "t", "sni_matches_dns": False}],
        "container.stderr": [{**who, "container": "web", "bytes": 9}],
    }
    made = day.events()
    pages = [
        made_of(records, tmp_path / how)
        for how, records in zip(
            ("told", "summed"), thrice(made | {n: made.get(n, []) + more[n] for n in more}), strict=True
        )
    ]
    sections = pages[0].figures.keys() - {"record"}
    assert len(sections) == 8
    for name in sections:
        assert pages[0].figures[name] == pages[1].figures[name]


def test_every_record_of_the_time_is_counted_once(page: Page, records: dict[str, list[Row]]) -> None:
    assert {row["measurement"]: row["records"] for row in page.rows("record", "measurements")} == {
        name: len(told) for name, told in records.items()
    }
    assert sum(in_page(page.rows("record", "over_time")).values()) == sum(map(len, records.values()))
    assert tile(page, "records") == f"{sum(map(len, records.values())):,}"


def test_nothing_in_the_page_has_an_address_or_a_style_or_a_script_of_its_own(page: Page) -> None:
    policy = next(of["content"] for tag, of in page.elements if of.get("http-equiv") == "Content-Security-Policy")
    assert policy
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    addresses = [of[name] for _, of in page.elements for name in ("src", "href", "action", "data") if name in of]
    assert all(one and one.startswith("#") for one in addresses)
    assert not [of for _, of in page.elements if any(name == "style" or name.startswith("on") for name in of)]
    assert Counter(tag for tag, _ in page.elements)["script"] == 2
    assert "url(" not in look.STYLE


def test_what_is_left_out_is_said_rows_series_and_damaged_objects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = {"dns.query": [{"timestamp": day.NINE, "host": "h", "q_name": f"n{at:03}"} for at in range(table.ROWS + 9)]}
    many["container.stdout"] = [
        {"timestamp": day.NINE, "host": "h", "container": f"c{at}", "line": "", "bytes": 0} for at in range(11)
    ]
    place = day.write(tmp_path / "many", many)
    sound = next(one for one in objects(place) if "dns.query" in str(one))
    other = re.sub(r"(\d)\.parquet", lambda last: f"{(int(last[1]) + 1) % 10}.parquet", sound.name)
    sound.with_name(other).write_bytes(b"PAR1 no more PAR1")
    sound.with_name(sound.name.replace(".parquet", ".jsonl.gz")).write_bytes(b"")
    file = tmp_path / "report.html"
    assert cli.main(["report", "--archive", str(place), *day.WHEN, "-o", str(file)]) == 3
    page = Page(file)
    assert len(page.rows("names", "names")) == table.ROWS
    assert page.figures["names"]["names"]["in_all"] == table.ROWS + 9
    assert f"The first {table.ROWS} of {table.ROWS + 9}." in page.text
    lines = in_page(page.rows("containers", "over_time"))
    assert len(lines) == 9
    assert lines[0, None] == 3  # type: ignore[index] # the series of all others
    assert "others <b>3</b>" in page.text
    left_out = "1 object left out: that cannot be read."
    assert left_out in page.figures["names"]["names"]["notes"]
    assert left_out in page.text
    err = capsys.readouterr().err
    assert left_out in err
    bad = f"it is no Parquet, or only a part of it: {sound.with_name(other).relative_to(place)}"
    assert f"\n  {bad}\n" in err
    assert f"Records are missing: 1 object cannot be read ({bad})." in page.text
    assert "Records are missing: there are objects of JSON lines" in page.text


def test_an_archive_without_anything_of_the_time_makes_a_page_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    file = tmp_path / "report.html"
    ever = ("--since", "1900-01-01", "--until", "9999-12-30")
    assert cli.main(["report", "--archive", str(tmp_path / "empty"), *ever, "-o", str(file)]) == 0
    assert "the archive has nothing of that time" in capsys.readouterr().err
    page = Page(file)
    assert len(page.document["not_recorded"]) == 8
    assert "The archive has no records of this period, nor of the baseline before it." in page.text


def test_an_archive_that_cannot_be_asked_at_all_makes_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    file = tmp_path / "report.html"
    words = ["report", "--archive", str(tmp_path / "empty"), *day.WHEN, "-o", str(file)]
    assert cli.main([*words, "--memory-limit", "much"]) == 2
    assert capsys.readouterr().err.count("DuckDB takes no such limit") == 1
    assert not file.exists()


def test_a_figure_for_which_memory_is_lacking_says_so_in_its_place(tmp_path: Path) -> None:
    span = Span(day.SINCE, day.UNTIL, timedelta(0))
    engine = Engine(Archive(Folder(str(tmp_path)), "here"), Limits("3MB"))
    try:
        told = {figure.name: answer(engine, figure, span) for figure in PROGRAMS.figures}
    finally:
        engine.close()
    assert told["programs"].failed
    of_the_record = {figure.name: Answered() for figure in record([]).figures}
    text = html("here", span, day.UNTIL, (PROGRAMS,), {"programs": told, "record": of_the_record})
    assert "This question failed: 3MB of memory are not enough" in text


def test_a_file_that_cannot_be_written_is_said_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "empty").mkdir()
    words = ["report", "--archive", str(tmp_path / "empty"), *day.WHEN, "-o"]
    assert cli.main([*words, str(tmp_path / "folder.html")]) == 1
    assert cli.main([*words, str(tmp_path / "nowhere" / "report.html")]) == 1
    assert capsys.readouterr().err.count("cannot be written") == 2
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".")]


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001 - its zone is given below
    st.timedeltas(timedelta(microseconds=1), timedelta(days=200_000)),
)
def test_buckets_cover_any_time_and_are_few_and_round(since: datetime, length: timedelta) -> None:
    span = Span(since.replace(tzinfo=UTC), since.replace(tzinfo=UTC) + length, timedelta(0))
    assert span.first <= span.since
    assert span.begins(span.count - 1) < span.until <= span.begins(span.count)
    assert span.count <= 152
    assert span.strip % span.fine == span.strip % span.step == timedelta(0)
    assert span.fine >= timedelta(minutes=1)
    assert span.first + (span.strip_count - 1) * span.strip < span.until <= span.first + span.strip_count * span.strip
    assert span.fine_count <= 1_502 * 10
    assert len(span.labels) <= 9


@given(st.integers(1, 10**18).map(float))
@example(1e16 + 2)
def test_an_axis_ends_above_what_it_shows_and_has_whole_ticks(value: float) -> None:
    apart = stacks.between_ticks(value)
    ticks = math.ceil(value / apart)
    assert apart.is_integer()
    assert ticks <= 5
    assert value <= apart * ticks < 1.5 * value + 1


@given(st.text())
def test_whatever_text_a_row_has_it_stays_text(text: str) -> None:
    assert tags(text) == tags("x" * len(text))


def tags(text: str) -> list[str]:
    """The elements of what is drawn of rows that have this text, in their order."""
    span = Span(day.SINCE, day.UNTIL, timedelta(0))
    pair = {"host": text, "container": text, "process": text, "peer": text, "names": [text], "names_in_all": 2}
    pair |= {"opened": 1, "accepted": 0, "bytes_out": 1, "bytes_in": 1, "bytes": 2}
    host = {"host": text, "silent_s": 9, "silent_hosts": 2, "unaccounted_hosts": 1, "heard_hosts": 3}
    host |= {"lost_in_all": 1, "baseline_records": 1}
    gap = {"host": text, "gap_s": 60}
    told = {"hosts": Answered([host], 1), "gaps": Answered([gap], 1), "losses": Answered([{}], 1)}
    drawn = [
        alerts.alerts(span, {"record": told}),
        table.table(span, [{"name": text, "names": [text], "count": 1}], "count"),
        stacks.draw(span, [{"bucket": 0, "series": text, "value": 1}], text, units.number),
        ribbons.draw([pair]),
        strips.draw(span, [{"host": text, "place": 0, "heard": 1, "lost": 0}]),
    ]
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append(f"{tag} {[name for name, _ in attrs]}")  # type: ignore[method-assign]
    parser.feed("".join(drawn))
    return found
