"""What goes wrong on demand, in virtual time."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import anyio
import httpx
import pytest

from rivet_anyio import (
    ActorError,
    ActorHandle,
    Client,
    ClosedError,
    ConnectError,
    Connection,
    ConnectionLostError,
    Gap,
    ProtocolError,
    Retry,
    Status,
)
from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.testing import (
    ActionCalled,
    Actor,
    ActorConnection,
    ActorServer,
    Connected,
    Disconnected,
    Refused,
    UserError,
    collect,
    virtual_backend,
)

from .actors import ACTORS

ONE_SECOND = Retry(initial=1, maximum=1, random=lambda: 1.0)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


async def lost(conn: Connection) -> BaseException | None:
    """Wait for the loss of a connection, and return its cause."""
    async for change in conn.status_changes():
        if change.status is Status.DISCONNECTED:
            return change.error
    return None


async def test_dropped_without_a_word() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn:
            changes = conn.status_changes()
            await changes.receive()
            assert server.drop_connections() == 1
            change = await changes.receive()
            assert isinstance(change.error, ConnectionLostError)
            assert change.error.code is None
            await conn.wait_connected()
            assert await conn.echo("back") == "back"
        first, last = server.log.of(Disconnected)
        assert (first.code, first.by_client) == (None, False)
        assert (last.code, last.by_client) == (1000, True)


@pytest.mark.parametrize(("code", "reason"), [(1011, "oops"), (1001, ""), (1012, "restart")])
async def test_dropped_with_a_close_frame(code: int, reason: str) -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn:
            changes = conn.status_changes()
            await changes.receive()
            server.drop_connections(code, reason)
            error = (await changes.receive()).error
            assert isinstance(error, ConnectionLostError)
            assert (error.code, error.reason) == (code, reason)
            await conn.wait_connected()
        closed = server.log.of(Disconnected)[0]
        assert (closed.code, closed.reason, closed.by_client) == (code, reason, False)


async def test_only_some_are_dropped() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        one, other = client.probe.get_or_create("one"), client.probe.get_or_create("other")
        async with one.connect() as first, other.connect() as second:
            assert server.drop_connections(actor="counter") == 0
            server.faults.clear()
            assert server.drop_connections(actor="probe", key="one") == 1
            assert isinstance(await lost(first), ConnectionLostError)
            assert second.status is Status.CONNECTED
            await first.wait_connected()
            ids = {connection.id for connection in server.connections}
            assert ids == {first.connection_id, second.connection_id}
            server.connections[0].drop(4000, "this one")
            assert "this one" in str(await lost(second))


async def test_a_refused_network() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        probe = client.probe.get_or_create("p")
        await probe.echo(1)
        server.network.refuse(2)
        for _ in range(2):
            with pytest.raises(ConnectError, match="connection refused"):
                await probe.echo(2)
        assert await probe.echo(3) == 3
        async with probe.connect() as conn:
            changes = conn.status_changes()
            await changes.receive()
            server.network.refuse(3)
            server.drop_connections()
            states = [(await changes.receive()).status.value for _ in range(8)]
            assert states == ["disconnected", "connecting"] * 4
            await conn.wait_connected()


@pytest.mark.parametrize("status", [429, 503])
async def test_refused_with_a_status(status: int) -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        probe = client.probe.get_or_create("p")
        server.faults.refuse_connects(status=status, retry_after=1)
        with pytest.raises(ConnectError) as caught:
            async with probe.connect():
                pytest.fail("let in")
        assert (caught.value.status, caught.value.retry_after) == (status, 1)
        async with probe.connect() as conn:
            server.faults.refuse_connects(2, actor="probe", key="p")
            server.faults.refuse_connects(2, actor="probe", key="another")
            server.drop_connections()
            await server.wait_for(Connected, count=2)
            assert await conn.echo("in") == "in"
        assert [r.code for r in server.log.of(Refused)] == [str(status), "503", "503"]
        server.faults.clear()  # of what was for another key


@pytest.mark.parametrize("version", ["2.0", "2.2", "2.3"])
async def test_refused_with_an_error(version: str) -> None:
    server = ActorServer(ACTORS, version=version)
    async with server, server.client(retry=ONE_SECOND) as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn:
            counts = conn.events("e")
            server.faults.refuse_connects(error=UserError("out", code="banned"))
            server.drop_connections()
            with pytest.raises(ActorError) as caught:
                await counts.receive()
            assert (caught.value.group, caught.value.code) == ("user", "banned")
            with pytest.raises(ActorError):
                await conn.echo(1)
        async with probe.connect() as conn:
            assert await conn.echo("in again") == "in again"


async def test_outages() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn:
            events = conn.events("e", gaps="mark")
            await conn.echo(1)
            with server.network.outage():
                with server.network.outage():
                    await anyio.sleep(10)
                with pytest.raises(ConnectError):
                    await probe.echo(1)
                await anyio.sleep(10.5)
            await conn.emit("e", "after")
            gap, after = await collect(events, 2)
            assert isinstance(gap, Gap) and gap.until - gap.since == 21
            assert after == "after"


async def test_stalls() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn:
            events = conn.events("e")
            await conn.echo(0)
            with server.network.stalled():
                for n in range(10):
                    server.actor("probe", "p").context.broadcast("e", n)
                with pytest.raises(TimeoutError), anyio.fail_after(10):
                    await conn.echo("answered late")
                assert events.buffered == 0
                assert server.log.of(ActionCalled)[-1].args == ("answered late",)
            assert await collect(events, 10) == list(range(10))


async def test_latency() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        server.network.latency = 0.5
        began = anyio.current_time()
        assert await client.probe.get_or_create("p").echo(1) == 1
        # Metadata, the actor's id, the action.
        assert anyio.current_time() - began == 1.5


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("encoding", ["bare", "cbor", "json"])
async def test_bytes_in_pieces(size: int, encoding: Encoding) -> None:
    async with ActorServer(ACTORS) as server, server.client(encoding=encoding) as client:
        server.network.chunk_size = size
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn:
            events = conn.events("e")
            await conn.emitMany("e", 20)
            await conn.emit("e", "ü☃" * 100)
            assert await collect(events, 21) == [*range(20), "ü☃" * 100]
            assert await probe.echo("x" * 500) == "x" * 500
            response = await client.web.get_or_create().fetch("bytes/1000")
            assert len(response.content) == 1000


async def test_pieces_and_stalls_across_all_borders() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn:
            events = conn.events("e")
            await conn.echo(0)
            server.network.chunk_size = 5
            with server.network.stalled():
                for n in range(50):
                    server.actor("probe", "p").context.broadcast("e", n)
                await anyio.sleep(1)
            assert await collect(events, 50) == list(range(50))


async def test_a_slow_consumer_holds_up_the_server() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn:
            events = conn.events("e", buffer_size=2, overflow="block")
            await conn.echo("subscribed")
            for n in range(200):
                server.actor("probe", "p").context.broadcast("e", [n, "x" * 10_000])
            await anyio.sleep(60)
            assert events.buffered == 2
            assert [item[0] for item in await collect(events, 200)] == list(range(200))
            assert await conn.echo("y" * 60_000) == "y" * 60_000


async def test_failing_actions() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        counter = client.counter.get_or_create("c")
        async with counter.connect() as conn:
            server.faults.fail_action("increment", UserError("no", code="full"), times=2)
            for caller in (counter, conn):
                with pytest.raises(ActorError) as caught:
                    await caller.increment()
                assert (caught.value.group, caught.value.code) == ("user", "full")
            assert await conn.increment() == 1, "the actor did not see the two before"
            server.faults.fail_action(None, UserError(code="any"), key="other")
            server.faults.fail_action(None, UserError(code="any"), actor="probe")
            assert await conn.increment() == 2
            server.faults.fail_action(None, UserError(code="any"))
            with pytest.raises(ActorError, match="any"):
                await conn.getCount()
            server.faults.fail_action(None, UserError(code="any"))
            server.faults.clear()
            assert await conn.getCount() == 2


async def test_errors_of_the_gateway() -> None:
    """The client repeats what cannot have run."""
    async with ActorServer(ACTORS) as server, server.client() as client:
        counter = client.counter.get_or_create("c")
        server.faults.fail_action(
            "increment", ActorError("guard", "actor_ready_timeout", ""), times=3
        )
        assert await counter.increment() == 1
        assert len(server.log.of(ActionCalled)) == 4


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3"])
@pytest.mark.parametrize("group", ["guard", "actor", "envoy"])
async def test_what_the_actor_says_like_a_gateway_is_its_own(version: str, group: str) -> None:
    asked: list[ActorConnection] = []

    class Mimic(Actor):
        async def on_before_connect(self, conn: ActorConnection) -> None:
            if conn.params is not None:
                asked.append(conn)
                raise ActorError(group, "actor_ready_timeout", "mine")

        async def fail(self) -> None:
            raise ActorError(group, "actor_ready_timeout", "mine")

    async with ActorServer({"mimic": Mimic}, version=version) as server, server.client() as client:
        text = "mine" if version != "2.3" else "An internal error occurred"
        with pytest.raises(ActorError, match=text):
            await client.mimic.get_or_create("a").fail()
        assert len(server.log.of(ActionCalled)) == 1
        with pytest.raises(ActorError, match=text):
            await client.mimic.get_or_create("a", params={}).fail()
        assert len(asked) == 1


async def test_delayed_actions() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        counter = client.counter.get_or_create("c")
        server.faults.delay_action("increment", 50)
        began = anyio.current_time()
        assert await counter.increment() == 1
        assert anyio.current_time() - began == 50
        assert await counter.increment() == 2
        assert anyio.current_time() - began == 50


async def test_a_delayed_action_ends_with_its_actors_life() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        counter = client.counter.get_or_create("c")
        assert await counter.increment() == 1
        server.faults.delay_action("increment", 50)
        async with counter.connect() as conn, anyio.create_task_group() as tasks:

            async def increment() -> None:
                with pytest.raises(ConnectionLostError):
                    await conn.increment()

            tasks.start_soon(increment)
            await server.wait_for(ActionCalled, count=2)
            await server.restart(downtime=1)
            await anyio.sleep(100)
            assert await conn.getCount() == 1


async def test_lost_replies() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        counter = client.counter.get_or_create("c")
        async with counter.connect() as conn:
            for caller in (counter, conn):
                server.faults.lose_reply("increment")
                with pytest.raises(ConnectionLostError):
                    await caller.increment()
            assert await conn.getCount() == 2, "both have run"


async def test_restarts() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        counter = client.counter.get_or_create("c")
        async with counter.connect() as conn:
            counts = conn.events("newCount", gaps="mark")
            await conn.increment()
            began = anyio.current_time()
            await server.restart(downtime=100)
            assert anyio.current_time() - began == 100
            assert await conn.increment() == 2
            await server.restart(keep_actors=False)
            assert await conn.increment() == 1, "a new actor of the same key"
            items = await collect(counts, 5)
            assert [item for item in items if not isinstance(item, Gap)] == [1, 2, 1]


async def test_a_restart_ends_what_actors_do() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        worker = client.worker.get_or_create("w")
        assert (await worker.send_and_wait("jobs", 1)).response == {"done": 1}
        probe = client.probe.get_or_create("p")
        async with anyio.create_task_group() as tasks:

            async def call() -> None:
                with pytest.raises(ConnectionLostError):
                    await probe.slow(50_000, None)

            tasks.start_soon(call)
            await server.wait_for(ActionCalled, where=lambda call: call.action == "slow")
            await server.restart()
        assert (await worker.send_and_wait("jobs", 2)).response == {"done": 2}
        assert await worker.processed() == [1, 2]


async def test_no_call_outlives_its_actors_life() -> None:
    ended: list[str] = []

    class Slow(Actor):
        async def work(self, how: str) -> None:
            try:
                await anyio.sleep(40)
                ended.append(f"{how} in time")
            finally:
                ended.append(how)

    async with ActorServer({"slow": Slow}) as server, server.client() as client:
        slow = client.slow.get_or_create()

        async def call(caller: ActorHandle | Connection, how: str) -> None:
            with pytest.raises((ConnectionLostError, ActorError)):
                await caller.work(how)

        for how in ("restart", "destroy"):
            mark = len(server.log)
            async with slow.connect() as conn, anyio.create_task_group() as tasks:
                tasks.start_soon(call, conn, how)
                tasks.start_soon(call, slow, how)
                await server.wait_for(ActionCalled, count=2, since=mark)
                if how == "restart":
                    await server.restart()
                else:
                    server.actor("slow").context.destroy()
        assert ended == ["restart"] * 2 + ["destroy"] * 2
        assert anyio.current_time() < 20, "15 s of grace, not the 40 that it takes"


async def test_an_actor_that_sleeps_at_once() -> None:
    class Tired(Actor):
        async def run(self) -> None:
            self.context.sleep()

        async def hello(self) -> str:
            return "hello"

    async with ActorServer({"tired": Tired}) as server, server.client() as client:
        assert await client.tired.get_or_create().hello() == "hello"


async def test_an_actor_destroyed_under_a_live_handle() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        counter = client.counter.get_or_create("c")
        by_id = client.counter.get_for_id(await counter.resolve())
        async with counter.connect() as conn:
            await conn.increment(5)
            server.actor("counter", "c").context.destroy()
            assert await counter.increment() == 1, "a handle by key has a new actor"
            assert isinstance(await lost(conn), ConnectionLostError)
            assert await conn.increment() == 2
        with pytest.raises(ActorError) as caught:
            await by_id.increment()
        assert (caught.value.group, caught.value.code) == ("actor", "not_found")
        existing = client.counter.get("c")
        async with existing.connect() as conn:
            server.actor("counter", "c").context.destroy()
            with pytest.raises(ActorError, match="not_found"):
                await conn.next_event("newCount")


@pytest.mark.parametrize(("version", "connects"), [("2.0", 2), ("2.3", 1)])
async def test_an_actor_that_sleeps_under_a_live_connection(version: str, connects: int) -> None:
    server = ActorServer(ACTORS, version=version)
    async with server, server.client(retry=ONE_SECOND) as client:
        sleepy = client.sleepy.get_or_create("s")
        async with sleepy.connect() as conn:
            assert await conn.wakes() == 1
            server.actor("sleepy", "s").context.sleep()
            await anyio.sleep(10)
            assert await conn.wakes() == 2
            assert len(server.log.of(Connected)) == connects


async def test_connections_that_lead_to_nobody() -> None:
    """What 2.2 does with the connections of an actor that stops."""
    server = ActorServer(ACTORS, version="2.2")
    async with server, server.client(retry=ONE_SECOND) as client:
        sleepy = client.sleepy.get_or_create("s")
        async with sleepy.connect() as conn:
            assert await conn.wakes() == 1
            server.actor("sleepy", "s").context.sleep()
            await anyio.sleep(10)
            assert await sleepy.wakes() == 2
            with pytest.raises(ActorError, match="stopping"):
                await conn.wakes()
            assert conn.status is Status.CONNECTED


def spoil(connection: ActorConnection, how: str) -> None:
    if how == "message":
        connection.send_message(b"\x04\x00\x09")
    elif how == "text":
        connection.send_message("text in bare encoding")
    else:
        connection.send_bytes(b"\xff\xff\xff\xff")


@pytest.mark.parametrize("how", ["message", "text", "bytes"])
async def test_malformed_messages(how: str) -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn:
            changes = conn.status_changes()
            await changes.receive()
            spoil(server.connections[0], how)
            change = await changes.receive()
            assert change.status is Status.DISCONNECTED
            assert isinstance(change.error, ProtocolError)
            await conn.wait_connected()
            assert await conn.echo("still there") == "still there"


async def test_a_client_that_breaks_the_protocol() -> None:
    async with ActorServer(ACTORS, version="2.3") as server:
        http = server.http_client()
        answer = await http.get(f"{server.endpoint}/nothing")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        answer = await http.get(f"{server.endpoint}/actors")
        assert answer.json()["code"] == "bad_request"
        actors = f"{server.endpoint}/actors?namespace=default"
        answer = await http.get(actors)
        assert answer.json()["code"] == "invalid_input"
        answer = await http.put(actors, content=b"{")
        assert answer.json()["code"] == "bad_request"
        wanted = {"name": "probe", "key": "p", "runner_name_selector": "default"}
        answer = await http.put(actors, json=wanted | {"crash_policy": "sleep"})
        id = answer.json()["actor"]["actor_id"]
        answer = await http.post(f"{server.endpoint}/gateway/{id}/action/echo", content=b"\xff")
        assert answer.json()["code"] == "internal_error"
        answer = await http.delete(f"{server.endpoint}/actors/{id}?namespace=default")
        assert answer.status_code == 200
        answer = await http.get(f"{server.endpoint}/actors/names?namespace=default")
        assert "probe" in answer.json()["names"]
        answer = await http.get(f"{server.endpoint}/health")
        assert answer.json()["status"] == "ok"
        with pytest.raises(httpx.ConnectError, match="http://"):
            await http.get("https://actors.test/health")


async def test_a_connection_in_use_is_not_refused() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn, anyio.create_task_group() as tasks:

            async def call() -> None:
                assert await probe.slow(1000, "answer") == "answer"

            tasks.start_soon(call)
            await server.wait_for(ActionCalled)
            server.network.refuse(1)
            assert await conn.echo("connected") == "connected"
            server.network.clear()


async def test_nobody_is_left_waiting_when_the_server_ends() -> None:
    caught: list[BaseException] = []

    async def call(client: Client) -> None:
        try:
            await client.probe.get_or_create("p").slow(50_000, None)
        except (ConnectionLostError, ClosedError) as error:
            caught.append(error)

    async with anyio.create_task_group() as tasks, ActorServer(ACTORS) as server:
        client = server.client()
        await client.__aenter__()
        tasks.start_soon(call, client)
        await server.wait_for(ActionCalled)
    await client.__aexit__(None, None, None)
    assert len(caught) == 1


async def test_the_error_of_a_call_is_not_kept_alive() -> None:
    async with (
        ActorServer(ACTORS) as server,
        server.client() as client,
        client.probe.get_or_create("p").connect() as conn,
    ):
        await conn.echo(1)
        gc.collect()
        gc.disable()
        try:
            try:
                await conn.action("fail", "bare")
            except ActorError as error:
                raised = weakref.ref(error)
            assert raised() is None
        finally:
            gc.enable()
