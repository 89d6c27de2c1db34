"""The bound on what waits to be written, in virtual time: every caller is served, in order."""

from __future__ import annotations

import random

import anyio
import pytest

from rivet_anyio._websocket.outbox import HIGH_WATER, Outbox, capacity
from rivet_anyio.testing import run_virtual


class Message:
    """What a caller puts in; it knows whether it left."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        self.left = anyio.Event()

    def take(self) -> bytes:
        return bytes(self.size)

    def take_back(self) -> None:
        raise AssertionError("nobody takes it back")

    def sent(self) -> None:
        self.left.set()

    def fail(self, error: Exception) -> None:
        raise error


class Crowd:
    """Callers that come and are cancelled at any moment, and a socket that is slow."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.outbox = Outbox()
        self.waiting: list[int] = []
        self.served = 0
        self.wakes = anyio.Event()

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as callers:
                tasks.start_soon(self.write)
                for number in range(self.chance.randrange(2, 15)):
                    callers.start_soon(self.call, number)
                    for _ in range(self.chance.choice((0, 0, 1, 3))):
                        await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert self.outbox.is_idle and not self.outbox.must_wait
        assert not self.outbox.items and not self.outbox.waiters
        assert self.outbox._bytes == 0

    async def call(self, number: int) -> None:
        message = Message(number, self.chance.choice((10, HIGH_WATER // 2, HIGH_WATER)))
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as tasks:
            if self.chance.random() < 0.4:
                tasks.start_soon(self.cancel, scope, self.chance.randrange(8))
            with scope:
                if self.chance.random() < 0.3:
                    message.size = 10  # as a subscription, which waits for nothing
                    self.outbox.put(message)
                    self.wakes.set()
                else:
                    await self.put(message)
                try:
                    await message.left.wait()
                except BaseException:
                    self.outbox.discard(message)
                    raise
            tasks.cancel_scope.cancel()

    async def put(self, message: Message) -> None:
        """Wait for capacity, behind everybody who has waited longer."""
        waits = self.outbox.must_wait
        assert waits >= bool(self.waiting), f"{message.number} overtakes {self.waiting}"
        self.waiting.append(message.number)
        try:
            await capacity(self.outbox)
            assert self.waiting[0] == message.number, f"{message.number} overtook {self.waiting}"
        finally:
            self.waiting.remove(message.number)
        self.outbox.put(message)
        sizes = [item.size for item in self.outbox.items]
        assert sum(size for size in sizes if size > 10) < 2 * HIGH_WATER
        self.wakes.set()

    async def cancel(self, scope: anyio.CancelScope, ticks: int) -> None:
        for _ in range(ticks):
            await anyio.lowlevel.checkpoint()
        scope.cancel()

    async def write(self) -> None:
        while True:
            await self.wakes.wait()
            self.wakes = anyio.Event()
            for _ in range(self.chance.choice((0, 1, 5))):
                await anyio.lowlevel.checkpoint()
            while batch := self.outbox.take():
                for item, _ in batch:
                    item.sent()
                    await anyio.lowlevel.checkpoint()


async def crowd(chance: random.Random) -> None:
    """Ten crowds, one after another."""
    for _ in range(10):
        await Crowd(chance).run()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_many_that_are_cancelled_at_any_moment(backend: str) -> None:
    for seed in range(3):
        run_virtual(crowd, random.Random(seed), backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_outbox_that_is_closed_lets_everybody_go_on(backend: str) -> None:
    async def program() -> None:
        outbox = Outbox()
        outbox.put(Message(0, HIGH_WATER))
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(capacity, outbox)
            await anyio.wait_all_tasks_blocked()
            outbox.close()

    run_virtual(program, backend=backend)


def test_what_is_put_first_is_bounded_as_well() -> None:
    outbox = Outbox()
    for number in range(10):
        outbox.put_first(Message(number, HIGH_WATER // 2))
    assert [item.size for item, _ in outbox.take()] == [HIGH_WATER // 2] * 2
    assert len(outbox.items) == 8
