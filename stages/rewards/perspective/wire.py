"""One request over HTTP, in a bounded time and of a bounded size."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx

from stages.rewards.perspective.replies import Reply, Trouble
from stages.runtime.secret import Secret

PATH = "/v1alpha1/comments:analyze"
LARGEST_REPLY = 1 << 20
"""Bytes; a reply with scores of all attributes takes some thousand."""


def open_client(url: str, secret: Secret, concurrency: int, timeout_s: float) -> httpx.AsyncClient:
    """A client that keeps its connections. The key goes in a header, never in a URL."""
    return httpx.AsyncClient(
        base_url=url,
        headers={"X-Goog-Api-Key": secret.reveal()},
        timeout=httpx.Timeout(timeout_s, connect=timeout_s / 2),
        limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
    )


def request_body(text: str, asked: Sequence[str], languages: Sequence[str]) -> dict[str, Any]:
    """The body of an AnalyzeComment request. The service is told to store nothing."""
    body: dict[str, Any] = {
        "comment": {"text": text, "type": "PLAIN_TEXT"},
        "requestedAttributes": {name: {} for name in asked},
        "doNotStore": True,
    }
    return body | {"languages": list(languages)} if languages else body


async def send(client: httpx.AsyncClient, body: dict[str, Any], timeout_s: float) -> Reply:
    """Send one request. No whole reply within ``timeout_s`` raises Trouble, whatever the reason.

    The library's own time-outs are for each piece of a reply, so that a server that gives a byte
    now and then would never run into them.
    """
    try:
        async with asyncio.timeout(timeout_s), client.stream("POST", PATH, json=body) as response:
            pieces = bytearray()
            async for piece in response.aiter_bytes():
                pieces += piece
                if len(pieces) > LARGEST_REPLY:
                    raise Trouble("a reply without an end", True)
        return Reply(response.status_code, bytes(pieces), response.headers.get("Retry-After"))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise Trouble(f"no connection ({type(error).__name__})", False) from None
    except (TimeoutError, httpx.TimeoutException):
        raise Trouble("no reply in time", True) from None
    except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.DecodingError) as error:
        raise Trouble(f"connection broke off ({type(error).__name__})", True) from None
