"""An answer that comes while the request is still leaving is read, and told.

(RFC 9112, section 9.3.2, and what Node.js does with a head that is too long for it.)
"""

from __future__ import annotations

import re

import anyio
import pytest

from rivet_anyio import ActorError, ConfigError, ConnectError, ConnectionLostError, RivetError
from tests.peers.raw import Peer

from .wire import (
    ACTOR,
    GUARD,
    RIGHT,
    Request,
    Wire,
    ask,
    prepare,
    refusal,
    take_body,
    using,
)

LONG = "x" * 6 * 1024 * 1024
"""More than the kernel takes from one side before the other reads."""
BROKE = "on asyncio the end of the writing direction hides the answer"


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


class _ShortHeads(Wire):
    """Refuses each head after its first bytes, as Node.js does: nothing reads the rest."""

    async def handle(self, peer: Peer) -> None:
        await peer.stream.receive(1024)
        await peer.send(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n"
        )


async def error_of(kind: str, wire: Wire, **options: object) -> RivetError:
    """What a request raises."""
    async with using(wire=wire) as (_, client):
        with anyio.fail_after(GUARD):
            try:
                result = await ask(client, kind, **options)
            except RivetError as error:
                return error
    raise AssertionError(f"it was accepted: {result[:100]!r}")


@pytest.mark.parametrize("kind", ["action", "send", "send_and_wait", "connect", "websocket"])
async def test_params_that_are_too_long(kind: str) -> None:
    """The error says that nothing ran, and what to make shorter."""
    error = await error_of(kind, _ShortHeads(), params={"jwt": LONG})
    assert isinstance(error, (ConnectError, ActorError, ConfigError))
    assert "431" in str(error) and "make params or headers shorter" in str(error)
    size = re.search(r"params: ([\d,]+) bytes", str(error))
    assert size is not None and int(size[1].replace(",", "")) >= len(LONG)
    assert "xxx" not in str(error)


@pytest.mark.parametrize("kind", ["connect", "websocket"])
async def test_a_handshake_whose_head_is_refused(kind: str, request: pytest.FixtureRequest) -> None:
    """The status is what tells a connection that another attempt would meet the same."""
    error = await error_of(kind, _ShortHeads(), params={"jwt": LONG})
    assert isinstance(error, ConnectError) and error.status == 431


class _LimitedBodies(Wire):
    """Refuses a body, as a proxy does that knows nothing of Rivet."""

    async def handle(self, peer: Peer) -> None:
        await take_body(peer, await peer.head())
        await peer.send(
            b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: text/html\r\n"
            b"Content-Length: 6\r\nConnection: close\r\n\r\n<html>"
        )


@pytest.mark.parametrize("kind", ["action", "send", "send_and_wait"])
async def test_a_body_that_a_proxy_refuses(kind: str) -> None:
    error = await error_of(kind, _LimitedBodies())
    assert isinstance(error, ConnectError) and error.status == 413
    assert "nothing ran" in str(error)


@pytest.mark.parametrize("how", ["fetch", "stream"])
async def test_a_fetch_whose_head_is_refused(how: str, request: pytest.FixtureRequest) -> None:
    """It returns whatever the status is."""
    async with using(wire=_ShortHeads()) as (_, client):
        actor = client.x.get_for_id(ACTOR, params={"jwt": LONG})
        with anyio.fail_after(GUARD):
            if how == "fetch":
                assert (await actor.fetch("fetch")).status_code == 431
            else:
                async with actor.stream("stream") as response:
                    assert response.status_code == 431


class _ShortBodies(Wire):
    """Answers each request before its body has come.

    Args:
        answer: What it answers.
        then: Whether it then reads the rest or closes.
    """

    def __init__(self, answer: bytes, then: str) -> None:
        super().__init__()
        self._bytes = answer
        self._then = then

    async def handle(self, peer: Peer) -> None:
        await peer.head()
        await peer.send(self._bytes)
        if self._then == "reads on":
            await peer.silence()


ANSWERS: dict[str, bytes] = {
    "401": refusal("auth", "unauthorized", "401 Unauthorized", "Connection: close"),
    "413": refusal("message", "too_long", "413 Content Too Large", "Connection: close"),
    "413 of a proxy": (
        b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: text/html\r\n"
        b"Content-Length: 9\r\nConnection: close\r\n\r\n<h1>413</"
    ),
    "431": refusal("request", "head_too_long", "431 X", "Connection: close"),
}


def check(error: BaseException | None, answer: str) -> None:
    assert isinstance(error, RivetError) and not isinstance(error, ConnectionLostError)
    if answer == "413 of a proxy":
        assert "413" in str(error)
    else:
        assert isinstance(error, ActorError)


@pytest.mark.parametrize("then", ["reads on", "closes"])
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("kind", ["put", "action", "send_and_wait"])
async def test_an_answer_while_the_body_leaves(kind: str, answer: str, then: str) -> None:
    check(await error_of(kind, _ShortBodies(ANSWERS[answer], then), content=LONG), answer)


async def test_an_answer_of_a_server_that_does_not_read_the_body() -> None:
    """It keeps the connection open, too."""
    done = anyio.Event()
    error: BaseException | None = None

    async def meeting(peer: Peer, request: Request) -> None:
        await peer.send(ANSWERS["413"])
        with anyio.move_on_after(3):
            await done.wait()
        await peer.silence()

    async with using() as (wire, client):
        wire.instead["action"] = meeting
        with anyio.fail_after(GUARD), anyio.move_on_after(2):
            try:
                await ask(client, "action", content=LONG)
            except RivetError as raised:
                error = raised
        done.set()
    check(error, "413")


async def test_a_socket_with_half_a_request_is_not_used_again() -> None:
    """The answer says that the connection stays open, and the server reads no more of it."""

    async def meeting(peer: Peer, request: Request) -> None:
        await peer.send(refusal("message", "too_long", "413 Content Too Large"))
        await anyio.sleep_forever()

    async with using() as (wire, client):
        wire.instead["action"] = meeting
        with anyio.fail_after(GUARD):
            with pytest.raises(ActorError):
                await ask(client, "action", content=LONG)
            assert await ask(client, "action") == RIGHT
