"""What the spool promises, with a real S3 server that is at fault and mended: every record that was handed over is in
the bucket exactly once, or is counted where it went."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from bucket import objects, rows_of, settings, use
from faulty import Faulty, faulty
from serving import Gateway, batch_of, end, free_port, pipeline, refusing, until, versitygw

from ingrain.account import Station
from ingrain.backends import backlog, backoff
from ingrain.backends.s3 import S3
from ingrain.batch import TIMESTAMP, Batch
from ingrain.grains.network import CONNECTION, VOLUME
from ingrain.pipeline import Pipeline

NOON = 1_740_830_400_000_000_000  # 2025-03-01 12:00 UTC, in ns
HOUR = 3_600_000_000_000


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, tmp_path)
    monkeypatch.setattr(backoff, "LEAST_S", 0.05)
    monkeypatch.setattr(backoff, "MOST_S", 0.2)


@pytest.fixture
def nobody() -> Iterator[str]:
    """Where no server is."""
    with refusing() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Gateway]:
    with versitygw(tmp_path) as made:
        yield made


def offer(made: Pipeline, first: int, count: int) -> Counter[int]:
    """So many records, each with a number of its own as its value, in objects of four measurements; the numbers."""
    numbers = range(first, first + count)
    for at, measurement in enumerate((*VOLUME, *CONNECTION)):
        rows = [{"timestamp": NOON + n, "value": n, "packets": 1} for n in numbers if n % 4 == at]
        assert made.offer(batch_of(measurement, rows))
    return Counter(numbers)


def noise(made: Pipeline, hour: int, count: int = 10_000) -> None:
    """An object of 80 KB and more, of an hour of its own, with so many records."""
    random = np.random.default_rng(hour)
    stamps = pa.array(NOON + hour * HOUR + np.arange(count), TIMESTAMP)
    values = [pa.array(random.integers(0, 1 << 62, count)) for _ in VOLUME[0].values]
    tags = [pa.nulls(count, column.type) for column in VOLUME[0].tags]
    assert made.offer(Batch(VOLUME[0], pa.RecordBatch.from_arrays([stamps, *values, *tags], schema=VOLUME[0].schema)))


def arrived(server: Gateway, bucket: str = "logs") -> Counter[int]:
    """The numbers of all records in the bucket."""
    return Counter(row["value"] for key, body in objects(server, bucket).items() for row in rows_of(key, body))


def flush(made: Pipeline) -> None:
    made._flush.done.clear()
    made.flush()
    assert made._flush.done.wait(60)


def spooled(tmp_path: Path, name: str = "pipeline_test__S3") -> list[Path]:
    """The objects in the spool."""
    return sorted((tmp_path / "state" / "spool" / name).glob("*.parquet"))


def adds_up(station: Station) -> bool:
    known = station.delivered + station.merged + station.lost + station.in_flight
    return station.received + station.resumed == known and station.in_flight == station.spooled


@dataclass
class Fault:
    """Something between the agent and its data, done and mended; what is said of it."""

    name: str
    do: Callable[[Faulty], Any]
    said: str


FAULTS = [
    Fault("503", lambda it: setattr(it, "answer", 503), "Fault503: as it was told"),
    Fault("403", lambda it: setattr(it, "answer", 403), "Fault403: as it was told"),
    Fault("404", lambda it: setattr(it, "answer", 404), "Fault404: as it was told"),
    Fault("400", lambda it: setattr(it, "answer", 400), "Fault400: as it was told"),
    Fault("cut", lambda it: setattr(it, "cut_after", 3000), "Connection"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_whatever_the_server_did_every_record_is_there_once_when_it_is_mended(
    server: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    with faulty(int(server.url.rpartition(":")[2])) as between, pipeline("S3", settings(between.url)) as made:
        station = made.stations[-1]
        fault.do(between)
        sent = offer(made, 0, 4000)
        flush(made)
        sent += offer(made, 4000, 4000)
        flush(made)
        assert (station.delivered, station.lost, station.spooled) == (0, 0, 8000)
        assert len(spooled(tmp_path)) == 8
        between.mend()
        until("the spool to be empty", lambda: not spooled(tmp_path))
        sent += offer(made, 8000, 4000)
        assert end(made)
    assert arrived(server) == sent
    assert (station.received, station.delivered, station.lost, station.spooled) == (12_000, 12_000, 0, 0)
    told = [record for record in caplog.records if "uploading to bucket" in record.message]
    assert [record.levelno for record in told] == [logging.ERROR, logging.WARNING], "one line when, one until when"
    assert fault.said in told[0].message
    assert "works again, after" in told[1].message


def test_a_connection_that_breaks_now_and_then_costs_time_only(server: Gateway, tmp_path: Path) -> None:
    with faulty(int(server.url.rpartition(":")[2])) as between, pipeline("S3", settings(between.url)) as made:
        for hour in range(12):
            between.cut_after = 20_000 if hour % 3 else 0
            noise(made, hour, 3000)
            flush(made)
        assert between.resets
        between.mend()
        until("the spool to be empty", lambda: not spooled(tmp_path))
        assert end(made)
        assert made.stations[-1].delivered == 36_000
    assert sorted(len(rows_of(key, body)) for key, body in objects(server).items()) == [3000] * 12


def test_a_server_that_is_not_there_and_a_bucket_that_comes_later_get_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    with pipeline("S3", settings(f"http://127.0.0.1:{port}", bucket="later")) as made:
        sent = offer(made, 0, 400)
        flush(made)
        with versitygw(tmp_path, port) as server:
            until("the server to miss the bucket", lambda: "NoSuchBucket" in str(made.stations[-1].failing))
            sent += offer(made, 400, 400)
            flush(made)
            assert made.stations[-1].spooled == 800
            (server.folder / "later").mkdir()
            until("the spool to be empty", lambda: not spooled(tmp_path))
            assert end(made)
            assert arrived(server, "later") == sent
    assert made.stations[-1].delivered == 800
    assert Gateway.secret not in caplog.text


def test_credentials_that_are_mended_in_their_file_are_used_without_a_restart(
    server: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    form = "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
    with pipeline("S3", settings(server.url, region="us-east-1")) as made:
        sent = offer(made, 0, 40)
        flush(made)
        file.write_text(form.format(Gateway.access, "expired-and-wrong"))
        flush(made)
        assert made.stations[-1].spooled == 40
        file.write_text(form.format(Gateway.access, Gateway.secret))
        until("the spool to be empty", lambda: not spooled(tmp_path))
        assert end(made)
    assert arrived(server) == sent


def test_a_slow_server_holds_up_neither_the_pipeline_nor_its_end_and_has_all_in_the_end(
    server: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingrain.backends.spooled.FLUSH_S", 0.3)
    with faulty(int(server.url.rpartition(":")[2])) as between:
        between.rate = 50_000
        with pipeline("S3", settings(between.url)) as made:
            for hour in range(5):
                noise(made, hour)
            assert end(made)
            first = made.stations[-1]
        assert adds_up(first)
        assert first.spooled > 0
        assert first.lost == first.refused == 0
        between.mend()
        monkeypatch.setattr("ingrain.backends.spooled.FLUSH_S", 30)
        with pipeline("S3", settings(between.url)) as made:
            assert end(made)
            second = made.stations[-1]
    assert (second.resumed, second.delivered) == (first.spooled, first.spooled)
    assert sorted(len(rows_of(key, body)) for key, body in objects(server).items()) == [10_000] * 5
    assert spooled(tmp_path) == []


def test_an_object_that_is_sent_twice_is_there_once(server: Gateway, tmp_path: Path, nobody: str) -> None:
    with pipeline("S3", settings(nobody)) as made:
        sent = offer(made, 0, 400)
        assert end(made)
    kept = tmp_path / "kept"
    shutil.copytree(spooled(tmp_path)[0].parent, kept)
    for _ in range(2):  # as after a crash between the server's answer and the removal
        shutil.copytree(kept, spooled_folder := tmp_path / "state/spool/pipeline_test__S3", dirs_exist_ok=True)
        with pipeline("S3", settings(server.url)) as made:
            assert end(made)
            assert (made.stations[-1].resumed, made.stations[-1].delivered) == (400, 400)
        assert list(spooled_folder.iterdir()) == []
        assert arrived(server) == sent


def test_a_full_spool_makes_room_by_its_oldest_objects_counted_to_the_last_record(
    server: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture, nobody: str
) -> None:
    with pipeline("S3", settings(nobody, roll_mb=1, spool_max_mb=2)) as made:
        station = made.stations[-1]
        for hour in range(24):  # 160 KB each
            noise(made, hour, 10_000 + hour)
            flush(made)
            assert sum(path.stat().st_size for path in spooled(tmp_path)) <= 2 << 20
            assert station.spooled_bytes == sum(path.stat().st_size for path in spooled(tmp_path))
        assert end(made)
    hours = [int(str(path).partition("hour=")[2][:2]) for path in spooled(tmp_path)]
    gone = [hour for hour in range(24) if (12 + hour) % 24 not in hours]
    assert gone == list(range(len(gone))), "the oldest went"
    assert gone
    dropped = sum(10_000 + hour for hour in gone)
    assert station.lost == station.detail["spool full"] == dropped
    assert adds_up(station)
    assert len([message for message in caplog.messages if "it is full (2,097,152 bytes)" in message]) == 1
    with pipeline("S3", settings(server.url)) as made:
        assert end(made)
    assert sorted(len(rows_of(key, body)) for key, body in objects(server).items()) == [
        10_000 + hour for hour in range(len(gone), 24)
    ]


def test_a_smaller_spool_drops_at_the_start_what_does_not_fit(server: Gateway, tmp_path: Path, nobody: str) -> None:
    with pipeline("S3", settings(nobody, spool_max_mb=1000)) as made:
        for hour in range(15):
            noise(made, hour)
        assert end(made)
    assert len(spooled(tmp_path)) == 15
    with pipeline("S3", settings(nobody, roll_mb=1, spool_max_mb=2)) as made:
        station = made.stations[-1]
        assert (station.resumed, station.lost + station.spooled) == (150_000, 150_000)
        assert station.lost == 10_000 * (15 - len(spooled(tmp_path))) > 0
        assert end(made)


def test_what_waited_for_too_long_is_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, nobody: str
) -> None:
    with pipeline("S3", settings(nobody, spool_max_age_s=1)) as made:
        offer(made, 0, 40)
        flush(made)
        station = made.stations[-1]
        until("the spool to be empty", lambda: not spooled(tmp_path))  # nothing else comes: it is the age alone
        assert end(made)
    assert (station.received, station.lost, station.spooled, station.delivered) == (40, 40, 0, 0)
    assert station.detail["too old"] == 40
    assert "waited for more than 1 s" in caplog.text


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_costs_what_does_not_fit_counted_and_the_rest_arrives(
    server: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture, nobody: str
) -> None:
    with disk(tmp_path / "disk", "1m") as small:
        place = {"spool": str(small / "spool"), "spool_max_mb": 4096}
        with pipeline("S3", settings(nobody, **place)) as made:
            station = made.stations[-1]
            for hour in range(12):  # 160 KB each, and 1 MB of room
                noise(made, hour)
                flush(made)
            assert station.lost > 0
            assert station.lost == station.detail["not written"]
            assert station.spooled > 0
            assert adds_up(station)
            assert end(made)
        before = station.lost
        with pipeline("S3", settings(server.url, **place)) as made:
            flush(made)
            noise(made, 23)
            assert end(made)
            station = made.stations[-1]
        assert (station.lost, station.delivered) == (0, 130_000 - before)
        assert list((small / "spool").iterdir()) == []
    assert sum(len(rows_of(key, body)) for key, body in objects(server).items()) == 130_000 - before
    assert len([message for message in caplog.messages if "No space left on device" in message]) == 1


def test_a_spool_that_becomes_read_only_doubles_nothing_and_goes_on_when_it_is_mended(
    server: Gateway, tmp_path: Path
) -> None:
    with disk(tmp_path / "disk", "16m") as small:

        def mounted(how: str) -> None:
            subprocess.run(["mount", "-o", f"remount,{how}", str(small)], check=True)

        with (
            faulty(int(server.url.rpartition(":")[2])) as between,
            pipeline("S3", settings(between.url, spool=str(small / "spool"))) as made,
        ):
            between.answer = 503
            station = made.stations[-1]
            sent = offer(made, 0, 400)
            flush(made)
            mounted("ro")
            between.mend()
            flush(made)
            until("S3 to have it", lambda: arrived(server) == sent)
            assert (station.delivered, station.lost, station.spooled) == (0, 0, 400), "it would be sent again"
            offer(made, 400, 40)
            flush(made)
            assert station.lost == 40
            mounted("rw")
            sent += offer(made, 440, 40)
            assert end(made)
        assert (station.received, station.delivered, station.lost, station.spooled) == (480, 440, 40, 0)
    assert arrived(server) == sent


def test_a_folder_that_is_taken_away_costs_what_was_in_it_and_is_made_again(
    server: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture, nobody: str
) -> None:
    folder = tmp_path / "state" / "spool" / "pipeline_test__S3"
    with pipeline("S3", settings(nobody)) as made:
        offer(made, 0, 400)
        flush(made)
        shutil.rmtree(folder)
        sent = offer(made, 400, 40)
        assert end(made)
        station = made.stations[-1]
    assert (station.lost, station.spooled) == (400, 40)
    assert adds_up(station)
    with pipeline("S3", settings(server.url)) as made:
        assert end(made)
    assert arrived(server) == sent


def test_objects_that_somebody_removes_are_counted_and_the_others_arrive(
    server: Gateway, nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "WINDOW", 4)
    with pipeline("S3", settings(nobody)) as made:
        for first in range(0, 400, 40):
            offer(made, first, 40)
            flush(made)
        assert end(made)
    objects = spooled(tmp_path)
    assert len(objects) == 40
    with faulty(int(server.url.rpartition(":")[2])) as proxy:
        proxy.answer = 503
        with pipeline("S3", settings(proxy.url)) as made:
            station = made.stations[-1]
            until("it to be tried", lambda: station.failing)
            for one in objects[::2]:
                one.unlink()
            proxy.mend()
            until("all to be sent or counted", lambda: station.delivered + station.lost == 400)
            assert end(made)
    assert (station.resumed, station.spooled) == (400, 0)
    assert 180 <= station.lost <= 200, "those that were open when they were removed are sent"
    assert station.detail["damaged in the spool"] + station.detail["gone from the spool"] == station.lost
    assert station.detail["gone from the spool"] > 0
    assert adds_up(station)
    assert arrived(server).total() == station.delivered


def test_two_pipelines_or_agents_never_share_a_spool(tmp_path: Path, nobody: str) -> None:
    folder = tmp_path / "spool"
    with pipeline("S3", settings(nobody, spool=str(folder))) as made:
        with pytest.raises(ValueError, match=r"spool: .* is in use"):
            S3(settings(nobody, spool=str(folder)), Station("other"))
        assert end(made)
    S3(settings(nobody, spool=str(folder)), Station("other")).close()


def test_hostile_things_in_the_spool_are_left_alone_and_never_sent(server: Gateway, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    secret = tmp_path / "shadow"
    secret.write_text("root:secret")
    name = "174083040000000000{}-1-11-measurement=x,date=2025-03-01,hour=12,h-1-{}.parquet".format
    (folder / name(0, "link")).symlink_to(secret)
    os.mkfifo(folder / name(1, "fifo"))
    os.link(secret, folder / name(2, "hard"))
    (folder / name(3, "cut")).write_text("short")
    (folder / name(4, "theirs")).write_text("x" * 11)
    os.chown(folder / name(4, "theirs"), 65534, 65534)
    (folder / "garbage").write_text("garbage")
    with (folder / name(5, "huge")).open("wb") as huge:
        huge.truncate(1 << 40)
    with pipeline("S3", settings(server.url, spool=str(folder))) as made:
        sent = offer(made, 0, 40)
        assert end(made)
        station = made.stations[-1]
    assert arrived(server) == sent
    assert adds_up(station)
    assert station.lost == station.detail["damaged in the spool"] == 2
    assert secret.read_text() == "root:secret"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [name(0, "link"), name(1, "fifo"), name(2, "hard"), name(4, "theirs"), "garbage"]
    )


def test_a_name_that_does_not_resolve_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with pipeline("S3", settings("http://nobody.invalid:9")) as made:
        offer(made, 0, 40)
        assert end(made)
        station = made.stations[-1]
    assert (station.lost, station.spooled) == (0, 40)
    assert "nobody.invalid" in caplog.text


def test_whatever_a_server_says_is_one_short_harmless_line(server: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    with faulty(int(server.url.rpartition(":")[2])) as between, pipeline("S3", settings(between.url)) as made:
        between.answer, between.saying = 503, "\u202egnp.exe\n" + "x" * 1_000_000
        sent = offer(made, 0, 4)
        flush(made)
        between.mend()
        assert end(made)
    (told,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert "\\u202egnp.exe\\x0ax" in told
    assert len(told) < 1000
    assert "\n" not in told
    assert arrived(server) == sent
