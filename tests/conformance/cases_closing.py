"""Close frames, and what comes after them."""

from __future__ import annotations

from rivet_anyio._websocket.framing import Close, Ping, Pong

from .case import CUT, Group, Violation, case
from .wire import Sent, binary, close, close_body, more, ping, pong, text

__all__ = ["GROUPS"]

REGISTERED = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014)
OPEN_TO_ALL = (3000, 3001, 3500, 3999, 4000, 4001, 4500, 4998, 4999)
REFUSED = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1050, 1100, 1999, 2000, 2500, 2999)
UNDEFINED = (5000, 5001, 32768, 65535)

GROUPS = (
    Group(
        "bodies of close frames",
        "5.5.1",
        (
            case("close without a body", close_body(b""), end=Close(1005, "")),
            case("close with one byte", close_body(b"\x03"), end=Violation(1002)),
            case("close with a code", close(1000), end=Close(1000, "")),
            case("close with a reason", close(1000, "bye"), end=Close(1000, "bye")),
            case("close with a reason of one byte", close(1000, "b"), end=Close(1000, "b")),
            case(
                "close with a reason beyond ASCII", close(1000, "aä€💻"), end=Close(1000, "aä€💻")
            ),
            case(
                "close with a reason of 122 bytes",
                close(1000, "*" * 122),
                end=Close(1000, "*" * 122),
            ),
            case(
                "close with a reason of 123 bytes",
                close(1000, "*" * 123),
                end=Close(1000, "*" * 123),
            ),
            case(
                "close with a reason of 123 bytes in 41 characters",
                close(1000, "€" * 41),
                end=Close(1000, "€" * 41),
            ),
            case("close with a reason of 124 bytes", close(1000, "*" * 124), end=Violation(1002)),
            case(
                "close with a reason of 65536 bytes", close(1000, "*" * 65536), end=Violation(1002)
            ),
            case("close with a NUL in its reason", close(1000, "a\0b"), end=Close(1000, "a\0b")),
            case("close that is cut in the code", Sent(8, b"\x03", length=2), end=CUT),
            case("close that is cut in the reason", Sent(8, b"\x03\xe8by", length=5), end=CUT),
            case("close that is cut in the header", Sent(8, length=2), end=CUT),
        ),
    ),
    Group(
        "codes that are defined",
        "7.4.1, 7.4.2; 1012 to 1014 by the IANA registry that 11.7 opens",
        (
            *(
                case(f"close with {code}", close(code, "why"), end=Close(code, "why"))
                for code in (*REGISTERED, *OPEN_TO_ALL)
            ),
        ),
    ),
    Group(
        "codes that are not",
        "7.4.1: 1004, 1005, 1006 and 1015 MUST NOT be sent; 7.4.2: the rest is reserved",
        (
            *(case(f"close with {code}", close(code), end=Violation(1002)) for code in REFUSED),
            *(
                case(
                    f"close with {code} and a reason",
                    text("before"),
                    close(code, "why"),
                    got=["before"],
                    end=Violation(1002),
                )
                for code in (0, 1005, 1006, 1015, 2999)
            ),
            *(
                case(
                    f"close with {code}",
                    close(code),
                    end=Violation(1002),
                    also=Close(code, ""),
                    note="7.4.2 says nothing of codes from 5000 on",
                )
                for code in UNDEFINED
            ),
        ),
    ),
    Group(
        "reasons that are no UTF-8",
        "5.5.1, 8.1",
        (
            *(
                case(
                    f"close reason, no UTF-8: {name}",
                    close_body(b"\x03\xe8" + reason),
                    end=Violation(1007),
                )
                for name, reason in {
                    "FF FE": b"\xff\xfe",
                    "a surrogate": b"\xed\xa0\x80",
                    "overlong": b"\xc0\xaf",
                    "U+110000": b"\xf4\x90\x80\x80",
                    "cut inside a character": b"a\xe2\x82",
                    "after good text": "aä€".encode() + b"\x80",
                }.items()
            ),
        ),
    ),
    Group(
        "frames after a close frame",
        "5.5.1: nothing that comes after it is read; 1.4",
        (
            case("text after close", close(1000), text("late"), end=Close(1000, "")),
            case("binary after close", close(1000), binary(b"late"), end=Close(1000, "")),
            case("ping after close", close(1000), ping(b"late"), end=Close(1000, "")),
            case("pong after close", close(1000), pong(b"late"), end=Close(1000, "")),
            case("close after close", close(1000, "a"), close(1001, "b"), end=Close(1000, "a")),
            case("broken frame after close", close(1000), Sent(3, rsv=7), end=Close(1000, "")),
            case("no UTF-8 after close", close(1001), text(b"\xff"), end=Close(1001, "")),
            case(
                "much after close",
                close(3000, "x"),
                *(text("late") for _ in range(50)),
                binary(b"x" * 70000),
                end=Close(3000, "x"),
            ),
            case("a fragment after close", close(1000), more("x"), end=Close(1000, "")),
            case(
                "half a frame after close",
                close(1000),
                Sent(1, b"a", length=9),
                end=Close(1000, ""),
            ),
        ),
    ),
    Group(
        "frames before a close frame",
        "5.5.1, 7.1.4",
        (
            case("text, then close", text("a"), close(1000), got=["a"], end=Close(1000, "")),
            case(
                "ping, then close", ping(b"p"), close(1000), got=[Ping(b"p")], end=Close(1000, "")
            ),
            case(
                "pong, then close", pong(b"p"), close(1000), got=[Pong(b"p")], end=Close(1000, "")
            ),
            case(
                "a hundred messages, then close",
                *(text(str(i)) for i in range(100)),
                close(4000, "done"),
                got=[str(i) for i in range(100)],
                end=Close(4000, "done"),
            ),
            case(
                "close inside a fragmented text",
                text("a", fin=False),
                more("b"),
                close(1001, "away"),
                end=Close(1001, "away"),
            ),
            case(
                "close inside a fragmented binary, without a code",
                binary(b"a", fin=False),
                close_body(b""),
                end=Close(1005, ""),
            ),
            case(
                "close inside a character",
                text(b"\xe2\x82", fin=False),
                close(1000),
                end=Close(1000, ""),
            ),
            case(
                "a refused close after a good message and a ping",
                text("a"),
                ping(b"p"),
                close(1006),
                got=["a", Ping(b"p")],
                end=Violation(1002),
            ),
        ),
    ),
)
