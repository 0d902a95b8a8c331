"""DNS and TLS records of live traffic agree, message by message, with what tshark tells of the same loopback traffic.

The traffic runs in a network namespace made for the test. Each message is seen twice, as it is sent and as it is
received, so both directions' records must equal tshark's list.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, Watch
from record import recorded
from serving import until

from ingrain.wire import iana_ciphers

LACKING = [name for name in ("tshark", "dumpcap", "ip", "ss", "dnsmasq", "dig", "openssl") if not shutil.which(name)]
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"not installed: {', '.join(LACKING)}")

DNS_PORT, TLS_PORT = 5353 + 47, 9443
TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33}
RCODES = {"NOERROR": 0, "SERVFAIL": 2, "NXDOMAIN": 3, "REFUSED": 5}


def packets(capture: Path, display: str) -> list[dict[str, list[str]]]:
    """tshark's fields of the packets that a display filter lets through."""
    decode = ["-d", f"udp.port=={DNS_PORT},dns", "-d", f"tcp.port=={TLS_PORT},tls"]
    command = ["tshark", "-r", str(capture), *decode, "-Y", display, "-T", "ek"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [flat(json.loads(line)["layers"]) for line in lines if '"layers"' in line]


def wait_for(namespace: str, port: int, *addresses: str) -> None:
    """Until somebody listens on the TCP port at these; nothing is sent to find out."""
    command = ["ip", "netns", "exec", namespace, "ss", "-Htln", f"sport = :{port}"]

    def listening() -> bool:
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return all(f"{address}:{port} " in told for address in addresses)

    until(f"somebody to listen on port {port}", listening)


def flat(layers: dict[str, Any]) -> dict[str, list[str]]:
    fields = [item for layer in layers.values() if isinstance(layer, dict) for item in layer.items()]
    return {key: value if isinstance(value, list) else [value] for key, value in fields}


def ends(packet: dict[str, list[str]], proto: str) -> tuple[str, int, str, int]:
    source = (packet.get("ip_ip_src") or packet["ipv6_ipv6_src"])[0]
    target = (packet.get("ip_ip_dst") or packet["ipv6_ipv6_dst"])[0]
    return source, int(packet[f"{proto}_{proto}_srcport"][0]), target, int(packet[f"{proto}_{proto}_dstport"][0])


def our_ends(row: dict[str, Any]) -> tuple[str, int, str, int]:
    return row["s_ip"], row["s_port"], row["d_ip"], row["d_port"]


Row = dict[str, Any]


def both_directions(rows: list[Row], tell: Callable[[Row], Any]) -> tuple[Counter[Any], Counter[Any]]:
    out, into = (Counter(tell(row) for row in rows if row["direction"] == way) for way in ("out", "in"))
    return out, into


def test_dns_messages(watch: Callable[..., Watch], start: Start, namespace: str, tmp_path: Path) -> None:
    inside = ("ip", "netns", "exec", namespace)
    capture = tmp_path / "dns.pcapng"
    watched = watch("DNS")
    with recorded(capture, "-i", "lo", namespace=namespace), watched():
        start(
            *inside, "dnsmasq", "-k", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root",
            "--pid-file=", f"--port={DNS_PORT}", "--listen-address=127.0.0.1,::1", "--bind-interfaces",
            "--local=/test/",
            "--host-record=www.a.test,192.0.2.1,2001:db8::1", "--host-record=www.a.test,192.0.2.2",
            "--cname=alias.a.test,www.a.test", "--mx-host=a.test,mail.a.test,10", "--txt-record=a.test,one,two",
            "--srv-host=_s._tcp.a.test,www.a.test,389", "--ptr-record=1.2.0.192.in-addr.arpa,www.a.test",
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(namespace, DNS_PORT, "127.0.0.1", "[::1]")
        for server in ("127.0.0.1", "::1"):
            for question in (
                "www.a.test A", "www.a.test AAAA", "WwW.a.TeSt A", "alias.a.test A", "a.test MX", "a.test TXT",
                "_s._tcp.a.test SRV", "1.2.0.192.in-addr.arpa PTR", "nothing.test A", "refused.example A", ". NS",
            ):  # fmt: skip
                dig = start(*inside, "dig", f"@{server}", "-p", str(DNS_PORT), "+tries=1", *question.split())
                dig.communicate(timeout=60)
    messages = packets(capture, "dns")
    queries = [p for p in messages if not truth(p["dns_dns_flags_response"][0])]
    answers = [p for p in messages if truth(p["dns_dns_flags_response"][0])]
    assert len(queries) == len(answers) == 22

    def question_of(packet: dict[str, list[str]]) -> tuple[Any, ...]:
        name = packet["dns_dns_qry_name"][0]
        return *ends(packet, "udp"), "." if name == "<Root>" else name, int(packet["dns_dns_qry_type"][0])

    def answer_of(packet: dict[str, list[str]]) -> tuple[Any, ...]:
        count = int(packet["dns_dns_count_answers"][0])
        kinds = tuple(int(kind) for kind in packet.get("dns_dns_resp_type", [])[:count])
        ttls = tuple(int(ttl) for ttl in packet.get("dns_dns_resp_ttl", [])[:count])
        fours, sixes = kinds.count(TYPES["A"]), kinds.count(TYPES["AAAA"])  # behind these are additional records'
        addresses = (*packet.get("dns_dns_a", [])[:fours], *packet.get("dns_dns_aaaa", [])[:sixes])
        names = tuple(packet.get("dns_dns_cname", []) + packet.get("dns_dns_ptr_domain_name", []))
        rcode = int(packet["dns_dns_flags_rcode"][0])
        return *question_of(packet), rcode, kinds, ttls, addresses, names

    def our_question(row: dict[str, Any]) -> tuple[Any, ...]:
        return *our_ends(row), row["q_name"], TYPES[row["q_type"]]

    def our_answer(row: dict[str, Any]) -> tuple[Any, ...]:
        records = row["answers"]
        return (
            *our_question(row),
            RCODES[row["rcode"]],
            tuple(TYPES[r["type"]] for r in records),
            tuple(r["ttl"] for r in records),
            tuple(r["data"] for r in records if r["type"] in {"A", "AAAA"}),
            tuple(r["data"] for r in records if r["type"] in {"CNAME", "PTR"}),
        )

    for way in both_directions(watched.rows("dns.query"), our_question):
        assert way == Counter(map(question_of, queries))
    for way in both_directions(watched.rows("dns.answer"), our_answer):
        assert way == Counter(map(answer_of, answers))
    assert {row["process"] for row in watched.rows("dns.query") if row["direction"] == "out"} == {"dig"}
    assert {row["process"] for row in watched.rows("dns.answer") if row["direction"] == "out"} == {"dnsmasq"}


def truth(text: Any) -> bool:
    return text in {True, "1", "true", "True"}


def number(text: str) -> int:
    return int(text, 0)


def test_tls_hellos(watch: Callable[..., Watch], start: Start, namespace: str, tmp_path: Path) -> None:
    inside = ("ip", "netns", "exec", namespace)
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a.test", "-days", "1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    capture = tmp_path / "tls.pcapng"
    watched = watch("TLS")
    weak = ("-cipher", "DEFAULT:@SECLEVEL=0")
    with recorded(capture, "-i", "lo", namespace=namespace), watched():
        start(
            *inside, "openssl", "s_server", "-quiet", "-accept", f"*:{TLS_PORT}", "-key", key, "-cert", certificate,
            "-alpn", "h2,http/1.1", *weak, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(namespace, TLS_PORT, "*")
        for host in ("127.0.0.1", "[::1]"):
            for options in (
                ("-tls1", *weak), ("-tls1_1", *weak), ("-tls1_2",), ("-tls1_3",), (),
                ("-servername", "www.a.test"), ("-servername", "www.a.test", "-alpn", "h2,http/1.1"),
                ("-noservername", "-tls1_2"), ("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"),
                ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", "-alpn", "http/1.1"),
            ):  # fmt: skip
                client = start(
                    *inside, "openssl", "s_client", "-connect", f"{host}:{TLS_PORT}", *options,
                    stderr=subprocess.DEVNULL,
                )  # fmt: skip
                client.communicate("", timeout=60)
    hellos = packets(capture, "tls.handshake.type == 1 || tls.handshake.type == 2")
    kind = "tls_tls_handshake_type"
    clients = [p for p in hellos if "1" in p[kind]]
    servers = [p for p in hellos if "2" in p[kind]]
    assert len(clients) == len(servers) == 20
    version = {0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
    names = iana_ciphers.NAMES

    def offered(packet: dict[str, list[str]]) -> tuple[Any, ...]:
        versions = packet.get("tls_tls_handshake_extensions_supported_version") or packet["tls_tls_handshake_version"]
        return (
            *ends(packet, "tcp"),
            next(iter(packet.get("tls_tls_handshake_extensions_server_name", [])), None),
            tuple(packet.get("tls_tls_handshake_extensions_alpn_str", [])),
            version[max(map(number, versions))],
            tuple(names[number(value)] for value in packet["tls_tls_handshake_ciphersuite"]),
        )

    def agreed(packet: dict[str, list[str]]) -> tuple[Any, ...]:
        versions = packet.get("tls_tls_handshake_extensions_supported_version") or packet["tls_tls_handshake_version"]
        cipher = number(packet["tls_tls_handshake_ciphersuite"][0])
        return *ends(packet, "tcp"), version[number(versions[0])], names[cipher]

    def our_offer(row: dict[str, Any]) -> tuple[Any, ...]:
        alpn, ciphers = tuple(row["alpn"] or ()), tuple(row["ciphersuites"])
        return *our_ends(row), row["sni"], alpn, row["client_version"], ciphers

    def our_agreement(row: dict[str, Any]) -> tuple[Any, ...]:
        return *our_ends(row), row["tls_version"], row["ciphersuite"]

    for way in both_directions(watched.rows("tls.handshake.clienthello"), our_offer):
        assert way == Counter(map(offered, clients))
    for way in both_directions(watched.rows("tls.handshake.serverhello"), our_agreement):
        assert way == Counter(map(agreed, servers))
