"""The TLS grain: a record for each hello, with whose it was; what makes none is counted."""

from __future__ import annotations

import time
from hashlib import md5, sha256

import pyarrow as pa
import pytest
from hellos import (
    alpn,
    client_body,
    client_hello,
    extension,
    key_share,
    numbers,
    server_body,
    server_hello,
    server_name,
    supported_versions,
)
from hypothesis import given
from hypothesis import strategies as st
from packets import IN, NO_CONTAINER, OUT, drained, rows

from ingrain.batch import TEXT
from ingrain.grains.tls import TLS
from ingrain.text import harmless

CURL = {
    "pid": 4711, "uid": 1000, "comm": b"curl", "cgroup_id": 77, "direction": OUT,
    "s_ip": "192.0.2.9", "s_port": 40000, "d_ip": "192.0.2.44", "d_port": 9443,
}  # fmt: skip
NGINX = {
    "pid": 80, "uid": 33, "comm": b"nginx", "cgroup_id": 78, "direction": IN,
    "s_ip": "2001:db8::9", "s_port": 40001, "d_ip": "2001:db8::44", "d_port": 443,
}  # fmt: skip


def test_hellos_become_records_with_their_process_and_ends() -> None:
    offer = client_body(
        server_name(b"www.a.test"), alpn(b"h2", b"http/1.1"), supported_versions(0x0A0A, 0x0303, 0x0304),
        numbers(10, 29, 23),
        suites=(0x2A2A, 0x1301, 0xC02F, 0x00FF),
    )  # fmt: skip
    choice = server_body(extension(43, b"\x03\x04"), cipher=0x1303)
    payloads = [server_hello(choice), client_hello(offer)]
    offered, chosen = rows(*TLS().decode(drained("tls", payloads, NGINX, CURL)))
    assert {key: offered[key] for key in offered if key != "timestamp"} == {
        "measurement": "tls.handshake.clienthello", "value": 1,
        "process": "curl", "process_id": 4711, "process_uid": None, "uid": 1000, "cgroup_id": 77, **NO_CONTAINER,
        "s_ip": "192.0.2.9", "s_port": 40000, "d_ip": "192.0.2.44", "d_port": 9443, "proto": "tcp", "direction": "out",
        "sni": "www.a.test", "alpn": ["h2", "http/1.1"], "client_version": "TLS 1.3",
        "ciphersuites": [
            "GREASE_0x2A2A", "TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
        ],
        "groups": ["x25519", "secp256r1"], "ech": False, "encrypted_dns": None, "sni_matches_dns": None,
        "ja3": md5(b"771,4865-49199-255,0-16-43-10,29-23,").hexdigest(),
        "ja4": f"t13d0304h2_{sha256(b'00ff,1301,c02f').hexdigest()[:12]}_{sha256(b'000a,002b').hexdigest()[:12]}",
    }  # fmt: skip
    assert {key: chosen[key] for key in chosen if key != "timestamp"} == {
        "measurement": "tls.handshake.serverhello", "value": 1,
        "process": "nginx", "process_id": 80, "process_uid": None, "uid": 33, "cgroup_id": 78, **NO_CONTAINER,
        "s_ip": "2001:db8::9", "s_port": 40001, "d_ip": "2001:db8::44", "d_port": 443,
        "proto": "tcp", "direction": "in",
        "tls_version": "TLS 1.3", "ciphersuite": "TLS_CHACHA20_POLY1305_SHA256", "retry": False,
        "ja3s": md5(b"771,4867,43").hexdigest(),
    }  # fmt: skip
    assert abs(offered["timestamp"] - time.time_ns()) < 60 * 10**9


def test_columns_are_those_of_the_measurements_names_within_lists_encoded_too() -> None:
    batches = list(TLS().decode(drained("tls", [client_hello(client_body()), server_hello(server_body())])))
    assert [batch.records.schema for batch in batches] == [measurement.schema for measurement in TLS.measurements]
    assert batches[0].records.schema.field("ciphersuites").type == pa.list_(TEXT)
    for batch in batches:
        batch.records.validate(full=True)


def test_what_a_client_does_not_offer_is_null() -> None:
    bare, full = rows(
        *TLS().decode(drained("tls", [client_hello(client_body(part)) for part in (extension(5, b""), alpn(b"h2"))]))
    )
    assert (bare["sni"], bare["alpn"], bare["client_version"]) == (None, None, "TLS 1.2")
    assert (bare["groups"], bare["ech"], bare["encrypted_dns"], bare["sni_matches_dns"]) == (None, False, None, None)
    assert full["alpn"] == ["h2"]


def test_hellos_that_repeat_are_all_records_and_in_their_order() -> None:
    hosts = ["a.test", "b.test", "a.test", "c.test", "b.test"] * 40
    payloads = [
        client_hello(
            client_body(server_name(host.encode()), key_share(bytes([place % 256] * 32)), suites=(0x1301 + place % 3,))
        )
        for place, host in enumerate(hosts)
    ]
    told = rows(*TLS().decode(drained("tls", payloads, *({"s_port": place} for place in range(len(hosts))))))
    assert [row["s_port"] for row in told] == list(range(len(hosts)))
    assert [row["sni"] for row in told] == hosts
    names = [["TLS_AES_128_GCM_SHA256"], ["TLS_AES_256_GCM_SHA384"], ["TLS_CHACHA20_POLY1305_SHA256"]]
    assert [row["ciphersuites"] for row in told] == [names[place % 3] for place in range(len(hosts))]


def test_an_empty_drain_makes_no_batch() -> None:
    assert not list(TLS().decode(drained("tls", [])))


@pytest.mark.parametrize(
    ("raw", "shown"), [(b"x|c\nfoo:1", "x|c\\x0afoo:1"), (b"\x1b[2J", "\\x1b[2J"), (b"\xc3\x28", "\\xc3(")]
)
def test_hostile_names_of_processes_hosts_and_protocols_stay_printable_values(raw: bytes, shown: str) -> None:
    payload = client_hello(client_body(server_name(raw), alpn(raw)))
    (row,) = rows(*TLS().decode(drained("tls", [payload], CURL | {"comm": raw})))
    assert (row["process"], row["sni"], row["alpn"]) == (shown, shown, [shown])


def test_malformed_hellos_and_parts_of_hellos_are_counted_apart_and_the_rest_is_told() -> None:
    grain = TLS()
    good = client_hello(client_body(server_name(b"a.test"), key_share(bytes(1200)), alpn(b"h2")))
    payloads = [
        good,
        good[:500],
        client_hello(b"\x03\x03"),
        server_hello(server_body()),
        b"\x16\x03\x01\x00\x04\x01",
        b"no",
    ]
    connections = [{"s_port": number} for number in range(len(payloads))]
    told = rows(*grain.decode(drained("tls", payloads, *connections)))
    assert [row["measurement"] for row in told] == ["tls.handshake.clienthello", "tls.handshake.serverhello"]
    assert (grain.malformed, grain.parts, grain.cut) == (1, 3, 0)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80), st.binary(max_size=80).map(client_hello), st.just(client_hello(client_body()))
        )
    )
)
def test_every_event_is_a_record_of_safe_text_or_malformed_or_a_part(payloads: list[bytes]) -> None:
    grain = TLS()
    connections = [{"s_port": number} for number in range(len(payloads))]
    told = rows(*grain.decode(drained("tls", payloads, *connections)))
    assert len(told) + grain.malformed + grain.parts == len(payloads)
    assert (grain.cut, grain.further) == (0, 0)
    for row in told:
        if row["measurement"] == "tls.handshake.clienthello":
            texts = [row["sni"] or "", *(row["alpn"] or ()), row["client_version"], *row["ciphersuites"]]
        else:
            texts = [row["tls_version"], row["ciphersuite"]]
        assert all(harmless(text) == text for text in texts)
