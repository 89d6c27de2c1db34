"""What real servers answer to an action stays cheap: it is plain, and few functions are called."""

from __future__ import annotations

import pytest

from rivet_anyio import Client, ProtocolError
from rivet_anyio._http.exchange import Exchange, State

from ..test_costs import calls

_CORS = (
    b"access-control-allow-credentials: true\r\naccess-control-allow-origin: *\r\n"
    b"access-control-expose-headers: *\r\n"
)
_ACTIONS = {
    "2.2.1": b"HTTP/1.1 200 OK\r\n" + _CORS + b"content-type: application/octet-stream\r\n"
    b"content-length: 11\r\nDate: Mon, 23 Nov 2026 20:21:46 GMT\r\nConnection: keep-alive\r\n"
    b"Keep-Alive: timeout=5\r\n\r\n\xb9\x00\x01foutput\x04",
    "2.3.19": b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n"
    b"x-rivet-actor-generation: 2\r\nx-rivet-actor: p6hopflgofercj4rt4r8ou4v96bl00\r\n"
    b"content-length: 11\r\nx-rivet-actor-key: w\r\n"
    b"x-rivet-ray-id: h8l2rc5dn6jllsbrw634nqzx81cl00\r\n" + _CORS + b"date: Mon, 23 Nov 2026 "
    b"20:21:03 GMT\r\n\r\n\xb9\x00\x01foutput\x04",
}


@pytest.mark.parametrize("answer", _ACTIONS.values(), ids=_ACTIONS)
def test_an_action(answer: bytes) -> None:
    headers = {"Host": "server", **{f"x-header-{number}": "value" for number in range(7)}}

    def work() -> None:
        exchange = Exchange("POST", "/gateway/actor/action/act", headers, content=b"abc")
        exchange.start()
        exchange.feed(answer)
        assert exchange.reusable
        assert exchange.take_body() == b"\xb9\x00\x01foutput\x04"
        assert exchange.head is not None
        assert "content-encoding" not in exchange.head.headers

    work()
    assert calls(work) <= 50
    exchange = Exchange("POST", "/", headers, content=b"abc")
    exchange.start()
    exchange.feed(answer)
    assert exchange._reader is None
    assert exchange.keep_alive == (5.0 if b"Keep-Alive" in answer else None)


_SWITCHES = {
    "2.2.1": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: 3Qsc1UNrqLiO0F19wOJB45heNWw=\r\nSec-WebSocket-Protocol: rivet\r\n\r\n",
    "2.3.19": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-accept: 3Qsc1UNrqLiO0F19wOJB45heNWw=\r\nsec-websocket-protocol: rivet\r\n"
    b"x-rivet-ray-id: lbqrt5tu2qqnpzcjvz77t3nnanal00\r\n"
    + _CORS
    + b"date: Mon, 23 Nov 2026 20:21:03 GMT\r\n\r\n",
}


@pytest.mark.parametrize("answer", _SWITCHES.values(), ids=_SWITCHES)
def test_a_handshake(answer: bytes) -> None:
    headers = {"Host": "server", "Connection": "Upgrade", "Upgrade": "websocket"}
    exchange = Exchange("GET", "/gateway/actor/connect", headers, upgrade=True)
    exchange.start()
    exchange.feed(answer + b"\x82\x00")
    assert exchange._reader is None
    assert (exchange.state, exchange.leftover) == (State.UPGRADED, b"\x82\x00")
    assert exchange.head is not None
    assert exchange.head.headers["sec-websocket-protocol"] == "rivet"


class Answering:
    """A connection whose answers are there as soon as a request was written."""

    writes_now = True

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def write_now(self, data: bytes) -> int:
        return len(data)

    async def read(self, max_bytes: int) -> bytes:
        return self._answer

    def is_quiet(self) -> bool:
        return True

    def drop(self) -> None:
        """Nothing has to end."""


@pytest.mark.parametrize(("kind", "most"), [("action", 280), ("fetch", 405)])
async def test_a_whole_call(kind: str, most: int) -> None:
    """From the user's line to the socket and back, without the event loop."""
    stream = Answering(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 4\r\n\r\n"
        b"\x03\x00\x01\x07"
    )

    async def dial(origin: object) -> Answering:
        return stream

    async with Client("http://127.0.0.1:9", encoding="bare", metadata_lookup=False) as client:
        handle = client.probe.get_for_id("a1")
        client._core.http.pool._dial = dial  # type: ignore[attr-defined]

        def call() -> None:
            coroutine = handle.action("echo", 7) if kind == "action" else handle.fetch("hello")
            with pytest.raises(StopIteration) as done:
                coroutine.send(None)
            if kind == "action":
                assert done.value.value == 7
            else:
                assert done.value.value.content == b"\x03\x00\x01\x07"

        call()
        assert calls(call) <= most


async def test_a_fetch_that_fails_gives_its_socket_back() -> None:
    stream = Answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + bytes(5000))

    async def dial(origin: object) -> Answering:
        return stream

    url = "http://127.0.0.1:9"
    async with Client(url, metadata_lookup=False, max_message_size=4096) as client:
        pool = client._core.http.pool  # type: ignore[attr-defined]
        pool._dial = dial
        with pytest.raises(ProtocolError, match="raise max_message_size"):
            await client.probe.get_for_id("a1").fetch("hello")
        figures = pool.count()
        assert figures.open == figures.idle
