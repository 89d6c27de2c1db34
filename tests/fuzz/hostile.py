"""Inputs that were written to do harm, by the name of the target that gets them.

None may do any: no exception but those that are meant, and no more memory than their length
allows.
"""

from __future__ import annotations

from typing import Any

from rivet_anyio.protocol.bare import data as with_length
from rivet_anyio.protocol.values import dump_cbor

__all__ = ["HOSTILE"]

_MANY = 100_000
_DEEP = 5_000
"""In CBOR: more than may be nested; tests/protocol/bombs.py goes deeper."""

_ARRAY, _MAP, _BYTES, _TEXT = b"\x9b", b"\xbb", b"\x5b", b"\x7b"
_INTEGER = b"\xc2\x59\x10\x00" + b"\xff" * 4096
"""A bignum of more digits than Python is willing to write."""


def _announced(head: bytes, count: int) -> bytes:
    """A CBOR head that tells of this many items or bytes, none of which follow."""
    return head + count.to_bytes(8, "big")


def _message(tag: Any, **fields: Any) -> bytes:
    return dump_cbor({"body": {"tag": tag, "val": fields}})


def _output(item: bytes) -> bytes:
    """An action's output of this CBOR item, in cbor encoding."""
    return b"\xa1foutput" + item


def _with_integer(data: bytes) -> bytes:
    """An integer beyond all bounds in the place of the text `Y`."""
    assert data.count(b"aY") == 1
    return data.replace(b"aY", _INTEGER)


_ITEMS = {
    **{
        f"{name} of {count}": _announced(head, count)
        for name, head in (("array", _ARRAY), ("map", _MAP), ("bytes", _BYTES), ("text", _TEXT))
        for count in (2**24, 2**32, 2**62, 2**64 - 1)
    },
    "set of 2**32": b"\xd9\x01\x02" + _announced(_ARRAY, 2**32),
    "typed array of 2**32": b"\xd8\x56" + _announced(_BYTES, 2**32),
    "arrays of 2**24 in each other": _announced(_ARRAY, 2**24) * 100,
    "deep arrays": b"\x81" * _DEEP + b"\0",
    "deep arrays without end": b"\x9f" * _DEEP,
    "deep maps": b"\xa1\0" * _DEEP + b"\0",
    "deep keys": b"\xa1" * 119 + b"\0" * 120,
    "deep tags": b"\xc6" * _DEEP + b"\0",
    "deep maps with tags": b"\xd9\x01\x03" * _DEEP + b"\0",
    "deep sets": b"\xd9\x01\x02\x81" * _DEEP + b"\0",
    "deep markers": b"\x82d$Set\x81" * 100 + b"\0",
    "bignum": _INTEGER,
    "negative bignum": b"\xc3" + _INTEGER[1:],
    "bignum of a mebibyte": b"\xc2\x5a\x00\x10\x00\x00" + b"\xff" * (1 << 20),
    "bignum of text": b"\xc2\x61a",
    "bignum as a key": b"\xa1" + _INTEGER + b"\x01",
    "BigInt of a bignum": b"\x82g$BigInt" + _INTEGER,
    "BigInt of 5000 digits": b"\x82g$BigInt\x79\x13\x88" + b"9" * 5000,
    "bytes of a bignum": b"\x82k$Uint8Array" + _INTEGER,
    "bytes of an array with a bignum": b"\x82k$Uint8Array\x81" + _INTEGER,
    "set of what has no hash": b"\xd9\x01\x02\x82\x80\xa0",
    "set marker of what has no hash": b"\x82d$Set\x83\x80\xa0\xd9\x01\x02\x80",
    "date of a bignum": b"\xc1" + _INTEGER,
    "date of infinity": b"\xc1\xf9\x7c\x00",
    "date of the largest float": b"\xc1\xfb\x7f\xef" + b"\xff" * 6,
    "date of text": b"\xc1\x61a",
    "text date of the year 10**7": b"\xc0\x7410000000-01-01T00:00Z",
    "decimal with a large exponent": b"\xc4\x82\x1b\x7f" + b"\xff" * 7 + b"\x01",
    "bigfloat with a large exponent": b"\xc5\x82\x1b\x7f" + b"\xff" * 7 + b"\x01",
    "rational by zero": b"\xd8\x1e\x82\x01\x00",
    "regular expression": b"\xd8\x23\x67(a+)+$b",
    "value that contains itself": b"\xd8\x1c\x81\xd8\x1d\x00",
    "shared values in shared values": b"\xd8\x1c\x82\xd8\x1d\x00" * 50 + b"\x00\x00",
    "string references": b"\xd9\x01\x00\x9f\x58\xff" + b"x" * 255 + b"\xd8\x19\x00" * 999 + b"\xff",
    "the largest tag": b"\xdb" + b"\xff" * 8 + b"\x01",
    "a break alone": b"\xff",
    "a break as a key": b"\xa1\xff\x01",
    "text in pieces that are bytes": b"\x7f\x41a\xff",
    "text with a surrogate": b"\x63\xed\xa0\x80",
    "typed array, cut": b"\xd8\x45\x43abc",
    "typed array of an integer": b"\xd8\x45\x01",
}  # fmt: skip

_CBOR = (
    *(_output(item) for item in _ITEMS.values()),
    *(b"\xa1dbody" + item for item in _ITEMS.values()),
    *(b"\xa2fstatus\x61shresponse" + item for item in _ITEMS.values()),
    _with_integer(_message("Y")),
    _with_integer(_message("Init", actorId="Y", connectionId="c")),
    _with_integer(_message("Event", name="Y", args=[])),
    _with_integer(_message("Event", name="n", args="Y")),
    _with_integer(_message("ActionResponse", id="Y", output=1)),
    _with_integer(_message("ActionResponse", id=["$BigInt", "Y"], output=1)),
    _with_integer(_message("Error", group="g", code="c", message="m", actionId="Y")),
    _with_integer(_message("Error", group="g", code="c", message="m", actor={"actorId": "Y"})),
    _with_integer(dump_cbor({"group": "Y", "code": "c", "message": "m"})),
)

_BARE = (
    *(b"\x02\x00" + with_length(item) for item in _ITEMS.values()),
    *(b"\x04\x00\x02\x00" + with_length(item) for item in _ITEMS.values()),
    b"\x04\x00\x02\x00" + b"\xff" * 9 + b"\x01",
    b"\x04\x00\x02\x00" + b"\xff" * 9 + b"\x02",
    b"\x04\x00\x02\x00" + b"\x80" * 1000,
    b"\x04\x00\x03\xff\xff\xff\xff\x0fname",
    b"\x04\x00\x01\x00\x00\x00\x02",
    b"\x04\x00\x01\x00\x00\x00\x00\x01" + b"\xff" * 9 + b"\x01",
)

_JSON = (
    *(
        b'{"output":%b}' % value
        for value in (
            b"[" * _MANY,
            b"[" * _MANY + b"]" * _MANY,
            b'{"a":' * _MANY + b"1" + b"}" * _MANY,
            b"[" * 900 + b"]" * 900,
            b"[" * 119 + b"]" * 119,
            b'["$Set",[' * 60 + b"]]" * 60,
            b'["$$x",' * 200 + b"1" + b"]" * 200,
            b"9" * 4000,
            b"9" * 5000,
            b"1e400",
            b"1e-400",
            b"-0",
            b"NaN",
            b'["$BigInt","' + b"9" * 5000 + b'"]',
            b'["$BigInt",' + b"9" * 4000 + b"]",
            b'["$BigInt","' + "\u0663".encode() + b'"]',
            b'["$Uint8Array","' + b"A" * 5001 + b'"]',
            b'["$Uint8Array","\xc3\xbc"]',
            b'["$Set",[[],{},[{}],null]]',
            b'"\\ud800"',
            b'"\xed\xa0\x80"',
        )
    ),
    b'{"body":{"tag":' + b"9" * 4000 + b',"val":{}}}',
    b'{"body":{"tag":' + b"[" * 900 + b"]" * 900 + b',"val":{}}}',
    b'{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","' + b"9" * 5000 + b'"]}}}',
    b'{"body":{"tag":"ActionResponse","val":{"id":' + b"9" * 4000 + b"}}}",
    b'{"body":{"tag":"Error","val":{"group":"g","code":"c","message":"m","actionId":-1}}}',
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
)

_MANAGEMENT = (
    *(
        b'{"actor":{"actor_id":"a","name":"n","create_ts":%b}}' % number
        for number in (
            b"9223372036854775807",
            b"-9223372036854775808",
            b"253402300800000",
            b"-62135596800001",
            b"1e15",
            b"1e300",
            b"9" * 4000,
        )
    ),
    b'{"actors":[{"actor_id":"a","name":"n","sleep_ts":9223372036854775807}]}',
    b'{"actor":{"actor_id":"a","name":"n","key":"' + b"\\\\" * 2000 + b'"}}',
    b'{"actor":{"actor_id":"a","name":"n","error":' + b"[" * _MANY + b"}}",
    b'{"version":"' + b"9" * 5000 + b'.1"}',
    b'{"version":"1.' + b"9" * 5000 + b'"}',
    '{"version":"\u0662.\u0663"}'.encode(),
    b"[" * _MANY,
)

_NEXT = b"\xff\xff\n"
_OK = b"\x00\n\n"
_ACTOR = b"\x00\n\n" + b'{"actor":{"actor_id":"a","name":"n"}}' + _NEXT

_CLIENT = (
    *(
        _OK + b'{"runtime":"rivetkit","version":"2.3.19","clientEndpoint":"%b"}' % url
        for url in (
            b"http://[::1",
            b"http://a]b/",
            b"http://a:99999",
            b"http:",
            b"http://",
            b"http://a b",
            b"http://\xc3\xbc..x",
            b"http://" + b"x" * 70_000,
            b"http://user:password@h",
            b"http://a?x",
            b"http://a#x",
            b"//a",
            b"\\u0000",
            b"http://a\\n/",
            "http://a\u2028".encode(),
        )
    ),
    *(
        _OK + b'{"clientEndpoint":"http://a","clientToken":"%b"}' % text
        for text in (b"\xc3\xbc", b"a\\r\\nb: c", b"\\u0000", b" ", b"\\ud800", b"x" * 70_000)
    ),
    _OK + b'{"clientEndpoint":"http://a","clientNamespace":"\\u0000"}',
    *(
        _OK + b"{}" + _NEXT + b'\x00\n\n{"actor":{"actor_id":"%b","name":"n"}}' % id + padding
        for id in (b"", b"..", b"\xc3\xbc", b"a\\r\\nb: c", b"\\u0000", b"x" * 70_000)
        for padding in (b"", b" ")
    ),
    *(
        _OK + b"{}" + _NEXT + _ACTOR + answer
        for answer in (
            b"\x00content-encoding:gzip\n\nxx",
            b"\x00content-encoding:br\n\nxx",
            b"\x00content-encoding:deflate\n\nxx",
            b"\x00content-encoding:zstd\n\nxx",
            b"\x00content-encoding:\xff\n\nxx",
            b"\x01content-length:99999\n\nxx",
            b"\x01content-length:x\ncontent-type:a\n\nxx",
            b"\x01content-length:" + b"9" * 5000 + b"\ncontent-type:a\n\nxx",
            b"\x01content-length:-1\ncontent-type:a\n\nxx",
            b"\x00content-type:text/html; charset=none\n\nxx",
        )
    ),
)  # fmt: skip

_CBOR_ERROR = b"\x01\n\n\xa4egroup\x61gdcode\x61cgmessage\x61mhmetadata"
_HTTP_ERRORS = (
    b"\x01\n\n" + _with_integer(dump_cbor({"group": "Y", "code": "c", "message": "m"})),
    *(_CBOR_ERROR + item for item in _ITEMS.values()),
    b"\x01x-rivet-error:a.b\n\n" + b"\xff" * 300,
    b"\x01x-rivet-error:.\n\n" + b"\xff" * 300,
    b"\x01x-rivet-error:\xff.\xff\n\n" + b"\xff" * 300,
    *(
        b"\x01x-rivet-actor:a\nx-rivet-actor-generation:%b\n\n" % generation
        + b'{"group":"g","code":"c","message":"m"}'
        for generation in (b"\xb2", b"9" * 5000, b"-1", b" 1", b"1e3")
    ),
    b'\x01\n\n{"group":"","code":"","message":""}',
    b'\x01\n\n{"group":"guard","code":"actor_stopped_while_waiting","message":"","metadata":[1]}',
)  # fmt: skip

_CLOSE_REASONS = (
    b"\x03\xf3" + b"." * 123,
    b"\x03\xf3a.b#" + b"#" * 100,
    b"\x03\xf3_._",
    b"\x03\xf3" + "\u0661.\u0662".encode(),
    b"\x03\xf3a.\x00b",
)

HOSTILE: dict[str, tuple[bytes, ...]] = {
    "bare": _BARE,
    "cbor": _CBOR,
    "json": _JSON,
    "management": _MANAGEMENT,
    "client": _CLIENT,
    "http_errors": _HTTP_ERRORS,
    "close_reasons": _CLOSE_REASONS,
}
