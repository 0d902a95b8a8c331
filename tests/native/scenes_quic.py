"""QUIC scenes: aioquic's clients and curl with HTTP/3, at a server that answers, or has them prove their address."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from aioquic.tls import CipherSuite
from quic_peer import V1, V2, Client, serving
from record import FOUR, SIX, Scene, Stage

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
    """HTTP/3 as browsers have it, with hellos over several packets, in many small frames in any order."""
    curl = stage.browsers()
    pem = stage.certificate()
    stage.own_etc()
    Path("/etc/hosts").write_text(f"{FOUR} curl.test\n")

    async def visit() -> None:
        async with serving(pem, FOUR, PORT):
            for browser in (None, "chrome131", "chrome136", "chrome145", "firefox147", "safari260"):
                with contextlib.suppress(curl.requests.exceptions.RequestException):
                    await asyncio.to_thread(
                        curl.requests.get, "https://curl.test/", impersonate=browser, verify=False, timeout=60,
                        http_version=curl.CurlHttpVersion.V3ONLY,
                    )  # fmt: skip

    asyncio.run(visit())


SCENES: dict[str, Scene] = {
    "quic-clients": clients, "quic-retry": retry, "quic-versions": versions, "quic-browsers": browsers,
}  # fmt: skip
