"""ActorServer: actors, their context and hooks, the log, what leaving the block checks."""

from __future__ import annotations

import datetime as dt
import logging
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import TaskStatus

from rivet_anyio import (
    ActorError,
    ActorInfo,
    Client,
    ClosedError,
    ConfigError,
    ConnectionLostError,
    QueueResult,
    Retry,
    Status,
    action,
)
from rivet_anyio.testing import (
    ActionCalled,
    Actor,
    ActorConnection,
    ActorCrashError,
    ActorCreated,
    ActorDestroyed,
    ActorServer,
    ActorSocket,
    ClientOptions,
    CollectError,
    Connected,
    ConnectionLeakError,
    Disconnected,
    MessageQueued,
    NothingArrivedError,
    Refused,
    Requested,
    SocketClosed,
    SocketOpened,
    Subscribed,
    Unsubscribed,
    UserError,
    collect,
    run_virtual,
)

from .actors import ACTORS, LONG, ChatRoom, Counter, Probe

PATIENCE = 60


class Echo(Actor):
    async def echo(self, value: Any = None) -> Any:
        return value


async def test_actions(recwarn: pytest.WarningsRecorder) -> None:
    class Odd(Actor):
        limit = 3

        async def sendMessage(self, text: str) -> str:
            return self.helper(text)

        @action("math.add")
        async def _add(self, a: int, b: int) -> int:
            return a + b

        @action("run")
        async def renamed(self) -> str:
            return "the action, not the hook"

        @staticmethod
        async def static() -> str:
            return "static"

        def helper(self, text: str) -> str:
            return text.upper()

        async def _hidden(self) -> None:
            pytest.fail("names with an underscore are no actions")

    async with ActorServer({"odd": Odd}) as server, server.client() as client:
        odd = client.odd.get_or_create()
        assert await odd.sendMessage("hi") == "HI"
        assert await odd.math.add(2, 3) == 5
        assert await odd.run() == "the action, not the hook"
        assert await odd.static() == "static"
        for name in ("helper", "limit", "_hidden", "_add", "renamed", "context", "on_create"):
            with pytest.raises(ActorError) as caught:
                await odd.action(name)
            assert caught.value.code == "action_not_found", name


def test_actions_that_cannot_be() -> None:
    class Sync(Actor):
        @action("x")  # type: ignore[type-var]
        def plain(self) -> None: ...

    with pytest.raises(ConfigError, match=r"Sync\.plain is an action: write 'async def plain'"):
        ActorServer({"sync": Sync})

    class Repeated(Actor):
        @action(idempotent=True)
        async def add(self) -> None: ...

    with pytest.raises(ConfigError, match=r"Repeated\.add is called idempotent.*TypedActor"):
        ActorServer({"repeated": Repeated})

    class Twice(Actor):
        async def one(self) -> None: ...

        @action("one")
        async def two(self) -> None: ...

    with pytest.raises(ConfigError, match="'one' twice: one and two"):
        ActorServer({"twice": Twice})


async def test_a_plain_method_is_no_action_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Plain(Actor):
        count = 0

        def increment(self) -> int:
            return 1

        def _helper(self) -> None: ...

    for version in ("2.2", "2.3"):
        caplog.clear()
        async with (
            ActorServer({"plain": Plain}, version=version) as server,
            server.client() as client,
        ):
            with pytest.raises(ActorError, match="not found"):
                await client.plain.get_or_create().increment()
            assert "is no action: write 'async def increment'" in caplog.text
            caplog.clear()
            for name in ("nosuch", "_helper", "count", "on_wake"):
                with pytest.raises(ActorError, match="not found"):
                    await client.plain.get_or_create().action(name)
            assert "async def" not in caplog.text


async def test_an_actor_that_cannot_be_made(caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Actor:
        raise ZeroDivisionError("no actor today")

    with pytest.raises(ActorCrashError, match="which is no Actor"):
        no_actors: Any = {"odd": lambda: 5}
        async with ActorServer(no_actors) as server, server.client() as client:
            with pytest.raises(ActorError, match="internal_error"):
                await client.odd.get_or_create().ping()
    with pytest.raises(ActorCrashError, match="no actor today"):
        async with ActorServer({"odd": make}) as server, server.client() as client:
            with pytest.raises(ActorError, match="internal_error"):
                await client.odd.get_or_create().ping()
            assert "the actor cannot be made" in caplog.text
            assert "no actor today" in caplog.text


async def test_user_errors(caplog: pytest.LogCaptureFixture) -> None:
    error = UserError("no", code="bad", metadata={"a": [1]})
    assert (error.group, error.code, error.message, error.metadata) == (
        "user",
        "bad",
        "no",
        {"a": [1]},
    )
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), twin.code, twin.message, twin.metadata) == (
        UserError,
        "bad",
        "no",
        {"a": [1]},
    )

    class Failing(Actor):
        async def user(self) -> None:
            raise error

        async def other(self) -> None:
            raise ActorError("custom", "thing", "text")

        async def bug(self) -> None:
            raise ZeroDivisionError("a bug in the actor")

        async def odd_metadata(self) -> None:
            raise UserError(metadata=object())

        async def odd_output(self) -> object:
            return object()

    async with ActorServer({"failing": Failing}) as server, server.client() as client:
        failing = client.failing.get_or_create()
        async with failing.connect() as conn:
            for caller in (failing, conn):
                expected = {
                    "user": "user.bad",
                    "other": "custom.thing",
                    "odd_metadata": "core.internal_error",
                }
                for name in ("user", "other", "bug", "odd_metadata", "odd_output"):
                    with pytest.raises(ActorError) as caught:
                        await caller.action(name)
                    said = f"{caught.value.group}.{caught.value.code}"
                    assert said == expected.get(name, "rivetkit.internal_error"), name
    assert "a bug in the actor" in caplog.text, "the traceback is what a test's author needs"


async def test_the_connection_of_an_action() -> None:
    class Who(Actor):
        async def who(self, seconds: float) -> list[str]:
            before = self.context.connection.id
            await anyio.sleep(seconds)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._check, before)
            return [before, self.context.connection.id, self.context.connection.params]

        async def _check(self, id: str) -> None:
            assert self.context.connection.id == id

    async with ActorServer({"who": Who}) as server, server.client() as client:
        who = client.who.get_or_create()
        answers: dict[str, str] = {}

        async def ask(name: str, seconds: float) -> None:
            async with who.connect(params=name) as conn:
                before, after, params = await conn.who(seconds)
                assert before == after == conn.connection_id
                answers[name] = params

        async with anyio.create_task_group() as tasks:
            for n in range(5):
                tasks.start_soon(ask, f"client {n}", 0.05 - n * 0.01)
        assert answers == {f"client {n}": f"client {n}" for n in range(5)}
        with pytest.raises(LookupError, match="no client's call"):
            _ = server.actor("who").context.connection


async def test_broadcasts_and_sends() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as one, probe.connect() as other:
            first, second = one.events("e"), other.events("e")
            await one.echo(1), await other.echo(1)
            context = server.actor("probe", "p").context
            context.broadcast("e", 1, 2)
            assert await first.receive() == await second.receive() == (1, 2)
            to, _ = context.connections
            assert to.id == one.connection_id
            context.send_to(to, "e", "only one")
            assert await first.receive() == "only one"
            to.send("e")
            assert await first.receive() == ()
            context.broadcast("e", "all")
            assert await second.receive() == "all"
            with pytest.raises(TypeError, match="args"):
                context.broadcast("e", object())


async def test_actions_begin_in_order() -> None:
    """As in JavaScript: an action runs to its first await before the next one begins."""
    order: list[int] = []

    class Ordered(Actor):
        async def note(self, n: int) -> int:
            order.append(n)
            await anyio.lowlevel.checkpoint()
            return n

    async with ActorServer({"ordered": Ordered}) as server, server.client() as client:
        ordered = client.ordered.get_or_create()
        async with ordered.connect() as conn:
            sent: list[int] = []

            async def call(n: int) -> None:
                sent.append(n)
                assert await conn.note(n) == n

            async with anyio.create_task_group() as tasks:
                for n in range(100):
                    tasks.start_soon(call, n)
            assert order == sent


async def test_hooks() -> None:
    seen: list[Any] = []

    class Hooked(Actor):
        def __init__(self) -> None:
            with pytest.raises(RuntimeError, match="on_create"):
                _ = self.context

        async def on_create(self, input: Any) -> None:
            seen.append(("create", input, self.context.key))

        async def on_wake(self) -> None:
            seen.append("wake")

        async def on_sleep(self) -> None:
            seen.append("sleep")

        async def on_destroy(self) -> None:
            seen.append("destroy")

        async def on_before_connect(self, connection: ActorConnection) -> None:
            seen.append(("connect", connection.is_http))

        async def on_disconnect(self, connection: ActorConnection) -> None:
            seen.append("disconnect")

        async def nap(self) -> None:
            self.context.sleep()

        async def end(self) -> None:
            self.context.destroy()

    async with ActorServer({"hooked": Hooked}) as server, server.client() as client:
        hooked = client.hooked.get_or_create("k", input={"a": 1})
        async with hooked.connect() as conn:
            await conn.nap()
        await hooked.nap()
        await hooked.end()
        with anyio.fail_after(PATIENCE):
            while "destroy" not in seen or seen.count("disconnect") < 3:
                await anyio.lowlevel.checkpoint()
    assert seen[:3] == [("create", {"a": 1}, ("k",)), "wake", ("connect", False)]
    assert seen.count("wake") == 3 and seen.count("sleep") == 2
    assert ("connect", True) in seen and seen.count("disconnect") == 3
    assert seen.count("destroy") == 1


async def test_state_outlives_sleep_and_restart() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        counter = client.counter.get_or_create()
        await counter.increment(3)
        id = await counter.resolve()
        await server.restart()
        assert await counter.getCount() == 3
        await server.restart(keep_actors=False)
        assert await counter.getCount() == 0
        assert await client.counter.get().resolve() != id


async def test_queues() -> None:
    class Slow(Actor):
        async def run(self) -> None:
            queue = self.context.queue("jobs", "more")
            while True:
                message = await queue.receive()
                assert message.queue in ("jobs", "more")
                await message.complete([message.body])
                with pytest.raises(RuntimeError, match="before"):
                    await message.complete()

        async def waiting(self) -> list[int]:
            names = [("jobs",), ("other",), ("jobs", "other"), ()]
            return [len(self.context.queue(*some)) for some in names]

    async with ActorServer({"slow": Slow}) as server, server.client() as client:
        slow = client.slow.get_or_create()
        assert await slow.send_and_wait("jobs", 1) == QueueResult("completed", [1])
        assert await slow.send_and_wait("more", 2) == QueueResult("completed", [2])
        await slow.send("other", 3)
        await slow.send("third", 3)
        assert await slow.send_and_wait("other", 4, timeout=0.01) == QueueResult("timedOut")
        assert await slow.waiting() == [0, 2, 2, 3]
        queues = [r.queue for r in server.log.of(MessageQueued)]
        assert queues == ["jobs", "more", "other", "third", "other"]
        assert server.log.of(MessageQueued)[-1].waits


async def test_raw_http_and_websocket() -> None:
    class Raw(Actor):
        async def on_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(
                201, json=[request.method, str(request.url), request.content.decode()]
            )

        async def on_websocket(self, socket: ActorSocket) -> None:
            await socket.send(f"{socket.path} {socket.params}")
            assert await socket.receive() == b"bytes"
            await socket.close(4000, "enough")
            with pytest.raises(ClosedError):
                await socket.send("too late")

    async with ActorServer({"raw": Raw, "none": Actor}) as server, server.client() as client:
        raw = client.raw.get_or_create(params={"p": 1})
        response = await raw.fetch("a/b?c=d", method="POST", content=b"body")
        assert (response.status_code, response.json()) == (
            201,
            ["POST", "http://actor/a/b?c=d", "body"],
        )
        async with raw.websocket("chat?x=1") as socket:
            assert await socket.receive() == "/chat?x=1 {'p': 1}"
            with pytest.raises(anyio.WouldBlock):
                socket.receive_nowait()
            assert socket.statistics().open_send_streams == 1
            await socket.send(b"bytes")
            with pytest.raises(ConnectionLostError) as caught:
                await socket.receive()
            with pytest.raises(ConnectionLostError):
                socket.receive_nowait()
            assert socket.statistics().open_send_streams == 0
            assert (caught.value.code, caught.value.reason) == (4000, "enough")
        none = client.none.get_or_create()
        assert (await none.fetch("x")).status_code == 404
        async with none.websocket() as socket:
            await socket.send("nobody answers")
        assert server.log.of(Requested)[0].path == "/a/b?c=d"
        assert server.log.of(Requested)[0].body == b"body"
        assert server.log.of(SocketOpened)[0].path == "/chat?x=1"
        closed = server.log.of(SocketClosed)[0]
        assert (closed.code, closed.reason, closed.by_client) == (4000, "enough", False)


async def test_a_raw_websocket_that_is_closed_without_a_code() -> None:
    class Brief(Actor):
        async def on_websocket(self, socket: ActorSocket) -> None:
            await socket.close()

    async with (
        ActorServer({"brief": Brief}) as server,
        server.client() as client,
        client.brief.get_or_create().websocket() as socket,
    ):
        with pytest.raises(anyio.EndOfStream):
            await socket.receive()
        assert (socket.close_code, socket.close_reason) == (1000, "")


async def test_a_body_that_nobody_reads_to_its_end() -> None:
    closed = anyio.Event()

    class Endless(Actor):
        async def on_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, content=self._parts())

        async def _parts(self) -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 10_000
            finally:
                closed.set()

    async with ActorServer({"endless": Endless}) as server, server.client() as client:
        async with client.endless.get_or_create().stream("") as response:
            assert response.status_code == 200
        with anyio.fail_after(PATIENCE):
            await closed.wait()


async def test_refusals() -> None:
    class Guarded(Actor):
        async def on_before_connect(self, connection: ActorConnection) -> None:
            if connection.params != "please":
                raise UserError("no", code="forbidden", metadata={"say": "please"})

        async def hello(self) -> str:
            return "hello"

    for version, metadata in (("2.0", None), ("2.2", None), ("2.3", {"say": "please"})):
        async with (
            ActorServer({"g": Guarded}, version=version) as server,
            server.client() as client,
        ):
            with pytest.raises(ActorError) as caught:
                async with client.g.get_or_create().connect():
                    pytest.fail("let in")
            error = caught.value
            assert (error.group, error.code, error.metadata) == ("user", "forbidden", metadata)
            async with client.g.get_or_create().connect(params="please") as conn:
                assert await conn.hello() == "hello"
            with pytest.raises(ActorError, match="forbidden"):
                await client.g.get_or_create().hello()
            assert [(r.group, r.code) for r in server.log.of(Refused)] == [("user", "forbidden")]


async def test_the_log() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        room = client.chatRoom.get_or_create(["a", "b"], input=[1], params={"name": "Zoë"})
        async with room.connect() as conn:
            messages = conn.events("message")
            await conn.sendMessage("hi")
            await messages.aclose()
            await conn.getHistory()
        await room.sendMessage("by http")
        server.actor("chatRoom", ["a", "b"]).context.destroy()
        kinds = [type(record) for record in server.log]
        assert kinds == [
            ActorCreated,
            Connected,
            Subscribed,
            ActionCalled,
            Unsubscribed,
            ActionCalled,
            Disconnected,
            ActionCalled,
            ActorDestroyed,
        ]
        created, connected, subscribed, called = server.log[:4]
        assert isinstance(created, ActorCreated) and created.input == [1]
        assert isinstance(connected, Connected) and connected.params == {"name": "Zoë"}
        assert isinstance(subscribed, Subscribed) and subscribed.event == "message"
        assert isinstance(called, ActionCalled)
        assert (called.action, called.args) == ("sendMessage", ("hi",))
        assert called.connection_id == connected.connection_id
        assert str(called.actor) == "chatRoom['a', 'b']"
        left = server.log.of(Disconnected)[0]
        assert (left.code, left.reason, left.by_client) == (1000, "Disposed", True)
        calls = server.log.of(ActionCalled, where=lambda call: call.connection_id is None)
        assert [call.args for call in calls] == [("by http",)]
        mark = len(server.log)
        assert server.log.of(ActionCalled, since=mark) == []
        assert [record.at for record in server.log] == sorted(r.at for r in server.log)
        with pytest.raises(AttributeError):
            called.action = "other"  # type: ignore[misc]
        server.log.clear()
        assert len(server.log) == 0 and "0 records" in repr(server.log)


async def test_wait_for() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        probe = client.probe.get_or_create("w")

        async def call_twice() -> None:
            await probe.echo("first")
            await probe.echo("second")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call_twice)
            second = await server.wait_for(ActionCalled, count=2)
            assert second.args == ("second",)
        first = await server.wait_for(ActionCalled)
        assert first.args == ("first",), "what has arrived before counts"
        named = await server.wait_for(ActionCalled, where=lambda call: call.args == ("second",))
        assert named is second
        record = await server.wait_for(lambda record: record.actor.name == "probe")
        assert isinstance(record, ActorCreated)
        with pytest.raises(
            NothingArrivedError, match=r"0 of 1 Connected within 0.01 s(.|\n)*first"
        ):
            await server.wait_for(Connected, within=0.01)
        with pytest.raises(NothingArrivedError, match="1 of 2"):
            await server.wait_for(ActionCalled, since=len(server.log) - 1, count=2, within=0.01)


async def test_collect() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        probe = client.probe.get_or_create("c")
        async with probe.connect() as conn:
            events = conn.events("n", type=int)
            await conn.emitMany("n", 5)
            assert await collect(events, 3) == [0, 1, 2]
            assert await collect(events, 0) == []
            with pytest.raises(
                CollectError, match=r"2 of 3 items within 0.5 s: \[3, 4\]"
            ) as caught:
                await collect(events, 3, within=0.5)
            assert caught.value.items == [3, 4]
        with pytest.raises(CollectError, match="ended after 0 of 1"):
            await collect(events, 1)


async def hold(server: ActorServer, *, task_status: TaskStatus[None]) -> None:
    """A task that keeps a connection, whatever becomes of the server."""
    async with server.client() as client, client.probe.get_or_create("leak").connect():
        task_status.started()
        await anyio.sleep_forever()


async def test_a_connection_that_is_left_open() -> None:
    async with anyio.create_task_group() as tasks:
        with pytest.raises(ConnectionLeakError, match=r"connection0001 to probe\['leak'\]"):
            async with ActorServer(ACTORS) as server:
                await tasks.start(hold, server)
        tasks.cancel_scope.cancel()


async def test_a_raw_websocket_that_is_left_open() -> None:
    async def hold_raw(server: ActorServer, *, task_status: TaskStatus[None]) -> None:
        async with server.client() as client, client.web.get_or_create("w").websocket() as socket:
            await socket.receive()
            task_status.started()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        with pytest.raises(ConnectionLeakError, match=r"connection0001 to web\['w'\]"):
            async with ActorServer(ACTORS) as server:
                await tasks.start(hold_raw, server)
        tasks.cancel_scope.cancel()


async def test_leaks_can_be_allowed() -> None:
    async with anyio.create_task_group() as tasks:
        async with ActorServer(ACTORS, leaks=False) as server:
            await tasks.start(hold, server)
        tasks.cancel_scope.cancel()


async def test_a_client_that_was_cancelled_leaves_nothing_open() -> None:
    async with ActorServer(ACTORS) as server, anyio.create_task_group() as tasks:
        await tasks.start(hold, server)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("leaks", [True, False])
async def test_the_bodys_exception_is_never_masked(leaks: bool) -> None:
    error = ZeroDivisionError("of the body")
    for raised in (error, ExceptionGroup("of the body", [error])):
        async with anyio.create_task_group() as tasks:
            with pytest.raises((ZeroDivisionError, ExceptionGroup)) as caught:
                async with ActorServer(ACTORS, leaks=leaks) as server:
                    await tasks.start(hold, server)
                    raise raised
            assert caught.value is raised
            tasks.cancel_scope.cancel()


async def test_cancellation_passes_through() -> None:
    with anyio.move_on_after(0.05) as scope:
        async with ActorServer(ACTORS) as server, server.client() as client:
            probe = client.probe.get_or_create()
            async with probe.connect() as conn:
                await conn.slow(60_000, None)
    assert scope.cancelled_caught


async def test_an_actor_that_crashes() -> None:
    class Crashing(Actor):
        async def run(self) -> None:
            raise ZeroDivisionError("in run")

        async def ping(self) -> str:
            return "pong"

    with pytest.raises(ActorCrashError, match=r"crashing\['c'\] crashed: .*in run") as caught:
        async with ActorServer({"crashing": Crashing}) as server, server.client() as client:
            assert await client.crashing.get_or_create("c").ping() == "pong"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(ValueError) as other:
        async with ActorServer({"crashing": Crashing}) as server, server.client() as client:
            await client.crashing.get_or_create("c").ping()
            raise ValueError("of the body")
    assert any("in run" in note for note in other.value.__notes__)


async def test_actors_from_the_test() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        await client.counter.get_or_create("x").increment(4)
        assert server.actor("counter", "x", type=Counter).count == 4
        with pytest.raises(LookupError, match=r"no actor counter\['y'\], only: counter\['x'\]"):
            server.actor("counter", "y")
        with pytest.raises(TypeError, match="is no Probe"):
            server.actor("counter", "x", type=Probe)
        async with client.chatRoom.get_or_create("r").connect() as conn:
            messages = conn.events("message")
            await conn.getHistory()
            server.actor("chatRoom", "r", type=ChatRoom).context.broadcast(
                "message", "from the test"
            )
            assert await messages.receive() == "from the test"


async def test_factories_get_their_arguments() -> None:
    class WithStore(Actor):
        def __init__(self, store: dict[str, int]) -> None:
            self.store = store

        async def read(self, name: str) -> int:
            return self.store[name]

    store = {"a": 1}
    async with ActorServer({"s": lambda: WithStore(store)}) as server, server.client() as client:
        assert await client.s.get_or_create().read("a") == 1


async def test_dates_come_from_the_argument() -> None:
    epoch = dt.datetime(2001, 2, 3, tzinfo=dt.UTC)
    async with ActorServer(ACTORS, epoch=epoch) as server, server.client() as client:
        await client.counter.get_or_create("d").resolve()
        found: list[ActorInfo] = [info async for info in client.counter.list()]
        assert found[0].created_at is not None
        assert epoch <= found[0].created_at < epoch + dt.timedelta(hours=1)
    with pytest.raises(ConfigError, match="time zone"):
        ActorServer(ACTORS, epoch=dt.datetime(2001, 2, 3))


async def test_listing_by_pages() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        for n in range(7):
            await client.counter.get_or_create(str(n)).resolve()
        infos = [info async for info in client.counter.list(page_size=3)]
        assert [info.key for info in infos] == [(str(n),) for n in range(7)]
        assert [info async for info in client.counter.list(page_size=1)] == infos
        server.actor("counter", "0").context.destroy()
        with_gone = [info async for info in client.counter.list(include_destroyed=True)]
        assert len(with_gone) == 7
        assert with_gone[0].destroyed_at is not None


async def test_a_client_of_the_programs_own() -> None:
    async with ActorServer(ACTORS) as server:
        http = server.http_client()
        async with Client(server.endpoint, http=http) as client:
            assert await client.counter.get_or_create().increment() == 1


async def test_outside_the_block() -> None:
    server = ActorServer(ACTORS)
    with pytest.raises(ClosedError, match="before"):
        server.client()
    async with server:
        pass
    with pytest.raises(ClosedError, match="after"):
        server.http_client()
    with pytest.raises(RuntimeError, match="once"):
        async with server:
            pass
    assert "2.3.19" in repr(server)


async def test_a_dashboard_of_fifty_actors() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        seen: dict[int, int] = {}
        ready = [anyio.Event() for _ in range(50)]

        async def follow(n: int) -> None:
            async with client.counter.get_or_create(str(n)).connect() as conn:
                counts = conn.events("newCount")
                await conn.getCount()
                ready[n].set()
                seen[n] = await counts.receive()

        async with anyio.create_task_group() as tasks:
            for n in range(50):
                tasks.start_soon(follow, n)
            for event in ready:
                await event.wait()
            assert len(server.connections) == 50
            for n in range(50):
                await client.counter.get(str(n)).setCount(n)
        assert seen == {n: n for n in range(50)}
        assert server.connections == ()


@pytest.mark.parametrize(
    "options", [{"skip_ready_wait": True}, {"token": "t/k en"}, {"token": "t"}]
)
async def test_other_ways_to_address_an_actor(options: ClientOptions) -> None:
    async with ActorServer(ACTORS) as server, server.client(**options) as client:
        probe = client.probe.get_or_create("p")
        assert await probe.echo(1) == 1
        async with probe.connect() as conn:
            assert await conn.echo(2) == 2
        web = client.web.get_or_create("w")
        assert (await web.fetch("status/404")).text == "status 404"
        async with web.websocket("/chat?x=1") as socket:
            assert await socket.receive() == '{"hello":"/chat?x=1"}'
        http = server.http_client()
        url = f"{await probe.gateway_url()}/action/echo"
        answer = await http.post(url, json={"args": ["by URL"]})
        assert answer.json() == {"output": "by URL"}


async def test_a_stopped_actor_of_2_1_is_told_from_an_action_that_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both are answered with the same error; only a stopped actor's connection is left."""
    caplog.set_level(logging.CRITICAL + 1, "rivet_anyio")

    class Failing(Actor):
        async def fail(self) -> None:
            raise RuntimeError("on purpose")

        async def nap(self) -> None:
            self.context.sleep()

    async with (
        ActorServer({"failing": Failing}, version="2.1") as server,
        server.client(retry=Retry(initial=0.01)) as client,
    ):
        failing = client.failing.get_or_create()
        async with failing.connect() as conn:
            changes = conn.status_changes()
            assert (await changes.receive()).status is Status.CONNECTED
            first = conn.connection_id
            for _ in range(3):
                with pytest.raises(ActorError, match="Internal error"):
                    await conn.fail()
            # Once more, so that the last question has been answered.
            with pytest.raises(ActorError):
                await conn.fail()
            assert conn.connection_id == first
            await failing.nap()
            with anyio.fail_after(PATIENCE):
                with pytest.raises(ActorError) as caught:
                    while True:
                        await conn.nap()
                assert caught.value.code == "internal_error"
                assert (await changes.receive()).status is Status.DISCONNECTED
                await conn.wait_connected()
            assert conn.connection_id != first


async def test_one_message_of_a_connection_after_the_other() -> None:
    """On 2.1 and 2.2; pings are answered meanwhile."""

    class Slow(Actor):
        def __init__(self) -> None:
            self.done: list[str] = []
            self._go = anyio.Event()

        async def wait(self) -> None:
            await self._go.wait()
            self.done.append("wait")

        async def note(self, what: str) -> None:
            self.done.append(what)

        async def release(self) -> list[str]:
            self._go.set()
            return list(self.done)

    async def play(version: str, in_order: bool) -> None:
        async with (
            ActorServer({"slow": Slow}, version=version) as server,
            server.client() as client,
        ):
            slow = client.slow.get_or_create()
            async with slow.connect() as conn, anyio.create_task_group() as tasks:
                changes = conn.status_changes()
                await changes.receive()
                tasks.start_soon(conn.wait)
                await server.wait_for(ActionCalled, where=lambda call: call.action == "wait")
                tasks.start_soon(conn.note, "note")
                with anyio.move_on_after(55):
                    pytest.fail(f"the connection was lost: {await changes.receive()}")
                assert await slow.release() == ([] if in_order else ["note"])
            assert await slow.release() == (["wait", "note"] if in_order else ["note", "wait"])

    for version in ("2.0", "2.1", "2.2", "2.3"):
        in_order = version in ("2.1", "2.2")
        await anyio.to_thread.run_sync(run_virtual, partial(play, version, in_order))


async def test_hooks_that_take_too_long() -> None:
    class Slow(Actor):
        async def on_before_connect(self, connection: ActorConnection) -> None:
            await anyio.sleep_forever()

    async def main() -> None:
        for version, code in (("2.2", "internal_error"), ("2.3", "callback_timed_out")):
            server = ActorServer({"slow": Slow}, version=version)
            async with server, server.client() as client:
                with pytest.raises(ActorError) as caught:
                    await client.slow.get_or_create().anything()
                assert caught.value.code == code
                assert anyio.current_time() % 5 == 0

    await anyio.to_thread.run_sync(run_virtual, main)


async def test_a_real_port_that_fails() -> None:
    quick = Retry(initial=0.01, maximum=0.05)
    async with ActorServer(ACTORS) as server, server.listen() as endpoint:
        client = Client(endpoint, retry=quick)
        async with client, client.probe.get_or_create("tcp").connect() as conn:
            changes = conn.status_changes()
            with server.network.outage(), anyio.fail_after(PATIENCE):
                async for change in changes:
                    if change.status is Status.DISCONNECTED:
                        break
            assert await conn.echo("back") == "back"
            server.drop_connections(1011, "oops")
            await server.wait_for(Connected, count=3, within=PATIENCE)
            assert await conn.echo("back again") == "back again"


async def test_a_real_port() -> None:
    async with ActorServer(ACTORS, **LONG) as server:
        async with server.listen() as endpoint, Client(endpoint) as client:
            assert endpoint.startswith("http://127.0.0.1:")
            probe = client.probe.get_or_create("tcp")
            async with probe.connect() as conn:
                events = conn.events("e")
                await conn.emit("e", "x" * 1_000_000)
                assert len(await events.receive()) == 1_000_000
            async with server.client() as inside:
                assert await inside.probe.get("tcp").resolve() == await probe.resolve()
            port = int(endpoint.rpartition(":")[2])
            with pytest.raises(OSError):
                async with server.listen(port):
                    pass
        # The port may be somebody else's by now; it must not lead here.
        id = server.actor("probe", "tcp").context.actor_id
        seen = len(server.log)
        async with httpx.AsyncClient() as http:
            try:
                await http.get(f"{endpoint}/gateway/{id}/request/")
            except httpx.HTTPError:
                pass
        assert len(server.log) == seen


def test_nothing_is_imported_without_asking() -> None:
    code = "import sys, rivet_anyio; print([m for m in sys.modules if 'rivet_anyio.testing' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = "import sys, rivet_anyio.testing; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "rivet_anyio")


async def test_destroy_of_an_actor_that_is_gone_destroys_no_other() -> None:
    async with (
        ActorServer(ACTORS) as server,
        server.client() as client,
        server.client() as other,
    ):
        probe = client.probe.get_or_create("p")
        assert await probe.echo(1) == 1
        await other.probe.get("p").destroy()
        await server.wait_for(ActorDestroyed)
        await other.probe.get_or_create("p").echo(1)
        with pytest.raises(ActorError, match="not_found"):
            await probe.destroy()
        assert await other.probe.get("p").echo(1) == 1
        assert len(server.log.of(ActorDestroyed)) == 1
