"""The fields of an answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rivet_anyio._http.headers import Head, Headers
from rivet_anyio._http.plain import read_plain

from .playing import new

_FIELDS = b"Set-Cookie: a=1\r\nX-Name: x\r\nset-cookie: b=2\r\nContent-Length: 0\r\n"


def _plain() -> Head:
    plain = read_plain(b"HTTP/1.1 200 OK\r\n" + _FIELDS + b"\r\n")
    assert plain is not None
    return plain[0]


def _by_h11() -> Head:
    exchange = new()
    exchange.feed(b"HTTP/1.1 200 OK\r\n")
    exchange.feed(_FIELDS + b"\r\n")
    assert exchange.head is not None
    return exchange.head


@pytest.mark.parametrize("read", [_plain, _by_h11])
def test_headers(read: Callable[[], Head]) -> None:
    headers = read().headers
    # Before anything else has taken them apart, and after.
    for _ in range(2):
        assert "X-NAME" in headers
        assert "name" not in headers
        assert "x" not in headers
        assert "a=1\r\nX-Name" not in headers
        assert not headers.__contains__(1)
        assert "x-n\u0130me" not in headers
        assert headers["x-Name"] == "x"
        assert headers["Set-Cookie"] == "a=1, b=2"
        assert headers.get("none") is None
        with pytest.raises(KeyError):
            headers["none"]
        assert list(headers) == ["set-cookie", "x-name", "content-length"]
        assert len(headers) == 3
        assert dict(headers) == {"set-cookie": "a=1, b=2", "x-name": "x", "content-length": "0"}
    assert headers.raw == [
        (b"set-cookie", b"a=1"),
        (b"x-name", b"x"),
        (b"set-cookie", b"b=2"),
        (b"content-length", b"0"),
    ]


def test_a_value_of_latin_1() -> None:
    assert Headers([(b"x", b"gr\xfc\xdfe")])["X"] == "gr\u00fc\u00dfe"


def test_values_are_not_shown() -> None:
    headers = Headers([(b"set-cookie", b"sekret")])
    assert repr(headers) == "<Headers set-cookie>"
    assert "sekret" not in repr(Head(200, "OK", headers))
