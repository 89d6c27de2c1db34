"""Queues, HTTP and WebSockets of an actor."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from rivet_anyio import ActorError, ActorWebSocket, Client, ConnectionLostError, QueueResult
from tests.servers import Server


async def test_queues(client: Client, server: Server, key: list[str]) -> None:
    if server.version == "2.0.33":
        handle = client.counter.get_or_create(key)
        with pytest.raises(ActorError, match=r"2\.0\.33.*queues came with 2\.1") as caught:
            await handle.send("jobs", 1)
        assert caught.value.code == "unsupported"
        return
    handle = client.worker.get_or_create(key)
    body = {"a": [1, "ü", b"\x01"], "n": 2**40}
    result = await handle.send_and_wait("jobs", body, timeout=20)
    assert result == QueueResult("completed", {"done": body})
    typed = await handle.send_and_wait("jobs", 5, timeout=20, type=dict[str, int])
    assert typed.response == {"done": 5}
    assert await handle.send_and_wait("stuck", 1, timeout=0.2) == QueueResult("timedOut")
    await handle.send("jobs", "no answer wanted")
    async with handle.connect() as conn:
        assert (await conn.send_and_wait("jobs", 7, timeout=20)).response == {"done": 7}
    assert await handle.processed() == [body, 5, "no answer wanted", 7]


async def test_fetch(client: Client, key: list[str]) -> None:
    web = client.web.get_or_create(key)
    response = await web.fetch(
        "/echo?x=1&y=a%20b", method="PUT", json={"n": 1}, headers={"x-a": "b"}
    )
    assert response.status_code == 200
    said = response.json()
    assert (said["method"], said["path"], said["search"]) == ("PUT", "/echo", "?x=1&y=a%20b")
    assert said["headers"]["x-a"] == "b"
    assert said["body"].replace(" ", "") == '{"n":1}'
    assert (await web.fetch("echo", params={"q": "ü"})).json()["search"] == "?q=%C3%BC"
    for status in (202, 404, 418, 500):
        assert (await web.fetch(f"/status/{status}")).status_code == status
    assert len((await web.fetch("bytes/1000")).content) == 1000
    posted = await web.fetch("/upload", method="POST", content=b"x" * 100_000)
    assert "100000" in posted.text


PATHS = {
    "//echo//a///b": "/echo/a/b",
    "echo\\a": "/echo/a",
    "echo/a b/ü": "/echo/a%20b/%C3%BC",
    "echo/%2Fa%25;b=c": "/echo/%2Fa%25;b=c",
    "echo/..a/b..": "/echo/..a/b..",
}


async def test_paths_arrive_as_from_javascript(server: Server, key: list[str]) -> None:
    async with Client(server.endpoint) as client:
        web = client.web.get_or_create(key)
        for path, arrives in PATHS.items():
            said = (await web.fetch(f"{path}?x=//y&z=../q#f")).json()
            assert (said["path"], said["search"]) == (arrives, "?x=//y&z=../q")
        async with web.stream("//echo#/../b") as response:
            assert response.status_code == 200
        async with web.websocket("//room//a?x=1") as ws:
            assert "/room/a?x=1" in str(await ws.receive())


async def test_no_path_leaves_the_actor(server: Server, key: list[str]) -> None:
    """RivetKit up to 2.2 takes ``/gateway/x%2F..%2F{id}/action/a`` for the actor ``id``."""
    async with Client(server.endpoint) as client:
        web, counter = client.web.get_or_create(key), client.counter.get_or_create(key)
        other = await counter.resolve()
        for dots in ("..", "%2e%2e", "..%5C..", ".%09.", "x/..%20"):
            for refused in (
                partial(web.fetch, f"{dots}/{dots}/{other}/action/getCount"),
                partial(web.action, f"{dots}\\{dots}\\{other}\\action\\getCount"),
                partial(web.send, f"{dots}/x", 1),
            ):
                with pytest.raises(ValueError, match="segment"):
                    await refused()
            for id in (f"x/{dots}/{other}", f"x\\{dots}\\{other}"):
                with pytest.raises(ValueError, match="segment"):
                    client.counter.get_for_id(id)


async def test_cookies_stay_with_their_request(server: Server, key: list[str]) -> None:
    async with Client(server.endpoint) as client:
        alice = client.web.get_or_create([*key, "alice"])
        mallory = client.web.get_or_create([*key, "mallory"])
        assert "session=own" in (await alice.fetch("login")).headers["set-cookie"]
        for handle in (alice, mallory):
            assert "cookie" not in (await handle.fetch("echo")).json()["headers"]
        said = (await mallory.fetch("echo", cookies={"a": "1"})).json()
        assert said["headers"]["cookie"] == "a=1"
        assert "cookie" not in (await mallory.fetch("echo")).json()["headers"]


async def test_stream(client: Client, key: list[str]) -> None:
    web = client.web.get_or_create(key)
    text = b"".join(f"chunk {number}\n".encode() for number in range(5))
    async with web.stream("/stream") as response:
        assert response.status_code == 200
        parts = [part async for part in response.aiter_bytes()]
    assert b"".join(parts) == text

    async def upload() -> object:
        for _ in range(10):
            yield b"y" * 1000

    answer = await web.fetch("/upload", method="POST", content=upload())
    assert "10000" in answer.text


async def hello(ws: ActorWebSocket) -> None:
    greeting = await ws.receive()
    assert isinstance(greeting, str) and "hello" in greeting


async def test_websocket(client: Client, key: list[str]) -> None:
    web = client.web.get_or_create(key)
    async with web.websocket("/room?x=1") as ws:
        await hello(ws)
        for message in ("text ü", b"\x00binary", "", "x" * 70_000):
            await ws.send(message)
            assert await ws.receive() == message
        await ws.send("many:500")
        assert [await ws.receive() for _ in range(500)] == [str(n) for n in range(500)]
        await ws.send("bigbin:100000")
        big = await ws.receive()
        assert isinstance(big, bytes) and len(big) == 100_000


async def test_websocket_close_codes(client: Client, key: list[str]) -> None:
    web = client.web.get_or_create(key)
    async with web.websocket("a") as ws:
        await hello(ws)
        await ws.send("close:4001:because")
        with pytest.raises(ConnectionLostError) as caught:
            await ws.receive()
        assert (caught.value.code, caught.value.reason) == (4001, "because")
        assert (ws.close_code, ws.close_reason) == (4001, "because")
        with pytest.raises(ConnectionLostError):
            await ws.send("too late")
    async with web.websocket("b") as ws:
        await hello(ws)
        await ws.send("close:1000:done")
        assert [message async for message in ws] == []
        assert ws.close_code == 1000
    async with web.websocket("c") as ws:
        await hello(ws)
        with anyio.fail_after(60):
            await ws.aclose(4002, "bye")


async def test_websocket_params(client: Client, key: list[str]) -> None:
    async def params() -> dict[str, str]:
        return {"token": "ü"}

    web = client.web.get_or_create(key, get_params=params)
    async with web.websocket() as ws:
        await hello(ws)
