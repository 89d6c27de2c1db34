"""Requests: what is written, and what is refused before anything is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivet_anyio import ConfigError
from rivet_anyio._http.exchange import Exchange, Proof, State

_HOST = {"Host": "server"}
_CONTROLS = [chr(code) for code in (*range(9), *range(10, 32), 127)]


def _sent(method: str = "GET", headers: dict[str, str] | None = None, **more: Any) -> bytes:
    return Exchange(method, "/a?b=c", _HOST | (headers or {}), **more).start()


def test_a_request_without_a_body() -> None:
    assert _sent() == b"GET /a?b=c HTTP/1.1\r\nHost: server\r\n\r\n"


def test_headers_are_written_as_they_are_given() -> None:
    pairs = [
        ("Host", "server"),
        ("X-a", "1"),
        ("x-A", ""),
        ("X-L", "\u00fc"),
        ("T", "a\tb"),
    ]
    assert Exchange("GET", "/", pairs).start() == (
        b"GET / HTTP/1.1\r\nHost: server\r\nX-a: 1\r\nx-A: \r\nX-L: \xfc\r\nT: a\tb\r\n\r\n"
    )


@pytest.mark.parametrize(
    "target",
    ["/", "*", "server:443", "http://server/a", "/a%20b?c=d&e", "/a//b/../c", "/[]{}|^`'\"<>\\"],
)
def test_targets(target: str) -> None:
    sent = Exchange("GET", target, _HOST).start()
    assert sent.startswith(f"GET {target} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "post"])
def test_methods_that_always_say_how_long_their_body_is(method: str) -> None:
    assert _sent(method).endswith(b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "CONNECT", "BREW"])
def test_methods_that_need_no_body(method: str) -> None:
    assert b"Content-Length" not in _sent(method)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("content", [b"", b"abc", b"\r\n\0"])
def test_content(method: str, content: bytes) -> None:
    end = b"\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    assert _sent(method, content=content).endswith(end)


@pytest.mark.parametrize("name", ["Content-Length", "content-length"])
def test_a_right_length_that_is_given(name: str) -> None:
    sent = _sent("POST", {name: "3"}, content=b"abc")
    assert sent == b"POST /a?b=c HTTP/1.1\r\nHost: server\r\n%b: 3\r\n\r\nabc" % name.encode()
    assert _sent("POST", {name: "0"}).lower().count(b"content-length") == 1
    assert _sent("GET", {name: "0"}).lower().count(b"content-length") == 1


# What is refused


def _refused(match: str, method: str = "GET", target: str = "/", **more: Any) -> str:
    headers = more.pop("headers", _HOST)
    with pytest.raises(ConfigError, match=match) as caught:
        Exchange(method, target, headers, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    "bad", [*_CONTROLS, " ", "\t", ":", "/", "\u00e4", "\u0130", "\u20ac", "\ud800"]
)
def test_methods_and_names_that_are_not_tokens(bad: str) -> None:
    for text in (bad, f"a{bad}", f"{bad}a", f"a{bad}a"):
        assert repr(text) in _refused("^the method .* cannot be sent", method=text)
        _refused("^the header .* cannot be sent", headers=_HOST | {text: "x"})


def test_empty_ones() -> None:
    _refused("^the method '' cannot be sent", method="")
    _refused("target of a request cannot be sent: it is empty", target="")
    _refused("^the header '' cannot be sent", headers=_HOST | {"": "x"})


@pytest.mark.parametrize("bad", [*_CONTROLS, " ", "\t", "\u00e4", "\u20ac", "\ud800", "\u2028"])
def test_targets_that_cannot_be_sent(bad: str) -> None:
    for text in (bad, f"/sekret{bad}", f"/{bad}sekret", f"{bad}/sekret"):
        assert "sekret" not in _refused("target of a request cannot be sent", target=text)


@pytest.mark.parametrize(
    "bad", [*_CONTROLS, "\r\n", "\r\nX: y", "\u0100", "\u20ac", "\ud800", "\u2028"]
)
def test_values_that_cannot_be_sent(bad: str) -> None:
    for text in (bad, f"sekret{bad}", f"{bad}sekret", f"se{bad}kret"):
        error = _refused("^the header 'X-Name' cannot be sent", headers=_HOST | {"X-Name": text})
        assert "kret" not in error


@given(
    method=st.text(max_size=4),
    target=st.text(max_size=6),
    name=st.text(max_size=4),
    value=st.text(max_size=6),
)
def test_what_is_sent_is_what_was_given(method: str, target: str, name: str, value: str) -> None:
    try:
        sent = Exchange(method, target, [("Host", "server"), (name, value)]).start()
    except ConfigError:
        return
    server = h11.Connection(h11.SERVER)
    server.receive_data(sent)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert request.method == method.encode()
    assert request.target == target.encode()
    expected = [(b"host", b"server"), (name.lower().encode(), value.strip(" \t").encode("latin-1"))]
    assert list(request.headers)[:2] == expected


def test_one_host() -> None:
    _refused("exactly one header 'Host', not 0", headers={})
    _refused("exactly one header 'Host', not 2", headers=[("Host", "a"), ("host", "a")])


@pytest.mark.parametrize(
    ("headers", "more", "match"),
    [
        ({"Content-Length": "4"}, {"content": b"abc"}, "'Content-Length' contradicts"),
        ({"Content-Length": "3"}, {}, "'Content-Length' contradicts"),
        ({"Content-Length": "+3"}, {"content": b"abc"}, "'Content-Length' contradicts"),
        ({"Content-Length": "3, 3"}, {"content": b"abc"}, "'Content-Length' contradicts"),
        ({"Content-Length": "\u00b3"}, {"content": b"abc"}, "'Content-Length' contradicts"),
        ({"Content-Length": ""}, {"streams": True}, "'Content-Length' contradicts"),
        ({"Content-Length": "-1"}, {"streams": True}, "'Content-Length' contradicts"),
        ({"Content-Length": "9" * 17}, {"streams": True}, "'Content-Length' contradicts"),
        (
            {"Content-Length": "3", "content-length": "3"},
            {"content": b"abc"},
            "'Content-Length' contradicts",
        ),
        (
            {"Content-Length": "3", "Transfer-Encoding": "chunked"},
            {"streams": True},
            "'Transfer-Encoding' contradicts",
        ),
        ({"Transfer-Encoding": "chunked"}, {"content": b"abc"}, "'Transfer-Encoding' contradicts"),
        ({"Transfer-Encoding": "chunked"}, {}, "'Transfer-Encoding' contradicts"),
        ({"Transfer-Encoding": "gzip"}, {"streams": True}, "'Transfer-Encoding' contradicts"),
        ({"Transfer-Encoding": ""}, {"streams": True}, "'Transfer-Encoding' contradicts"),
        ({"Expect": "100-continue"}, {"content": b"abc"}, "'Expect' cannot be sent"),
        ({"Trailer": "X-Sum"}, {"streams": True}, "'Trailer' cannot be sent"),
        ({}, {"upgrade": True}, "has a header 'Upgrade'"),
        ({"Upgrade": " , "}, {"upgrade": True}, "has a header 'Upgrade'"),
    ],
)
def test_headers_that_contradict(headers: dict[str, str], more: dict[str, Any], match: str) -> None:
    _refused(match, "POST", headers=_HOST | headers, **more)


# Bodies that are streamed


def _streaming(headers: dict[str, str] | None = None) -> Exchange:
    return Exchange("POST", "/", _HOST | (headers or {}), streams=True)


def _in_h11(head: bytes, *pieces: bytes) -> bytes:
    """The body as a server reads it; it is complete."""
    server = h11.Connection(h11.SERVER)
    for piece in (head, *filter(None, pieces)):
        server.receive_data(piece)
    assert isinstance(server.next_event(), h11.Request)
    body = b""
    while isinstance(event := server.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert server.trailing_data == (b"", False)
    return body


@pytest.mark.parametrize("headers", [{}, {"transfer-encoding": "Chunked"}])
def test_chunks(headers: dict[str, str]) -> None:
    exchange = _streaming(headers)
    head = exchange.start()
    assert head.lower().count(b"\r\ntransfer-encoding: chunked\r\n") == 1
    assert b"Content-Length" not in head
    assert exchange.send_body(b"abc") == b"3\r\nabc\r\n"
    assert exchange.send_body(b"") == b""
    assert exchange.send_body(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert exchange.end_body() == b"0\r\n\r\n"


@given(pieces=st.lists(st.binary(max_size=40)), has_length=st.booleans())
def test_a_server_reads_what_was_streamed(pieces: list[bytes], has_length: bool) -> None:
    body = b"".join(pieces)
    exchange = _streaming({"Content-Length": str(len(body))} if has_length else {})
    head = exchange.start()
    sent = [exchange.send_body(piece) for piece in pieces]
    assert _in_h11(head, *sent, exchange.end_body()) == body


def test_a_length() -> None:
    exchange = _streaming({"content-length": "5"})
    assert exchange.start().endswith(b"\r\ncontent-length: 5\r\n\r\n")
    assert exchange.send_body(b"abc") == b"abc"
    with pytest.raises(ConfigError, match="2 bytes shorter"):
        exchange.end_body()
    with pytest.raises(ConfigError, match="longer than"):
        exchange.send_body(b"def")
    exchange.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert exchange.state is State.DONE
    assert not exchange.reusable


def test_a_length_that_is_kept() -> None:
    exchange = _streaming({"Content-Length": "3"})
    exchange.start()
    assert exchange.send_body(b"abc") + exchange.end_body() == b"abc"
    exchange.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert exchange.reusable


@pytest.mark.parametrize(
    "use",
    [
        lambda: _twice(Exchange("GET", "/", _HOST)),
        lambda: _streaming().send_body(b"a"),
        lambda: _streaming().end_body(),
        lambda: _started(Exchange("POST", "/", _HOST, content=b"a")).send_body(b"a"),
        lambda: _started(Exchange("GET", "/", _HOST)).end_body(),
        lambda: _ended(_streaming()).send_body(b"a"),
        lambda: _ended(_streaming()).end_body(),
    ],
)
def test_wrong_use(use: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError):
        use()


def _started(exchange: Exchange) -> Exchange:
    exchange.start()
    return exchange


def _twice(exchange: Exchange) -> bytes:
    return _started(exchange).start()


def _ended(exchange: Exchange) -> Exchange:
    _started(exchange).end_body()
    return exchange


def test_nothing_is_proved_until_it_starts() -> None:
    exchange = _streaming()
    before = exchange.proof
    exchange.start()
    assert (before, exchange.proof) == (Proof.NOTHING_SENT, Proof.MAY_HAVE_RUN)
