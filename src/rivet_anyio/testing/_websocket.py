"""WebSockets, the server's side: wsproto frames on a wire."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import anyio
from anyio import CancelScope, move_on_after
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage

from .._io.waiting import Signal
from ._http import HttpRequest, Upgrade
from ._network import Wire
from ._records import ActorRef

__all__ = ["OpenWebSockets", "ServerWebSocket", "offers_of", "upgrade_answer", "whole_messages"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE_SECONDS = 5.0
"""How long the client's answer to a close frame is waited for."""


def offers_of(request: HttpRequest) -> list[str]:
    """The subprotocols that a handshake offers."""
    text = request.headers.get("sec-websocket-protocol", "")
    return [part.strip() for part in text.split(",") if part.strip()]


def upgrade_answer(request: HttpRequest, run: Callable[[Wire, bytes], Awaitable[None]]) -> Upgrade:
    """Accept a handshake; RivetKit selects ``rivet`` and no extensions."""
    key = request.headers.get("sec-websocket-key", "")
    accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
    own = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept),
    ]
    if "rivet" in offers_of(request):
        own.append(("Sec-WebSocket-Protocol", "rivet"))
    return Upgrade(own, run)


def whole_messages(events: Iterable[Event], parts: list[Any]) -> Iterator[str | bytes | Event]:
    """The events of a WebSocket, with whole messages in place of those that have parts of one.

    Args:
        events: What wsproto has read.
        parts: Those of a message that is not whole yet; kept from one call to the next.
    """
    for event in events:
        if not isinstance(event, Message):
            yield event
            continue
        parts.append(event.data)
        if event.message_finished:
            whole = "".join(parts) if isinstance(event.data, str) else b"".join(parts)
            parts.clear()
            yield whole


class ServerWebSocket:
    """One WebSocket: what is sent goes to a queue that one task writes out.

    Attributes:
        code: The code of the close frame that came or went first, None while there was none.
        reason: Its reason.
        by_client: Whether it came from the client, or the client went away without one.
    """

    def __init__(self, wire: Wire, early: bytes) -> None:
        self.code: int | None = None
        self.reason = ""
        self.by_client = False
        self._wire = wire
        self._connection = Connection(ConnectionType.SERVER, trailing_data=early)
        self._outgoing: deque[bytes] = deque()
        self._wake = Signal()
        self._parts: list[Any] = []
        self._messages: deque[str | bytes] = deque()
        self._news: Signal | None = None  # while somebody else reads than who takes the messages
        self._reading = CancelScope()
        self._over = False
        self._close_frame = b""
        self._written = Signal()

    @property
    def is_open(self) -> bool:
        """Whether anything may still be said."""
        return not self._over and self.code is None

    @property
    def is_peer_there(self) -> bool:
        """Whether the client is known to be there, and neither side has sent a close frame."""
        return self.is_open and self._wire.is_peer_there

    @property
    def is_peer_gone(self) -> bool:
        """Whether the client is known to be gone."""
        return self._wire.is_peer_gone

    def send_message(self, data: str | bytes) -> None:
        """Send a message, if the connection is open."""
        if self.is_open:
            message = TextMessage(data) if isinstance(data, str) else BytesMessage(data)
            self.send_bytes(self._connection.send(message))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are, whatever that does to the framing."""
        self._outgoing.append(data)
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, after what waits."""
        if self.is_open:
            self.code, self.reason = code, reason
            frame = CloseConnection(code=code, reason=reason or None)
            self.send_bytes(self._connection.send(frame))
            self._reading.cancel()
            self._wake_handler()

    def drop(self) -> None:
        """Break off at once, without a close frame."""
        self._over = True
        self._wire.drop()

    async def run(self, body: Callable[[], Awaitable[None]]) -> None:
        """Write out what is sent while `body` reads; then see the closing through."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write)
                await body()
                # Only now: a client that has its answer finds its connection gone from the log.
                if self._close_frame:
                    self.send_bytes(self._close_frame)
                while not self._over:
                    await self._read()
                self._wake.set()
                with move_on_after(_CLOSE_SECONDS):
                    await self._written.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._over = True

    async def receive_message(self) -> str | bytes | None:
        """The next message; None when there will be none."""
        while not self._messages:
            if self._news is not None:
                if not self.is_open:
                    return None
                await self._news.wait()
            elif self._over:
                return None
            else:
                await self._read()
        return self._messages.popleft()

    async def serve(self, start: Callable[[], Awaitable[None]]) -> None:
        """Start a handler, and read until the WebSocket ends.

        What is read waits for `receive_message`: the handler may do other things meanwhile, and
        the client's pings and its close frame are answered.
        """
        self._news = Signal()
        await start()
        with self._reading:
            while self.is_open:
                await self._read()
        self._wake_handler()

    async def _read(self) -> None:
        """Read what has come, or wait for it, or for the end."""
        count = len(self._messages)
        self._parse()
        if len(self._messages) == count and not self._over:
            data = await self._wire.receive()
            if data:
                self._connection.receive_data(data)
            else:
                self.by_client |= self.code is None and not self._wire.is_dropped
                self._end()
        self._wake_handler()

    def _wake_handler(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = Signal()

    def _end(self) -> None:
        self._over = True
        self._wake.set()

    def _parse(self) -> None:
        for event in whole_messages(self._connection.events(), self._parts):
            if isinstance(event, (str, bytes)):
                self._messages.append(event)
            elif isinstance(event, Ping):
                self.send_bytes(self._connection.send(event.response()))
            elif isinstance(event, CloseConnection):
                if self.code is None:
                    self.by_client = True
                    self.code, self.reason = int(event.code), event.reason or ""
                if self._connection.state is ConnectionState.REMOTE_CLOSING:
                    self._close_frame = self._connection.send(event.response())
                self._end()

    async def _write(self) -> None:
        try:
            while not self._over or self._outgoing:
                if self._outgoing:
                    data = b"".join(self._outgoing)
                    self._outgoing.clear()
                    await self._wire.send(data)
                elif self.code is not None and not self.by_client:
                    await self._wait_for_answer()
                else:
                    await self._wake.wait()
                    self._wake = Signal()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._over = True
        finally:
            self._written.set()

    async def _wait_for_answer(self) -> None:
        """Our close frame is out: a client that does not answer it is cut off."""
        with move_on_after(_CLOSE_SECONDS):
            while not self._over:
                await self._wake.wait()
                self._wake = Signal()
        if not self._over:
            self._wire.drop()


class OpenWebSockets:
    """The WebSockets of a server that are open, whom they lead to, and a way to see them end."""

    def __init__(self) -> None:
        self._channels: dict[str, tuple[ActorRef, ServerWebSocket]] = {}
        self._change = Signal()

    def add(self, id: str, ref: ActorRef, channel: ServerWebSocket) -> None:
        """One more."""
        self._channels[id] = (ref, channel)

    def remove(self, id: str) -> None:
        """One has ended."""
        del self._channels[id]
        self._change.set()
        self._change = Signal()

    @property
    def are_peers_there(self) -> bool:
        """Whether the client of every one is known to be there; also when there is none."""
        return all(channel.is_peer_there for _, channel in self._channels.values())

    async def changed(self) -> None:
        """Wait until one has ended."""
        await self._change.wait()

    def describe(self) -> list[str]:
        """What is open, and to whom, but for clients that are gone."""
        return [
            f"{id} to {ref}"
            for id, (ref, channel) in self._channels.items()
            if not channel.is_peer_gone
        ]
