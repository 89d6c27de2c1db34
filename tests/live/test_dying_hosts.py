"""A live state whose actor starts anew behind the connection, which stays."""

from __future__ import annotations

from typing import Any, ClassVar

import anyio
import pytest

from rivet_anyio import Status, live
from rivet_anyio.testing import ActorConnection, ActorServer, virtual_backend

from .test_live import ON, Board, State, modes


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return virtual_backend(request.param)


class Forgetful(Board):
    """Saves nothing by itself. Its answers and confirmations wait until they may leave."""

    state_save_interval = 1e6
    sleep_timeout = None
    may_answer: ClassVar[anyio.Event]
    may_confirm: ClassVar[anyio.Event]
    reads: ClassVar[int]

    async def readLate(self, is_atomic: bool) -> State:
        type(self).reads += 1
        await anyio.sleep(1)
        state = await self.read()
        await self.may_answer.wait()
        return await self.read() if is_atomic else state

    async def can_subscribe(self, connection: ActorConnection, event: str) -> bool:
        await self.may_confirm.wait()
        return True


def are_free(is_free: bool) -> None:
    Forgetful.may_answer, Forgetful.may_confirm = anyio.Event(), anyio.Event()
    if is_free:
        Forgetful.may_answer.set()
        Forgetful.may_confirm.set()


@modes
@pytest.mark.parametrize("first", ["the answer", "the confirmation"])
async def test_a_restart_while_a_snapshot_is_fetched(mode: dict[str, Any], first: str) -> None:
    """The call is delivered again. It is answered inside the open gap, or behind it."""
    are_free(True)
    Forgetful.reads = 0
    history: list[list[str]] = [[]]
    shown: list[list[str]] = []
    async with (
        ActorServer({"board": Forgetful}) as server,
        server.client() as client,
        client.board.get_or_create("k").connect() as conn,
        anyio.create_task_group() as tasks,
    ):
        handle = client.board.get_or_create("k")

        async def post(text: str) -> None:
            await handle.action("post", text, retry_for=60.0)
            history.append(list(server.actor("board", "k", type=Board).posts))

        async def read() -> State:
            state: State = await conn.readLate("versions" not in mode)
            return state

        async def follow() -> None:
            async for one in state:
                shown.append(one["posts"])  # noqa: PERF401

        await post("a")
        await server.actor("board", "k").context.save_state()
        async with live(conn, read, ON, **mode) as state:
            tasks.start_soon(follow)
            await anyio.sleep(5)  # a check sees the first start
            are_free(False)
            Forgetful.may_confirm.set()
            Forgetful.reads = 0
            server.drop_connections()
            while not Forgetful.reads:  # noqa: ASYNC110
                await anyio.sleep(0.1)
            await anyio.sleep(3)
            for text in "bcd":
                await post(text)
            Forgetful.may_confirm = anyio.Event()
            id = conn.connection_id
            changes = conn.status_changes()
            await changes.receive()
            await server.kill_host(unsaved="lost")
            await post("x")
            assert history[-1] == ["a", "x"]
            assert (await changes.receive()).status is Status.CONNECTING
            await post("y")
            await anyio.sleep(2)
            steps = [Forgetful.may_answer, Forgetful.may_confirm]
            for step in steps if first == "the answer" else reversed(steps):
                step.set()
                await anyio.sleep(2)
                await post("y")
                assert shown[-1] in history
            assert conn.connection_id == id and Forgetful.reads >= 2
            await anyio.sleep(5)
            assert state.is_current and state.refreshed == 1 + (first == "the answer")
            assert state.value["posts"] == history[-1] == ["a", "x", *"yyy"]
            assert state._stream is not None
            buffer = state._stream._buffer
            assert buffer.event_count == buffer.byte_count == 0
            tasks.cancel_scope.cancel()
    places = [len(history) - 1 - history[::-1].index(one) for one in shown]
    assert places == sorted(places), (shown, history)
