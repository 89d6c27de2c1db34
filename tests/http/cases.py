"""Answers, and what RFC 9112 makes of them.

Where the RFC leaves a choice between repairing and refusing, we refuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rivet_anyio._http.exchange import State

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """An answer.

    Attributes:
        name: What is special about it.
        data: What the server sends.
        state: Where that leads.
        status: Of the head that is read, None without one.
        body: What is read of a body.
        reusable: Whether the socket may carry another request.
        error: A part of the error's text.
        method: Of the request.
        upgrade: Whether the request asks for a 101.
        ends: Whether the end of the stream follows.
        leftover: What lies behind a 101.
    """

    name: str
    data: bytes
    state: State
    status: int | None = 200
    body: bytes = b""
    reusable: bool = False
    error: str = ""
    method: str = "GET"
    upgrade: bool = False
    ends: bool = False
    leftover: bytes = b""


_OK = b"HTTP/1.1 200 OK\r\n"
_LENGTH = b"Content-Length: 3\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_WHOLE = _OK + _LENGTH + b"\r\nabc"
_PARTS = _OK + _CHUNKED + b"\r\n"
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n"
_PROTOCOL = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"


def _good(name: str, data: bytes, body: bytes = b"abc", **more: Any) -> Case:
    """Complete, and its socket may be used again."""
    return Case(name, data, State.DONE, body=body, reusable=True, **more)


def _last(name: str, data: bytes, body: bytes = b"abc", **more: Any) -> Case:
    """Complete, and its socket is not used again."""
    return Case(name, data, State.DONE, body=body, **more)


def _open(name: str, data: bytes, body: bytes = b"", **more: Any) -> Case:
    """The body is not complete yet."""
    return Case(name, data, State.BODY, body=body, **more)


def _wait(name: str, data: bytes, **more: Any) -> Case:
    """The head is not complete yet."""
    return Case(name, data, State.HEAD, None, **more)


def _bad(name: str, data: bytes, error: str, **more: Any) -> Case:
    """Refused before a head is read."""
    return Case(name, data, State.BROKEN, None, error=error, **more)


def _cut(name: str, data: bytes, error: str, body: bytes = b"", **more: Any) -> Case:
    """Refused, or over, in the body."""
    return Case(name, data, State.BROKEN, body=body, error=error, **more)


def _field(field: bytes) -> bytes:
    """A good answer with one more field."""
    return _OK + field + b"\r\n" + _LENGTH + b"\r\nabc"


def _status(line: bytes) -> bytes:
    return line + b"\r\n" + _LENGTH + b"\r\nabc"


def _chunks(data: bytes) -> bytes:
    return _PARTS + data


def _padded(size: int) -> bytes:
    """A head of this many bytes, of an answer with a body of 3."""
    head = _OK + _LENGTH + b"x: " + b"\r\n\r\n"
    return head.replace(b"x: ", b"x: " + b"y" * (size - len(head))) + b"abc"


_VERSION = "HTTP/1.0 or 1.1"
_ELSE = "something else than HTTP/1.1"
_CONTROL = "control character"
_H11 = "illegal header line"
_TRANSFER = "not exactly 'chunked'"
_NUMBER = "not a number of bytes"
_SIZE = "size cannot be read"
_EXTENSION = "extension of more than 1 KiB"
_TRAILER = "not a field"
_TOO_LONG = "more than 32768 bytes"

_PLAIN = (
    _good("a length", _WHOLE),
    _good("a length of 0", _OK + b"Content-Length: 0\r\n\r\n", b""),
    _good("names in lower case", _OK + b"content-length: 3\r\n\r\nabc"),
    _good("names in upper case", _OK + b"CONTENT-LENGTH: 3\r\n\r\nabc"),
    _good("no blank behind the colon", _OK + b"Content-Length:3\r\n\r\nabc"),
    _good("a blank behind a value", _field(b"X-Name: x ")),
    _good("two blanks before a value", _field(b"X-Name:  x")),
    _good("blanks around a value", _OK + b"Content-Length: \t 3 \t \r\n\r\nabc"),
    _good("a length with zeros before it", _OK + b"Content-Length: 0003\r\n\r\nabc"),
    _good("an empty field", _field(b"X-Empty:")),
    _good("an empty field with a blank", _field(b"X-Empty: ")),
    _good("a field with Latin-1", _field(b"X-Name: gr\xfc\xdfe")),
    _good("a field with a tab inside", _field(b"X-Tab: a\tb")),
    _good("a field with colons", _field(b"X-Time: 12:30: now")),
    _good("a name of all characters", _field(b"!#$%&'*+-.^_`|~09azAZ: x")),
    _good("the same field twice", _field(b"Set-Cookie: a=1\r\nSet-Cookie: b=2")),
    _good("100 fields", _OK + b"a: b\r\n" * 99 + _LENGTH + b"\r\nabc"),
    _good("no reason", _status(b"HTTP/1.1 200 ")),
    _good("no reason, nor a blank before it", _status(b"HTTP/1.1 200")),
    _good("a reason of Latin-1", _status(b"HTTP/1.1 200 \xc4")),
    _good("a reason of several words", _status(b"HTTP/1.1 200 All is well")),
    _good("a status of failure", _status(b"HTTP/1.1 500 No"), status=500),
    _good("a status of 599", _status(b"HTTP/1.1 599 No"), status=599),
    _good("a status of 999", _status(b"HTTP/1.1 999 No"), status=999),
    _good("a redirect", _status(b"HTTP/1.1 302 There"), status=302),
    _good(
        "a redirect without a body", b"HTTP/1.1 302 F\r\nContent-Length: 0\r\n\r\n", b"", status=302
    ),
    _good(
        "a body of an answer's bytes",
        _OK + b"Content-Length: %d\r\n\r\n" % len(_WHOLE) + _WHOLE,
        _WHOLE,
    ),
    _good("a body that begins with CRLF", _OK + _LENGTH + b"\r\n\r\nc", b"\r\nc"),
    _good("keep-alive", _field(b"Connection: keep-alive")),
    _good("keep-alive and a timeout", _field(b"Connection: Keep-Alive\r\nKeep-Alive: timeout=5")),
    _good("an unknown member of Connection", _field(b"Connection: x-other")),
    _good("an upgrade that is offered in a 200", _field(b"Upgrade: h2c\r\nConnection: Upgrade")),
    _good("a head of 32 KiB", _padded(32768)),
    _wait("part of the version", b"HTT"),
    _wait("part of a field", b"HTTP/1.1 200 OK\r\nContent-Le"),
    _wait("a head without its blank line", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"),
    _wait("a head without its last byte", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r"),
    _open("a head alone", _OK + _LENGTH + b"\r\n"),
    _open("part of a body", _OK + _LENGTH + b"\r\nab", b"ab"),
    _open("a very long length", _OK + b"Content-Length: 9999999999999999\r\n\r\nab", b"ab"),
)

_SOCKETS = (
    _last("close", _field(b"Connection: close")),
    _last("close in upper case", _field(b"Connection: CLOSE")),
    _last("close in a list", _field(b"Connection: x-other , close")),
    _last("close in a second field", _field(b"Connection: keep-alive\r\nConnection: close")),
    _last("close in an interim answer", b"HTTP/1.1 100 C\r\nConnection: close\r\n\r\n" + _WHOLE),
    _last("close with chunks", _OK + b"Connection: close\r\n" + _CHUNKED + b"\r\n0\r\n\r\n", b""),
    _last("HTTP/1.0", _status(b"HTTP/1.0 200 OK")),
    _last(
        "HTTP/1.0 and keep-alive",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + _LENGTH + b"\r\nabc",
    ),
    _last("a byte behind the body", _WHOLE + b"d"),
    _last("CRLF behind the body", _WHOLE + b"\r\n"),
    _last("LF behind the body", _WHOLE + b"\n"),
    _last("NUL behind the body", _WHOLE + b"\0"),
    _last("another answer behind the body", _WHOLE + _WHOLE),
    _last("another answer behind no body", _OK + b"Content-Length: 0\r\n\r\n" + _WHOLE, b""),
    _last("an interim answer behind the body", _WHOLE + b"HTTP/1.1 100 C\r\n\r\n"),
    _last("the end of the stream behind the body", _WHOLE, ends=True),
    _last("CRLF behind the chunks", _chunks(b"3\r\nabc\r\n0\r\n\r\n\r\n")),
    _last("another answer behind the chunks", _chunks(b"3\r\nabc\r\n0\r\n\r\n") + _WHOLE),
    _last("the end of the stream behind the chunks", _chunks(b"0\r\n\r\n"), b"", ends=True),
    _last("a body behind a 204", b"HTTP/1.1 204 No\r\n\r\nabc", b"", status=204),
    _last("a body behind a HEAD", _WHOLE, b"", method="HEAD"),
    _last("a 408 behind the body", _WHOLE + b"HTTP/1.1 408 Request Timeout\r\n\r\n"),
    _last("empty members and close", _field(b"Connection: , ,close,")),
    _last("close before keep-alive", _field(b"Connection: close\r\nConnection: keep-alive")),
    _good("closed is not close", _field(b"Connection: closed")),
    _good("close to a proxy", _field(b"Proxy-Connection: close")),
)

_WITHOUT_A_BODY = (
    _good("204", b"HTTP/1.1 204 No Content\r\n\r\n", b"", status=204),
    _good(
        "204 with a length of 0", b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", b"", status=204
    ),
    _last(
        "204 that announces a body",
        b"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\n",
        b"",
        status=204,
    ),
    _last(
        "204 that announces chunks", b"HTTP/1.1 204 No\r\n" + _CHUNKED + b"\r\n", b"", status=204
    ),
    _good("304", b"HTTP/1.1 304 Not Modified\r\n\r\n", b"", status=304),
    _good(
        "304 with the length of what it is about",
        b"HTTP/1.1 304 N\r\n" + _LENGTH + b"\r\n",
        b"",
        status=304,
    ),
    _good("304 with chunks", b"HTTP/1.1 304 N\r\n" + _CHUNKED + b"\r\n", b"", status=304),
    _good("205 has a body", _status(b"HTTP/1.1 205 Reset"), status=205),
    _good("HEAD with a length", _OK + _LENGTH + b"\r\n", b"", method="HEAD"),
    _good("HEAD with chunks", _OK + _CHUNKED + b"\r\n", b"", method="HEAD"),
    _good("HEAD with neither", _OK + b"\r\n", b"", method="HEAD"),
    _good(
        "HEAD that fails",
        b"HTTP/1.1 404 No\r\n" + _LENGTH + b"\r\n",
        b"",
        method="HEAD",
        status=404,
    ),
    _last("HEAD of HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + _LENGTH + b"\r\n", b"", method="HEAD"),
    _last("HEAD and close", _OK + b"Connection: close\r\n\r\n", b"", method="HEAD"),
    _good("POST", _WHOLE, method="POST"),
    _good("a method of one's own", _WHOLE, method="BREW"),
    _good("head in lower case is another method", _WHOLE, method="head"),
    _last("304 and a body behind", b"HTTP/1.1 304 N\r\n\r\nabc", b"", status=304),
    _last(
        "HEAD that is answered with a 204 that announces a body",
        b"HTTP/1.1 204 N\r\n" + _LENGTH + b"\r\n",
        b"",
        method="HEAD",
        status=204,
    ),
    _last("HEAD and chunks that come all the same", _chunks(b"0\r\n\r\n"), b"", method="HEAD"),
)

_LENGTHS = (
    _bad("the length twice", _OK + _LENGTH + _LENGTH + b"\r\nabc", "Content-Length twice"),
    _bad("two lengths", _OK + _LENGTH + b"Content-Length: 4\r\n\r\nabc", "Content-Length twice"),
    _bad(
        "two lengths in two cases",
        _OK + _LENGTH + b"content-LENGTH: 3\r\n\r\nabc",
        "Content-Length twice",
    ),
    _bad("the length twice in a list", _OK + b"Content-Length: 3, 3\r\n\r\nabc", _NUMBER),
    _bad("two lengths in a list", _OK + b"Content-Length: 3, 4\r\n\r\nabc", _NUMBER),
    _bad("a list of one", _OK + b"Content-Length: 3,\r\n\r\nabc", _NUMBER),
    _bad("an empty length", _OK + b"Content-Length:\r\n\r\nabc", _NUMBER),
    _bad(
        "an empty length and a good one",
        _OK + b"Content-Length:\r\n" + _LENGTH + b"\r\nabc",
        "Content-Length twice",
    ),
    _bad("a negative length", _OK + b"Content-Length: -3\r\n\r\nabc", _NUMBER),
    _bad("a length with a plus", _OK + b"Content-Length: +3\r\n\r\nabc", _NUMBER),
    _bad("a length in hexadecimal", _OK + b"Content-Length: 0x3\r\n\r\nabc", _NUMBER),
    _bad("a length with a point", _OK + b"Content-Length: 3.0\r\n\r\nabc", _NUMBER),
    _bad("a length with an exponent", _OK + b"Content-Length: 3e0\r\n\r\nabc", _NUMBER),
    _bad("a length with an underscore", _OK + b"Content-Length: 1_0\r\n\r\nabc", _NUMBER),
    _bad("a length with a blank inside", _OK + b"Content-Length: 1 0\r\n\r\nabc", _NUMBER),
    _bad("a length in quotes", _OK + b'Content-Length: "3"\r\n\r\nabc', _NUMBER),
    _bad("a length of a superscript", _OK + b"Content-Length: \xb2\r\n\r\nabc", _NUMBER),
    _bad(
        "a length beyond all bounds", _OK + b"Content-Length: 99999999999999999\r\n\r\nabc", _NUMBER
    ),
    _bad("no length behind its name", _OK + b"Content-Length: abc\r\n\r\nabc", _NUMBER),
    _bad("a length and chunks", _OK + _LENGTH + _CHUNKED + b"\r\n0\r\n\r\n", "both"),
    _bad("chunks and a length", _OK + _CHUNKED + _LENGTH + b"\r\n0\r\n\r\n", "both"),
    _bad("chunks and a length, to HEAD", _OK + _CHUNKED + _LENGTH + b"\r\n", "both", method="HEAD"),
    _bad("two lengths, of a 204", b"HTTP/1.1 204 N\r\n" + _LENGTH + _LENGTH + b"\r\n", "twice"),
    _bad("a length and gzip", _OK + _LENGTH + b"Transfer-Encoding: gzip\r\n\r\nabc", "both"),
    _bad("a wrong length, of a 304", b"HTTP/1.1 304 N\r\nContent-Length: x\r\n\r\n", _NUMBER),
    _bad("a wrong length, to HEAD", _OK + b"Content-Length: -1\r\n\r\n", _NUMBER, method="HEAD"),
    _bad("a length with a no-break space", _OK + b"Content-Length: \xa03\r\n\r\nabc", _NUMBER),
    _good("a length in another field's value", _field(b"X: Content-Length: 9")),
)

_CODINGS = (
    _bad("gzip", _OK + b"Transfer-Encoding: gzip\r\n\r\nabc", _TRANSFER),
    _bad("gzip, chunked", _OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", _TRANSFER),
    _bad("chunked, gzip", _OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", _TRANSFER),
    _bad(
        "chunked, chunked", _OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", _TRANSFER
    ),
    _bad("chunked twice", _OK + _CHUNKED + _CHUNKED + b"\r\n0\r\n\r\n", _TRANSFER),
    _bad(
        "gzip and chunked in two fields",
        _OK + b"Transfer-Encoding: gzip\r\n" + _CHUNKED + b"\r\n0\r\n\r\n",
        _TRANSFER,
    ),
    _bad("identity", _OK + b"Transfer-Encoding: identity\r\n\r\nabc", _TRANSFER),
    _bad("xchunked", _OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", _TRANSFER),
    _bad(
        "chunked with a parameter",
        _OK + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        _TRANSFER,
    ),
    _bad("chunked in quotes", _OK + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', _TRANSFER),
    _bad(
        "chunked with a vertical tab",
        _OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        _CONTROL,
    ),
    _bad("an empty coding", _OK + b"Transfer-Encoding:\r\n\r\nabc", _TRANSFER),
    _bad("chunks in HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + _CHUNKED + b"\r\n0\r\n\r\n", "in HTTP/1.0"),
    _good("chunked in upper case", _OK + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n", b""),
    _good(
        "chunked with blanks around", _OK + b"Transfer-Encoding:  chunked \t\r\n\r\n0\r\n\r\n", b""
    ),
    _bad("a list of one coding", _OK + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", _TRANSFER),
)

_CHUNKS = (
    _good("no chunk", _chunks(b"0\r\n\r\n"), b""),
    _good("one chunk", _chunks(b"3\r\nabc\r\n0\r\n\r\n")),
    _good("several chunks", _chunks(b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")),
    _good("a size in upper case", _chunks(b"A\r\n0123456789\r\n0\r\n\r\n"), b"0123456789"),
    _good("a size in lower case", _chunks(b"a\r\n0123456789\r\n0\r\n\r\n"), b"0123456789"),
    _good(
        "a size of two digits", _chunks(b"10\r\n0123456789abcdef\r\n0\r\n\r\n"), b"0123456789abcdef"
    ),
    _good("sizes with zeros before them", _chunks(b"0003\r\nabc\r\n0000\r\n\r\n")),
    _good("a size of 16 digits", _chunks(b"0000000000000003\r\nabc\r\n0\r\n\r\n")),
    _good(
        "a chunk that looks like the last", _chunks(b"5\r\n0\r\n\r\n\r\n0\r\n\r\n"), b"0\r\n\r\n"
    ),
    _good("an extension", _chunks(b"3;a=b\r\nabc\r\n0\r\n\r\n")),
    _good("an extension without a value", _chunks(b"3;a\r\nabc\r\n0\r\n\r\n")),
    _good("an extension in quotes", _chunks(b'3;a="b;c"\r\nabc\r\n0;x="y"\r\n\r\n')),
    _good("blanks in an extension", _chunks(b"3; a = b \r\nabc\r\n0\r\n\r\n")),
    _good("an extension of the last chunk", _chunks(b"3\r\nabc\r\n0;last\r\n\r\n")),
    _good("an extension of 1 KiB", _chunks(b"3;" + b"x" * 1023 + b"\r\nabc\r\n0\r\n\r\n")),
    _good("a trailer", _chunks(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")),
    _good("two trailers", _chunks(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-Other: \r\n\r\n")),
    _good("a trailer that is nearly framing", _chunks(b"0\r\nContent-Lengths: 9\r\n\r\n"), b""),
    _good("a trailer that says close", _chunks(b"0\r\nConnection: close\r\n\r\n"), b""),
    _good("100 trailers", _chunks(b"0\r\n" + b"t: x\r\n" * 100 + b"\r\n"), b""),
    _good("trailers of 32 KiB", _chunks(b"0\r\nt: " + b"x" * (32768 - 9) + b"\r\n\r\n"), b""),
    _open("no chunk yet", _chunks(b"")),
    _open("a size without its end", _chunks(b"3")),
    _open("a size with half of its end", _chunks(b"3\r")),
    _open("a chunk without its end", _chunks(b"3\r\nabc"), b"abc"),
    _open("a chunk with half of its end", _chunks(b"3\r\nabc\r"), b"abc"),
    _open("part of a chunk", _chunks(b"3\r\nab"), b"ab"),
    _open("no blank line at the end", _chunks(b"0\r\n")),
    _open("half of a blank line at the end", _chunks(b"0\r\n\r")),
    _open("a trailer, no blank line", _chunks(b"0\r\nt: x\r\n")),
    _open("part of a trailer", _chunks(b"0\r\nt: x")),
    _open("a size of 64 bits", _chunks(b"ffffffffffffffff\r\nab"), b"ab"),
    _cut("a line between chunks", _chunks(b"3\r\nabc\r\n\r\n0\r\n\r\n"), _SIZE, b"abc"),
    _cut("a chunk behind the last", _chunks(b"0\r\n3\r\nabc\r\n\r\n"), _TRAILER),
    _cut("a size in quotes", _chunks(b'"3"\r\nabc\r\n'), _SIZE),
    _cut("a size of 17 digits", _chunks(b"00000000000000003\r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("no size", _chunks(b"\r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("no size, but an extension", _chunks(b";a=b\r\nabc"), _SIZE),
    _cut("a size with a prefix", _chunks(b"0x3\r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("a negative size", _chunks(b"-3\r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("a size with a plus", _chunks(b"+3\r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("a size with an underscore", _chunks(b"0_3\r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("a size that is none", _chunks(b"xyz\r\nabc"), _SIZE),
    _cut("a blank before a size", _chunks(b" 3\r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("a blank before an extension", _chunks(b"3 ;a=b\r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("a blank behind a size", _chunks(b"3 \r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("something behind a size", _chunks(b"3 abc\r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("a bare LF behind a size", _chunks(b"3\nabc\n0\n\n"), _SIZE),
    _cut("a bare CR behind a size", _chunks(b"3\rabc\r0\r\r"), _SIZE),
    _cut("a bare LF in an extension", _chunks(b"3;a\n\r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("a bare CR in an extension", _chunks(b"3;a\rb\r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("NUL in an extension", _chunks(b"3;a\0b\r\nabc\r\n0\r\n\r\n"), _SIZE),
    _cut("an extension of more than 1 KiB", _chunks(b"3;" + b"x" * 1024 + b"\r\nabc"), _EXTENSION),
    _cut("an extension that does not end", _chunks(b"3;" + b"x" * 2000), _EXTENSION),
    _cut("blanks that do not end", _chunks(b"3" + b" " * 2000), _SIZE),
    _cut("LF ends a chunk", _chunks(b"3\r\nabc\n0\r\n\r\n"), "longer than its size", b"abc"),
    _cut(
        "a chunk that is longer", _chunks(b"3\r\nabcd\r\n0\r\n\r\n"), "longer than its size", b"abc"
    ),
    _cut(
        "other bytes end a chunk", _chunks(b"3\r\nabcXX0\r\n\r\n"), "longer than its size", b"abc"
    ),
    _cut(
        "CR and another byte end a chunk",
        _chunks(b"3\r\nabc\rX0\r\n\r\n"),
        "longer than its size",
        b"abc",
    ),
    _cut(
        "a chunk that is shorter",
        _chunks(b"4\r\nabc\r\n0\r\n\r\n"),
        "longer than its size",
        b"abc\r",
    ),
    _cut(
        "extensions that are most of it",
        _chunks((b"1;" + b"x" * 999 + b"\r\na\r\n") * 18),
        "mostly extensions",
        b"a" * 16,
    ),
    _cut("a length in a trailer", _chunks(b"0\r\nContent-Length: 9\r\n\r\n"), "in a trailer"),
    _cut(
        "a transfer encoding in the second trailer",
        _chunks(b"0\r\nt: x\r\ntransfer-encoding: chunked\r\n\r\n"),
        "in a trailer",
    ),
    _cut("a trailer without a colon", _chunks(b"0\r\nabc\r\n\r\n"), _TRAILER),
    _cut("a trailer without a name", _chunks(b"0\r\n: x\r\n\r\n"), _TRAILER),
    _cut("a trailer with a blank before its colon", _chunks(b"0\r\nt : x\r\n\r\n"), _TRAILER),
    _cut("a trailer that goes on in the next line", _chunks(b"0\r\nt: x\r\n y\r\n\r\n"), _TRAILER),
    _cut("a bare LF behind a trailer", _chunks(b"0\r\nt: x\n\r\n"), _CONTROL),
    _cut("LF for the blank line behind the chunks", _chunks(b"0\r\n\n"), _CONTROL),
    _cut("another answer instead of the blank line", _chunks(b"0\r\n") + _WHOLE, _TRAILER),
    _cut("NUL in a trailer", _chunks(b"0\r\nt: \0\r\n\r\n"), _CONTROL),
    _cut("101 trailers", _chunks(b"0\r\n" + b"t: x\r\n" * 101 + b"\r\n"), "100 trailers"),
    _cut(
        "trailers of more than 32 KiB",
        _chunks(b"0\r\nt: " + b"x" * (32768 - 8) + b"\r\n\r\n"),
        "more than 32768 bytes",
    ),
    _cut("a trailer that does not end", _chunks(b"0\r\nt: " + b"x" * 33000), _TOO_LONG),
    _cut("the end of the stream before a chunk", _chunks(b""), "before the last chunk", ends=True),
    _cut("the end of the stream in a size", _chunks(b"3"), "before the last chunk", ends=True),
    _cut(
        "the end of the stream in a chunk",
        _chunks(b"3\r\nab"),
        "before the last chunk",
        b"ab",
        ends=True,
    ),
    _cut(
        "the end of the stream behind a chunk",
        _chunks(b"3\r\nabc\r\n"),
        "before the last chunk",
        b"abc",
        ends=True,
    ),
    _cut(
        "the end of the stream behind the last chunk",
        _chunks(b"0\r\n"),
        "before the last chunk",
        ends=True,
    ),
    _cut(
        "the end of the stream in the trailers",
        _chunks(b"0\r\nt: x\r\n"),
        "before the last chunk",
        ends=True,
    ),
)

_STREAMS = (
    _open("until the end", _OK + b"\r\nabc", b"abc"),
    _last("until the end, which came", _OK + b"\r\nabc", ends=True),
    _last("until the end, nothing came", _OK + b"\r\n", b"", ends=True),
    _last("until the end, another answer's bytes", _OK + b"\r\n" + _WHOLE, _WHOLE, ends=True),
    _last("until the end in HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\nabc", ends=True),
    _last("until the end with close", _OK + b"Connection: close\r\n\r\nabc", ends=True),
    _bad("the end before an answer", b"", "before it answered", ends=True),
    _bad("the end in the status line", b"HTTP/1.1 2", "in the middle of the head", ends=True),
    _bad("the end in the fields", _OK + b"Content-", "in the middle of the head", ends=True),
    _bad("the end before the blank line", _OK + _LENGTH, "in the middle of the head", ends=True),
    _bad(
        "the end behind an interim answer", b"HTTP/1.1 100 C\r\n\r\n", "after an interim", ends=True
    ),
    _cut("the end before the body", _OK + _LENGTH + b"\r\n", "0 of 3 bytes", ends=True),
    _cut("the end in the body", _OK + _LENGTH + b"\r\nab", "2 of 3 bytes", b"ab", ends=True),
)

_INTERIM = (
    _good("100", b"HTTP/1.1 100 Continue\r\n\r\n" + _WHOLE),
    _good("102 with fields", b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n" + _WHOLE),
    _good(
        "103 before chunks",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + _chunks(b"0\r\n\r\n"),
        b"",
    ),
    _good("100 in HTTP/1.0", b"HTTP/1.0 100 Continue\r\n\r\n" + _WHOLE),
    _good("199", b"HTTP/1.1 199 X\r\n\r\n" + _WHOLE),
    _good("16 interim answers", b"HTTP/1.1 100 C\r\n\r\n" * 16 + _WHOLE),
    _good(
        "100 before HEAD's", b"HTTP/1.1 100 C\r\n\r\n" + _OK + _LENGTH + b"\r\n", b"", method="HEAD"
    ),
    _wait("100 alone", b"HTTP/1.1 100 Continue\r\n\r\n"),
    _wait("100 and part of another", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2"),
    _bad(
        "a field of 100 that goes on", b"HTTP/1.1 100 C\r\nX: a\r\n b\r\n\r\n" + _WHOLE, "next line"
    ),
    _bad("a wrong field of 100", b"HTTP/1.1 100 C\r\nX y\r\n\r\n" + _WHOLE, _H11),
    _bad("17 interim answers", b"HTTP/1.1 100 C\r\n\r\n" * 17 + _WHOLE, "more than 16"),
    _bad("100 with a length", b"HTTP/1.1 100 C\r\nContent-Length: 0\r\n\r\n" + _WHOLE, "interim"),
    _bad("100 with chunks", b"HTTP/1.1 100 C\r\n" + _CHUNKED + b"\r\n0\r\n\r\n", "interim"),
    _bad("CRLF behind 100", b"HTTP/1.1 100 C\r\n\r\n\r\n" + _WHOLE, _ELSE),
    _bad("a body behind 100", b"HTTP/1.1 100 C\r\n\r\nabc" + _WHOLE, _ELSE),
)

_STATUS_LINES = (
    _bad("HTTP/0.9", b"<html>hi</html>", _ELSE),
    _bad("HTTP/2's settings", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", _ELSE),
    _bad("a TLS alert", b"\x15\x03\x01\x00\x02\x02\x0a", _ELSE),
    _bad("SSH", b"SSH-2.0-OpenSSH_9.6\r\n", _ELSE),
    _bad("the request again", b"GET / HTTP/1.1\r\n\r\n", _ELSE),
    _bad("HTTP/2.0", _status(b"HTTP/2.0 200 OK"), _ELSE),
    _bad("HTTP/2", _status(b"HTTP/2 200 OK"), _ELSE),
    _bad("HTTP/0.9 with a status", _status(b"HTTP/0.9 200 OK"), _ELSE),
    _bad("HTTP/1.2", _status(b"HTTP/1.2 200 OK"), _VERSION),
    _bad("HTTP/1.10", _status(b"HTTP/1.10 200 OK"), _VERSION),
    _bad("HTTP/01.1", _status(b"HTTP/01.1 200 OK"), _ELSE),
    _bad("the version in lower case", _status(b"http/1.1 200 OK"), _ELSE),
    _bad("another protocol", _status(b"ICY 200 OK"), _ELSE),
    _bad("a byte order mark before it", b"\xef\xbb\xbf" + _WHOLE, _ELSE),
    _bad("CRLF before it", b"\r\n" + _WHOLE, _ELSE),
    _bad("a blank before it", b" " + _WHOLE, _ELSE),
    _bad("a body's rest before it", b"abc" + _WHOLE, _ELSE),
    _bad("two blanks before the status", _status(b"HTTP/1.1  200 OK"), _VERSION),
    _bad("a tab before the status", _status(b"HTTP/1.1\t200 OK"), _VERSION),
    _bad("a tab behind the status", _status(b"HTTP/1.1 200\tOK"), _VERSION),
    _bad("a status of two digits", _status(b"HTTP/1.1 20 OK"), _VERSION),
    _bad("a status of four digits", _status(b"HTTP/1.1 2000 OK"), _VERSION),
    _bad("a status of 099", _status(b"HTTP/1.1 099 OK"), _VERSION),
    _bad("a status of 000", _status(b"HTTP/1.1 000 OK"), _VERSION),
    _bad("a negative status", _status(b"HTTP/1.1 -20 OK"), _VERSION),
    _bad("no status", _status(b"HTTP/1.1 OK"), _VERSION),
    _bad("no status, nor a reason", _status(b"HTTP/1.1"), _VERSION),
    _bad("NUL in the reason", _status(b"HTTP/1.1 200 O\0K"), _CONTROL),
    _bad("a bare CR in the reason", _status(b"HTTP/1.1 200 O\rK"), _CONTROL),
)

_FIELDS = (
    _bad("a blank before a colon", _field(b"X-Name : x"), _H11),
    _bad("a tab before a colon", _field(b"X-Name\t: x"), _H11),
    _bad("a blank before the length's colon", _OK + b"Content-Length : 3\r\n\r\nabc", _H11),
    _bad("a blank before the coding's colon", _OK + b"Transfer-Encoding : chunked\r\n\r\n", _H11),
    _bad("a field without a colon", _field(b"X-Name"), _H11),
    _bad("a field without a name", _field(b": x"), _H11),
    _bad("a name with a blank", _field(b"X Name: x"), _H11),
    _bad("a name with a parenthesis", _field(b"X(Name): x"), _H11),
    _bad("a name with Latin-1", _field(b"X-N\xe4me: x"), _H11),
    _bad("a value that goes on in the next line", _field(b"X-Name: a\r\n b"), "next line"),
    _bad("a value that goes on behind a tab", _field(b"X-Name: a\r\n\tb"), "next line"),
    _bad(
        "a blank before the first name", _OK + b" X-Name: a\r\n" + _LENGTH + b"\r\nabc", "next line"
    ),
    _bad("a length that goes on", _OK + b"Content-Length: 3\r\n 4\r\n\r\nabc", "next line"),
    _bad("a line of blanks", _OK + _LENGTH + b"  \r\n\r\nabc", "next line"),
    _bad("LF ends the status line", b"HTTP/1.1 200 OK\n" + _LENGTH + b"\r\nabc", _CONTROL),
    _bad("LF ends a field", _OK + b"X: y\n" + _LENGTH + b"\r\nabc", _CONTROL),
    _bad("LF for the blank line", _OK + _LENGTH + b"\nabc", _CONTROL),
    _bad("LF everywhere", b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", _CONTROL),
    _bad("CR CR LF", _OK + b"X: y\r\r\n" + _LENGTH + b"\r\nabc", _CONTROL),
    _bad("a bare CR in a value", _field(b"X: a\rb"), _CONTROL),
    _bad("NUL in a value", _field(b"X: a\0b"), _CONTROL),
    _bad("NUL in a name", _field(b"X\0: a"), _CONTROL),
    _bad("a bell in a value", _field(b"X: a\x07b"), _CONTROL),
    _bad("DEL in a value", _field(b"X: a\x7fb"), _CONTROL),
    _bad("a vertical tab in a value", _field(b"X: a\x0bb"), _CONTROL),
    _bad("a form feed in a value", _field(b"X: a\x0cb"), _CONTROL),
    _bad("ESC in a value", _field(b"X: a\x1bb"), _CONTROL),
    _bad("101 fields", _OK + b"a: b\r\n" * 100 + _LENGTH + b"\r\nabc", "more than 100 fields"),
    _bad(
        "101 fields of an interim answer",
        b"HTTP/1.1 100 C\r\n" + b"a: b\r\n" * 101 + b"\r\n",
        "100 fields",
    ),
    _bad("a head of more than 32 KiB", _padded(32769), _TOO_LONG),
    _bad("a field that does not end", _OK + b"x: " + b"y" * 33000, _TOO_LONG),
    _bad("a status line that does not end", b"HTTP/1.1 200 " + b"y" * 33000, _TOO_LONG),
)


def _switches(name: str, fields: bytes, **more: Any) -> Case:
    data = _SWITCH + fields + b"\r\n\x81\x00"
    return Case(name, data, State.UPGRADED, 101, upgrade=True, leftover=b"\x81\x00", **more)


_OTHER = "protocol that was not asked for"
_UPGRADES = (
    _switches("101", _PROTOCOL),
    _switches("101 in other cases", b"UPGRADE: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n"),
    Case(
        "101 and nothing behind it",
        _SWITCH + _PROTOCOL + b"\r\n",
        State.UPGRADED,
        101,
        upgrade=True,
    ),
    Case(
        "101 behind 100",
        b"HTTP/1.1 100 C\r\n\r\n" + _SWITCH + _PROTOCOL + b"\r\n\0\r\n",
        State.UPGRADED,
        101,
        upgrade=True,
        leftover=b"\0\r\n",
    ),
    Case(
        "the end of the stream behind 101",
        _SWITCH + _PROTOCOL + b"\r\n",
        State.UPGRADED,
        101,
        upgrade=True,
        ends=True,
    ),
    _bad("101 unasked", _SWITCH + _PROTOCOL + b"\r\n", "without being asked"),
    _bad(
        "101 unasked behind 100",
        b"HTTP/1.1 100 C\r\n\r\n" + _SWITCH + _PROTOCOL + b"\r\n",
        "without being asked",
    ),
    _bad("101 to POST", _SWITCH + _PROTOCOL + b"\r\n", "without being asked", method="POST"),
    _bad(
        "101 to another protocol",
        _SWITCH + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        _OTHER,
        upgrade=True,
    ),
    _bad(
        "101 to two protocols",
        _SWITCH + b"Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n\r\n",
        _OTHER,
        upgrade=True,
    ),
    _bad(
        "101 to a version that was not asked for",
        _SWITCH + b"Upgrade: websocket/13\r\nConnection: Upgrade\r\n\r\n",
        _OTHER,
        upgrade=True,
    ),
    _switches("101 with Upgrade twice", _PROTOCOL + b"Upgrade: websocket\r\n"),
    _bad("101 to HEAD", _SWITCH + _PROTOCOL + b"\r\n", "without being asked", method="HEAD"),
    _bad("101 to CONNECT", _SWITCH + _PROTOCOL + b"\r\n", "without being asked", method="CONNECT"),
    _bad("101 without Upgrade", _SWITCH + b"Connection: Upgrade\r\n\r\n", _OTHER, upgrade=True),
    _bad("101 without Connection", _SWITCH + b"Upgrade: websocket\r\n\r\n", _OTHER, upgrade=True),
    _bad("101 with neither", _SWITCH + b"\r\n", _OTHER, upgrade=True),
    _bad("101 in HTTP/1.0", b"HTTP/1.0 101 S\r\n" + _PROTOCOL + b"\r\n", _OTHER, upgrade=True),
    _bad(
        "101 with a length",
        _SWITCH + _PROTOCOL + b"Content-Length: 0\r\n\r\n",
        "interim",
        upgrade=True,
    ),
    _bad("101 with chunks", _SWITCH + _PROTOCOL + _CHUNKED + b"\r\n", "interim", upgrade=True),
    _good("an upgrade that is answered with 200", _WHOLE, upgrade=True),
    _good("an upgrade that is refused", _status(b"HTTP/1.1 426 Upgrade"), upgrade=True, status=426),
)

_TUNNELS = (
    Case("CONNECT", _OK + b"\r\n", State.UPGRADED, method="CONNECT"),
    Case(
        "CONNECT in HTTP/1.0",
        b"HTTP/1.0 200 Connection established\r\n\r\n",
        State.UPGRADED,
        method="CONNECT",
    ),
    Case(
        "CONNECT, with bytes behind",
        _OK + b"\r\n\x16\x03",
        State.UPGRADED,
        method="CONNECT",
        leftover=b"\x16\x03",
    ),
    Case(
        "CONNECT, and a length that means nothing",
        _OK + _LENGTH + b"\r\nabc",
        State.UPGRADED,
        method="CONNECT",
        leftover=b"abc",
    ),
    Case(
        "CONNECT, and chunks that mean nothing",
        _OK + _CHUNKED + b"\r\n0\r\n",
        State.UPGRADED,
        method="CONNECT",
        leftover=b"0\r\n",
    ),
    Case(
        "CONNECT, and 204",
        b"HTTP/1.1 204 N\r\n\r\nab",
        State.UPGRADED,
        204,
        method="CONNECT",
        leftover=b"ab",
    ),
    _good("CONNECT that is refused", _status(b"HTTP/1.1 407 Who"), method="CONNECT", status=407),
    _open(
        "CONNECT that is refused until the end",
        b"HTTP/1.1 503 No\r\n\r\nno",
        b"no",
        method="CONNECT",
        status=503,
    ),
)

CASES = (
    *_PLAIN,
    *_SOCKETS,
    *_WITHOUT_A_BODY,
    *_LENGTHS,
    *_CODINGS,
    *_CHUNKS,
    *_STREAMS,
    *_INTERIM,
    *_STATUS_LINES,
    *_FIELDS,
    *_UPGRADES,
    *_TUNNELS,
)
