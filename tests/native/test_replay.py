"""`ingrain replay`: captures through the programs of this kernel, with their own times, and an account that adds up."""

from __future__ import annotations

import ssl
from collections import Counter
from pathlib import Path

import pytest
from frames import ACK, CLIENT, FIN, SERVER, SYN, Tape, answer, pcap, pieces, query, stream, tcp, udp
from replaying import MEASUREMENTS, Replay, Row

RESOLVER = (bytes([192, 0, 2, 53]), 53)
CAPTURE_ONLY = (
    "process", "process_id", "uid", "cgroup_id", "container_id", "container", "image", "pod", "namespace", "direction",
)  # fmt: skip


def hello(host: str, *protocols: str) -> bytes:
    """A ClientHello as OpenSSL sends it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(list(protocols))
    sent = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=host).do_handshake()
    return sent.read()


LONG = hello("long.test", *(f"protocol-number-{number}" for number in range(80)))
assert len(LONG) > 1400


def conversation() -> Tape:
    """A look-up and a connection to what was answered."""
    tape = Tape()
    tape.add(udp(CLIENT, RESOLVER, query("long.test", 7)))
    tape.add(udp(RESOLVER, CLIENT, answer("long.test", SERVER[0], 7)))
    tape.connection(pieces(LONG, 1000))
    return tape


def less(row: Row, *names: str) -> Row:
    return {key: value for key, value in row.items() if key not in names}


def test_a_conversation_is_told_with_its_own_times_and_without_what_only_sockets_know(replay_apart: Replay) -> None:
    tape = conversation()
    done = replay_apart(pcap(tape.frames))
    assert done.code == 0, done.said
    times = [time for time, _frame in tape.frames]
    (asked,), (answered,), (offered,) = (done.rows(name) for name in MEASUREMENTS[:3])
    assert [row["timestamp"] for row in (asked, answered, offered)] == [times[0], times[1], times[-1]]
    assert (asked["s_ip"], asked["s_port"], asked["d_ip"], asked["d_port"]) == ("192.0.2.9", 40000, "192.0.2.53", 53)
    assert (asked["q_name"], asked["q_type"], asked["proto"]) == ("long.test", "A", "udp")
    assert (answered["query_seen"], answered["latency_ns"]) == (True, 1_000_000)
    assert (offered["sni"], len(offered["alpn"]), offered["proto"]) == ("long.test", 80, "tcp")
    assert offered["sni_matches_dns"] is True
    for row in (asked, answered, offered):
        assert [row[name] for name in CAPTURE_ONLY] == [None] * len(CAPTURE_ONLY)
    assert "packets" in done.said
    assert done.probe("TLS")["parts"] == 1


def test_the_same_capture_gives_the_same_records_again(replay: Replay) -> None:
    capture = pcap(conversation().frames)
    first, second = replay(capture), replay(capture)
    assert len(first.records) == 3
    assert first.records == second.records


def whole(replay: Replay, payload: bytes) -> Row:
    """What is told of a hello that comes in one segment."""
    tape = Tape()
    tape.connection([(0, payload)])
    (row,) = replay(pcap(tape.frames), "TLS").records
    return row


@pytest.mark.parametrize("size", [1, 7, 536])
def test_hellos_cut_into_small_segments_are_the_same_records(replay: Replay, size: int) -> None:
    tape = Tape()
    last = tape.connection(pieces(LONG, size))
    (row,) = replay(pcap(tape.frames), "TLS").records
    assert row == whole(replay, LONG) | {"timestamp": last}


def test_hellos_whose_segments_come_in_another_order_or_twice_are_the_same_records(replay: Replay) -> None:
    expected = less(whole(replay, LONG), "timestamp", "s_port")
    first, *rest = pieces(LONG, 300)
    tape = Tape()
    for port, order in enumerate(
        ([*reversed(rest), first], [first, *reversed(rest)], [first, first, *rest, *rest], [rest[0], first, *rest]), 1
    ):
        tape.connection(order, (CLIENT[0], port))
    rows = replay(pcap(tape.frames), "TLS").records
    assert [row["s_port"] for row in rows] == [1, 2, 3, 4]
    assert all(less(row, "timestamp", "s_port") == expected for row in rows)


def test_a_hello_that_is_sent_again_whole_is_told_once(replay: Replay) -> None:
    tape = Tape()
    tape.connection([(0, LONG), (0, LONG)])
    assert len(replay(pcap(tape.frames), "TLS").records) == 1


def test_another_connection_of_the_same_ports_is_another_record(replay: Replay) -> None:
    tape = Tape()
    for begin in (1000, 500_000):
        tape.connection(pieces(LONG, 500), begin=begin)
        tape.add(tcp(CLIENT, SERVER, b"", seq=begin + len(LONG), flags=FIN | ACK))
    assert len(replay(pcap(tape.frames), "TLS").records) == 2


@pytest.mark.parametrize("size", [1, 40, 1000])
def test_dns_over_tcp_is_told_however_it_is_cut(replay: Replay, size: int) -> None:
    names = [f"name-{number}.test" for number in range(10)]
    tape = Tape()
    tape.connection(pieces(stream(*map(query, names)), size), CLIENT, RESOLVER)
    done = replay(pcap(tape.frames), "DNS")
    assert [(row["q_name"], row["proto"]) for row in done.records] == [(name, "tcp") for name in names]
    assert done.probe("DNS")["unfinished"] == 0


def test_dns_over_tcp_whose_segments_come_in_another_order_or_twice_is_told(replay: Replay) -> None:
    names = [f"name-{number}.test" for number in range(10)]
    first, *rest = pieces(stream(*map(query, names)), 30)
    tape = Tape()
    for port, order in enumerate(([first, *reversed(rest), first, *rest], [*reversed(rest), first]), 1):
        tape.connection(order, (CLIENT[0], port), RESOLVER)
    done = replay(pcap(tape.frames), "DNS")
    assert [row["q_name"] for row in done.records] == names * 2
    assert done.probe("DNS")["unfinished"] == 0


def test_ordinary_packets_of_long_streams_are_not_handed_over(replay: Replay) -> None:
    tape = Tape()
    page = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(2_000_000)
    tape.connection(pieces(page, 1400))
    tape.connection(pieces(LONG + b"\x17\x03\x03\x40\x00" + bytes(2_000_000), 1400), (CLIENT[0], 50000))
    done = replay(pcap(tape.frames))
    assert len(done.records) == 1
    assert done.account["capture"]["delivered"] > 2800
    assert done.probe("DNS")["handed_over"] == 0
    assert done.probe("TLS")["handed_over"] == 2


def test_of_a_stream_with_segments_out_of_order_only_those_before_its_first_are_handed_over(replay: Replay) -> None:
    tape = Tape()
    first, *rest = pieces(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(50_000), 1400)
    tape.connection([rest[0], rest[1], first, *reversed(rest[2:])])
    done = replay(pcap(tape.frames))
    assert [(probe["handed_over"], probe["parts"]) for probe in done.account["probes"]] == [(2, 2)] * 2
    assert [(probe["malformed"], probe["unfinished"]) for probe in done.account["probes"]] == [(0, 0)] * 2


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_messages_of_which_a_segment_is_missing_are_unfinished(replay: Replay, missing: int) -> None:
    tape = Tape()
    hello_parts, query_parts = pieces(LONG, 700), pieces(stream(query("a.test"), query("b.test")), 25)
    for number, parts in enumerate((hello_parts, query_parts)):
        assert len(parts) == 3
        tape.connection(parts[:missing] + parts[missing + 1 :], (CLIENT[0], 1000 + number))
    done = replay(pcap(tape.frames))
    assert done.code == 0
    unfinished = [probe["unfinished"] for probe in done.account["probes"]]
    assert unfinished == ([0, 0] if missing == 0 else [1, 1])  # without its first segment, nobody knows what it was
    assert not done.rows("tls.handshake.clienthello")
    assert [row["q_name"] for row in done.rows("dns.query")] == (["a.test"] if missing == 2 else [])


def test_a_file_that_is_cut_short_is_an_error_and_what_was_before_is_delivered(replay_apart: Replay) -> None:
    tape = Tape()
    for number in range(300):
        tape.add(udp(CLIENT, RESOLVER, query(f"name-{number}.test")))
    done = replay_apart(pcap(tape.frames)[:-5])
    assert done.code == 1
    assert [row["q_name"] for row in done.rows("dns.query")] == [f"name-{number}.test" for number in range(299)]
    (error,) = [line for line in done.said.splitlines() if line.startswith("ingrain:") and "ERROR" not in line]
    assert "299 packets before it were read" in error
    assert "Traceback" not in done.said


@pytest.mark.parametrize(
    ("file", "why"), [(b"GET / HTTP/1.1\r\n", "is no capture"), (b"", "is empty"), (b"\x0a\x0d\x0d\x0a", "ends")]
)
def test_what_is_no_capture_is_an_error(replay: Replay, file: bytes, why: str) -> None:
    done = replay(file)
    assert done.code == 1
    assert why in done.said
    assert "Traceback" not in done.said
    assert not done.records


def test_a_file_that_is_not_there_is_an_error(replay_apart: Replay, tmp_path: Path) -> None:
    done = replay_apart(tmp_path / "missing.pcapng")
    assert done.code == 1
    assert "missing.pcapng" in done.said
    assert "Traceback" not in done.said


def test_a_configuration_of_which_nothing_can_be_replayed_is_an_error(replay: Replay) -> None:
    done = replay(pcap(conversation().frames), "Network")
    assert done.code == 1
    assert "no probe that can be replayed" in done.said
    assert "Traceback" not in done.said


def test_the_network_probe_is_left_out_with_a_warning(replay: Replay) -> None:
    done = replay(pcap(conversation().frames), "Network", "DNS")
    assert done.code == 0
    assert "Network is left out" in done.said
    assert [probe["name"] for probe in done.account["probes"]] == ["DNS"]
    assert Counter(row["measurement"] for row in done.records) == {"dns.query": 1, "dns.answer": 1}


def test_a_packet_that_the_kernel_does_not_take_is_counted(replay: Replay) -> None:
    tape = Tape()
    tape.add(udp(CLIENT, RESOLVER, query("a.test")))
    tape.add(udp(CLIENT, RESOLVER, bytes(30_000)))  # longer than a page: testrun.py
    tape.add(udp(CLIENT, RESOLVER, query("b.test")))
    done = replay(pcap(tape.frames), "DNS")
    assert done.code == 0
    assert done.account["capture"]["not_taken"] == 1
    assert [row["q_name"] for row in done.records] == ["a.test", "b.test"]


def test_a_flood_of_connections_that_are_never_closed_loses_nothing(replay: Replay) -> None:
    tape = Tape()
    for number in range(3000):
        end = (bytes([198, 51, number >> 8, number & 255]), 1024 + number)
        tape.add(tcp(end, SERVER, b"", seq=99, flags=SYN))
        tape.add(tcp(end, SERVER, LONG[:700], seq=100))
        tape.add(tcp(end, SERVER, LONG[700:], seq=800))
    done = replay(pcap(tape.frames), "TLS")
    assert done.code == 0
    assert len(done.records) == 3000
    assert done.probe("TLS")["parts"] == 3000
