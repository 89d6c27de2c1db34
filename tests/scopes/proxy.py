"""A TCP proxy that fails on demand.

It runs in a thread and an event loop of its own, so the task tree and the cancellations of a test
never touch it. Its methods block for a moment at most and may be called from anywhere.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskGroup
from anyio.from_thread import BlockingPortal, start_blocking_portal

__all__ = ["Proxy", "running_proxy"]

_CHUNK = 64 * 1024
_FAILURES = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)


class _Pair:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, client: SocketStream, server: SocketStream) -> None:
        self.client = client
        self.server = server
        self.scope = anyio.CancelScope()
        self.is_websocket = False
        self.swallows = False


class Proxy:
    """Forwards what comes to `port` on 127.0.0.1 to another port there."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.accepted = 0
        self.upstream_bytes = 0
        self._target_port = target_port
        self._portal: BlockingPortal | None = None
        self._tasks: TaskGroup | None = None
        self._listening: anyio.CancelScope | None = None
        self._pairs: set[_Pair] = set()
        self._stalled = False
        self._pause_at: int | None = None
        self._paused = anyio.Event()
        self._changed = threading.Condition()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def websockets(self) -> int:
        """How many upgraded connections are open."""
        return sum(pair.is_websocket for pair in tuple(self._pairs))

    @property
    def is_paused(self) -> bool:
        """Whether a pause has begun."""
        return self._pause_at is not None and self.upstream_bytes >= self._pause_at

    def cut(self, *, reset: bool = False) -> None:
        """End every connection, with a FIN or with a reset."""
        self._call(self._cut, reset)

    def refuse(self) -> None:
        """Let nobody connect any more; what is connected stays."""
        self._call(self._refuse)

    def accept(self) -> None:
        """Let everybody connect again, at the same port."""
        self._call(self._accept)

    def stall(self) -> None:
        """Swallow all bytes in both directions from now on, of new connections too."""
        self._call(self._stall, True)

    def go_on(self) -> None:
        """Forward what comes over new connections; connections that were stalled stay so."""
        self._call(self._stall, False)

    def pause_after(self, count: int) -> None:
        """Forward this many more bytes to the server, then read no more from clients."""
        self._call(self._pause, count)

    def resume(self) -> None:
        """End a pause; nothing was lost."""
        self._call(self._pause, None)

    def inject(self, data: bytes) -> None:
        """Send these bytes to every client of a WebSocket, in one piece."""
        self._call(self._inject, data)

    async def until(self, condition: Callable[[Proxy], bool]) -> None:
        """Wait until this holds; it is asked again after everything that happens."""
        await anyio.to_thread.run_sync(self._wait, condition, abandon_on_cancel=True)

    # In the proxy's own thread

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        async with anyio.create_task_group() as self._tasks:
            await self._accept()
            yield
            self._tasks.cancel_scope.cancel()

    def _call(self, method: Callable[..., object], *args: object) -> None:
        assert self._portal is not None
        self._portal.call(method, *args)
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _wait(self, condition: Callable[[Proxy], bool]) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout=20):
                raise TimeoutError("the proxy never came to be as awaited")

    async def _accept(self) -> None:
        assert self._tasks is not None
        if self._listening is not None:
            return
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port)
        self.port = listener.extra(SocketAttribute.local_port)
        listener.extra(SocketAttribute.raw_socket).setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK
        )
        scope = self._listening = anyio.CancelScope()

        async def listen() -> None:
            with scope:
                async with listener:
                    await listener.serve(self._serve, self._tasks)

        self._tasks.start_soon(listen)

    async def _refuse(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
            await anyio.wait_all_tasks_blocked()

    async def _cut(self, reset: bool) -> None:
        pairs = set(self._pairs)
        for pair in pairs:
            if reset:
                pair.client.extra(SocketAttribute.raw_socket).setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            pair.scope.cancel()
        # Clients that come back meanwhile are none of those.
        while pairs & self._pairs:
            await anyio.wait_all_tasks_blocked()

    async def _stall(self, stalled: bool) -> None:
        self._stalled = stalled
        for pair in self._pairs:
            pair.swallows = pair.swallows or stalled

    async def _pause(self, count: int | None) -> None:
        self._pause_at = None if count is None else self.upstream_bytes + count
        self._paused.set()
        self._paused = anyio.Event()

    async def _inject(self, data: bytes) -> None:
        for pair in self._pairs:
            if pair.is_websocket:
                await pair.client.send(data)

    async def _serve(self, client: SocketStream) -> None:
        self.accepted += 1
        async with client:
            try:
                server = await anyio.connect_tcp("127.0.0.1", self._target_port)
            except OSError:
                return
            pair = _Pair(client, server)
            pair.swallows = self._stalled
            self._pairs.add(pair)
            self._notify()
            try:
                with pair.scope:
                    async with server, anyio.create_task_group() as tasks:
                        tasks.start_soon(self._forward, pair, client, server)
                        tasks.start_soon(self._forward, pair, server, client)
            finally:
                self._pairs.discard(pair)
                self._notify()

    async def _forward(self, pair: _Pair, source: ByteStream, sink: ByteStream) -> None:
        upstream = source is pair.client
        try:
            while True:
                while upstream and self.is_paused:
                    await self._paused.wait()
                data = await source.receive(_CHUNK)
                if upstream:
                    self.upstream_bytes += len(data)
                    pair.is_websocket = pair.is_websocket or b"Sec-WebSocket-Key" in data
                    self._notify()
                if not pair.swallows:
                    await sink.send(data)
        except _FAILURES:
            pair.scope.cancel()


@contextmanager
def running_proxy(target_port: int) -> Iterator[Proxy]:
    """A proxy that forwards to this port, as long as the block lasts."""
    proxy = Proxy(target_port)
    with start_blocking_portal() as portal:
        proxy._portal = portal
        with portal.wrap_async_context_manager(proxy._running()):
            yield proxy
