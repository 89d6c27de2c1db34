"""What each version of RivetKit does: a function for each fact, above it what comes out by version.

To add a fact, write one function here. `test_facts.py` tries it on every real server, and on
`ActorServer` playing the same version, with the actors of tests/servers/actors.mjs and of
tests/testing/actors.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio

from rivet_anyio import (
    ActorError,
    Client,
    Connection,
    ConnectionLostError,
    Retry,
    RivetError,
    Status,
)

Key = list[str]
Check = Callable[[Client, Key], Awaitable[Any]]

QUICK = Retry(initial=0.05, maximum=0.3)
SECONDS = 20
HOOK_FAILED = "ConnectionLostError: the server closed the connection with 1000: `onConnect` failed"


@dataclass(frozen=True)
class Fact:
    """Something that servers do, and what comes out by version."""

    name: str
    check: Check
    by_minor: dict[str, Any]

    def expected(self, version: str) -> Any:
        """What comes out of a server of this version."""
        return self.by_minor[version.rpartition(".")[0]]

    def holds_for(self, version: str) -> bool:
        """Whether a server of this version can be asked at all."""
        return version.rpartition(".")[0] in self.by_minor


FACTS: list[Fact] = []


def fact(
    everywhere: Any = None, /, *, since: str = "2.0", **different: Any
) -> Callable[[Check], Check]:
    """Declare a fact: what comes out everywhere, and where something else does: ``v23=...``.

    Args:
        everywhere: What comes out of the versions that are not named.
        since: The first version that can do it.
    """
    by_minor = {
        minor: different.get(f"v{minor.replace('.', '')}", everywhere)
        for minor in ("2.0", "2.1", "2.2", "2.3")
        if minor >= since
    }

    def declare(check: Check) -> Check:
        FACTS.append(Fact(check.__name__, check, by_minor))
        return check

    return declare


async def outcome(call: Awaitable[Any]) -> Any:
    """What a call returns, or the error that it raises, without ids."""
    try:
        return await call
    except ActorError as error:
        return f"{error.group}.{error.code}"
    except RivetError as error:
        return f"{type(error).__name__}: {error}"


async def connected(handle: Any, **options: Any) -> str:
    """What becomes of a connection."""
    with anyio.fail_after(SECONDS):
        async with handle.connect(**options):
            return "connected"


# Order


async def behind_slow(slow: Any, quick: Any, look: Any) -> Any:
    """What a ledger holds when a quick call is answered that was sent behind a slow one."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow.appendSlow, "slow", 1000)
        await anyio.wait_all_tasks_blocked()
        await quick.append("quick")
        log = await look.log()
        tasks.cancel_scope.cancel()
    return log


@fact(["slow", "quick"], v20=["quick"], v23=["quick"])
async def calls_on_one_connection(client: Client, key: Key) -> Any:
    ledger = client.ledger.get_or_create(key)
    async with ledger.connect() as conn:
        return await behind_slow(conn, conn, ledger)


@fact(["quick"])
async def calls_on_two_connections(client: Client, key: Key) -> Any:
    ledger = client.ledger.get_or_create(key)
    async with ledger.connect() as one, ledger.connect() as two:
        return await behind_slow(one, two, two)


@fact(["quick"])
async def calls_over_http(client: Client, key: Key) -> Any:
    ledger = client.ledger.get_or_create(key)
    await ledger.log()
    return await behind_slow(ledger, ledger, ledger)


@fact("later", v20="at once", v23="at once")
async def a_subscription_behind_a_slow_action_takes_effect(client: Client, key: Key) -> Any:
    probe = client.probe.get_or_create(key)
    async with probe.connect() as conn, probe.connect() as other:
        heard = ""

        async def slow() -> None:
            nonlocal heard
            await conn.slow(1000, 1)
            heard = heard or "later"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slow)
            await anyio.wait_all_tasks_blocked()
            events = conn.events("tick")
            while not heard:
                await other.emit("tick", 1)
                with anyio.move_on_after(0.1):
                    await events.receive()
                    heard = heard or "at once"
        return heard


@fact(3)
async def events_of_an_action_come_before_its_answer(client: Client, key: Key) -> Any:
    async with client.probe.get_or_create(key).connect() as conn:
        events = conn.events("tick")
        await conn.emitMany("tick", 3)
        return events.buffered


# Errors of actions


@fact("action.not_found", v23="actor.action_not_found")
async def an_unknown_action_on_a_connection(client: Client, key: Key) -> Any:
    async with client.probe.get_or_create(key).connect() as conn:
        return await outcome(conn.noSuchAction())


@fact("action.not_found", v23="actor.action_not_found")
async def an_unknown_action_over_http(client: Client, key: Key) -> Any:
    return await outcome(client.probe.get_or_create(key).noSuchAction())


@fact(["rivetkit.internal_error"] * 2, v20=["internal.internal_error"] * 2)
async def an_action_that_throws(client: Client, key: Key) -> Any:
    probe = client.probe.get_or_create(key)
    async with probe.connect() as conn:
        return [await outcome(probe.fail("plain")), await outcome(conn.fail("plain"))]


@fact([("user", "my_code", "message text", {"detail": 5})] * 2)
async def an_action_that_throws_a_user_error(client: Client, key: Key) -> Any:
    probe = client.probe.get_or_create(key)
    found = []
    async with probe.connect() as conn:
        for caller in (probe, conn):
            try:
                await caller.fail("user", 5)
            except ActorError as error:
                found.append((error.group, error.code, error.message, error.metadata))
    return found


# Actors that are not there


@fact(
    v20="internal.internal_error",
    v21="rivetkit.internal_error",
    v22="actor.not_found",
    v23="actor.not_found",
)
async def an_unknown_id(client: Client, key: Key) -> Any:
    probe = client.probe.get_or_create(key)
    id = await probe.resolve()
    # In the middle: what an engine makes of its ids begins and ends alike.
    unknown = id[:5] + ("1" if id[5] == "0" else "0") + id[6:]
    return await outcome(client.probe.get_for_id(unknown).echo(1))


@fact("actor.duplicate_key")
async def a_key_that_is_taken(client: Client, key: Key) -> Any:
    await client.probe.create(key)
    return await outcome(client.probe.create(key))


async def destroyed(client: Client, key: Key) -> str:
    """The id of an actor that is gone for good."""
    probe = client.probe.get_or_create(key)
    id = await probe.resolve()
    await probe.destroy()
    with anyio.fail_after(SECONDS):
        while [info async for info in client.probe.list(key=key)]:
            pass
    return id


@fact(
    v20="internal.internal_error",
    v21="rivetkit.internal_error",
    v22="actor.not_found",
    v23="actor.not_found",
)
async def the_id_of_a_destroyed_actor(client: Client, key: Key) -> Any:
    return await outcome(client.probe.get_for_id(await destroyed(client, key)).echo(1))


@fact("the same", v23="another")
async def the_id_of_a_new_actor_of_the_same_key(client: Client, key: Key) -> Any:
    old = await destroyed(client, key)
    new = await client.probe.get_or_create(key).resolve()
    return "the same" if new == old else "another"


@fact(
    v20="closed with 1000",
    v21="rivetkit.internal_error",
    v22="actor.stopping",
    v23="closed with 1000",
)
async def the_connection_of_a_destroyed_actor(client: Client, key: Key) -> Any:
    probe = client.probe.get_or_create(key)
    async with probe.connect(retry=QUICK) as conn:
        return await _end_of(conn, probe.destroy)


@fact(v20="closed with 1000", v21="rivetkit.internal_error", v22="actor.stopping", v23="kept")
async def the_connection_of_a_sleeping_actor(client: Client, key: Key) -> Any:
    probe = client.probe.get_or_create(key)
    async with probe.connect(retry=QUICK) as conn:
        return await _end_of(conn, probe.sleepNow)


async def _end_of(conn: Connection, end: Callable[[], Awaitable[Any]]) -> Any:
    changes = conn.status_changes()
    await changes.receive()
    await end()
    # A server that closes does it within milliseconds.
    with anyio.move_on_after(2):
        change = await changes.receive()
        assert isinstance(change.error, ConnectionLostError)
        return f"closed with {change.error.code}"
    said = await outcome(conn.echo(1))
    return "kept" if said == 1 else said


@fact(["disconnected", (1000, "enough")])
async def a_connection_that_the_actor_closes(client: Client, key: Key) -> Any:
    async with client.probe.get_or_create(key).connect(retry=QUICK) as conn:
        changes = conn.status_changes()
        await changes.receive()
        await client.probe.get_or_create(key).kickAll("enough")
        with anyio.fail_after(SECONDS):
            change = await changes.receive()
        assert change.status is Status.DISCONNECTED
        assert isinstance(change.error, ConnectionLostError)
        return [change.status.value, (change.error.code, change.error.reason)]


# Hooks


@fact(["onBeforeConnect", "createConnState", "onConnect", "onDisconnect"])
async def hooks_of_a_connection(client: Client, key: Key) -> Any:
    presence = client.presence.get_or_create(key)
    await connected(presence, params={"name": "guest"})
    return await _hooks_of("guest", presence)


@fact(["onBeforeConnect", "createConnState", "onConnect", "onDisconnect"])
async def hooks_of_a_call_over_http(client: Client, key: Key) -> Any:
    await client.presence.get_or_create(key, params={"name": "guest"}).names()
    return await _hooks_of("guest", client.presence.get_or_create(key))


async def _hooks_of(name: str, presence: Any) -> list[str]:
    """The hooks that were called for a guest who has left."""
    found: list[str] = []
    with anyio.fail_after(SECONDS):
        while "onDisconnect" not in found:
            noted = [entry.split(" ") for entry in await presence.hooks()]
            found = [hook for hook, guest in noted if guest == name]
    return found


@fact(
    {"onBeforeConnect": "user.refused", "onConnect": HOOK_FAILED},
    v23={"onBeforeConnect": "user.refused", "onConnect": "user.refused"},
)
async def a_hook_that_refuses_a_connection(client: Client, key: Key) -> Any:
    presence = client.presence.get_or_create(key)
    return {
        hook: await outcome(connected(presence, params={"refuse": hook}))
        for hook in ("onBeforeConnect", "onConnect")
    }


@fact(
    {"onBeforeConnect": "user.refused", "onConnect": []},
    v23={"onBeforeConnect": "user.refused", "onConnect": "user.refused"},
)
async def a_hook_that_refuses_a_call_over_http(client: Client, key: Key) -> Any:
    """Up to 2.2, onConnect comes too late for that: the action runs, without a connection."""
    found = {}
    for hook in ("onBeforeConnect", "onConnect"):
        found[hook] = await outcome(
            client.presence.get_or_create(key, params={"refuse": hook}).names()
        )
    return found


@fact("rivetkit.internal_error", v20="internal.internal_error")
async def a_hook_that_fails(client: Client, key: Key) -> Any:
    presence = client.presence.get_or_create(key)
    return await outcome(connected(presence, params={"broken": "onBeforeConnect"}))


@fact(["came guest", "went guest"])
async def broadcasts_of_hooks(client: Client, key: Key) -> Any:
    presence = client.presence.get_or_create(key)
    async with presence.connect(params={"name": "host"}) as conn:
        came, went = conn.events("came"), conn.events("went")
        await conn.hooks()
        await connected(presence, params={"name": "guest"})
        with anyio.fail_after(SECONDS):
            return [f"came {await came.receive()}", f"went {await went.receive()}"]


@fact(HOOK_FAILED, v23=[(1, 1), (2, 1)])
async def greetings(client: Client, key: Key) -> Any:
    async def greeted() -> list[tuple[int, int]]:
        conn = client.greeter.get_or_create(key).connect(params={"greetings": 2})
        welcome = conn.events("welcome")
        with anyio.fail_after(SECONDS):
            async with conn:
                said = [await welcome.receive() for _ in range(2)]
        return [(greeting["number"], greeting["connections"]) for greeting in said]

    return await outcome(greeted())


# Queues


async def put(client: Client, key: Key, queue: str) -> Any:
    result = await client.worker.get_or_create(key).send_and_wait(queue, 1, timeout=1)
    return (result.status, result.response)


@fact(("completed", {"done": 1}), since="2.1")
async def a_queue_that_is_worked_off(client: Client, key: Key) -> Any:
    return await put(client, key, "jobs")


@fact(("timedOut", None), since="2.1")
async def a_queue_that_nobody_reads(client: Client, key: Key) -> Any:
    return await put(client, key, "stuck")


@fact(("completed", None), since="2.1")
async def a_queue_that_was_not_declared(client: Client, key: Key) -> Any:
    return await put(client, key, "noSuchQueue")


@fact("ProtocolError", since="2.1")
async def a_queue_that_was_not_declared_and_shall_answer(client: Client, key: Key) -> Any:
    worker = client.worker.get_or_create(key)
    said = await outcome(worker.send_and_wait("noSuchQueue", 1, type=dict[str, int]))
    return said.partition(":")[0]


# Raw requests


@fact(404)
async def a_raw_request_without_a_handler(client: Client, key: Key) -> Any:
    return (await client.probe.get_or_create(key).fetch("/x")).status_code
