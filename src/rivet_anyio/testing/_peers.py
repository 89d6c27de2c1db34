"""Who an actor talks to: its connections, and raw WebSockets."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

import anyio

from .._checks import check_name, check_size, check_text
from .._errors import ClosedError
from ._encodings import is_false
from ._records import ActorRef

__all__ = [
    "ActorConnection",
    "ActorSocket",
    "EventChannel",
    "MessageChannel",
    "check_close",
    "current_connection",
]


class EventChannel(Protocol):
    """What carries events to a client."""

    def deliver(self, event: str, args: tuple[Any, ...], *, subscribed_only: bool) -> None:
        """Send an event."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send a close frame."""
        ...

    def drop(self) -> None:
        """Break off."""
        ...

    def send_message(self, data: str | bytes) -> None:
        """Send a message as it is."""
        ...

    def send_bytes(self, data: bytes) -> None:
        """Send bytes outside of all frames."""
        ...


def check_close(code: int | None, reason: str) -> None:
    """Raise for what no close frame can carry. (RFC 6455, section 7.4: 1005, 1006 and 1015.)"""
    check_size("code", code, least=1000, most=4999, none=True)
    if code in (1005, 1006, 1015):
        raise ValueError(f"code {code} is never sent in a close frame: give None to break off")
    check_text("reason", reason)
    if len(reason.encode()) > 123:
        raise ValueError(f"reason has at most 123 bytes of UTF-8, not {len(reason.encode())}")


class ActorConnection:
    """A client's connection as the actor sees it.

    Attributes:
        id: Its id, `Connection.connection_id` of the client.
        actor: The actor it leads to.
        params: What the client sent along, or None.
    """

    def __init__(self, id: str, actor: ActorRef, params: Any, channel: EventChannel | None) -> None:
        self.id = id
        self.actor = actor
        self.params = params
        self._state: Any = None
        self._needs_state = False
        self._channel = channel
        self._leave: Callable[[], object] = lambda: None
        self._may_send = True
        self._closings = 0  # by the actor
        self._is_request = False  # a raw one
        self._raw_channel: MessageChannel | None = None  # where the actor may close it
        self._crashes = 0

    def __repr__(self) -> str:
        return f"<ActorConnection {self.id} to {self.actor}>"

    @property
    def state(self) -> Any:
        """Anything the actor wants to keep with it.

        Raises:
            RuntimeError: up to RivetKit 2.2, when `Actor.create_conn_state` has returned nothing,
                or what JavaScript takes for false.
        """
        if self._needs_state and is_false(self._state):
            raise RuntimeError("state should exists")
        return self._state

    @state.setter
    def state(self, value: Any) -> None:
        self._state = value

    @property
    def is_http(self) -> bool:
        """Whether this stands for one call over HTTP: events for it go nowhere."""
        return self._channel is None

    def send(self, event: str, *args: Any) -> None:
        """Send an event to this client alone, subscribed or not.

        Raises:
            TypeError: when an argument cannot travel.
            RuntimeError: in `Actor.on_connect`, up to RivetKit 2.2.
        """
        event = check_name("event", event)
        if not self._may_send:
            raise RuntimeError("Connection not connected yet")
        if self._channel is not None:
            self._channel.deliver(event, args, subscribed_only=False)

    def disconnect(self, reason: str = "") -> None:
        """Close the connection with code 1000; the client will come back."""
        check_close(1000, reason)
        self._closings += 1
        self._leave()
        channel = self._channel or self._raw_channel
        if channel is not None:
            channel.close(1000, reason)

    def drop(self, code: int | None = None, reason: str = "") -> None:
        """Fail, as networks and servers do.

        Args:
            code: Close with this code; None: break off without a close frame.
            reason: The close frame's reason.
        """
        check_close(code, reason)
        if self._channel is None:
            return
        if code is None:
            self._channel.drop()
        else:
            self._channel.close(code, reason)

    def send_message(self, data: str | bytes) -> None:
        """Send a whole WebSocket message as it is: one that is none of the protocol's, say."""
        if self._channel is not None:
            self._channel.send_message(data)

    def send_bytes(self, data: bytes) -> None:
        """Send bytes outside of all frames: what follows cannot be read any more."""
        if self._channel is not None:
            self._channel.send_bytes(data)


current_connection: ContextVar[ActorConnection | None] = ContextVar(
    "current_connection", default=None
)
"""Whose call the running code works on."""


class MessageChannel(Protocol):
    """What carries raw messages to and from a client."""

    def send_message(self, data: str | bytes) -> None:
        """Send a message."""
        ...

    async def receive_message(self) -> str | bytes | None:
        """The next message; None when there will be none."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send a close frame."""
        ...


class ActorSocket:
    """A raw WebSocket as the actor sees it: iterate it, or call `receive`.

    Attributes:
        id: Its id in the server's log.
        path: The path the client asked for, below the actor, with its query string.
        params: What the client sent along, or None.
    """

    def __init__(self, id: str, path: str, params: Any, channel: MessageChannel) -> None:
        self.id = id
        self.path = path
        self.params = params
        self._channel = channel
        self._closed = False

    async def send(self, data: str | bytes) -> None:
        """Send one message: str as text, bytes as binary.

        Raises:
            ClosedError: after `close`.

        Cancellation: the message is sent whole or not at all.
        """
        await anyio.lowlevel.checkpoint()
        if self._closed:
            raise ClosedError("the actor has closed this WebSocket")
        self._channel.send_message(data)

    async def receive(self) -> str | bytes:
        """The next message.

        Raises:
            anyio.EndOfStream: when the client has closed, or is gone.

        Cancellation: safe, no message is lost.
        """
        data = await self._channel.receive_message()
        if data is None:
            raise anyio.EndOfStream
        return data

    def __aiter__(self) -> ActorSocket:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a code and a reason.

        Raises:
            TypeError, ValueError: no close frame can carry them.

        Cancellation: the close frame is sent.
        """
        check_close(code, reason)
        self._closed = True
        self._channel.close(code, reason)
        await anyio.lowlevel.checkpoint()
