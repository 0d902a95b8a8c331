"""Which proxy a server is reached by: HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment, as curl and boto3 do."""

from __future__ import annotations

import urllib.request
from urllib.parse import SplitResult, urlsplit

from ingrain.backends.urls import parse_url


def proxy_of(uri: SplitResult, *schemes: str) -> SplitResult | None:
    """The proxy that this server is reached by, by one of these schemes; None where it is reached without.

    Raises ValueError, which tells no password, for what is no URL of a proxy.
    """
    address = urllib.request.getproxies().get(uri.scheme, "")
    if not address or urllib.request.proxy_bypass(uri.hostname or ""):
        return None
    forms = " or ".join(f"{scheme}://HOST:PORT" for scheme in schemes)
    expected = f"{uri.scheme.upper()}_PROXY in the environment: expected {forms}, with a user where there is one"
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        parse_url(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", expected)
    except ValueError:  # which may tell its password
        raise ValueError(expected) from None
    if parts.scheme not in schemes:
        raise ValueError(f"{expected}; no other way to a proxy is known here")
    return parts
