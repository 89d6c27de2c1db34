"""What a recorded connection says, and when; without I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ._cassette_file import Message

__all__ = ["Script"]


class Script:
    """Plays the server's part of a recorded connection.

    The server's messages come in the order in which they were recorded. They wait for what the
    client said before them, but an answer waits for nothing but its own call: then what was
    recorded before that answer comes at once.

    Args:
        messages: What both sides said.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._at = 0
        self._said: set[int] = set()  # the places of what the client has said
        self._made: set[int | None] = {None}  # the numbers of its calls
        self._passed: set[int] = set()  # the places of calls that were due before and not made
        self._late: dict[int, Message] = {}  # answers that came before their calls were made

    @property
    def unsaid(self) -> list[dict[str, Any]]:
        """What the client has not said, but for names that it subscribed to once."""
        said = {self._messages[place].subscribe for place in self._said}
        return [
            message.question
            for place, message in enumerate(self._messages)
            if message.is_from_client and place not in self._said
            if message.subscribe is None or message.subscribe not in said
        ]

    def begin(self) -> list[Message]:
        """What the server says first."""
        return list(self._go_on())

    def call(self, fits: Callable[[Message], bool]) -> tuple[int, list[Message]] | None:
        """The client calls: the number of the call, and what comes then; None: there is none.

        Args:
            fits: Whether a recorded call is this one.
        """
        place = self._find(lambda message: message.call is not None and fits(message))
        if place is None:
            return None
        number = self._messages[place].call
        assert number is not None
        self._made.add(number)
        self._passed.discard(place)
        late = [self._late.pop(number)] if number in self._late else []
        answers = (at for at, message in enumerate(self._messages) if message.to == number)
        return number, [*late, *self._go_on(to=next(answers, place)), *self._go_on()]

    def subscribe(self, name: str) -> list[Message] | None:
        """The client subscribes: what comes then; None: it never did."""
        place = self._find(lambda message: message.subscribe == name)
        if place is None and all(message.subscribe != name for message in self._messages):
            return None
        return list(self._go_on())

    def send(self, fits: Callable[[Message], bool]) -> list[Message] | None:
        """The client sends a message on a raw WebSocket: what comes then; None: it never did."""
        place = self._find(lambda message: message.sent is not None and fits(message))
        return None if place is None else list(self._go_on())

    def _find(self, fits: Callable[[Message], bool]) -> int | None:
        """The first place of what the client has not said yet and now says."""
        for place, message in enumerate(self._messages):
            if place not in self._said and fits(message):
                self._said.add(place)
                return place
        return None

    def _go_on(self, *, to: int = -1) -> Iterator[Message]:
        """What the server says next: up to a place, or until the client has to say something."""
        while self._at < len(self._messages):
            message = self._messages[self._at]
            is_unsaid = message.is_from_client and self._at not in self._said
            if self._at > to and (to >= 0 or is_unsaid or self._passed):
                return
            if is_unsaid and message.call is not None:
                self._passed.add(self._at)
            self._at += 1
            if message.is_from_client:
                continue
            if message.to in self._made:
                yield message
            else:
                assert message.to is not None
                self._late[message.to] = message
