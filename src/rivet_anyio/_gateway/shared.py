"""One request for everybody who asks for the same at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from .._errors import again
from .._io.waiting import Signal

__all__ = ["SharedRequests"]

T = TypeVar("T")


class _Request(Generic[T]):
    """A request that is under way."""

    def __init__(self) -> None:
        self.ended = Signal()
        self.succeeded = False
        self.error: Exception | None = None
        self.result: Any = None


class SharedRequests(Generic[T]):
    """Requests by key, of which at most one for each key is under way.

    The first caller sends the request, in its own task and scope. Callers that come meanwhile
    wait for its outcome. When the first caller is cancelled, its request is cancelled with it, and
    the next one sends its own. No task of its own is needed, and nothing is kept afterwards.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, _Request[T]] = {}

    async def run(self, key: Hashable, send: Callable[[], Awaitable[T]]) -> T:
        """The outcome of the request under way for `key`, or else of `send`.

        Args:
            key: What is asked for.
            send: Sends the request; awaited only if no other caller's request has an outcome.

        Raises:
            Exception: what the request raised; each caller but the sender raises a copy.

        Cancellation: safe; another caller that waits sends the request anew.
        """
        while (request := self._under_way.get(key)) is not None:
            await request.ended.wait()
            if request.succeeded:
                result: T = request.result
                return result
            if request.error is not None:
                raise again(request.error)
        request = self._under_way[key] = _Request()
        try:
            request.result = await send()
            request.succeeded = True
        except Exception as error:
            request.error = again(error)  # as it is now: the caller may add to it
            raise
        finally:
            del self._under_way[key]
            request.ended.set()
        result = request.result
        return result
