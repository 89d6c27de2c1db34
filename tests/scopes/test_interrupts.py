"""Ctrl-C ends a program at once, whatever its connections are doing."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.proxy import Proxy

PROGRAM = """
import sys
import anyio
from rivet_anyio import Client

endpoint, backend, doing, key = sys.argv[1:]


async def main() -> None:
    async with (
        Client(endpoint, metadata_lookup=False, close_timeout=60) as client,
        client.probe.get_or_create(key).connect() as conn,
        client.web.get_or_create(key).websocket() as ws,
    ):
        print("open", flush=True)
        if doing == "waiting":
            await conn.next_event("never")
        if doing == "receiving":
            await ws.receive()
            await ws.receive()
        while True:
            await conn.echo(1)
            await ws.send("x")


options = {"use_uvloop": True} if backend == "uvloop" else {}
backend = "asyncio" if backend == "uvloop" else backend
anyio.run(main, backend=backend, backend_options=options)
"""

PATIENCE = 40
"""Seconds: far less than `close_timeout`, far more than a slow machine needs."""


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program that has opened its connections."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("stalled", [False, True], ids=["healthy", "stalled"])
@pytest.mark.parametrize("doing", ["waiting", "receiving", "working"])
@pytest.mark.parametrize("backend", ["asyncio", "trio", "uvloop"])
def test_an_interrupt_ends_the_program(
    proxy: Proxy, key: list[str], backend: str, doing: str, stalled: bool
) -> None:
    with program(proxy.endpoint, backend, doing, "-".join(key)) as process:
        if stalled:
            proxy.stall()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert errors.rstrip().endswith("KeyboardInterrupt"), errors
    assert "never retrieved" not in errors and "ExceptionGroup" not in errors, errors
    if doing != "working":
        # Else it may come between a coroutine's making and its first step, as in any program.
        assert "Warning" not in errors and "Exception ignored" not in errors, errors


STRUCK = """
import inspect
import signal
import sys

import anyio
import trio

import rivet_anyio._io.trio as ours
from rivet_anyio import Client

endpoint, doing, key = sys.argv[1:]
struck = []


def striking(wait):
    def call(abort):
        is_main = trio.lowlevel.current_task() is main_task
        if is_main and not struck and inspect.currentframe().f_back.f_code.co_name == "wait":
            struck.append(doing)
            signal.raise_signal(signal.SIGINT)
        return wait(abort)

    return call


async def main() -> None:
    global main_task
    async with (
        Client(endpoint, metadata_lookup=False) as client,
        client.probe.get_or_create(key).connect() as conn,
        client.web.get_or_create(key).websocket() as ws,
    ):
        await ws.receive()
        changes = conn.status_changes()
        await changes.receive()
        main_task = trio.lowlevel.current_task()
        trio._core.wait_task_rescheduled = striking(trio._core.wait_task_rescheduled)
        ours.wait_task_rescheduled = striking(ours.wait_task_rescheduled)
        try:
            if doing == "event":
                await conn.next_event("never")
            if doing == "message":
                await ws.receive()
            if doing == "status":
                await changes.receive()
            if doing == "action":
                await conn.echo(1)
        finally:
            assert struck


anyio.run(main, backend="trio")
"""


@pytest.mark.parametrize("doing", ["event", "message", "status", "action"])
def test_an_interrupt_at_the_last_moment_before_a_wait(
    proxy: Proxy, key: list[str], doing: str
) -> None:
    """Whoever is to be woken has been noted then, and does not wait yet."""
    program = [sys.executable, "-W", "error", "-c", STRUCK, proxy.endpoint, doing, "-".join(key)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert ended.stderr.rstrip().endswith("KeyboardInterrupt"), ended.stderr
    assert "TrioInternalError" not in ended.stderr and "Group" not in ended.stderr, ended.stderr
