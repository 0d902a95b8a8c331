"""TLS scenes: the libraries that most programs use, as clients and as servers, with what their options can vary."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

from record import FOUR, SIX, Lacking, Scene, Stage

CACHE = Path(__file__).parents[2] / ".cache"
_WEAK = ("-cipher", "ALL:@SECLEVEL=0")
_GET = b"GET / HTTP/1.0\r\n\r\n"

_OPENSSL = (
    "", "-servername a.test -alpn h2,http/1.1", "-noservername", "-tls1_3", "-tls1_2 -servername a.test",
    "-tls1 -cipher DEFAULT:@SECLEVEL=0", "-tls1_1 -cipher ALL:@SECLEVEL=0 -alpn x", "-no_ticket -alpn spdy/3",
    "-groups P-384:X25519", "-groups ffdhe2048:P-256 -tls1_3", "-sigalgs RSA+SHA256:ECDSA+SHA384 -noservername",
    "-ciphersuites TLS_CHACHA20_POLY1305_SHA256 -cipher AES256-SHA", "-legacy_renegotiation -comp -status",
    "-psk_identity me -psk 0011 -no_tls1_3", "-curves P-521 -servername xn--bcher-kva.test -nextprotoneg h2",
    "-servername " + "a" * 60 + ".test -max_protocol TLSv1.2", "-ct", "-no_middlebox -servername plain.test",
    "-alpn " + ",".join(f"protocol-{number:03}-{'x' * 30}" for number in range(60)),
)  # fmt: skip


def _serve(stage: Stage, port: int, *options: str) -> None:
    stage.start("openssl", "s_server", "-accept", f"*:{port}", "-cert", stage.certificate(), *options)
    stage.listening(port)


def _clients(address: str, *options: str) -> Iterator[list[str]]:
    for one in options:
        yield ["openssl", "s_client", "-connect", address, *one.split()]


def openssl(stage: Stage) -> None:
    """s_client with its options; three servers: one takes all, one asks for another key share, one is of TLS 1.2."""
    _serve(stage, 4431, "-www", *_WEAK, "-alpn", "h2,http/1.1")
    _serve(stage, 4432, "-www", "-groups", "P-521:P-256", "-alpn", "http/1.1")
    _serve(stage, 4433, "-www", "-tls1_2", "-no_ticket")
    for port, host in ((4431, FOUR), (4432, f"[{SIX}]"), (4433, FOUR)):
        stage.together(*_clients(f"{host}:{port}", *_OPENSSL))


def resumption(stage: Stage) -> None:
    """Sessions that are taken up again, by session id, by ticket, by pre-shared key, and with early data."""
    _serve(stage, 4431, "-early_data")
    _serve(stage, 4432, "-tls1_2", "-no_ticket")
    early = stage.folder / "early"
    early.write_bytes(_GET)
    for port, version in ((4431, "-tls1_3"), (4431, "-tls1_2"), (4432, "-tls1_2")):
        client = f"openssl s_client -connect {FOUR}:{port} {version} -servername again.test"
        session = stage.folder / f"session-{port}{version}"
        kept = f"for i in $(seq 600); do [ -s {session} ] && break; sleep 0.1; done"  # the ticket may come later
        for options in (f"-sess_out {session}", f"-sess_in {session}", f"-sess_in {session} -early_data {early}"):
            stage.run("sh", "-c", f"({kept}; sleep 0.2; echo Q) | {client} {options}")


def gnutls(stage: Stage) -> None:
    """gnutls-cli against its own server and against OpenSSL's, and OpenSSL against gnutls-serv."""
    stage.need("gnutls-cli", "gnutls-serv")
    pem = stage.certificate()
    stage.start(
        "gnutls-serv", "--echo", "--port", "4431", "--x509keyfile", pem, "--x509certfile", pem,
        "--priority", "NORMAL:+VERS-TLS1.0:+VERS-TLS1.1:%COMPAT", "--alpn", "h2", "--alpn", "http/1.1",
    )  # fmt: skip
    stage.listening(4431)
    _serve(stage, 4432, "-www", "-groups", "P-384", *_WEAK)
    for port in (4431, 4432):
        for priority in (
            "NORMAL", "SECURE256", "NORMAL:-VERS-TLS1.3", "PERFORMANCE:%COMPAT", "NORMAL:-GROUP-ALL:+GROUP-X25519",
            "NORMAL:-VERS-ALL:+VERS-TLS1.0:%COMPAT", "NORMAL:-VERS-ALL:+VERS-TLS1.1",
            "LEGACY:%NO_EXTENSIONS:-VERS-TLS1.3",
            "NORMAL:-KX-ALL:+RSA:-VERS-TLS1.3", "NORMAL:-SIGN-ALL:+SIGN-RSA-PSS-RSAE-SHA512:+SIGN-RSA-SHA256",
        ):  # fmt: skip
            client = ("gnutls-cli", "--insecure", "-p", str(port), "--priority", priority)
            named = (*client, "--alpn", "h2", "--sni-hostname", "gnutls.test", FOUR)
            stage.together(named, (*client, "--disable-sni", FOUR))
    stage.run("gnutls-cli", "--insecure", "-p", "4431", "--resume", "--sni-hostname", "again.test", FOUR)
    stage.together(*_clients(f"{FOUR}:4431", *_OPENSSL[:8]))


def curl(stage: Stage) -> None:
    """curl with OpenSSL, and what browsers offer: GREASE, ECH, post-quantum keys in hellos over several segments."""
    stage.need("curl")
    requests = stage.browsers().requests
    _serve(stage, 443, "-www", *_WEAK, "-alpn", "http/1.1")
    stage.own_etc()
    Path("/etc/hosts").write_text(f"{FOUR} curl.test\n")
    for options in (
        "", "--http1.1", "--tls-max 1.2", "--ciphers ECDHE-RSA-AES128-GCM-SHA256", "--no-alpn",
        "--tls-max 1.1 --ciphers ALL:@SECLEVEL=0",
    ):  # fmt: skip
        stage.run("curl", "-sk", "-m", "60", *options.split(), "https://curl.test/")
    for browser in (
        "chrome99", "chrome110", "chrome120", "chrome131", "chrome136", "edge101", "firefox133", "firefox135",
        "safari153", "safari170", "safari180", "tor145",
    ):  # fmt: skip
        with contextlib.suppress(requests.exceptions.RequestException):
            requests.get("https://curl.test/", impersonate=browser, verify=False, timeout=60)


def go(stage: Stage) -> None:
    """Go's client and server, whose hellos have post-quantum keys, if this Go is of 2025 or later."""
    program = CACHE / "bin" / "tls_peer"
    if not program.exists():
        raise Lacking("Go's client; tests/native/install.sh builds it")
    stage.start(program, "-serve", f"{FOUR}:4431", stage.certificate(), GODEBUG="tls10server=1")
    stage.listening(4431)
    _serve(stage, 4432, "-www", "-groups", "P-521:P-384", *_WEAK)
    for port in (4431, 4432):
        stage.run(program, f"{FOUR}:{port}")
    stage.together(*_clients(f"{FOUR}:4431", *_OPENSSL[:10]))


_NODE = """
const tls = require('tls'), fs = require('fs'), pem = fs.readFileSync(process.argv[1])
const server = tls.createServer({key: pem, cert: pem, ALPNProtocols: ['h2', 'http/1.1'], minVersion: 'TLSv1',
    ciphers: 'DEFAULT:@SECLEVEL=0'}, socket => socket.end('hello'))
const offers = [{}, {servername: 'node.test'}, {servername: 'node.test', ALPNProtocols: ['h2']},
    {maxVersion: 'TLSv1.2', servername: 'two.node.test'}, {ecdhCurve: 'P-384'}, {servername: 'mine.node.test',
    ciphers: 'ECDHE-RSA-AES256-GCM-SHA384', maxVersion: 'TLSv1.2'}, {minVersion: 'TLSv1', maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT:@SECLEVEL=0'}, {sigalgs: 'rsa_pss_rsae_sha256:RSA+SHA512'}]
server.on('tlsClientError', () => 0)
server.listen(4431, '127.0.0.1', async () => {
    for (const offer of offers)
        await new Promise(done => tls.connect({host: '127.0.0.1', port: 4431, rejectUnauthorized: false, ...offer})
            .on('error', done).on('close', done).resume())
    await fetch('https://127.0.0.1:4431/').catch(() => 0)
    process.exit()
})
"""


def node(stage: Stage) -> None:
    """Node's client and server in one process, and what its fetch does."""
    stage.need("node")
    stage.run("node", "-e", _NODE, stage.certificate())


def python(stage: Stage) -> None:
    """Python's ssl with what its contexts can vary."""
    _serve(stage, 4431, "-www", *_WEAK, "-alpn", "h2,http/1.1")
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(6)]
    contexts[1].set_alpn_protocols(["http/1.1", "h2"])
    contexts[2].maximum_version = ssl.TLSVersion.TLSv1_2
    contexts[3].set_ecdh_curve("secp384r1")
    contexts[4].set_ciphers("ECDHE-RSA-AES256-GCM-SHA384")
    contexts[5].options |= ssl.OP_NO_TICKET
    for context in contexts:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        for name in ("python.test", "b\u00fccher.test", None):
            with (
                socket.create_connection((FOUR, 4431), timeout=60) as plain,
                context.wrap_socket(plain, server_hostname=name) as secured,
            ):
                secured.sendall(_GET)
                secured.recv(1)


def nss(stage: Stage) -> None:
    """NSS, which Firefox has: its client and its server."""
    stage.need("tstclnt", "selfserv", "certutil", "pk12util")
    pem, store, bundle = stage.certificate(), stage.folder / "nss", stage.folder / "bundle.p12"
    store.mkdir()
    database = f"sql:{store}"
    stage.run("certutil", "-N", "-d", database, "--empty-password")
    stage.run("openssl", "pkcs12", "-export", "-in", pem, "-out", bundle, "-passout", "pass:", "-name", "a.test")
    stage.run("pk12util", "-i", bundle, "-d", database, "-W", "")
    stage.start("selfserv", "-d", database, "-n", "a.test", "-p", "4431", "-V", "tls1.0:tls1.3", "-Q", "-G")
    stage.listening(4431)
    _serve(stage, 4432, "-www", "-groups", "P-384", *_WEAK)
    for port in (4431, 4432):
        for options in (
            "-V tls1.0:tls1.3", "-V tls1.2:tls1.3 -a nss.test", "-V tls1.2:tls1.2 -a two.nss.test", "-V tls1.0:tls1.1",
            "-V tls1.3:tls1.3 -I P384,P256", "-V tls1.2:tls1.3 -I x25519,ff2048 -G", "-V tls1.2:tls1.3 -H 0 -u -T -U",
            "-V tls1.2:tls1.3 -J rsa_pss_rsae_sha256,rsa_pkcs1_sha256", "-V tls1.2:tls1.3 -g -a padded.nss.test",
        ):  # fmt: skip
            stage.run("tstclnt", "-d", database, "-h", FOUR, "-p", str(port), "-o", "-Q", *options.split(), said=_GET)


SCENES: dict[str, Scene] = {
    "tls-openssl": openssl, "tls-resumption": resumption, "tls-gnutls": gnutls, "tls-curl": curl, "tls-go": go,
    "tls-node": node, "tls-python": python, "tls-nss": nss,
}  # fmt: skip
