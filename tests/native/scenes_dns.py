"""DNS scenes: what dig, dnsmasq, systemd-resolved and avahi send each other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from record import FOUR, SIX, Lacking, Scene, Stage

PORT, BEHIND = 53, 54
UNPACKED = Path(__file__).parents[2] / ".cache" / "debian"  # by tests/native/install.sh

_SENTENCE = "there is more of it than a datagram of old takes; "
_RECORDS = {
    2: "026e73 01610474657374 00",  # NS
    6: "026e73 01610474657374 00 04686f7374 01610474657374 00 00000001 00000e10 00000258 00015180 00000e10",  # SOA
    10: "41ff00",  # NULL
    13: "03414d44 054c696e7578",  # HINFO
    29: "00121613 80000000 70000000 00989680",  # LOC
    39: "0162 0474657374 00",  # DNAME
    43: "1234 08 02 01020304",  # DS
    44: "01 01 0102030405060708090a0b0c0d0e0f1011121314",  # SSHFP
    52: "03 01 01 0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",  # TLSA
    64: "0000 03777777 01610474657374 00",  # SVCB
    65: "0001 00 0001 0003 026832 0004 0004 c0000201",  # HTTPS: alpn, ipv4hint
}
"""Types that dnsmasq has no option for, with their data as on the wire."""

_ZONE = (
    "--local=/test/", "--local-ttl=3600",
    "--host-record=www.a.test,192.0.2.1,2001:db8::1", "--host-record=www.a.test,192.0.2.2",
    "--cname=alias.a.test,www.a.test", "--cname=alias2.a.test,alias.a.test", "--host-record=short.a.test,192.0.2.3,5",
    "--mx-host=a.test,mail.a.test,10", "--mx-host=a.test,mail2.a.test,20", "--txt-record=empty.a.test",
    '--txt-record=a.test,one,two words,"quoted",back\\slash', "--srv-host=_s._tcp.a.test,www.a.test,389,5,7",
    "--ptr-record=1.2.0.192.in-addr.arpa,www.a.test", "--naptr-record=a.test,100,10,u,E2U+sip,!^.*$!sip:x@a.test!",
    "--caa-record=a.test,0,issue,ca.test",
    "--dns-rr=odd.a.test,65280,0a000001", "--dns-rr=empty.a.test,65281",
    *(f"--dns-rr=a.test,{kind},{data.replace(' ', '')}" for kind, data in _RECORDS.items()),
    *(f"--txt-record=long.a.test,{number}: {_SENTENCE * 4}" for number in range(8)),
)  # fmt: skip

_QUESTIONS = (
    "www.a.test A", "www.a.test AAAA", "WwW.a.TeSt A", "alias.a.test A", "alias2.a.test AAAA", "short.a.test A",
    "a.test MX", "a.test TXT", "empty.a.test TXT", "_s._tcp.a.test SRV", "1.2.0.192.in-addr.arpa PTR", "a.test NAPTR",
    "a.test CAA", "a.test HTTPS", "a.test SVCB", "a.test SSHFP", "a.test TLSA", "a.test DS", "a.test HINFO",
    "a.test LOC", "a.test DNAME", "a.test NULL", "a.test NS", "a.test SOA", "odd.a.test TYPE65280",
    "empty.a.test TYPE65281", "a.test TYPE54321", "a.test NSEC3PARAM", "www.a.test ANY", "nothing.test A",
    "refused.example A", ". NS", "version.bind CH TXT", "a\\.b.test A", "sp\\032ace.test A", "\\228\\246.test A",
    "x" * 63 + "." + "y" * 63 + ".test A", "long.a.test TXT",
)  # fmt: skip


def _serve(stage: Stage, *options: str, port: int = PORT) -> None:
    stage.need("dnsmasq")
    stage.start(
        "dnsmasq", "-k", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root", "--pid-file=",
        f"--port={port}", f"--listen-address={FOUR},{SIX}", "--bind-interfaces", *_ZONE, *options,
    )  # fmt: skip
    stage.listening(port)


def udp(stage: Stage) -> None:
    """All kinds of records, errors, options of EDNS, and answers that are truncated, after which dig asks over TCP."""
    stage.need("dig")
    _serve(stage)
    for question in _QUESTIONS:
        stage.run("dig", f"@{FOUR}", "+tries=1", *question.split())
    for options in (
        "+noedns", "+dnssec", "+bufsize=512", "+nsid +subnet=192.0.2.0/24", "+ednsopt=65001:beef", "+padding=128",
        "+norecurse +nocookie", "+cdflag +adflag", "+bufsize=4096 +ignore", "+edns=100 +noednsnegotiation",
    ):  # fmt: skip
        for question in ("www.a.test A", "long.a.test TXT"):
            stage.run("dig", f"@{SIX}", "+tries=1", *options.split(), *question.split())


def tcp(stage: Stage) -> None:
    """One message, several one after the other, and several at once over a connection, and a zone's transfer."""
    stage.need("dig", "mdig")
    _serve(stage)
    for question in _QUESTIONS:
        stage.run("dig", f"@{FOUR}", "+tcp", "+tries=1", *question.split())
    questions = [word for question in _QUESTIONS[:24] for word in question.split()]
    stage.run("dig", f"@{SIX}", "+tcp", "+keepopen", *questions)
    several = [word for question in _QUESTIONS[:24] for word in ("-t", question.split()[-1], question.split()[0])]
    stage.run("mdig", f"@{FOUR}", "+tcp", *several)
    zone = ("--auth-server=ns.zone.test,lo", "--auth-zone=zone.test", "--auth-sec-servers=ns2.zone.test")
    _serve(stage, *zone, *(f"--host-record=host{n}.zone.test,192.0.2.{n}" for n in range(1, 200)), port=BEHIND)
    stage.run("dig", f"@{FOUR}", "-p", str(BEHIND), "zone.test", "AXFR")


def resolved(stage: Stage) -> None:
    """A stub resolver on the way: what dig asks it, what it asks the server, and the answers of both."""
    stage.need("dig", "dnsmasq", "ip")
    program = _unpacked("lib/systemd/systemd-resolved", "systemd-resolved")
    stage.own_etc()
    _add_user("systemd-resolve")
    for folder in ("/etc/systemd", "/run/systemd"):
        Path(folder).mkdir(exist_ok=True)
    Path("/etc/systemd/resolved.conf").write_text(
        f"[Resolve]\nDNS={FOUR}:{BEHIND}\nDNSSEC=no\nLLMNR=no\nMulticastDNS=no\n"
    )
    for command in (  # without a link that leads anywhere it asks nobody
        "link add outer type veth peer name inner", "addr add 192.0.2.100/24 dev outer", "link set outer up",
        "link set inner up", "route add default via 192.0.2.254 dev outer",
    ):  # fmt: skip
        subprocess.run(["ip", *command.split()], check=True)
    _serve(stage, port=BEHIND)
    stage.start(program, **_libraries())
    stage.listening(PORT, "127.0.0.53")
    for question in _QUESTIONS:
        stage.run("dig", "@127.0.0.53", "+tries=1", *question.split())
    stage.run("dig", "@127.0.0.53", "+tries=1", "+edns=100", "+noednsnegotiation", *_QUESTIONS[0].split())
    stage.run("dig", "@127.0.0.53", "+tcp", "+keepopen", *_QUESTIONS[0].split(), *_QUESTIONS[6].split())


def multicast(stage: Stage) -> None:
    """A host and its services that announce themselves, and questions by multicast that are answered by unicast."""
    stage.need("dig", "ip")
    program = _unpacked("usr/sbin/avahi-daemon", "avahi-daemon")
    stage.own_etc()
    _add_user("avahi")
    services = Path("/etc/avahi/services")
    services.mkdir(parents=True, exist_ok=True)
    for folder in (services, Path("/run/avahi-daemon")):
        folder.mkdir(parents=True, exist_ok=True)
    Path("/etc/avahi/avahi-daemon.conf").write_text(
        "[server]\nhost-name=printer\nallow-interfaces=lo\nenable-dbus=no\n"
        "[publish]\npublish-workstation=yes\npublish-hinfo=yes\n"
    )
    (services / "ipp.service").write_text(
        "<?xml version='1.0'?><!DOCTYPE service-group SYSTEM 'avahi-service.dtd'>\n"
        "<service-group><name>B\u00fccher &amp; Bilder</name><service><type>_ipp._tcp</type>"
        "<subtype>_color._sub._ipp._tcp</subtype><port>631</port><txt-record>rp=ipp/print</txt-record>"
        "<txt-record>note=two words</txt-record></service></service-group>\n"
    )
    for command in (
        "link set lo multicast on", "addr add 192.0.2.100/24 dev lo", "route add 224.0.0.0/4 dev lo src 192.0.2.100",
    ):  # fmt: skip
        subprocess.run(["ip", *command.split()], check=True)
    daemon = stage.start(program, "--no-drop-root", "--no-chroot", "--no-rlimits", **_libraries())
    stage.says(daemon, b"successfully established")
    ask = ("dig", "@224.0.0.251", "-p", "5353", "+tries=1", "+time=2")
    questions = ("printer.local A", "printer.local AAAA", "_ipp._tcp.local PTR", "no.local A", "printer.local HINFO")
    stage.together(*((*ask, *question.split()) for question in questions))
    daemon.terminate()  # says goodbye: RFC 6762 10.1
    daemon.wait()


def _unpacked(path: str, package: str) -> Path:
    """A daemon that is installed, or unpacked beside the tests."""
    for root in (Path("/"), UNPACKED):
        if (root / path).exists():
            return root / path
    raise Lacking(f"{package}; tests/native/install.sh unpacks it")


def _libraries() -> dict[str, str]:
    folder = UNPACKED / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
    return {"LD_LIBRARY_PATH": f"{folder}:{folder / 'systemd'}"}


def _add_user(name: str) -> None:
    """Whom a daemon looks for when it starts."""
    for file, line in (("passwd", f"{name}:x:990:990::/:/usr/sbin/nologin"), ("group", f"{name}:x:990:")):
        path = Path("/etc", file)
        text = path.read_text()
        if f"\n{name}:" not in text:
            path.write_text(f"{text}{line}\n")


SCENES: dict[str, Scene] = {"dns-udp": udp, "dns-tcp": tcp, "dns-resolved": resolved, "dns-multicast": multicast}
