"""What a real server said, and what a cassette of it says."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from rivet_anyio import ActorError, Client, ConnectionLostError
from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.testing import record, replay
from tests.servers import Server

TOKEN = "token-1234567890"
PRODUCTS = [
    "undefined",
    "null",
    "int",
    "float",
    "big53",
    "over32",
    "bigint",
    "smallBigint",
    "uint8",
    "date",
    "map",
    "set",
    "nested",
    "dollarArray",
    "dollarArray2",
    "infinity",
    "negZero",
    "unicode",
    "undefinedInObject",
]


async def pieces() -> AsyncGenerator[bytes]:
    yield b"in "
    yield b"pieces"


async def program(client: Client, key: list[str], *, has_queues: bool) -> list[Any]:
    """Calls of every kind; what they gave. Run again, it gives the same."""
    seen: list[Any] = []

    async def note(awaitable: Any) -> None:
        try:
            seen.append(await awaitable)
        except ActorError as error:
            signer = error.actor and (error.actor.generation, error.actor.key)
            seen.append((error.group, error.code, error.message, error.metadata, signer))
        except ConnectionLostError as lost:  # by what the encoding cannot carry, too
            seen.append((lost.code, lost.reason))

    probe = client.probe.get_or_create(key, params={"pass": "params-1234567890"})
    await note(probe.produce("nested"))
    await note(probe.fail("coded", {"why": [1, b"2"]}))
    await note(probe.nothing())
    await note(probe.connParams())
    await note(client.probe.get([*key, "unknown"]).conns())
    await note(client.guarded.get_or_create(key).connect().__aenter__())
    web = client.web.get_or_create(key)
    response = await web.fetch("/echo?a=1", method="POST", content=b"body")
    seen.append((response.status_code, response.json()["body"], response.json()["search"]))
    seen.append((await web.fetch("/nowhere")).status_code)
    async with web.stream("/echo", method="POST", content=pieces()) as response:
        seen.append(json.loads(await response.aread())["body"])
    async with web.websocket("chat") as socket:
        seen.append(await socket.receive())
        for message in ("ü", b"\x00\xff", "many:3"):
            await socket.send(message)
            seen += [await socket.receive() for _ in range(3 if message == "many:3" else 1)]
        await socket.send("close:4001:moved")
        with pytest.raises(ConnectionLostError) as lost:
            await socket.receive()
        seen.append((lost.value.code, lost.value.reason))
    if has_queues:
        worker = client.worker.get_or_create(key)
        await note(worker.send("jobs", {"n": 1}))
        await note(worker.send_and_wait("jobs", b"2"))
    async with probe.connect() as conn, conn.events("news") as news:
        await note(conn.emit("news", 1, [2]))
        await note(news.receive())
        await note(probe.emit("news", {"by": "http"}))
        await note(news.receive())
        for product in PRODUCTS:
            await note(conn.produce(product))
        await note(conn.fail("plain"))
        await note(conn.fail("coded", {"why": 1}))
        await note(conn.kick("enough"))
    return seen


@pytest.mark.one_encoding
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the server takes its time
async def test_a_replay_is_the_recording(
    server: Server, encoding: Encoding, key: list[str], tmp_path: Path, anyio_backend: str
) -> None:
    has_queues = not server.version.startswith("2.0")
    texts: list[str] = []
    for number in range(2):
        path = tmp_path / f"{number}.json"
        async with (
            record(server.endpoint, path) as cassette,
            cassette.client(encoding=encoding, token=TOKEN) as client,
        ):
            first = await program(client, key, has_queues=has_queues)
        async with replay(path) as cassette, cassette.client(encoding=encoding) as client:
            second = await program(client, key, has_queues=has_queues)
        assert second == first
        assert {"pass": "params-1234567890"} in first
        text = path.read_text()
        assert TOKEN not in text and "params-1234567890" not in text
        text = re.sub(r'ray-id\\":\\"\w+', "", text)  # as the actor saw it
        texts.append(text)
    assert texts[0] == texts[1]
