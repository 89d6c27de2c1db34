"""Ctrl-C while a block is entered or left, at each line of that, on Trio.

A task group that was entered and never left would end the program with an internal error of Trio's.
"""

from __future__ import annotations

import signal
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trio

import rivet_anyio
from rivet_anyio import Client, TypedActor, live, watch
from rivet_anyio.testing import Actor, ActorServer

_OURS = str(Path(rivet_anyio.__file__).parent)
_TASKS = str(Path(_OURS, "_io", "tasks.py"))
_STEPS = {"__aenter__", "__aexit__", "_enter", "enter", "leave", "_leave", "_exit"}


class Counter(Actor):
    async def on_websocket(self, socket: Any) -> None:
        async for _ in socket:
            pass

    async def get(self) -> int:
        return 0


class Typed(TypedActor, name="counter"):
    pass


def is_step(frame: FrameType | None) -> bool:
    """Whether this enters or leaves a block of ours, or a task group in one."""
    if frame is None or frame.f_code.co_name not in _STEPS:
        return False
    if "_backends" in frame.f_code.co_filename:
        return frame.f_back is not None and frame.f_back.f_code.co_filename == _TASKS
    name = frame.f_code.co_filename
    return name.startswith(_OURS) and "testing" not in name


def interrupt_at(wanted: int) -> list[int]:
    """Raise the signal at this step; what it returns has the number of steps that were seen."""
    seen = [0]

    def step(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            seen[0] += 1
            if seen[0] == wanted:
                signal.raise_signal(signal.SIGINT)
        return step

    sys.settrace(lambda frame, event, _: step if is_step(frame) else None)
    return seen


def block_of(kind: str, client: Client, conn: Any) -> AbstractAsyncContextManager[Any]:
    handle = client.counter.get_or_create("b")
    if kind == "websocket":
        return handle.websocket()
    if kind == "feed":
        return watch("changed")
    if kind == "live":
        return live(conn, conn.get, {"changed": lambda state, _: state}, atomic_snapshot=True)
    if kind == "typed":
        return client.get_or_create(Typed, "b").connect()
    return handle.connect()


@pytest.mark.parametrize("kind", ["connection", "typed", "websocket", "feed", "live"])
def test_an_interrupt_at_each_line(kind: str) -> None:
    async def main() -> None:
        async with (
            ActorServer({"counter": Counter}) as server,
            server.client() as client,
            client.counter.get_or_create("a").connect() as conn,
        ):
            block = block_of(kind, client, conn)
            seen.append(interrupt_at(len(seen)))
            try:
                async with block:
                    pass
            finally:
                sys.settrace(None)

    seen: list[list[int]] = []
    before = sys.gettrace()
    try:
        while not seen or seen[-1][0] >= len(seen) - 1:
            try:
                trio.run(main)
            except KeyboardInterrupt:
                continue
            assert len(seen) == 1 or seen[-1][0] < len(seen) - 1, "the interrupt was lost"
    finally:
        sys.settrace(before)
    assert len(seen) > 10
