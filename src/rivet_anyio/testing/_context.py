"""What an actor can do: `Actor.context`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from .._checks import check_name
from ._peers import ActorConnection, current_connection
from ._queue import ActorQueue, Mailbox
from ._records import ActorRef

__all__ = ["ActorContext"]


class RunningActor(Protocol):
    """The instance that an actor runs in."""

    @property
    def ref(self) -> ActorRef:
        """Which actor it is."""
        ...

    @property
    def key_inside(self) -> tuple[str, ...]:
        """The key as the actor itself sees it."""
        ...

    @property
    def connections(self) -> Mapping[str, ActorConnection]:
        """Its connections, by their ids."""
        ...

    @property
    def mailbox(self) -> Mailbox:
        """The messages of its queues."""
        ...

    def stop(self, end: Literal["sleep", "destroy"]) -> None:
        """Begin to stop."""
        ...


class ActorContext:
    """What an actor can do, and what it can know of itself."""

    def __init__(self, instance: RunningActor) -> None:
        self._instance = instance

    def __repr__(self) -> str:
        return f"<ActorContext of {self._instance.ref}>"

    @property
    def actor_id(self) -> str:
        """The actor's id."""
        return self._instance.ref.id

    @property
    def name(self) -> str:
        """The actor's name."""
        return self._instance.ref.name

    @property
    def key(self) -> tuple[str, ...]:
        """The actor's key; RivetKit 2.0 takes all of it for one part."""
        return self._instance.key_inside

    @property
    def connection(self) -> ActorConnection:
        """Whose call is being worked on: right in every action, also with many at once.

        A call over HTTP has one of its own, for as long as it takes.

        Raises:
            LookupError: where nobody called: in `Actor.run`, say, or in the test.
        """
        try:
            return current_connection.get()
        except LookupError:
            raise LookupError("no client's call is being worked on here") from None

    @property
    def connections(self) -> tuple[ActorConnection, ...]:
        """The open connections, in the order in which they were accepted.

        As on real servers, every call over HTTP is one of them while it is worked on.
        """
        return tuple(self._instance.connections.values())

    def broadcast(self, event: str, *args: Any) -> None:
        """Send an event to every connection that subscribed to it.

        Raises:
            TypeError: when an argument cannot travel.
        """
        event = check_name("event", event)
        for connection in self.connections:
            if connection._channel is not None:
                connection._channel.deliver(event, args, subscribed_only=True)

    def send_to(self, connection: ActorConnection, event: str, *args: Any) -> None:
        """Send an event to one connection, subscribed or not.

        Raises:
            TypeError: when an argument cannot travel.
        """
        connection.send(event, *args)

    def queue(self, *names: str) -> ActorQueue:
        """The actor's queues of these names; without names, all of them."""
        checked = tuple(check_name("queue", name) for name in names)
        return ActorQueue(self._instance.mailbox, checked)

    def sleep(self) -> None:
        """Go to sleep, once what is under way is answered; the next call wakes the actor."""
        self._instance.stop("sleep")

    def destroy(self) -> None:
        """End for good, once what is under way is answered; connections are closed."""
        self._instance.stop("destroy")
