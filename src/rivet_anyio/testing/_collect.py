"""Taking a known number of items from a stream that goes on."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import anyio

from .. import ActorHandle, Connection
from .._checks import check_seconds, check_size
from .._text import in_short

__tracebackhide__ = True  # pytest shows the test in place of our source

__all__ = ["CollectError", "Receiver", "collect"]

T_co = TypeVar("T_co", covariant=True)


class Receiver(Protocol[T_co]):
    """Anything with an async ``receive``: event and status streams, sockets, streams of AnyIO."""

    async def receive(self) -> T_co:
        """The next item."""
        ...


class CollectError(AssertionError):
    """`collect` did not get as many items as it was to.

    Attributes:
        items: Those that it did get.
    """

    def __init__(self, message: str, items: list[Any]) -> None:
        super().__init__(message)
        self.items = items

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.items), self.__dict__


async def collect(stream: Receiver[T_co], count: int, *, within: float = 5.0) -> list[T_co]:
    """Take some items from a stream.

    Args:
        stream: An `EventStream`, or anything else with a ``receive``.
        count: How many.
        within: Seconds, for all of them.

    Returns:
        The items.

    Raises:
        TypeError, ValueError: an argument cannot be used.
        CollectError: when time was over, or the stream ended, before; it has the items so far.

    Cancellation: the items taken so far are lost.
    """
    # Of a handle and a connection any attribute is an action.
    if isinstance(stream, (ActorHandle, Connection)) or not hasattr(stream, "receive"):
        raise TypeError(
            f"stream is an EventStream, or has a receive of its own, not {in_short(stream)}"
        )
    check_size("count", count, least=0)
    check_seconds("within", within, zero=True)
    items: list[T_co] = []
    try:
        with anyio.fail_after(within):
            while len(items) < count:
                items.append(await stream.receive())
    except TimeoutError:
        raise CollectError(
            f"{len(items)} of {count} items within {within} s: {items!r}", items
        ) from None
    except anyio.EndOfStream:
        raise CollectError(
            f"the stream ended after {len(items)} of {count} items: {items!r}", items
        ) from None
    return items
