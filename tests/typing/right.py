# pyright: strict
"""What type checkers must accept, and what they must know of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, assert_type

import httpx
from anyio.streams.memory import MemoryObjectStreamStatistics

from rivet_anyio import (
    UNDEFINED,
    ActorHandle,
    ActorInfo,
    ActorList,
    ActorWebSocket,
    Client,
    EventStream,
    Feed,
    Gap,
    Live,
    Management,
    NamedEvent,
    QueueResult,
    SourceEvent,
    SourceFailed,
    SourceGap,
    Status,
    StatusStream,
    Versions,
    forward,
    live,
    watch,
)

from .actors import Board, Counter, Job, Lobby, OnlyParams, Post, Result, Room, User


async def handles(client: Client) -> None:
    counter = client.get_or_create(Counter, "key", input={"any": 1}, params=["any"])
    assert_type(counter, Counter)
    assert_type(client.get(Counter, ["a", "b"]), Counter)
    assert_type(await client.create(Counter), Counter)
    assert_type(client.get_for_id(Counter, "id"), Counter)
    assert_type(client.list(Counter), ActorList)
    async for info in client.list(Counter, key="key"):
        assert_type(info, ActorInfo)
    assert_type(client.counter.get_or_create("key"), ActorHandle)

    assert_type(await counter.increment(), int)
    assert_type(await counter.increment(by=2), int)
    assert_type(await counter.label("x", "a", "b"), dict[str, Job])
    assert_type(await counter.add(1, b=2.5), float)
    await counter.left_to_server()
    await counter.left_to_server(3)

    assert_type(counter.name, str)
    assert_type(counter.key, tuple[str, ...] | None)
    assert_type(await counter.resolve(), str)
    assert_type(await counter.gateway_url(), str)
    assert_type(await counter.fetch("/"), httpx.Response)
    assert_type(counter.websocket(subprotocols=["chat"]), ActorWebSocket)
    assert_type(await counter.gateway_url("/request/x", by="key"), str)
    client.get_or_create(Counter, crash_policy="restart")
    given = [("Cookie", "a=1"), ("Cookie", "b=2")]
    assert_type(await forward(counter, "GET", "/", headers=given), httpx.Response)
    handle = client.counter.get_or_create("key", crash_policy="destroy")
    assert_type(await forward(handle, "GET", "/", headers={}, content=b""), httpx.Response)


async def managing() -> None:
    async def token() -> str:
        return "token"

    async with Client(token=token) as client:
        management = Management(client)
        assert_type(await management.get("id"), ActorInfo | None)
        assert_type(management.list(Counter, key="key"), ActorList)
        assert_type(management.list("counter"), ActorList)
        assert_type(await management.names(), list[str])
        await management.destroy("id")
        await management.sleep("id")


async def raw(counter: Counter) -> None:
    async with counter.websocket() as ws:
        assert_type(ws.subprotocol, str | None)
    await counter.action("anything", 1, type=int)


async def connections(client: Client) -> None:
    counter = client.get(Counter)
    assert_type(counter.connect(), Counter)
    async with counter.connect() as conn:
        assert_type(conn, Counter)
        assert_type(await conn.increment(1), int)
        assert_type(conn.events(Counter.new_count), EventStream[int])
        assert_type(conn.events(conn.new_count), EventStream[int])
        assert_type(conn.events(Counter.changed, overflow="block"), EventStream[int | None])
        assert_type(conn.events(Counter.moved), EventStream[tuple[float, float]])
        assert_type(conn.events(Counter.anything), EventStream[Any])
        assert_type(conn.events(Counter.odd), EventStream[str])
        assert_type(conn.events(Counter.plain), EventStream[int])
        assert_type(conn.events(Counter.listed), EventStream[list[Job]])
        assert_type(conn.events(Counter.new_count, gaps="raise"), EventStream[int])
        assert_type(conn.events(Counter.new_count, gaps="mark"), EventStream[int | Gap])
        two = conn.events((Counter.new_count, Counter.odd))
        assert_type(two, EventStream[NamedEvent[int] | NamedEvent[str]])
        async for item in two:
            if Counter.new_count.match(item):
                assert_type(item.value, int)
            elif Counter.odd.match(item):
                assert_type(item.value, str)
        async with conn.events((Counter.new_count, Counter.odd, Counter.moved)) as three:
            assert_type(
                await three.receive(),
                NamedEvent[int] | NamedEvent[str] | NamedEvent[tuple[float, float]],
            )
            assert_type(three.statistics(), MemoryObjectStreamStatistics)
        four = (Counter.new_count, Counter.odd, Counter.moved, Counter.listed)
        marked = conn.events(four, gaps="mark")
        assert_type(
            marked.receive_nowait(),
            NamedEvent[int]
            | NamedEvent[str]
            | NamedEvent[tuple[float, float]]
            | NamedEvent[list[Job]]
            | Gap,
        )
        five = conn.events((*four, Counter.plain), overflow="block")
        assert_type(five, EventStream[NamedEvent[Any]])
        one = conn.events((Counter.new_count,), gaps="mark")
        assert_type(one, EventStream[NamedEvent[Any] | Gap])
        assert_type(await conn.next_event(Counter.moved), tuple[float, float])
        async for count in conn.events(Counter.new_count):
            assert_type(count, int)
        assert_type(conn.status, Status)
        assert_type(conn.status_changes(), StatusStream)
        assert_type(conn.connection_id, str | None)
        await conn.wait_connected()


async def leaving(client: Client) -> int:
    async with client.get(Counter).connect() as conn:
        return await conn.increment()


async def queues(client: Client) -> None:
    counter = client.get(Counter)
    await counter.send(Counter.jobs, Job(1))
    assert_type(await counter.send_and_wait(Counter.jobs, Job(1)), QueueResult[Result | None])
    result = await counter.send_and_wait(Counter.plain_jobs, Job(1), timeout=1.0)
    if result.response is not None:
        assert_type(result.response, Result)
    assert_type((await counter.send_and_wait(Counter.open_jobs, Job(1))).response, Any | None)
    untyped = await client.worker.get("key").send_and_wait("jobs", {"any": 1})
    assert_type(untyped, QueueResult)
    print(untyped.response["done"])


async def params_and_input(client: Client) -> None:
    async def later() -> User:
        return User("t")

    room = client.get_or_create(Room, "key", params=User("t"), input=Job(1))
    assert_type(room, Room)
    assert_type(client.get_or_create(Room, "key", get_params=later), Room)
    assert_type(await client.create(Room, "key", input=Job(1)), Room)
    async with room.connect(params=User("t")) as conn:
        assert_type(conn, Room)
    async with room.connect(get_params=later):
        pass
    only = client.get_or_create(OnlyParams, params=User("t"), input=object())
    assert_type(await only.whoami(), User)


async def inheritance(client: Client) -> None:
    lobby = client.get(Lobby, params=User("t"))
    assert_type(lobby, Lobby)
    async with lobby.connect() as conn:
        assert_type(conn.events(Lobby.message), EventStream[str])
        assert_type(conn.events(Lobby.greeted), EventStream[str])
    await lobby.send(Lobby.tasks, "x")
    await either(lobby)


async def either(room: Room) -> None:
    """Takes handles and connections alike."""
    await room.say("hello")


async def signature(counter: Counter) -> None:
    add: Callable[[float, float], Coroutine[Any, Any, float]] = counter.add
    await add(1, 2)


async def models(client: Client) -> None:
    board = client.get_or_create(Board, params=Post(text="x"), input=[Post(text="y")])
    assert_type(board, Board)
    assert_type(await board.post(Post(text="x")), list[Post])
    await board.post(Post(text="x"), UNDEFINED, 5)
    async with board.connect() as conn:
        assert_type(conn.events(Board.posted), EventStream[Post])
        assert_type(conn.events(Board.changed), EventStream[Post | None])
        assert_type(conn.events(Board.plain), EventStream[Post])
    result = await board.send_and_wait(Board.drafts, Post(text="x"))
    assert_type(result, QueueResult[list[Post] | None])
    handle = client.board.get()
    async with handle.connect() as plain:
        assert_type(plain.events("x"), EventStream[Any])
        assert_type(plain.events("x", type=int, gaps="mark"), EventStream[int | Gap])
        assert_type(plain.events(("x", "y")), EventStream[NamedEvent[Any]])
        assert_type(plain.events(("x", "y"), gaps="mark"), EventStream[NamedEvent[Any] | Gap])
        assert_type(plain.events(("x", "y"), type=int), EventStream[NamedEvent[int]])
    assert_type(await handle.action("post", Post(text="x"), type=Post), Post)
    await assert_type(handle.post(Post(text="x")), Coroutine[Any, Any, Any])


async def many_actors(client: Client) -> None:
    async with watch(Counter.new_count) as feed:
        assert_type(feed, Feed[int])
        feed.add(client.get_or_create(Counter, "key"))
        feed.add(client.counter.get_or_create("key"), key=5)
        assert_type(await feed.receive(), SourceEvent[int] | SourceGap | SourceFailed)
        async for item in feed:
            match item:
                case SourceEvent(_, name, value):
                    assert_type((name, value), tuple[str, int])
                case SourceGap(_, gap):
                    assert_type(gap, Gap | None)
                case SourceFailed(error=error):
                    assert_type(error, BaseException)
    assert_type(watch("a", "b"), Feed[Any])


def last(_: int, count: int) -> int:
    return count


async def live_states(client: Client) -> None:
    async def read() -> dict[str, int]:
        return {}

    versions = Versions[dict[str, int]](lambda state: state["n"], lambda event: event[0])
    assert_type(versions, Versions[dict[str, int]])
    async with client.get(Counter).connect() as conn:
        typed = live(conn, conn.increment, {Counter.new_count: last}, atomic_snapshot=True)
        assert_type(typed, Live[int])
        async with typed as state:
            assert_type(state.value, int)
            assert_type(state.is_current, bool)
            assert_type(state.refreshed, int)
            async for count in state:
                assert_type(count, int)
        mixed = live(
            conn, conn.increment, {Counter.new_count: last, "other": last}, atomic_snapshot=True
        )
        assert_type(mixed, Live[int])
    async with client.counter.get().connect() as plain:
        named = live(plain, read, {"x": lambda state, event: {**state, "n": 1}}, versions=versions)
        assert_type(named, Live[dict[str, int]])
        inline = live(
            plain,
            lambda: plain.action("get", type=int),
            {"x": last},
            versions=Versions(lambda state: state, lambda event: int(event)),
        )
        assert_type(inline, Live[int])
