"""What real servers answer to an action stays cheap: it is plain, and few functions are called."""

from __future__ import annotations

import pytest

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
    assert calls(work) <= 75
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
