"""What each version of RivetKit does: a function for each fact, above it what comes out by version.

To add a fact, write one function here. `test_facts.py` tries it on every real server, and on
`ActorServer` playing the same version, with the actors of tests/servers/actors.mjs and of
tests/testing/actors.py.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import anyio
import httpx

from rivet_anyio import (
    ActorError,
    ActorInfo,
    Client,
    Connection,
    ConnectionLostError,
    Management,
    Retry,
    RivetError,
    Status,
)

Key = list[str]
Check = Callable[..., Awaitable[Any]]

QUICK = Retry(initial=0.05, maximum=0.3)
SECONDS = 20
HOOK_FAILED = "ConnectionLostError: the server closed the connection with 1000: `onConnect` failed"


@dataclass(frozen=True)
class Fact:
    """Something that servers do, and what comes out by version."""

    name: str
    check: Check
    by_minor: dict[str, Any]
    by_version: dict[str, Any]
    default_limits: bool
    in_json: bool
    once: bool
    slow: bool
    raw: bool

    def expected(self, version: str) -> Any:
        """What comes out of a server of this version."""
        if version in self.by_version:
            return self.by_version[version]
        return self.by_minor[version.rpartition(".")[0]]

    def holds_for(self, version: str) -> bool:
        """Whether a server of this version can be asked at all."""
        return version.rpartition(".")[0] in self.by_minor


FACTS: list[Fact] = []


def fact(
    everywhere: Any = None,
    /,
    *,
    since: str = "2.0",
    until: str = "2.3",
    default_limits: bool = False,
    in_json: bool = True,
    once: bool = False,
    slow: bool = False,
    raw: bool = False,
    **different: Any,
) -> Callable[[Check], Check]:
    """Declare a fact: what comes out everywhere, and where something else does.

    That is ``v23=...`` for 2.3, and ``v2_3_11=...`` for 2.3.11 alone.

    Args:
        everywhere: What comes out of the versions that are not named.
        since: The first version that can do it.
        until: The last version that does always the same.
        default_limits: Whether messages are as long as RivetKit lets them be by default.
        in_json: Whether it holds in the encoding json, too.
        once: Whether it is asked in bare encoding on asyncio only: the others would say the same,
            or it is another fact in other encodings.
        slow: Whether real servers are asked only with ``--all-versions``, and once.
        raw: Whether the check is also given an httpx client, whose URLs begin at the server, and
            is asked once.
    """
    by_minor = {
        minor: different.get(f"v{minor.replace('.', '')}", everywhere)
        for minor in ("2.0", "2.1", "2.2", "2.3")
        if since <= minor <= until
    }
    by_version = {
        name[1:].replace("_", "."): found for name, found in different.items() if "_" in name
    }

    def declare(check: Check) -> Check:
        is_once = once or slow or raw
        FACTS.append(
            Fact(
                check.__name__,
                check,
                by_minor,
                by_version,
                default_limits,
                in_json,
                is_once,
                slow,
                raw,
            )
        )
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


async def said(call: Awaitable[Any]) -> Any:
    """As `outcome`, with an error's message and metadata."""
    try:
        return await call
    except ActorError as error:
        return [f"{error.group}.{error.code}", error.message, error.metadata]
    except RivetError as error:
        return f"{type(error).__name__}: {error}"


async def until(ask: Callable[[], Awaitable[Any]], enough: Callable[[Any], bool]) -> Any:
    """Ask until the answer is good."""
    with anyio.fail_after(SECONDS):
        while True:
            answer = await outcome(ask())
            if enough(answer):
                return answer
            await anyio.sleep(0.1)


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


@fact([[False, False], [True, False], [False, True], [True, False], "another start"], since="2.3")
async def the_record_of_an_actor(client: Client, key: Key) -> Any:
    """Whether it takes connections, and sleeps: before its start, awake, asleep, awake."""
    probe = client.probe.get_or_create(key)
    id = await probe.resolve()
    starts = []

    async def look() -> list[bool]:
        info = await Management(client).get(id)
        assert info is not None and info.error is None
        starts.append(info.connectable_since)
        return [info.connectable_since is not None, info.sleeping_since is not None]

    found: list[Any] = [await look()]
    await probe.echo(1)
    found.append(await look())
    await probe.sleepNow()
    found.append(await until(look, lambda seen: seen[1]))
    await probe.echo(1)
    found.append(await look())
    return [*found, "another start" if starts[-1] != starts[1] else "the same"]


@fact(
    ["awake", "asleep", "awake", "another start", "at its last start"],
    since="2.1",
    v23=["awake", "asleep", "awake", "another start", "at its first start"],
)
async def the_record_of_an_actor_that_slept(client: Client, key: Key) -> Any:
    probe = client.probe.get_or_create(key)
    id = await probe.resolve()
    infos: list[ActorInfo] = []

    async def look() -> str:
        info = await Management(client).get(id)
        assert info is not None and info.error is None
        infos.append(info)
        match info.connectable_since, info.sleeping_since:
            case None, None:
                return "not written yet"
            case _, None:
                return "awake"
            case None, _:
                return "asleep"
        return "both"

    async def until_it_is(state: str) -> ActorInfo:
        found.append(await until(look, lambda seen: seen == state))
        return infos[-1]

    found: list[Any] = []
    await probe.echo(1)
    first = await until_it_is("awake")
    await probe.sleepNow()
    await until_it_is("asleep")
    await until(lambda: probe.echo(1), lambda answer: answer == 1)
    last = await until_it_is("awake")
    found.append("another start" if first.connectable_since != last.connectable_since else "same")
    is_first = first.started_at == last.started_at
    return [*found, "at its first start" if is_first else "at its last start"]


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


@fact("raised", v23="sent", once=True)
async def a_broadcast_of_an_actor_that_wakes(client: Client, key: Key) -> Any:
    return await client.odd.get_or_create(key).woke()


@fact(["twice"] * 4, v23=[*["twice"] * 3, "actor.stopping"], once=True)
async def an_actor_that_ends_twice(client: Client, key: Key) -> Any:
    return [
        await outcome(client.odd.get_or_create([*key, first + second]).endTwice(first, second))
        for first in ("sleep", "destroy")
        for second in ("sleep", "destroy")
    ]


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


@fact(0, once=True)
async def a_call_whose_connection_the_actor_closes_as_it_comes(client: Client, key: Key) -> Any:
    """How many connections its action counts."""
    return await client.usher.get_or_create(key, params={"closes": True}).count()


@fact(["onConnect begins"], v23=["onConnect begins", "onConnect ends"], once=True)
async def a_connection_is_there_before_a_slow_hook_ends(client: Client, key: Key) -> Any:
    """What onConnect has noted when the client is connected."""
    async with client.usher.get_or_create(key, params={"slow": "onConnect"}).connect() as conn:
        return await conn.noted()


@fact(["onConnect begins"], v23=["onConnect begins", "onConnect ends"], once=True)
async def a_call_runs_before_a_slow_hook_ends(client: Client, key: Key) -> Any:
    return await client.usher.get_or_create(key, params={"slow": "onConnect"}).noted()


@fact(
    ["rivetkit.internal_error"] * 4, v20=["internal.internal_error"] * 4, v23=[None, 0, "", False]
)
async def a_connection_state_that_is_nothing(client: Client, key: Key) -> Any:
    """What JavaScript takes for false is none, up to 2.2, and reading it is an error."""
    return [
        await outcome(client.usher.get_or_create(key, params={"state": state}).state())
        for state in (None, 0, "", False)
    ]


# Raw requests and raw WebSockets are connections, too


@fact(["onBeforeConnect", "createConnState", "onConnect", "onRequest", "onDisconnect"], once=True)
async def hooks_of_a_raw_request(client: Client, key: Key) -> Any:
    await client.presence.get_or_create(key, params={"name": "guest"}).fetch("/")
    return await _hooks_of("guest", client.presence.get_or_create(key))


@fact(["onBeforeConnect", "createConnState", "onConnect", "onWebSocket", "onDisconnect"], once=True)
async def hooks_of_a_raw_websocket(client: Client, key: Key) -> Any:
    presence = client.presence.get_or_create(key, params={"name": "guest"})
    async with presence.websocket("/") as socket:
        await socket.send("how many?")
        assert await socket.receive() == "1"
    return await _hooks_of("guest", client.presence.get_or_create(key))


@fact([400, "user.refused"], v23=[500, "user.refused"], once=True)
async def a_hook_that_refuses_a_raw_request(client: Client, key: Key) -> Any:
    presence = client.presence.get_or_create(key, params={"refuse": "onBeforeConnect"})
    response = await presence.fetch("/")
    return [response.status_code, "{group}.{code}".format_map(response.json())]


@fact("user.refused", v20="ConnectionLostError 1011 refused", once=True)
async def a_hook_that_refuses_a_raw_websocket(client: Client, key: Key) -> Any:
    presence = client.presence.get_or_create(key, params={"refuse": "onBeforeConnect"})
    return await _end_of_socket(presence.websocket("/"))


async def _end_of_socket(websocket: Any, end: Callable[[], Awaitable[Any]] | None = None) -> str:
    try:
        async with websocket as socket:
            if end is not None:
                await socket.receive()
                await end()
            with anyio.move_on_after(2):
                await socket.receive()
            return "open"
    except anyio.EndOfStream:
        return f"closed: {socket.close_reason}" if socket.close_reason else "closed"
    except ConnectionLostError as error:
        return f"ConnectionLostError {error.code} {error.reason}"
    except ActorError as error:
        return f"{error.group}.{error.code}"


@fact("open", v23="rivetkit.internal_error", slow=True)
async def a_raw_websocket_whose_handler_raises(client: Client, key: Key) -> Any:
    return await _end_of_socket(client.web.get_or_create(key).websocket("/broken"))


@fact("open", v20="closed", v23="closed: actor.stopped", slow=True)
async def a_raw_websocket_of_a_destroyed_actor(client: Client, key: Key) -> Any:
    web = client.web.get_or_create(key)
    return await _end_of_socket(web.websocket("/"), web.destroy)


@fact("open", v20="closed", v23="closed: actor.stopped", slow=True)
async def a_raw_websocket_of_a_sleeping_actor(client: Client, key: Key) -> Any:
    web = client.web.get_or_create(key)
    return await _end_of_socket(web.websocket("/"), web.sleepNow)


@fact(
    [500, "handler.invalid_request_handler_response"],
    v23=[500, "rivetkit.internal_error"],
    once=True,
)
async def a_raw_request_that_is_answered_with_nothing(client: Client, key: Key) -> Any:
    return await _refusal(client, key, "/nothing")


@fact(
    [500, "rivetkit.internal_error"],
    v20=[500, "internal.internal_error"],
    once=True,
)
async def a_raw_request_that_is_answered_with_text(client: Client, key: Key) -> Any:
    return await _refusal(client, key, "/text")


async def _refusal(client: Client, key: Key, path: str) -> Any:
    response = await client.web.get_or_create(key).fetch(path)
    return [response.status_code, "{group}.{code}".format_map(response.json())]


@fact([["a=1", "b=2"], ["a=1, b=2"]], v23=[["b=2"], ["a=1, b=2"]], once=True)
async def fields_that_a_raw_answer_has_twice(client: Client, key: Key) -> Any:
    response = await client.web.get_or_create(key).fetch("/fields")
    return [response.headers.get_list(name) for name in ("set-cookie", "x-two")]


@fact(200, once=True)
async def a_raw_request_whose_hook_destroys_the_actor(client: Client, key: Key) -> Any:
    params = {"destroys": "onBeforeConnect", "name": "guest"}
    presence = client.presence.get_or_create(key)
    await presence.names()
    return (await client.presence.get(key, params=params).fetch("/")).status_code


@fact(["text/plain;charset=UTF-8", "\u00e9"], once=True)
async def fields_of_a_text_that_a_raw_request_is_answered_with(client: Client, key: Key) -> Any:
    headers = (await client.web.get_or_create(key).fetch("/plain")).headers
    return [headers["content-type"], headers["x-own"]]


@fact([500, 500], once=True)
async def statuses_that_no_raw_answer_can_have(client: Client, key: Key) -> Any:
    web = client.web.get_or_create(key)
    return [(await web.fetch(f"/status/{status}")).status_code for status in (101, 199)]


@fact("?a=1&&b=&", once=True)
async def the_query_of_a_raw_request(client: Client, key: Key) -> Any:
    return (await client.web.get_or_create(key).fetch("/echo?a=1&&b=&")).json()["search"]


@fact([204, "/echo/a"], v23=[204, "/echo/a/"], once=True)
async def raw_requests_that_arrive_otherwise(client: Client, key: Key) -> Any:
    """OPTIONS does not reach the actor, and up to 2.2 the last slash does not either."""
    web = client.web.get_or_create(key)
    options = await web.fetch("/echo", method="OPTIONS")
    return [options.status_code, (await web.fetch("/echo/a/")).json()["path"]]


@fact(1, v22=2, once=True)
async def a_connection_that_the_actor_closes_is_gone(client: Client, key: Key) -> Any:
    """How often onDisconnect says so."""
    presence = client.presence.get_or_create(key)
    async with presence.connect(params={"name": "guest"}) as conn:
        await outcome(conn.kick())
        await _hooks_of("guest", presence)
        return (await presence.hooks()).count("onDisconnect guest")


@fact({"destroys": [], "sleeps": []}, v23={"destroys": "actor.destroying", "sleeps": []}, once=True)
async def a_hook_that_ends_the_actor(client: Client, key: Key) -> Any:
    found = {}
    for how in ("destroys", "sleeps"):
        params = {how: "onBeforeConnect", "name": "guest"}
        presence = client.presence.get_or_create([*key, how], params=params)
        names = await outcome(presence.names())
        found[how] = [] if names == ["guest"] else names
    return found


@fact(1, until="2.2", v22=2, once=True)
async def how_many_connections_are_left_when_the_actor_closes_one(client: Client, key: Key) -> Any:
    probe = client.probe.get_or_create(key)
    async with probe.connect(retry=QUICK) as conn, probe.connect() as other:
        await conn.conns()
        return await other.kickOthers("enough")


@fact(1, v21=2, v22=3, once=True)
async def a_connection_that_the_actor_closes_twice(client: Client, key: Key) -> Any:
    """How often onDisconnect says so."""
    presence = client.presence.get_or_create(key)
    async with presence.connect(params={"name": "guest"}) as conn:
        changes = conn.status_changes()
        await changes.receive()
        await client.presence.get(key, params={"name": "host"}).kickTwice()
        with anyio.fail_after(SECONDS):
            await changes.receive()
        await _hooks_of("guest", presence)
        return (await presence.hooks()).count("onDisconnect guest")


@fact("closed: enough", v23="open", once=True)
async def a_raw_websocket_that_is_a_connection_and_closed_as_one(client: Client, key: Key) -> Any:
    socket = client.web.get_or_create(key).websocket("/")

    async def kick() -> None:
        await socket.send("kick:enough")

    return await _end_of_socket(socket, kick)


@fact(["noted"], until="2.2", slow=True)
async def an_actor_that_is_destroyed_as_it_goes_to_sleep(client: Client, key: Key) -> Any:
    """It sleeps: what it has noted is still there.

    In 2.3 it sleeps mostly: both ways lead through the engine, and the other may come first.
    """
    odd = client.odd.get_or_create(key)
    await odd.note("noted")
    await odd.calls()
    await odd.endTwice("sleep", "destroy")
    # While it stops, it may still answer: it counts on, and the next begins anew.
    await until(odd.calls, lambda calls: calls == 1)
    return [what for what, _ in await client.odd.get_or_create(key).noted()]


async def farewells(client: Client, key: Key, how: str) -> Any:
    """What a connection hears of an actor that broadcasts in the hook for its end."""
    farewell = client.farewell.get_or_create(key)
    async with farewell.connect(retry=QUICK) as conn, conn.events("bye") as stream:
        first = await farewell.start()
        await farewell.end(how)
        await until(conn.start, lambda start: isinstance(start, float) and start != first)
        return [stream.receive_nowait() for _ in range(stream.buffered)]


@fact([], v22=["sleep"], v23=["sleep"], slow=True)
async def what_an_actor_sends_as_it_goes_to_sleep(client: Client, key: Key) -> Any:
    return await farewells(client, key, "sleep")


@fact([], v22=["destroy"], until="2.2", slow=True)
async def what_an_actor_sends_as_it_is_destroyed(client: Client, key: Key) -> Any:
    return await farewells(client, key, "destroy")


@fact([True, False], v23=[True, True], slow=True)
async def what_a_call_sends_whose_actor_goes_to_sleep(client: Client, key: Key) -> Any:
    return await outcome(client.farewell.get_or_create(key).linger())


# What is under way when an actor ends, and what takes too long


async def under_way(client: Client, key: Key, how: str) -> list[Any]:
    """What becomes of a call on a connection, and of one over HTTP."""
    quirk = client.quirk.get_or_create(key)
    found: dict[str, Any] = {}
    async with quirk.connect(retry=QUICK) as conn, anyio.create_task_group() as tasks:

        async def call(name: str, caller: Any) -> None:
            found[name] = await outcome(caller.wait())

        tasks.start_soon(call, "connection", conn)
        tasks.start_soon(call, "http", quirk)
        await until(quirk.waiting, lambda waiting: waiting == 2)
        await quirk.end(how)
    return [str(found["connection"]).partition(":")[0], found["http"]]


@fact(["answered"] * 2, v20=["ConnectionLostError", "answered"], slow=True)
async def calls_when_the_actor_goes_to_sleep(client: Client, key: Key) -> Any:
    return await under_way(client, key, "sleep")


@fact(
    ["answered"] * 2,
    v20=["ConnectionLostError", "answered"],
    v23=["ConnectionLostError", "answered"],
    slow=True,
)
async def calls_when_the_actor_is_destroyed(client: Client, key: Key) -> Any:
    return await under_way(client, key, "destroy")


@fact(["added", 1], v23=["added", 11], once=True)
async def a_change_behind_the_sleep(client: Client, key: Key) -> Any:
    """Up to 2.2 the actor starts anew while a call over HTTP goes on, whose changes are lost."""
    usher = client.usher.get_or_create(key)
    found = []

    async def add() -> None:
        found.append(await usher.addSlowly())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(add)
        await until(usher.total, lambda total: total == 1)
        await usher.sleepNow()
        await until(usher.starts, lambda starts: starts == 2)
    return [*found, await usher.total()]


@fact(["action.timed_out"] * 2 + [200], v23=["actor.action_timed_out"] * 2 + [408], slow=True)
async def what_takes_too_long(client: Client, key: Key) -> Any:
    """A call on a connection, one over HTTP, and a raw request."""
    hasty = client.hasty.get_or_create(key)
    found: list[Any] = [None, None, None]
    async with hasty.connect() as conn, anyio.create_task_group() as tasks:

        async def call(index: int, caller: Any) -> None:
            found[index] = await outcome(caller.slow())

        async def fetch() -> None:
            found[2] = (await hasty.fetch("/")).status_code

        tasks.start_soon(call, 0, conn)
        tasks.start_soon(call, 1, hasty)
        tasks.start_soon(fetch)
    return found


@fact("kept", once=True)
async def an_actor_that_is_destroyed_in_on_sleep(client: Client, key: Key) -> Any:
    """It sleeps, and is the same when it is awake again."""
    farewell = client.farewell.get_or_create(key)
    await farewell.keep("kept")
    first = await farewell.start()
    await farewell.endInOnSleep()
    handle = client.farewell.get_or_create(key)
    await until(handle.start, lambda start: isinstance(start, float) and start != first)
    return await handle.kept()


@fact(["action.timed_out", 1, 2], v23=["actor.action_timed_out", 1, 2], slow=True)
async def what_took_too_long_goes_on(client: Client, key: Key) -> Any:
    """How many calls have come to their end, at last; a scheduled one has no limit."""
    hasty = client.hasty.get_or_create(key)
    found = [await outcome(hasty.late())]
    found.append(await until(hasty.ended, lambda ended: ended == 1))
    await hasty.later()
    return [*found, await until(hasty.ended, lambda ended: ended == 2)]


@fact(("timedOut", None), since="2.1", v23="actor.action_timed_out", slow=True)
async def waiting_for_a_queue_longer_than_an_action_may_take(client: Client, key: Key) -> Any:
    result = await outcome(client.hasty.get_or_create(key).send_and_wait("jobs", 1, timeout=0.6))
    return result if isinstance(result, str) else (result.status, result.response)


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


@fact("timedOut", since="2.1", once=True)
async def a_queue_that_nobody_waits_for(client: Client, key: Key) -> Any:
    return (await client.worker.get_or_create(key).send_and_wait("jobs", 1, timeout=0)).status


TOO_LARGE = [
    "queue.message_too_large",
    "Queue message too large (65537 bytes). Limit is 65536 bytes.",
    {"size": 65537, "limit": 65536},
]


@fact([("completed", None), TOO_LARGE], since="2.1", once=True)
async def a_queue_takes_messages_of_64_kib(client: Client, key: Key) -> Any:
    """With its name, its length, and what else is stored of it."""
    forgetful = client.forgetful.get_or_create(key)
    most = 65536 - (2 + 8 + 4) - (1 + len("jobs")) - 3 - 3
    found = []
    for size in (most, most + 1):
        result = await said(forgetful.send_and_wait("jobs", "x" * size, timeout=10))
        found.append(result if isinstance(result, list) else (result.status, None))
    return found


async def limp(client: Client, key: Key, hook: str, how: str, times: int) -> Any:
    """What three calls say to an actor that fails to start so often."""
    fails = {"name": "/".join(key), "where": hook, "how": how, "times": times}
    limping = client.limping.get_or_create(key, input=fails)
    with anyio.fail_after(SECONDS):
        return [await outcome(limping.woken()) for _ in range(3)]


BROKEN = ["rivetkit.internal_error"] * 3
BROKEN_IN_20 = ["internal.internal_error"] * 3


@fact(BROKEN, v20=BROKEN_IN_20, v23=[1, 1, 1], once=True)
async def an_actor_that_fails_to_start_once(client: Client, key: Key) -> Any:
    return await limp(client, key, "wake", "plain", 1)


@fact(BROKEN, v20=BROKEN_IN_20, v23=[1, 1, 1], once=True)
async def an_actor_that_cannot_be_made_once(client: Client, key: Key) -> Any:
    return await limp(client, key, "create", "plain", 1)


@fact(BROKEN, v20=BROKEN_IN_20, v22=["user.limps", *BROKEN[1:]], v23=[1, 1, 1], once=True)
async def an_actor_that_says_why_it_does_not_start(client: Client, key: Key) -> Any:
    return await limp(client, key, "wake", "user", 1)


TRIED = ["guard.actor_wake_retries_exceeded", 1, 1]


@fact(TRIED, since="2.3", slow=True)
async def an_actor_is_started_nine_times(client: Client, key: Key) -> Any:
    return await limp(client, key, "wake", "plain", 9)


@fact("rivetkit.internal_error", since="2.1", v23="timedOut", slow=True)
async def a_message_that_is_completed_with_what_cannot_travel(client: Client, key: Key) -> Any:
    """In 2.3 the worker sees the error, and dies of it here."""
    forgetful = client.forgetful.get_or_create(key)
    result = await outcome(forgetful.send_and_wait("jobs", "bad", timeout=0.3))
    return result if isinstance(result, str) else result.status


@fact("ProtocolError", since="2.1")
async def a_queue_that_was_not_declared_and_shall_answer(client: Client, key: Key) -> Any:
    worker = client.worker.get_or_create(key)
    said = await outcome(worker.send_and_wait("noSuchQueue", 1, type=dict[str, int]))
    return said.partition(":")[0]


# Raw requests


@fact(404)
async def a_raw_request_without_a_handler(client: Client, key: Key) -> Any:
    return (await client.probe.get_or_create(key).fetch("/x")).status_code


@fact({"without": 404, "waits": True})
async def raw_requests_and_websockets_without_a_handler(client: Client, key: Key) -> Any:
    odd = client.odd.get_or_create(key)
    async with odd.websocket("/x") as socket:
        with anyio.move_on_after(1) as scope:
            await socket.receive()
    return {
        "without": (await odd.fetch("/x")).status_code,
        "waits": scope.cancelled_caught,
    }


@fact("handler.request_not_defined", v23="")
async def the_body_of_a_raw_request_without_a_handler(client: Client, key: Key) -> Any:
    response = await client.odd.get_or_create(key).fetch("/x")
    if not response.content:
        return ""
    return "{group}.{code}".format_map(response.json())


# Names, keys


@fact("under")
async def an_action_whose_name_begins_with_an_underscore(client: Client, key: Key) -> Any:
    return await outcome(client.odd.get_or_create(key).action("_under"))


@fact([" x ", "tab\tin", "line\nbreak", "cr\r", "\xe9", "\u65e5", ""])
async def keys_that_no_header_can_carry(client: Client, key: Key) -> Any:
    found = []
    for part in (" x ", "tab\tin", "line\nbreak", "cr\r", "\xe9", "\u65e5", ""):
        said = await client.probe.get_or_create([*key, part]).whoami()
        # 2.0 takes all of a key for one part, and escapes it.
        last = said["key"][-1].rpartition("/")[2]
        found.append("" if last == "\\0" else last)
    return found


@fact([], v20=["/"], once=True)
async def the_empty_key(client: Client, key: Key) -> Any:
    return (await client.probe.get_or_create([]).whoami())["key"]


@fact("answers", v23="core.internal_error")
async def a_key_with_a_null(client: Client, key: Key) -> Any:
    return await outcome(_answers(client.probe.get_or_create([*key, "nul\0"])))


async def _answers(probe: Any) -> str:
    await probe.echo(1)
    return "answers"


@fact("answers", v23="actor.key_too_large")
async def a_key_that_is_very_long(client: Client, key: Key) -> Any:
    return await outcome(_answers(client.probe.get_or_create([*key, "x" * 2000])))


# Texts of errors

INTERNAL = "Internal error. Read the server logs for more details."


@fact(
    [["guard.x", "mine", None], ["queue.x", "mine", None], ["user.x", "mine", None]],
    v23=[
        ["guard.x", "An internal error occurred", None],
        ["queue.x", "An internal error occurred", None],
        ["user.x", "mine", None],
    ],
)
async def errors_in_the_name_of_others(client: Client, key: Key) -> Any:
    mimic = client.mimic.get_or_create(key)
    found = []
    for group in ("guard", "queue", "user"):
        what = {"label": "-".join([*key, group]), "group": group, "code": "x", "message": "mine"}
        found.append(await said(mimic.action("raise", what)))
    return found


@fact(
    [
        "action.not_found",
        "Action 'noSuchAction' not found. Validate the action exists on your actor.",
        None,
    ],
    v23=["actor.action_not_found", "Action `noSuchAction` was not found.", None],
)
async def the_text_of_an_unknown_action(client: Client, key: Key) -> Any:
    return await said(client.odd.get_or_create(key).noSuchAction())


@fact(
    ["rivetkit.internal_error", INTERNAL, {}],
    v20=["internal.internal_error", INTERNAL, {}],
    v23=["rivetkit.internal_error", "An internal error occurred", None],
)
async def the_text_of_an_internal_error(client: Client, key: Key) -> Any:
    return await said(client.probe.get_or_create(key).fail("plain"))


@fact(
    "Actor already exists with name 'probe' and key '[KEY]' "
    "(https://www.rivet.dev/docs/clients/javascript)",
    v20="Actor already exists with name 'probe' and key '[KEY]' "
    "(https://www.rivet.dev/docs/actors/clients/#actor-client)",
    v23="Actor key 'KEY' already in use for actor 'ID'",
)
async def the_text_of_a_key_that_is_taken(client: Client, key: Key) -> Any:
    id = await (await client.probe.create(key)).resolve()
    text = (await said(client.probe.create(key)))[1].replace(id, "ID")
    for written in (json.dumps("/".join(key)), json.dumps(key)[1:-1].replace(", ", ",")):
        text = text.replace(written, "KEY")
    return text.replace("/".join(key), "KEY")


@fact([None, None, None, [], {}], v23=[0, "", False, [], {}], once=True)
async def metadata_that_javascript_takes_for_false(client: Client, key: Key) -> Any:
    quirk = client.quirk.get_or_create(key)
    async with quirk.connect() as conn:
        values: list[Any] = [0, "", False, [], {}]
        return [await metadata_of(conn, value) for value in values]


async def metadata_of(caller: Any, value: Any) -> Any:
    try:
        return await caller.action("raise", value)
    except ActorError as error:
        return error.metadata if error.group == "user" else f"{error.group}.{error.code}"


WHEN = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@fact(
    [{"of": b"\x05"}, 2**60],
    in_json=False,
    v23=[{"of": {"0": 5}}, "core.internal_error"],
)
async def metadata_that_json_lacks(client: Client, key: Key) -> Any:
    quirk = client.quirk.get_or_create(key)
    async with quirk.connect() as conn:
        return [await metadata_of(conn, value) for value in ({"of": b"\x05"}, 2**60)]


# Only bare can send a date to 2.3.
@fact(WHEN, v23="2020-01-01T00:00:00.000Z", once=True)
async def a_date_in_metadata(client: Client, key: Key) -> Any:
    async with client.quirk.get_or_create(key).connect() as conn:
        return await metadata_of(conn, WHEN)


@fact(["rivetkit.internal_error", 2], v20=["internal.internal_error", 2], once=True)
async def a_change_before_an_error_is_kept(client: Client, key: Key) -> Any:
    quirk = client.quirk.get_or_create(key)
    return [await outcome(quirk.bump(True)), await quirk.bump()]


# What cannot travel, what cannot be saved


@fact(
    # In json, 2.0 to 2.2 send null in its place; the harness refuses what no Python value means.
    ["broadcast", "broadcast", "rivetkit.internal_error", "rivetkit.internal_error"],
    in_json=False,
    v20=["broadcast", "broadcast", "internal.internal_error", "internal.internal_error"],
    v23=["rivetkit.internal_error"] * 4,
)
async def what_cannot_travel(client: Client, key: Key) -> Any:
    odd = client.odd.get_or_create(key)
    unheard = await outcome(odd.broadcastBad())
    async with odd.connect() as conn:
        events = conn.events("bad")
        await conn.noted()
        heard = await outcome(conn.broadcastBad())
        sent = await outcome(conn.sendBad())
        assert events.buffered == 0
    return [unheard, heard, sent, await outcome(odd.returnBad())]


@fact("rivetkit.internal_error", v20="internal.internal_error")
async def a_state_that_cannot_be_saved(client: Client, key: Key) -> Any:
    return await outcome(client.odd.get_or_create(key).keepBad())


# Sizes


@fact([65_000, "message.incoming_too_long"], default_limits=True)
async def long_calls_over_http(client: Client, key: Key) -> Any:
    odd = client.odd.get_or_create(key)
    return [await outcome(odd.length("x" * size)) for size in (65_000, 66_000)]


@fact(["1011 message.incoming_too_long"], v20=["1011 incoming_too_long"], default_limits=True)
async def long_calls_on_a_connection(client: Client, key: Key) -> Any:
    async with client.odd.get_or_create(key).connect(retry=QUICK) as conn:
        changes = conn.status_changes()
        await changes.receive()
        await outcome(conn.length("x" * 66_000))
        with anyio.fail_after(SECONDS):
            change = await changes.receive()
        return [_closed(change.error)]


def _closed(error: Any) -> str:
    """The close frame behind an error."""
    if isinstance(error, ConnectionLostError):
        return f"{error.code} {error.reason}"
    return f"1011 {error.group}.{error.code}"


@fact(["message.outgoing_too_long"] * 2, default_limits=True)
async def long_answers(client: Client, key: Key) -> Any:
    odd = client.odd.get_or_create(key)
    async with odd.connect() as conn:
        return [await outcome(odd.big(1_100_000)), await outcome(conn.big(1_100_000))]


@fact(
    ["sent", "message.outgoing_too_long", "connected"],
    v23=["sent", "1011 message.outgoing_too_long"],
    default_limits=True,
)
async def long_events(client: Client, key: Key) -> Any:
    """2.3 closes the connections that are to hear it."""
    odd = client.odd.get_or_create(key)
    found = [await outcome(odd.bigEvent(1_100_000))]
    async with odd.connect(retry=QUICK) as conn:
        changes = conn.status_changes()
        await changes.receive()
        events = conn.events("big")
        await conn.noted()
        result = await outcome(conn.bigEvent(1_100_000))
        assert events.buffered == 0
        with anyio.move_on_after(1):
            return [*found, _closed((await changes.receive()).error)]
        return [*found, result, conn.status.value]


# Vars, schedules, sleep


@fact([1, 2, 1])
async def vars_last_until_the_actor_sleeps(client: Client, key: Key) -> Any:
    odd = client.odd.get_or_create(key)
    found = [await odd.calls(), await odd.calls()]
    await odd.sleepNow()
    # While it stops, it may still answer, or refuse to.
    return [*found, await until(odd.calls, lambda calls: calls == 1)]


@fact(["at", "after"])
async def actions_that_run_later(client: Client, key: Key) -> Any:
    odd = client.odd.get_or_create(key)
    await odd.later(3000, "after")
    await odd.laterAt(200, "at")
    noted = await until(odd.noted, lambda noted: len(noted) == 2)
    # Who looks is a connection, too, and may be counted.
    return [what for what, _ in noted]


@fact([["late", 0]])
async def an_action_wakes_the_actor_that_sleeps(client: Client, key: Key) -> Any:
    odd = client.odd.get_or_create(key)
    await odd.later(1500, "late")
    await odd.sleepNow()
    await anyio.sleep(2.5)
    return await until(odd.noted, lambda noted: noted == [["late", 0]])


@fact(["wake", "sleep", "wake"])
async def an_actor_sleeps_by_itself(client: Client, key: Key) -> Any:
    napper = client.napper.get_or_create(key)
    await napper.noted()
    await anyio.sleep(2.5)
    return (await until(napper.noted, lambda noted: len(noted) > 2))[:3]


@fact(["wake"])
async def an_actor_stays_awake_for_a_connection_and_for_a_call(client: Client, key: Key) -> Any:
    napper = client.napper.get_or_create(key)
    async with napper.connect() as conn:
        await conn.noted()
        await anyio.sleep(2)
        assert await conn.noted() == ["wake"]
    return await napper.slow(2000)


# How long actors stay awake: `nodder` and `toiler` sleep after two seconds of rest


async def sleeps(actor: Any, work: Callable[[], Awaitable[Any]], seconds: float) -> list[int]:
    """How many seconds after the end of some work an actor fell asleep, each time."""
    await actor.now()
    asked = anyio.current_time()
    began = await actor.now() / 1000 - asked
    await outcome(work())
    ended = anyio.current_time()
    await anyio.sleep(seconds)
    noted = [(what, time / 1000 - began - ended) for what, time in await actor.noted()]
    return [round(time) for what, time in noted if what == "sleep"]


async def all_sleeps(
    cases: dict[str, tuple[Any, Callable[[], Awaitable[Any]]]], seconds: float
) -> dict[str, list[int]]:
    """`sleeps` of many actors at once."""
    found: dict[str, list[int]] = {}

    async def look(name: str, actor: Any, work: Callable[[], Awaitable[Any]]) -> None:
        found[name] = await sleeps(actor, work, seconds)

    async with anyio.create_task_group() as tasks:
        for name, (actor, work) in cases.items():
            tasks.start_soon(look, name, actor, work)
    return found


@fact({"call": [2], "failed call": [2], "request": [2], "refused call": [2]}, slow=True)
async def an_actor_sleeps_after_calls(client: Client, key: Key) -> Any:
    nodders = {
        name: client.nodder.get_or_create([*key, name])
        for name in ("call", "failed call", "request", "refused call")
    }

    async def refused() -> None:
        await anyio.sleep(1)
        await client.nodder.get([*key, "refused call"], params={"refuse": True}).now()

    async def failed() -> None:
        await anyio.sleep(1)
        await nodders["failed call"].fail()

    works: dict[str, Callable[[], Awaitable[Any]]] = {
        "call": lambda: nodders["call"].work(3000),
        "failed call": failed,
        "request": lambda: nodders["request"].fetch("/?ms=3000"),
        "refused call": refused,
    }
    return await all_sleeps({name: (nodders[name], works[name]) for name in nodders}, 4)


LEFT = {"connection": [2], "raw WebSocket": [2], "refused connection": [1], "slow call": [5]}


@fact(LEFT, v20=LEFT | {"slow call": [2]}, slow=True)
async def an_actor_sleeps_after_connections(client: Client, key: Key) -> Any:
    """In 2.0 nothing keeps it awake but the connection, not even a call that is under way."""
    nodders = {name: client.nodder.get_or_create([*key, name]) for name in LEFT}

    async def idle() -> None:
        async with nodders["connection"].connect():
            await anyio.sleep(4)

    async def raw() -> None:
        async with nodders["raw WebSocket"].websocket():
            await anyio.sleep(4)

    async def refused() -> None:
        await anyio.sleep(1)
        bad = client.nodder.get([*key, "refused connection"], params={"refuse": True})
        await outcome(connected(bad))

    async def slow() -> None:
        async with nodders["slow call"].connect() as conn:
            with anyio.move_on_after(1):
                await conn.work(4000)

    works = {
        "connection": idle,
        "raw WebSocket": raw,
        "refused connection": refused,
        "slow call": slow,
    }
    return await all_sleeps({name: (nodders[name], works[name]) for name in nodders}, 6)


@fact(
    {"onDisconnect": [6], "onDisconnect of a call": [6], "raw WebSocket": [6]},
    v20={"onDisconnect": [2], "onDisconnect of a call": [2], "raw WebSocket": [2]},
    v21={"onDisconnect": [6], "onDisconnect of a call": [6], "raw WebSocket": [2]},
    slow=True,
)
async def an_actor_sleeps_after_what_outlasts_a_connection(client: Client, key: Key) -> Any:
    """The hook, or the handler of a message, takes four seconds."""
    names = ("onDisconnect", "onDisconnect of a call", "raw WebSocket")
    nodders = {name: client.nodder.get_or_create([*key, name]) for name in names}
    parting = {
        name: client.nodder.get_or_create([*key, name], params={"parts": 4000}) for name in names
    }

    async def raw() -> None:
        async with nodders["raw WebSocket"].websocket() as socket:
            await socket.send("4000")
            await socket.receive()

    works: dict[str, Callable[[], Awaitable[Any]]] = {
        "onDisconnect": lambda: connected(parting["onDisconnect"]),
        "onDisconnect of a call": lambda: parting["onDisconnect of a call"].now(),
        "raw WebSocket": raw,
    }
    return await all_sleeps({name: (nodders[name], works[name]) for name in names}, 8)


@fact(
    {"quick": [3], "slow": [7], "far": [2, 6]},
    v20={"quick": [3], "slow": [3], "far": [2, 6]},
    v21={"quick": [3], "slow": [3], "far": [2, 6]},
    v22={"quick": [3], "slow": [7], "far": [2]},
    slow=True,
)
async def an_actor_sleeps_after_scheduled_actions(client: Client, key: Key) -> Any:
    """Up to 2.1 it does not stay awake for a slow one; in 2.2 it does not wake for one."""
    times = {"quick": (1000, 0), "slow": (1000, 4000), "far": (4000, 0)}
    nodders = {name: client.nodder.get_or_create([*key, name]) for name in times}

    def plan(name: str) -> Callable[[], Awaitable[Any]]:
        return lambda: nodders[name].later(*times[name])

    return await all_sleeps({name: (nodders[name], plan(name)) for name in times}, 9)


@fact({"sent": [2], "waited for": [2], "worked off": [6]}, since="2.1", slow=True)
async def an_actor_sleeps_after_messages(client: Client, key: Key) -> Any:
    """Two that nobody takes, and one that its `run` works off for four seconds."""
    nodders = {name: client.nodder.get_or_create([*key, name]) for name in ("sent", "waited for")}
    works = client.toiler.get_or_create([*key, "works"])

    async def send() -> None:
        await anyio.sleep(1)
        await nodders["sent"].send("jobs", 1)

    return await all_sleeps(
        {
            "sent": (nodders["sent"], send),
            "waited for": (
                nodders["waited for"],
                lambda: nodders["waited for"].send_and_wait("jobs", 1, timeout=4),
            ),
            "worked off": (works, lambda: works.send("jobs", 4000)),
        },
        8,
    )


@fact(["wake", "sleep"], v20=[], slow=True)
async def an_actor_starts_when_it_is_created(client: Client, key: Key) -> Any:
    """What it has noted when it is called for the first time, a while later."""
    created = await client.nodder.create(key)
    await anyio.sleep(5)
    asked = anyio.current_time()
    noted = await created.noted()
    now = await created.now() / 1000
    return [what for what, time in noted if now - time / 1000 > anyio.current_time() - asked + 0.5]


CREATION_FAILED = "rivetkit.internal_error"


@fact(CREATION_FAILED, v20="created", v22="user.limps", v23="created", once=True)
async def the_creation_of_an_actor_that_does_not_start(client: Client, key: Key) -> Any:
    fails = {"name": "/".join(key), "where": "wake", "how": "user", "times": 1}

    async def create() -> str:
        await client.limping.create(key, input=fails)
        return "created"

    return await outcome(create())


@fact(["came guest", "went guest"], v22=["came guest"], v23=["came guest"], once=True)
async def what_the_end_of_a_call_adds_to_its_answer(client: Client, key: Key) -> Any:
    """Up to 2.1 an answer is written when the hook for the end of the call has begun."""
    hooks = await client.presence.get_or_create(key, params={"name": "guest"}).hooks()
    words = {"onConnect guest": "came guest", "onDisconnect guest": "went guest"}
    return [words[hook] for hook in hooks if hook in words]


# Queues that are not worked off


@fact(
    [("timedOut", None), ("timedOut", None), ["never"]],
    since="2.1",
    v21=[("timedOut", None), ("completed", "done"), ["next"]],
)
async def a_worker_that_forgets_to_complete(client: Client, key: Key) -> Any:
    """It dies. In 2.1 the actor dies with it, and who comes next meets a new one."""
    worker = client.forgetful.get_or_create(key)
    found = []
    for body in ("never", "next"):
        result = await worker.send_and_wait("jobs", body, timeout=1)
        found.append((result.status, result.response))
    return [*found, await worker.taken()]


@fact(["never", "never"], since="2.2")
async def a_message_that_was_not_completed_comes_again(client: Client, key: Key) -> Any:
    worker = client.forgetful.get_or_create(key)
    await worker.send_and_wait("jobs", "never", timeout=0.5)
    await worker.sleepNow()
    return await until(worker.taken, lambda taken: len(taken) == 2)


# What is asked without a client


async def answers(http: httpx.AsyncClient, base: str, asked: Iterable[tuple[Any, ...]]) -> Any:
    """The status of each answer, and what it says: an error's group and code, or the text."""
    found = {}
    for method, path, *rest in asked:
        headers, body = (*rest, {}, None)[:2] if rest else ({}, None)
        answer = await http.request(method, base + path, headers=headers, content=body)
        text = answer.text
        if text.startswith("{"):
            said = answer.json()
            text = f"{said['group']}.{said['code']}" if "code" in said else " ".join(sorted(said))
        name = " ".join([method, path, *headers.values(), *([body] if body else [])])
        found[name] = f"{answer.status_code} {text}".strip()
    return found


NOT_FOUND = "404 Not Found (RivetKit)"
WELCOME = "200 This is a RivetKit server.\n\nLearn more at https://"
INTERNAL = "500 rivetkit.internal_error"
NAMELESS = "400 error"
UNFIT = "400 error success"
BAD = "400 api.bad_request"


def by_release(table: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """The columns of a table. A row has one entry, two (before 2.3, and then), or four."""
    rows = {
        name: {1: row * 4, 2: (row[0],) * 3 + row[-1:], 4: row}[len(row)]
        for name, row in table.items()
    }
    names = ("v20", "v21", "v22", "v23")
    return {v: {name: row[i] for name, row in rows.items()} for i, v in enumerate(names)}


@fact(
    raw=True,
    **by_release(
        {
            "GET /": (
                *[WELCOME + site for site in ("rivetkit.org", "rivet.dev", "rivet.dev")],
                "308",
            ),
            "GET /health": ("200 runtime status version",),
            "GET /nope": (NOT_FOUND, "404 api.not_found"),
            "GET /gateway/": (NOT_FOUND, "404 api.not_found"),
            "POST /metadata": (NOT_FOUND, "405"),
            "PATCH /actors": (NOT_FOUND, "405"),
            "OPTIONS /actors": ("204", "200"),
            "GET /actors": (NAMELESS, BAD),
            "GET /actors?namespace=default": (NAMELESS, "400 validation.invalid_input"),
            "GET /actors?namespace=default&key=a": (NAMELESS, "400 validation.invalid_input"),
            "GET /actors?namespace=default&name=zz&limit=x": ("200 actors", BAD),
            "GET /actors?namespace=default&name=zz&limit=-1": ("200 actors", BAD),
            "GET /actors?namespace=default&name=zz&limit=0": (
                "200 actors",
                "200 actors pagination",
            ),
            "GET /actors?namespace=default&name=zz&cursor=x": (
                "200 actors",
                "500 core.internal_error",
            ),
            "GET /actors?namespace=default&name=zz&zz=1": ("200 actors", BAD),
            "GET /actors/names": (UNFIT, BAD),
            "DELETE /actors/nope": (NOT_FOUND, BAD),
        }
    ),
)
async def what_a_server_answers_to_anybody(client: Client, key: Key, http: Any) -> Any:
    paths = """GET / | GET /health | GET /nope | GET /gateway/ | POST /metadata | PATCH /actors
        | OPTIONS /actors | GET /actors | GET /actors?namespace=default
        | GET /actors?namespace=default&key=a | GET /actors?namespace=default&name=zz&limit=x
        | GET /actors?namespace=default&name=zz&limit=-1
        | GET /actors?namespace=default&name=zz&limit=0
        | GET /actors?namespace=default&name=zz&cursor=x
        | GET /actors?namespace=default&name=zz&zz=1
        | GET /actors/names | DELETE /actors/nope"""
    return await answers(http, "", [tuple(asked.split()) for asked in paths.split("|")])


JSON = {"content-type": "application/json"}
WHOLE = {"name": "probe", "key": "k", "runner_name_selector": "default", "crash_policy": "sleep"}


@fact(
    [INTERNAL, UNFIT, UNFIT, UNFIT, INTERNAL, "200"],
    raw=True,
    v20=["500 internal.internal_error", UNFIT, UNFIT, UNFIT, "500 internal.internal_error", "200"],
    v23=[BAD, BAD, BAD, BAD, BAD, BAD],
)
async def what_creates_no_actor(client: Client, key: Key, http: Any) -> Any:
    """Not JSON, nothing in it, a list, a part missing, no type, and too much."""
    bodies = [b"{", b"{}", b"[]", json.dumps({"name": "probe", "key": "k"}).encode()]
    asked = [("PUT", "/actors?namespace=default", JSON, body.decode()) for body in bodies]
    whole = json.dumps(WHOLE)
    asked.append(("PUT", "/actors?namespace=default", {}, whole))
    asked.append(
        ("PUT", "/actors?namespace=default", JSON, json.dumps(WHOLE | {"key": key[0], "x": 1}))
    )
    found = list((await answers(http, "", asked)).values())
    return [*found[:-1], found[-1].removesuffix(" actor created")]


@fact(
    raw=True,
    **by_release(
        {
            "GET /": ("200 This is an RivetKit actor.\n\nLearn more at https://rivetkit.org",),
            "GET /health": ("200 ok",),
            "GET /metadata": (NOT_FOUND, "200 runtime version", *["200 runtime type version"] * 2),
            "GET /nope": (NOT_FOUND, "404 actor.not_found"),
            "GET /action/echo": (NOT_FOUND, "405 actor.method_not_allowed"),
            "PUT /action/echo": (NOT_FOUND, "405 actor.method_not_allowed"),
            "POST /action/": (NOT_FOUND, "404 actor.not_found"),
            "POST /action/a/b": (NOT_FOUND, "404 actor.not_found"),
            'POST /action/echo xml {"args":[1]}': ("400 encoding.invalid", "200 output"),
            'POST /action/echo json { {"args":[1]}': (
                "400 params.invalid",
                "400 core.internal_error",
            ),
            'POST /action/echo {"args":[1]}': ("200 output",),
            "POST /action/echo {": (
                "500 internal.internal_error",
                INTERNAL,
                INTERNAL,
                "400 core.internal_error",
            ),
            "POST /action/echo {}": (
                "500 internal.internal_error",
                INTERNAL,
                INTERNAL,
                "200 output",
            ),
            'POST /action/echo {"args":5}': (
                "500 internal.internal_error",
                INTERNAL,
                INTERNAL,
                "200 output",
            ),
        }
    ),
)
async def what_an_actor_answers_to_anybody(client: Client, key: Key, http: Any) -> Any:
    plain = """GET / | GET /health | GET /metadata | GET /nope | GET /action/echo | PUT /action/echo
        | POST /action/ | POST /action/a/b"""
    one = '{"args":[1]}'
    asked: list[tuple[Any, ...]] = [tuple(pair.split()) for pair in plain.split("|")]
    odd = {"x-rivet-encoding": "json", "x-rivet-conn-params": "{"}
    asked += [("POST", "/action/echo", {"x-rivet-encoding": "xml"}, one)]
    asked += [("POST", "/action/echo", odd, one)]
    asked += [("POST", "/action/echo", {}, body) for body in (one, "{", "{}", '{"args":5}')]
    id = await client.probe.get_or_create(key).resolve()
    return await answers(http, f"/gateway/{id}", asked)


@fact(["chunked", "4"], v23=["0", "chunked"], v2_3_11=["0", "4"], raw=True)
async def how_the_length_of_a_raw_answer_is_said(client: Client, key: Key, http: Any) -> Any:
    """Of one without a body, and of one with four bytes."""
    id = await client.web.get_or_create(key).resolve()
    found = []
    for path in ("/empty", "/bytes/4"):
        answer = await http.get(f"/gateway/{id}/request{path}")
        found.append(answer.headers.get("transfer-encoding") or answer.headers["content-length"])
    return found


@fact([200, 400, 200], v23=[200, 200, 200], raw=True)
async def odd_methods(client: Client, key: Key, http: Any) -> Any:
    id = await client.web.get_or_create(key).resolve()
    methods = ("HEAD", "ODD", "PURGE")
    return [
        (await http.request(method, f"/gateway/{id}/request/echo")).status_code
        for method in methods
    ]
