"""How the body of a connection's block may end, and what is left of it then."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any

import anyio
import pytest

from rivet_anyio import (
    ActorError,
    ActorWebSocket,
    Client,
    ClosedError,
    Connection,
    Gap,
    Retry,
    Status,
)
from rivet_anyio.testing import Actor, ActorServer
from tests.faults.proxy import Proxy
from tests.loops import BACKENDS

from .injection import MEANS, PLACES, cancelled_at, live_tasks, undisturbed

Scoped = Connection | ActorWebSocket
KINDS = ["connection", "websocket"]
_AT_ONCE = Retry(initial=0.001, maximum=0.01)


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def _open(client: Client, kind: str, key: list[str]) -> Scoped:
    if kind == "connection":
        return client.probe.get_or_create(key).connect()
    return client.web.get_or_create(key).websocket("/x")


async def _use(scoped: Scoped) -> None:
    """Everything that waits in a body, ending where it began."""
    if isinstance(scoped, Connection):
        async with aclosing(scoped.events("tick")) as events:
            await scoped.emit("tick", 1)
            assert await events.receive() == 1
        assert await scoped.echo("x") == "x"
        changes = scoped.status_changes()
        assert (await changes.receive()).status is Status.CONNECTED
        await scoped.wait_connected()
    else:
        await scoped.receive()
        await scoped.send("text")
        assert await scoped.receive() == "text"
        await scoped.send(b"bytes")
        assert await scoped.receive() == b"bytes"


async def _is_closed(scoped: Scoped) -> bool:
    try:
        if isinstance(scoped, Connection):
            assert scoped.status is Status.CLOSED
            await scoped.echo("late")
        else:
            await scoped.send("late")
    except ClosedError:
        return True
    return False


@pytest.mark.parametrize("kind", KINDS)
class TestEndings:
    async def test_return(self, client: Client, proxy: Proxy, key: list[str], kind: str) -> None:
        with anyio.fail_after(60):
            await client.probe.get_or_create(key).echo(0)
            with undisturbed():
                async with _open(client, kind, key) as scoped:
                    await _use(scoped)
                assert await _is_closed(scoped)
            await proxy.until(lambda proxy: proxy.websockets == 0)

    async def test_exceptions_come_out_as_themselves(
        self, client: Client, proxy: Proxy, key: list[str], kind: str
    ) -> None:
        cause, context = KeyError("cause"), KeyError("context")
        error = ValueError("body")
        error.__cause__, error.__context__ = cause, context
        with anyio.fail_after(60), undisturbed():
            with pytest.raises(ValueError) as caught:
                async with _open(client, kind, key) as scoped:
                    await _use(scoped)
                    raise error
            assert caught.value is error
            assert error.__cause__ is cause
            assert error.__context__ is context
            assert await _is_closed(scoped)
            await proxy.until(lambda proxy: proxy.websockets == 0)

    @pytest.mark.parametrize("base", [False, True])
    async def test_groups_come_out_as_themselves(
        self, client: Client, key: list[str], kind: str, base: bool
    ) -> None:
        inner = GeneratorExit() if base else ValueError("inner")
        group = BaseExceptionGroup("one", [inner])
        with anyio.fail_after(60), undisturbed():
            with pytest.raises(BaseExceptionGroup) as caught:
                async with _open(client, kind, key) as scoped:
                    raise group
            assert caught.value is group
            assert group.exceptions == (inner,)
            assert group.__cause__ is None
            assert await _is_closed(scoped)

    async def test_outer_cancellation_passes(
        self, client: Client, key: list[str], kind: str
    ) -> None:
        with anyio.fail_after(60), undisturbed():
            went_on = False
            with anyio.CancelScope() as scope:
                async with _open(client, kind, key) as scoped:
                    scope.cancel()
                    await anyio.sleep_forever()
                went_on = True
            assert scope.cancelled_caught
            assert not went_on
            assert await _is_closed(scoped)

    async def test_timeout_passes(self, client: Client, key: list[str], kind: str) -> None:
        with anyio.fail_after(60), undisturbed():
            with pytest.raises(TimeoutError):
                with anyio.fail_after(None) as scope:
                    async with _open(client, kind, key) as scoped:
                        scope.deadline = anyio.current_time() + 0.01
                        await anyio.sleep_forever()
            assert await _is_closed(scoped)

    async def test_an_inner_scope_stays_inside(
        self, client: Client, key: list[str], kind: str
    ) -> None:
        with anyio.fail_after(60), undisturbed():
            async with _open(client, kind, key) as scoped:
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await _use(scoped)
                assert scope.cancelled_caught
                await _use(scoped)

    async def test_an_error_beside_the_cancellation_stays_bare(
        self, client: Client, key: list[str], kind: str
    ) -> None:
        error = ValueError("while being cancelled")
        with anyio.fail_after(60), undisturbed():
            with pytest.raises(ValueError) as caught:
                with anyio.CancelScope() as scope:
                    async with _open(client, kind, key):
                        scope.cancel()
                        try:
                            await anyio.sleep_forever()
                        finally:
                            raise error
            assert caught.value is error

    async def test_siblings_are_not_cancelled(
        self, client: Client, key: list[str], kind: str
    ) -> None:
        with anyio.fail_after(60):
            finished = []
            release = anyio.Event()

            async def sibling() -> None:
                await release.wait()
                finished.append(True)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sibling)
                with pytest.raises(ValueError):
                    async with _open(client, kind, key):
                        raise ValueError
                release.set()
            assert finished == [True]


def _means(anyio_backend: Any, place: str) -> list[str]:
    """The means of a backend; where there are many places, those that differ most."""
    if anyio_backend[0] == "trio":
        return ["scope", "deadline"] if place == "waits" else ["scope"]
    return list(MEANS) if place == "waits" else ["scope", "task-cancel"]


both_backends = pytest.mark.parametrize("anyio_backend", BACKENDS[:2], indirect=True)


async def _cancel_everywhere(
    proxy: Proxy, anyio_backend: Any, place: str, program: Callable[[], Awaitable[None]]
) -> None:
    for means in _means(anyio_backend, place):
        at = 1
        with anyio.fail_after(60), undisturbed():
            before = live_tasks()
            while await cancelled_at(means, place, program, at):
                assert live_tasks() == before, f"tasks outlive a cancellation at step {at}"
                at += 1
        # Fewer would mean that hardly anything was cancelled.
        assert at > (6 if place == "waits" else 20)
    with anyio.fail_after(60):
        await proxy.until(lambda proxy: proxy.websockets == 0)
        await program()


@both_backends
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
async def test_cancelled_at_every_step(
    client: Client, proxy: Proxy, key: list[str], kind: str, place: str, anyio_backend: Any
) -> None:
    opened: list[Scoped] = []

    async def program() -> None:
        for scoped in opened:
            assert await _is_closed(scoped)
        opened.clear()
        async with _open(client, kind, key) as scoped:
            opened.append(scoped)
            await _use(scoped)
        assert opened == [scoped]

    await client.probe.get_or_create(key).echo(0)
    await _cancel_everywhere(proxy, anyio_backend, place, program)


@both_backends
@pytest.mark.parametrize("place", PLACES)
async def test_cancelled_at_every_step_of_a_reconnect(
    client: Client, proxy: Proxy, key: list[str], place: str, anyio_backend: Any
) -> None:
    async def program() -> None:
        async with client.probe.get_or_create(key).connect(retry=_AT_ONCE) as conn:
            changes = conn.status_changes()
            async with conn.events("e", gaps="mark") as stream:
                proxy.cut()
                while (await changes.receive()).status is not Status.DISCONNECTED:
                    pass
                await stream.subscribed()
                assert await conn.echo("again") == "again"
                assert isinstance(await stream.receive(), Gap)
                await conn.emit("e", 1)
                assert await stream.receive() == 1

    await client.probe.get_or_create(key).echo(0)
    await _cancel_everywhere(proxy, anyio_backend, place, program)


async def _use_again(scoped: Scoped, mark: str) -> None:
    """Everything that waits, also when what came before was cut short."""
    if isinstance(scoped, Connection):
        async with scoped.events(mark) as events:
            await scoped.emit(mark, 1)
            assert await events.receive() == 1
        assert await scoped.echo(mark) == mark
        assert await scoped.action("args", 1, mark) == [1, mark]
        await scoped.wait_connected()
        assert (await scoped.status_changes().receive()).status is Status.CONNECTED
    else:
        await scoped.send(mark)
        while await scoped.receive() != mark:
            pass
        await scoped.send(mark.encode())
        assert await scoped.receive() == mark.encode()


@both_backends
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
async def test_cancelled_at_every_step_inside(
    client: Client, key: list[str], kind: str, place: str, anyio_backend: Any
) -> None:
    """What was open before stays open, and works."""
    with anyio.fail_after(60), undisturbed():
        async with _open(client, kind, key) as scoped:
            first = scoped.connection_id if isinstance(scoped, Connection) else None
            await _use_again(scoped, "first")
            tasks = live_tasks()
            for means in _means(anyio_backend, place):
                at = 1
                while await cancelled_at(
                    means, place, partial(_use_again, scoped, f"{means}-{at}"), at
                ):
                    assert live_tasks() == tasks
                    await _use_again(scoped, f"after-{means}-{at}")
                    at += 1
                assert at > 4
            if isinstance(scoped, Connection):
                assert scoped.connection_id == first
                await scoped.echo("leaves after the requests of closed streams")
                assert scoped._link.state.buffers == {} and not scoped._link.state.outbox.items


class TestMany:
    async def test_nested(self, client: Client, key: list[str]) -> None:
        error = ValueError("innermost")
        with anyio.fail_after(60), undisturbed():
            with pytest.raises(ValueError) as caught:
                async with (
                    _open(client, "connection", key) as first,
                    _open(client, "connection", [*key, "2"]) as second,
                    _open(client, "websocket", key) as third,
                ):
                    await _use(first)
                    await _use(second)
                    await _use(third)
                    raise error
            assert caught.value is error
            assert [await _is_closed(each) for each in (first, second, third)] == [True] * 3

    async def test_fifty_at_once(self, client: Client, proxy: Proxy, key: list[str]) -> None:
        answers = []

        async def one(number: int) -> None:
            async with client.probe.get_or_create(key).connect() as conn:
                answers.append(await conn.echo(number))

        with anyio.fail_after(60), undisturbed():
            async with anyio.create_task_group() as tasks:
                for number in range(50):
                    tasks.start_soon(one, number)
            assert sorted(answers) == list(range(50))
            await proxy.until(lambda proxy: proxy.websockets == 0)

    async def test_fifty_cancelled_together(
        self, client: Client, proxy: Proxy, key: list[str]
    ) -> None:
        connections = []

        async def one() -> None:
            async with client.probe.get_or_create(key).connect() as conn:
                connections.append(conn)
                if len(connections) == 25:
                    tasks.cancel_scope.cancel()
                await anyio.sleep_forever()

        with anyio.fail_after(60), undisturbed():
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(one)
            assert {conn.status for conn in connections} == {Status.CLOSED}
            await proxy.until(lambda proxy: proxy.websockets == 0)
            assert await client.probe.get_or_create(key).echo(1) == 1

    async def test_a_failing_task_takes_only_its_group(
        self, client: Client, key: list[str]
    ) -> None:
        error = ValueError("one task")

        async def fail() -> None:
            raise error

        with anyio.fail_after(60), undisturbed():
            async with _open(client, "connection", key) as conn:
                with pytest.raises(ExceptionGroup) as caught:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(_use, conn)
                        tasks.start_soon(fail)
                assert caught.value.exceptions == (error,)
                await _use(conn)


class TestRefusals:
    async def test_a_refusal_is_bare(self, client: Client, key: list[str]) -> None:
        with anyio.fail_after(60), undisturbed():
            with pytest.raises(ActorError) as caught:
                async with client.guarded.get_or_create(key).connect():
                    pytest.fail("the body ran")
            assert (caught.value.group, caught.value.code) == ("user", "forbidden")

    async def test_an_actor_that_is_not_there(self, client: Client, key: list[str]) -> None:
        with anyio.fail_after(60), undisturbed():
            before = anyio.current_time()
            with pytest.raises(ActorError) as caught:
                async with client.probe.get(key).connect():
                    pytest.fail("the body ran")
            assert (caught.value.group, caught.value.code) == ("actor", "not_found")
            assert anyio.current_time() - before < 15
            with pytest.raises(ActorError) as caught:
                async with client.web.get(key).websocket():
                    pytest.fail("the body ran")
            assert (caught.value.group, caught.value.code) == ("actor", "not_found")

    async def test_params_that_fail_come_out_as_themselves(
        self, client: Client, key: list[str]
    ) -> None:
        error = LookupError("no params")

        async def get_params() -> object:
            raise error

        handle = client.probe.get_or_create(key, get_params=get_params)
        with anyio.fail_after(60), undisturbed():
            for scoped in (handle.connect(), handle.websocket()):
                with pytest.raises(LookupError) as caught:
                    async with scoped:
                        pytest.fail("the body ran")
                assert caught.value is error

    async def test_a_server_that_never_says_init(
        self, proxy: Proxy, client: Client, key: list[str]
    ) -> None:
        await client.probe.get_or_create(key).echo(0)
        proxy.stall()
        with anyio.fail_after(60), undisturbed():
            before = anyio.current_time()
            with pytest.raises(Exception) as caught:
                async with client.probe.get_or_create(key).connect(connect_timeout=0.3):
                    pytest.fail("the body ran")
            assert not isinstance(caught.value, ExceptionGroup)
            assert anyio.current_time() - before < 15


class TestOutsideTheBlock:
    async def test_client(self, proxy: Proxy, key: list[str]) -> None:
        client = Client(proxy.endpoint, metadata_lookup=False)
        handle = client.probe.get_or_create(key)

        async def check() -> None:
            with pytest.raises(ClosedError):
                await handle.echo(1)
            with pytest.raises(ClosedError):
                async with handle.connect():
                    pytest.fail("the body ran")
            with pytest.raises(ClosedError):
                async with handle.websocket():
                    pytest.fail("the body ran")

        with anyio.fail_after(60):
            with undisturbed():
                await check()
            async with client:
                assert await handle.echo(1) == 1
            with undisturbed():
                await check()

    async def test_connection(self, client: Client, key: list[str]) -> None:
        conn = client.probe.get_or_create(key).connect()

        async def check() -> None:
            with pytest.raises(ClosedError):
                await conn.echo(1)
            with pytest.raises(ClosedError):
                await conn.next_event("tick")
            with pytest.raises(ClosedError):
                await conn.wait_connected()

        with anyio.fail_after(60):
            await check()
            async with conn:
                events = conn.events("tick")
                changes = conn.status_changes()
                assert await conn.echo(1) == 1
            await check()
            with pytest.raises(ClosedError):
                conn.events("tick")
            assert [event async for event in events] == []
            states = [change.status async for change in changes]
            assert states == [Status.CONNECTED, Status.CLOSED]
            assert [change.status async for change in conn.status_changes()] == [Status.CLOSED]
            with pytest.raises(RuntimeError):
                await conn.__aenter__()

    async def test_other_tasks_learn_that_the_block_was_left(
        self, client: Client, key: list[str]
    ) -> None:
        outcomes: list[object] = []

        async def outcome(call: Callable[[], Awaitable[object]]) -> None:
            try:
                outcomes.append(await call())
            except Exception as error:
                outcomes.append(type(error))

        with anyio.fail_after(60):
            async with (
                anyio.create_task_group() as tasks,
                client.probe.get_or_create(key).connect() as conn,
            ):
                events = conn.events("never")
                tasks.start_soon(outcome, events.receive)
                tasks.start_soon(outcome, lambda: conn.next_event("never"))
                await anyio.wait_all_tasks_blocked()
            assert outcomes.count(anyio.EndOfStream) == 1
            assert outcomes.count(ClosedError) == 1


async def test_nothing_runs_before_the_block_or_after_it(client: Client, key: list[str]) -> None:
    before = live_tasks()
    conn = client.probe.get_or_create(key).connect()
    assert live_tasks() == before
    assert conn.status is Status.CONNECTING


async def test_many_blocks_inside_each_other() -> None:
    """A thousand of them are more than Trio can ask for their deadlines; here, with less depth."""

    class Counter(Actor):
        async def increment(self) -> None: ...

    limit = sys.getrecursionlimit()
    async with ActorServer({"counter": Counter}) as server, server.client() as client:
        counter = client.counter.get_or_create()
        sys.setrecursionlimit(len(inspect.stack(0)) + 200)
        try:
            async with AsyncExitStack() as stack:
                for _ in range(250):
                    await stack.enter_async_context(counter.connect())
        finally:
            sys.setrecursionlimit(limit)
        assert await counter.action("increment") is None
