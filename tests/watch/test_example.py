"""The dashboard of many actors, by what its screen shows: twelve here, 300 by ``--crowd``."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from rich.console import Console
from rich.live import Live

from examples import many_actors
from rivet_anyio.testing import Actor, ActorServer, UserError, virtual_backend
from tests.screen import Screen


class Counter(Actor):
    count = 0
    answer_seconds = 0.0

    async def setCount(self, count: int) -> None:
        self.count = count
        self.context.broadcast("newCount", count)

    async def getCount(self) -> int:
        count = self.count
        await anyio.sleep(self.answer_seconds)
        return count


class Fragile(Counter):
    is_banned = False

    async def on_before_connect(self, connection: object) -> None:
        if self.is_banned:
            raise UserError("it was banned", code="banned")


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


async def test_many_actors(request: pytest.FixtureRequest) -> None:
    number = 300 if request.config.getoption("--crowd") else 12
    screen = Screen()
    console = Console(file=screen, width=100, height=50, force_terminal=True)
    live = Live(auto_refresh=False, console=console)
    async with (
        ActorServer({"counter": Fragile}) as server,
        server.client() as client,
        anyio.create_task_group() as tasks,
    ):
        with server.network.outage():
            tasks.start_soon(many_actors.main, client, number, live)
            await screen.until(f"0 of {number} connected")
            await anyio.sleep(5)
        with anyio.fail_after(120):
            await screen.until(f"{number} of {number} connected")
            # Which it asks for, at the first gap of each.
            await screen.until(" 0 ", " 1 ")

            await client.counter.get(["many", "7"]).setCount(70)
            await screen.until(" 7 ", " 70 ", " 1 ")
            server.drop_connections(actor="counter", key=["many", "7"])
            server.actor("counter", ["many", "7"], type=Counter).count = 71
            await screen.until(" 7 ", " 71 ", " 2 ")

            # An answer that comes after the one to a later question is older.
            slow = server.actor("counter", ["many", "8"], type=Counter)
            slow.answer_seconds = 20
            server.drop_connections(actor="counter", key=["many", "8"])
            await screen.until(" 8 ", " 2 ")
            slow.answer_seconds, slow.count = 0, 72
            server.drop_connections(actor="counter", key=["many", "8"])
            await screen.until(" 8 ", " 72 ", " 3 ")
            await anyio.sleep(25)
            screen.forget()
            await screen.until(" 8 ", " 72 ", " 3 ")

            server.actor("counter", ["many", "9"], type=Fragile).is_banned = True
            server.drop_connections(actor="counter", key=["many", "9"])
            await screen.until(" 9 ", "user.banned")
            await screen.until(f"{number - 1} of {number} connected")
        tasks.cancel_scope.cancel()
