"""Actions over HTTP and over a connection: arguments, results, values, errors."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest

from rivet_anyio import ActorError, Client, ProtocolError
from tests.servers import Server

SHARED: list[Any] = [
    None,
    True,
    0,
    -1,
    23,
    24,
    2**31,
    2**32 - 1,
    2**32,
    -(2**32) - 1,
    2**53,
    -(2**53),
    2**53 + 1,
    -(2**64) - 1,
    10**30,
    1.5,
    -0.25,
    1e300,
    "",
    'héllo ☃ 🔑 \x00 " \\',
    b"",
    b"\x00\x01\xff",
    [],
    {},
    [1, [2, [3, {"a": [None]}]]],
    {"key": {"ünï": [1.5, b"x", 2**60]}},
    ["$BigInt", "5"],
    ["$x", 1],
    ["$$x", ["$y", 2]],
    ["$x", 1, 2],
    ["$"],
]
"""What JavaScript and Python share in every encoding."""

TAGGED: list[Any] = [
    dt.datetime(2024, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=dt.UTC),
    {1: "one", 2: "two"},
    {"nested": {1.5: [1], True: 2}},
    float("inf"),
]
"""What needs CBOR's tags and floats."""


def is_tagged(server: Server, encoding: str) -> bool:
    return encoding == "bare" or (encoding == "cbor" and server.version < "2.3")


def has_sets(server: Server, encoding: str) -> bool:
    return encoding != "json" or server.version >= "2.3"


async def test_shared_values_come_back_unchanged(client: Client, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    assert await handle.echo(SHARED) == SHARED
    async with handle.connect() as conn:
        assert await conn.echo(SHARED) == SHARED
        echoes = conn.events("values")
        await conn.emit("values", SHARED)
        assert await echoes.receive() == SHARED


async def test_shared_values_have_the_right_types(client: Client, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    for value in SHARED:
        echo = await handle.echo(value)
        assert type(echo) is type(value) and echo == value, value


async def test_integers_are_numbers_up_to_2_to_the_53(client: Client, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    for value, kind in [(5, "number"), (2**40, "number"), (2**53, "number"), (2**53 + 1, "bigint")]:
        assert await handle.describe(value) == f"{kind}:{value}"


async def test_tagged_values(client: Client, server: Server, encoding: str, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    async with handle.connect() as conn:
        for value in TAGGED:
            if is_tagged(server, encoding):
                assert await handle.echo(value) == value
                assert await conn.echo(value) == value
            else:
                with pytest.raises(TypeError, match=r"^args\[0\]"):
                    await handle.echo(value)
                with pytest.raises(TypeError, match=r"^args\[1\]\.at\[0\]"):
                    await conn.args(1, {"at": [value]})
        assert await conn.echo("still there") == "still there"


async def test_sets(client: Client, server: Server, encoding: str, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    if has_sets(server, encoding):
        assert await handle.echo({1, 2, "x"}) == {1, 2, "x"}
        assert (await handle.describe({1})).startswith("Set{")
    else:
        with pytest.raises(TypeError, match=r"args\[0\]: .*send a list"):
            await handle.echo({1})


async def test_what_javascript_makes(client: Client, encoding: str, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    expected: dict[str, Any] = {
        "undefined": None,
        "null": None,
        "int": 5,
        "float": 1.5,
        "big53": 2**53,
        "over32": 2**32 + 5,
        "bigint": 10**20,
        "smallBigint": 7,
        "uint8": bytes,
        "dollarArray": ["$BigInt", "5"],
        "dollarArray2": ["$x", 1],
        "emptyArray": [],
        "emptyObject": {},
    }
    async with handle.connect() as conn:
        for name, value in expected.items():
            for caller in (handle, conn):
                got = await caller.action("produce", name)
                if value is bytes:
                    assert isinstance(got, bytes)
                else:
                    assert got == value and type(got) is type(value), name


async def test_values_that_cannot_travel(client: Client, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    for value, path in [
        (object(), r"args\[0\]"),
        ({"a": [1, {"b c": object()}]}, r"args\[0\]\.a\[1\]\['b c'\]"),
        (dt.datetime(2024, 1, 1), r"args\[0\]"),
        ("\ud800", r"args\[0\].*surrogate"),
    ]:
        with pytest.raises(TypeError, match=path):
            await handle.echo(value)


async def test_dotted_names_and_action(client: Client, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    assert await handle.math.add(2, 3) == 5
    assert await handle.action("math.add", 2, 3, type=int) == 5
    assert await handle.args() == []
    assert await handle.args(1, "b", None) == [1, "b", None]
    async with handle.connect() as conn:
        assert await conn.math.add(2, 3) == 5
        assert await conn.action("math.add", 2, 3, type=int) == 5


class Point(msgspec.Struct):
    x: int
    y: float


async def test_type(client: Client, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    assert await handle.action("echo", Point(1, 2.5), type=Point) == Point(1, 2.5)
    assert await handle.action("echo", [1, 2], type=list[float]) == [1.0, 2.0]
    with pytest.raises(ProtocolError, match="result of action 'echo'"):
        await handle.action("echo", "x", type=int)
    async with handle.connect() as conn:
        assert await conn.action("echo", Point(1, 2.5), type=Point) == Point(1, 2.5)
        with pytest.raises(ProtocolError, match="result of action 'echo'"):
            await conn.action("echo", "x", type=int)


async def test_errors(client: Client, server: Server, key: list[str]) -> None:
    handle = client.probe.get_or_create(key)
    async with handle.connect() as conn:
        for caller in (handle, conn):
            with pytest.raises(ActorError) as caught:
                await caller.action("fail", "user", {"a": [1, "ä"]})
            error = caught.value
            assert (error.group, error.code) == ("user", "my_code")
            assert error.metadata == {"detail": {"a": [1, "ä"]}}
            assert error.message
            if server.version >= "2.3":
                assert error.actor is not None and error.actor.id == await handle.resolve()
            with pytest.raises(ActorError) as caught:
                await caller.action("fail", "plain")
            assert caught.value.code == "internal_error"
            with pytest.raises(ActorError) as caught:
                await caller.action("fail", "unicode")
            assert not caught.value.message.isascii()
            with pytest.raises(ActorError) as caught:
                await caller.action("noSuchAction")
            assert caught.value.code in ("not_found", "action_not_found")
        assert await conn.echo("still there") == "still there"


async def test_params_arrive(client: Client, key: list[str]) -> None:
    params = {"name": "Zoë ☃", "n": 1, "list": [1.5, None, "a b(c)'*!"], "big": 1700000000000}
    handle = client.probe.get_or_create(key, params=params)
    assert await handle.connParams() == params
    async with handle.connect() as conn:
        assert await conn.connParams() == params
    async with handle.connect(params={"own": "ü"}) as conn:
        assert await conn.connParams() == {"own": "ü"}
