"""Data frames of all lengths, reserved bits, reserved opcodes, and masks."""

from __future__ import annotations

from rivet_anyio._websocket.framing import Ping, Pong

from .case import Group, Violation, case
from .wire import Sent, binary, close, ping, pong, text

__all__ = ["GROUPS"]

LENGTHS = (0, 1, 2, 124, 125, 126, 127, 128, 254, 255, 256, 257, 65534, 65535, 65536, 65537)
RSV = {4: "RSV1", 2: "RSV2", 1: "RSV3", 6: "RSV1+2", 5: "RSV1+3", 3: "RSV2+3", 7: "RSV1+2+3"}
KEY = b"\x37\xfa\x21\x3d"

GROUPS = (
    Group(
        "text of all lengths",
        "5.2 payload length, 5.6",
        tuple(case(f"text of {n} bytes", text("*" * n), got=["*" * n]) for n in LENGTHS),
    ),
    Group(
        "binary of all lengths",
        "5.2 payload length, 5.6",
        tuple(
            case(f"binary of {n} bytes", binary(b"\xfe" * n), got=[b"\xfe" * n]) for n in LENGTHS
        ),
    ),
    Group(
        "messages after messages",
        "5.6",
        (
            case("text, then text", text("a"), text("b"), got=["a", "b"]),
            case("text, then binary", text("a"), binary(b"b"), got=["a", b"b"]),
            case("binary, then text", binary(b"a"), text("b"), got=[b"a", "b"]),
            case("nothing but empty messages", text(""), binary(b""), text(""), got=["", b"", ""]),
            case(
                "a hundred messages",
                *(text(str(i)) for i in range(100)),
                got=[str(i) for i in range(100)],
            ),
            case(
                "300 messages of one byte",
                *(binary(b"x") for _ in range(300)),
                got=[b"x"] * 300,
            ),
            case("every byte there is", binary(bytes(range(256))), got=[bytes(range(256))]),
            case(
                "a payload that looks like frames",
                binary(close(1000).wire),
                got=[b"\x88\x02\x03\xe8"],
            ),
        ),
    ),
    Group(
        "reserved bits on data",
        "5.2 RSV1, RSV2, RSV3: no extension was negotiated",
        (
            *(
                case(f"{name} on text", Sent(1, b"Hello", rsv=rsv), end=Violation(1002))
                for rsv, name in RSV.items()
            ),
            *(
                case(f"{name} on binary", Sent(2, b"Hello", rsv=rsv), end=Violation(1002))
                for rsv, name in RSV.items()
            ),
            *(
                case(
                    f"{name} on an empty text after a good message",
                    text("good"),
                    Sent(1, rsv=rsv),
                    got=["good"],
                    end=Violation(1002),
                )
                for rsv, name in RSV.items()
            ),
            *(
                case(
                    f"{name} on a continuation",
                    text("a", fin=False),
                    Sent(0, b"b", rsv=rsv),
                    end=Violation(1002),
                )
                for rsv, name in RSV.items()
            ),
        ),
    ),
    Group(
        "reserved bits on control frames",
        "5.2 RSV1, RSV2, RSV3: no extension was negotiated",
        (
            *(
                case(f"{name} on a ping", Sent(9, b"p", rsv=rsv), end=Violation(1002))
                for rsv, name in RSV.items()
            ),
            *(
                case(f"{name} on a pong", Sent(10, b"p", rsv=rsv), end=Violation(1002))
                for rsv, name in RSV.items()
            ),
            *(
                case(f"{name} on a close", Sent(8, b"\x03\xe8", rsv=rsv), end=Violation(1002))
                for rsv, name in RSV.items()
            ),
            case(
                "RSV1 between good messages, with a ping before",
                text("one"),
                ping(b"p"),
                Sent(1, b"two", rsv=4),
                text("three"),
                got=["one", Ping(b"p")],
                end=Violation(1002),
            ),
        ),
    ),
    Group(
        "reserved opcodes",
        "5.2 opcode: %x3-7 and %xB-F are reserved",
        (
            *(
                case(f"opcode {opcode}, empty", Sent(opcode), end=Violation(1002))
                for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
            ),
            *(
                case(f"opcode {opcode} with a payload", Sent(opcode, b"*" * 9), end=Violation(1002))
                for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
            ),
            *(
                case(
                    f"opcode {opcode} between good messages",
                    text("good"),
                    Sent(opcode, b"x"),
                    text("never read"),
                    ping(),
                    got=["good"],
                    end=Violation(1002),
                )
                for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
            ),
            case("opcode 3, fragmented", Sent(3, b"x", fin=False), end=Violation(1002)),
            case("opcode 11, fragmented", Sent(11, b"x", fin=False), end=Violation(1002)),
        ),
    ),
    Group(
        "masks",
        "5.1: a client MUST close a connection if it detects a masked frame",
        (
            case("masked text", Sent(1, b"Hello", mask=KEY), end=Violation(1002)),
            case("masked empty text", Sent(1, mask=KEY), end=Violation(1002)),
            case("masked binary", Sent(2, b"Hello", mask=KEY), end=Violation(1002)),
            case("masked with zeros", Sent(1, b"Hello", mask=b"\0\0\0\0"), end=Violation(1002)),
            case("masked long binary", Sent(2, b"x" * 300, mask=KEY), end=Violation(1002)),
            case("masked ping", Sent(9, b"p", mask=KEY), end=Violation(1002)),
            case("masked pong", Sent(10, b"p", mask=KEY), end=Violation(1002)),
            case("masked close", Sent(8, b"\x03\xe8", mask=KEY), end=Violation(1002)),
            case(
                "masked continuation",
                text("a", fin=False),
                Sent(0, b"b", mask=KEY),
                end=Violation(1002),
            ),
            case(
                "masked text after good frames",
                text("good"),
                pong(b"unasked"),
                Sent(1, b"bad", mask=KEY),
                got=["good", Pong(b"unasked")],
                end=Violation(1002),
            ),
        ),
    ),
)
