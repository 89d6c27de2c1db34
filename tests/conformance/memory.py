"""A server in memory, below httpx: it answers 101 and then plays a script of bytes."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import anyio
import httpx
from anyio.lowlevel import checkpoint

from .wire import Said, said

__all__ = ["MemoryServer", "MemoryStream", "Step", "pongs"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Step = bytes | Callable[[Sequence[Said]], bool | bytes]
"""Bytes to send, or what must be true of the client's frames before the script goes on.

It may return bytes to send then.
"""


class MemoryStream:
    """What httpx calls ``network_stream``.

    Attributes:
        frames: What the client has written so far.
        dropped: Whether the client has let go of the connection.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self.frames: list[Said] = []
        self.dropped = False
        self._steps = deque(steps)
        self._rest = b""
        self._written = anyio.Event()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The script's next bytes; none when it is over."""
        await checkpoint()
        while self._steps:
            step = self._steps.popleft()
            if not isinstance(step, bytes):
                while not (found := step(self.frames)):
                    await self._written.wait()
                if not isinstance(found, bytes):
                    continue
                step = found
            if len(step) > max_bytes:
                self._steps.appendleft(step[max_bytes:])
            return step[:max_bytes]
        return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Take the client's bytes."""
        await checkpoint()
        assert not self.dropped
        frames, self._rest = said(self._rest + buffer)
        self.frames += frames
        self._written.set()
        self._written = anyio.Event()

    def finish(self) -> list[Said]:
        """All that the client said, now that it is gone: whole frames."""
        assert self.dropped and not self._rest
        return self.frames


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("the body of a 101 is not read")
        yield b""

    async def aclose(self) -> None:
        self._stream.dropped = True


class MemoryServer(httpx.AsyncBaseTransport):
    """Upgrades every request, each with the next script; an answer of 403 when there is none left.

    Attributes:
        streams: Those that were opened.
    """

    def __init__(self, *scripts: Iterable[Step]) -> None:
        self.streams: list[MemoryStream] = []
        self._scripts = deque(scripts)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one handshake."""
        await checkpoint()
        if not self._scripts:
            return httpx.Response(403)
        key = request.headers["Sec-WebSocket-Key"]
        stream = MemoryStream(self._scripts.popleft())
        self.streams.append(stream)
        return httpx.Response(
            101,
            headers={
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Accept": base64.b64encode(
                    hashlib.sha1((key + _GUID).encode()).digest()
                ).decode(),
                "Sec-WebSocket-Protocol": "rivet",
            },
            stream=_Body(stream),
            extensions={"network_stream": stream},
        )


def pongs(frames: Sequence[Said]) -> list[bytes]:
    """The payloads of the client's pongs."""
    return [frame.payload for frame in frames if frame.opcode == 10]
