"""Everything that goes wrong in the model, and a seeded order of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import anyio

from rivet_anyio import ActorError
from rivet_anyio.testing import ActorContext, ActorServer, UserError

__all__ = ["FAULTS", "Weather"]

_CODES = (1000, 1001, 1011, 1012, 1013, 3000, 4999)
_LONG = (60.0, 600.0, 7200.0)
_AWAY = ("outage", "long outage", "restart", "restart empty")


@dataclass
class Weather:
    """Lets faults happen to a server.

    Attributes:
        server: The server.
        chance: Where decisions come from.
        every: Seconds between two faults, on average.
        counts: How often each fault happened.
        is_prompt: Whether bytes have arrived at the moment they were sent, all the time.
        in_order: Whether actions have begun in the order in which they came.
    """

    server: ActorServer
    chance: random.Random
    every: float
    counts: Counter[str]
    is_prompt: bool = True
    in_order: bool = True

    async def blow(self) -> None:
        """For ever, let faults happen; some last, and others may come meanwhile.

        Only when the server is away, nothing else happens: it would be away for most of the time.
        """
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.sleep(self.chance.expovariate(1 / self.every))
                name = self.chance.choice(sorted(FAULTS))
                if name == "long outage" and self.chance.random() > self.every / 900:
                    continue
                self.counts[name] += 1
                if name in _AWAY:
                    await FAULTS[name](self)
                else:
                    tasks.start_soon(FAULTS[name], self)

    def calm(self) -> None:
        """Nothing goes wrong from here on."""
        self.server.network.clear()
        self.server.faults.clear()


Fault = Callable[[Weather], Coroutine[Any, Any, None]]


async def _drop(weather: Weather) -> None:
    weather.server.drop_connections()


async def _drop_one(weather: Weather) -> None:
    if weather.server.connections:
        weather.chance.choice(weather.server.connections).drop()


async def _close(weather: Weather) -> None:
    weather.server.drop_connections(weather.chance.choice(_CODES), "so it is")


async def _disconnect(weather: Weather) -> None:
    for connection in weather.server.connections:
        connection.disconnect()


async def _cut(weather: Weather) -> None:
    weather.server.network.cut()


async def _refuse(weather: Weather) -> None:
    weather.server.network.refuse(weather.chance.randrange(1, 5))
    weather.server.drop_connections()


async def _outage(weather: Weather) -> None:
    with weather.server.network.outage():
        await anyio.sleep(weather.chance.uniform(0.0, 10.0))


async def _long_outage(weather: Weather) -> None:
    with weather.server.network.outage():
        await anyio.sleep(weather.chance.uniform(0.0, weather.chance.choice(_LONG)))


async def _restart(weather: Weather) -> None:
    weather.in_order = False
    await weather.server.restart(downtime=weather.chance.choice((0.0, 0.5, 30.0)))


async def _restart_empty(weather: Weather) -> None:
    weather.in_order = False
    downtime = weather.chance.choice((0.0, 0.5, 30.0))
    await weather.server.restart(downtime=downtime, keep_actors=False)


async def _latency(weather: Weather) -> None:
    weather.is_prompt = False
    weather.server.network.latency = weather.chance.uniform(0.0, 3.0)
    await anyio.sleep(weather.chance.uniform(0.0, 30.0))
    weather.server.network.latency = 0.0


async def _chunks(weather: Weather) -> None:
    weather.server.network.chunk_size = weather.chance.randrange(1, 12)
    await anyio.sleep(weather.chance.uniform(0.0, 30.0))
    weather.server.network.chunk_size = None


async def _stall(weather: Weather) -> None:
    weather.is_prompt = False
    with weather.server.network.stalled():
        await anyio.sleep(weather.chance.uniform(0.0, weather.chance.choice((0.5, 10.0, 100.0))))


async def _lose_reply(weather: Weather) -> None:
    weather.server.faults.lose_reply("append", times=weather.chance.randrange(1, 3))


async def _delay_action(weather: Weather) -> None:
    weather.in_order = False
    seconds = weather.chance.choice((0.01, 3.0, 70.0))
    weather.server.faults.delay_action("append", seconds, times=weather.chance.randrange(1, 4))


async def _fail_action(weather: Weather) -> None:
    weather.server.faults.fail_action("append", UserError(code="not_today"))


async def _overload(weather: Weather) -> None:
    weather.server.faults.refuse_connects(
        weather.chance.randrange(1, 4),
        status=weather.chance.choice((429, 500, 502, 503)),
        retry_after=weather.chance.choice((None, 1, 100)),
    )
    weather.server.drop_connections()


async def _not_ready(weather: Weather) -> None:
    # Up to 2.2, and in a message, an error of the group "guard" is the actor's own refusal.
    error = ActorError("actor", "stopping", "it is not ready")
    weather.server.faults.refuse_connects(weather.chance.randrange(1, 4), error=error)
    weather.server.drop_connections()


async def _ban(weather: Weather) -> None:
    weather.server.faults.refuse_connects(error=UserError(code="banned"))
    weather.server.drop_connections()


async def _malformed_message(weather: Weather) -> None:
    for connection in weather.server.connections:
        connection.send_message(weather.chance.choice((b"?", b"", "{}", b"\xff" * 9)))


async def _malformed_bytes(weather: Weather) -> None:
    for connection in weather.server.connections:
        connection.send_bytes(
            weather.chance.choice((b"\xff\xff\xff", b"\x83\x00", b"\x81\x02\xff\xff"))
        )


async def _destroy(weather: Weather) -> None:
    await _end(weather, lambda context: context.destroy())


async def _sleep(weather: Weather) -> None:
    await _end(weather, lambda context: context.sleep())


async def _end(weather: Weather, how: Callable[[ActorContext], None]) -> None:
    weather.in_order = False
    try:
        how(weather.server.actor("ledger").context)
    except LookupError:
        return
    # 2.2 leaves connections open that lead nowhere, and its clients cannot tell.
    await anyio.sleep(weather.chance.uniform(0.0, 20.0))
    weather.server.network.cut()


FAULTS: dict[str, Fault] = {
    "break all": _drop,
    "break one": _drop_one,
    "close": _close,
    "disconnect": _disconnect,
    "cut": _cut,
    "refuse": _refuse,
    "outage": _outage,
    "long outage": _long_outage,
    "restart": _restart,
    "restart empty": _restart_empty,
    "latency": _latency,
    "chunks": _chunks,
    "stall": _stall,
    "lose reply": _lose_reply,
    "delay action": _delay_action,
    "fail action": _fail_action,
    "overload": _overload,
    "not ready": _not_ready,
    "ban": _ban,
    "malformed message": _malformed_message,
    "malformed bytes": _malformed_bytes,
    "destroy": _destroy,
    "sleep": _sleep,
}
