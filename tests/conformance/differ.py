"""Our framer against wsproto on random streams, as many as one has time for.

    python -m tests.conformance.differ 100000

Both read the same bytes, ours also cut in other places; both must come to the same frames and the
same end. Where two readers may differ, `agree` says how.
"""

from __future__ import annotations

import sys
from random import Random

from rivet_anyio._websocket.framing import Close, Frame, Framer, FramingError
from rivet_anyio._websocket.rfc6455 import RFC6455Framer

from .framers import frames_of
from .oracle import WsprotoFramer
from .wire import Sent

__all__ = ["differences"]

LIMIT = 300
_TEXTS = ["", "a", "hello", "grüße", "日本語", "🚀" * 10, "x" * 125, "y" * 126, "é" * 70]
_BAD_TEXTS = [b"\xff", b"\xe2\x82", b"\xac", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xc0\xaf"]
_CODES = [1000, 1001, 1003, 1007, 1011, 1012, 1013, 3000, 4999, 999, 1004, 1005, 1006, 1015, 2999]


def stream(random: Random) -> list[Sent]:
    """Frames in an order that is right, most of the time, with few faults."""
    sent: list[Sent] = []
    inside = 0
    for _ in range(random.randint(1, 10)):
        kind = random.random()
        if kind < 0.7:
            opcode = 0 if inside else random.choice((1, 2))
            fin = random.random() < 0.6
            sent.append(Sent(opcode, _payload(random, (opcode or inside) == 1), fin))
            inside = 0 if fin else opcode or inside
        elif kind < 0.88:
            sent.append(Sent(random.choice((9, 10)), random.randbytes(random.randint(0, 125))))
        elif kind < 0.94:
            sent.append(Sent(8, _closing(random)))
        else:
            sent.append(_broken(random))
    return sent


def _payload(random: Random, is_text: bool) -> bytes:
    if not is_text:
        return random.randbytes(random.choice((0, 1, 5, 125, 126, 200, 301)))
    if random.random() < 0.03:
        return random.choice(_BAD_TEXTS)
    encoded = random.choice(_TEXTS).encode()
    # Cut anywhere: within a character, too.
    return encoded if random.random() < 0.8 else encoded[: random.randint(0, len(encoded))]


def _closing(random: Random) -> bytes:
    if random.random() < 0.2:
        return random.choice((b"", b"\x03"))
    reason = random.choice((b"", b"bye", "grüße".encode(), b"\xff", b"x" * 123))
    return random.choice(_CODES).to_bytes(2, "big") + reason


def _broken(random: Random) -> Sent:
    payload = random.randbytes(random.randint(0, 20))
    opcode = random.choice((0, 1, 2, 8, 9, 10))
    return random.choice(
        (
            Sent(opcode, payload, rsv=random.randint(1, 7)),
            Sent(random.choice((3, 4, 7, 11, 15)), payload),
            Sent(opcode, payload, mask=random.randbytes(4)),
            Sent(opcode, payload, width=random.choice((16, 64))),
            Sent(random.choice((8, 9, 10)), b"x" * random.randint(126, 200)),
            Sent(random.choice((8, 9, 10)), payload, fin=False),
            Sent(random.choice((0, 1, 2)), payload),
            Sent(2, b"", length=2**63 + random.randint(0, 9)),
        )
    )


def read(framer: Framer, pieces: list[bytes]) -> tuple[list[Frame], int | None]:
    """The frames, up to the close frame, and the code of a violation."""
    got: list[Frame] = []
    for piece in pieces:
        try:
            got.extend(frames_of(framer, piece))
        except FramingError as error:
            return got, int(error.close_code)
        if got and isinstance(got[-1], Close):
            break
    return got, None


def cut(random: Random, data: bytes) -> list[bytes]:
    """The same bytes in pieces."""
    if random.random() < 0.2:
        return [data]
    longest = random.choice((1, 3, 20, 300))
    pieces, at = [], 0
    while at < len(data):
        size = random.randint(1, longest)
        pieces.append(data[at : at + size])
        at += size
    return pieces


def agree(ours: tuple[list[Frame], int | None], theirs: tuple[list[Frame], int | None]) -> bool:
    """Whether both readers are right."""
    if ours == theirs:
        return True
    if ours[1] == 1009 or theirs[1] == 1009:
        # Ours looks at the length that is announced, and counts bytes; wsproto looks at what
        # came, and counts characters. Up to there they are one.
        return theirs[0][: len(ours[0])] == ours[0] if ours[1] == 1009 else False
    # Of two faults in one stretch of bytes, either may be told.
    return ours[0] == theirs[0] and {ours[1], theirs[1]} == {1002, 1007}


def differences(count: int, seed: int) -> list[tuple[int, bytes, object, object]]:
    """The streams on which they disagree: their seeds, bytes, and what each made of them."""
    found: list[tuple[int, bytes, object, object]] = []
    for number in range(seed, seed + count):
        random = Random(number)
        data = b"".join(sent.wire for sent in stream(random))
        ours = read(RFC6455Framer(LIMIT), cut(random, data))
        theirs = read(WsprotoFramer(LIMIT), [data])
        if not agree(ours, theirs):
            found.append((number, data, ours, theirs))
    return found


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    found = differences(count, seed=0)
    for number, data, ours, theirs in found[:10]:
        print(f"seed {number}: {data!r}\n  ours    {ours}\n  wsproto {theirs}")
    print(f"{count} streams, {len(found)} differences")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
