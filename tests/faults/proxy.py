"""A TCP proxy that fails on demand.

It runs in a thread and an event loop of its own, so the task tree and the cancellations of a test
never touch it. Its methods block for a moment at most and may be called from anywhere. Whatever
it does to bytes, it never delivers one twice.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Literal

import anyio
import sniffio
import trio
from anyio.abc import SocketAttribute, SocketStream, TaskGroup
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.peers.raw import make_closing_reset
from tests.servers._ports import reserve_port

from .toxics import Broken, Link, Onward, Reset, Toxic
from .upgrades import Frames, Goodbye, Reply, UpgradeFault

__all__ = ["Direction", "Proxy", "running_proxy"]

_CHUNK = 64 * 1024
_FAILURES = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    OSError,
    Broken,
)
_GOODBYE_SECONDS = 1.0

Direction = Literal["up", "down"]
"""Up is to the server."""


class _Pair:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, client: SocketStream, server: SocketStream) -> None:
        self.client = client
        self.server = server
        self.scope = anyio.CancelScope()
        self.gone = anyio.Event()
        self.links: dict[Direction, Link] = {"up": object(), "down": object()}
        self.is_websocket = False
        self.swallows = False
        self.swallows_down = False
        self.is_lost = False
        self.frames = Frames()
        self.fault: UpgradeFault | None = None
        self.to_client = anyio.Lock()


class Proxy:
    """Forwards what comes to `port` on 127.0.0.1 to another port there."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.accepted = 0
        self.upstream_bytes = 0
        self.downstream_bytes = 0
        self._target_port = target_port
        self._portal: BlockingPortal | None = None
        self._tasks: TaskGroup | None = None
        self._listening: anyio.CancelScope | None = None
        self._deaf = anyio.Event()
        self._pairs: set[_Pair] = set()
        self._lost: list[_Pair] = []
        self._toxics: dict[Direction, tuple[Toxic, ...]] = {"up": (), "down": ()}
        self._upgrade_faults: deque[UpgradeFault] = deque()
        self._stalled = False
        self._pause_at: int | None = None
        self._paused = anyio.Event()
        self._waiting: set[Callable[[], object]] = set()

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

    @property
    def waiting_faults(self) -> int:
        """How many faults wait for a handshake."""
        return len(self._upgrade_faults)

    def cut(self, *, reset: bool = False) -> None:
        """End every connection, with a FIN or with a reset."""
        self._call(self._cut, reset)

    def cut_server_side(self) -> None:
        """End every connection to the server; the clients learn of it by the proxy."""
        self._call(self._cut_server_side)

    def half_close(self) -> None:
        """Send a FIN to every client of a WebSocket, but go on listening to it."""
        self._call(self._half_close)

    def half_open(self) -> None:
        """Lose every connection without a word to either side: no FIN, and nobody reads."""
        self._call(self._half_open)

    def bury(self) -> None:
        """Close what `half_open` lost."""
        self._call(self._bury)

    def refuse(self) -> None:
        """Let nobody connect any more; what is connected stays. (toxiproxy: down)"""
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

    def close_websockets(self, code: int, reason: str = "") -> None:
        """Close every WebSocket in the server's name, between two of its frames."""
        self._call(self._close_websockets, Goodbye(code, reason))

    def fail_upgrade(self, fault: UpgradeFault) -> None:
        """Let this happen to the next handshake that has no other fault before it."""
        self._call(self._upgrade_faults.append, fault)

    def forgive_upgrades(self) -> None:
        """Take back the faults that no handshake has met."""
        self._call(self._upgrade_faults.clear)

    @contextmanager
    def toxic(self, *toxics: Toxic, on: tuple[Direction, ...] = ("up", "down")) -> Iterator[None]:
        """Let all bytes go through these, one after another, as long as the block lasts."""
        before = dict(self._toxics)
        for direction in on:
            self._toxics[direction] = (*before[direction], *toxics)
        try:
            yield
        finally:
            self._toxics.update(before)

    async def until(self, condition: Callable[[Proxy], bool], seconds: float = 60) -> None:
        """Wait until this holds; it is asked again after everything that happens here."""
        with anyio.fail_after(seconds):
            while True:
                happened = anyio.Event()
                wake = partial(_run_soon(), happened.set)
                self._waiting.add(wake)
                try:
                    if condition(self):
                        return
                    await happened.wait()
                finally:
                    self._waiting.discard(wake)

    # In the proxy's own thread

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        with reserve_port() as port:
            async with anyio.create_task_group() as self._tasks:
                self.port = port.number
                await self._accept()
                try:
                    yield
                finally:
                    self._tasks.cancel_scope.cancel()
                    with anyio.CancelScope(shield=True):
                        await self._bury()

    def _call(self, method: Callable[..., object], *args: object) -> None:
        assert self._portal is not None
        self._portal.call(method, *args)
        self._notify()

    def _notify(self) -> None:
        for wake in tuple(self._waiting):
            wake()

    async def _accept(self) -> None:
        assert self._tasks is not None
        if self._listening is not None:
            return
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port)
        listener.extra(SocketAttribute.raw_socket).setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK
        )
        scope = self._listening = anyio.CancelScope()
        deaf = self._deaf = anyio.Event()

        async def listen() -> None:
            with scope:
                async with listener:
                    await listener.serve(self._serve, self._tasks)
            deaf.set()

        self._tasks.start_soon(listen)

    async def _refuse(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None
            await self._deaf.wait()

    async def _cut(self, reset: bool) -> None:
        # WebSockets last: who comes back at once must not find a connection that is about to end.
        for pair in sorted(self._pairs, key=lambda pair: pair.is_websocket):
            if reset:
                make_closing_reset(pair.client)
            await self._part(pair)

    async def _cut_server_side(self) -> None:
        for pair in tuple(self._pairs):
            await pair.server.aclose()

    async def _half_close(self) -> None:
        assert self._tasks is not None
        for pair in tuple(self._pairs):
            if pair.is_websocket:
                pair.swallows_down = True
                self._tasks.start_soon(_quietly, partial(self._end_sending, pair))

    async def _end_sending(self, pair: _Pair) -> None:
        async with pair.to_client:
            await pair.client.send_eof()

    async def _half_open(self) -> None:
        for pair in tuple(self._pairs):
            pair.is_lost = True
            await self._part(pair)

    async def _part(self, pair: _Pair) -> None:
        pair.scope.cancel()
        await pair.gone.wait()

    async def _bury(self) -> None:
        pairs, self._lost = self._lost, []
        for pair in pairs:
            await pair.client.aclose()
            await pair.server.aclose()

    async def _stall(self, stalled: bool) -> None:
        self._stalled = stalled
        for pair in self._pairs:
            pair.swallows = pair.swallows or stalled

    async def _pause(self, count: int | None) -> None:
        self._pause_at = None if count is None else self.upstream_bytes + count
        self._paused.set()
        self._paused = anyio.Event()

    async def _inject(self, data: bytes) -> None:
        for pair in tuple(self._pairs):
            if pair.is_websocket:
                async with pair.to_client:
                    await pair.client.send(data)

    async def _close_websockets(self, goodbye: Goodbye) -> None:
        assert self._tasks is not None
        for pair in tuple(self._pairs):
            if pair.is_websocket and pair.fault is None:
                pair.fault = goodbye
                # In the middle of a frame, whoever delivers the rest of it will do this.
                self._tasks.start_soon(_quietly, partial(self._deliver, pair, b""))

    async def _serve(self, client: SocketStream) -> None:
        self.accepted += 1
        try:
            server = await anyio.connect_tcp("127.0.0.1", self._target_port)
        except OSError:
            await client.aclose()
            return
        pair = _Pair(client, server)
        pair.swallows = self._stalled
        self._pairs.add(pair)
        self._notify()
        try:
            with pair.scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._forward, pair, "up", client, self._ask)
                    tasks.start_soon(self._forward, pair, "down", server, self._deliver)
        finally:
            if pair.is_lost:
                self._lost.append(pair)
            else:
                with anyio.CancelScope(shield=True):
                    await client.aclose()
                    await server.aclose()
            self._pairs.discard(pair)
            pair.gone.set()
            self._notify()

    async def _forward(
        self,
        pair: _Pair,
        direction: Direction,
        source: SocketStream,
        deliver: Callable[[_Pair, bytes], Awaitable[None]],
    ) -> None:
        try:
            while True:
                while direction == "up" and self.is_paused:
                    await self._paused.wait()
                data = await source.receive(_CHUNK)
                if direction == "up":
                    self.upstream_bytes += len(data)
                    await self._look_for_upgrade(pair, data)
                if not pair.swallows:
                    toxics = self._toxics[direction]
                    await _through(toxics, pair.links[direction], data, partial(deliver, pair))
                self._notify()
        except _FAILURES as end:
            if isinstance(end, Reset):
                make_closing_reset(pair.client)
            late = [toxic.closing_seconds for toxic in self._toxics[direction]]
            await anyio.sleep(max(late, default=0.0))
            pair.scope.cancel()

    async def _look_for_upgrade(self, pair: _Pair, data: bytes) -> None:
        if pair.is_websocket or b"Sec-WebSocket-Key" not in data:
            return
        pair.is_websocket = True
        pair.frames = Frames()
        if self._upgrade_faults and not pair.swallows:
            pair.fault = self._upgrade_faults.popleft()
        if isinstance(pair.fault, Reply):
            await pair.client.send(pair.fault.data)
            raise Broken

    async def _ask(self, pair: _Pair, data: bytes) -> None:
        if not pair.swallows:
            await pair.server.send(data)

    async def _deliver(self, pair: _Pair, data: bytes) -> None:
        """Send to the client, up to where this WebSocket's fault says otherwise."""
        async with pair.to_client:
            ready = 0
            while not (pair.swallows or pair.swallows_down):
                if self._ends_here(pair):
                    if ready:
                        await pair.client.send(data[:ready])
                    await self._end(pair)
                    return
                if ready >= len(data):
                    break
                ready += pair.frames.step(data[ready:]) if pair.is_websocket else len(data)
                pair.is_websocket = pair.is_websocket and not pair.frames.refused
            if ready and not (pair.swallows or pair.swallows_down):
                # Counted first: whoever has got them can rely on the number.
                self.downstream_bytes += len(data)
                await pair.client.send(data)
                self._notify()

    def _ends_here(self, pair: _Pair) -> bool:
        if pair.fault is None or not pair.is_websocket or not pair.frames.at_boundary:
            return False
        return not isinstance(pair.fault, Goodbye) or (pair.frames.count >= pair.fault.after_frames)

    async def _end(self, pair: _Pair) -> None:
        pair.swallows = True
        if isinstance(pair.fault, Goodbye):
            await pair.client.send(pair.fault.frame)
            await pair.client.send_eof()
            pair.scope.deadline = anyio.current_time() + _GOODBYE_SECONDS


async def _through(toxics: tuple[Toxic, ...], link: Link, data: bytes, deliver: Onward) -> None:
    if not toxics:
        await deliver(data)
        return
    onward = partial(_through, toxics[1:], link, deliver=deliver)
    await toxics[0].apply(link, data, onward)


async def _quietly(send: Callable[[], Awaitable[None]]) -> None:
    try:
        await send()
    except _FAILURES:
        pass


def _run_soon() -> Callable[[Callable[[], object]], object]:
    """What runs a function in this event loop, from any thread."""
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.current_trio_token().run_sync_soon
    return asyncio.get_running_loop().call_soon_threadsafe


@contextmanager
def running_proxy(target_port: int) -> Iterator[Proxy]:
    """A proxy that forwards to this port, as long as the block lasts."""
    proxy = Proxy(target_port)
    with start_blocking_portal() as portal:
        proxy._portal = portal
        with portal.wrap_async_context_manager(proxy._running()):
            yield proxy
