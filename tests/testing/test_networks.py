"""Networks of single clients, and of one direction: held, partitioned, slow, lossy."""

from __future__ import annotations

import contextlib
import itertools
import random
from typing import Any

import anyio
import pytest

from rivet_anyio import ConfigError, ConnectError, ConnectionLostError, Retry, Status
from rivet_anyio._http.wire import Wire
from rivet_anyio.testing import (
    ActionCalled,
    ActorServer,
    Connected,
    Disconnected,
    Network,
    UnusedFaultError,
    simulate,
    virtual_backend,
)

from .actors import ACTORS

ONE_SECOND = Retry(initial=1, maximum=1, random=lambda: 1.0)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


async def test_one_client_of_two() -> None:
    office = Network("office")
    async with (
        ActorServer(ACTORS) as server,
        server.client(network=office, retry=ONE_SECOND) as one,
        server.client(retry=ONE_SECOND) as other,
        one.probe.get_or_create("p").connect() as first,
        other.probe.get_or_create("p").connect() as second,
    ):
        changes = second.status_changes()
        await changes.receive()
        with office.outage():
            with pytest.raises(ConnectError):
                await one.probe.get_or_create("q").echo(1)
            assert await second.echo("here") == "here"
        await first.wait_connected()
        office.refuse()
        with pytest.raises(ConnectError):
            await one.probe.get_or_create("q").echo(1)
        assert second.status is Status.CONNECTED
        server.network.cut()
        assert (await changes.receive()).status is Status.DISCONNECTED
        await server.wait_for(Connected, count=5)
        assert await first.echo("both are back") == await second.echo("both are back")
        assert "office" in server.timeline()


async def test_both_networks_are_passed() -> None:
    mobile = Network("mobile")
    async with ActorServer(ACTORS) as server, server.client(network=mobile) as client:
        probe = client.probe.get_or_create("p")
        await probe.echo("resolved")
        mobile.latency, server.network.latency = 0.5, 0.25
        mobile.to_server.latency = 0.125
        began = anyio.current_time()
        assert await probe.echo(1) == 1
        assert anyio.current_time() - began == 0.875
        server.network.chunk_size, mobile.chunk_size = 7, 3
        mobile.to_client.latency = server.network.latency = mobile.to_server.latency = 0
        assert await probe.echo("x" * 100) == "x" * 100
        http = server.http_client(network=mobile)
        with mobile.outage(), pytest.raises(Exception, match="refused"):
            await http.get(f"{server.endpoint}/health")


async def test_a_network_has_one_server() -> None:
    network = Network()
    async with ActorServer(ACTORS) as server, ActorServer(ACTORS) as another:
        server.client(network=network)
        server.client(network=network)
        with pytest.raises(ConfigError, match="belongs to another server"):
            another.client(network=network)


async def test_requests_that_are_held() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn, anyio.create_task_group() as tasks:
            await conn.echo("before")
            answers: list[Any] = []

            async def call(value: int) -> None:
                answers.append(await conn.echo(value))

            with server.network.to_server.hold():
                for value in range(3):
                    tasks.start_soon(call, value)
                await anyio.sleep(10)
                assert len(server.log.of(ActionCalled)) == 1, "nothing has arrived"
                server.actor("probe", "p").context.broadcast("e", "nobody is subscribed")
            await anyio.sleep(1)
            assert sorted(answers) == [0, 1, 2]
            server.network.hold()
            tasks.start_soon(call, 3)
            await anyio.sleep(10)
            assert len(answers) == 3
            server.network.release()
            await anyio.sleep(1)
            assert answers[-1] == 3 and conn.status is Status.CONNECTED


async def test_a_partition_is_noticed_by_silence_alone() -> None:
    async with (
        ActorServer(ACTORS) as server,
        server.client(retry=ONE_SECOND, ping_interval=20, ping_timeout=20) as client,
    ):
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn:
            changes = conn.status_changes()
            await changes.receive()
            began = anyio.current_time()
            with server.network.partition():
                assert (await changes.receive()).status is Status.DISCONNECTED
                assert 20 < anyio.current_time() - began <= 45
                await anyio.sleep(100)
                assert conn.status is not Status.CONNECTED, "nobody answers"
            await conn.wait_connected()
            assert await conn.echo("back") == "back"
            assert len(server.connections) == 1, "the lost one broke"


async def test_what_begins_while_bytes_travel() -> None:
    """It meets them on their way."""
    async with (
        ActorServer(ACTORS) as server,
        server.client(retry=ONE_SECOND) as client,
        client.probe.get_or_create("p").connect() as conn,
        anyio.create_task_group() as tasks,
    ):
        way = server.network.to_server
        answers: list[Any] = []

        async def call(value: Any) -> None:
            with contextlib.suppress(ConnectionLostError):
                answers.append(await conn.echo(value))

        way.latency = 1
        tasks.start_soon(call, "held")
        await anyio.sleep(0.5)
        with way.hold():
            await anyio.sleep(10)
            assert not answers
        await anyio.sleep(0.25)
        assert answers == ["held"]
        tasks.start_soon(call, "lost")
        await anyio.sleep(0.5)
        with way.partition():
            await anyio.sleep(10)
        await server.wait_for(Connected, count=2)
        assert answers == ["held"]


@pytest.mark.parametrize("first_of", ["server", "mobile", "mobile.to_server", "mobile.to_client"])
@pytest.mark.parametrize("second_of", ["server", "mobile", "server.to_server", "server.to_client"])
async def test_of_two_partitions_the_second_goes_on(first_of: str, second_of: str) -> None:
    mobile = Network("mobile")
    async with (
        ActorServer(ACTORS, unused_faults="ignore") as server,  # one may lose what the other does
        server.client(network=mobile, retry=ONE_SECOND) as client,
        client.probe.get_or_create("p").connect() as conn,
    ):
        ways = {"server": server.network, "mobile": mobile}
        for name, network in tuple(ways.items()):
            ways |= {f"{name}.{way}": getattr(network, way) for way in ("to_server", "to_client")}
        changes = conn.status_changes()
        await changes.receive()
        first, second = ways[first_of].partition(), ways[second_of].partition()
        with anyio.move_on_after(5):
            await conn.echo("lost")
        with second:
            with first:
                pass
            await anyio.sleep(1)
            assert conn.status is Status.CONNECTED, "nobody hears anything yet"
        assert (await changes.receive()).status is Status.DISCONNECTED
        await conn.wait_connected()


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_a_partition_of_one_direction(direction: str) -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn:
            await conn.echo("before")
            way = getattr(server.network, direction)
            way.partition()
            with pytest.raises(TimeoutError), anyio.fail_after(5):
                await conn.echo("lost")
            ran = len(server.log.of(ActionCalled)) == 2
            assert ran == (direction == "to_client")
            way.repair()
            await server.wait_for(Connected, count=2)
            assert await conn.echo("after") == "after"


async def test_a_partition_that_nobody_noticed_breaks_nothing() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        probe = client.probe.get_or_create("p")
        async with probe.connect() as conn:
            with server.network.partition():
                await anyio.sleep(5)
            assert await conn.echo("the same") == "the same"
            assert len(server.log.of(Connected)) == 1
        server.network.clear()


async def test_who_leaves_in_a_partition() -> None:
    """The server does not hear of it before the end."""
    async with ActorServer(ACTORS) as server, server.client() as client:
        async with client.probe.get_or_create("p").connect():
            server.network.partition()
        await anyio.sleep(60)
        assert len(server.connections) == 1
        server.network.repair()
        await anyio.sleep(60)
        assert not server.connections


@pytest.mark.parametrize(("latency", "seconds"), [(0, 0), (2, 2), (60, 5)])
async def test_how_long_the_answer_to_a_close_frame_is_waited_for(
    latency: float, seconds: float
) -> None:
    async with (
        ActorServer(ACTORS) as server,
        server.client(retry=ONE_SECOND) as client,
        client.probe.get_or_create("p").connect() as conn,
    ):
        server.network.to_server.latency = latency
        began = anyio.current_time()
        (connection,) = server.actor("probe", "p").context.connections
        connection.disconnect("enough")
        await server.wait_for(Disconnected, within=60)
        assert anyio.current_time() - began == seconds
        server.network.clear()
        await conn.wait_connected()


async def test_a_server_that_ends_in_a_partition() -> None:
    async with (
        ActorServer(ACTORS, unused_faults="ignore") as server,
        server.client() as client,
        client.probe.get_or_create("p").connect(),
    ):
        server.network.to_server.partition()
        server.network.to_client.hold()


async def slow_calls() -> list[float]:
    times: list[float] = []
    async with ActorServer(ACTORS) as server, server.client() as client:
        probe = client.probe.get_or_create("p")
        await probe.echo("resolved")
        server.network.to_server.latency = (0.1, 0.3)
        server.network.to_client.loss = 0.3
        for value in range(20):
            began = anyio.current_time()
            assert await probe.echo(value) == value
            times.append(round(anyio.current_time() - began, 6))
    return times


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_latency_and_loss_are_drawn_from_the_seed(backend: str) -> None:
    times = simulate(slow_calls, seed=5, backend=backend)
    assert times == simulate(slow_calls, seed=5, backend=backend)
    assert times != simulate(slow_calls, seed=6, backend=backend)
    quick = [time for time in times if time < 0.3]
    assert 5 < len(quick) < 20, "about a third was sent again"
    assert all(time >= 0.1 for time in times) and len(set(quick)) == len(quick)


@pytest.mark.parametrize(
    ("losses", "seconds"),
    [(0, 0), (1, 0.2), (3, 0.2 + 0.4 + 0.8), (12, 0.2 * (2**10 - 1) + 120 + 120)],
)
async def test_what_is_lost_again_and_again(
    losses: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        ActorServer(ACTORS) as server,
        server.client(ping_interval=None) as client,
        client.probe.get_or_create("p").connect() as conn,
    ):
        await conn.echo("before")
        chances = itertools.chain(itertools.repeat(0.0, losses), itertools.repeat(1.0))
        monkeypatch.setattr(random, "random", lambda: next(chances))
        server.network.to_server.loss = 0.5
        began = anyio.current_time()
        assert await conn.echo("late") == "late"
        assert anyio.current_time() - began == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("trouble", "value"), [("latency", 25), ("latency", (0, 10_000)), ("loss", 0.99)]
)
async def test_pings_of_a_troubled_network_are_sent(trouble: str, value: Any) -> None:
    """They are not when they are sure to be answered: in virtual time that is a short cut."""
    async with (
        ActorServer(ACTORS) as server,
        server.client(ping_interval=20) as client,
        client.probe.get_or_create("p").connect() as conn,
    ):
        changes = conn.status_changes()
        await changes.receive()
        setattr(server.network.to_server, trouble, value)
        with anyio.fail_after(3600):
            assert (await changes.receive()).status is Status.DISCONNECTED
        server.network.clear()
        await conn.wait_connected()


@pytest.mark.parametrize(
    ("arm", "text"),
    [
        (lambda network: network.refuse(3), r"network\.refuse\(3\)"),
        (lambda network: network.cut(), r"network\.cut\(\)"),
        (lambda network: network.to_server.hold(), r"network\.to_server\.hold\(\)"),
        (lambda network: network.to_client.partition(), r"network\.to_client\.partition\(\)"),
        (lambda network: network.outage().__enter__(), r"network\.outage\(\)"),
        (lambda network: network.stalled().__enter__(), r"network\.to_client\.hold\(\)"),
    ],
)
async def test_what_never_happened(arm: Any, text: str) -> None:
    with pytest.raises(UnusedFaultError, match=rf"{text}, armed at .*test_networks\.py:\d+"):
        async with ActorServer(ACTORS) as server:
            kept = arm(server.network)
    async with ActorServer(ACTORS) as server:
        kept = arm(server.network)
        server.network.clear()
    async with ActorServer(ACTORS, unused_faults="ignore") as server:
        kept = arm(server.network)
    del kept


@pytest.mark.parametrize("times", [1, 2])
async def test_a_loop_that_breaks_something_once(times: int) -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        async with client.counter.get_or_create().connect():
            for _ in range(times):
                server.network.cut()
                server.drop_connections()
        for _ in range(times):
            await client.counter.get_or_create().increment()
            server.network.cut()
    with pytest.raises(UnusedFaultError, match=r"drop_connections\(\), armed at"):
        async with ActorServer(ACTORS) as server:
            for _ in range(times):
                server.drop_connections()


async def test_many_that_never_happened() -> None:
    with pytest.raises(UnusedFaultError, match="and 6 more") as caught:
        async with ActorServer(ACTORS) as server:
            for times in range(1, 16):
                server.network.refuse(times)
            for _ in range(100):
                server.network.refuse(1)
    assert len(str(caught.value)) < 5000


async def test_what_did_happen() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        probe = client.probe.get_or_create("p")
        with server.network.outage(), pytest.raises(ConnectError):
            await probe.echo(1)
        server.network.refuse()
        with pytest.raises(ConnectError):
            await probe.echo(1)
        for fault in (server.network.to_server.partition, server.network.partition):
            with fault(), pytest.raises((ConnectError, TimeoutError)), anyio.fail_after(5):
                await probe.echo(1)
        await probe.echo(1)
        for fault in (server.network.to_server.hold, server.network.hold):
            with fault(), anyio.move_on_after(5):
                await probe.echo(1)
        await anyio.sleep(1)
        await server.restart()
        with pytest.raises(ConnectionLostError):
            server.faults.lose_request()
            await probe.echo(2)
        network: Any = server.network.to_client
        for loss in (1, -0.1, "x", True, None):
            with pytest.raises((TypeError, ValueError), match="loss"):
                network.loss = loss
        for latency in ((2, 1), (1, 2, 3), -1, "x", None):
            with pytest.raises((TypeError, ValueError), match="latency"):
                network.latency = latency


async def test_sockets_that_are_as_old_as_a_lost_connection_are_used_no_more() -> None:
    """Whatever broke it has broken them, too, perhaps without a word."""
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        probe = client.probe.get_or_create("p")
        await probe.echo(1)
        async with probe.connect() as conn:
            wire = client._core.http
            assert isinstance(wire, Wire)
            await probe.echo(1)
            assert wire.pool.count().idle > 0
            changes = conn.status_changes()
            await changes.receive()
            server.drop_connections()
            assert (await changes.receive()).status is Status.DISCONNECTED
            assert wire.pool.count().idle == 0
