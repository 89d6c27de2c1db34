"""What raw WebSockets have in common with the memory object streams of AnyIO."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectStreamStatistics
from anyio.streams.stapled import StapledObjectStream

from rivet_anyio import ActorError, ActorWebSocket, Client, ClosedError, ConnectionLostError
from rivet_anyio._raw_websocket import _Inbox
from rivet_anyio.testing import Actor, ActorServer, ActorSocket, virtual_backend

from .raw import Peer, close, frame, serving
from .test_raw_closing import GUARD, client, opened, websocket


async def until_buffered(ws: ActorWebSocket, count: int) -> None:
    with anyio.fail_after(GUARD):
        while ws.statistics().current_buffer_used < count:  # noqa: ASYNC110
            await anyio.sleep(0.001)


async def until_ended(ws: ActorWebSocket) -> None:
    with anyio.fail_after(GUARD):
        while ws.statistics().open_send_streams:  # noqa: ASYNC110
            await anyio.sleep(0.001)


async def test_receive_nowait() -> None:
    go_on = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        await go_on.wait()
        await peer.send(frame(1, b"text") + frame(2, b"binary"))
        await peer.frame()

    async with opened(talk) as ws:
        with pytest.raises(anyio.WouldBlock):
            ws.receive_nowait()
        go_on.set()
        await until_buffered(ws, 2)
        assert [ws.receive_nowait(), await ws.receive()] == ["text", b"binary"]
        with pytest.raises(anyio.WouldBlock):
            ws.receive_nowait()


Ends = [
    (close(1000), anyio.EndOfStream),
    (close(1001, "bye"), anyio.EndOfStream),
    (frame(8, b""), anyio.EndOfStream),
    (close(1011, "guard.actor_ready_timeout#ray"), ActorError),
    (close(4001, "bye"), ConnectionLostError),
    (b"", ConnectionLostError),
]


@pytest.mark.parametrize(("last", "error"), Ends)
async def test_an_end_comes_after_what_is_buffered(last: bytes, error: type[Exception]) -> None:
    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        await peer.send(frame(1, b"one") + frame(1, b"two") + last)
        if last:
            await peer.frame()

    async with opened(talk) as ws:
        await until_ended(ws)
        assert [await ws.receive(), ws.receive_nowait()] == ["one", "two"]
        raised: list[Exception] = []
        for _ in range(2):
            with pytest.raises(error) as caught:
                await ws.receive()
            raised.append(caught.value)
            with pytest.raises(error) as caught:
                ws.receive_nowait()
            raised.append(caught.value)
        # A traceback that grew with each of them would be kept with the error.
        assert len(set(map(id, raised))) == len(raised)


async def quiet(peer: Peer) -> None:
    await peer.upgrade()
    await peer.send(frame(1, b"one"))
    await peer.heard()


async def left(ws: ActorWebSocket) -> None:
    await ws.__aexit__(None, None, None)


@pytest.mark.parametrize("end", [ActorWebSocket.aclose, left, anyio.aclose_forcefully])
async def test_nothing_is_taken_from_a_closed_one(
    end: Callable[[ActorWebSocket], Awaitable[None]],
) -> None:
    async with serving(quiet) as url, client(url) as one:
        ws = await websocket(one).__aenter__()
        try:
            await until_buffered(ws, 1)
            await end(ws)
            with pytest.raises(ClosedError):
                ws.receive_nowait()
            with pytest.raises(ClosedError):
                await ws.receive()
            assert ws.statistics().open_receive_streams == 0
            assert ws.statistics().open_send_streams == 0
        finally:
            if end is not left:
                await left(ws)


async def test_before_the_block() -> None:
    ws = websocket(Client("http://127.0.0.1:9"))
    with pytest.raises(ClosedError, match="before 'async with' entered it"):
        ws.receive_nowait()
    assert ws.statistics() == MemoryObjectStreamStatistics(0, 256, 0, 1, 0, 0)


@pytest.mark.usefixtures("way")
async def test_statistics() -> None:
    sent = 300  # more than the buffer takes

    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        await peer.frame()
        await peer.send(b"".join(frame(1, b"%d" % number) for number in range(sent)))
        await peer.heard()

    async with opened(talk) as ws:
        assert ws.statistics() == MemoryObjectStreamStatistics(0, 256, 1, 1, 0, 0)
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(ws.receive)
            await anyio.wait_all_tasks_blocked()
            assert ws.statistics().tasks_waiting_receive == 2
            tasks.cancel_scope.cancel()
        assert ws.statistics().tasks_waiting_receive == 0
        await ws.send("go on")
        await until_buffered(ws, 256)
        assert ws.statistics() == MemoryObjectStreamStatistics(256, 256, 1, 1, 1, 0)
        assert ws.receive_nowait() == "0"
        # A message that was taken without waiting makes capacity as well.
        with anyio.fail_after(GUARD):
            for number in range(1, sent):
                assert await ws.receive() == str(number)
        assert ws.statistics() == MemoryObjectStreamStatistics(0, 256, 1, 1, 0, 0)


async def test_generic_code_takes_them() -> None:
    async def echo(peer: Peer) -> None:
        await peer.upgrade()
        while message := await peer.heard():
            await peer.send(frame(*message))

    async with opened(echo) as ws:
        stapled = StapledObjectStream(ws, ws)
        await stapled.send("one")
        assert await stapled.receive() == "one"
        await stapled.send(b"two")
        buffered = BufferedByteReceiveStream(ws)  # type: ignore[arg-type]
        assert await buffered.receive_exactly(2) == b"tw"
        await stapled.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await stapled.receive()
        with pytest.raises(anyio.ClosedResourceError):
            await stapled.send("three")


async def test_several_are_merged_by_a_task_group() -> None:
    async def two(peer: Peer) -> None:
        await peer.upgrade()
        await peer.send(frame(1, b"one") + frame(1, b"two") + close(1000))
        await peer.frame()

    send, receive = anyio.create_memory_object_stream[str | bytes]()

    async def copy(stream: anyio.abc.ObjectReceiveStream[str | bytes]) -> None:
        async with stream:
            async for message in stream:
                await send.send(message)

    with anyio.fail_after(GUARD):
        async with serving(two) as url, client(url) as one, anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(copy, websocket(one))
            merged = [await receive.receive() for _ in range(6)]
    assert sorted(merged) == ["one"] * 3 + ["two"] * 3
    send.close()
    receive.close()


async def test_a_buffer_full_of_bytes_gets_capacity_back() -> None:
    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        for _ in range(9):
            await peer.send(frame(2, bytes(1024 * 1024)))
        await peer.heard()

    async with opened(talk) as ws:
        await until_buffered(ws, 4)
        assert ws.statistics() == MemoryObjectStreamStatistics(4, 256, 1, 1, 1, 0)
        with anyio.fail_after(GUARD):
            for _ in range(9):
                assert len(await ws.receive()) == 1024 * 1024
        assert ws.statistics() == MemoryObjectStreamStatistics(0, 256, 1, 1, 0, 0)


class Listener(Actor):
    def __init__(self) -> None:
        self._got: list[str | bytes] = []

    async def on_websocket(self, socket: ActorSocket) -> None:
        async for message in socket:
            self._got.append(message)


async def test_a_send_that_is_cancelled_before_its_message_leaves_sends_nothing() -> None:
    large = bytes(1024 * 1024)  # more than the way to the server takes
    with anyio.fail_after(GUARD):
        async with ActorServer({"listener": Listener}) as server, server.client() as client:
            async with (
                client.listener.get_or_create("k").websocket() as ws,
                anyio.create_task_group() as tasks,
            ):
                with server.network.to_server.hold():
                    tasks.start_soon(ws.send, large)
                    await anyio.wait_all_tasks_blocked()
                    async with anyio.create_task_group() as cancelled:
                        cancelled.start_soon(ws.send, b"cancelled")
                        await anyio.wait_all_tasks_blocked()
                        cancelled.cancel_scope.cancel()
                await ws.send(b"next")
            await anyio.wait_all_tasks_blocked()
            assert server.actor("listener", "k", type=Listener)._got == [large, b"next"]


@pytest.mark.parametrize("anyio_backend", [virtual_backend("asyncio"), virtual_backend("trio")])
async def test_who_receives_elsewhere_hears_at_once_that_the_block_is_left() -> None:
    async with (
        ActorServer({"listener": Listener}) as server,
        server.client(close_timeout=5) as client,
        anyio.create_task_group() as tasks,
        AsyncExitStack() as stack,
    ):
        ended_at: list[float] = []
        socket = await stack.enter_async_context(client.listener.get_or_create().websocket())

        async def receive() -> None:
            with pytest.raises(ClosedError):
                await socket.receive()
            ended_at.append(anyio.current_time())

        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        with server.network.to_server.hold():
            left_at = anyio.current_time()
            await stack.aclose()
            assert anyio.current_time() == left_at + 5
        assert ended_at == [left_at]


@pytest.mark.parametrize("anyio_backend", [virtual_backend("asyncio"), virtual_backend("trio")])
async def test_who_waits_to_send_elsewhere_hears_that_the_block_is_left() -> None:
    errors: list[Exception] = []
    async with (
        ActorServer({"listener": Listener}) as server,
        server.client(close_timeout=5) as client,
        anyio.create_task_group() as tasks,
        AsyncExitStack() as stack,
    ):
        socket = await stack.enter_async_context(client.listener.get_or_create().websocket())

        async def send() -> None:
            try:
                await socket.send(bytes(50_000))
            except (ClosedError, ConnectionLostError) as error:
                errors.append(error)

        with server.network.to_server.hold():
            for _ in range(9):
                tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            waiting = len(socket._outbox.waiters)
            assert waiting and not errors
            await stack.aclose()
    assert len(errors) >= waiting


@pytest.mark.parametrize(
    ("size", "most"), [(0, 256), (1, 256), (16 * 1024, 256), (16 * 1024 + 65, 255), (1024**2, 4)]
)
async def test_how_much_is_kept_of_what_came_together(size: int, most: int) -> None:
    inbox = _Inbox()
    together: list[str | bytes] = [b"x" * size] * 60
    taken = 0
    while not inbox.is_full():
        got = inbox.take(together)
        assert got == 60 or inbox.is_full()
        taken += got
    assert taken == len(inbox.messages) == most
    inbox.pop()
    assert not inbox.is_full()
