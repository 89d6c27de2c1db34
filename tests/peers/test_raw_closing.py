"""How raw WebSockets end: by the peer's close code, and by a cancelled `aclose`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import AnyByteReceiveStream

from rivet_anyio import ActorError, ActorWebSocket, Client, ClosedError, ConnectionLostError

from .raw import Handler, Peer, close, frame, serving

GUARD = 60


def client(url: str) -> Client:
    return Client(url, metadata_lookup=False, close_timeout=GUARD)


def websocket(client: Client) -> ActorWebSocket:
    return client.room.get_for_id("a1").websocket()


@asynccontextmanager
async def opened(handler: Handler) -> AsyncIterator[ActorWebSocket]:
    async with serving(handler) as url, client(url) as one, websocket(one) as ws:
        yield ws


def closing(code: int, reason: str) -> Handler:
    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        await peer.send(close(code, reason))
        await peer.frame()

    return talk


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1012, 1013, 3000, 4001, 4999])
@pytest.mark.parametrize("reason", ["session.expired", "guard.rate_limit#ray", "bye", ""])
async def test_a_close_of_the_actor_s_own_is_no_error_of_the_gateway(
    code: int, reason: str
) -> None:
    with anyio.fail_after(GUARD):
        async with opened(closing(code, reason)) as ws:
            with pytest.raises(ConnectionLostError) as caught:
                await ws.receive()
            assert (caught.value.code, caught.value.reason) == (code, reason)
            assert (ws.close_code, ws.close_reason) == (code, reason)
            with pytest.raises(ConnectionLostError):
                await ws.send("late")


async def test_nothing_is_kept_of_what_comes_after_our_close_frame() -> None:
    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        _, payload = await peer.frame()
        await peer.send(frame(1, b"late") * 100 + frame(8, payload))

    with anyio.fail_after(GUARD):
        async with opened(talk) as ws:
            pass
        assert ws.close_code == 1000
        assert not ws._inbox.messages


async def test_a_close_of_the_gateway() -> None:
    with anyio.fail_after(GUARD):
        reason = "guard.actor_ready_timeout#ray"
        async with opened(closing(1011, reason)) as ws:
            with pytest.raises(ActorError) as caught:
                await ws.receive()
            error = caught.value
            assert (error.group, error.code, error.ray_id) == (
                "guard",
                "actor_ready_timeout",
                "ray",
            )


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_good_close_with_a_reason_that_looks_like_an_error(code: int) -> None:
    with anyio.fail_after(GUARD):
        async with opened(closing(code, "session.expired")) as ws:
            assert [message async for message in ws] == []


async def cancelled(ws: ActorWebSocket) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await ws.aclose(4001, "bye")
    assert scope.cancelled_caught


async def cancelled_later(ws: ActorWebSocket) -> None:
    with anyio.move_on_after(0.05) as scope:
        await ws.aclose(4001, "bye")
    assert scope.cancelled_caught


@pytest.mark.parametrize("end", [cancelled, cancelled_later, anyio.aclose_forcefully])
@pytest.mark.parametrize("stuck", [False, True])
@pytest.mark.usefixtures("way")
async def test_a_cancelled_aclose_drops_the_socket(
    end: Callable[[ActorWebSocket], Awaitable[None]], stuck: bool
) -> None:
    gone = anyio.Event()
    read_on = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        if stuck:
            await read_on.wait()
        await until_gone(peer.stream)
        gone.set()

    woken: list[str] = []

    async def send(ws: ActorWebSocket) -> None:
        with pytest.raises(ClosedError):
            while True:
                await ws.send(b"x" * 1_000_000)
        woken.append("sender")

    async def receive(ws: ActorWebSocket) -> None:
        with pytest.raises(ClosedError):
            await ws.receive()
        woken.append("receiver")

    with anyio.fail_after(GUARD):
        async with opened(talk) as ws:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive, ws)
                if stuck:
                    tasks.start_soon(send, ws)
                    tasks.start_soon(send, ws)
                await anyio.wait_all_tasks_blocked()
                await end(ws)
            # All of it ends while the block is still open.
            assert sorted(woken) == ["receiver"] + ["sender"] * 2 * stuck
            read_on.set()
            await gone.wait()
            for use in (ws.receive, lambda: ws.send("x")):
                with pytest.raises(ClosedError):
                    await use()
            await ws.aclose()


async def until_gone(stream: AnyByteReceiveStream) -> None:
    try:
        while True:
            await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        pass


async def test_a_websocket_of_a_client_that_is_not_open() -> None:
    one = Client("http://127.0.0.1:9", metadata_lookup=False)
    ws = websocket(one)
    with anyio.fail_after(GUARD), pytest.raises(ClosedError, match="the Client was used before"):
        async with ws:
            pytest.fail("the body ran")
    for use in (ws.receive, lambda: ws.send("x")):
        with pytest.raises(ClosedError, match="before 'async with' entered it"):
            await use()
    await ws.aclose()


async def test_a_websocket_that_could_not_be_opened() -> None:
    async def talk(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with anyio.fail_after(GUARD):
        async with serving(talk) as url, client(url) as one:
            ws = websocket(one)
            with pytest.raises(Exception, match="403"):
                async with ws:
                    pytest.fail("the body ran")
            for use in (ws.receive, lambda: ws.send("x")):
                with pytest.raises(ClosedError, match="after its block was left"):
                    await use()
