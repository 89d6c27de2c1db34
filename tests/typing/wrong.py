# mypy: disable-error-code="empty-body"
"""What type checkers must refuse: every line that says so, and no other."""

from __future__ import annotations

from typing import assert_type

from rivet_anyio import Client, Event, EventStream, TypedActor, action, event, live, queue, watch

from .actors import Board, Counter, Job, Lobby, Post, Result, Room, User


async def actions(client: Client) -> None:
    counter = client.get_or_create(Counter, "key")
    await counter.increment("1")  # wrong
    await counter.increment(1, 2)  # wrong
    await counter.increment(wrong=1)  # wrong
    await counter.incremnt(1)  # wrong
    await counter.label()  # wrong
    await counter.label("x", 5)  # wrong
    await counter.add(1, "2")  # wrong
    text: str = await counter.increment(1)  # wrong
    print(text)
    counter.increment(1)  # wrong
    async with counter.connect() as conn:
        await conn.increment("1")  # wrong
        await conn.incremnt(1)  # wrong
        wrong: str = await conn.increment(1)  # wrong
        print(wrong)


async def events(client: Client) -> None:
    async with client.get(Counter).connect() as conn:
        conn.events("newCount")  # wrong
        conn.events(Room.message)  # wrong
        conn.events(Counter.jobs)  # wrong
        conn.events(Counter.new_count, gaps="maybe")  # wrong
        conn.events(Counter.nothing)  # wrong
        conn.events(("newCount", "odd"))  # wrong
        conn.events((Counter.new_count, Room.message))  # wrong
        conn.events([Counter.new_count, Counter.odd])  # wrong
        async for item in conn.events((Counter.new_count, Counter.odd)):
            print(item.value + 1)  # wrong
            if Counter.odd.match(item):
                print(item.value + 1)  # wrong
            item.value = 1  # wrong
        await conn.next_event("newCount")  # wrong
        await conn.next_event(Room.message)  # wrong
        stream: EventStream[str] = conn.events(Counter.new_count)  # wrong
        print(stream)
        async for count in conn.events(Counter.new_count):
            assert_type(count, str)  # wrong
        async for marked in conn.events(Counter.new_count, gaps="mark"):
            print(marked + 1)  # wrong


async def queues(client: Client) -> None:
    counter = client.get(Counter)
    await counter.send(Counter.jobs, Result("x"))  # wrong
    await counter.send("jobs", Job(1))  # wrong
    await counter.send(Counter.new_count, 1)  # wrong
    await counter.send(Room.tasks, "x")  # wrong
    result = await counter.send_and_wait(Counter.jobs, Job(1))
    print(result.response.text)  # wrong


async def params_and_input(client: Client) -> None:
    async def wrong() -> Job:
        return Job(1)

    client.get_or_create(Room, params=Job(1))  # wrong
    client.get_or_create(Room, input=User("t"))  # wrong
    client.get(Room, params="t")  # wrong
    client.get(Room, get_params=wrong)  # wrong
    await client.create(Room, input=5)  # wrong
    client.get(Room).connect(params=5)  # wrong
    client.get(Lobby, params=5)  # wrong


async def models(client: Client) -> None:
    client.get_or_create(Board, params=Job(1))  # wrong
    board = client.get_or_create(Board)
    await board.post({"text": "x"})  # wrong
    await board.post(Post(text="x"), Post(text="y"), "5")  # wrong
    text: str = await board.post(Post(text="x"))  # wrong
    print(text)
    await board.send(Board.drafts, Job(1))  # wrong
    board.close()  # wrong
    client.board.getOrCreate("key")  # wrong
    client.board.get().post(Post(text="x"))  # wrong


async def classes(client: Client) -> None:
    client.get_or_create("counter")  # wrong
    client.get_or_create(Client)  # wrong
    client.get_or_create(int)  # wrong
    client.get_or_create(Counter, 5)  # wrong
    client.get_or_create(Counter, wrong=5)  # wrong
    client.list("counter")  # wrong


class Collides(TypedActor, name="collides"):
    async def resolve(self, depth: int) -> int: ...  # wrong

    status: Event[int]  # wrong


class Keywords(TypedActor, nam="keywords"): ...  # wrong


class Rule(TypedActor, name="rule", rename="snake"): ...  # wrong


class Declarations(TypedActor, name="declarations"):
    count = event("int")  # wrong
    jobs = queue(5)  # wrong

    @action("sync")  # wrong
    def sync(self) -> int:
        raise NotImplementedError

    number: Event[int] = 5  # wrong


async def many_actors(client: Client) -> None:
    watch(("a", "b"))  # wrong
    watch(Counter.jobs)  # wrong
    async with watch(Counter.new_count) as feed:
        feed.add("key")  # wrong
        feed.add(client.get(Counter), 5)  # wrong
        item = await feed.receive()
        print(item.value)  # wrong


def shorter(state: str, event: str) -> str:
    return state[:1]


async def live_states(client: Client) -> None:
    async with client.get(Counter).connect() as conn:
        live(conn, conn.increment, {5: max}, atomic_snapshot=True)  # wrong
        live(conn, conn.increment, {Counter.new_count: shorter}, atomic_snapshot=True)  # wrong
        live(client.counter.get(), conn.increment, {"x": max}, atomic_snapshot=True)  # wrong
