"""HTTP/2 for calls, HTTP/1.1 for WebSockets, behind one `httpx.AsyncClient`.

HTTP/2 has no Upgrade, so a client with ``http2=True`` cannot open a WebSocket where the server
speaks HTTP/2. A transport that looks at each request can. Needs ``pip install 'httpx[http2]'``.
"""

from __future__ import annotations

import ssl

import anyio
import httpx

from rivet_anyio import Client


class Http2ForCalls(httpx.AsyncBaseTransport):
    """Sends WebSocket handshakes over HTTP/1.1, everything else over HTTP/2 where there is any."""

    def __init__(self, verify: ssl.SSLContext | bool = True) -> None:
        limits = httpx.Limits(max_connections=None)
        self._calls = httpx.AsyncHTTPTransport(verify=verify, http2=True, limits=limits)
        self._sockets = httpx.AsyncHTTPTransport(verify=verify, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        transport = self._sockets if "upgrade" in request.headers else self._calls
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        await self._calls.aclose()
        await self._sockets.aclose()


async def main() -> None:
    async with httpx.AsyncClient(transport=Http2ForCalls()) as http, Client(http=http) as client:
        counter = client.counter.get_or_create("http2")
        print("a call:", await counter.increment())
        async with counter.connect() as conn:
            print("a connection:", await conn.increment())


if __name__ == "__main__":
    anyio.run(main)
