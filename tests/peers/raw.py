"""A server that is nothing but TCP: each test says what it sends, byte by byte."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

Handler = Callable[["Peer"], Awaitable[None]]

INIT = {"tag": "Init", "val": {"actorId": "a1", "connectionId": "c1"}}


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A server's frame, of any size and opcode."""
    size = len(payload)
    if size < 126:
        length = bytes((size,))
    elif size < 65536:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    return bytes((fin * 0x80 | opcode,)) + length + payload


def text(body: dict[str, Any]) -> bytes:
    """A message of the JSON encoding as one frame."""
    return frame(1, json.dumps({"body": body}).encode())


def response(id: Any, output: Any) -> bytes:
    """The answer to an action."""
    return text({"tag": "ActionResponse", "val": {"id": id, "output": output}})


def close(code: int, reason: str = "") -> bytes:
    """A close frame."""
    return frame(8, code.to_bytes(2, "big") + reason.encode())


def make_closing_reset(stream: ByteStream) -> None:
    """Let a socket end with RST, and not with FIN."""
    raw = stream.extra(SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # On asyncio, AnyIO up to 4.15 sends FIN before it closes.
    transport = getattr(stream, "_transport", None)
    if transport is not None:
        transport.abort()


class Peer:
    """One accepted connection."""

    def __init__(self, stream: ByteStream, number: int) -> None:
        self.stream = stream
        self.number = number
        self._buffer = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def head(self) -> str:
        """The request line and headers."""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += await self.stream.receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head.decode("ascii")

    async def body(self, head: str) -> bytes:
        """The body behind a head, which says its length."""
        length = re.search(r"(?i)^content-length: (\d+)", head, re.M)
        return await self._exactly(int(length[1])) if length else b""

    def accept(self, head: str) -> bytes:
        """The 101 that answers a handshake."""
        return self.switching(head, "Sec-WebSocket-Protocol: rivet\r\n")

    def switching(self, head: str, extra: str, *, key: str | None = None) -> bytes:
        """A 101 with some more headers."""
        if key is None:
            found = re.search(r"(?i)^sec-websocket-key: (.*)$", head, re.M)
            assert found
            key = found[1].strip()
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        answer = base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {answer}\r\n{extra}\r\n"
        ).encode()

    async def upgrade(self) -> None:
        """The handshake alone."""
        await self.send(self.accept(await self.head()))

    async def open(self) -> None:
        """The handshake and Init, as they should be."""
        await self.send(self.accept(await self.head()) + text(INIT))

    async def frame(self) -> tuple[int, bytes]:
        """The client's next frame: opcode and payload."""
        first, second = await self._exactly(2)
        assert first & 0xF0 == 0x80 and second & 0x80, "a client sends whole, masked frames"
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await self._exactly(2 if size == 126 else 8), "big")
        mask = await self._exactly(4)
        body = await self._exactly(size)
        masks = (mask * (size // 4 + 1))[:size]
        payload = int.from_bytes(body, "big") ^ int.from_bytes(masks, "big")
        return first & 15, payload.to_bytes(size, "big")

    async def heard(self) -> tuple[int, bytes] | None:
        """The client's next frame; None for its close frame, which is answered with one."""
        opcode, payload = await self.frame()
        if opcode != 8:
            return opcode, payload
        await self.send(frame(8, payload))
        return None

    async def action(self) -> tuple[Any, str]:
        """The id and name of the action that must come next."""
        opcode, payload = await self.frame()
        assert opcode == 1
        value = json.loads(payload)["body"]["val"]
        return value["id"], value["name"]

    async def serve_actions(self) -> None:
        """Answer every action with its name, and the close frame with a close frame."""
        while heard := await self.heard():
            opcode, payload = heard
            if opcode == 1:
                body = json.loads(payload)["body"]
                if body["tag"] == "ActionRequest":
                    await self.send(response(body["val"]["id"], body["val"]["name"]))

    async def silence(self) -> None:
        """Read and say nothing until the client goes away."""
        while True:
            await self.stream.receive()

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += await self.stream.receive()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data


async def play_along(peer: Peer) -> None:
    """A handler: the handshake and Init, then an answer to every action."""
    await peer.open()
    await peer.serve_actions()


async def upgrade_only(peer: Peer) -> None:
    """A handler: the handshake, and then not a word."""
    await peer.upgrade()
    await peer.silence()


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Accept connections, each handled by `handler`; yields the server's URL."""
    scheme = "http" if tls is None else "https"
    accepted = 0

    async def handle(stream: SocketStream) -> None:
        nonlocal accepted
        accepted += 1
        # On asyncio, AnyIO reads on until it has waited once, whatever its user takes.
        transport = getattr(stream, "_transport", None)
        if transport is not None:
            transport.pause_reading()
        async with stream:
            number = accepted
            try:
                if tls is None:
                    await handler(Peer(stream, number))
                else:
                    encrypted = await TLSStream.wrap(
                        stream, server_side=True, ssl_context=tls, standard_compatible=False
                    )
                    await handler(Peer(encrypted, number))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handle)
        yield f"{scheme}://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()
