"""RivetKit 2.1 and 2.2 keep the connections of an actor that stopped.

Each call over such a connection is answered with ``actor.stopping``. From the first of these
answers on nothing more is written there; calls under way have five seconds; all others run on the
next connection.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import anyio
import pytest

from rivet_anyio import ActorError, Client, Connection, ConnectionLostError, Retry, Status
from rivet_anyio.testing import Actor, ActorServer
from tests.peers.raw import Peer, response, serving, text
from tests.servers import Server, start_server

CALLERS = [2, 4, 50]
RETRY = Retry(initial=0.01, maximum=0.05)
PATIENCE = 30
GIVE_UP = 5
"""Answers of ``actor.stopping`` after which a caller calls no more."""


def stopping(id: int) -> bytes:
    """The answer of a stopped actor."""
    said = {"group": "actor", "code": "stopping", "message": "stopping", "actionId": id}
    return text({"tag": "Error", "val": said})


class StoppedActor:
    """Answers the calls of its first connection with ``actor.stopping``, those of others well.

    It waits until so many calls are under way. Before each answer after the first it waits until
    the caller that was answered last has called again, so that there is always a call under way.

    Attributes:
        late: The calls that reached the first connection after its first answer.
        again: To be set by callers that call again.
    """

    def __init__(self, callers: int) -> None:
        self.late: list[str] = []
        self.again = anyio.Event()
        self._callers = callers

    async def talk(self, peer: Peer) -> None:
        await peer.open()
        if peer.number > 1:
            await peer.serve_actions()
            return
        calls = [await peer.action() for _ in range(self._callers)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._answer, peer, [id for id, _ in calls])
            while heard := await peer.heard():
                if heard[0] == 1:
                    request = json.loads(heard[1])["body"]["val"]
                    self.late.append(request["name"])
                    await peer.send(stopping(request["id"]))
            tasks.cancel_scope.cancel()

    async def _answer(self, peer: Peer, ids: list[int]) -> None:
        for id in ids:
            again = self.again = anyio.Event()
            await peer.send(stopping(id))
            await again.wait()


async def call_until_answered(conn: Connection, name: str, server: StoppedActor) -> list[str]:
    """Call again after each ``actor.stopping``; returns what came of every call."""
    outcomes: list[str] = []
    while len(outcomes) < GIVE_UP:
        try:
            outcomes.append(await conn.action(name))
            return outcomes
        except ActorError as error:
            outcomes.append(error.code)
            server.again.set()
    return outcomes


@pytest.mark.parametrize("callers", CALLERS)
async def test_no_call_is_written_behind_the_notice(callers: int) -> None:
    server = StoppedActor(callers)
    outcomes: dict[str, list[str]] = {}

    async with (
        serving(server.talk) as url,
        Client(url, metadata_lookup=False, encoding="json", retry=RETRY) as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):

        async def caller(name: str) -> None:
            outcomes[name] = await call_until_answered(conn, name, server)

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                for number in range(callers):
                    tasks.start_soon(caller, f"call{number}")
    assert server.late == []
    assert outcomes == {name: ["stopping", name] for name in outcomes} and len(outcomes) == callers


async def test_calls_under_way_have_five_seconds() -> None:
    """The call that is never answered is lost, the one that waited runs on the next connection."""
    late: list[str] = []
    calls = 3

    async def talk(peer: Peer) -> None:
        await peer.open()
        if peer.number > 1:
            await peer.serve_actions()
            return
        ids = [(await peer.action())[0] for _ in range(calls)]
        await peer.send(stopping(ids[0]))
        while heard := await peer.heard():
            if heard[0] == 1:
                late.append(json.loads(heard[1])["body"]["val"]["name"])

    async with (
        serving(talk) as url,
        Client(url, metadata_lookup=False, encoding="json", retry=RETRY) as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):
        outcomes: dict[str, str] = {}
        stopped = anyio.Event()

        async def caller(name: str) -> None:
            try:
                outcomes[name] = await conn.action(name)
            except ActorError as error:
                outcomes[name] = error.code
                stopped.set()
            except ConnectionLostError:
                outcomes[name] = "lost"

        began = anyio.current_time()
        with anyio.move_on_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                for number in range(calls):
                    tasks.start_soon(caller, f"call{number}")
                await stopped.wait()
                tasks.start_soon(caller, "waiting")
        assert anyio.current_time() - began > 4
    assert late == []
    assert sorted(outcomes.values()) == ["lost", "lost", "stopping", "waiting"]


async def test_a_caller_that_is_cancelled_meanwhile_is_never_sent() -> None:
    names: list[str] = []
    release = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.open()
        calls = 2 if peer.number == 1 else 0
        ids = [(await peer.action())[0] for _ in range(calls)]
        if ids:
            await peer.send(stopping(ids[0]))
            await release.wait()
            await peer.send(stopping(ids[1]))
        while heard := await peer.heard():
            if heard[0] == 1:
                request = json.loads(heard[1])["body"]["val"]
                names.append(request["name"])
                await peer.send(response(request["id"], peer.number))

    async with (
        serving(talk) as url,
        Client(url, metadata_lookup=False, encoding="json", retry=RETRY) as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):
        stopped = anyio.Event()

        async def caller() -> None:
            with pytest.raises(ActorError, match="stopping"):
                await conn.action("first")
            stopped.set()

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(caller)
                tasks.start_soon(caller)
                await stopped.wait()
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as cancelled:
                        cancelled.start_soon(conn.action, "cancelled")
                        await anyio.wait_all_tasks_blocked()
                        scope.cancel()
                release.set()
            assert await conn.action("last") == 2
    assert names == ["last"]


class Sleepy(Actor):
    async def work(self) -> str:
        await anyio.sleep(0.01)
        return "done"

    async def end(self) -> None:
        self.context.sleep()


async def outcomes_around(
    conn: Connection, callers: int, name: str, *args: object
) -> list[Counter[str]]:
    """What callers get that call one after the other, before and long after the actor sleeps."""
    outcomes: list[Counter[str]] = [Counter() for _ in range(callers)]

    async def caller(outcomes: Counter[str], number: int) -> None:
        await anyio.sleep(number * 0.007)
        after = 0
        while after < 3 and outcomes["stopping"] < GIVE_UP:
            try:
                await conn.action(name, *args)
                after += outcomes["stopping"] or outcomes["lost"] or slept
                outcomes["done"] += 1
            except ActorError as error:
                outcomes[error.code] += 1
            except ConnectionLostError:
                outcomes["lost"] += 1

    slept = False
    with anyio.fail_after(PATIENCE * 2):
        async with anyio.create_task_group() as tasks:
            for number in range(callers):
                tasks.start_soon(caller, outcomes[number], number)
            while not all(outcome["done"] for outcome in outcomes):  # noqa: ASYNC110
                await anyio.sleep(0.01)
            try:
                await conn.action("end" if name == "work" else "sleepNow")
            except (ActorError, ConnectionLostError):
                pass  # its own answer may be lost
            slept = True
    return outcomes


@pytest.mark.parametrize("callers", CALLERS)
async def test_callers_of_an_actor_that_sleeps(callers: int) -> None:
    async with ActorServer({"sleepy": Sleepy}, version="2.2", leaks=False) as server:
        server.network.latency = 0.02
        async with (
            server.client(retry=RETRY) as client,
            client.sleepy.get_or_create("k").connect() as conn,
        ):
            outcomes = await outcomes_around(conn, callers, "work")
    assert max(outcome["stopping"] for outcome in outcomes) <= 1, outcomes
    assert all(outcome["done"] >= 3 for outcome in outcomes)


@pytest.fixture(scope="module")
def real_server() -> Iterator[Server]:
    with start_server("2.2.1") as server:
        yield server


@pytest.mark.parametrize("callers", CALLERS)
async def test_callers_of_a_real_actor_that_sleeps(
    real_server: Server, callers: int, anyio_backend_name: str
) -> None:
    async with (
        Client(real_server.endpoint, retry=RETRY) as client,
        client.probe.get_or_create(["stops", anyio_backend_name, str(callers)]).connect() as conn,
    ):
        outcomes = await outcomes_around(conn, callers, "slow", 10, "x")
    assert max(outcome["stopping"] for outcome in outcomes) <= 1, outcomes
    assert all(outcome["done"] >= 3 for outcome in outcomes)


async def test_a_masked_notice_makes_the_connection_ask_and_leave() -> None:
    """RivetKit 2.1 answers as any failing action does, and its version is not known here."""

    async def talk(peer: Peer) -> None:
        await peer.open()
        if peer.number > 1:
            await peer.serve_actions()
            return
        while heard := await peer.heard():
            if heard[0] == 1:
                id = json.loads(heard[1])["body"]["val"]["id"]
                said = {
                    "group": "rivetkit",
                    "code": "internal_error",
                    "message": "",
                    "actionId": id,
                }
                await peer.send(text({"tag": "Error", "val": said}))

    async with (
        serving(talk) as url,
        Client(url, metadata_lookup=False, encoding="json", retry=RETRY) as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):
        changes = conn.status_changes()
        with anyio.fail_after(PATIENCE):
            with pytest.raises(ActorError, match="internal_error"):
                await conn.action("first")
            while (await changes.receive()).status is not Status.DISCONNECTED:
                pass
            assert await conn.action("second") == "second"
