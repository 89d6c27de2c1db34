"""What a program leaves behind: tasks, sockets, threads, memory."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

import rivet_anyio
from tests.scopes.injection import live_tasks

__all__ = ["Held", "held", "held_memory", "nothing_left_since"]

# Both backends keep the threads of their pools for a while.
_POOLS = ("AnyIO worker thread", "Trio thread", "asyncio_")

_PACKAGE = str(Path(rivet_anyio.__file__).parent / "*")


@dataclass(frozen=True)
class Held:
    """What the process holds at one moment: names, because a reconnect has new tasks."""

    tasks: Counter[str]
    sockets: int
    threads: Counter[str]


async def held() -> Held:
    """What there is now, once everything that is ending has ended."""
    gc.collect()
    await anyio.wait_all_tasks_blocked()
    return Held(
        Counter(_name(task) for task in live_tasks()),
        _sockets(),
        Counter(t.name for t in threading.enumerate() if not t.name.startswith(_POOLS)),
    )


async def nothing_left_since(before: Held) -> list[str]:
    """What there is more than there was."""
    now = await held()
    left = [f"task {name} is left" for name in now.tasks - before.tasks]
    left += [f"thread {name} is left" for name in now.threads - before.threads]
    if now.sockets > before.sockets:
        left.append(f"{now.sockets} sockets are open, and there were {before.sockets}")
    return left


def held_memory(*, everything: bool = False) -> int:
    """Bytes of Python objects that were made by the package (or by anyone) and still live.

    `tracemalloc` must be running. The interpreter's own caches and the tracer are not counted.
    """
    gc.collect()
    gc.collect()
    snapshot = tracemalloc.take_snapshot()
    if not everything:
        snapshot = snapshot.filter_traces([tracemalloc.Filter(True, _PACKAGE)])
    return sum(trace.size for trace in snapshot.traces)


def _name(task: Any) -> str:
    """A task's name, on either backend."""
    name: str = task.get_name() if hasattr(task, "get_name") else task.name
    return name


def _sockets() -> int:
    """How many sockets are open; 0 where the system does not tell."""
    count = 0
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            count += os.readlink(entry).startswith("socket:")
        except OSError:  # the listing's own descriptor is gone
            pass
    return count
