"""QUIC scenes: aioquic's clients and curl with HTTP/3, at a server that answers, or has them prove their address."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from quic_peer import V1, V2, Client, serving
from record import FOUR, SIX, Lacking, Scene, Stage

from aioquic.tls import CipherSuite

PORT = 443

_CLIENTS = (
    Client(),
    Client(name=None, protocols=("hq-interop", "h3")),
    Client(name="several.quic.test", protocols=("h3", "h3-29", "hq-interop")),
    Client(name="chacha.quic.test", ciphers=(CipherSuite.CHACHA20_POLY1305_SHA256,)),
    Client(name="two.quic.test", ciphers=(CipherSuite.AES_256_GCM_SHA384, CipherSuite.AES_128_GCM_SHA256)),
    Client(name="again.quic.test", again=True),
    Client(name="large.quic.test", protocols=("h3", *(f"protocol-{number}" for number in range(250)))),
)
_VERSIONS = (
    Client(name="v2.quic.test", version=V2, versions=(V2,)),
    Client(name="upgrade.quic.test", versions=(V2, V1)),  # begins with v1
)


def clients(stage: Stage) -> None:
    """QUIC v1 over IPv4 and IPv6; hellos over several packets, and sessions that are taken up again."""
    asyncio.run(_visit(stage.certificate(), *_CLIENTS))


def retry(stage: Stage) -> None:
    """Each client is sent a Retry first."""
    asyncio.run(_visit(stage.certificate(), *_CLIENTS, retry=True))


def versions(stage: Stage) -> None:
    """QUIC v2, from the first packet on or agreed on later."""
    asyncio.run(_visit(stage.certificate(), *_VERSIONS))


async def _visit(pem: Path, *clients: Client, retry: bool = False) -> None:
    for host in (FOUR, SIX):
        async with serving(pem, host, PORT, retry=retry):
            for client in clients:
                await client.visit(host, PORT)


def browsers(stage: Stage) -> None:
    """A curl with BoringSSL that offers over QUIC what browsers do: GREASE, ECH, post-quantum keys, many small frames."""
    try:
        from curl_cffi import requests  # noqa: PLC0415 - where it is missing, so is this scene
        from curl_cffi.const import CurlHttpVersion
    except ImportError:
        raise Lacking("curl_cffi (of the dev dependencies)") from None
    pem = stage.certificate()
    stage.own_etc()
    Path("/etc/hosts").write_text(f"{FOUR} curl.test\n")

    async def visit() -> None:
        async with serving(pem, FOUR, PORT):
            for browser in (None, "chrome131", "chrome136", "chrome145", "firefox147", "safari260"):
                try:
                    await asyncio.to_thread(
                        requests.get, "https://curl.test/", impersonate=browser, verify=False, timeout=3,
                        http_version=CurlHttpVersion.V3ONLY,
                    )  # fmt: skip
                except requests.exceptions.RequestException as error:
                    print(browser, error, file=sys.stderr)

    asyncio.run(visit())


SCENES: dict[str, Scene] = {
    "quic-clients": clients, "quic-retry": retry, "quic-versions": versions, "quic-browsers": browsers,
}  # fmt: skip
