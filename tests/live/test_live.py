"""A live state over connections in memory, in virtual time."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import anyio
import msgspec
import pytest

import rivet_anyio
import rivet_anyio._live
from rivet_anyio import (
    ActorError,
    ActorHandle,
    Client,
    ClosedError,
    Connection,
    Event,
    Live,
    Versions,
    live,
)
from rivet_anyio.testing import Actor, ActorServer, Unsubscribed, UserError, virtual_backend
from tests.scopes.injection import cancelled_at, live_tasks, undisturbed

State = dict[str, Any]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


class Board(Actor):
    """Posts, with the number of each."""

    def __init__(self) -> None:
        self.posts: list[str] = []

    async def post(self, text: str) -> int:
        self.posts.append(text)
        self.context.broadcast("posted", len(self.posts), text)
        return len(self.posts)

    async def postAndRead(self, text: str) -> State:
        await self.post(text)
        return await self.read()

    async def postSilently(self, text: str) -> None:
        self.posts.append(text)

    async def announce(self, number: int, text: str) -> None:
        self.context.broadcast("posted", number, text)

    async def announceOdd(self) -> None:
        self.context.broadcast("posted", "odd")

    async def read(self, seconds: float = 0.0) -> State:
        state = {"number": len(self.posts), "posts": list(self.posts)}
        if seconds:
            await anyio.sleep(seconds)
        return state


def add(state: State, event: Any) -> State:
    number, text = event
    return {"number": number, "posts": [*state["posts"], text]}


ON = {"posted": add}
VERSIONS = Versions[State](lambda state: state["number"], lambda event: event[0])
MODES: list[dict[str, Any]] = [{"versions": VERSIONS}, {"atomic_snapshot": True}]
modes = pytest.mark.parametrize("mode", MODES, ids=["versions", "atomic"])


class Env(NamedTuple):
    server: ActorServer
    client: Client
    handle: ActorHandle
    conn: Connection

    @property
    def board(self) -> Board:
        return self.server.actor("board", "k", type=Board)

    async def until(self, state: Live[State], number: int) -> None:
        """Wait until the state has that number and is current."""
        async for one in state:
            if one["number"] == number:
                break
        while not state.is_current:  # noqa: ASYNC110
            await anyio.sleep(0.001)


@asynccontextmanager
async def environment(version: str = "2.3") -> AsyncGenerator[Env]:
    actors = {"board": Board}
    async with (
        ActorServer(actors, version=version, unused_faults="ignore") as server,
        server.client() as client,
    ):
        handle = client.board.get_or_create("k")
        async with handle.connect() as conn:
            yield Env(server, client, handle, conn)


@modes
@pytest.mark.parametrize("version", ["2.0", "2.2", "2.3"])
async def test_it_follows_and_heals(mode: dict[str, Any], version: str) -> None:
    async with environment(version) as env:
        await env.handle.post("before")
        async with live(env.conn, env.conn.read, ON, **mode) as state:
            assert state.value["posts"] == ["before"] and state.is_current
            assert state.refreshed == 0
            assert await env.conn.post("a") == 2
            await env.until(state, 2)
            with env.server.network.outage():
                await anyio.sleep(0.1)
                assert not state.is_current and state.value["number"] == 2
                env.board.posts.append("b")
            await env.until(state, 3)
            assert state.refreshed == 1
            await env.handle.post("c")
            await env.until(state, 4)
            assert state.value == {"number": 4, "posts": ["before", "a", "b", "c"]}
            assert state.refreshed == 1
        assert state.value["number"] == 4 and not state.is_current
        await env.server.wait_for(Unsubscribed)


async def test_a_snapshot_that_awaits() -> None:
    """What comes before its answer may be in it or not: the numbers say so."""
    async with environment() as env, anyio.create_task_group() as tasks:

        async def write() -> None:
            for text in "abcdef":
                await env.handle.post(text)
                await anyio.sleep(0.3)

        tasks.start_soon(write)
        async with live(env.conn, lambda: env.conn.read(1.0), ON, versions=VERSIONS) as state:
            numbers = []
            async for one in state:
                assert one["posts"] == list("abcdef")[: one["number"]]
                numbers.append(one["number"])
                if one["number"] == 6:
                    break
            assert numbers == sorted(set(numbers)) and len(numbers) > 2
            assert state.refreshed == 0


async def test_an_event_is_missing_and_nothing_else_says_so() -> None:
    async with (
        environment() as env,
        live(env.conn, env.conn.read, ON, versions=VERSIONS) as state,
    ):
        await env.conn.postSilently("a")
        await anyio.sleep(1)
        assert state.value["number"] == 0
        await env.conn.post("b")
        await env.until(state, 2)
        assert state.value["posts"] == ["a", "b"] and state.refreshed == 1


@modes
async def test_iterators(mode: dict[str, Any]) -> None:
    """Each begins with the state of the moment and skips what it is too slow for."""
    seen: dict[str, list[int]] = {"quick": [], "slow": [], "late": []}
    async with environment() as env, anyio.create_task_group() as tasks:

        async def follow(state: Live[State], name: str, seconds: float = 0.0) -> None:
            async for one in state:
                seen[name].append(one["number"])
                await anyio.sleep(seconds)

        async with live(env.conn, env.conn.read, ON, **mode) as state:
            tasks.start_soon(follow, state, "quick")
            tasks.start_soon(follow, state, "slow", 10.0)
            await anyio.wait_all_tasks_blocked()
            for number in range(1, 6):
                await env.conn.post("x")
                await env.until(state, number)
                await anyio.wait_all_tasks_blocked()
            tasks.start_soon(follow, state, "late")
            await anyio.sleep(15)
            await env.conn.post("x")
            await anyio.sleep(1)
        assert seen["quick"] == [0, 1, 2, 3, 4, 5, 6]
        assert seen["slow"][:2] == [0, 5]
        assert seen["late"] == [5, 6]
        # Iterations give the last state, and end with the block.
    assert seen["slow"] == [0, 5, 6]


async def test_an_iteration_that_is_cancelled_misses_nothing() -> None:
    async with (
        environment() as env,
        live(env.conn, env.conn.read, ON, versions=VERSIONS) as state,
    ):
        states = aiter(state)
        assert (await anext(states))["number"] == 0
        with anyio.move_on_after(1) as scope:
            await anext(states)
        assert scope.cancelled_caught
        await env.conn.post("a")
        await env.until(state, 1)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(states)
        assert scope.cancelled_caught
        assert (await anext(states))["number"] == 1


async def test_cancelled_at_every_wait() -> None:
    at = 0
    async with environment() as env:

        async def program() -> None:
            async with live(env.conn, env.conn.read, ON, versions=VERSIONS) as state:
                states = aiter(state)
                before = (await anext(states))["number"]
                await env.conn.post("x")
                assert (await anext(states))["number"] == before + 1

        for at in range(1, 100):
            with undisturbed():
                was_cancelled = await cancelled_at("scope", "waits", program, at)
                await anyio.wait_all_tasks_blocked()  # the server's, too
            if not was_cancelled:
                break
        assert 4 < at < 99
        await program()
        assert await env.conn.read()


class Oops(Exception):
    """An error of the user's."""


@modes
@pytest.mark.parametrize("where", ["reducer", "snapshot", "of_event"])
async def test_an_error_of_the_user_leaves_the_iteration(mode: dict[str, Any], where: str) -> None:
    if where == "of_event":
        if "versions" not in mode:
            pytest.skip("there are no numbers")
        mode = {"versions": Versions(VERSIONS.of_state, lambda event: 1 // 0)}
    error = Oops("mine")

    def fail(state: State, event: Any) -> State:
        if where == "reducer" and event[0] == 2:
            raise error
        return add(state, event)

    async with environment() as env:
        calls = 0

        async def read() -> State:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise error
            state: State = await env.conn.read()
            return state

        async with live(env.conn, read, {"posted": fail}, **mode) as state:
            states = aiter(state)
            await anext(states)
            if where == "snapshot":
                env.server.drop_connections()
            await env.handle.post("a")
            if where == "reducer":
                await anext(states)
                await env.conn.post("b")
            for one in (states, states, aiter(state)):
                if one is not states:
                    await anext(one)  # the last state
                with pytest.raises(ZeroDivisionError if where == "of_event" else Oops) as caught:
                    await anext(one)
                if where != "of_event":
                    assert caught.value is error
            assert state.value["number"] == (1 if where == "reducer" else 0)
            assert not state.is_current
            assert await env.conn.post("c")


@modes
async def test_what_ended_the_connection(mode: dict[str, Any]) -> None:
    async with environment() as env:
        async with live(env.conn, env.conn.read, ON, **mode) as state:
            states = aiter(state)
            await anext(states)
            env.server.faults.refuse_connects(error=UserError(code="banned"))
            env.server.drop_connections()
            with pytest.raises(ActorError, match="banned"):
                await anext(states)
            assert not state.is_current and state.value["number"] == 0
        with pytest.raises(ActorError, match="banned"):
            async with live(env.conn, env.conn.read, ON, **mode):
                pass


@modes
async def test_each_block_and_iteration_raises_an_error_of_its_own(mode: dict[str, Any]) -> None:
    errors: list[BaseException] = []

    async def follow(conn: Connection, snapshot: Callable[[], Any]) -> None:
        with pytest.raises(ActorError, match="banned") as caught:
            async with live(conn, snapshot, ON, **mode) as state:
                async for _ in state:
                    pass
        errors.append(caught.value)

    async with environment() as env:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(follow, env.conn, env.conn.read)
                tasks.start_soon(follow, env.conn, partial(env.conn.read, 60))
            await anyio.sleep(1)
            env.server.faults.refuse_connects(error=UserError(code="banned"))
            env.server.drop_connections()
        errors.append(env.conn._link.state.closed_error())
    assert len({id(error) for error in errors}) == len(errors) == 5


async def test_the_connection_is_left_first() -> None:
    """By another task, which owns it."""
    async with environment() as env, anyio.create_task_group() as tasks:
        conn = env.handle.connect()
        leave = anyio.Event()

        async def own(task_status: anyio.abc.TaskStatus[None]) -> None:
            async with conn:
                task_status.started()
                await leave.wait()

        for when in ("iterating", "entering"):
            if when == "entering":
                conn, leave = env.handle.connect(), anyio.Event()
            await tasks.start(own)
            seconds = 0.0 if when == "iterating" else 5.0
            read = partial(conn.read, seconds)
            if when == "entering":
                tasks.start_soon(leave_soon, leave)
                with pytest.raises(ClosedError, match="after its block was left"):
                    async with live(conn, read, ON, versions=VERSIONS):
                        pass
                continue
            async with live(conn, read, ON, versions=VERSIONS) as state:
                leave.set()
                assert [one["number"] async for one in state] == [0]
                assert not state.is_current


async def leave_soon(leave: anyio.Event) -> None:
    await anyio.sleep(1)
    leave.set()


@modes
async def test_a_snapshot_that_is_lost_is_repeated(mode: dict[str, Any]) -> None:
    async with environment() as env:
        await env.handle.post("a")
        env.server.faults.lose_reply("read", times=3)
        async with live(env.conn, env.conn.read, ON, **mode) as state:
            assert state.value["posts"] == ["a"]
            env.server.faults.lose_reply("read", times=2)
            env.server.drop_connections()
            await anyio.sleep(0.1)
            await env.handle.post("b")
            await env.until(state, 2)
            assert state.refreshed >= 1


async def test_a_server_that_is_stopping_is_asked_again_without_end() -> None:
    async with environment() as env:
        env.server.faults.fail_action("read", ActorError("actor", "stopping"), times=100)
        began = anyio.current_time()
        with anyio.fail_after(3600):
            async with live(env.conn, env.conn.read, ON, versions=VERSIONS) as state:
                assert state.value["number"] == 0
        assert anyio.current_time() > began + 20


@modes
async def test_the_actor_refuses_the_snapshot(mode: dict[str, Any]) -> None:
    async with environment() as env:
        before = live_tasks()
        env.server.faults.fail_action("read", UserError(code="secret"))
        with pytest.raises(ActorError, match="secret"):
            async with live(env.conn, env.conn.read, ON, **mode):
                pass
        assert live_tasks() == before
        async with live(env.conn, env.conn.read, ON, **mode) as state:
            env.server.faults.fail_action("read", UserError(code="secret"))
            env.server.drop_connections()
            with pytest.raises(ActorError, match="secret"):
                async for _ in state:
                    pass


@modes
async def test_more_events_than_are_kept(
    mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivet_anyio._live, "_BUFFER_SIZE", 4)
    async with environment() as env:
        calls = 0

        async def read() -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:  # what comes before the answer is in it, however much that is
                for _ in range(20):
                    await env.handle.post("x")
            return await env.conn.read()

        async with live(env.conn, read, ON, **mode) as state:
            assert state.value["number"] == 20
            await env.conn.post("x")
            await env.until(state, 21)
            assert state.refreshed == 0
            async with anyio.create_task_group() as tasks:
                for _ in range(20):  # in one read, so that nobody can keep up
                    tasks.start_soon(partial(env.conn.post, "y"))
            await env.until(state, 41)
            assert state.value["posts"] == ["x"] * 21 + ["y"] * 20


async def test_an_event_that_cannot_be_used() -> None:
    async with environment() as env:

        class Typed(rivet_anyio.TypedActor, name="board"):
            posted: Event[tuple[int, str]]

        handle = env.client.get_or_create(Typed, "k")
        async with handle.connect() as conn:
            state = live(conn, env.conn.read, {Typed.posted: add}, versions=VERSIONS)
            async with state:
                await env.conn.post("a")
                await env.until(state, 1)
                await env.conn.postSilently("b")
                await env.conn.announceOdd()
                await env.until(state, 2)
                assert state.refreshed >= 1


class Post(msgspec.Struct):
    text: str


class TypedBoard(rivet_anyio.TypedActor, name="board"):
    posted: Event[tuple[int, str]]
    other: Event[int]

    async def read(self) -> State: ...  # type: ignore[empty-body]

    async def post(self, text: str) -> int: ...  # type: ignore[empty-body]


@modes
@pytest.mark.parametrize("is_typed", [True, False])
@pytest.mark.parametrize("names", [("posted",), (TypedBoard.posted,), (TypedBoard.other, "posted")])
async def test_names_and_typed_events(
    mode: dict[str, Any], is_typed: bool, names: tuple[Any, ...]
) -> None:
    async with environment() as env:
        handle: Any = env.client.get_or_create(TypedBoard, "k") if is_typed else env.handle
        async with (
            handle.connect() as conn,
            live(conn, conn.read, dict.fromkeys(names, add), **mode) as state,
        ):
            await conn.post("a")
            await env.until(state, 1)


@pytest.mark.parametrize("how", ["http", "twice", "never"])
async def test_atomic_snapshots_come_over_the_connection(how: str) -> None:
    async with environment() as env:

        async def read() -> State:
            if how == "http":
                return await env.handle.read()  # type: ignore[no-any-return]
            if how == "twice":
                await env.conn.read()
                return await env.conn.read()  # type: ignore[no-any-return]
            return {"number": 0, "posts": []}

        count = {"http": 0, "twice": 2, "never": 0}[how]
        with pytest.raises(RuntimeError, match=f"^snapshot got {count} answers .* give versions="):
            async with live(env.conn, read, ON, atomic_snapshot=True):
                pass


async def test_numbered_snapshots_go_any_way() -> None:
    async with (
        environment() as env,
        live(env.conn, env.handle.read, ON, versions=VERSIONS) as state,
    ):
        await env.conn.post("a")
        await env.until(state, 1)
        with env.server.network.outage():
            await anyio.sleep(0.1)
            env.board.posts.append("b")
        await env.until(state, 2)


async def test_an_actor_that_was_set_back() -> None:
    """Its numbers begin anew, with other contents."""
    async with (
        environment() as env,
        live(env.conn, env.conn.read, ON, versions=VERSIONS) as state,
    ):
        for text in "abc":
            await env.conn.post(text)
        await env.until(state, 3)
        await env.server.restart(keep_actors=False)
        await env.conn.wait_connected()
        await env.conn.post("x")
        await env.until(state, 1)
        assert state.value["posts"] == ["x"]


@modes
async def test_a_return_without_news_is_no_new_state(mode: dict[str, Any]) -> None:
    async with environment() as env, live(env.conn, env.conn.read, ON, **mode) as state:
        states = aiter(state)
        await anext(states)
        env.server.drop_connections()
        with anyio.move_on_after(100) as scope:
            await anext(states)
        assert scope.cancelled_caught and state.refreshed == 1 and state.is_current


async def test_is_current_is_false_at_once() -> None:
    """Before anybody has seen the gap, and while the snapshot is on its way."""
    async with environment() as env:
        state: Live[State]
        async with live(env.conn, lambda: env.conn.read(1.0), ON, versions=VERSIONS) as state:
            assert state.is_current
            seen = []
            changes = env.conn.status_changes()
            await changes.receive()
            env.server.drop_connections()
            for _ in range(3):
                status = (await changes.receive()).status
                seen.append((str(status), state.is_current))
            assert seen[-1] == ("connected", False)
            assert not any(is_current for _, is_current in seen)
            await anyio.sleep(0.5)
            assert not state.is_current
            await anyio.sleep(1)
            assert state.is_current


async def test_a_block_is_entered_once_and_inside_the_connection() -> None:
    async with environment() as env:
        state = live(env.conn, env.conn.read, ON, versions=VERSIONS)
        assert not state.is_current and state.refreshed == 0
        assert repr(state) == "<Live 'posted' refreshed=0>"
        for use in (lambda: state.value, lambda: anext(aiter(state))):
            with pytest.raises(ClosedError, match="before 'async with' entered it"):
                await result(use)
        async with state:
            pass
        with pytest.raises(RuntimeError, match="entered once"):
            async with state:
                pass
        assert [one["number"] async for one in state] == [0]
        conn = env.handle.connect()
        for _ in range(2):
            with pytest.raises(ClosedError, match="the connection was used"):
                async with live(conn, env.conn.read, ON, versions=VERSIONS):
                    pass
            async with env.handle.connect() as conn:
                pass


async def result(use: Callable[[], Any]) -> None:
    made = use()
    if hasattr(made, "__await__"):
        await made


async def test_arguments_are_checked_in_the_call() -> None:
    async with environment() as env:
        conn, read = env.conn, env.conn.read
        both = {"versions": VERSIONS, "atomic_snapshot": True}
        options: dict[str, Any]
        for options in ({}, both, {"atomic_snapshot": False}, {"versions": None}):
            with pytest.raises(TypeError, match=r"one of two: versions=.*, or atomic_snap"):
                live(conn, read, ON, **options)
        on: Any
        for on in (None, [], {"posted": 5}, {5: add}, "posted", {TypedBoard: add}):
            with pytest.raises(TypeError):
                live(conn, read, on, versions=VERSIONS)
        twice: Any = {"posted": add, TypedBoard.posted: add}
        for wrong in ({}, {"": add}, {"\udc80": add}, twice):
            with pytest.raises(ValueError):
                live(conn, read, wrong, versions=VERSIONS)

        class Other(rivet_anyio.TypedActor, name="other"):
            posted: Event[int]

        async def asked(*_: Any) -> Any: ...

        asks: Any = asked
        with pytest.raises(TypeError, match=r"the value of on\['posted'\] is .* without 'async'"):
            live(conn, read, {"posted": asks}, versions=VERSIONS)
        with pytest.raises(TypeError, match="of_event is a function without 'async'"):
            Versions(len, asks)

        typed = env.client.get_or_create(TypedBoard, "k")
        with pytest.raises(TypeError, match="is no event of TypedBoard"):
            live(typed.connect(), read, {Other.posted: add}, versions=VERSIONS)
        with pytest.raises(ClosedError, match="is a handle"):
            live(typed, read, {TypedBoard.posted: add}, versions=VERSIONS)
        gc.collect()


async def test_a_nested_live_state_and_other_connections() -> None:
    """The answers of other connections are no answers to the snapshot."""
    async with environment() as env, env.handle.connect() as other:

        async def read() -> State:
            await other.read()
            async with live(other, other.read, ON, atomic_snapshot=True) as inner:
                assert inner.is_current
            state: State = await env.conn.read()
            return state

        async with live(env.conn, read, ON, atomic_snapshot=True) as state:
            await env.conn.post("a")
            await env.until(state, 1)


async def test_calls_of_tasks_that_a_snapshot_starts() -> None:
    """They outlive it, and their answers are no answers to it."""
    async with environment() as env, anyio.create_task_group() as tasks:

        async def read() -> State:
            state: State = await env.conn.read()
            tasks.start_soon(post)
            return state

        async def post() -> None:
            await env.conn.postAndRead("a")
            await anyio.sleep(1)
            await env.conn.postAndRead("b")

        async with live(env.conn, read, ON, atomic_snapshot=True) as state:
            await anyio.sleep(2)
            assert state.value["posts"] == ["a", "b"] and state.refreshed == 0


async def test_states_that_are_changed_in_place() -> None:
    def push(state: list[str], event: Any) -> list[str]:
        state.append(event[1])
        return state

    async with environment() as env:

        async def read() -> list[str]:
            return list((await env.conn.read())["posts"])

        async with live(env.conn, read, {"posted": push}, atomic_snapshot=True) as state:
            states = aiter(state)
            assert await anext(states) == []
            await env.conn.post("a")
            assert await anext(states) == ["a"]


@modes
async def test_events_before_the_answer_are_in_it(mode: dict[str, Any]) -> None:
    async with environment() as env:

        async def read() -> State:
            with anyio.move_on_after(1):
                await env.conn.read(2.0)  # it is given up, and its answer is nobody's
            return await env.conn.postAndRead("a")  # type: ignore[no-any-return]

        async with live(env.conn, read, ON, **mode) as state:
            assert state.value["number"] == 1
            await env.conn.post("b")
            await env.until(state, 2)
            assert state.value["posts"] == ["a", "b"] and state.refreshed == 0


async def test_a_gap_before_the_answer_wants_no_other_snapshot() -> None:
    async with environment() as env:
        seconds = 0.0

        async def read() -> State:
            state: State = await env.conn.read(seconds)
            return state

        async with live(env.conn, read, ON, versions=VERSIONS) as state:
            seconds = 40.0
            for _ in range(2):
                env.server.drop_connections()
                await anyio.sleep(20)  # the second time, a snapshot is on its way
            await anyio.sleep(300)
            assert state.is_current and state.refreshed == 1


async def test_a_gap_between_two_answers_of_a_snapshot_wants_another_one() -> None:
    """With `versions`, the first answer may be what the snapshot is made of."""
    async with environment() as env:
        is_first = True

        async def read() -> State:
            nonlocal is_first
            state: State = await env.conn.read()
            if is_first:
                is_first = False
                with env.server.network.outage():
                    await anyio.sleep(0.1)
                    env.board.posts.append("missed")
                await env.conn.wait_connected()
                await env.conn.read()
            return state

        async with live(env.conn, read, ON, versions=VERSIONS) as state:
            with anyio.fail_after(600):
                await env.until(state, 1)
            assert state.value["posts"] == ["missed"] and state.refreshed == 1


async def test_what_was_received_and_not_taken_is_not_current() -> None:
    async with (
        environment() as env,
        live(env.conn, env.conn.read, ON, versions=VERSIONS) as state,
    ):
        assert state.is_current and state._stream is not None
        state._stream._buffer.push((rivet_anyio.NamedEvent("posted", (1, "a")), 1))
        assert not state.is_current and state.value["number"] == 0
        await env.until(state, 1)


async def test_the_server_has_the_subscription_before_the_snapshot() -> None:
    """Also where the snapshot goes another way, which would be quicker."""
    async with environment() as env:
        for number in range(20):
            async with live(env.conn, env.handle.read, ON, versions=VERSIONS) as state:
                assert state._stream is not None
                assert env.conn._link.state.has_subscriptions(state._stream._buffer)
                assert state.value["number"] == number
                await env.handle.post("x")
                await env.until(state, number + 1)
