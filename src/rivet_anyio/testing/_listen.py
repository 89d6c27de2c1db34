"""A real port for an `ActorServer`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType

import anyio
import anyio.abc
from anyio import CancelScope
from anyio.abc import SocketAttribute

from .._io.waiting import Signal
from ._network import Network, Wire
from ._time import refuse_virtual_time

__all__ = ["Listening"]


class Listening:
    """A port that is open inside its ``async with`` block; from `ActorServer.listen`."""

    def __init__(
        self,
        tasks: Callable[[], anyio.abc.TaskGroup],
        network: Network,
        serve: Callable[[Wire], Awaitable[None]],
        host: str,
        port: int,
    ) -> None:
        self._tasks = tasks
        self._network = network
        self._serve = serve
        self._host = host
        self._port = port
        self._scope = CancelScope()
        self._done = Signal()

    async def __aenter__(self) -> str:
        tasks = self._tasks()
        refuse_virtual_time("a port")
        listener = await anyio.create_tcp_listener(
            local_host=self._host, local_port=self._port, reuse_port=False
        )
        port = listener.extra(SocketAttribute.local_port)
        tasks.start_soon(self._listen, listener)
        shown = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{shown}:{port}"

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scope.cancel()
        with CancelScope(shield=True):
            await self._done.wait()

    async def _listen(self, listener: anyio.abc.Listener[anyio.abc.SocketStream]) -> None:
        try:
            with self._scope:
                async with listener:
                    await listener.serve(self._accept)
        finally:
            self._done.set()

    async def _accept(self, stream: anyio.abc.SocketStream) -> None:
        if not await self._network._admits():
            await anyio.aclose_forcefully(stream)
            return
        await Wire(stream, self._network).run(self._serve)
