# mypy: disable-error-code="empty-body"
"""Ordinary mistakes: each is refused in the user's own call, in a sentence that says what to do."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from rivet_anyio import Event, Queue, Retry, TypedActor, action, live, watch
from rivet_anyio.testing import (
    Actor,
    ActorServer,
    assert_deterministic,
    collect,
    explore,
    record,
    replay,
    run_virtual,
    simulate,
)


class Counter(Actor):
    async def get(self) -> int:
        return 0

    async def echo(self, value: Any) -> Any:
        return value


class TypedCounter(TypedActor, name="counter"):
    async def read(self, by: int = 1) -> int: ...


async def test_calls() -> None:
    async with (
        ActorServer({"counter": Counter}) as server,
        server.client() as client,
        client.counter.get_or_create("a").connect() as conn,
    ):
        handle = client.counter.get_or_create("a")
        cls: Any = TypedCounter
        for actor in (handle, conn):
            with pytest.raises(TypeError, match="stream is an EventStream"):
                await collect(actor, 1)
        with pytest.raises(TypeError, match=r"Typed.*on the class: client.get_or_create\(Typed"):
            await cls.read(5)
        with pytest.raises(TypeError, match=r"type='int': .*; give a type, such as int"):
            await handle.action("get", type="int")
        with pytest.raises(TypeError, match=r"float nan: send None$"):
            handle.connect(params=float("nan"))  # whatever the encoding
        forgotten = handle.get()
        with pytest.raises(TypeError, match="await it, and send what it returns"):
            await handle.echo([forgotten])
        assert inspect.iscoroutine(forgotten)
        forgotten.close()


@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy])
async def test_a_copy(copied: Callable[[Any], object]) -> None:
    async with ActorServer({"counter": Counter}) as server, server.client() as client:
        handle = client.counter.get_or_create("a")
        typed = client.get_or_create(TypedCounter, "a")
        async with handle.connect() as conn:
            for one in (client, client.counter, handle, conn, typed):
                with pytest.raises(TypeError, match="make a Client where it is used"):
                    copied(one)


async def test_a_shallow_copy_is_the_same_way_to_the_actor() -> None:
    async with ActorServer({"counter": Counter}) as server, server.client() as client:
        handle = copy.copy(client.counter.get_or_create("a"))
        assert await handle.echo(1) == 1
        async with handle.connect() as conn:
            assert await copy.copy(conn).echo(2) == 2


@pytest.mark.parametrize("block", ["connection", "feed", "websocket", "live"])
async def test_a_block_that_another_task_leaves(block: str, anyio_backend_name: str) -> None:
    """On Trio it stays open until its own task leaves it; on asyncio that one may have ended."""
    async with (
        ActorServer({"counter": Counter}) as server,
        server.client() as client,
        client.counter.get_or_create("a").connect() as conn,
    ):
        blocks: dict[str, Any] = {
            "connection": client.counter.get("a").connect(),
            "feed": watch("x"),
            "websocket": client.counter.get("a").websocket(),
            "live": live(conn, conn.get, {"x": max}, atomic_snapshot=True),
        }
        entered = blocks.pop(block)

        async def enter() -> None:
            await entered.__aenter__()

        async def leave() -> None:
            with pytest.raises(RuntimeError, match=r"left by another task .* behind a portal"):
                await entered.__aexit__(None, None, None)

        if anyio_backend_name == "asyncio":
            await asyncio.create_task(enter())
            await leave()
        else:
            async with entered, anyio.create_task_group() as tasks:
                tasks.start_soon(leave)


@pytest.mark.parametrize(
    "run",
    [
        run_virtual,
        lambda main: run_virtual(main, backend="trio"),
        lambda main: simulate(main, seed=1),
        lambda main: explore(main, seeds=[1]),
        assert_deterministic,
    ],
)
def test_a_program_without_async(run: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match="main is an async function, not one that returns int"):
        run(lambda: 5)


@pytest.mark.parametrize("drawn", [None, "0.5", -0.1, 1.5, float("nan")])
def test_random_of_retry(drawn: Any) -> None:
    with pytest.raises(ValueError, match=f"random of Retry returns .* not {drawn!r}"):
        Retry(random=lambda: drawn).delay(0)


@pytest.mark.parametrize("kind, text", [(Event[int], "event"), (Queue[int, int], "queue")])
def test_a_declaration_with_a_value(kind: Any, text: str) -> None:
    with pytest.raises(TypeError, match=rf"its value is 5: give it none, or {text}\("):
        type("Wrong", (TypedActor,), {"__annotations__": {"it": kind}, "it": 5}, name="wrong")


def test_action_without_brackets() -> None:
    decorator: Any = action
    with pytest.raises(TypeError, match=r"write @action\(...\) with brackets above .*get"):
        decorator(Counter.get)


async def test_a_cassette_of_nothing_can_be_played(tmp_path: Path) -> None:
    async with record(ActorServer({}), tmp_path / "nothing.json"):
        pass
    async with replay(tmp_path / "nothing.json"):
        pass


async def test_attributes_that_are_set() -> None:
    async with ActorServer({"counter": Actor}) as server, server.client() as client:
        owners: list[Any] = [client.counter, client.counter.get_or_create("a")]
        for one in owners:
            with pytest.raises(AttributeError, match="no attribute 'color'"):
                one.color = "red"
