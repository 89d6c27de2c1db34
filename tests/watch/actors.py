"""Actors in memory that send what a test wants, refuse it, or hang."""

from __future__ import annotations

import anyio

from rivet_anyio.testing import Actor, ActorConnection, UserError

__all__ = ["ACTORS", "Guard", "Refusing", "Slow", "Ticker"]


class Ticker(Actor):
    async def emit(self, name: str, *args: object) -> None:
        self.context.broadcast(name, *args)

    async def emit_many(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.context.broadcast("tick", number)

    async def end(self) -> None:
        self.context.destroy()


class Guard(Ticker):
    """Refuses connections without a password."""

    async def on_before_connect(self, connection: ActorConnection) -> None:
        if connection.params != "open":
            raise UserError("no", code="forbidden")


class Refusing(Ticker):
    """Refuses the subscription to one event."""

    async def can_subscribe(self, connection: ActorConnection, event: str) -> bool:
        return event != "secret"


class Slow(Ticker):
    """Takes its time for each handshake, and counts those under way, of all such actors."""

    seconds = 1.0
    now = most = begun = 0

    async def on_before_connect(self, connection: ActorConnection) -> None:
        cls = type(self)
        cls.now += 1
        cls.begun += 1
        cls.most = max(cls.most, cls.now)
        try:
            await anyio.sleep(cls.seconds)
        finally:
            cls.now -= 1


ACTORS = {"ticker": Ticker, "guard": Guard, "refusing": Refusing}
