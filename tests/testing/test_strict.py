"""As strict as a real server: hooks, queues, state, schedules, sleep, limits, unused faults.

What real servers do is compared in tests/real/facts.py; here is what only the harness can show.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from typing import Any, ClassVar

import anyio
import pytest

from rivet_anyio import (
    ActorError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    Retry,
    Status,
    action,
)
from rivet_anyio.protocol.verdicts import PROBE
from rivet_anyio.testing import (
    ActionCalled,
    Actor,
    ActorConnection,
    ActorCrashError,
    ActorDestroyed,
    ActorServer,
    ActorSocket,
    QueueMessage,
    UnusedFaultError,
    UserError,
    simulate,
    virtual_backend,
)

from .actors import ACTORS, Counter, Forgetful, Napper, Odd, Tally


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "rivet_anyio")


# Classes


def spelt(name: str) -> type[Actor]:
    async def hook(self: Actor, *args: Any) -> None: ...

    return type("Chat", (Actor,), {name: hook})


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("onConnect", "name the hook 'on_connect'"),
        ("onBeforeConnect", "name the hook 'on_before_connect'"),
        ("createConnState", "name the hook 'create_conn_state'"),
        ("onDisconnect", "name the hook 'on_disconnect'"),
        ("onRequest", "name the hook 'on_request'"),
        ("onWebSocket", "name the hook 'on_websocket'"),
        ("createVars", "name the hook 'create_vars'"),
        ("onSleep", "name the hook 'on_sleep'"),
        ("onStateChange", "has no hook 'onStateChange'"),
        ("on_state_change", "has no hook 'onStateChange'"),
        ("onBeforeActionResponse", "has no hook"),
        ("create_state", "has no hook 'createState'"),
    ],
)
def test_hooks_in_rivetkits_spelling(name: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=rf"Chat\.{name} is spelt like .*{advice}"):
        spelt(name)


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("on_conect", "on_connect"),
        ("onConect", "on_connect"),
        ("on_connected", "on_connect"),
        ("on_conn", "on_connect"),
        ("on_connection", "on_connect"),
        ("on_dissconnect", "on_disconnect"),
        ("create_conn_sate", "create_conn_state"),
        ("on_before_conn", "on_before_connect"),
        ("before_connect", "on_before_connect"),
        ("create_var", "create_vars"),
        ("can_subscribed", "can_subscribe"),
        ("on_web_socket", "on_websocket"),
        ("on_wakeup", "on_wake"),
        ("on_destroyed", "on_destroy"),
    ],
)
def test_a_name_that_is_nearly_a_hook(name: str, hook: str) -> None:
    for make in (spelt, lambda name: type("Mixed", (type("Chat", (), {name: print}), Actor), {})):
        with pytest.raises(ConfigError) as raised:
            make(name)
        assert str(raised.value) == (
            f"Chat.{name} is spelt nearly like the hook {hook!r}: name it so, or mark an action of "
            f"that name with @action({name!r})"
        )


@pytest.mark.parametrize("name", ["sleep_timout", "action_timeouts", "queue", "stateSaveInterval"])
def test_a_name_that_is_nearly_a_setting(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"Chat\.{name} is spelt nearly .*set self\.{name} in"):
        type("Chat", (Actor,), {name: 5.0})


@pytest.mark.parametrize(
    "name",
    [
        *("connect", "disconnect", "subscribe", "destroy", "sleep", "wake", "create", "request"),
        *("runs", "on_message", "on_update", "on_delete", "on_start", "create_room", "websocket"),
        *("can_describe", "context_of", "timeout", "save_state", "create_user_state", "join"),
    ],
)
def test_a_name_that_is_an_action(name: str) -> None:
    ActorServer({"chat": spelt(name)})


def test_a_hook_that_is_no_async_def() -> None:
    with pytest.raises(ConfigError, match="write 'async def on_connect'"):

        class Sync(Actor):
            def on_connect(self, connection: ActorConnection) -> None:  # type: ignore[override]
                pass


async def test_an_action_with_the_name_of_a_hook() -> None:
    class Named(Actor):
        @action("onConnect")
        async def connect(self) -> str:
            return "an action"

        @action("on_conect")
        async def on_conect(self) -> str:
            return "an action"

        @action("_hidden")
        async def hidden(self) -> str:
            return "an action, too"

        async def _private(self) -> None: ...

    async with ActorServer({"named": Named}) as server, server.client() as client:
        named = client.named.get_or_create()
        assert await named.action("onConnect") == await named.on_conect() == "an action"
        assert await named.action("_hidden") == "an action, too"
        with pytest.raises(ActorError, match="not found"):
            await named.action("_private")


@pytest.mark.parametrize("wrong", [dict, object, 5, None, "Chat", Counter()])
def test_what_makes_no_actor(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="the actor 'chat' is"):
        ActorServer({"chat": wrong})


@pytest.mark.parametrize("value", [[], {}, set[int]()])
def test_state_that_all_actors_would_share(value: Any) -> None:
    class Shop(Actor):
        pass

    Shop.items = value  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"Shop\.items is .*: set self\.items in __init__"):
        ActorServer({"shop": Shop})


def test_tables_of_a_class() -> None:
    class Shop(Actor):
        prices: ClassVar[dict[str, int]] = {"tea": 5}
        _names = ["tea"]  # noqa: RUF012

    ActorServer({"shop": Shop})


# Hooks


class Hooked(Actor):
    def __init__(self) -> None:
        self.called: list[str] = []

    async def on_before_connect(self, connection: ActorConnection) -> None:
        self.called.append("on_before_connect")

    async def create_conn_state(self, connection: ActorConnection) -> Any:
        self.called.append("create_conn_state")
        return "state"

    async def on_connect(self, connection: ActorConnection) -> None:
        self.called.append(f"on_connect {connection.state} {len(self.context.connections)}")

    async def on_disconnect(self, connection: ActorConnection) -> None:
        self.called.append(f"on_disconnect {len(self.context.connections)}")

    async def hello(self) -> Any:
        return self.context.connection.state


EACH = ["on_before_connect", "create_conn_state", "on_connect state 1", "on_disconnect 0"]


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3"])
async def test_hooks_of_every_call(version: str) -> None:
    async with (
        ActorServer({"hooked": Hooked}, version=version) as server,
        server.client() as client,
    ):
        hooked = client.hooked.get_or_create()
        for _ in range(2):
            assert await hooked.hello() == "state"
            await anyio.sleep(1)
        async with hooked.connect() as conn:
            assert await conn.hello() == "state"
        await anyio.sleep(1)
        assert server.actor("hooked", type=Hooked).called == EACH * 3


# State


async def test_unsaved_changes_can_be_lost() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=Retry()) as client:
        tally = client.tally.get_or_create()
        assert await tally.increment() == 1
        await server.restart(unsaved="lost")
        assert server.actor("tally", type=Tally).count == 0
        assert await tally.increment() == 1
        await tally.save()
        assert await tally.increment() == 2
        await server.restart(unsaved="lost")
        assert await tally.increment() == 2
        await server.restart()
        assert await tally.increment() == 3


async def test_a_crash_at_the_moment_of_a_change_comes_before_its_save() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        counter = client.counter.get_or_create()
        await counter.increment()
        await anyio.sleep(10)
        assert await counter.increment() == 2
        await server.restart(unsaved="lost")
        assert await counter.getCount() == 1


async def test_calls_that_change_nothing_put_no_save_off() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        counter = client.counter.get_or_create()
        await counter.increment()
        await anyio.sleep(10)
        assert await counter.getCount() == 1
        await anyio.sleep(0.5)
        assert await counter.increment() == 2
        await anyio.sleep(0.1)
        await server.restart(unsaved="lost")
        assert await counter.getCount() == 2


async def test_a_state_is_saved_after_a_while() -> None:
    """At the first change at once, and then once in every interval."""
    async with ActorServer(ACTORS) as server, server.client() as client:
        counter = client.counter.get_or_create()
        for n in range(5):
            assert await counter.increment() == n + 1
            await anyio.sleep(0.3)
        # Saved when it was created, at 0; then at 1 s, with what was changed until 0.9 s.
        await server.restart(unsaved="lost")
        assert await counter.getCount() == 4


async def test_the_state_makes_a_round_trip() -> None:
    class Kept(Actor):
        shared = "of the class"

        def __init__(self) -> None:
            self.items: Any = ()
            self._made = object()

        async def put(self) -> None:
            self.items = (1, {2: b"x"}, {3}, dt.datetime(2020, 1, 1, tzinfo=dt.UTC), 10**20)

        async def drop(self) -> None:
            del self.items

    async with ActorServer({"kept": Kept}) as server, server.client() as client:
        kept = client.kept.get_or_create()
        await kept.put()
        actor = server.actor("kept", type=Kept)
        made = actor._made
        for stop in (actor.context.sleep, None):
            if stop is None:
                await server.restart()
            else:
                stop()
                await anyio.sleep(1)
            assert server.actor("kept") is actor
            expected = [1, {2: b"x"}, {3}, dt.datetime(2020, 1, 1, tzinfo=dt.UTC), 10**20]
            assert actor.items == expected
            assert actor._made is not made
            await kept.action("put")
        await kept.drop()
        await server.restart()
        assert not hasattr(actor, "items")


async def test_a_state_that_cannot_be_saved(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Actor):
        def __init__(self) -> None:
            self.items: list[Any] = []

        async def put(self) -> str:
            self.items.append({"event": anyio.Event()})
            return "put"

    async with ActorServer({"bad": Bad}) as server, server.client() as client:
        bad = client.bad.get_or_create("x")
        with pytest.raises(ActorError, match="internal_error"):
            await bad.put()
        assert "the state of bad['x'] cannot be saved: self.items[0].event: " in caplog.text
        with pytest.raises(TypeError, match=r"bad\['x'\] cannot be saved: self\.items\[0\]"):
            await server.restart()


@pytest.mark.parametrize("version", ["2.1", "2.2"])
async def test_a_state_that_is_too_large(version: str) -> None:
    """RivetKit answers such a call, and then its process dies."""

    class Large(Actor):
        text = ""

        async def put(self, size: int) -> str:
            self.text = "x" * size
            return "put"

    async def put(version: str, *sizes: int) -> None:
        async with (
            ActorServer({"large": Large}, version=version) as server,
            server.client() as client,
        ):
            for size in sizes:
                assert await client.large.get_or_create().put(size) == "put"

    with pytest.raises(ActorCrashError, match=r"large.* 140\d\d\d bytes: RivetKit 2\.[12]"):
        await put(version, 100_000, 140_000)
    for other in ("2.0", "2.3"):
        await put(other, 140_000)


async def test_a_state_that_cannot_be_saved_at_a_sleep() -> None:
    with pytest.raises(ActorCrashError, match=r"counter\[\] cannot be saved: self\.count"):
        async with ActorServer(ACTORS) as server, server.client() as client:
            await client.counter.get_or_create().getCount()
            counter: Any = server.actor("counter")
            counter.count = print
            counter.context.sleep()
            await anyio.sleep(1)


async def test_no_hook_runs_after_a_crash() -> None:
    called: list[str] = []

    class Hooks(Actor):
        async def on_sleep(self) -> None:
            called.append("on_sleep")

        async def on_disconnect(self, connection: ActorConnection) -> None:
            called.append("on_disconnect")

        async def hello(self) -> str:
            return "hello"

    async with ActorServer({"hooks": Hooks}) as server, server.client() as client:
        hooks = client.hooks.get_or_create()
        async with hooks.connect() as conn:
            assert await conn.hello() == "hello"
            await server.restart(unsaved="lost", downtime=1)
            assert called == []
            await conn.wait_connected()
            assert await conn.hello() == "hello"
        await anyio.sleep(1)
        assert called == ["on_disconnect"]


# Vars, schedules, sleep


async def test_vars() -> None:
    class Plain(Actor):
        async def on_wake(self) -> None:
            self.context.vars.event = anyio.Event()

        async def look(self) -> bool:
            return bool(self.context.vars.event.is_set())

        async def on_create(self, input: Any) -> None:
            with pytest.raises(RuntimeError, match="from on_wake on"):
                print(self.context.vars)

    async with ActorServer({"plain": Plain}) as server, server.client() as client:
        assert await client.plain.get_or_create().look() is False


async def test_scheduled_actions() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        odd = client.odd.get_or_create()
        await odd.later(7_200_000, "two hours")
        await odd.laterAt(3_600_000, "one hour")
        await odd.laterAt(-5000, "at once")
        await anyio.sleep(2)
        await server.restart(unsaved="lost", downtime=10)
        await anyio.sleep(3 * 3600)
        assert await odd.noted() == [["at once", 0], ["one hour", 0], ["two hours", 0]]
        calls = server.log.of(ActionCalled, where=lambda call: call.action == "note")
        assert [round(call.at) for call in calls] == [0, 3600, 7200]
        await odd.later(1000, "never")
        await server.restart(keep_actors=False)
        await anyio.sleep(10)
        assert len(server.log.of(ActionCalled, where=lambda call: call.action == "note")) == 3


async def test_a_schedule_waits_until_the_server_is_back() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        await client.odd.get_or_create().later(5000, "late")
        await server.restart(downtime=60)
        call = await server.wait_for(ActionCalled, where=lambda call: call.action == "note")
        assert round(call.at) == 60


async def test_schedules_that_go_wrong(caplog: pytest.LogCaptureFixture) -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        await client.odd.get_or_create().noted()
        context = server.actor("odd").context
        with pytest.raises(ValueError):
            context.schedule.after(-1, "note")
        with pytest.raises(ValueError, match="time zone"):
            context.schedule.at(dt.datetime(2024, 1, 1), "note")
        with pytest.raises(TypeError, match=r"args\[0\]"):
            context.schedule.after(1, "note", print)
        context.schedule.after(1, "noSuchAction")
        await anyio.sleep(2)
        assert "the scheduled action 'noSuchAction' failed" in caplog.text


async def test_nobody_called_a_scheduled_action() -> None:
    class Later(Actor):
        who = "?"

        async def begin(self) -> None:
            self.context.schedule.after(1, "go")

        async def go(self) -> None:
            try:
                self.who = self.context.connection.id
            except LookupError:
                self.who = "nobody"

        async def run(self) -> None:
            with pytest.raises(LookupError):
                print(self.context.connection)

    async with ActorServer({"later": Later}) as server, server.client() as client:
        await client.later.get_or_create().begin()
        await anyio.sleep(2)
        assert server.actor("later", type=Later).who == "nobody"


async def test_sleep() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        napper = client.napper.get_or_create()
        await napper.noted()
        await anyio.sleep(0.9)
        assert await napper.noted() == ["wake"]
        await anyio.sleep(0.9)
        assert await napper.slow(5000) == ["wake"]
        await anyio.sleep(24 * 3600)
        assert server.actor("napper", type=Napper).done == ["wake", "sleep"]
        assert await napper.noted() == ["wake", "sleep", "wake"]


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3"])
async def test_who_goes_to_sleep_is_not_destroyed(version: str) -> None:
    async with ActorServer({"odd": Odd}, version=version) as server, server.client() as client:
        odd = client.odd.get_or_create("o")
        await odd.note("noted")
        await odd.endTwice("sleep", "destroy")
        await anyio.sleep(10)
        assert [what for what, _ in await odd.noted()] == ["noted"]
        assert not server.log.of(ActorDestroyed)


async def test_who_stays_awake() -> None:
    slept: list[str] = []

    class Busy(Actor):
        sleep_timeout: ClassVar[float | None] = 1.0
        name = "?"

        async def on_create(self, input: Any) -> None:
            self.name = input

        async def on_sleep(self) -> None:
            slept.append(self.name)

        async def run(self) -> None:
            if self.name == "runs":
                await anyio.sleep(10)
            elif self.name == "waits":
                await self.context.queue("jobs").receive()
            elif self.name == "works":
                async for message in self.context.queue("jobs"):
                    await anyio.sleep(10)
                    await message.complete()

        async def hello(self) -> None: ...

    class Restless(Busy):
        sleep_timeout = None

    actors = {"busy": Busy, "restless": Restless}
    async with ActorServer(actors) as server, server.client() as client:
        for name in ("idle", "runs", "waits", "works", "connected", "raw"):
            await client.busy.get_or_create(name, input=name).hello()
        await client.restless.get_or_create("restless", input="restless").hello()
        await client.busy.get("works").send("jobs", 1)
        async with (
            client.busy.get("connected").connect() as conn,
            client.busy.get("raw").websocket(),
        ):
            await conn.hello()
            await anyio.sleep(5)
            assert sorted(slept) == ["idle", "waits"]
        await anyio.sleep(20)
        assert sorted(slept) == ["connected", "idle", "raw", "runs", "waits", "works"]


async def test_a_busy_handler_of_a_raw_websocket_does_not_hold_up_its_client() -> None:
    """Pings are answered meanwhile, and so is the close frame."""
    done: list[str] = []

    class Busy(Actor):
        async def on_websocket(self, socket: ActorSocket) -> None:
            async for data in socket:
                await anyio.sleep(1000)
                done.append(str(data))

        async def on_disconnect(self, connection: ActorConnection) -> None:
            done.append("on_disconnect")

    async with ActorServer({"busy": Busy}) as server, server.client() as client:
        async with client.busy.get_or_create().websocket() as socket:
            await socket.send("one")
            await anyio.sleep(500)
            left = anyio.current_time()
        assert anyio.current_time() == left
        await anyio.sleep(1)
        assert done == ["on_disconnect"]
        await anyio.sleep(1000)
        assert done == ["on_disconnect", "one"]


# Queues


async def test_a_worker_that_forgets_to_complete() -> None:
    with pytest.raises(ActorCrashError, match=r"previous_message_not_completed.*'never'"):
        async with ActorServer(ACTORS) as server, server.client() as client:
            worker = client.forgetful.get_or_create()
            assert (await worker.send_and_wait("jobs", "never", timeout=1)).status == "timedOut"
            assert (await worker.send_and_wait("jobs", "next", timeout=1)).status == "timedOut"
            assert server.actor("forgetful", type=Forgetful).bodies == ["never"]


async def test_a_message_comes_again_after_a_crash() -> None:
    class Slow(Actor):
        async def run(self) -> None:
            async for message in self.context.queue("jobs"):
                taken.append(message)
                await anyio.sleep(10)
                await message.complete(message.body)

    taken: list[QueueMessage] = []
    async with ActorServer({"slow": Slow}) as server, server.client() as client:
        slow = client.slow.get_or_create()
        await slow.send("jobs", "one")
        for body in ("two", "three"):
            await slow.send("jobs", body)
            await anyio.sleep(5)
            await server.restart(unsaved="lost")
            with pytest.raises(RuntimeError, match="comes again"):
                await taken[0].complete()
        result = await slow.send_and_wait("jobs", "four", timeout=60)
        assert result.response == "four"
        bodies = [message.body for message in taken]
        assert bodies == ["one", "one", "one", "two", "three", "four"]


async def test_a_completion_that_cannot_travel_keeps_the_message() -> None:
    class Clumsy(Actor):
        async def run(self) -> None:
            async for message in self.context.queue("jobs"):
                with pytest.raises(TypeError):
                    await message.complete(object())
                await message.complete("at last")

    async with ActorServer({"clumsy": Clumsy}) as server, server.client() as client:
        clumsy = client.clumsy.get_or_create()
        assert (await clumsy.send_and_wait("jobs", 1, timeout=1)).response == "at last"


async def test_messages_that_are_not_completable() -> None:
    class Plain(Actor):
        async def run(self) -> None:
            async for message in self.context.queue("jobs", completable=False):
                with pytest.raises(RuntimeError, match="completable=False"):
                    await message.complete()

    async with ActorServer({"plain": Plain}) as server, server.client() as client:
        plain = client.plain.get_or_create()
        for _ in range(2):
            assert (await plain.send_and_wait("jobs", 1, timeout=1)).status == "timedOut"


async def test_20_has_no_queues_and_calls_no_run() -> None:
    class Worker(Actor):
        runs = 0

        async def run(self) -> None:
            self.runs += 1

        async def take(self) -> None:
            await self.context.queue("jobs").receive()

        async def count(self) -> int:
            return self.runs

    async with (
        ActorServer({"worker": Worker}, version="2.0") as server,
        server.client() as client,
    ):
        worker = client.worker.get_or_create()
        with pytest.raises(ActorError, match="internal_error"):
            await worker.take()
        with pytest.raises(RuntimeError, match=r"RivetKit 2\.0\.33 has no queues"):
            server.actor("worker").context.queue()
        assert await worker.count() == 0


async def test_a_queue_that_is_full() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        worker = client.worker.get_or_create()
        for n in range(1000):
            await worker.send("stuck", n)
        with pytest.raises(ActorError, match="Queue is full") as caught:
            await worker.send("stuck", 1000)
        assert (caught.value.group, caught.value.code) == ("queue", "full")
        assert caught.value.metadata == {"limit": 1000}


# Faults and limits


@pytest.mark.parametrize(("version", "code"), [("2.2", "timed_out"), ("2.3", "action_timed_out")])
async def test_a_delay_counts_for_the_time_of_the_action(version: str, code: str) -> None:
    async with ActorServer(ACTORS, version=version) as server, server.client() as client:
        counter = client.counter.get_or_create()
        for error in (None, UserError("no")):
            server.faults.delay_action("increment", 120)
            if error is not None:
                server.faults.fail_action("increment", error)
            began = anyio.current_time()
            with pytest.raises(ActorError) as caught:
                await counter.increment()
            assert caught.value.code == code
            assert anyio.current_time() == began + 60
        assert await counter.getCount() == 0


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3"])
async def test_a_refusal_by_the_gateway_closes_the_connection(version: str) -> None:
    async with ActorServer(ACTORS, version=version) as server, server.client() as client:
        handle = client.counter.get_or_create()
        error = ActorError("guard", "service_unavailable", "text")
        server.faults.refuse_connects(error=error)
        began = anyio.current_time()
        try:
            async with handle.connect() as conn:
                assert await conn.getCount() == 0
        except ActorError as refused:
            assert "text" not in str(refused)
        assert anyio.current_time() - began < 60


async def test_limits_of_our_own() -> None:
    async with (
        ActorServer(
            ACTORS, max_incoming_message_size=1000, max_outgoing_message_size=2000
        ) as server,
        server.client() as client,
    ):
        odd = client.odd.get_or_create()
        assert await odd.length("x" * 900) == 900
        with pytest.raises(ActorError, match="Incoming message too long"):
            await odd.length("x" * 1000)
        assert len(await odd.big(1900)) == 1900
        with pytest.raises(ActorError, match="Outgoing message too long"):
            await odd.big(2000)


ARMED: dict[str, Callable[[ActorServer], object]] = {
    "fail_action('increment')": lambda server: server.faults.fail_action("increment", UserError()),
    "delay_action('increment')": lambda server: server.faults.delay_action("increment", 1),
    "lose_reply('increment', key=['x'])": lambda server: server.faults.lose_reply(
        "increment", key="x"
    ),
    "drop_connections(actor='counter', key=['x'])": lambda server: server.drop_connections(
        actor="counter", key="x"
    ),
    "refuse_connects(actor='counter')": lambda server: server.faults.refuse_connects(
        actor="counter"
    ),
}


@pytest.mark.parametrize("name", ARMED)
async def test_a_fault_that_never_happens(name: str) -> None:
    with pytest.raises(UnusedFaultError) as caught:
        async with ActorServer(ACTORS) as server:
            ARMED[name](server)
    assert f"{name}, armed at {__file__}:" in str(caught.value)

    async with ActorServer(ACTORS, unused_faults="ignore") as server:
        ARMED[name](server)
    async with ActorServer(ACTORS) as server:
        ARMED[name](server)
        server.faults.clear()
    with pytest.raises(ZeroDivisionError):
        async with ActorServer(ACTORS) as server:
            ARMED[name](server)
            raise ZeroDivisionError


async def test_a_fault_that_happened_is_used() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        counter = client.counter.get_or_create()
        server.faults.fail_action("increment", UserError(), times=3)
        server.faults.lose_reply("getCount")
        server.faults.refuse_connects(2)
        with pytest.raises(UserError.__mro__[1]):
            await counter.increment()
        with pytest.raises((ConnectionLostError, ConnectError)):
            await counter.getCount()
        with pytest.raises(ConnectError, match="503"):
            async with counter.connect():
                pass


@pytest.mark.parametrize(
    ("arm", "match"),
    [
        (
            lambda f: f.lose_reply("incremnt"),
            "no actor has an action 'incremnt', only",
        ),
        (
            lambda f: f.fail_action("echo", UserError(), actor="counter"),
            "the actor 'counter' does not have an action 'echo', only: getCount",
        ),
        (lambda f: f.delay_action(None, 1, actor="contour"), "there is no actor 'contour', only:"),
        (lambda f: f.refuse_connects(actor="contour"), "there is no actor 'contour'"),
        (
            lambda f: f.lose_request(queue="job", actor="worker"),
            "the actor 'worker' does not have a queue 'job', only: jobs, stuck",
        ),
    ],
)
async def test_misspelt_faults(arm: Callable[[Any], None], match: str) -> None:
    async with ActorServer(ACTORS) as server:
        with pytest.raises(LookupError, match=match):
            arm(server.faults)


async def test_other_misspelt_names() -> None:
    async with ActorServer(ACTORS) as server:
        for look in (server.actor, lambda name: server.drop_connections(actor=name)):
            with pytest.raises(LookupError, match="there is no actor 'contour', only: "):
                look("contour")
        with pytest.raises(ValueError, match="a path that begins with '/', not 'orders'"):
            server.faults.lose_reply(fetch="orders")


async def test_a_worker_that_misspells_its_queue() -> None:
    class Worker(Actor):
        queues = ("jobs",)

        async def run(self) -> None:
            self.context.queue("jbos")

    with pytest.raises(ActorCrashError, match="Worker has no queue 'jbos', only: jobs"):
        async with ActorServer({"worker": Worker}) as server, server.client() as client:
            await client.worker.get_or_create().send("jobs", 1)


async def test_queues_that_can_be_any() -> None:
    """Who does not declare its queues may have one of every name."""
    async with ActorServer(ACTORS) as server:
        server.faults.lose_reply(queue="job")
        server.faults.lose_reply(queue="*", actor="worker")
        server.faults.clear()


async def test_one_fault_for_one_request() -> None:
    """All delays happen, and of the other faults one for each request."""
    async with ActorServer(ACTORS) as server, server.client() as client:
        counter = client.counter.get_or_create()
        faults = server.faults
        faults.lose_reply("increment")
        faults.delay_action("increment", 0)
        faults.fail_action("increment", UserError(code="broke"))
        faults.lose_reply("increment")
        faults.refuse_request(503, "increment")
        answers: list[object] = []
        for _ in range(5):
            try:
                answers.append(await counter.increment())
            except (ActorError, ConnectionLostError) as error:
                answers.append(getattr(error, "code", None) or type(error))
        assert answers == [
            ConnectionLostError,
            "broke",
            ConnectionLostError,
            ConnectionLostError,
            3,
        ]


async def test_actions_of_what_a_function_makes_are_not_known() -> None:
    async with ActorServer({"odd": lambda: Odd()}) as server, server.client() as client:
        server.faults.fail_action("whatever", UserError())
        with pytest.raises(ActorError, match="user_error"):
            await client.odd.get_or_create().whatever()


async def test_the_timeline_says_how_long_after_a_failure_an_attempt_begins() -> None:
    retry = Retry(initial=4, maximum=4, random=lambda: 1.0)
    async with ActorServer(ACTORS) as server, server.client(retry=retry) as client:
        async with client.probe.get_or_create("p").connect() as conn:
            for is_refused in (True, False):
                await anyio.sleep(100)
                if is_refused:
                    server.network.refuse(5)
                server.drop_connections()
                await anyio.sleep(60)
            assert conn.status is Status.CONNECTED
        lines = [line for line in server.timeline().splitlines() if "to connect" in line]
    first, lost, *again, lost_again = (line.partition("to connect")[2] for line in lines)
    assert (first, lost, lost_again) == ("", "", "")
    assert again == [" after 4.000 s"] * 4


async def test_the_timeline() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        assert server.timeline() == ""
        counter = client.counter.get_or_create("x" * 500)
        await counter.increment()
        await anyio.sleep(100)
        await server.restart(unsaved="lost")
        with pytest.raises(ActorError):
            await client.probe.get_or_create("p").fail("plain")
        for _ in range(6000):
            server.network.refuse()
        lines = server.timeline().splitlines()
        assert lines[0].startswith("... ") and len(lines) == 5001
        assert max(map(len, lines)) < 1000
        assert lines[-1].split(maxsplit=2) == [
            "100.000",
            "network",
            "refuses the next 1 connections",
        ]
        server.network.clear()


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3"])
async def test_a_probe_is_no_failure_in_the_timeline(version: str) -> None:
    async with ActorServer(ACTORS, version=version) as server, server.client() as client:
        async with client.counter.get_or_create().connect() as conn:
            async with conn.events("x"):
                pass
            await conn.increment(1)  # its answer comes behind those of probes
        lines = [line for line in server.timeline().splitlines() if "probe" in line]
        # Once for the subscription; where its end may end the server, once more before that.
        assert len(lines) == (2 if version in ("2.1", "2.2") else 1)
        code = "actor.action_not_found" if version == "2.3" else "action.not_found"
        assert all(line.endswith(f" counter[] answers a probe: {code}") for line in lines)
        assert PROBE not in server.timeline() and "failed" not in server.timeline()


@pytest.mark.parametrize(("version", "is_marked"), [("2.3.16", False), ("2.3.17", True)])
async def test_errors_that_a_gateway_marks(version: str, is_marked: bool) -> None:
    """A POST is sent again only after an error that is certainly the gateway's."""
    async with ActorServer(ACTORS, version=version) as server, server.client() as client:
        web = client.web.get_or_create()
        server.faults.fail_request(ActorError("guard", "actor_ready_timeout", ""), fetch="/echo")
        if is_marked:
            assert (await web.fetch("/echo", method="POST")).status_code == 200
        else:
            with pytest.raises(ActorError, match="actor_ready_timeout"):
                await web.fetch("/echo", method="POST")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("seed", range(10))
def test_a_call_that_lets_its_actor_sleep_does_not_wake_it(backend: str, seed: int) -> None:
    """Its `on_disconnect` runs before the sleep, in whatever order tasks run."""
    done: list[str] = []

    class Sleeper(Actor):
        async def rest(self) -> None:
            self.context.sleep()

        async def on_wake(self) -> None:
            done.append("wake")

        async def on_sleep(self) -> None:
            done.append("sleep")

        async def on_disconnect(self, connection: ActorConnection) -> None:
            done.append("disconnect")

    async def main() -> None:
        async with ActorServer({"sleeper": Sleeper}) as server, server.client() as client:
            await client.sleeper.get_or_create().rest()
            await anyio.sleep(10)
            assert done == ["wake", "disconnect", "sleep"]

    simulate(main, seed=seed, backend=backend)
