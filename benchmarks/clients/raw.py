"""WebSocket libraries doing the same exchange of messages without the Rivet layer, and the floor.

The argument is the library: websockets, aiohttp, trio-websocket, httpx-ws, or socket, which is
nothing but blocking reads and writes. Replies are not decoded.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import anyio
import httpx
import httpx_ws
import trio_websocket
import websockets.asyncio.client
from websockets.speedups import apply_mask
from websockets.typing import Subprotocol

from benchmarks.clients._worker import Cost, Job, Meter, resident_kib, serve

_BIG = 64 * 1024 * 1024
_ECHO = b"\x02\x00\x00\x01\x04echo"
_SEVEN = b"\x02\x81\x07"


class Socket(Protocol):
    """One open WebSocket with whole binary messages."""

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> object: ...


Open = Callable[[str, list[str]], Any]
"""Opens a WebSocket for the length of a block."""


@asynccontextmanager
async def open_websockets(url: str, protocols: list[str]) -> AsyncGenerator[Socket]:
    class Adapter:
        def __init__(self, ws: websockets.asyncio.client.ClientConnection) -> None:
            self.send = ws.send
            self.receive = ws.recv

    async with websockets.asyncio.client.connect(
        url.replace("http", "ws", 1),
        subprotocols=[Subprotocol(name) for name in protocols],
        compression=None,
        max_size=_BIG,
        proxy=None,
    ) as ws:
        yield Adapter(ws)


@asynccontextmanager
async def open_aiohttp(url: str, protocols: list[str]) -> AsyncGenerator[Socket]:
    class Adapter:
        def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
            self.send = ws.send_bytes
            self.receive = ws.receive

    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=protocols, max_msg_size=_BIG) as ws,
    ):
        yield Adapter(ws)


@asynccontextmanager
async def open_trio_websocket(url: str, protocols: list[str]) -> AsyncGenerator[Socket]:
    class Adapter:
        def __init__(self, ws: trio_websocket.WebSocketConnection) -> None:
            self.send = ws.send_message
            self.receive = ws.get_message

    async with trio_websocket.open_websocket_url(
        url.replace("http", "ws", 1), subprotocols=protocols, max_message_size=_BIG
    ) as ws:
        yield Adapter(ws)


_CONTEXT = httpx.create_ssl_context()


@asynccontextmanager
async def open_httpx_ws(url: str, protocols: list[str]) -> AsyncGenerator[Socket]:
    class Adapter:
        def __init__(self, ws: httpx_ws.AsyncWebSocketSession) -> None:
            self.send = ws.send_bytes
            self.receive = ws.receive_bytes

    options: dict[str, Any] = {"subprotocols": protocols, "max_message_size_bytes": _BIG}
    async with httpx.AsyncClient(verify=_CONTEXT) as client:
        ws: httpx_ws.AsyncWebSocketSession
        async with httpx_ws.aconnect_ws(url, client, **options) as ws:
            yield Adapter(ws)


OPENERS: dict[str, tuple[Open, str]] = {
    "websockets": (open_websockets, "asyncio"),
    "aiohttp": (open_aiohttp, "asyncio"),
    "trio-websocket": (open_trio_websocket, "trio"),
    "httpx-ws": (open_httpx_ws, "asyncio"),
}


def subscription(job: Job) -> bytes:
    """The message that makes the stub send events, or the real server."""
    name = f"burst-{job.count}-{job.size}".encode()
    return b"\x02\x00\x01" + bytes((len(name),)) + name + b"\x01"


async def events(job: Job, opened: Callable[[], Any]) -> Cost:
    async with opened() as ws:
        await ws.receive()
        with Meter(job.count) as meter:
            await ws.send(subscription(job))
            for _ in range(job.count):
                await ws.receive()
    return meter.cost


async def server_events(job: Job, opened: Callable[[], Any]) -> Cost:
    async with opened() as ws:
        await ws.receive()
        await ws.send(b"\x02\x00\x01\x04tick\x01")
        number = b"\x19" + job.count.to_bytes(2, "big")
        args = b"\x82\x64tick" + number
        with Meter(job.count) as meter:
            await ws.send(b"\x02\x00\x00\x01\x08emitMany" + bytes((len(args),)) + args)
            for _ in range(job.count + 1):
                await ws.receive()
    return meter.cost


async def _exchange(job: Job, ws: Socket, message: bytes) -> Cost:
    await ws.send(message)
    await ws.receive()
    with Meter(job.count) as meter:
        for _ in range(job.fan):
            await ws.send(message)
        for _ in range(job.count - job.fan):
            await ws.receive()
            await ws.send(message)
        for _ in range(job.fan):
            await ws.receive()
    return meter.cost


async def actions(job: Job, opened: Callable[[], Any]) -> Cost:
    async with opened() as ws:
        await ws.receive()
        return await _exchange(job, ws, _ECHO + _SEVEN)


async def payload_out(job: Job, opened: Callable[[], Any]) -> Cost:
    async with opened() as ws:
        await ws.receive()
        return await _exchange(job, ws, _ECHO + bytes(job.size))


raw_in, raw_out = events, payload_out


async def connect(job: Job, opened: Callable[[], Any]) -> Cost:
    async def once() -> None:
        async with opened() as ws:
            await ws.receive()

    await once()
    with Meter(job.count) as meter:
        for _ in range(job.count):
            await once()
    return meter.cost


async def idle(job: Job, opened: Callable[[], Any]) -> Cost:
    async with AsyncExitStack() as stack:
        await (await stack.enter_async_context(opened())).receive()
        before = resident_kib()
        for _ in range(job.count):
            await (await stack.enter_async_context(opened())).receive()
        kib = (resident_kib() - before) / job.count
    return Cost(job.count, kib=kib)


async def _do(job: Job, name: str) -> Cost:
    opener, _ = OPENERS[name]
    do: Callable[[Job, Callable[[], Any]], Awaitable[Cost]] = globals()[job.workload]
    url = f"{job.url}/gateway/{job.actor_id}/connect"
    return await do(job, lambda: opener(url, ["rivet", f"rivet_encoding.{job.encoding}"]))


def masked(message: bytes) -> bytes:
    """A client's frame."""
    size, mask = len(message), os.urandom(4)
    if size < 126:
        head = bytes((0x82, 0x80 | size))
    elif size < 65536:
        head = b"\x82\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x82\xff" + size.to_bytes(8, "big")
    return head + mask + apply_mask(message, mask)


def floor(job: Job) -> Cost:
    """The same bytes over a blocking socket; what comes is only counted."""
    parts = urlsplit(job.url)
    assert parts.hostname and parts.port
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(
            f"GET /gateway/{job.actor_id}/connect HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Protocol: rivet, rivet_encoding.{job.encoding}\r\n\r\n".encode()
        )
        got = b""
        while not re.search(rb"\r\n\r\n\x82.\x03\x00\x00", got, re.S):
            got += sock.recv(65536)
        if job.workload in ("events", "raw_in"):
            sock.sendall(masked(subscription(job)))
            size = len(f"burst-{job.count}-{job.size}") + job.size
            with Meter(job.count) as meter:
                left = job.count * size
                while left > job.count * (size - job.size):
                    left -= len(sock.recv(262144))
            return meter.cost
        message = masked(_ECHO + (_SEVEN if job.workload == "actions" else bytes(job.size)))
        with Meter(job.count) as meter:
            for _ in range(job.count // job.fan):
                sock.sendall(message * job.fan)
                left = job.fan * 8
                while left > 0:
                    left -= len(sock.recv(262144))
        return meter.cost


def main() -> None:
    name = sys.argv[1]
    if name == "socket":
        serve(floor)
    else:
        backend = OPENERS[name][1]
        serve(lambda job: anyio.run(_do, job, name, backend=backend))


if __name__ == "__main__":
    main()
