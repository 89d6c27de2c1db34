"""An exchange that is given some bytes, in some pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rivet_anyio._http.exchange import Exchange, State

__all__ = ["Result", "cuts", "new", "play"]

PROTOCOL = "websocket"
_HOST = {"Host": "server"}
_UPGRADE = {**_HOST, "Connection": "Upgrade", "Upgrade": PROTOCOL}


class Result(NamedTuple):
    """What an exchange came to."""

    state: State
    status: int | None
    reason: str
    version: str
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    reusable: bool
    error: str | None
    leftover: bytes
    length: int | None
    is_until_close: bool


def new(method: str = "GET", *, upgrade: bool = False) -> Exchange:
    """An exchange whose request has left."""
    exchange = Exchange(method, "/", _UPGRADE if upgrade else _HOST, upgrade=upgrade)
    exchange.start()
    return exchange


def play(exchange: Exchange, pieces: Iterable[bytes]) -> Result:
    """What it comes to when it is fed these."""
    body = b""
    for piece in pieces:
        exchange.feed(piece)
        body += exchange.take_body()
    return result(exchange, body)


def result(exchange: Exchange, body: bytes) -> Result:
    head = exchange.head
    return Result(
        exchange.state,
        None if head is None else head.status,
        "" if head is None else head.reason,
        "" if head is None else head.version,
        () if head is None else tuple(head.headers.raw),
        body,
        exchange.reusable,
        # What it shows of bytes is what came of them.
        exchange.error and exchange.error.partition(": b")[0],
        exchange.leftover,
        exchange.body_length,
        exchange.is_until_close,
    )


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The same bytes whole, in two pieces at every place, and one by one.

    Of what is long, not at every place.
    """
    yield [data]
    step = 1 if len(data) < 500 else len(data) // 150
    for at in range(1, len(data), step):
        yield [data[:at], data[at:]]
    if step > 1:
        for at in range(len(data) - 8, len(data)):
            yield [data[:at], data[at:]]
    yield [data[at : at + 1] for at in range(len(data))]
