"""Where a client may be used: in callbacks of its event loop, and in no other loop or thread."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest
import sniffio
import trio

from rivet_anyio import Client, ClosedError, Connection, Status

from .raw import INIT, Peer, response, serving, text

GUARD = 60


def client(url: str) -> Client:
    return Client(url, metadata_lookup=False, encoding="json")


def connection(client: Client) -> Connection:
    return client.room.get_for_id("a1").connect()


async def waited_for(condition: Callable[[], bool]) -> None:
    """Look again and again: a signal handler does not wake the event loop."""
    while not condition():  # noqa: ASYNC110
        await anyio.sleep(0.01)


def by_call_soon(function: Callable[[], None]) -> None:
    """Call it later, in a callback of the event loop that knows nothing of the task here."""
    if sniffio.current_async_library() == "trio":
        trio.lowlevel.current_trio_token().run_sync_soon(function)
    else:
        asyncio.get_running_loop().call_soon(function, context=contextvars.Context())


def by_signal(function: Callable[[], None]) -> None:
    """Call it in a signal handler, at any moment."""

    def handle(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGUSR1, before)
        function()

    before = signal.signal(signal.SIGUSR1, handle)
    threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1)).start()


def by_loop_signal(function: Callable[[], None]) -> None:
    """As `by_signal`, the way asyncio does it."""
    loop = asyncio.get_running_loop()

    def handle() -> None:
        loop.remove_signal_handler(signal.SIGUSR1)
        function()

    loop.add_signal_handler(signal.SIGUSR1, handle)
    os.kill(os.getpid(), signal.SIGUSR1)


@pytest.mark.parametrize("call", [by_call_soon, by_signal, by_loop_signal])
async def test_streams_are_opened_and_closed_in_callbacks(
    call: Callable[[Callable[[], None]], None],
) -> None:
    if call is by_loop_signal and sniffio.current_async_library() == "trio":
        pytest.skip("Trio has no such callbacks")
    heard: list[dict[str, Any]] = []

    async def talk(peer: Peer) -> None:
        await peer.open()
        while (message := await peer.heard()) is not None:
            asked = json.loads(message[1])["body"]["val"]
            if "subscribe" not in asked:  # whether the actor runs, before a subscription ends
                await peer.send(response(asked["id"], None))
                continue
            heard.append(asked)
            await peer.send(text({"tag": "Event", "val": {"name": "e", "args": [1]}}))

    with anyio.fail_after(GUARD):
        async with serving(talk) as url, client(url) as one, connection(one) as conn:
            made: list[Any] = []
            done = threading.Event()

            def work() -> None:
                try:
                    made.extend((conn.events("e"), conn.status_changes(), repr(conn)))
                except BaseException as exc:
                    made.append(exc)
                done.set()

            call(work)
            await waited_for(done.is_set)
            stream, statuses, _ = made
            assert (await statuses.receive()).status is Status.CONNECTED
            assert await stream.receive() == 1

            done = threading.Event()

            def close() -> None:
                stream.close()
                done.set()

            call(close)
            await waited_for(done.is_set)
            with pytest.raises(ClosedError):
                await stream.receive()
            await waited_for(lambda: len(heard) == 2)
    assert [message["subscribe"] for message in heard] == [True, False]


@contextmanager
def belongs_elsewhere() -> Iterator[None]:
    with pytest.raises(RuntimeError, match="belongs to another event loop or thread"):
        yield


async def events_talk(peer: Peer) -> None:
    await peer.open()
    await peer.send(text({"tag": "Event", "val": {"name": "e", "args": [1]}}) * 3)
    await peer.serve_actions()


async def websocket_talk(peer: Peer) -> None:
    await peer.upgrade()
    await peer.send(b"\x81\x01x" * 3)
    while await peer.heard():
        pass


async def talk(peer: Peer) -> None:
    head = await peer.head()
    peer._buffer = (head + "\r\n\r\n").encode() + peer._buffer
    await (websocket_talk if "/websocket/" in head else events_talk)(peer)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_another_thread_is_refused_and_breaks_nothing(backend: str) -> None:
    """Each thing that a user can do, in another thread's event loop."""
    with anyio.fail_after(GUARD):
        async with serving(talk) as url, client(url) as one:
            handle = one.room.get_for_id("a1")
            by_key = one.room.get_or_create("k")
            conn = handle.connect()
            stream, waiting = conn.events("e"), conn.events("f")
            async with conn, handle.websocket() as ws:
                statuses = conn.status_changes()
                assert await stream.receive() == 1
                assert await ws.receive() == "x"

                async def enter(block: Any) -> None:
                    async with block:
                        pytest.fail("the body ran")

                async def sync(function: Callable[..., object], *args: Any) -> None:
                    function(*args)

                async def pages() -> None:
                    async for _ in one.room.list():
                        pytest.fail("the server answered")

                uses: dict[str, Callable[[], Awaitable[Any]]] = {
                    "action": lambda: handle.echo(1),
                    "resolve": by_key.resolve,
                    "gateway_url": by_key.gateway_url,
                    "send": lambda: handle.send("q", 1),
                    "fetch": lambda: handle.fetch("x"),
                    "stream": lambda: enter(handle.stream("x")),
                    "connect": lambda: enter(handle.connect()),
                    "websocket": lambda: enter(handle.websocket()),
                    "create": lambda: one.room.create("k"),
                    "list": pages,
                    "conn.action": lambda: conn.echo(1),
                    "conn.send": lambda: conn.send("q", 1),
                    "conn.events": lambda: sync(conn.events, "g"),
                    "conn.next_event": lambda: conn.next_event("g"),
                    "conn.wait_connected": conn.wait_connected,
                    "stream.receive": waiting.receive,
                    "stream.__anext__": waiting.__anext__,
                    "stream.aclose": waiting.aclose,
                    "stream.close": lambda: sync(waiting.close),
                    "buffered stream": stream.receive,
                    "statuses": statuses.receive,
                    "ws.send": lambda: ws.send("x"),
                    "ws.receive": ws.receive,
                    "ws.aclose": ws.aclose,
                }

                async def use_all() -> dict[str, BaseException | str]:
                    seen: dict[str, BaseException | str] = {}
                    for name, use in uses.items():
                        try:
                            with anyio.fail_after(5):
                                seen[name] = repr(await use())
                        except BaseException as exc:
                            seen[name] = exc
                    return seen

                seen = await anyio.to_thread.run_sync(lambda: anyio.run(use_all, backend=backend))
                for name, error in seen.items():
                    assert type(error) is RuntimeError, (name, error)
                    assert "belongs to another event loop or thread" in str(error), name
                assert list(seen) == list(uses)
                # Here, all of it still works.
                assert await conn.echo(1) == "echo"
                assert [await stream.receive() for _ in range(2)] == [1, 1]
                assert (await statuses.receive()).status is Status.CONNECTED
                await ws.send("y")
                assert [await ws.receive() for _ in range(2)] == ["x", "x"]
                await ws.aclose()


async def test_no_block_is_left_in_another_thread() -> None:
    with anyio.fail_after(GUARD):
        async with serving(talk) as url, client(url) as one:
            handle = one.room.get_for_id("a1")
            async with handle.connect() as conn, handle.websocket() as ws:

                def leave() -> None:
                    for block in (ws, conn, one):
                        with belongs_elsewhere():
                            block.__aexit__(None, None, None).send(None)

                await anyio.to_thread.run_sync(leave)
                assert await conn.echo(1) == "echo"


@pytest.mark.parametrize("first", ["asyncio", "trio"])
@pytest.mark.parametrize("second", ["asyncio", "trio"])
async def test_a_client_of_an_event_loop_that_has_ended(first: str, second: str) -> None:
    one = Client("http://127.0.0.1:9", metadata_lookup=False)
    handle = one.room.get_for_id("a1")

    async def use() -> None:
        with anyio.fail_after(GUARD):
            with belongs_elsewhere():
                await handle.echo(1)
            with belongs_elsewhere():
                async with handle.connect():
                    pytest.fail("the body ran")

    def both() -> None:
        anyio.run(one.__aenter__, backend=first)
        anyio.run(use, backend=second)

    await anyio.to_thread.run_sync(both)


LINES = """
from rivet_anyio import Client
client = await Client({url!r}, metadata_lookup=False, encoding="json").__aenter__()
block = client.room.get_for_id("a1").connect()
early = block.events("e")
conn = await block.__aenter__()
print("early", await early.receive())
stream = conn.events("e")
print("echo", await conn.echo(1))
print("late", await stream.receive())
stream.close()
"""


async def console_talk(peer: Peer) -> None:
    event = text({"tag": "Event", "val": {"name": "e", "args": [7]}})
    await peer.send(peer.accept(await peer.head()) + event + text(INIT))
    while True:
        body = json.loads((await peer.frame())[1])["body"]
        if body["tag"] == "ActionRequest":
            await peer.send(response(body["val"]["id"], "echo") + event)


async def test_the_console_of_asyncio() -> None:
    """`python -m asyncio` runs each line without await in a callback."""
    with anyio.fail_after(GUARD):
        async with serving(console_talk) as url:
            done = await anyio.run_process(
                [sys.executable, "-m", "asyncio"],
                input=LINES.format(url=url).encode(),
                stderr=subprocess.STDOUT,
                check=False,
            )
    output = done.stdout.decode()
    assert re.findall(r"(early|echo|late) (\w+)", output) == [
        ("early", "7"),
        ("echo", "echo"),
        ("late", "7"),
    ], output
