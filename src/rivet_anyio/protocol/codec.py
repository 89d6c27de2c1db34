"""What a codec does, whatever the encoding."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, Literal, Protocol, TypeVar

from .dialect import Dialect
from .messages import Delivery, ErrorBody, QueueReply, Raw, ServerMessage

__all__ = ["Codec", "Encoding", "remember"]

Encoding = Literal["bare", "cbor", "json"]
"""How values and messages are written: ``bare`` carries every value, see `values`."""

T = TypeVar("T")


class Codec(Protocol):
    """Writes what clients say and reads what servers say.

    Writing raises `TypeError` for a value that cannot travel, reading `ProtocolError`.
    """

    encoding: Encoding
    content_type: str
    names_version: bool  # answers say which version wrote them
    dialect: Dialect

    def action_message(self, id: int, name: str, args: list[Any] | tuple[Any, ...]) -> bytes | str:
        """An action call on a connection."""
        ...

    def subscription_message(self, name: str, subscribe: bool) -> bytes | str:
        """Ask for an event by name, or stop asking."""
        ...

    def server_message(self, data: bytes | str) -> ServerMessage:
        """Read one WebSocket message."""
        ...

    def read(self, data: bytes | str, wanted: Container[str]) -> ServerMessage | Delivery:
        """As `server_message`; but an event of a wanted name can come with its value.

        Most messages are such, and this is the short way for them. Whatever is odd, arguments
        that cannot be read among it, takes the long way.
        """
        ...

    def events(
        self, messages: Sequence[bytes | str], wanted: Container[str]
    ) -> tuple[list[str], list[Any]]:
        """Read the events at the beginning of these messages together.

        It stops at the first message that is anything else, or an event that is not wanted or
        that `read` must read the long way.

        Returns:
            The names of the events, and their values; both empty where `read` must take the first.
        """
        ...

    def action_body(self, args: list[Any] | tuple[Any, ...]) -> bytes:
        """The body of an action call over HTTP."""
        ...

    def action_output(self, body: bytes) -> Raw:
        """Read the answer to an action call over HTTP."""
        ...

    def queue_body(self, name: str, body: Any, wait: bool, timeout_ms: int | None) -> bytes:
        """The body of a queue message over HTTP."""
        ...

    def queue_reply(self, body: bytes) -> QueueReply:
        """Read the answer to a queue message."""
        ...

    def error_body(self, body: bytes) -> ErrorBody:
        """Read an error answer over HTTP."""
        ...


# The event-prefix cache. All event messages of one name begin with the same bytes, up to the
# arguments. Where a prefix came before, only the arguments are decoded. The first event of each
# name is decoded completely, which checks its prefix.

_MOST = 256


def remember(prefixes: dict[bytes, T], prefix: bytes, known: T) -> None:
    """Remember what a prefix says; a bounded number of them, whatever a server sends."""
    if len(prefixes) >= _MOST and prefix not in prefixes:
        prefixes.clear()
    prefixes[prefix] = known
