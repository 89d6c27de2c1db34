"""Messages in fragments, and control frames between them."""

from __future__ import annotations

from rivet_anyio._websocket.framing import Close, Ping, Pong

from .case import CUT, Group, Violation, case
from .wire import Sent, binary, close, more, ping, pong, text

__all__ = ["GROUPS"]

GROUPS = (
    Group(
        "fragmented messages",
        "5.4",
        (
            case("text in two", text("a", fin=False), more("b", fin=True), got=["ab"]),
            case("binary in two", binary(b"a", fin=False), more(b"b", fin=True), got=[b"ab"]),
            case(
                "text in three", text("a", fin=False), more("b"), more("c", fin=True), got=["abc"]
            ),
            case(
                "binary in three",
                binary(b"a", fin=False),
                more(b"b"),
                more(b"c", fin=True),
                got=[b"abc"],
            ),
            case(
                "text in 300",
                text("x", fin=False),
                *(more("x") for _ in range(298)),
                more("x", fin=True),
                got=["x" * 300],
            ),
            case(
                "binary in 300 unequal ones",
                binary(b"", fin=False),
                *(more(b"%d" % i) for i in range(298)),
                more(b"", fin=True),
                got=[b"".join(b"%d" % i for i in range(298))],
            ),
            case("empty text in two", text("", fin=False), more("", fin=True), got=[""]),
            case("empty binary in two", binary(b"", fin=False), more(b"", fin=True), got=[b""]),
            case(
                "empty text in three", text("", fin=False), more(""), more("", fin=True), got=[""]
            ),
            case(
                "text, the first fragment empty",
                text("", fin=False),
                more("a"),
                more("b", fin=True),
                got=["ab"],
            ),
            case(
                "text, the middle fragment empty",
                text("a", fin=False),
                more(""),
                more("b", fin=True),
                got=["ab"],
            ),
            case(
                "text, the last fragment empty",
                text("a", fin=False),
                more("b"),
                more("", fin=True),
                got=["ab"],
            ),
            case(
                "nothing but the middle fragment",
                text("", fin=False),
                more("middle"),
                more("", fin=True),
                got=["middle"],
            ),
            case(
                "300 empty fragments",
                text("a", fin=False),
                *(more("") for _ in range(300)),
                more("b", fin=True),
                got=["ab"],
            ),
            case(
                "two fragmented messages",
                text("a", fin=False),
                more("b", fin=True),
                binary(b"c", fin=False),
                more(b"d", fin=True),
                got=["ab", b"cd"],
            ),
            case(
                "fragmented between whole ones",
                text("one"),
                text("t", fin=False),
                more("wo", fin=True),
                binary(b"three"),
                got=["one", "two", b"three"],
            ),
            case(
                "fragments with lengths of 126 and 65536",
                binary(b"a" * 126, fin=False),
                more(b"b" * 65536),
                more(b"c" * 125, fin=True),
                got=[b"a" * 126 + b"b" * 65536 + b"c" * 125],
            ),
            case("text that is never finished", text("a", fin=False), more("b"), end=CUT),
            case("binary that is never finished", binary(b"a", fin=False), end=CUT),
        ),
    ),
    Group(
        "control frames between fragments",
        "5.4: control frames MAY be injected in the middle of a fragmented message",
        (
            case(
                "ping between text fragments",
                text("a", fin=False),
                ping(b"p"),
                more("b", fin=True),
                got=[Ping(b"p"), "ab"],
            ),
            case(
                "ping between binary fragments",
                binary(b"a", fin=False),
                ping(b"p"),
                more(b"b", fin=True),
                got=[Ping(b"p"), b"ab"],
            ),
            case(
                "pong between fragments",
                text("a", fin=False),
                pong(b"p"),
                more("b", fin=True),
                got=[Pong(b"p"), "ab"],
            ),
            case(
                "pings between all fragments",
                text("a", fin=False),
                ping(b"1"),
                more("b"),
                ping(b"2"),
                more("c"),
                ping(b"3"),
                more("d", fin=True),
                ping(b"4"),
                got=[Ping(b"1"), Ping(b"2"), Ping(b"3"), "abcd", Ping(b"4")],
            ),
            case(
                "empty ping between empty fragments",
                text("", fin=False),
                ping(),
                more("", fin=True),
                got=[Ping(b""), ""],
            ),
            case(
                "ping inside a character",
                text(b"\xe2\x82", fin=False),
                ping(b"\xff"),
                more(b"\xac", fin=True),
                got=[Ping(b"\xff"), "€"],
            ),
            case(
                "ping of 126 bytes between fragments",
                text("a", fin=False),
                ping(b"*" * 126),
                more("b", fin=True),
                end=Violation(1002),
            ),
            case(
                "ping between fragments that never end",
                text("a", fin=False),
                ping(b"p"),
                got=[Ping(b"p")],
                end=CUT,
            ),
            case(
                "close between fragments",
                text("a", fin=False),
                close(1000, "enough"),
                more("b", fin=True),
                end=Close(1000, "enough"),
            ),
        ),
    ),
    Group(
        "fragmented control frames",
        "5.5: control frames MUST NOT be fragmented",
        (
            case("ping in two", Sent(9, b"a", False), more("b", fin=True), end=Violation(1002)),
            case("pong in two", Sent(10, b"a", False), more("b", fin=True), end=Violation(1002)),
            case(
                "close in two",
                Sent(8, b"\x03", False),
                more(b"\xe8", fin=True),
                end=Violation(1002),
            ),
            case("empty ping without FIN", Sent(9, fin=False), end=Violation(1002)),
            case("empty pong without FIN", Sent(10, fin=False), end=Violation(1002)),
            case("empty close without FIN", Sent(8, fin=False), end=Violation(1002)),
            case(
                "ping in two inside a message",
                text("a", fin=False),
                Sent(9, b"p", False),
                end=Violation(1002),
            ),
            case(
                "ping without FIN after a good message",
                text("a"),
                Sent(9, b"p", False),
                got=["a"],
                end=Violation(1002),
            ),
        ),
    ),
    Group(
        "continuations that continue nothing",
        "5.4",
        (
            case("last continuation first", more("a", fin=True), end=Violation(1002)),
            case("continuation first", more("a"), end=Violation(1002)),
            case("empty last continuation first", more("", fin=True), end=Violation(1002)),
            case("empty continuation first", more(""), end=Violation(1002)),
            case(
                "continuation after a whole message",
                text("a"),
                more("b", fin=True),
                got=["a"],
                end=Violation(1002),
            ),
            case(
                "continuation after a fragmented message",
                text("a", fin=False),
                more("b", fin=True),
                more("c", fin=True),
                got=["ab"],
                end=Violation(1002),
            ),
            case(
                "continuation after a ping",
                ping(b"p"),
                more("a"),
                got=[Ping(b"p")],
                end=Violation(1002),
            ),
            case(
                "continuations first, then a good message",
                more("a"),
                more("b", fin=True),
                text("c"),
                end=Violation(1002),
            ),
        ),
    ),
    Group(
        "messages that begin inside messages",
        "5.4: fragments of one message MUST NOT be interleaved with another's",
        (
            case("text inside text", text("a", fin=False), text("b"), end=Violation(1002)),
            case("binary inside text", text("a", fin=False), binary(b"b"), end=Violation(1002)),
            case("text inside binary", binary(b"a", fin=False), text("b"), end=Violation(1002)),
            case(
                "binary inside binary", binary(b"a", fin=False), binary(b"b"), end=Violation(1002)
            ),
            case(
                "first fragment inside text",
                text("a", fin=False),
                text("b", fin=False),
                end=Violation(1002),
            ),
            case(
                "text after two fragments",
                text("a", fin=False),
                more("b"),
                text("c"),
                end=Violation(1002),
            ),
            case(
                "empty text inside an empty fragment",
                text("", fin=False),
                text(""),
                end=Violation(1002),
            ),
            case(
                "text inside text, a ping between",
                text("a", fin=False),
                ping(b"p"),
                text("b"),
                got=[Ping(b"p")],
                end=Violation(1002),
            ),
        ),
    ),
)
