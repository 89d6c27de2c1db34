"""Queues of an actor: messages that wait until somebody takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import anyio

from .._io.waiting import Signal

__all__ = ["ActorQueue", "Mailbox", "QueueMessage"]


class QueueMessage:
    """A message that a client sent to a queue.

    Attributes:
        queue: The queue's name.
        body: What was sent.
    """

    def __init__(self, queue: str, body: Any) -> None:
        self.queue = queue
        self.body = body
        self._completed = Signal()
        self._response: Any = None

    def __repr__(self) -> str:
        return f"<QueueMessage {self.queue!r} {self.body!r:.60}>"

    async def complete(self, response: Any = None) -> None:
        """Say that the message was worked off; `send_and_wait` returns with `response`.

        Raises:
            RuntimeError: when that was said before.

        Cancellation: the message is completed.
        """
        if self._completed.is_set():
            raise RuntimeError(f"{self!r} was completed before")
        self._response = response
        self._completed.set()
        await anyio.lowlevel.checkpoint()

    async def _wait(self) -> Any:
        """Wait until the message is completed, and return with what."""
        await self._completed.wait()
        return self._response


class Mailbox:
    """All queues of one actor."""

    def __init__(self) -> None:
        self._messages: deque[QueueMessage] = deque()
        self._arrival = Signal()

    def put(self, message: QueueMessage) -> None:
        """Take a message in."""
        self._messages.append(message)
        self._arrival.set()
        self._arrival = Signal()

    def waiting(self, accepts: Callable[[str], bool]) -> list[QueueMessage]:
        """What nobody has taken yet."""
        return [message for message in self._messages if accepts(message.queue)]

    async def take(self, accepts: Callable[[str], bool]) -> QueueMessage:
        """The oldest message of the queues that are wanted."""
        await anyio.lowlevel.checkpoint()
        while True:
            for message in self._messages:
                if accepts(message.queue):
                    self._messages.remove(message)
                    return message
            await self._arrival.wait()


class ActorQueue:
    """Some of an actor's queues, from `ActorContext.queue`: iterate it, or call `receive`."""

    def __init__(self, mailbox: Mailbox, names: tuple[str, ...]) -> None:
        self._mailbox = mailbox
        self._names = names

    def _accepts(self, name: str) -> bool:
        return not self._names or name in self._names

    def __len__(self) -> int:
        return len(self._mailbox.waiting(self._accepts))

    async def receive(self) -> QueueMessage:
        """Wait for the next message, and take it.

        Cancellation: safe, no message is lost.
        """
        return await self._mailbox.take(self._accepts)

    def __aiter__(self) -> ActorQueue:
        return self

    async def __anext__(self) -> QueueMessage:
        return await self.receive()
