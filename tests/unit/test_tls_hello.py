"""TLS hellos off the wire: what OpenSSL's peers say of their own handshakes, and nothing else, whatever the bytes."""

from __future__ import annotations

import random
import shutil
import ssl
import subprocess
import tracemalloc
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import pytest
from hellos import (
    ALPN,
    ECH,
    SERVER_NAME,
    SUPPORTED_VERSIONS,
    Handshake,
    alpn,
    certificate,
    client_body,
    client_hello,
    extension,
    handshake,
    key_share,
    message,
    numbers,
    records,
    server_body,
    server_hello,
    server_name,
    sized,
    supported_versions,
)
from hypothesis import given
from hypothesis import strategies as st

from ingrain.text import harmless, safe
from ingrain.wire import client_hello as client_hello_module
from ingrain.wire.client_hello import ClientHello
from ingrain.wire.iana_ciphers import NAMES
from ingrain.wire.iana_groups import NAMES as GROUP_NAMES
from ingrain.wire.kept import Kept
from ingrain.wire.malformed import Cut, Malformed
from ingrain.wire.tls_hello import Hello, ServerHello, decode
from ingrain.wire.tls_registry import GREASE, cipher_name, group_name

VERSIONS = {"TLSv1": "TLS 1.0", "TLSv1.1": "TLS 1.1", "TLSv1.2": "TLS 1.2", "TLSv1.3": "TLS 1.3"}
V = ssl.TLSVersion


def openssl_names() -> dict[str, tuple[int, str]]:
    """OpenSSL's name of a cipher suite -> its number and its name in the standard, as OpenSSL has them."""
    command = ["openssl", "ciphers", "-V", "-stdname", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    fields = [line.split() for line in lines]
    return {one[4]: (int(one[0].replace(",0x", ""), 16), one[2]) for one in fields}


def test_names_of_cipher_suites_are_those_that_openssl_has() -> None:
    theirs = dict(openssl_names().values())
    assert len(theirs) > 100
    assert {number: NAMES.get(number) for number in theirs} == theirs


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_names_of_cipher_suites_are_those_that_tshark_has() -> None:
    lines = subprocess.run(["tshark", "-G", "values"], check=True, capture_output=True, text=True).stdout.splitlines()
    fields = [line.split("\t") for line in lines if line.startswith("V\ttls.handshake.ciphersuite\t")]
    theirs = {int(number): name for _v, _field, number, name in fields}
    assert len(theirs) > 300
    ours = {number: name for number, name in NAMES.items() if number in theirs}
    assert ours == {number: theirs[number] for number in ours}
    assert {NAMES[number] for number in NAMES.keys() - theirs.keys()} <= {
        "TLS_AEGIS_256_SHA512", "TLS_AEGIS_128L_SHA256"
    }  # fmt: skip
    # What it has and the registry has not: GREASE, private use, and numbers of drafts and of SSL 3.0.
    drafts = {*range(0x1C, 0x1E), *range(0x60, 0x67), *range(0x80, 0x84), 0xC0FF, *range(0xCC13, 0xCC16)}
    private = {number for number in theirs if 0xE000 <= number <= 0xE0FF or number >= 0xFE00}
    assert {number for number in theirs.keys() - NAMES.keys() if number not in GREASE} == drafts | private


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_names_of_groups_are_those_that_tshark_has() -> None:
    lines = subprocess.run(["tshark", "-G", "values"], check=True, capture_output=True, text=True).stdout.splitlines()
    fields = [line.split("\t") for line in lines if line.startswith("V\ttls.handshake.extensions_supported_group\t")]
    theirs = {int(number, 16): name for _v, _field, number, name in fields}
    drafts = range(0x200, 0x3000)  # of which the first are MLKEM's now, and tshark 4.0 has drafts' own there
    ours = {number: name for number, name in GROUP_NAMES.items() if number in theirs and number not in drafts}
    assert len(ours) > 35
    assert ours == {number: theirs[number] for number in ours}
    assert {number for number in theirs.keys() - GROUP_NAMES.keys() - GREASE if number not in drafts} == set()


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0x1302, "TLS_AES_256_GCM_SHA384"),
        (0x00FF, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"),
        (0x5600, "TLS_FALLBACK_SCSV"),
        (0x0A0A, "GREASE_0x0A0A"),
        (0xFAFA, "GREASE_0xFAFA"),
        (0x0A1A, "0x0A1A"),
        (0xFFFF, "0xFFFF"),
    ],
)
def test_every_number_has_a_name(number: int, name: str) -> None:
    assert cipher_name(number) == name


class Peers:
    """A client and a server with these settings."""

    def __init__(self, pem: Path, *, lowest: V, highest: V, ciphers: str = "DEFAULT:@SECLEVEL=0") -> None:
        self.client, self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(pem)
        self.client.check_hostname = False
        self.client.verify_mode = ssl.CERT_NONE
        for side in (self.client, self.server):
            side.set_ciphers(ciphers)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 and 1.1 are what is asked for
                side.minimum_version, side.maximum_version = lowest, highest


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def _cold() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    """Empty the caches."""
    for kept in (client_hello_module._hellos, client_hello_module._clients, client_hello_module._layouts):
        kept.clear()


def told(seen: Handshake) -> tuple[ClientHello, ServerHello]:
    (offer,), (choice,) = ([decode(sent) for sent in seen.hellos(side)] for side in ("client", "server"))
    assert isinstance(offer, ClientHello)
    assert isinstance(choice, ServerHello)
    return offer, choice


@pytest.mark.parametrize("version", [V.TLSv1, V.TLSv1_1, V.TLSv1_2, V.TLSv1_3])
@pytest.mark.parametrize("name", [None, "www.a.test"])
@pytest.mark.parametrize("protocols", [(), ("h2", "http/1.1")])
def test_hellos_say_what_both_peers_say(pem: Path, version: V, name: str | None, protocols: tuple[str, ...]) -> None:
    peers = Peers(pem, lowest=version, highest=version)
    if protocols:
        peers.client.set_alpn_protocols(list(protocols))
        peers.server.set_alpn_protocols(["http/1.1"])
    seen = handshake(peers.client, peers.server, name)
    offer, choice = told(seen)
    assert (offer.sni, offer.alpn or ()) == (name, protocols)
    assert offer.version == choice.version == VERSIONS[seen.version]
    assert choice.ciphersuite == openssl_names()[seen.cipher][1]
    assert choice.ciphersuite in offer.ciphersuites
    assert seen.alpn is None or seen.alpn in (offer.alpn or ())


@pytest.mark.parametrize("highest", [V.TLSv1, V.TLSv1_1, V.TLSv1_2])
def test_the_servers_version_is_the_negotiated_one_and_the_clients_the_highest_it_offers(pem: Path, highest: V) -> None:
    client = Peers(pem, lowest=V.TLSv1, highest=V.TLSv1_3).client
    server = Peers(pem, lowest=V.TLSv1, highest=highest).server
    seen = handshake(client, server)
    offer, choice = told(seen)
    assert offer.version == "TLS 1.3"
    assert choice.version == VERSIONS[seen.version]
    assert choice.version < "TLS 1.3"


@pytest.mark.parametrize(
    "ciphers", ["ECDHE-RSA-AES128-GCM-SHA256", "AES256-SHA:ECDHE-RSA-CHACHA20-POLY1305", "HIGH:!PSK:!SRP:!aNULL"]
)
def test_cipher_suites_are_those_that_the_client_is_set_to_offer_in_its_order(pem: Path, ciphers: str) -> None:
    peers = Peers(pem, lowest=V.TLSv1_2, highest=V.TLSv1_3, ciphers=ciphers)
    offer, choice = told(handshake(peers.client, peers.server))
    offered = [int(one["id"]) & 0xFFFF for one in peers.client.get_ciphers()]
    assert offer.ciphersuites == (*(NAMES[number] for number in offered), "TLS_EMPTY_RENEGOTIATION_INFO_SCSV")
    assert choice.ciphersuite in offer.ciphersuites


def test_a_hello_retry_request_is_a_server_hello_and_says_what_the_later_one_says(pem: Path) -> None:
    peers = Peers(pem, lowest=V.TLSv1_3, highest=V.TLSv1_3)
    peers.server.set_ecdh_curve("secp384r1")  # the client knows it, but sends no key share of it at first
    seen = handshake(peers.client, peers.server, "www.a.test")
    first, last = (decode(sent) for sent in seen.hellos("server"))
    for hello, retry in ((first, True), (last, False)):
        assert isinstance(hello, ServerHello)
        assert (hello.version, hello.ciphersuite, hello.retry) == ("TLS 1.3", openssl_names()[seen.cipher][1], retry)


host_names = st.one_of(st.from_regex(rb"[a-z0-9.-]{1,40}", fullmatch=True), st.binary(min_size=1, max_size=80))
protocol_names = st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=4)
number = st.one_of(st.sampled_from(sorted(NAMES)), st.integers(0, 0xFFFF))
other_extensions = st.lists(
    st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)).filter(
        lambda one: one[0] not in {SERVER_NAME, 10, 11, 13, ALPN, SUPPORTED_VERSIONS, 51, ECH}
    ),
    max_size=4,
)


@dataclass
class Offered:
    """What a made ClientHello says."""

    sni: str | None
    alpn: tuple[str, ...] | None
    version: str
    ciphersuites: tuple[str, ...]
    groups: tuple[str, ...] | None
    ech: bool

    @classmethod
    def of(cls, hello: object) -> Offered:
        assert isinstance(hello, ClientHello)
        return cls(hello.sni, hello.alpn, hello.version, hello.ciphersuites, hello.groups, hello.ech)


@st.composite
def offers(draw: st.DrawFn) -> tuple[bytes, Offered]:
    """A ClientHello's body and what it says."""
    host = draw(st.none() | host_names)
    protocols = draw(st.none() | protocol_names)
    version = draw(st.none() | st.sampled_from([0x0302, 0x0303, 0x0304]))
    suites = draw(st.lists(number, min_size=1, max_size=40))
    groups = draw(st.none() | st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=9))
    ech = draw(st.none() | st.integers(0, 2))
    parts = [extension(kind, body) for kind, body in draw(other_extensions)]
    if host is not None:
        parts.append(server_name(host))
    if protocols is not None:
        parts.append(alpn(*protocols))
    if version is not None:
        parts.append(supported_versions(0x1A1A, 0x0301, version))
    if groups is not None:
        parts.append(numbers(10, *groups))
    if ech is not None:
        parts.append(extension(ECH, bytes([ech]) + draw(st.binary(max_size=60))))
    if draw(st.booleans()):
        parts.append(key_share(draw(st.binary(min_size=1, max_size=60))))
    body = client_body(
        *draw(st.permutations(parts)),
        suites=suites,
        session_id=draw(st.binary(max_size=32)),
        random=draw(st.binary(min_size=32, max_size=32)),
    )
    offered = Offered(
        None if host is None else safe(host),
        None if protocols is None else tuple(map(safe, protocols)),
        {None: "TLS 1.2", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}[version],
        tuple(map(cipher_name, suites)),
        None if groups is None else tuple(map(group_name, groups)),
        ech == 0,
    )
    return body, offered


def outcome(payload: bytes) -> Hello | type[ValueError]:
    try:
        return decode(payload)
    except (Malformed, Cut) as error:
        return type(error)


def assert_safe(hello: Hello) -> None:
    said = (hello.sni, *hello.client) if isinstance(hello, ClientHello) else hello
    texts = [one for field in said for one in (field if isinstance(field, tuple) else [field]) if isinstance(one, str)]
    assert len(texts) >= 3
    for text in texts:
        assert harmless(text) == text


@given(st.lists(offers(), min_size=1, max_size=4))
def test_a_client_hello_is_told_as_it_was_made_also_after_others(made: list[tuple[bytes, Offered]]) -> None:
    for body, offered in made + made:
        hello = decode(client_hello(body))
        assert Offered.of(hello) == offered
        assert_safe(hello)


@given(offers(), st.data())
def test_a_message_in_several_records_is_told_as_in_one(made: tuple[bytes, Offered], data: st.DataObject) -> None:
    body, offered = made
    whole = message(1, body)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=8)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    assert Offered.of(decode(records(*pieces))) == offered


def test_what_follows_the_hello_in_its_record_or_behind_it_is_not_read() -> None:
    hello = message(2, server_body())
    expected = decode(records(hello))
    assert isinstance(expected, ServerHello)
    assert (expected.version, expected.ciphersuite, expected.retry) == ("TLS 1.2", "TLS_AES_128_GCM_SHA256", False)
    assert decode(records(hello + message(11, bytes(700)) + message(14, b""))) == expected
    assert decode(records(hello + message(11, bytes(700)))[:400]) == expected
    assert decode(records(hello) + b"\x17\x03\x03\x00\x05ABCDE") == expected
    assert decode(records(hello) + b"no record") == expected


@given(offers(), st.integers(1, 100), st.data())
def test_a_hello_of_which_some_is_missing_says_from_how_many_bytes_on_there_is_more(
    made: tuple[bytes, Offered], size: int, data: st.DataObject
) -> None:
    whole = message(1, made[0])
    size = max(size, len(whole) // 50 + 1)
    payload = records(*(whole[start : start + size] for start in range(0, len(whole), size)))
    have = data.draw(st.integers(0, len(payload) - 1))
    steps = 0
    while have < len(payload):
        with pytest.raises(Cut) as raised:
            decode(payload[:have])
        assert have < raised.value.needed <= len(payload)
        have = raised.value.needed
        steps += 1
    assert Offered.of(decode(payload)) == made[1]
    assert steps <= 2 * 61


@pytest.mark.parametrize("version", [V.TLSv1_2, V.TLSv1_3])
@pytest.mark.parametrize("side", ["client", "server"])
def test_real_hellos_cut_anywhere_are_told_as_a_whole_or_not_at_all(pem: Path, version: V, side: str) -> None:
    peers = Peers(pem, lowest=version, highest=version)
    peers.client.set_alpn_protocols(["h2"])
    for payload in handshake(peers.client, peers.server, "www.a.test").hellos(side):
        end = 9 + int.from_bytes(payload[6:9])
        assert all(outcome(payload[:size]) is Cut for size in range(end))
        assert outcome(payload[:end]) == decode(payload)


def test_a_hello_in_more_records_than_any_client_makes_is_malformed() -> None:
    short, long = (message(1, client_body(server_name(b"a" * size))) for size in (8, 9))
    assert len(short) == 64
    decode(records(*(bytes([one]) for one in short)))
    with pytest.raises(Malformed):
        decode(records(*(bytes([one]) for one in long)))


@pytest.mark.parametrize(
    ("versions", "legacy", "name"),
    [
        ((0x0303, 0x0304), 0x0303, "TLS 1.3"),
        ((0x0304, 0x0303, 0x0302, 0x0301), 0x0303, "TLS 1.3"),
        ((0xFAFA, 0x0303), 0x0303, "TLS 1.2"),
        ((0x7F1C, 0x0304), 0x0303, "TLS 1.3"),
        ((0x7F1C, 0x0A0A), 0x0303, "0x7F1C"),
        ((0x0A0A,), 0x0303, "GREASE_0x0A0A"),
        ((), 0x0300, "SSL 3.0"),
        ((), 0x0301, "TLS 1.0"),
        ((), 0x0303, "TLS 1.2"),
        ((), 0x0304, "TLS 1.2"),  # RFC 8446 4.2.1: without the extension no more than that
        ((), 0x03FF, "TLS 1.2"),
    ],
)
def test_the_clients_version_is_the_highest_that_it_offers(versions: tuple[int, ...], legacy: int, name: str) -> None:
    parts = [supported_versions(*versions)] if versions else []
    hello = decode(client_hello(client_body(*parts, legacy=legacy)))
    assert isinstance(hello, ClientHello)
    assert hello.version == name


HOSTILE = [
    (b"a\nb", "a\\x0ab"),
    (b"\x1b[2Jx", "\\x1b[2Jx"),
    (b"nul\x00.test", "nul\\x00.test"),
    (b"\xff\xfe", "\\xff\\xfe"),
    ("\u202egpj.exe".encode(), "\\u202egpj.exe"),
]


@pytest.mark.parametrize(("raw", "shown"), HOSTILE)
def test_hostile_names_are_escaped(raw: bytes, shown: str) -> None:
    hello = decode(client_hello(client_body(server_name(raw), alpn(raw))))
    assert isinstance(hello, ClientHello)
    assert (hello.sni, hello.alpn) == (shown, (shown,))


def test_a_name_that_is_no_host_name_is_left_out() -> None:
    other = extension(SERVER_NAME, sized(b"\x07" + sized(b"else")))
    both = extension(SERVER_NAME, sized(b"\x07" + sized(b"else") + b"\x00" + sized(b"a.test")))
    for part, sni in ((other, None), (both, "a.test")):
        hello = decode(client_hello(client_body(part)))
        assert isinstance(hello, ClientHello)
        assert hello.sni == sni


BODY = client_body(server_name(b"a.test"), alpn(b"h2"), supported_versions(0x0304))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\x17" + client_hello(BODY)[1:], id="application data"),
        pytest.param(b"\x16\x02" + client_hello(BODY)[2:], id="major version 2"),
        pytest.param(records(message(3, BODY)), id="another handshake message"),
        pytest.param(
            records(message(1, BODY)[:50]) + b"\x15\x03\x03\x00\x02\x01\x00" + records(BODY), id="an alert within"
        ),
        pytest.param(b"\x16\x03\x01\x40\x01" + message(1, BODY) + bytes(17000), id="a record over 16 KiB"),
        pytest.param(client_hello(BODY[:34] + b"\x21" + BODY[35:]), id="a session id of 33 bytes"),
        pytest.param(client_hello(client_body(suites=())), id="no cipher suite"),
        pytest.param(client_hello(BODY[:35] + sized(b"\x13\x01\x13") + b"\x01\x00"), id="half a cipher suite"),
        pytest.param(client_hello(BODY[:35] + sized(b"\x13\x01") + b"\x00"), id="no compression method"),
        pytest.param(client_hello(BODY[:35] + b"\xff\xfe" + BODY[37:]), id="cipher suites beyond the end"),
        pytest.param(client_hello(BODY + b"\x00"), id="a byte behind the extensions"),
        pytest.param(client_hello(BODY[:-1]), id="extensions beyond the end"),
        pytest.param(client_hello(BODY[:20]), id="a hello of 20 bytes"),
        pytest.param(client_hello(b""), id="an empty hello"),
        pytest.param(client_hello(client_body(b"\x00\x05\x00\x09ab")), id="an extension beyond the end"),
        pytest.param(client_hello(client_body(b"\x00\x10\x00\x09ab")), id="an ALPN extension beyond the end"),
        pytest.param(client_hello(client_body(b"\x00\x05\x00")), id="half an extension header"),
        pytest.param(client_hello(client_body(server_name(b"a"), server_name(b"b"))), id="two server_name extensions"),
        pytest.param(client_hello(client_body(extension(0, b""))), id="an empty server_name extension"),
        pytest.param(client_hello(client_body(extension(0, b"\x00\x00"))), id="no server name"),
        pytest.param(
            client_hello(client_body(extension(0, sized(b"\x00\x00\x09a.test")))), id="a name beyond its list"
        ),
        pytest.param(
            client_hello(client_body(extension(0, sized((b"\x00" + sized(b"a.test")) * 2)))), id="two host names"
        ),
        pytest.param(client_hello(client_body(extension(16, b"\x00\x05\x02h2"))), id="a protocol list beyond its end"),
        pytest.param(client_hello(client_body(extension(16, sized(b"\x00")))), id="an empty protocol"),
        pytest.param(client_hello(client_body(extension(16, sized(b"\x03h2")))), id="a protocol beyond its list"),
        pytest.param(client_hello(client_body(extension(43, b"\x03\x03\x04\x03"))), id="half a version"),
        pytest.param(client_hello(client_body(extension(43, b"\x00"))), id="no version"),
        pytest.param(client_hello(client_body(extension(43, b""))), id="an empty supported_versions"),
        pytest.param(client_hello(client_body(numbers(10))), id="no group"),
        pytest.param(client_hello(client_body(extension(10, b"\x00\x03\x00\x1d\x00"))), id="half a group"),
        pytest.param(client_hello(client_body(extension(11, b"\x02\x00"))), id="point formats beyond their end"),
        pytest.param(client_hello(client_body(numbers(13))), id="no signature algorithm"),
        pytest.param(client_hello(client_body(extension(ECH, b""), extension(ECH, b""))), id="two ECH extensions"),
        pytest.param(server_hello(server_body(extension(43, b"\x03"))), id="half a version of the server"),
        pytest.param(server_hello(server_body(extension(43, b"\x02\x03\x04"))), id="a list of versions of the server"),
        pytest.param(server_hello(server_body()[:-2]), id="a server hello that ends in its cipher suite"),
        pytest.param(server_hello(server_body()[:-1]), id="a server hello without a compression method"),
        pytest.param(server_hello(server_body(session_id=bytes(33))), id="a server's session id of 33 bytes"),
    ],
)
def test_a_broken_hello_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        decode(payload)


def test_offers_that_repeat_are_one_object_from_the_second_on_and_others_are_not() -> None:
    said = (server_name(b"a.test"), alpn(b"h2"))
    hellos = [
        decode(client_hello(client_body(*said, key_share(fresh * 32), random=fresh * 32, session_id=fresh * 32)))
        for fresh in (b"1", b"2", b"3", b"4")
    ]
    other = decode(client_hello(client_body(server_name(b"b.test"), said[1], key_share(b"2" * 32))))
    assert hellos[0] == hellos[1]
    assert hellos[1] is hellos[2] is hellos[3]
    assert isinstance(other, ClientHello)
    assert other.sni == "b.test"


def test_hellos_that_differ_in_the_host_alone_share_what_was_made_of_the_rest() -> None:
    offer = (alpn(b"h2"), supported_versions(0x0304), numbers(10, 29), key_share(bytes(32)))
    hosts = [b"a.test", b"b.test", b"c.test", b"d.test"] * 2
    told = [decode(client_hello(client_body(server_name(host), *offer))) for host in hosts]
    assert [hello.sni for hello in told] == [host.decode() for host in hosts]  # type: ignore[union-attr] # ClientHellos
    assert len({id(hello.client) for hello in told[4:]}) == 1  # type: ignore[union-attr]
    without = decode(client_hello(client_body(*offer)))
    assert isinstance(without, ClientHello)
    assert (without.sni, without.client == told[4].client) == (None, False)  # type: ignore[union-attr] # JA4 differs


def test_hellos_whose_extensions_are_shuffled_are_not_kept() -> None:
    chance = random.Random(4)
    parts = [server_name(b"a.test"), alpn(b"h2"), supported_versions(0x0304), key_share(bytes(32)), numbers(10, 29)]
    parts += [extension(kind, bytes(kind)) for kind in (5, 18, 23, 27, 35, 45)]
    orders = [chance.sample(parts, len(parts)) for _ in range(200)]
    told = [decode(client_hello(client_body(*order))) for order in orders]
    assert all(isinstance(hello, ClientHello) and hello.sni == "a.test" for hello in told)
    assert client_hello_module._hellos.count < len(told) // 10


def test_what_is_kept_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_hellos", "_clients"):
        monkeypatch.setattr(client_hello_module, name, Kept(1 << 20, attrgetter("size")))
    monkeypatch.setattr(client_hello_module, "_layouts", Kept(1 << 17, lambda _layout: 1000))
    tracemalloc.start()
    for number in range(1000):
        offer = client_body(server_name(b"%0200d" % number), key_share(bytes(32)), suites=range(number, number + 100))
        assert [decode(client_hello(offer)).sni for _ in range(3)] == [f"{number:0200}"] * 3  # type: ignore[union-attr] # ClientHellos
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < client_hello_module._hellos.count < 500
    assert held < 4 << 20


def test_a_hello_made_to_look_like_a_known_one_is_told_as_itself() -> None:
    share = key_share(bytes(32))
    known = client_body(server_name(b"a.test"), share)
    elsewhere = client_body(share, server_name(b"b.test"))  # as long, and with its key share at another place
    at = known.index(server_name(b"a.test")) + 4
    behind = known[at : 4 - len(share)]  # less what stands there in `elsewhere`, the next one is what `known` says
    fill = bytes(len(share) - 4 - 11 - 4)
    posing = known[:at] + server_name(b"c.test")[4:] + extension(5, fill + behind)[:4] + fill + behind
    assert len(posing) == len(known) == len(elsewhere)
    assert [decode(client_hello(known)).sni for _ in range(3)] == ["a.test"] * 3  # type: ignore[union-attr] # ClientHellos
    assert client_hello_module._hellos.count == 1
    assert [decode(client_hello(body)).sni for body in (elsewhere, posing)] == ["b.test", "c.test"]  # type: ignore[union-attr]
    for known_now in (elsewhere, posing):
        assert len({decode(client_hello(known_now)).sni for _ in range(3)}) == 1  # type: ignore[union-attr]
        assert [decode(client_hello(body)).sni for body in (known, elsewhere, posing)] == ["a.test", "b.test", "c.test"]  # type: ignore[union-attr]


@given(offers(), offers(), st.data())
def test_what_was_seen_before_never_changes_what_a_hello_says(
    one: tuple[bytes, Offered], other: tuple[bytes, Offered], data: st.DataObject
) -> None:
    damaged = bytearray(one[0])
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    spliced = bytes(damaged)
    at = data.draw(st.integers(0, min(len(spliced), len(other[0]))))
    payloads = [client_hello(body) for body in (one[0], other[0], spliced, spliced[:at] + other[0][at:])]
    payloads = [payload for payload in payloads for _ in range(3)] + payloads
    warm = [outcome(payload) for payload in payloads]
    cold = []
    for payload in payloads:
        forget()
        cold.append(outcome(payload))
    assert warm == cold


@given(st.binary(max_size=400))
def test_random_bytes_are_a_hello_of_safe_text_or_malformed_or_cut(junk: bytes) -> None:
    behind = b"\x16\x03\x01\x02\x00\x01\x00\x01\xf0\x03\x03" + bytes(32) + b"\x00\x00\x02\x13\x01\x01\x00"
    for payload in (junk, b"\x16\x03\x01" + junk, client_hello(junk), server_hello(junk), behind + junk):
        hello = outcome(payload)
        if not isinstance(hello, type):
            assert_safe(hello)


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_real_hello_damaged_anywhere_is_a_hello_of_safe_text_or_malformed_or_cut(pem: Path, side: str) -> None:
    peers = Peers(pem, lowest=V.TLSv1_3, highest=V.TLSv1_3)
    (payload,) = handshake(peers.client, peers.server, "www.a.test").hellos(side)
    for at in range(len(payload)):
        for value in (0, 0xFF, payload[at] ^ 0x80, (payload[at] + 1) % 256, (payload[at] - 1) % 256):
            hello = outcome(payload[:at] + bytes([value]) + payload[at + 1 :])
            if not isinstance(hello, type):
                assert_safe(hello)
