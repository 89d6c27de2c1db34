"""Long messages, messages that are too long, and lengths that are not true."""

from __future__ import annotations

from rivet_anyio._websocket.framing import Close, Ping

from .case import CUT, Case, Group, Violation, case
from .wire import Sent, Width, binary, close, more, ping, text

__all__ = ["GROUPS"]

NOT_MINIMAL: tuple[tuple[int, Width], ...] = (
    (0, 16),
    (1, 16),
    (125, 16),
    (0, 64),
    (125, 64),
    (126, 64),
    (65535, 64),
)

KIB = 1024
MIB = 1024 * KIB

LATE = "10.4 wants a limit, and leaves open whether the header or the payload breaks it"


def announced(name: str, *sent: Sent, limit: int = 1000) -> Case:
    """A header that tells of more than is allowed, with little behind it."""
    return case(name, *sent, end=Violation(1009), also=CUT, limit=limit, note=LATE)


def in_pieces(data: bytes, size: int) -> tuple[Sent, ...]:
    """A binary message in fragments of this size."""
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    return (
        binary(pieces[0], fin=False),
        *(more(piece) for piece in pieces[1:-1]),
        more(pieces[-1], fin=True),
    )


GROUPS = (
    Group(
        "long messages",
        "5.2 payload length, 5.4",
        (
            *(
                case(f"text of {n // KIB} KiB", text("ab€" * (n // 5)), got=["ab€" * (n // 5)])
                for n in (64 * KIB, 256 * KIB, MIB, 4 * MIB)
            ),
            *(
                case(f"binary of {n // KIB} KiB", binary(b"\xfe" * n), got=[b"\xfe" * n])
                for n in (64 * KIB, 256 * KIB, MIB, 4 * MIB)
            ),
            *(
                case(
                    f"binary of 256 KiB in fragments of {n}",
                    *in_pieces(b"\xfe" * 256 * KIB, n),
                    got=[b"\xfe" * 256 * KIB],
                )
                for n in (KIB, 4 * KIB, 64 * KIB, 255 * KIB)
            ),
        ),
    ),
    Group(
        "messages of just the allowed length, and one byte more",
        "10.4, 7.4.1: 1009",
        (
            case("text of the limit", text("*" * 100), got=["*" * 100], limit=100),
            case("binary of the limit", binary(b"*" * 100), got=[b"*" * 100], limit=100),
            case("text above the limit", text("*" * 101), end=Violation(1009), limit=100),
            case("binary above the limit", binary(b"*" * 101), end=Violation(1009), limit=100),
            case("text far above the limit", text("*" * 70000), end=Violation(1009), limit=100),
            case(
                "binary of the limit of 65536",
                binary(b"*" * 65536),
                got=[b"*" * 65536],
                limit=65536,
            ),
            case(
                "binary above the limit of 65536",
                binary(b"*" * 65537),
                end=Violation(1009),
                limit=65536,
            ),
            case("one byte where one is allowed", text("a"), got=["a"], limit=1),
            case("two bytes where one is allowed", text("ab"), end=Violation(1009), limit=1),
            case("nothing where one byte is allowed", text(""), got=[""], limit=1),
            case(
                "text of the limit in bytes, beyond ASCII",
                text("€" * 33 + "a"),
                got=["€" * 33 + "a"],
                limit=100,
            ),
            case(
                "text above the limit in bytes, below it in characters",
                text("€" * 34),
                end=Violation(1009),
                limit=100,
            ),
            case(
                "many messages of the limit",
                *(text("*" * 100) for _ in range(20)),
                got=["*" * 100] * 20,
                limit=100,
            ),
            case(
                "fragments of the limit",
                *in_pieces(b"*" * 100, 30),
                got=[b"*" * 100],
                limit=100,
            ),
            case(
                "fragments above the limit",
                *in_pieces(b"*" * 101, 30),
                end=Violation(1009),
                limit=100,
            ),
            case(
                "fragments above the limit, one byte each",
                *in_pieces(b"*" * 101, 1),
                end=Violation(1009),
                limit=100,
            ),
            case(
                "fragments above the limit, a ping between",
                binary(b"*" * 60, fin=False),
                ping(b"p"),
                more(b"*" * 60, fin=True),
                got=[Ping(b"p")],
                end=Violation(1009),
                limit=100,
            ),
            case(
                "fragments above the limit that never end",
                binary(b"*" * 60, fin=False),
                more(b"*" * 60),
                end=Violation(1009),
                limit=100,
            ),
            case(
                "two fragmented messages below the limit",
                *in_pieces(b"*" * 60, 30),
                *in_pieces(b"*" * 60, 30),
                got=[b"*" * 60] * 2,
                limit=100,
            ),
            case(
                "the limit, then above it",
                text("*" * 100),
                text("*" * 101),
                got=["*" * 100],
                end=Violation(1009),
                limit=100,
            ),
            case(
                "a ping longer than a message may be",
                ping(b"*" * 20),
                got=[Ping(b"*" * 20)],
                limit=10,
            ),
            case(
                "a close longer than a message may be",
                close(1000, "*" * 100),
                end=Close(1000, "*" * 100),
                limit=10,
            ),
        ),
    ),
    Group(
        "lengths that are not minimal",
        "5.2: the minimal number of bytes MUST be used",
        (
            *(
                case(
                    f"{n} bytes with {width} bits of length",
                    Sent(2, b"x" * n, width=width),
                    end=Violation(1002),
                    note="a rule for senders, which a reader may hold them to",
                )
                for n, width in NOT_MINIMAL
            ),
            case(
                "close with 16 bits of length",
                Sent(8, b"\x03\xe8", width=16),
                end=Violation(1002),
            ),
        ),
    ),
    Group(
        "lengths that lie",
        "5.2: the most significant bit MUST be 0; 10.4",
        (
            case("a length of 2**63", Sent(2, b"x", length=2**63), end=Violation(1002)),
            case("a length of 2**64 - 1", Sent(2, b"x", length=2**64 - 1), end=Violation(1002)),
            case(
                "a text length of 2**63 + 5",
                Sent(1, b"Hello", length=2**63 + 5),
                end=Violation(1002),
            ),
            case(
                "a continuation length of 2**63",
                text("a", fin=False),
                Sent(0, b"b", length=2**63),
                end=Violation(1002),
            ),
            announced("2**63 - 1 bytes announced, one sent", Sent(2, b"x", length=2**63 - 1)),
            announced("2**62 bytes announced, none sent", Sent(2, length=2**62)),
            announced("4 GiB announced, one sent", Sent(2, b"x", length=2**32)),
            announced("2 GiB of text announced, one sent", Sent(1, b"x", length=2**31)),
            announced("65536 bytes announced, one sent", Sent(1, b"x", length=65536)),
            announced("1001 bytes announced, none sent", Sent(1, length=1001)),
            announced(
                "1000 bytes announced after one byte",
                binary(b"x", fin=False),
                Sent(0, b"x", length=1000),
            ),
            announced(
                "4 GiB announced for a last fragment",
                text("x", fin=False),
                Sent(0, b"x", length=2**32),
            ),
            case("1000 bytes announced, one sent", Sent(1, b"x", length=1000), end=CUT, limit=1000),
            case("16 MiB announced, one sent", Sent(2, b"x", length=16 * MIB), end=CUT),
            case("five bytes announced, three sent", Sent(1, b"abc", length=5), end=CUT),
        ),
    ),
)
