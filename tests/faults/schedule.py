"""Every fault there is, and a seeded order of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio

from .proxy import Direction, Proxy
from .toxics import Bandwidth, Latency, LimitData, Slicer, SlowClose, Toxic
from .upgrades import Goodbye, Reply, Silence, UpgradeFault
from .workload import Workload

__all__ = ["FAULTS", "disturb", "disturb_for", "plan"]

Fault = Callable[[Proxy, random.Random], Awaitable[None]]

_PROGRESS_SECONDS = 60.0
_LIMIT_SECONDS = 0.5
_NOTICE_SECONDS = 0.6
"""How long a silent network lasts: longer than the keepalive of a client with little patience."""


def plan(seed: int, count: int) -> list[str]:
    """The names of the faults, all of them equally often."""
    chance = random.Random(seed)
    names: list[str] = []
    while len(names) < count:
        names += chance.sample(sorted(FAULTS), len(FAULTS))
    return names[:count]


async def disturb(proxy: Proxy, workload: Workload, seed: int, count: int) -> None:
    """Let so many faults happen, some of them before the one before has been got over."""
    chance = random.Random(seed)
    for name in plan(seed, count):
        await FAULTS[name](proxy, chance)
        if chance.random() < 0.7:
            with anyio.fail_after(_PROGRESS_SECONDS):
                await workload.progress()
    await _recover(proxy, workload)


async def disturb_for(
    proxy: Proxy,
    workload: Workload,
    seed: int,
    seconds: float,
    every: float,
    counts: Counter[str],
) -> None:
    """For so long, let a fault happen every so many seconds, on average; count them."""
    chance = random.Random(seed)
    end = anyio.current_time() + seconds
    while anyio.current_time() < end:
        await anyio.sleep(min(chance.expovariate(1 / every), end - anyio.current_time()))
        await FAULTS[chance.choice(sorted(FAULTS))](proxy, chance)
        counts["faults"] += 1
    await _recover(proxy, workload)


async def _recover(proxy: Proxy, workload: Workload) -> None:
    proxy.forgive_upgrades()
    with anyio.fail_after(_PROGRESS_SECONDS):
        await workload.progress()
    proxy.bury()


# The network


async def _latency(proxy: Proxy, chance: random.Random) -> None:
    await _poison(proxy, chance, Latency(chance.uniform(0.0, 0.03), chance.uniform(0.0, 0.05)))


async def _bandwidth(proxy: Proxy, chance: random.Random) -> None:
    await _poison(proxy, chance, Bandwidth(chance.randrange(2_000, 20_000)))


async def _slicer(proxy: Proxy, chance: random.Random) -> None:
    await _poison(proxy, chance, Slicer())


async def _slicer_and_latency(proxy: Proxy, chance: random.Random) -> None:
    await _poison(proxy, chance, Slicer(chance.randrange(20, 60)), Latency(0.0, 0.005))


async def _slow_close(proxy: Proxy, chance: random.Random) -> None:
    seconds = chance.uniform(0.02, 0.2)
    with proxy.toxic(SlowClose(seconds)):
        proxy.cut_server_side()
        await anyio.sleep(seconds)


async def _limit_data(proxy: Proxy, chance: random.Random) -> None:
    await _limit(proxy, LimitData(chance.randrange(1, 400)), ("down",))


async def _limit_data_up(proxy: Proxy, chance: random.Random) -> None:
    await _limit(proxy, LimitData(chance.randrange(1, 400)), ("up",))


async def _limit_data_slowly(proxy: Proxy, chance: random.Random) -> None:
    limit = LimitData(chance.randrange(1, 100))
    await _limit(proxy, limit, ("up", "down"), Bandwidth(chance.randrange(2_000, 10_000)))


async def _timeout(proxy: Proxy, chance: random.Random) -> None:
    proxy.stall()
    await anyio.sleep(chance.uniform(0.01, _NOTICE_SECONDS))
    proxy.go_on()


async def _reset_peer(proxy: Proxy, chance: random.Random) -> None:
    proxy.cut(reset=True)


async def _cut(proxy: Proxy, chance: random.Random) -> None:
    proxy.cut()


async def _down(proxy: Proxy, chance: random.Random) -> None:
    proxy.refuse()
    proxy.cut(reset=chance.random() < 0.5)
    await anyio.sleep(chance.uniform(0.01, 0.3))
    proxy.accept()


async def _down_for_new_ones(proxy: Proxy, chance: random.Random) -> None:
    proxy.refuse()
    await anyio.sleep(chance.uniform(0.01, 0.05))
    proxy.accept()


async def _half_close(proxy: Proxy, chance: random.Random) -> None:
    proxy.half_close()


async def _half_open(proxy: Proxy, chance: random.Random) -> None:
    proxy.half_open()


async def _pause(proxy: Proxy, chance: random.Random) -> None:
    proxy.pause_after(chance.randrange(0, 200))
    await anyio.sleep(chance.uniform(0.01, 0.3))
    proxy.resume()


# The handshake


def _at_upgrade(*faults: UpgradeFault) -> Fault:
    async def fault(proxy: Proxy, chance: random.Random) -> None:
        proxy.fail_upgrade(chance.choice(faults))
        proxy.cut()
        await proxy.until(lambda proxy: proxy.waiting_faults == 0)

    return fault


# The WebSocket


def _closing(code: int, *reasons: str) -> Fault:
    async def fault(proxy: Proxy, chance: random.Random) -> None:
        proxy.close_websockets(code, chance.choice(reasons or ("",)))

    return fault


FAULTS: dict[str, Fault] = {
    "latency": _latency,
    "bandwidth": _bandwidth,
    "slicer": _slicer,
    "slicer and latency": _slicer_and_latency,
    "slow_close": _slow_close,
    "limit_data": _limit_data,
    "limit_data up": _limit_data_up,
    "limit_data and bandwidth": _limit_data_slowly,
    "timeout": _timeout,
    "reset_peer": _reset_peer,
    "cut (1006)": _cut,
    "down": _down,
    "down for new ones": _down_for_new_ones,
    "half_close": _half_close,
    "half_open": _half_open,
    "pause": _pause,
    "no Init": _at_upgrade(Silence()),
    "closed before Init": _at_upgrade(Goodbye(1000), Goodbye(1011), Goodbye(1013)),
    "closed at Init": _at_upgrade(*(Goodbye(code, after_frames=1) for code in (1000, 1001, 1012))),
    "503": _at_upgrade(Reply.status(503, "Retry-After: 1"), Reply.status(503)),
    "502": _at_upgrade(Reply.status(502)),
    "504": _at_upgrade(Reply.status(504)),
    "401": _at_upgrade(Reply.status(401)),
    "307": _at_upgrade(Reply.status(307, "Location: http://127.0.0.1:9/elsewhere")),
    "wrong accept key": _at_upgrade(Reply.wrong_accept()),
    "close 1000": _closing(1000),
    "close 1001": _closing(1001),
    "close 1008": _closing(1008, "", "policy"),
    "close 1011": _closing(1011, "", "internal_error", "guard.websocket_service_unavailable#ray"),
    "close 1012": _closing(1012),
    "close 1013": _closing(1013, "", "try again later"),
    "close with a refusal": _closing(1008, "auth.expired", "user.kicked#ray"),
}


async def _poison(proxy: Proxy, chance: random.Random, *toxics: Toxic) -> None:
    on: tuple[Direction, ...] = chance.choice([("up",), ("down",), ("up", "down")])
    with proxy.toxic(*toxics, on=on):
        await anyio.sleep(chance.uniform(0.02, 0.3))


async def _limit(proxy: Proxy, limit: LimitData, on: tuple[Direction, ...], *others: Toxic) -> None:
    with proxy.toxic(*others, limit, on=on):
        try:
            await proxy.until(lambda _: limit.tripped, _LIMIT_SECONDS)
        except TimeoutError:
            pass  # Nobody had so much to say.
