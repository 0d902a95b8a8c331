"""`sni_matches_dns`: whether the process looked the host up before, and was given the address that it connects to."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import pytest
from dns_messages import answer, message
from hellos import client_body, client_hello, key_share, server_name
from packets import IN, OUT, UNKNOWN, address, drained, rows

from ingrain.grains import lookups
from ingrain.grains.dns import DNS
from ingrain.grains.lookups import Lookups
from ingrain.grains.tls import TLS

START = 5_000_000_000_000
CURL = {"pid": 4711, "start": 900, "cgroup_id": 77, "s_ip": "192.0.2.9", "s_port": 40000}
RESOLVED = {
    "pid": 4711, "start": 900, "cgroup_id": 77, "direction": IN,
    "s_ip": "192.0.2.53", "s_port": 53, "d_ip": "192.0.2.9", "d_port": 50000,
}  # fmt: skip
CONNECTED = CURL | {"direction": OUT, "d_ip": "192.0.2.44", "d_port": 443}


class Host:
    """A DNS and a TLS grain of one agent; times are seconds."""

    def __init__(self) -> None:
        self._dns, self._tls = DNS(), TLS()
        self._dns.lookups = self._tls.lookups = Lookups()

    def is_told(self, when: float, payload: bytes, **changed: Any) -> None:
        flow = RESOLVED | {"time": START + int(when * 1e9)} | changed
        assert rows(*self._dns.decode(drained("dns", [payload], flow)))

    def connects(self, when: float, host: bytes | None, **changed: Any) -> bool | None:
        """What is told of a TLS connection."""
        flow = CONNECTED | {"time": START + int(when * 1e9)} | changed
        hello = client_hello(client_body(*([] if host is None else [server_name(host)]), key_share(bytes(32))))
        (row,) = rows(*self._tls.decode(drained("tls", [hello], flow)))
        found: bool | None = row["sni_matches_dns"]
        return found


def test_a_host_that_was_looked_up_before_with_this_address_matches() -> None:
    host = Host()
    host.is_told(1, answer("a.test", "A", "192.0.2.43", "192.0.2.44"))
    assert host.connects(2, b"a.test") is True


def test_an_ipv6_address_matches_likewise() -> None:
    host = Host()
    host.is_told(1, answer("a.test", "AAAA", "2001:db8::44"))
    assert host.connects(2, b"a.test", s_ip="2001:db8::9", d_ip="2001:db8::44") is True
    assert host.connects(2, b"a.test", s_ip="2001:db8::9", d_ip="2001:db8::45") is False


@pytest.mark.parametrize("name", ["a.test", "_8443._https.a.test"])
def test_an_address_that_an_answer_of_how_to_reach_the_host_hints_at_matches(name: str) -> None:
    host = Host()
    host.is_told(1, answer(name, "HTTPS", "1 . alpn=h2 ipv4hint=192.0.2.44,192.0.2.45 ipv6hint=2001:db8::44"))
    assert host.connects(2, b"a.test") is True
    assert host.connects(2, b"a.test", s_ip="2001:db8::9", d_ip="2001:db8::44") is True
    assert host.connects(2, b"a.test", d_ip="192.0.2.46") is False


def test_a_host_that_is_looked_up_only_afterwards_does_not_match() -> None:
    host = Host()
    host.is_told(2, answer("a.test", "A", "192.0.2.44"))
    assert host.connects(1, b"a.test") is False
    assert host.connects(3, b"a.test") is True


def test_a_later_look_up_does_not_hide_the_first_one() -> None:
    host = Host()
    host.is_told(1, answer("a.test", "A", "192.0.2.44"))
    host.is_told(3, answer("a.test", "A", "192.0.2.44"))
    assert host.connects(2, b"a.test") is True


@pytest.mark.parametrize(
    ("host", "changed"),
    [
        pytest.param(b"a.test", {"d_ip": "192.0.2.66"}, id="another address"),
        pytest.param(b"b.test", {}, id="another name"),
        pytest.param(b"a.test", {"pid": 4712}, id="another process"),
        pytest.param(b"a.test", {"start": 901}, id="a later process that has the same id"),
        pytest.param(b"a.test.evil", {}, id="a name that begins as the one that was looked up"),
        pytest.param(b"x" * 10_000, {}, id="a host name that is longer than any DNS name"),
    ],
)
def test_anything_else_does_not_match(host: bytes, changed: dict[str, Any]) -> None:
    seen = Host()
    seen.is_told(1, answer("a.test", "A", "192.0.2.44"))
    assert seen.connects(2, host, **changed) is False


@pytest.mark.parametrize(("asked", "named"), [("A.TeSt", b"a.test"), ("a.test", b"A.TEST"), ("a.test", b"a.test.")])
def test_case_and_a_dot_at_the_end_do_not_matter(asked: str, named: bytes) -> None:
    host = Host()
    host.is_told(1, answer(asked, "A", "192.0.2.44"))
    assert host.connects(2, named) is True


def test_the_address_of_an_alias_is_one_of_the_name_that_was_asked_for() -> None:
    host = Host()
    records = [("a.test", "CNAME", "cdn.test."), ("cdn.test", "CNAME", "edge.test."), ("edge.test", "A", "192.0.2.44")]
    host.is_told(1, message([("a.test", "A")], records, flags=0x8000))
    assert host.connects(2, b"a.test") is True
    assert host.connects(2, b"edge.test") is False


def test_a_name_that_does_not_exist_does_not_match() -> None:
    host = Host()
    host.is_told(1, answer("a.test", "A", rcode=3))
    assert host.connects(2, b"a.test") is False


def test_without_a_name_or_without_a_dns_probe_it_is_not_known() -> None:
    host = Host()
    assert host.connects(1, None) is None
    host._tls.lookups = None
    assert host.connects(1, b"a.test") is None


def test_of_a_hello_that_a_server_received_it_is_not_known() -> None:
    assert Host().connects(1, b"a.test", direction=IN) is None


def test_what_a_resolver_told_its_clients_it_did_not_look_up_itself() -> None:
    host = Host()
    host.is_told(1, answer("a.test", "A", "192.0.2.44"), direction=OUT)
    assert host.connects(2, b"a.test") is False


def test_where_processes_are_not_known_the_client_s_address_stands_for_them() -> None:
    host = Host()
    host.is_told(1, answer("a.test", "A", "192.0.2.44"), pid=0, direction=UNKNOWN)
    assert host.connects(2, b"a.test", pid=0, direction=UNKNOWN) is True
    assert host.connects(2, b"a.test", pid=0, direction=UNKNOWN, s_ip="192.0.2.10") is False


ONE, TWO = bytes(address("192.0.2.1")), bytes(address("192.0.2.2"))


def process(number: int, start: int = 1) -> bytes:
    return struct.pack("=QI", start, number)


def test_of_very_many_names_of_a_client_the_oldest_are_forgotten_and_those_are_not_known_any_more() -> None:
    known, client = Lookups(), process(1)
    for number in range(lookups.SHARE):
        known.note(client, f"{number}.test", [ONE], 1)
    known.note(client, "0.test", [TWO], 2)  # so 1.test is the oldest
    assert known.has(client, "never.test", ONE, 9) is False
    known.note(client, "new.test", [ONE], 3)
    assert len(known) == lookups.SHARE
    assert known.has(client, "0.test", ONE, 9) is True
    assert known.has(client, "0.test", TWO, 9) is True
    assert known.has(client, "2.test", ONE, 9) is True
    assert known.has(client, "1.test", ONE, 9) is None
    assert known.has(client, "never.test", ONE, 9) is None  # it may have been forgotten as well


def test_a_client_that_looks_up_ever_new_names_costs_the_others_nothing() -> None:
    known, quiet, loud = Lookups(), process(1), process(2)
    known.note(quiet, "a.test", [ONE], 1)
    for number in range(2 * lookups.NAMES):
        known.note(loud, f"{number}.test", [ONE], 1)
    assert known.has(quiet, "a.test", ONE, 9) is True
    assert known.has(quiet, "b.test", ONE, 9) is False


def test_of_very_many_clients_those_that_did_nothing_for_longest_are_not_known_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookups, "NAMES", 100)
    known = Lookups()
    for number in range(150):
        known.note(process(number, start=1000 + number), "a.test", [ONE], 1)
        assert known.has(process(0, start=1000), "a.test", ONE, 9) is True  # it does something
    assert len(known) == 100
    assert known.has(process(149, start=1149), "a.test", ONE, 9) is True
    assert known.has(process(1, start=1001), "a.test", ONE, 9) is None
    assert known.has(process(7, start=5), "a.test", ONE, 9) is None  # it may have looked it up long ago
    assert known.has(process(7, start=1140), "a.test", ONE, 9) is False  # it began after all that were forgotten
    assert known.has(ONE, "a.test", ONE, 9) is None  # by its address, which tells no beginning


def test_of_very_many_addresses_of_a_name_those_that_were_answered_last_are_known() -> None:
    known, client = Lookups(), process(1)
    given = [number.to_bytes(16) for number in range(1000)]
    for one in given:
        known.note(client, "a.test", [one], 1)
    assert [one for one in given if known.has(client, "a.test", one, 2)] == given[-lookups.ADDRESSES :]
    assert known.has(client, "a.test", given[0], 2) is None


def test_names_without_an_address_take_no_room() -> None:
    known = Lookups()
    known.note(process(1), "a.test", [], 1)
    assert len(known) == 0


def test_memory_is_bounded_under_a_flood_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "NAMES", 500)
    known = Lookups()
    tracemalloc.start()
    sizes = []
    for number in range(5000):
        known.note(process(number % 7), f"{number}.{'x' * 200}.test", [ONE, TWO], number)
        if number % 1000 == 999:
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert len(known) == 500
    assert sizes[-1] < 1.1 * sizes[0]
