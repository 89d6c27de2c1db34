"""Reading a body: every error is one of this library, and nothing is left to the collector."""

from __future__ import annotations

import gc
import gzip
import sys
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from rivet_anyio import ConnectionLostError, ProtocolError, RivetError, TransportError
from tests.peers.raw import Peer

from .wire import (
    ACTOR,
    GUARD,
    HANDSHAKES,
    KINDS,
    Request,
    ask,
    prepare,
    using,
    whole,
)

MIB = 1024 * 1024
HTTPX_RAISES = "reading a stream raises errors of httpx"


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


async def all_bytes(response: httpx.Response) -> None:
    async for _ in response.aiter_bytes():
        pass


async def all_raw(response: httpx.Response) -> None:
    async for _ in response.aiter_raw():
        pass


async def all_text(response: httpx.Response) -> None:
    async for _ in response.aiter_text():
        pass


async def all_lines(response: httpx.Response) -> None:
    async for _ in response.aiter_lines():
        pass


READERS: dict[str, Callable[[httpx.Response], Awaitable[Any]]] = {
    "aread": lambda response: response.aread(),
    "aiter_bytes": all_bytes,
    "aiter_raw": all_raw,
    "aiter_text": all_text,
    "aiter_lines": all_lines,
}

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN: dict[str, tuple[bytes, type[RivetError] | tuple[type[RivetError], ...]]] = {
    "length": (whole(b"x" * 1000)[:-900], ConnectionLostError),
    "chunk": (CHUNKED + b"ff\r\nabc", ConnectionLostError),
    "last chunk": (CHUNKED + b"3\r\nabc\r\n", ConnectionLostError),
    "no chunk": (CHUNKED + b"3\r\nabc\r\nzz\r\n", (ConnectionLostError, ProtocolError)),
}


async def read_broken(kind: str, reader: str, data: bytes) -> BaseException:
    """What reading raises when the server ends the connection after these bytes."""

    async def meeting(peer: Peer, request: Request) -> None:
        await peer.send(data)
        await peer.stream.aclose()

    async with using() as (wire, client):
        wire.instead[kind] = meeting
        with anyio.fail_after(GUARD):
            if kind == "fetch":
                try:
                    await ask(client, kind)
                except Exception as error:
                    return error
            else:
                async with client.x.get_for_id(ACTOR).stream(kind) as response:
                    try:
                        await READERS[reader](response)
                    except Exception as error:
                        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_fetch_that_breaks_off(broken: str) -> None:
    """The control of the test below."""
    data, wanted = BROKEN[broken]
    assert isinstance(await read_broken("fetch", "", data), wanted)


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_stream_that_breaks_off(broken: str) -> None:
    data, wanted = BROKEN[broken]
    assert isinstance(await read_broken("stream", "aiter_bytes", data), wanted)


@pytest.mark.parametrize("reader", READERS)
async def test_each_way_to_read_a_stream(reader: str) -> None:
    data, wanted = BROKEN["chunk"]
    assert isinstance(await read_broken("stream", reader, data), wanted)


async def test_a_stream_that_cannot_be_decoded() -> None:
    """The user asked for the encoding."""
    async with using() as (wire, client):
        wire.answer(
            "stream", whole(gzip.compress(b"abc")[:-9] + b"?" * 9, "Content-Encoding: gzip")
        )
        actor = client.x.get_for_id(ACTOR)
        error: BaseException | None = None
        with anyio.fail_after(GUARD):
            async with actor.stream("stream", headers={"Accept-Encoding": "gzip"}) as response:
                try:
                    await all_bytes(response)
                except Exception as raised:
                    error = raised
    assert isinstance(error, ProtocolError)


async def test_a_stream_that_falls_silent() -> None:
    error: BaseException | None = None
    async with using(request_timeout=0.2) as (wire, client):
        wire.stop("stream", CHUNKED + b"3\r\nabc\r\n")
        with anyio.fail_after(GUARD):
            async with client.x.get_for_id(ACTOR).stream("stream") as response:
                try:
                    await all_bytes(response)
                except Exception as raised:
                    error = raised
    assert isinstance(error, ConnectionLostError)


async def left_to_the_collector() -> list[str]:
    """The warnings about what failed requests have left."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for kind in KINDS[:-1]:
            status = "503 Busy" if kind in HANDSHAKES else "200 OK"
            async with using(kind, max_message_size=1000) as (wire, client):
                wire.answer(kind, whole(b"x" * MIB, status=status))
                with anyio.fail_after(GUARD):
                    try:
                        await ask(client, kind)
                    except (ProtocolError, TransportError):
                        pass
                    for _ in range(3):
                        gc.collect()
                        await anyio.lowlevel.checkpoint()
    return [str(each.message) for each in seen if issubclass(each.category, ResourceWarning)]


async def test_an_answer_that_is_too_long_leaves_nothing(
    request: pytest.FixtureRequest, anyio_backend_name: str
) -> None:
    """Trio warns of async generators that were not closed; in a child, where it breaks no test."""
    program = (
        "import anyio, functools, ssl, sys\n"
        "ssl.create_default_context = functools.cache(ssl.create_default_context)\n"
        f"from {__name__} import left_to_the_collector\n"
        "for warning in anyio.run(left_to_the_collector, backend=sys.argv[1]): print(warning)\n"
    )
    with anyio.fail_after(GUARD):
        done = await anyio.run_process(
            [sys.executable, "-c", program, anyio_backend_name], cwd=Path(__file__).parents[2]
        )
    assert not done.stdout
