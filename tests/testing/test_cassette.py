"""Cassettes: what `record` wrote is what `replay` answers."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from anyio.lowlevel import checkpoint

from rivet_anyio import (
    ActorError,
    Client,
    ConfigError,
    ConnectError,
    Connection,
    ConnectionLostError,
    Management,
)
from rivet_anyio._http.transport import HttpAnswer
from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.testing import (
    Actor,
    ActorConnection,
    ActorServer,
    ActorSocket,
    CassetteError,
    DeadlockError,
    UserError,
    record,
    replay,
    run_virtual,
)
from rivet_anyio.testing._cassette_file import Message, Names, read_tape
from rivet_anyio.testing._cassette_values import from_json, to_json
from rivet_anyio.testing._recorder import Recorder, Recording, _ObservedStream
from rivet_anyio.testing._script import Script

Program = Callable[[Client], Awaitable[Any]]

TOKEN = "tok-1234567890"
PARAMS = {"user": "ada", "pass": "params-1234567890"}


class Counter(Actor):
    queues = ("jobs",)

    def __init__(self) -> None:
        self.count = 0

    async def increment(self, by: int = 1) -> int:
        self.count += by
        self.context.broadcast("changed", self.count)
        return self.count

    async def echo(self, *values: Any) -> Any:
        return values[0] if len(values) == 1 else list(values)

    async def fail(self, code: str) -> None:
        raise UserError("It failed.", code=code, metadata={"limit": 3, "since": [1, None]})

    async def announce(self, *values: Any) -> None:
        self.context.broadcast("news", *values)

    async def leave(self) -> None:
        for connection in self.context.connections:
            connection.drop(4001, "moved")

    async def hang(self) -> None:
        await anyio.sleep_forever()

    async def who(self) -> Any:
        connections = [(c.id, c.params) for c in self.context.connections]
        return {"actor": self.context.actor_id, "connections": connections}

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/bytes":
            return httpx.Response(
                200, content=b"\x00\xff", headers={"set-cookie": "c=cookie-12345"}
            )
        if request.url.path == "/numbers":
            return httpx.Response(200, content=numbers())
        if request.url.path == "/missing":
            return httpx.Response(404, json={"group": "a", "code": "b", "message": "c"})
        return httpx.Response(
            201,
            json=[request.method, request.url.path, request.content.decode()],
            headers={"x-own": "1", "x-api-key": "key-1234567890"},
        )

    async def on_before_connect(self, connection: ActorConnection) -> None:
        if connection.params == {"banned": True}:
            raise UserError(code="banned")

    async def on_websocket(self, socket: ActorSocket) -> None:
        async for message in socket:
            match message.split() if isinstance(message, str) else ():
                case ["leave", code, reason]:
                    await socket.close(int(code), reason)
                case ["twice"]:
                    await socket.send(message)
                    await socket.send("again")
                case _:
                    await socket.send(message)

    async def run(self) -> None:
        async for message in self.context.queue("jobs"):
            await message.complete({"done": message.body})


async def numbers() -> AsyncGenerator[bytes]:
    yield b"1\n2\n3\n"
    await anyio.sleep_forever()


async def recorded(path: Path, program: Program, *, version: str = "2.3", **options: Any) -> Any:
    async with (
        ActorServer({"counter": Counter}, version=version) as server,
        record(server, path) as cassette,
        cassette.client(**options) as client,
    ):
        return await program(client)


async def replayed(path: Path, program: Program, **options: Any) -> Any:
    async with replay(path) as cassette, cassette.client(**options) as client:
        return await program(client)


async def test_what_nobody_asked_for(tmp_path: Path) -> None:
    async def program(client: Client) -> None:
        counter = client.counter.get_or_create("a")
        await counter.increment()
        await counter.increment(2)
        await counter.send("jobs", 1)
        for _ in range(2):
            async with counter.connect() as conn, conn.events("changed"):
                await conn.increment(5)

    async def less(client: Client) -> None:
        counter = client.counter.get_or_create("a")
        await counter.increment(2)
        async with counter.connect() as conn:
            await conn.wait_connected()

    path = tmp_path / "c.json"
    await recorded(path, program)
    with pytest.raises(CassetteError) as raised:
        await replayed(path, less)
    assert str(raised.value).splitlines() == [
        f"the cassette {path} has what nobody asked for. Record it anew, or give "
        'replay(unused="ignore"):',
        '{"action": "increment", "actor": "actor-1", "args": []}',
        '{"actor": "actor-1", "body": 1, "send": "jobs"}',
        "a connection to actor-1",
        '{"subscribe": "changed"} on a connection to actor-1',
        '{"action": "increment", "args": [5]} on a connection to actor-1',
    ]
    await replayed(path, program)
    async with replay(path, unused="ignore"):
        pass
    with pytest.raises(ZeroDivisionError):  # it is no news where the block raised
        async with replay(path):
            raise ZeroDivisionError
    with pytest.raises(ConfigError, match="unused is 'error' or 'ignore'"):
        replay(path, unused="never")  # type: ignore[arg-type]


async def test_many_that_nobody_asked_for(tmp_path: Path) -> None:
    async def program(client: Client) -> None:
        for number in range(12):
            await client.counter.get_or_create("a").increment(number)

    path = tmp_path / "c.json"
    await recorded(path, program)
    with pytest.raises(CassetteError, match=r"and 2 others$"):
        async with replay(path):
            pass


async def test_what_only_finds_may_be_left_out(tmp_path: Path) -> None:
    async def program(client: Client) -> None:
        await one_increment(client)
        await Management(client).names()

    path = tmp_path / "c.json"
    await recorded(path, program)
    await replayed(path, one_increment)


async def caught(awaitable: Awaitable[Any]) -> tuple[Any, ...]:
    """All that an actor's error says."""
    with pytest.raises(ActorError) as raised:
        await awaitable
    error = raised.value
    generation = error.actor and error.actor.generation
    return error.group, error.code, error.message, error.metadata, generation


async def whole_program(client: Client) -> list[Any]:
    """Everything that cassettes have."""
    seen: list[Any] = []
    handle = client.counter.get_or_create(["a", "b/c"], input={"start": 1}, params=PARAMS)
    seen += [await handle.increment(2), await handle.increment(by := 2), await handle.increment(by)]
    seen.append(await caught(handle.fail("bad")))
    seen.append(await caught(handle.nothing()))
    seen.append(await caught(client.counter.get("unknown").increment()))
    by_id = client.counter.get_for_id(await handle.resolve())
    seen.append(await by_id.echo({"a": [1, 2.5, None, "ü", True]}))
    response = await handle.fetch("/x?y=1", method="POST", content=b"body")
    seen.append((response.status_code, response.json(), response.headers["x-own"]))
    seen.append((await handle.fetch("/bytes")).content)
    seen.append((await handle.fetch("/missing")).status_code)
    seen.append([actor.key async for actor in client.counter.list()])
    seen.append([actor.created_at is not None async for actor in client.counter.list()])
    async with handle.connect() as conn, conn.events("changed") as events:
        seen.append(await conn.increment(5))
        seen.append(await events.receive())
        seen.append(await caught(conn.fail("worse")))
        seen.append(await caught(conn.nothing()))
        async with by_id.connect() as other:
            seen.append(await other.increment(10))
            seen.append(await events.receive())
    return seen


@pytest.mark.parametrize(
    "version, encoding",
    [("2.0", "bare"), ("2.1", "cbor"), ("2.2", "json"), ("2.3", "bare"), ("2.3", "cbor")],
)
async def test_a_replay_is_the_recording(tmp_path: Path, version: str, encoding: Encoding) -> None:
    path = tmp_path / "new" / "cassette.json"
    first = await recorded(path, whole_program, version=version, encoding=encoding)
    assert await replayed(path, whole_program, encoding=encoding) == first
    assert first[0] == 2
    other: Encoding = "json" if encoding == "bare" else "bare"
    assert await replayed(path, whole_program, encoding=other) == first


async def test_recordings_of_a_program_are_equal(tmp_path: Path) -> None:
    texts = set()
    for number, encoding in enumerate(["bare", "bare", "json"]):
        path = tmp_path / f"{number}.json"
        await recorded(path, whole_program, encoding=encoding, token=TOKEN)
        texts.add(path.read_text())
    (text,) = texts
    assert max(len(part) for part in text.splitlines()) <= 100
    assert '    {"action": "increment", "actor": "actor-1", "args": [2], "answer": 2},\n' in text
    assert '        {"call": 1, "action": "increment", "args": [5]},\n' in text
    assert "created" not in text and "namespace" not in text
    assert '"body": {"name": "counter", "key": ["a", "b/c"], "input": {"start": 1}},\n' in text
    for secret in (TOKEN, PARAMS["pass"], "key-1234567890", "cookie-12345", "actor0001"):
        assert secret not in text


async def test_secrets_are_left_out_wherever_they_occur(tmp_path: Path) -> None:
    path = tmp_path / "cassette.json"
    named = 'my "pässword"'

    async def program(client: Client, secret: str, passed: str) -> Any:
        handle = client.counter.get_or_create("k", params={"pass": passed})
        seen: list[Any] = [await handle.echo(secret, f"pre{secret}post"), await handle.echo(TOKEN)]
        seen.append((await handle.fetch(f"/{secret}")).json())
        async with handle.connect() as conn:
            seen.append(await conn.who())
            seen.append(await conn.echo({"it": secret, secret: passed}))
        return seen

    async with (
        ActorServer({"counter": Counter}) as server,
        record(server, path, secrets=[named]) as cassette,
        cassette.client(token=TOKEN, headers={"x-mine": "header-1234567890"}) as client,
    ):
        first = await program(client, named, "params-1234567890")
    text = path.read_text()
    for secret in (TOKEN, named, json.dumps(named)[1:-1], "params-1234567890", "header-123"):
        assert secret not in text
    assert "my%20%22p%C3%A4ssword%22" not in text
    assert '"args": ["secret-1", "presecret-1post"]' in text
    assert '"answer": "token-1"' in text
    async with (
        replay(path, secrets=["another one"]) as cassette,
        cassette.client(token=TOKEN) as client,
    ):
        second = await program(client, "another one", "other params")
    assert second[0] == ["another one", "preanother onepost"]
    assert second[1] == TOKEN
    assert second[2] == ["GET", "/another one", ""]
    assert second[3]["connections"] == [["connection-1", {"pass": "other params"}]]
    assert second[3]["actor"] == "actor-1"
    assert second[4] == {"it": "another one", "another one": "other params"}
    assert len(first) == len(second)


def test_the_longest_secret_is_hidden() -> None:
    names = Names(("abc", "abcdef"))
    names.add_id("actor", "id-1")
    hidden = names.hide({"abcdef": ["abcabcdef", "id-1", "id-12"], "answer": "id-1"})
    assert hidden == {"secret-2": ["secret-1secret-2", "actor-1", "id-12"], "answer": "actor-1"}
    assert names.show("secret-1 secret-12") == "abc secret-12"
    assert Names(("a\\",)).hide(["a\\", "a\\\\"]) == ["secret-1", "secret-1"]  # as JSON, too


@pytest.mark.parametrize("connects", [False, True])
async def test_an_id_that_the_program_has_stays(tmp_path: Path, connects: bool) -> None:
    path = tmp_path / "c.json"

    async def program(client: Client) -> list[Any]:
        handle = client.counter.get_for_id("actor0001")
        if connects:
            async with handle.connect() as conn:
                seen = [await conn.increment()]
        else:
            seen = [await handle.increment()]
        return [*seen, [actor.actor_id async for actor in client.counter.list()]]

    async with ActorServer({"counter": Counter}) as server:
        async with server.client() as client:
            await client.counter.create("k")
        async with record(server, path) as cassette, cassette.client() as client:
            first = await program(client)
    assert await replayed(path, program) == first == [1, ["actor0001"]]


VALUES: list[Any] = [
    None,
    True,
    0,
    -1.5,
    1e300,
    -0.0,
    2**53,
    2**80,
    -(2**80),
    math.inf,
    -math.inf,
    "ü\n\u2028",
    b"\x00\xff",
    dt.datetime(2024, 2, 29, 12, 30, 0, 123000, tzinfo=dt.UTC),
    {"b", "a", "c"},
    {1: "x", "y": {(1, 2): {3}}},
    {frozenset({1}): 1},
    ["$Set", [1]],
    ["$$Unknown", 5],
    ["$", {"$Map": 1}],
    {"$BigInt": ["$BigInt", "7"]},
    [[[]], {}],
]


def test_values_survive_the_file() -> None:
    for value in VALUES:
        read = from_json(json.loads(json.dumps(to_json(value), allow_nan=False)))
        assert read == value and type(read) is type(value)
    assert math.isnan(from_json(to_json(math.nan)))
    assert to_json(set("hgfedcba")) == ["$Set", list("abcdefgh")]
    with pytest.raises(TypeError, match="no form for object"):
        to_json([object()])


async def test_values_of_actions_and_events(tmp_path: Path) -> None:
    async def program(client: Client) -> Any:
        handle = client.counter.get_or_create("k")
        seen = [await handle.echo(VALUES)]
        async with handle.connect() as conn, conn.events("news") as news:
            seen.append(await conn.echo(VALUES))
            for args in ((VALUES,), (), (1, {2: b"3"})):
                await conn.announce(*args)
                seen.append(await news.receive())
        return seen

    first = await recorded(tmp_path / "c.json", program)
    second = await replayed(tmp_path / "c.json", program)
    assert second == first
    assert first[0][11] == VALUES[11]


async def test_a_value_that_the_encoding_does_not_have_is_an_error(tmp_path: Path) -> None:
    async def program(client: Client) -> Any:
        handle = client.counter.get_or_create("k")
        async with handle.connect() as conn:
            return await conn.echo(1)

    path = tmp_path / "c.json"
    await recorded(path, program)
    path.write_text(path.read_text().replace('"answer": 1}', '"answer": ["$Map", [[1, 2]]]}'))
    assert await replayed(path, program) == {1: 2}
    with pytest.raises(CassetteError, match=r"c\.json has cannot travel: .*string"):
        await replayed(path, program, encoding="json")


async def test_options_that_have_no_effect(tmp_path: Path) -> None:
    options: dict[str, Any] = {"metadata_lookup": False, "actor_check_interval": 0.001}

    async def program(client: Client) -> Any:
        async with client.counter.get_or_create("k").connect() as conn:
            await anyio.sleep(0.05)
            return await conn.increment()

    path = tmp_path / "c.json"
    assert await recorded(path, program, **options) == 1
    assert await replayed(path, program, ping_interval=0.001, ping_timeout=0.001, **options) == 1
    assert "GET /actors" not in path.read_text()


async def test_queues(tmp_path: Path) -> None:
    async def program(client: Client) -> Any:
        handle = client.counter.get_or_create("k")
        await handle.send("jobs", {"n": 1})
        first = await handle.send_and_wait("jobs", b"2")
        second = await handle.send_and_wait("nowhere", 3, timeout=5)
        async with handle.connect() as conn:
            third = await conn.send_and_wait("jobs", "4")
        return [first, second, third]

    for version in ("2.1", "2.3"):
        first = await recorded(tmp_path / "c.json", program, version=version)
        assert await replayed(tmp_path / "c.json", program) == first
        assert first[0].response == {"done": b"2"}


async def test_management(tmp_path: Path) -> None:
    async def program(client: Client) -> Any:
        management = Management(client)
        handles = [await client.counter.create(str(n)) for n in range(3)]
        seen: list[Any] = [(await caught(client.counter.create("1")))[:2]]
        seen.append(await handles[0].increment())
        seen.append([actor.key async for actor in client.counter.list(page_size=2)])
        seen.append(await management.names())
        id = await handles[0].resolve()
        await management.destroy(id)
        seen.append(await management.get(id))
        seen.append([actor.key async for actor in client.counter.list()])
        seen.append(await caught(handles[0].increment()))
        seen.append(await management.get("actor9999"))
        return seen

    path = tmp_path / "c.json"
    first = await recorded(path, program)
    assert await replayed(path, program) == first
    assert "actor9999" in path.read_text()
    assert '"cursor": "cursor-1"' in path.read_text()
    assert first[2] == [("0",), ("1",), ("2",)]


async def test_equal_calls_get_their_answers_in_order(tmp_path: Path) -> None:
    async def program(client: Client) -> list[Any]:
        seen = []
        for key in ("a", "b"):
            handle = client.counter.get_or_create(key)
            seen += [await handle.increment() for _ in range(3)]
            async with handle.connect() as conn:
                seen += [await conn.increment() for _ in range(3)]
        return seen

    path = tmp_path / "c.json"
    first = await recorded(path, program)
    assert await replayed(path, program) == first == [1, 2, 3, 4, 5, 6] * 2

    async def other_way_round(client: Client) -> list[Any]:
        one, other = (client.counter.get_or_create(key) for key in ("b", "a"))
        return [await one.increment(), await other.increment(), await one.increment()]

    async with replay(path, unused="ignore") as cassette, cassette.client() as client:
        assert await other_way_round(client) == [1, 1, 2]


async def test_concurrent_calls(tmp_path: Path) -> None:
    async def program(client: Client) -> list[Any]:
        answers: dict[int, Any] = {}

        async def call(of: Any, number: int) -> None:
            answers[number] = await of.echo(number)

        handle = client.counter.get_or_create("k")
        async with handle.connect() as conn, anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(call, conn if number % 2 else handle, number)
        return sorted(answers.items())

    first = await recorded(tmp_path / "c.json", program)
    assert await replayed(tmp_path / "c.json", program) == first == [(n, n) for n in range(10)]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_fifty_at_once(tmp_path: Path, backend: str) -> None:
    async def program(client: Client) -> list[Any]:
        seen: list[Any] = []

        async def over_http(number: int) -> None:
            seen.append((number, await client.counter.get_or_create(str(number)).echo(number)))

        async def on(conn: Connection, number: int) -> None:
            seen.append((number, await conn.echo([number])))

        async def raw(number: int) -> None:
            async with client.counter.get_or_create("raw").websocket(str(number)) as socket:
                await socket.send(str(number))
                seen.append((number, await socket.receive()))

        async with (
            client.counter.get_or_create("one").connect() as conn,
            anyio.create_task_group() as tasks,
        ):
            for number in range(50):
                tasks.start_soon(over_http, number)
                tasks.start_soon(on, conn, number)
                tasks.start_soon(raw, number)
        return sorted(map(repr, seen))

    path = tmp_path / "c.json"
    first = anyio.run(recorded, path, program, backend=backend)
    for other in ("asyncio", "trio"):
        assert run_virtual(replayed, path, program, backend=other) == first


def test_many_ids_and_secrets_are_hidden_fast() -> None:
    names = Names(())
    began = time.process_time()
    for number in range(1000):
        names.add_id("actor", f"id-{number}")
        names.add_secrets("token", f"secret-token-{number}-")
        hidden = names.hide([f"id-{number}", f"secret-token-{number}-"])
        assert hidden == [f"actor-{number + 1}", f"token-{number + 1}"]
        assert names.show(hidden)[1] == f"secret-token-{number}-"
    assert time.process_time() - began < 20


async def one_increment(client: Client) -> int:
    return int(await client.counter.get_or_create("k").increment(2))


@pytest.mark.parametrize("over_connection", [False, True])
async def test_a_call_that_is_not_on_it(tmp_path: Path, over_connection: bool) -> None:
    path = tmp_path / "c.json"

    async def program(client: Client, by: int = 2, times: int = 1) -> None:
        handle = client.counter.get_or_create("k")
        await handle.echo("no sibling")
        if not over_connection:
            for _ in range(times):
                await handle.increment(by)
            return
        async with handle.connect() as conn:
            for _ in range(times):
                await conn.increment(by)

    await recorded(path, program)
    with pytest.raises(CassetteError) as raised:
        await replayed(path, lambda client: program(client, 3))
    text = str(raised.value)
    nearest = '"args": [2]}. Record it anew with record()'
    assert text.startswith(f'the cassette {path} does not have {{"action": "increment", ')
    assert 'The nearest that it has is {"action": "increment", ' in text
    assert text.endswith(nearest) and '"args": [3]}' in text
    assert ("on this connection to actor-1" in text) is over_connection
    with pytest.raises(CassetteError, match=r"again: it has it once\. Record"):
        await replayed(path, lambda client: program(client, 2, 2))


async def test_a_connection_that_is_not_on_it(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    await recorded(path, one_increment)

    async def program(client: Client) -> None:
        async with client.counter.get_or_create("k").connect():
            pass

    with pytest.raises(CassetteError, match="no other connection to actor-1"):
        await replayed(path, program)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("wait_for_server", [False, True])
def test_a_connection_is_not_opened_again_and_again(
    tmp_path: Path, backend: str, wait_for_server: bool
) -> None:
    path = tmp_path / "c.json"

    async def leaves(client: Client, *, waits: bool = False) -> None:
        handle = client.counter.get_or_create("k")
        async with handle.connect(wait_for_server=waits) as conn, conn.events("news") as news:
            with pytest.raises(ConnectionLostError):
                await conn.leave()
            if waits:
                await news.receive()

    async def program(client: Client) -> None:
        if wait_for_server:
            await leaves(client)  # and leaves no connection to wait for
        await leaves(client, waits=True)

    run_virtual(recorded, path, leaves, backend=backend)
    with pytest.raises(CassetteError, match="no other connection to actor-1"):
        run_virtual(replayed, path, program, backend=backend, limit=60)


async def test_what_finds_actors_may_be_asked_more_often(tmp_path: Path) -> None:
    async def program(client: Client, times: int = 1) -> list[Any]:
        seen: list[Any] = []
        for _ in range(times):
            seen.append(await client.counter.get_or_create("k").resolve())
            seen.append(await client.counter.get("k").resolve())
        await client.counter.create("new")
        return seen

    path = tmp_path / "c.json"
    await recorded(path, program)
    assert await replayed(path, lambda client: program(client, 3)) == ["actor-1"] * 6

    async def twice(client: Client) -> None:
        await client.counter.create("new")
        await client.counter.create("new")

    with pytest.raises(CassetteError, match='"request": "POST /actors"} again: it has it once'):
        await replayed(path, twice)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_the_client_repeats_by_itself(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "c.json"

    async def record_it() -> Any:
        async with (
            ActorServer({"counter": Counter}) as server,
            record(server, path) as cassette,
            cassette.client() as client,
        ):
            away = ActorError("guard", "actor_ready_timeout", "wait")
            server.faults.fail_action("increment", away, times=3)
            return await one_increment(client)

    assert run_virtual(record_it, backend=backend) == 2
    assert path.read_text().count("actor_ready_timeout") == 3
    assert run_virtual(replayed, path, one_increment, backend=backend) == 2


async def test_a_subscription_that_is_not_on_it(tmp_path: Path) -> None:
    path = tmp_path / "c.json"

    async def program(client: Client, name: str = "news") -> None:
        handle = client.counter.get_or_create("k")
        async with handle.connect() as conn, conn.events(name) as events:
            await conn.announce("x")
            assert await events.receive() == "x"

    await recorded(path, program)
    await replayed(path, program)
    with pytest.raises(CassetteError, match=r'not have {"subscribe": "old"} on the connection'):
        await replayed(path, lambda client: program(client, "old"))


async def test_an_error_that_is_suppressed_comes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    await recorded(path, one_increment)

    async def program(client: Client, error: Exception | None = None) -> None:
        with pytest.raises(CassetteError):
            await client.counter.get_or_create("k").increment(3)
        if error is not None:
            raise error

    with pytest.raises(CassetteError, match="nearest"):
        await replayed(path, program)
    with pytest.raises(LookupError) as raised:
        await replayed(path, lambda client: program(client, LookupError()))
    assert "nearest" in raised.value.__notes__[0]


async def test_a_call_is_not_repeated_for_what_is_not_on_it(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    await recorded(path, one_increment)

    async def program(client: Client) -> None:
        await client.counter.get_or_create("k").action("increment", 3, retry_for=3600)

    with anyio.fail_after(60), pytest.raises(CassetteError) as raised:
        await replayed(path, program)
    assert str(raised.value).count("nearest") == 1


async def test_a_connection_that_the_server_closed(tmp_path: Path) -> None:
    async def program(client: Client) -> list[Any]:
        seen: list[Any] = []
        async with client.counter.get_or_create("k").connect() as conn, conn.events("news") as news:
            with pytest.raises(ConnectionLostError) as raised:
                await conn.leave()
            seen += [raised.value.code, raised.value.reason]
            seen.append(await conn.increment())
            await conn.announce("again")
            seen.append(await news.receive())
        return seen

    path = tmp_path / "c.json"
    first = await recorded(path, program)
    assert await replayed(path, program) == first == [4001, "moved", 1, "again"]
    assert '{"close": [4001, "moved"]}' in path.read_text()


async def test_a_connection_that_broke(tmp_path: Path) -> None:
    path = tmp_path / "c.json"

    async def program(client: Client, lose: Callable[[], object]) -> Any:
        async with client.counter.get_or_create("k").connect() as conn:
            await conn.increment()
            lose()
            while True:
                try:
                    return await conn.increment()
                except ConnectionLostError:
                    await anyio.lowlevel.checkpoint()

    async with (
        ActorServer({"counter": Counter}) as server,
        record(server, path) as cassette,
        cassette.client() as client,
    ):
        first = await program(client, server.drop_connections)
    assert '{"lost": true}' in path.read_text()
    assert await replayed(path, lambda client: program(client, int)) == first


@pytest.mark.parametrize("version", ["2.0", "2.2", "2.3"])
async def test_a_connection_that_was_refused(tmp_path: Path, version: str) -> None:
    class Refusing(Actor):
        async def on_before_connect(self, connection: ActorConnection) -> None:
            raise UserError("Go away.", code="away")

    async def program(client: Client) -> Any:
        return await caught(client.counter.get_or_create("k").connect().__aenter__())

    path = tmp_path / "c.json"
    async with (
        ActorServer({"counter": Refusing}, version=version) as server,
        record(server, path) as cassette,
        cassette.client() as client,
    ):
        first = await program(client)
    assert await replayed(path, program) == first
    assert first[1] == "away"


async def test_a_handshake_that_leads_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "c.json"

    async def program(client: Client) -> Any:
        handle = client.counter.get_for_id("actor0777")
        return await caught(handle.connect().__aenter__())

    for version in ("2.2", "2.3"):
        first = await recorded(path, program, version=version)
        again = await replayed(path, program)
        assert again[:2] == first[:2] == ("actor", "not_found")
    assert '{"close": [1011, "actor.not_found#ray"]}' in path.read_text()


async def test_long_messages(tmp_path: Path) -> None:
    async def program(client: Client) -> list[Any]:
        text = "x" * 50_000  # more than leaves at once
        async with client.counter.get_or_create("k").connect() as conn, conn.events("news") as news:
            await conn.announce(text)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(conn.echo, text + "1")
                tasks.start_soon(conn.echo, text + "2")
            return [await news.receive(), await conn.echo("short")]

    path = tmp_path / "c.json"
    first = await recorded(path, program)
    assert await replayed(path, program) == first
    assert path.read_text().count("x" * 50_000) == 6


async def test_a_handshake_without_an_answer_is_not_recorded(tmp_path: Path) -> None:
    async def program(client: Client) -> None:
        handle = client.counter.get_for_id(await client.counter.get_or_create("k").resolve())
        server.drop_connections()
        server.network.refuse()
        with pytest.raises(ConnectError):
            async with handle.connect():
                pytest.fail("it was opened")

    async with ActorServer({"counter": Counter}, unused_faults="ignore") as server:
        with pytest.raises(CassetteError, match="was not recorded:\na connection to"):
            async with record(server, tmp_path / "c.json") as cassette, cassette.client() as client:
                await program(client)


async def test_where_a_moved_server_is_does_not_matter() -> None:
    """Its requests are noted alike, also those that it gets after it was found to be lost."""

    async def request(method: str, url: str, **options: Any) -> HttpAnswer:
        if "/metadata" in url:
            return HttpAnswer(200, {}, b'{"runtime": "rivetkit", "version": "2.3.19"}')
        return HttpAnswer(200, {}, b'{"actors": []}')

    given, moved = "http://localhost:1/given", "http://localhost:1"
    transport: Any = SimpleNamespace(request=request)
    core: Any = SimpleNamespace(
        config=SimpleNamespace(endpoint=SimpleNamespace(url=given)), _server=None
    )
    recording = Recording(Names(()))
    recorder = Recorder(transport, core, recording)
    await recorder.request("GET", f"{given}/metadata", headers={})
    core._server = SimpleNamespace(endpoint=SimpleNamespace(url=moved))
    await recorder.request("GET", f"{moved}/actors?name=counter", headers={})
    await recorder.request("GET", f"{given}/metadata", headers={})
    core._server = None
    await recorder.request("GET", f"{moved}/actors?name=counter", headers={})
    questions = [exchange.question for exchange in recording.tape.exchanges]
    assert questions == [{"request": "GET /actors", "query": {"name": "counter"}}] * 2


async def test_what_left_at_once_is_noted_once() -> None:
    noted: list[bytes] = []
    stream: Any = SimpleNamespace(write_now=lambda data: 3)
    notes: Any = SimpleNamespace(sent=noted.append)
    assert _ObservedStream(stream, notes).write_now(b"abcde") == 3
    assert noted == [b"abc"]


async def test_a_connection_that_broke_with_an_error() -> None:
    async def read(max_bytes: int) -> bytes:
        raise ConnectionLostError("reset by peer")

    noted: list[bool] = []
    stream: Any = SimpleNamespace(read=read)
    notes: Any = SimpleNamespace(lost=lambda: noted.append(True))
    with pytest.raises(ConnectionLostError):
        await _ObservedStream(stream, notes).read(1)
    assert noted == [True]


async def test_a_body_that_was_edited(tmp_path: Path) -> None:
    async def program(client: Client) -> httpx.Response:
        return await client.counter.get_or_create("k").fetch("/x")

    path = tmp_path / "c.json"
    await recorded(path, program, version="2.2")  # which says how long a body is
    path.write_text(path.read_text().replace("GET", "GOT", 2).replace("GOT", "GET", 1))
    response = await replayed(path, program)
    assert response.json() == ["GOT", "/x", ""]
    path.write_text(path.read_text().replace("GOT", "GOT IT"))
    response = await replayed(path, program)
    assert response.json() == ["GOT IT", "/x", ""]
    assert response.headers["content-length"] == str(len(response.content))


async def test_an_answer_to_head(tmp_path: Path) -> None:
    """Its length is that of the body which GET would bring."""

    async def program(client: Client) -> Any:
        response = await client.counter.get_or_create("k").fetch("/x", method="HEAD")
        return response.status_code, response.headers["content-length"], response.content

    path = tmp_path / "c.json"
    assert await recorded(path, program) == (201, "0", b"")
    said = path.read_text()
    assert said.count('"content-length": "0"') == 1
    path.write_text(said.replace('"content-length": "0"', '"content-length": "16"'))
    assert await replayed(path, program) == (201, "16", b"")


async def test_a_call_that_was_given_up(tmp_path: Path) -> None:
    async def program(client: Client) -> list[Any]:
        seen: list[Any] = []
        handle = client.counter.get_or_create("k")
        async with handle.connect() as conn:
            for of in (handle, conn):
                with anyio.move_on_after(0.05) as scope:
                    await of.hang()
                seen += [scope.cancelled_caught, await of.increment()]
        return seen

    path = tmp_path / "c.json"
    first = await recorded(path, program)
    assert await replayed(path, program) == first == [True, 1, True, 2]


async def test_a_cancelled_call_uses_up_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    await recorded(path, one_increment)

    async def program(client: Client) -> Any:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await one_increment(client)
        return await one_increment(client)

    assert await replayed(path, program) == 2


async def test_events_from_before_the_connection_is_open(tmp_path: Path) -> None:
    class Greeting(Actor):
        async def on_connect(self, connection: ActorConnection) -> None:
            connection.send("hello", "early")

    async def program(client: Client) -> Any:
        conn = client.counter.get_or_create("k").connect()
        async with aclosing(conn.events("hello")) as hello, conn:
            return await hello.receive()

    path = tmp_path / "c.json"
    async with (
        ActorServer({"counter": Greeting}) as server,
        record(server, path) as cassette,
        cassette.client() as client,
    ):
        assert await program(client) == "early"
    assert await replayed(path, program) == "early"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_virtual_time(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "c.json"

    async def program(client: Client) -> Any:
        async with client.counter.get_or_create("k").connect() as conn, conn.events("news") as news:
            await anyio.sleep(3600)
            await conn.announce(1)
            return await news.receive()

    async def waits_for_ever(client: Client) -> Any:
        async with client.counter.get_or_create("k").connect() as conn, conn.events("news") as news:
            return await news.receive()

    assert run_virtual(recorded, path, program, backend=backend) == 1
    assert run_virtual(replayed, path, program, backend=backend) == 1
    with pytest.raises(DeadlockError):
        run_virtual(replayed, path, waits_for_ever, backend=backend)


async def test_a_real_port(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    async with (
        ActorServer({"counter": Counter}) as server,
        server.listen() as endpoint,
        record(endpoint, path) as cassette,
        cassette.client() as client,
    ):
        first = await whole_program(client)
    assert await replayed(path, whole_program) == first
    assert endpoint.rpartition(":")[2] not in path.read_text()


async def raw_program(client: Client) -> list[Any]:
    """Messages both ways on raw WebSockets."""
    handle = client.counter.get_or_create("k", params=PARAMS)
    seen: list[Any] = []
    async with handle.websocket("chat?x=1") as socket:
        for message in ("ü", b"\x00\xff", "", PARAMS["pass"]):
            await socket.send(message)
            seen.append(await socket.receive())
        await socket.send("leave 4001 moved")
        with pytest.raises(ConnectionLostError) as lost:
            await socket.receive()
        seen.append((lost.value.code, lost.value.reason))
    async with handle.websocket() as one, handle.websocket("other") as other:
        for socket in (other, one):
            await socket.send("twice")
            seen += [await socket.receive() for _ in range(2)]
    async with handle.websocket() as socket:
        await socket.send("leave 1000 -")
        with pytest.raises(anyio.EndOfStream):
            await socket.receive()
    banned = client.counter.get_or_create("k", params={"banned": True})
    with pytest.raises((ActorError, ConnectionLostError)) as refused:
        async with banned.websocket() as socket:
            await socket.receive()
    seen.append((type(refused.value), str(refused.value)))
    return seen


@pytest.mark.parametrize("version", ["2.0", "2.3"])
async def test_raw_websockets(tmp_path: Path, version: str) -> None:
    texts = []
    for number in range(2):
        path = tmp_path / f"{number}.json"
        first = await recorded(path, raw_program, version=version)
        assert await replayed(path, raw_program) == first
        texts.append(path.read_text())
    assert first[:5] == ["ü", b"\x00\xff", "", PARAMS["pass"], (4001, "moved")]
    assert first[5:9] == ["twice", "again"] * 2
    assert texts[0] == texts[1]
    assert PARAMS["pass"] not in texts[0]
    assert '{"sent": "ü"},\n        {"received": "ü"},\n' in texts[0]
    assert '{"received": ["$Uint8Array", "AP8="]}' in texts[0]
    assert '"websocket": "/chat?x=1"' in texts[0]
    assert all(message.question for of in read_tape(path).connections for message in of.messages)


async def test_a_raw_websocket_that_is_not_on_it(tmp_path: Path) -> None:
    path = tmp_path / "c.json"

    async def program(client: Client, *messages: str) -> None:
        async with client.counter.get_or_create("k").websocket("chat") as socket:
            for message in messages:
                await socket.send(message)
                assert await socket.receive() == message

    await recorded(path, lambda client: program(client, "a", "bcd"))
    with pytest.raises(CassetteError) as raised:
        await replayed(path, lambda client: program(client, "a", "bcx"))
    assert str(raised.value) == (
        f'the cassette {path} does not have {{"sent": "bcx"}} on this raw WebSocket /chat to '
        'actor-1. The nearest that it has is {"sent": "bcd"}. Record it anew with record()'
    )
    with pytest.raises(CassetteError, match=r'{"sent": "a"} on this .* again: it has it once'):
        await replayed(path, lambda client: program(client, "a", "a"))
    with pytest.raises(CassetteError) as raised:
        await replayed(path, lambda client: program(client, "a"))
    assert str(raised.value).endswith('\n{"sent": "bcd"} on a raw WebSocket /chat to actor-1')

    async def elsewhere(client: Client) -> None:
        with pytest.raises(CassetteError, match="no other raw WebSocket /elsewhere to actor-1"):
            await client.counter.get_or_create("k").websocket("elsewhere").__aenter__()

    with pytest.raises(CassetteError) as raised:  # it was suppressed
        await replayed(path, elsewhere)
    assert "no other raw WebSocket /elsewhere" in str(raised.value)
    async with replay(path, unused="ignore"):
        pass
    with pytest.raises(CassetteError, match=r"\na raw WebSocket /chat to actor-1$"):
        async with replay(path):
            pass


async def test_a_long_message_that_is_not_on_it(tmp_path: Path) -> None:
    path = tmp_path / "c.json"

    sent: list[str] = []

    async def program(client: Client, message: str) -> None:
        async with client.counter.get_or_create("k").websocket("chat") as socket:
            await socket.send(message)
            sent.append(message)
            assert await socket.receive() == message

    await recorded(path, lambda client: program(client, "a" * 60_000))
    await replayed(path, lambda client: program(client, "a" * 60_000))
    with pytest.raises(CassetteError) as raised:
        await replayed(path, lambda client: program(client, "a" * 59_999))
    assert len(str(raised.value)) < 1500
    assert {len(message) for message in sent} == {60_000}


async def test_what_is_sent_after_the_server_has_closed_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "c.json"

    async def program(client: Client) -> None:
        async with client.counter.get_or_create("k").websocket() as socket:
            await socket.send("leave 4001 moved")
            with pytest.raises(ConnectionLostError):  # perhaps by the first
                await socket.send("late")
                await socket.receive()

    await recorded(path, program)
    path.write_text(path.read_text().replace('{"sent": "late"},', ""))
    await replayed(path, program)


async def test_an_unknown_message_is_an_error_of_its_send(tmp_path: Path) -> None:
    path = tmp_path / "c.json"

    async def program(client: Client, *messages: str) -> None:
        async with client.counter.get_or_create("k").websocket("chat") as socket:
            async with anyio.create_task_group() as tasks:
                for message in messages:
                    tasks.start_soon(socket.send, message)
            for _ in messages:
                await socket.receive()

    await recorded(path, lambda client: program(client, "a", "b"))
    await replayed(path, lambda client: program(client, "b", "a"))
    with pytest.raises(ExceptionGroup) as raised:
        await replayed(path, lambda client: program(client, "c"))
    assert raised.group_contains(CassetteError, match="does not have")


async def pieces(*parts: bytes, error: Exception | None = None) -> AsyncGenerator[bytes]:
    for part in parts:
        await checkpoint()
        yield part
    if error is not None:
        raise error


async def test_bodies_in_pieces(tmp_path: Path) -> None:
    async def program(client: Client) -> list[Any]:
        handle = client.counter.get_or_create("k")
        seen: list[Any] = []
        for parts in ((b"a", b"b\xc3", b"\xbc"), ()):
            async with handle.stream("/x", method="POST", content=pieces(*parts)) as response:
                seen.append(b"".join([piece async for piece in response.aiter_bytes()]))
        response = await handle.fetch("/bytes", method="POST", files={"file": b"text"})
        seen.append(len(response.content))
        for _ in range(2):
            with pytest.raises(LookupError):  # and nothing was asked
                body = pieces(b"a", error=LookupError())
                await handle.fetch("/x", method="POST", content=body)
        async with handle.stream("/bytes") as response:  # whose body is not read
            seen.append(response.headers["content-length"])
        async with handle.stream("/numbers") as response:
            async for line in response.aiter_lines():  # it would go on for ever
                seen.append(line)
                if line == "2":
                    break
        return seen

    texts = []
    for number in range(2):
        path = tmp_path / f"{number}.json"
        first = await recorded(path, program, version="2.2")  # which says how long a body is
        assert await replayed(path, program) == first
        texts.append(path.read_text())
    assert json.loads(first[0]) == ["POST", "/x", "abü"]
    assert first[3:] == ["2", "1", "2"]
    assert '"body": "abü"' in texts[0]
    assert '"unfinished": true' in texts[0]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_body_whose_end_was_not_read_waits(tmp_path: Path, backend: str) -> None:
    async def program(client: Client, *, waits: bool = False) -> None:
        async with client.counter.get_or_create("k").stream("/numbers") as response:
            async for _ in response.aiter_bytes():
                if not waits:
                    break

    path = tmp_path / "c.json"
    run_virtual(recorded, path, program, backend=backend)
    run_virtual(replayed, path, program, backend=backend)
    with pytest.raises(DeadlockError):
        run_virtual(replayed, path, partial(program, waits=True), backend=backend)


async def test_a_body_that_broke_is_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    async with ActorServer({"counter": Counter}) as server:
        with pytest.raises(CassetteError, match=r'not recorded:\n{"actor": "actor-1", "fetch"'):
            async with (
                record(server, path) as cassette,
                cassette.client() as client,
                client.counter.get_or_create("k").stream("/numbers") as response,
            ):
                with pytest.raises(ConnectionLostError):
                    async for _ in response.aiter_bytes():
                        server.network.cut()
    assert not path.exists()


async def test_a_request_that_failed_on_its_way_is_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "c.json"

    async def program(client: Client) -> None:
        with pytest.raises(ConnectionLostError):
            await one_increment(client)

    async with ActorServer({"counter": Counter}) as server:
        server.faults.lose_reply("increment")
        with pytest.raises(CassetteError, match=r'c\.json was not recorded:\n{"action": "incr'):
            async with record(server, path) as cassette, cassette.client() as client:
                await program(client)
    assert not path.exists()


@pytest.mark.parametrize("of", ["action", "management"])
async def test_an_answer_that_is_not_of_rivetkit_is_not_recorded(tmp_path: Path, of: str) -> None:
    path = tmp_path / "c.json"
    async with ActorServer({"counter": Counter}) as server:
        if of == "action":
            server.faults.refuse_request(502, "increment")
        else:
            server.faults.refuse_request(502, management="get_or_create")
        with pytest.raises(CassetteError, match=r"c\.json was not recorded:\n{.*HTTP 502"):
            async with record(server, path) as cassette, cassette.client() as client:
                with pytest.raises((ConnectionLostError, ConnectError)):  # as without a recording
                    await one_increment(client)
    assert not path.exists()


async def test_a_block_that_raises_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text("before")

    async def program(client: Client) -> None:
        await one_increment(client)
        raise LookupError

    with pytest.raises(LookupError):
        await recorded(path, program)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["c.json"]


async def test_a_server_of_an_unknown_version(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "c.json"
    async with ActorServer({"counter": Counter}) as server:
        old = server._host.release
        server._host.release = type(old)("9.9.9", old.minor, old.bare_version, old.dialect)
        async with record(server, path) as cassette, cassette.client() as client:
            with pytest.raises(CassetteError, match=r"cannot be recorded: .*'9\.9\.9'"):
                await one_increment(client)


async def test_a_cassette_that_is_over(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    await recorded(path, one_increment)
    async with replay(path, unused="ignore") as cassette:
        assert repr(cassette) == f"<Cassette {str(path)!r}>"
    with pytest.raises(anyio.ClosedResourceError, match="after its block was left"):
        cassette.client()


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with pytest.raises(CassetteError) as raised:
        await replayed(path, one_increment)
    assert str(raised.value) == f"there is no cassette {path}: make it with record()"


EDITS: list[tuple[str, str, str]] = [
    ("{", "[", "is not JSON: .*line 2"),
    ('"cassette": 1', '"cassette": 2', "has the format 2, .* reads 1: make it anew with record()"),
    ('"cassette": 1,', "", "has the format None"),
    ('"rivetkit": "2.3.19"', '"rivetkit": "9"', "cannot be read: version is"),
    ('"action"', '"acton"', r"unknown field `acton` - at `\$\.exchanges\[1\]`"),
    ('"args": [2], ', "", r"it has args, if it is an action - at `\$\.exchanges\[1\]`"),
    ('"args": [2]', '"args": 2', r"Expected `array.*at `\$\.exchanges\[1\]\.args`"),
    ('"answer": 2', '"answer": ["$Odd", 2]', r"'\$Odd' is unknown: .* at `\$\.exchanges\[1\]`"),
    ('"answer": 2', '"answer": ["$Set", 2]', r"content of \$Set is 2: .* at `\$\.exchanges\[1\]`"),
    ('"answer": 2', '"status": 400', r"an error has a status - at `\$\.exchanges\[1\]`"),
    ('"actor": "actor-1", "args": [2', '"args": [2', r"it has an actor, if .*exchanges\[1\]`"),
    ('"action": "increment", "actor"', '"actor"', "one of request, action, send and fetch"),
    (
        '"status": "completed"',
        '"state": "completed"',
        r"answer is wrong: .*`state`.*exchanges\[2\]",
    ),
    ('"status": 201', '"status": "201"', r"answer is wrong: Expected `int`.*exchanges\[3\]`"),
    ('"to": 1', '"to": 9', r"no call 9 before it - at `\$\.connections\[0\]\.messages\[2\]`"),
    (
        '"to": 1, "answer": 5',
        '"to": 1',
        r"no message of a connection has to - .*connections\[0\]\.messages\[2\]`",
    ),
    (
        '"init": "connection-1"',
        "",
        r"no message of a connection has nothing - at `\$\.connections\[0\]\.messages",
    ),
    ('"init": "connection-1"', '"close": [7, ""]', "no close frame has the code 7"),
    ('"messages"', '"status": 404, "messages"', r"an error has a status - at `\$\.connections\[0"),
]


@pytest.fixture(scope="module")
def good_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    async def program(client: Client) -> None:
        handle = client.counter.get_or_create("k")
        await handle.increment(2)
        await handle.send("jobs", 1)
        await handle.fetch("/x")
        async with handle.connect() as conn:
            await conn.increment(3)

    path = tmp_path_factory.mktemp("good") / "c.json"
    anyio.run(recorded, path, program)
    return path.read_text()


@pytest.mark.parametrize("old, new, match", EDITS)
def test_a_file_that_is_wrong(
    tmp_path: Path, good_file: str, old: str, new: str, match: str
) -> None:
    path = tmp_path / "c.json"
    path.write_text(good_file)
    assert read_tape(path).cassette == 1
    assert old in good_file
    path.write_text(good_file.replace(old, new, 1))
    with pytest.raises(CassetteError, match=match) as raised:
        read_tape(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        (
            [{"sent": 5}],
            r"a message is text or bytes: .* - at `\$\.connections\[0\]\.messages\[0\]`",
        ),
        ([{"received": ["$Date", "2024-01-01"]}], "a message is text or bytes"),
        ([{"sent": ["$Uint8Array", "?"]}], r"content of \$Uint8Array is '\?'"),
        ([{"received": ["$Uint8Array", "?"]}], r"content of \$Uint8Array is '\?'"),
        ([{"init": "connection-1"}], "no message of a raw WebSocket has init"),
    ],
)
def test_a_raw_websocket_that_is_wrong(tmp_path: Path, messages: list[Any], match: str) -> None:
    path = tmp_path / "c.json"
    connection = {"actor": "actor-1", "websocket": "/", "messages": messages}
    path.write_text(json.dumps({"cassette": 1, "rivetkit": "2.3.19", "connections": [connection]}))
    with pytest.raises(CassetteError, match=match):
        read_tape(path)


def script(*messages: dict[str, Any]) -> tuple[Script, Callable[[str], Any]]:
    made = Script([msgspec.convert(message, Message) for message in messages])

    def call(name: str) -> Any:
        found = made.call(lambda message: message.action == name)
        return None if found is None else shown(found[1])

    return made, call


def shown(messages: list[Message]) -> list[Any]:
    return [m.init or m.event or m.answer or m.lost for m in messages]


def called(number: int, name: str) -> dict[str, Any]:
    return {"call": number, "action": name, "args": []}


def event(name: str) -> dict[str, Any]:
    return {"event": name, "args": []}


def test_events_keep_their_place_between_answers() -> None:
    made, call = script(
        {"init": "c"},
        event("before"),
        {"subscribe": "x"},
        event("subscribed"),
        called(1, "a"),
        event("during"),
        {"to": 1, "answer": "A"},
        event("after"),
        called(2, "b"),
        {"to": 2, "answer": "B"},
        {"lost": True},
    )
    assert shown(made.begin()) == ["c", "before"]
    said = made.subscribe("x")
    assert said is not None and shown(said) == ["subscribed"]
    assert call("a") == ["during", "A", "after"]
    assert call("a") is None
    assert call("b") == ["B", True]
    assert made.subscribe("x") == []
    assert made.subscribe("y") is None


def test_calls_that_were_made_side_by_side_can_be_made_one_by_one() -> None:
    messages = (
        called(1, "a"),
        called(2, "b"),
        event("e"),
        {"to": 2, "answer": "B"},
        event("f"),
        {"to": 1, "answer": "A"},
        event("g"),
    )
    _, call = script(*messages)
    assert call("a") == ["e", "f", "A"]
    assert call("b") == ["B", "g"]
    _, call = script(*messages)
    assert call("b") == ["e", "B"]
    assert call("a") == ["f", "A", "g"]


def test_a_call_without_an_answer() -> None:
    _, call = script(called(1, "a"), event("e"), called(2, "b"), {"to": 2, "answer": "B"})
    assert call("a") == ["e"]
    assert call("b") == ["B"]
