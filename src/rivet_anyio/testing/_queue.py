"""Queues of an actor: messages that wait until somebody takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import anyio

from .._errors import ActorError
from .._io.waiting import Signal
from ..protocol.bare import uint

__all__ = ["ActorQueue", "Mailbox", "QueueMessage"]

_LIMIT = 1000
"""How many messages wait at most, as on every version of RivetKit."""
_STORED_BESIDES = 2 + 8 + 4
"""The bytes of a version, a time, and four fields without a value."""


class QueueMessage:
    """A message that a client sent to a queue.

    Attributes:
        queue: The queue's name.
        body: What was sent.
    """

    def __init__(self, queue: str, body: Any) -> None:
        self.queue = queue
        self.body = body
        self._mailbox: Mailbox | None = None
        self._completed = Signal()
        self._response: Any = None

    def __repr__(self) -> str:
        return f"<QueueMessage {self.queue!r} {self.body!r:.60}>"

    async def complete(self, response: Any = None) -> None:
        """Say that the message was worked off; `send_and_wait` returns with `response`.

        Raises:
            TypeError: in 2.3, when the response cannot travel. Up to 2.2 the client sees the
                internal error then.
            RuntimeError: when that was said before, when the actor has stopped since the message
                was taken, or for a message of a queue with ``completable=False``.

        Cancellation: the message is completed.
        """
        if self._completed.is_set():
            raise RuntimeError(f"{self!r} was completed before")
        if self._mailbox is None:
            raise RuntimeError(
                f"{self!r} cannot be completed: it was taken with completable=False, or the actor "
                "has stopped since, and the message comes again"
            )
        self._mailbox.complete(self, response)
        self._response = response
        self._completed.set()
        await anyio.lowlevel.checkpoint()

    async def _wait(self) -> Any:
        """Wait until the message is completed, and return with what."""
        await self._completed.wait()
        return self._response


class QueueOwner(Protocol):
    """The actor that takes messages."""

    def changed(self) -> None:
        """The actor's own code has run: its state may be another."""
        ...

    def waits_for_queue(self, change: int) -> None:
        """One task more, or less, waits for a message."""
        ...


class Mailbox:
    """All queues of one actor.

    Args:
        check: Raises TypeError for a response that cannot travel.
    """

    def __init__(self, check: Callable[[Any], object]) -> None:
        self._check = check
        self._messages: list[QueueMessage] = []
        self._taken: dict[QueueMessage, None] = {}
        self._arrival = Signal()

    def put(self, message: QueueMessage, size: int, most: int) -> None:
        """Take a message in.

        Args:
            message: The message.
            size: How many bytes its body has.
            most: How many it may have, with its name and what else is stored of it.

        Raises:
            ActorError: ``queue.full`` or ``queue.message_too_large``.
        """
        if len(self._messages) >= _LIMIT:
            text = f"Queue is full. Limit is {_LIMIT} messages."
            raise ActorError("queue", "full", text, metadata={"limit": _LIMIT})
        name = len(message.queue.encode())
        size += len(uint(size)) + name + len(uint(name)) + _STORED_BESIDES
        if size > most:
            text = f"Queue message too large ({size} bytes). Limit is {most} bytes."
            sizes = {"size": size, "limit": most}
            raise ActorError("queue", "message_too_large", text, metadata=sizes)
        self._messages.append(message)
        self._arrival.set()
        self._arrival = Signal()

    def waiting(self, accepts: Callable[[str], bool]) -> Iterator[QueueMessage]:
        """What nobody has taken yet."""
        return (
            message
            for message in self._messages
            if message not in self._taken and accepts(message.queue)
        )

    async def take(self, accepts: Callable[[str], bool], *, completable: bool) -> QueueMessage:
        """The oldest message of the queues that are wanted.

        Raises:
            ActorError: when a message was taken and not completed yet.
        """
        await anyio.lowlevel.checkpoint()
        while True:
            if self._taken:
                (message, *_) = self._taken
                raise ActorError(
                    "queue",
                    "previous_message_not_completed",
                    "Previous completable queue message is not completed. Call "
                    f"`message.complete(...)` before receiving the next message: {message!r}",
                )
            found = next(self.waiting(accepts), None)
            if found is None:
                await self._arrival.wait()
            elif completable:
                found._mailbox = self
                self._taken[found] = None
                return found
            else:
                self._messages.remove(found)
                return found

    def complete(self, message: QueueMessage, response: Any) -> None:
        """It was worked off.

        Raises:
            TypeError: the response cannot travel.
        """
        self._check(response)
        self._messages.remove(message)
        del self._taken[message]

    def give_back(self) -> None:
        """The actor has stopped: what was taken and not completed comes again."""
        for message in self._taken:
            message._mailbox = None
        self._taken.clear()


class ActorQueue:
    """Some of an actor's queues, from `ActorContext.queue`: iterate it, or call `receive`."""

    def __init__(
        self, mailbox: Mailbox, owner: QueueOwner, names: tuple[str, ...], completable: bool
    ) -> None:
        self._mailbox = mailbox
        self._owner = owner
        self._names = names
        self._completable = completable

    def _accepts(self, name: str) -> bool:
        return not self._names or name in self._names

    def __len__(self) -> int:
        return sum(1 for _ in self._mailbox.waiting(self._accepts))

    async def receive(self) -> QueueMessage:
        """Wait for the next message, and take it.

        Raises:
            ActorError: ``queue.previous_message_not_completed``: call `QueueMessage.complete` for
                each message before the next one is taken.

        Cancellation: safe, no message is lost.
        """
        self._owner.changed()
        self._owner.waits_for_queue(+1)
        try:
            return await self._mailbox.take(self._accepts, completable=self._completable)
        finally:
            self._owner.waits_for_queue(-1)

    def __aiter__(self) -> ActorQueue:
        return self

    async def __anext__(self) -> QueueMessage:
        return await self.receive()
