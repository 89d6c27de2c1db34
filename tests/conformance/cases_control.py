"""Pings and pongs."""

from __future__ import annotations

from rivet_anyio._websocket.framing import Ping, Pong

from .case import CUT, Group, Violation, case
from .wire import Sent, binary, ping, pong, text

__all__ = ["GROUPS"]

SIZES = (0, 1, 2, 8, 64, 123, 124, 125)
ODD = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"

GROUPS = (
    Group(
        "pings",
        "5.5.2, 5.5.3: a pong with the same application data",
        (
            *(case(f"ping of {n} bytes", ping(b"*" * n), got=[Ping(b"*" * n)]) for n in SIZES),
            case("ping that is no UTF-8", ping(ODD), got=[Ping(ODD)]),
            case("ping like a close body", ping(b"\x03\xe8"), got=[Ping(b"\x03\xe8")]),
            case(
                "ten pings at once",
                *(ping(b"%d" % i) for i in range(10)),
                got=[Ping(b"%d" % i) for i in range(10)],
                note="5.5.3: only the most recent one needs an answer",
            ),
            case(
                "a hundred pings at once",
                *(ping(b"%d" % i) for i in range(100)),
                got=[Ping(b"%d" % i) for i in range(100)],
                note="5.5.3: only the most recent one needs an answer",
            ),
            case("two pings of one payload", ping(b"p"), ping(b"p"), got=[Ping(b"p"), Ping(b"p")]),
            case(
                "pings between messages",
                text("one"),
                ping(b"1"),
                binary(b"two"),
                ping(b"2"),
                text("three"),
                got=["one", Ping(b"1"), b"two", Ping(b"2"), "three"],
            ),
            case("a ping, then a message", ping(b"p"), text("a"), got=[Ping(b"p"), "a"]),
            case("a message, then a ping", text("a"), ping(b"p"), got=["a", Ping(b"p")]),
        ),
    ),
    Group(
        "pings that are too long, or wrong otherwise",
        "5.5: control frames have at most 125 bytes and are not fragmented",
        (
            case("ping of 126 bytes", ping(b"*" * 126), end=Violation(1002)),
            case("ping of 127 bytes", ping(b"*" * 127), end=Violation(1002)),
            case("ping of 65536 bytes", ping(b"*" * 65536), end=Violation(1002)),
            case(
                "ping, short, with 16 bits of length", Sent(9, b"p", width=16), end=Violation(1002)
            ),
            case(
                "ping, short, with 64 bits of length", Sent(9, b"p", width=64), end=Violation(1002)
            ),
            case(
                "ping that announces 126 bytes and sends none",
                Sent(9, length=126),
                end=Violation(1002),
            ),
            case("ping that is cut", Sent(9, b"12", length=5), end=CUT),
            case(
                "ping of 126 bytes after a good one",
                ping(b"good"),
                ping(b"*" * 126),
                got=[Ping(b"good")],
                end=Violation(1002),
            ),
        ),
    ),
    Group(
        "pongs nobody asked for",
        "5.5.3: a response to an unsolicited pong is not expected",
        (
            *(case(f"pong of {n} bytes", pong(b"*" * n), got=[Pong(b"*" * n)]) for n in SIZES),
            case("pong of 126 bytes", pong(b"*" * 126), end=Violation(1002)),
            case("pong that is cut", Sent(10, length=3), end=CUT),
            case("pong that is no UTF-8", pong(ODD), got=[Pong(ODD)]),
            case(
                "a pong, then a ping",
                pong(b"unasked"),
                ping(b"asked"),
                got=[Pong(b"unasked"), Ping(b"asked")],
            ),
            case(
                "a ping, then a pong",
                ping(b"asked"),
                pong(b"unasked"),
                got=[Ping(b"asked"), Pong(b"unasked")],
            ),
            case(
                "ten pongs around a message",
                *(pong(b"%d" % i) for i in range(5)),
                text("a"),
                *(pong(b"%d" % i) for i in range(5, 10)),
                got=[
                    *(Pong(b"%d" % i) for i in range(5)),
                    "a",
                    *(Pong(b"%d" % i) for i in range(5, 10)),
                ],
            ),
        ),
    ),
)
