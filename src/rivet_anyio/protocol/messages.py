"""What client and server say to each other, whatever the encoding.

Values inside messages stay as they came (`Raw`) until somebody asks for them, so that a value
that cannot be read spoils nothing but itself. (RivetKit, ``client-protocol`` schemas v1 to v4.)
"""

from __future__ import annotations

from typing import Any

import msgspec

from .._errors import ActorError, ActorSpecifier, ProtocolError
from .values import ValueForm, load_cbor, revive, revive_arguments

__all__ = [
    "ActionResponse",
    "Delivery",
    "ErrorBody",
    "Event",
    "Init",
    "QueueReply",
    "Raw",
    "RawCbor",
    "RawTree",
    "ServerError",
    "ServerMessage",
    "actor_error",
]


class RawCbor(msgspec.Struct, frozen=True, gc=False):
    """A value as bare encoding carries it."""

    data: bytes
    form: ValueForm

    def load(self) -> Any:
        """The Python value; a `ProtocolError` when there is none in it."""
        return revive(load_cbor(self.data), self.form)

    def load_arguments(self) -> Any:
        """What an event with these arguments delivers; a `ProtocolError` when that is nothing."""
        return revive_arguments(load_cbor(self.data), self.form)


class RawTree(msgspec.Struct, frozen=True):
    """A value as the cbor and json encodings carry it: decoded with the message around it."""

    tree: Any
    form: ValueForm

    def load(self) -> Any:
        """The Python value; a `ProtocolError` when there is none in it."""
        return revive(self.tree, self.form)

    def load_arguments(self) -> Any:
        """What an event with these arguments delivers; a `ProtocolError` when that is nothing."""
        return revive_arguments(self.tree, self.form)


Raw = RawCbor | RawTree
"""A value as it came."""


class Init(msgspec.Struct, frozen=True):
    """The server's first message: the connection is open."""

    actor_id: str
    connection_id: str


class ErrorBody(msgspec.Struct, frozen=True):
    """An error as the server describes it, over HTTP or on a connection."""

    group: str
    code: str
    message: str
    metadata: Raw | None = None
    actor: ActorSpecifier | None = None


class ServerError(msgspec.Struct, frozen=True):
    """An error on a connection: about one action, or (without an id) about the connection."""

    body: ErrorBody
    action_id: int | None = None


class ActionResponse(msgspec.Struct, frozen=True):
    """What an action returned."""

    id: int
    output: Raw


class Event(msgspec.Struct, frozen=True):
    """An event the actor sent; its arguments are a list."""

    name: str
    args: Raw


ServerMessage = Init | ServerError | ActionResponse | Event


Delivery = tuple[str, Any]
"""An event that somebody waits for, read at once: its name, and what its streams deliver."""


class QueueReply(msgspec.Struct, frozen=True):
    """What became of a queue message."""

    status: str
    response: Raw | None = None


def actor_error(
    body: ErrorBody, ray_id: str | None = None, actor: ActorSpecifier | None = None
) -> ActorError:
    """The exception for an error as the server described it.

    Metadata that cannot be read is left out, and a note says so.
    """
    metadata = note = None
    if body.metadata is not None:
        try:
            metadata = body.metadata.load()
        except ProtocolError as unreadable:
            note = f"its metadata cannot be read: {unreadable}"
    error = ActorError(
        body.group,
        body.code,
        body.message,
        metadata=metadata,
        actor=body.actor or actor,
        ray_id=ray_id,
    )
    if note is not None:
        error.add_note(note)
    return error
