"""What an actor can do: `Actor.context`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import anyio

from .._checks import check_flag, check_instance, check_name, check_seconds
from ._peers import ActorConnection, current_connection
from ._queue import ActorQueue, Mailbox
from ._records import ActorRef

__all__ = ["ActorContext", "ActorSchedule"]


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

    def check_queues(self) -> None:
        """Raise `RuntimeError` where there are none."""
        ...

    def check_queue(self, name: str) -> None:
        """Raise `LookupError` for a queue that it does not declare."""
        ...

    @property
    def vars(self) -> Any:
        """What `Actor.create_vars` made."""
        ...

    def broadcast(self, event: str, args: tuple[Any, ...]) -> None:
        """Send an event to whom it may concern."""
        ...

    def save(self) -> None:
        """Save the state now."""
        ...

    def schedule(self, seconds: float, action: str, args: tuple[Any, ...]) -> None:
        """Run an action later."""
        ...

    def now(self) -> dt.datetime:
        """The server's date."""
        ...

    def changed(self) -> None:
        """The actor's own code has run: its state may be another."""
        ...

    def waits_for_queue(self, change: int) -> None:
        """One task more, or less, waits for a message."""
        ...

    def stop(self, end: Literal["sleep", "destroy"]) -> None:
        """Begin to stop."""
        ...

    def destroy(self) -> None:
        """Begin to stop for good."""
        ...


class ActorSchedule:
    """Runs actions of the actor later, from `ActorContext.schedule`.

    They run without a connection, also when the actor slept or the server restarted meanwhile: the
    actor wakes for them. What they return goes nowhere, and what they raise is logged.
    """

    def __init__(self, instance: RunningActor) -> None:
        self._instance = instance

    def after(self, seconds: float, action: str, *args: Any) -> None:
        """Run an action after some time.

        Args:
            seconds: After how many.
            action: The action's name.
            args: Its arguments.

        Raises:
            TypeError, ValueError: an argument cannot be used, or cannot be saved.
        """
        check_seconds("seconds", seconds, zero=True)
        self._instance.schedule(seconds, check_name("action", action), args)

    def at(self, when: dt.datetime, action: str, *args: Any) -> None:
        """Run an action at a date; at once when it is over.

        Args:
            when: The date, with a time zone, by the server's clock: it begins at
                `ActorServer`'s `epoch`.
            action: The action's name.
            args: Its arguments.

        Raises:
            TypeError, ValueError: an argument cannot be used, or cannot be saved.
        """
        check_instance("when", when, dt.datetime, none=False)
        if when.tzinfo is None:
            raise ValueError(f"when {when!r} has no time zone")
        seconds = (when - self._instance.now()).total_seconds()
        self._instance.schedule(max(0.0, seconds), check_name("action", action), args)


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
            LookupError: where nobody called: in `Actor.run`, in an action that was scheduled, or
                in the test.
        """
        connection = current_connection.get()
        if connection is None:
            raise LookupError("no client's call is being worked on here")
        return connection

    @property
    def connections(self) -> tuple[ActorConnection, ...]:
        """The open connections, in the order in which they were accepted.

        As on real servers, every call over HTTP is one of them while it is worked on.
        """
        return tuple(self._instance.connections.values())

    def broadcast(self, event: str, *args: Any) -> None:
        """Send an event to every connection that subscribed to it.

        Raises:
            TypeError: in 2.3, when an argument cannot travel. The versions before send nothing
                then, and log it.
            ActorError: ``message.outgoing_too_long``, up to 2.2, when somebody subscribed. 2.3
                closes the connections that subscribed instead.
            RuntimeError: up to 2.2, in `Actor.on_wake` and once the actor stops: from
                `Actor.on_sleep` and `Actor.on_destroy` on, in 2.2 after them. In 2.3 nobody gets
                the event in `Actor.on_wake`.
        """
        self._instance.broadcast(check_name("event", event), args)

    def send_to(self, connection: ActorConnection, event: str, *args: Any) -> None:
        """Send an event to one connection, subscribed or not.

        Raises:
            TypeError: when an argument cannot travel.
        """
        connection.send(event, *args)

    def queue(self, *names: str, completable: bool = True) -> ActorQueue:
        """The actor's queues of these names; without names, all of them.

        Args:
            names: The names.
            completable: Whether each message must be completed before the next one is taken. A
                message that is not, comes again when the actor wakes after a sleep or a restart.
                False: a message is gone when it was taken, and nobody hears of its end.

        Raises:
            TypeError, ValueError: an argument cannot be used.
            LookupError: the class declares its queues, and none of this name.
            RuntimeError: in RivetKit 2.0, which has no queues.
        """
        self._instance.check_queues()
        checked = tuple(check_name("queue", name) for name in names)
        for name in checked:
            self._instance.check_queue(name)
        check_flag("completable", completable)
        return ActorQueue(self._instance.mailbox, self._instance, checked, completable)

    @property
    def vars(self) -> Any:
        """What `Actor.create_vars` returned at this start, for what is not saved.

        Unless the actor has that hook: an object that takes any attribute.

        Raises:
            RuntimeError: before `Actor.create_vars` has run.
        """
        return self._instance.vars

    @property
    def schedule(self) -> ActorSchedule:
        """Runs actions later."""
        return ActorSchedule(self._instance)

    def now(self) -> dt.datetime:
        """The server's date, which passes as `anyio.current_time` does."""
        return self._instance.now()

    async def save_state(self) -> None:
        """Save the state now: whatever crashes, it is kept.

        Raises:
            TypeError: when something in the state cannot be saved; the message names the path.

        Cancellation: the state is saved.
        """
        self._instance.save()
        await anyio.lowlevel.checkpoint()

    def sleep(self) -> None:
        """Go to sleep, once what is under way is answered; the next call wakes the actor."""
        self._instance.stop("sleep")

    def destroy(self) -> None:
        """End for good, once what is under way is answered; connections are closed.

        Raises:
            ActorError: in 2.3, for the second time: ``actor.stopping``.
        """
        self._instance.destroy()
