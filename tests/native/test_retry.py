"""The second hellos after a HelloRetryRequest (RFC 8446 4.1.4), whatever order their segments come in."""

from __future__ import annotations

import ssl
import subprocess

import pytest
from frames import ACK, CLIENT, SERVER, SYN, Tape, pcap, tcp
from replaying import Replay, Replayed

CHANGE = bytes.fromhex("140303000101")  # the record that means nothing


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """What OpenSSL's client and server send by turns, where the server wants another group."""
    pem = tmp_path_factory.mktemp("retry") / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a.test", "-days", "1",
         "-keyout", pem, "-out", pem.with_suffix(".only")],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_text(pem.read_text() + pem.with_suffix(".only").read_text())
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE
    theirs.load_cert_chain(pem)
    theirs.set_ecdh_curve("secp521r1")
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        (ours.wrap_bio(to_client, to_server, server_hostname="a.test"), to_server),
        (theirs.wrap_bio(to_server, to_client, server_side=True), to_client),
    )
    sent = []
    for turn in range(4):
        side, sent_to = sides[turn % 2]
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
        sent.append(sent_to.read())
        sent_to.write(sent[-1])
    assert sent[1][5] == 2
    assert sent[2].startswith(CHANGE)
    return sent


def told(done: Replayed) -> tuple[list[str], int]:
    """Measurements of the records in the order of their packets, and how many packets were handed over."""
    probe = done.probe("TLS")
    assert probe["malformed"] == probe["cut"] == probe["unfinished"] == 0
    records = sorted(done.records, key=lambda one: one["timestamp"])
    return [record["measurement"].rpartition(".")[2] for record in records], probe["handed_over"]


class Talk:
    """A connection on a tape, whose segments acknowledge all that the other side sent."""

    def __init__(self) -> None:
        self.tape = Tape()
        self._next = [1000, 9000]
        for client in (True, False):
            self._segment(client, b"", self._next[not client], SYN | ACK)
            self._next[not client] += 1

    def say(self, *segments: bytes, client: bool, order: tuple[int, ...] = ()) -> None:
        """A flight in these segments; `order`: in which they are sent."""
        begins = [self._next[not client] + sum(map(len, segments[:number])) for number in range(len(segments))]
        for number in order or range(len(segments)):
            self._segment(client, segments[number], begins[number], ACK)
        self._next[not client] += sum(map(len, segments))

    def _segment(self, client: bool, payload: bytes, seq: int, flags: int) -> None:  # noqa: FBT001
        ends = (CLIENT, SERVER) if client else (SERVER, CLIENT)
        frame = tcp(*ends, payload, seq=seq, flags=flags)
        self.tape.add(frame[:42] + self._next[client].to_bytes(4) + frame[46:])


BOTH = ["clienthello", "serverhello"] * 2


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1), (0, 1, 0, 2, 1, 2)])
@pytest.mark.parametrize("cuts", [(100, 200), (len(CHANGE), 200)], ids=["record beside hello", "record alone"])
def test_hellos_after_a_retry_are_told_once(
    flights: list[bytes], order: tuple[int, ...], cuts: tuple[int, int], replay: Replay
) -> None:
    talk = Talk()
    first, retry, second, chosen = flights
    talk.say(first, client=True)
    talk.say(retry, client=False)
    talk.say(second[: cuts[0]], second[cuts[0] : cuts[1]], second[cuts[1] :], client=True, order=order)
    talk.say(chosen[:60], chosen[60:150], chosen[150:], client=False, order=order)
    assert told(replay(pcap(talk.tape.frames), "TLS"))[0] == BOTH


def test_the_record_and_the_hello_sent_again_as_one_segment_are_not_told_twice(
    flights: list[bytes], replay: Replay
) -> None:
    talk = Talk()
    first, retry, second, chosen = flights
    talk.say(first, client=True)
    talk.say(retry, client=False)
    record, hello = second[: len(CHANGE)], second[len(CHANGE) :]
    talk.say(record, hello, client=True)
    talk._next[0] -= len(second)
    talk.say(second, client=True)
    talk._next[0] -= len(second)
    talk.say(record, hello, client=True)
    talk.say(chosen, client=False)
    assert told(replay(pcap(talk.tape.frames), "TLS"))[0] == BOTH


def test_what_follows_a_retry_in_its_order_costs_no_more_packets(flights: list[bytes], replay: Replay) -> None:
    talk = Talk()
    first, retry, second, chosen = flights
    talk.say(first, client=True)
    talk.say(retry, client=False)
    talk.say(second[: len(CHANGE)], second[len(CHANGE) :], client=True)
    talk.say(chosen, client=False)
    data = bytes.fromhex("1703030400") + bytes(1024)
    for client in (True, False):
        talk.say(*[data] * 20, client=client)
        talk.say(*[b"\x17"] * 20, client=client)
    assert told(replay(pcap(talk.tape.frames), "TLS")) == (BOTH, 5)  # the four, and the record
