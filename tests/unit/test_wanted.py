"""Tags that no pipeline of a probe looks at are not made; the others are what they are where all are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dns_messages import answer
from hellos import alpn, client_body, client_hello, numbers, server_name
from packets import OUT, address, drained, layout

from ingrain import config
from ingrain.batch import Batch
from ingrain.grains import GRAINS
from ingrain.grains.dns import DNS
from ingrain.grains.lookups import Lookups
from ingrain.grains.network import Network
from ingrain.grains.tls import TLS
from ingrain.kernel.records import Drained
from ingrain.pipeline import build, finish, wanted
from ingrain.probe import _wanted
from ingrain.wire import tls_hello
from ingrain.wire.client_hello import ClientHello

WHITELIST = 'type = "Whitelist"\nallow = ["process", "destination_port_i", "container"]\n'
NARROW = 'type = "Whitelist"\nallow = ["process", "uid"]\n'
REGEX = 'type = "Regex"\npatterns = [{ key = "proto", regex = "tcp", replace_with = "x" }]\n'
BUFFER = 'type = "Buffer"\ninterval_s = 10\n'


def wants(tmp_path: Path, *pipelines: tuple[str, ...]) -> tuple[frozenset[str] | None, frozenset[str] | None]:
    """What a probe's pipelines, each of these steps, want; and what is made for them."""
    names = [f"p{number}" for number in range(len(pipelines))]
    toml = f'[[probe]]\npipelines = {names}\n[probe.config]\ntype = "Network"\n'
    for name, steps in zip(names, pipelines, strict=True):
        toml += f'[pipeline.{name}.config]\nbackend = "Archive"\npath = "{tmp_path}"\n'
        toml += "".join(f"[[pipeline.{name}.steps]]\n{step}" for step in steps)
    file = tmp_path / "config.toml"
    file.write_text(toml)
    made = build(config.load(file), GRAINS)
    try:
        return wanted(made.values()), _wanted([*made.values()])
    finally:
        finish(made.values(), 10)


@pytest.mark.parametrize(
    ("pipelines", "expected"),
    [
        ([(WHITELIST,)], {"process", "d_port", "container"}),
        ([(REGEX, WHITELIST)], {"process", "d_port", "container"}),
        ([(WHITELIST, REGEX, NARROW)], {"process"}),
        ([(WHITELIST, BUFFER)], {"process", "d_port", "container"}),
        ([(BUFFER, WHITELIST)], None),
        ([()], None),
        ([(REGEX,)], None),
        ([(WHITELIST,), (NARROW,)], {"process", "d_port", "container", "uid"}),
        ([(WHITELIST,), ()], None),
    ],
)
def test_what_pipelines_want_is_what_their_whitelists_let_through(
    tmp_path: Path, pipelines: list[tuple[str, ...]], expected: set[str] | None
) -> None:
    assert wants(tmp_path, *pipelines)[0] == expected


def test_who_wants_containers_gets_what_they_are_found_by(tmp_path: Path) -> None:
    assert wants(tmp_path, (WHITELIST,))[1] == frozenset({"process", "d_port", "container", "cgroup_id"})
    assert wants(tmp_path, (NARROW,))[1] == frozenset({"process", "uid"})
    assert wants(tmp_path, ())[1] is None


def batches(wanted: frozenset[str] | None) -> list[Batch]:
    events = np.zeros(3, layout("network", "flow"))
    events["pid"], events["comm"], events["cgroup_id"] = [7, 0, 9], [b"one", b"", b"three"], [5, 6, 0]
    events["s_ip"], events["d_ip"] = address("10.0.0.1"), address("2001:db8::1")
    events["proto"], events["d_port"] = 6, [80, 443, 53]
    grain = Network()
    grain.wanted = wanted
    return list(grain.decode(Drained(events)))


def test_the_tags_that_are_made_are_those_of_a_whole_record() -> None:
    (whole,) = batches(None)
    (some,) = batches(frozenset({"d_port", "process", "container"}))
    names = ["timestamp", "value", "process", "container", "d_port"]
    assert some.records.schema.names == names
    assert columns(some, names[1:]) == columns(whole, names[1:])
    assert some.tags == ["process", "container", "d_port"]


def columns(batch: Batch, names: list[str]) -> dict[str, Any]:
    return {name: batch.records.column(name).to_pylist() for name in names}


def test_timestamp_and_values_are_always_made() -> None:
    (bare,) = batches(frozenset())
    assert bare.records.schema.names == ["timestamp", "value"]
    assert len(bare) == 3


HELLO = client_hello(client_body(server_name(b"a.test"), alpn(b"h2"), numbers(10, 29)))


@pytest.mark.parametrize(
    ("kind", "payload", "wanted"),
    [
        (DNS, answer("a.test", "A", "192.0.2.1"), {"q_name", "rcode", "d_port"}),
        (DNS, answer("a.test", "A", "192.0.2.1"), {"answers"}),
        (TLS, HELLO, {"sni", "ja4", "process"}),
        (TLS, HELLO, {"ciphersuites", "sni_matches_dns"}),
    ],
)
def test_the_tags_of_a_message_that_are_made_are_those_of_a_whole_record(
    kind: type[DNS | TLS], payload: bytes, wanted: set[str]
) -> None:
    whole, some = kind(), kind()
    some.want(frozenset(wanted))
    program = kind.program
    (one,), (other,) = (list(grain.decode(drained(program, [payload], {"s_port": 7}))) for grain in (whole, some))
    names = [name for name in one.records.schema.names if name in wanted]
    assert sorted(other.tags) == sorted(wanted)
    assert columns(other, names) == columns(one, names)


def test_what_nobody_wants_of_a_hello_is_not_worked_out() -> None:
    hello = tls_hello.decode(client_hello(client_body(server_name(b"never.seen.test"))))
    made = TLS().columns([hello], pa.array([0]))
    made["sni"]()
    assert isinstance(hello, ClientHello)
    assert not vars(hello.client), "no fingerprint is there before somebody asks for it"
    assert made["ja4"]().to_pylist() == [hello.ja4]
    assert vars(hello.client).keys() == {"ja4"}


class Asked(Lookups):
    """Counts how often it was asked."""

    times = 0

    def has(self, client: bytes, name: str, address: bytes, time: int) -> bool | None:
        self.times += 1
        return super().has(client, name, address, time)


@pytest.mark.parametrize(("tags", "times"), [(None, 1), (frozenset({"sni"}), 0), (frozenset({"sni_matches_dns"}), 1)])
def test_where_nobody_wants_to_know_it_is_not_asked_whether_names_were_looked_up(
    tags: frozenset[str] | None, times: int
) -> None:
    grain = TLS()
    grain.lookups = asked = Asked()
    grain.want(tags)
    assert list(grain.decode(drained("tls", [HELLO], {"direction": OUT})))
    assert asked.times == times
