# mypy: disable-error-code="empty-body"
"""`retry_for`: actions that may run more than once, in virtual time."""

from __future__ import annotations

import gc
import logging
import math
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import rivet_anyio
from rivet_anyio import (
    ActorError,
    ActorSpecifier,
    ClosedError,
    ConfigError,
    ConnectError,
    Connection,
    ConnectionLostError,
    EventOverflowError,
    ProtocolError,
    Retry,
    action,
)
from rivet_anyio._gateway.attempts import OneAttempt
from rivet_anyio._gateway.repeats import may_repeat, repeated
from rivet_anyio.testing import (
    ActionCalled,
    Actor,
    ActorServer,
    UserError,
    virtual_backend,
)

from .actors import ACTORS

SOON = Retry(initial=0.1, maximum=1)
STEADY = Retry(initial=0.1, maximum=1, random=lambda: 1.0)

Act = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


@pytest.fixture(params=["http", "websocket"])
def way(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@asynccontextmanager
async def calling(
    way: str, *, version: str = "2.3", retry: Retry = SOON, **options: Any
) -> AsyncGenerator[tuple[ActorServer, Act]]:
    """A server, and what calls an action of an actor at it."""
    async with (
        ActorServer(ACTORS, version=version, leaks=False) as server,
        server.client(retry=retry, **options) as client,
    ):
        handle = client.probe.get_or_create("p")
        await handle.action("echo", "first")
        if way == "http":
            yield server, handle.action
        else:
            async with handle.connect() as conn:
                yield server, conn.action


def runs(server: ActorServer, name: str = "echo") -> int:
    return len(server.log.of(ActionCalled, where=lambda called: called.action == name)) - (
        name == "echo"
    )


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3"])
async def test_through_answers_that_were_lost(way: str, version: str) -> None:
    async with calling(way, version=version) as (server, act):
        server.faults.lose_reply("echo", times=2)
        assert await act("echo", 7, retry_for=30) == 7
        assert runs(server) == 3


async def test_through_a_server_that_is_away(way: str) -> None:
    async with calling(way) as (server, act), anyio.create_task_group() as tasks:

        async def restart() -> None:
            await server.restart(downtime=20)

        tasks.start_soon(restart)
        await anyio.wait_all_tasks_blocked()
        assert await act("echo", 7, retry_for=60) == 7
        assert runs(server) == 1


@pytest.mark.parametrize(
    ("group", "code"),
    [
        ("actor", "stopping"),
        ("actor", "starting"),
        ("actor", "dropped_reply"),
        ("guard", "actor_ready_timeout"),
        ("guard", "request_timeout"),
        ("envoy", "actor_not_found"),
        ("pegboard", "actor_runner_connection_lost"),
    ],
)
async def test_through_a_deploy(way: str, group: str, code: str) -> None:
    async with calling(way) as (server, act):
        server.faults.fail_action("echo", ActorError(group, code), times=20)
        assert await act("echo", 7, retry_for=60) == 7
        assert runs(server) == 21


@pytest.mark.parametrize(
    "error",
    [
        UserError("no", code="no"),
        ActorError("auth", "forbidden"),
        ActorError("actor", "not_found"),
        ActorError("actor", "action_not_found"),
        ActorError("internal", "internal_error"),
        ActorError("queue", "full"),
    ],
)
async def test_other_errors_end_it(way: str, error: ActorError) -> None:
    async with calling(way) as (server, act):
        server.faults.fail_action("echo", error, times=5)
        with pytest.raises(ActorError, match=error.code) as caught:
            await act("echo", 7, retry_for=60)
        assert runs(server) == 1
        assert not hasattr(caught.value, "__notes__")


async def test_a_result_of_another_type_ends_it(way: str) -> None:
    async with calling(way) as (server, act):
        with pytest.raises(ProtocolError):
            await act("echo", "text", type=int, retry_for=60)
        assert runs(server) == 1


async def test_arguments_that_cannot_travel_end_it(way: str) -> None:
    async with calling(way) as (server, act):
        with pytest.raises(TypeError):
            await act("echo", object(), retry_for=60)
        assert runs(server) == 0


async def test_never_for_a_call_that_is_not_marked(way: str) -> None:
    async with calling(way) as (server, act):
        server.faults.lose_reply("echo")
        with pytest.raises(ConnectionLostError):
            await act("echo", 7)
        server.faults.fail_action("echo", ActorError("actor", "stopping"))
        with pytest.raises(ActorError, match="stopping"):
            await act("echo", 7)
        assert runs(server) == 2


async def test_the_attempt_under_way_at_the_end_is_cancelled(way: str) -> None:
    async with calling(way) as (server, act):
        server.faults.lose_reply("slow", times=2)
        began = anyio.current_time()
        with pytest.raises(ConnectionLostError, match="it may have run") as caught:
            await act("slow", 40_000, 1, retry_for=110)
        assert anyio.current_time() == pytest.approx(began + 110)
        assert runs(server, "slow") == 3
        notes = caught.value.__notes__
        assert notes[0].startswith("this was attempt ")
        assert notes[1].startswith("attempt 1, begun after 0.00 s: ConnectionLostError: ")
        assert isinstance(caught.value.__cause__, ConnectionLostError)


@pytest.mark.parametrize("seconds", [1e-9, 0.001, 1])
async def test_the_first_attempt_is_cancelled_too(way: str, seconds: float) -> None:
    async with calling(way) as (server, act):
        began = anyio.current_time()
        with pytest.raises(ConnectionLostError, match="it may have run"):
            await act("slow", 60_000, 1, retry_for=seconds)
        assert anyio.current_time() == pytest.approx(began + seconds)
        assert runs(server, "slow") <= 1


@pytest.mark.parametrize("seconds", [1e9, 1e300])
async def test_a_time_without_an_end(way: str, seconds: float) -> None:
    async with calling(way) as (server, act):
        server.faults.lose_reply("echo", times=3)
        assert await act("echo", 7, retry_for=seconds) == 7
        assert runs(server) == 4


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan])
async def test_what_is_no_time(way: str, seconds: float) -> None:
    async with calling(way) as (server, act):
        with pytest.raises(ValueError, match="retry_for is a finite number of seconds"):
            await act("echo", 7, retry_for=seconds)
        assert runs(server) == 0


async def test_the_last_error_says_what_the_attempts_met(way: str) -> None:
    async with calling(way, retry=STEADY) as (server, act):
        server.faults.lose_reply("echo")
        server.faults.fail_action("echo", ActorError("actor", "stopping"), times=1000)
        began = anyio.current_time()
        with pytest.raises(ActorError, match="stopping") as caught:
            await act("echo", 7, retry_for=100)
        assert 97 < anyio.current_time() - began <= 100
        notes = caught.value.__notes__
        count = runs(server)
        assert notes[0] == f"this was attempt {count} at an action that may run more than once"
        assert notes[1] == f"the first {count - 21} attempts are left out here"
        assert len(notes) == 22
        assert all("actor.stopping" in note for note in notes[2:])


async def test_its_user_can_cancel_it(way: str) -> None:
    async with calling(way) as (server, act):
        server.faults.fail_action("echo", ActorError("actor", "stopping"), times=1000)
        with pytest.raises(TimeoutError), anyio.fail_after(5):
            await act("echo", 7, retry_for=100)


async def test_a_server_that_is_away_for_too_long() -> None:
    async with calling("http") as (server, act):
        with server.network.outage(), pytest.raises(ConnectError) as caught:
            await act("echo", 7, retry_for=30)
        assert len(caught.value.__notes__) > 5


async def test_a_connection_that_is_away_for_too_long() -> None:
    async with calling("websocket") as (server, act):
        with server.network.outage(), pytest.raises(ConnectionLostError, match="retry_for"):
            await act("echo", 7, retry_for=30)
        await act("echo", 8)
        assert runs(server) == 1, "the call that waited was given up"


async def test_a_connection_that_failed_for_good() -> None:
    async with calling("websocket") as (server, act), anyio.create_task_group() as tasks:

        async def end() -> None:
            server.faults.refuse_connects(error=UserError("no", code="banned"))
            server.drop_connections()

        tasks.start_soon(end)
        with pytest.raises(ActorError, match="banned"):
            await act("slow", 1000, 1, retry_for=60)


async def test_a_block_that_is_left_meanwhile() -> None:
    """What is under way then may have run."""
    errors: list[BaseException] = []

    async def act(conn: Connection) -> None:
        try:
            await conn.action("slow", 1000, 1, retry_for=60)
        except BaseException as error:
            errors.append(error)

    async with (
        ActorServer(ACTORS) as server,
        server.client() as client,
        anyio.create_task_group() as tasks,
        client.probe.get_or_create("p").connect() as conn,
    ):
        tasks.start_soon(act, conn)
        await server.wait_for(ActionCalled)
    assert [type(error) for error in errors] == [ConnectionLostError]


class Vanishing(Actor):
    """Its first instance destroys itself and says so."""

    vanished = 0

    async def go(self) -> str:
        Vanishing.vanished += 1
        if Vanishing.vanished == 1:
            self.context.destroy()
            raise ActorError("actor", "not_found")
        return "here"


@pytest.mark.parametrize("retry_for", [None, 30])
async def test_an_action_that_destroys_its_actor(retry_for: float | None) -> None:
    """Nothing says that it did not run, so it runs again only if it may."""
    Vanishing.vanished = 0
    actors = {"vanishing": Vanishing}
    async with ActorServer(actors, version="2.2") as server, server.client() as client:
        handle = client.vanishing.get_or_create("v")
        if retry_for is None:
            with pytest.raises(ActorError, match="not_found"):
                await handle.action("go")
        else:
            assert await handle.action("go", retry_for=retry_for) == "here"
        assert Vanishing.vanished == (1 if retry_for is None else 2)


async def test_after_its_block() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        async with client.probe.get_or_create("p").connect() as conn:
            pass
        with pytest.raises(ClosedError):
            await conn.action("echo", retry_for=60)


async def test_an_actor_that_is_gone_is_created_anew() -> None:
    async with calling("http") as (_, act):
        await act("destroy")
        assert await act("echo", 7, retry_for=60) == 7


async def test_an_actor_that_does_not_exist_ends_it() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        with pytest.raises(ActorError, match="not_found"):
            await client.probe.get("p").action("echo", retry_for=60)


async def test_each_attempt_is_observed(way: str) -> None:
    seen: list[str] = []

    class Observer:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: Observer()

        def call(self, call: Any) -> Any:
            seen.append(call.name)
            return context()

        def context(self) -> dict[str, str]:
            return {}

        def attempt(self) -> Any:
            return Attempt()

    class Attempt:
        def current(self) -> Any:
            return context()

        def end(self, error: BaseException | None) -> None: ...

    class context:
        def __enter__(self) -> dict[str, str]:
            return {}

        def __exit__(self, *_: object) -> None: ...

    async with calling(way) as (server, act):
        caller: Any = act.__self__  # type: ignore[attr-defined]
        link = caller._core if way == "http" else caller._link
        core = link if way == "http" else link.core
        core.observer = Observer()
        if way == "websocket":
            link.subject = core.subject("probe", ("p",))
        server.faults.lose_reply("echo", times=2)
        assert await act("echo", 7, retry_for=60) == 7
    assert seen == ["echo"] * 3


class TypedProbe(rivet_anyio.TypedActor, name="probe"):
    @action(idempotent=True)
    async def echo(self, value: int) -> int: ...

    @action("slow", idempotent=True, retry_for=5)
    async def wait(self, milliseconds: int, value: int) -> int: ...

    async def args(self, value: int) -> list[int]: ...


@pytest.mark.parametrize("connected", [False, True])
async def test_typed_actors(connected: bool) -> None:
    async with (
        ActorServer(ACTORS) as server,
        server.client(retry=SOON) as client,
        client.get_or_create(TypedProbe, "p").connect() as conn,
    ):
        probe = conn if connected else client.get_or_create(TypedProbe, "p")
        server.faults.lose_reply("echo", times=2)
        assert await probe.echo(7) == 7
        server.faults.lose_reply("args")
        with pytest.raises(ConnectionLostError):
            await probe.args(7)
        began = anyio.current_time()
        with pytest.raises(ConnectionLostError, match="5 s of retry_for"):
            await probe.wait(60_000, 7)
        assert anyio.current_time() == pytest.approx(began + 5)
        server.faults.lose_reply("args")
        assert await probe.action("args", 7, retry_for=30) == [7]


async def test_a_typed_action_is_tried_for_30_seconds() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=SOON) as client:
        probe = client.get_or_create(TypedProbe, "p")
        server.faults.fail_action("echo", ActorError("actor", "stopping"), times=1000)
        began = anyio.current_time()
        with pytest.raises(ActorError, match="stopping"):
            await probe.echo(7)
        assert 27 < anyio.current_time() - began <= 30


def test_an_internal_error_is_the_engines_or_the_actors() -> None:
    def error(**who: Any) -> ActorError:
        return ActorError("core", "internal_error", **who)

    assert may_repeat(error(ray_id="r")), "the host died under the request"
    assert not may_repeat(error())
    assert not may_repeat(error(ray_id="r", actor=ActorSpecifier("a", 1)))


@pytest.mark.parametrize(
    "error",
    [
        ConnectError("", status=401),
        ConnectError("", status=431),
        ClosedError(),
        ConfigError(),
        EventOverflowError(),
        ValueError(),
        TypeError(),
    ],
)
def test_what_another_attempt_cannot_mend(error: Exception) -> None:
    assert not may_repeat(error)


@pytest.mark.parametrize("how", ["answered", "cancelled"])
async def test_errors_of_attempts_are_not_kept_alive(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rivet_anyio")  # a handler that keeps records keeps no error
    errors: list[weakref.ref[ConnectError]] = []

    async def attempt(once: OneAttempt) -> int:
        if len(errors) < 2:
            error = ConnectError("away")
            errors.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error
        if how == "cancelled":
            await anyio.sleep_forever()
        return 1

    gc.collect()
    gc.disable()
    try:
        with anyio.move_on_after(30):
            assert await repeated("x", attempt, seconds=60, retry=SOON) == 1
        assert [error() for error in errors] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("status", [None, 408, 425, 429, 500, 503])
def test_what_another_attempt_can_mend(status: int | None) -> None:
    assert may_repeat(ConnectError("", status=status))


def test_time_is_for_idempotent_actions_alone() -> None:
    with pytest.raises(ValueError, match="idempotent=True"):
        action("x", retry_for=5)
