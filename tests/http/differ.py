"""Our readers against h11 on random and mutated answers, as many as one has time for.

    python -m tests.http.differ 1000000

Whatever the reader of plain answers takes, h11 reads in the same way, to the byte behind the
body. Whatever our reader of chunks takes, h11 does, too, with the same body. Both may refuse what
h11 takes. And an exchange comes to the same when the bytes come in two pieces.
"""

from __future__ import annotations

import sys
from random import Random
from typing import NamedTuple

import h11

from rivet_anyio._http.exchange import State
from rivet_anyio._http.plain import read_plain

from .playing import new, play

__all__ = ["Found", "differences"]

_STATUSES = (b"200", b"200", b"404", b"500", b"302", b"204", b"304", b"101", b"100", b"099", b"600")
_REASONS = (b" OK", b" ", b"", b" Not Found", b" Gr\xfcn", b" a  b ", b"\tOK")
_VERSIONS = (b"HTTP/1.1",) * 12 + (b"HTTP/1.0", b"HTTP/1.2", b"http/1.1")
_FIELDS = (
    b"content-type: application/json",
    b"Date: Mon, 23 Nov 2026 20:21:15 GMT",
    b"connection: keep-alive",
    b"Connection: Keep-Alive",
    b"Connection: close",
    b"Connection: keep-alive, close",
    b"connection:keep-alive",
    b"Keep-Alive: timeout=5",
    b"access-control-allow-origin: *",
    b"x-rivet-actor-key: org/a\\/b",
    b"Set-Cookie: a=b; Path=/",
    b"Upgrade: h2c",
    b"x-empty:",
    b"x-empty: ",
    b"x-blanks:   a  b  ",
    b"x-tab: a\tb",
    b"x-latin: \xe4\xff",
    b"x-colon: a: b:c",
    b"x:y",
    b"!#$%&'*+-.^_`|~: token",
    b"transfer-encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"content-lengthy: 3",
    b"x-content-length: 3",
)
_ENDS = (b"\r\n",) * 40 + (b"\n", b"\r", b"\r\r\n", b"\r\n ")
_SPLICES = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b": ", b",", b";", b"\0", b"\x7f",
    b"\x0b", b"\x80", b"0", b"1", b"f", b"-", b"+", b"_", b'"', b"(", b"a", b"A", b"\xb2",
    b"chunked",
    b"content-length: 3\r\n", b"Content-Length: 4\r\n", b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n", b"HTTP/1.1 200 OK\r\n", b"0\r\n\r\n",
)  # fmt: skip


class Found(NamedTuple):
    """Bytes on which two readers disagree.

    Attributes:
        seed: Makes the bytes again.
        data: The bytes.
        ours: What ours made of them.
        other: What the other reader did.
    """

    seed: int
    data: bytes
    ours: object
    other: object


class Read(NamedTuple):
    """What a reader made of an answer, None for a head that it refuses."""

    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    is_complete: bool
    behind: bytes


def plain_answer(random: Random) -> bytes:
    """An answer with nothing odd about it."""
    body = random.randbytes(random.choice((0, 1, 3, 40)))
    length = len(body) + random.choice((0, 0, 0, 1, -1)) if body else 0
    fields = [random.choice(_FIELDS[:4] + _FIELDS[8:12]) for _ in range(random.randint(0, 12))]
    if random.random() < 0.2:
        fields += (b"Connection: Upgrade", b"Upgrade: websocket")
        return b"\r\n".join((b"HTTP/1.1 101 Switching Protocols", *fields, b"", body))
    fields.insert(random.randint(0, len(fields)), b"Content-Length: %d" % length)
    return b"\r\n".join((b"HTTP/1.1 200 OK", *fields, b"", body))


def odd_answer(random: Random) -> bytes:
    """An answer with a length, and some oddities."""
    body = random.choice((b"", b"abc", b"{}", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"))
    length = len(body) if random.random() < 0.8 else random.choice((0, 1, 3, 2**53, 10**16))
    fields = [random.choice(_FIELDS) for _ in range(random.randint(0, 5))]
    shown = b"%d" % length
    if random.random() < 0.1:
        shown = random.choice(
            (b"0%d", b"+%d", b"%d ", b" %d", b"%d,%d", b"", b"-%d", b"%d.0")
        ).replace(b"%d", shown)
    for _ in range(random.choice((1,) * 14 + (0, 2))):
        name = random.choice((b"content-length: ", b"Content-Length: ", b"CONTENT-LENGTH:"))
        fields.insert(random.randint(0, len(fields)), name + shown)
    lines = [random.choice(_VERSIONS) + b" " + random.choice(_STATUSES) + random.choice(_REASONS)]
    data = b"".join(line + random.choice(_ENDS) for line in (*lines, *fields, b""))
    return data + body + random.choice((b"",) * 5 + (b"\r\n", b"x", b"HTTP/1.1 200 OK\r\n\r\n"))


def chunks(random: Random) -> bytes:
    """A body in chunks; right, most of the time."""
    data = b""
    for _ in range(random.randint(0, 4)):
        piece = random.choice((b"a", b"abc", b"\r\n", b"0\r\n\r\n", b"x" * 17))
        size = random.choice((b"%x", b"%X", b"0%x")) % len(piece)
        extension = random.choice(
            (b"",) * 6 + (b";a=b", b" ; a", b';a="\t"', b" ", b"\t", b";\xff")
        )
        data += size + extension + b"\r\n" + piece + b"\r\n"
    trailers = random.choice(
        (b"",) * 4 + (b"a: b\r\n", b"a:b\r\nc:\r\n", b"a : b\r\n", b"a: b\r\n c\r\n")
    )
    return data + b"0\r\n" + trailers + b"\r\n" + random.choice((b"", b"", b"\r\n", b"x"))


def mutated(random: Random, data: bytes) -> bytes:
    """The same with a few bytes changed."""
    for _ in range(random.randint(1, 3)):
        at = random.randint(0, len(data))
        kind = random.randrange(5)
        if kind == 0:
            data = data[:at] + random.choice(_SPLICES) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + random.randint(1, 3) :]
        elif kind == 2:
            data = data[:at] + random.randbytes(1) + data[at + 1 :]
        elif kind == 3:
            data = data[:at] + data[at : at + 20].swapcase() + data[at + 20 :]
        else:
            end = at + random.randint(1, 30)
            data = data[:end] + data[at:]
    return data


def read_by_h11(data: bytes) -> Read | None:
    """By h11 alone, as a client that uses it as its documentation says."""
    connection = h11.Connection(h11.CLIENT)
    asked = [("Host", "server"), ("Upgrade", "any")]
    connection.send(h11.Request(method="GET", target="/", headers=asked))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    try:
        event = connection.next_event()
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            fields = list(event.headers)
            is_complete = connection.next_event() is h11.PAUSED
            behind = connection.trailing_data[0] if is_complete else b""
            return Read(101, event.reason, fields, b"", is_complete, behind)
        if not isinstance(event, h11.Response) or event.http_version != b"1.1":
            return None
        fields = list(event.headers)
        body = b""
        while isinstance(more := connection.next_event(), h11.Data):
            body += more.data
    except h11.RemoteProtocolError:
        return None
    is_complete = isinstance(more, h11.EndOfMessage)
    behind = connection.trailing_data[0] if is_complete else b""
    return Read(event.status_code, event.reason, fields, body, is_complete, behind)


def read_by_plain(data: bytes) -> Read | None:
    """By the reader of plain answers."""
    plain = read_plain(data)
    if plain is None:
        return None
    head, length, begins = plain
    ends = begins + (length or 0)
    return Read(
        head.status,
        head.reason.encode("latin-1"),
        head.headers.raw,
        data[begins:ends],
        ends <= len(data),
        data[ends:],
    )


def differences(count: int, seed: int = 0) -> tuple[list[Found], int]:
    """The answers on which two readers disagree, and how many were plain."""
    found: list[Found] = []
    taken = 0
    for number in range(seed, seed + count):
        random = Random(number)
        kind = random.random()
        data = plain_answer(random) if kind < 0.6 else odd_answer(random)
        if kind > 0.1:
            data = mutated(random, data)
        plain = read_by_plain(data)
        if plain is not None:
            taken += 1
            other = read_by_h11(data)
            if other != plain:
                found.append(Found(number, data, plain, other))
        if number % 4 == 0:
            found.extend(_differences_of_chunks(number, random))
            found.extend(_differences_of_pieces(number, random, data))
    return found, taken


def _differences_of_chunks(seed: int, random: Random) -> list[Found]:
    body = chunks(random)
    if random.random() < 0.5:
        body = mutated(random, body)
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    ours = play(new(), [data])
    if ours.state is State.BROKEN:
        return []
    other = read_by_h11(data)
    is_complete = ours.state is State.DONE
    if (
        other is not None
        and (other.body, other.is_complete) == (ours.body, is_complete)
        and ours.reusable is (is_complete and not other.behind)
    ):
        return []
    return [Found(seed, data, ours, other)]


def _differences_of_pieces(seed: int, random: Random, data: bytes) -> list[Found]:
    at = random.randint(1, max(1, len(data) - 1))
    whole = play(new(), [data, b""])
    pieces = play(new(), [*filter(None, (data[:at], data[at:])), b""])
    return [] if whole == pieces else [Found(seed, data, whole, pieces)]


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    found, taken = differences(count, seed)
    for one in found[:10]:
        print(f"seed {one.seed}: {one.data!r}\n  ours  {one.ours}\n  other {one.other}")
    print(f"{count} answers, {taken} of them plain, {len(found)} differences")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
