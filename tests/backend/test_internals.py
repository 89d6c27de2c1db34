"""What is used of other libraries' internals: there in the versions tried, and not missed without.

The first tests fail when a new version of a library moves one of them: then look for its new place,
or for something documented.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from anyio._backends import _asyncio as anyio_backend
from anyio.lowlevel import checkpoint_if_cancelled

from rivet_anyio._io import internals
from rivet_anyio._io.backend import current_backend, in_trio
from rivet_anyio._websocket.masking import apply_mask_slowly, fastest_mask
from rivet_anyio.testing import _internals as test_internals
from rivet_anyio.testing import run_virtual, simulate
from rivet_anyio.testing._stuck import frames_of

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])
on_trio = pytest.mark.parametrize("anyio_backend", ["trio"])


def forget() -> None:
    """Let everything be looked for again."""
    for found in (
        internals.asyncio_checkpoint_if_cancelled,
        internals.ScopeCheck.is_possible,
        internals._marks_functions,
        internals.trio_call_at,
        internals.trio_cancellation_check,
        internals.mask_in_c,
        internals.response_keeps_content,
        internals.warn_once,
        test_internals._scopes_know_tasks,
    ):
        found.cache_clear()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, "rivet_anyio")
    return lambda: [record.getMessage() for record in caplog.records]


@on_asyncio
async def test_what_anyio_has() -> None:
    assert internals.asyncio_checkpoint_if_cancelled() is not checkpoint_if_cancelled
    assert internals.ScopeCheck.is_possible()
    assert internals._current_task_of(asyncio.get_running_loop())() is asyncio.current_task()
    check = internals.ScopeCheck(asyncio.get_running_loop())
    assert check.run() is None
    with anyio.CancelScope() as scope:
        scope.cancel()
        pending = check.run()
        assert pending is not None
        await pending
        pytest.fail("not cancelled")
    assert scope.cancelled_caught


@on_trio
async def test_what_trio_has() -> None:
    import trio

    assert internals._marks_functions()
    assert internals.trio_call_at() is not None
    runner = test_internals._trio_runner()
    assert trio.lowlevel.current_task() in test_internals.trio_tasks(runner)
    with anyio.CancelScope(deadline=anyio.current_time() + 1000):
        times = [deadline for deadline, _ in test_internals.trio_timers(runner)]
        await anyio.lowlevel.checkpoint()
    assert times
    module, chance = test_internals.trio_scheduling()
    assert isinstance(module._ALLOW_DETERMINISTIC_SCHEDULING, bool)
    assert isinstance(chance, random.Random)


@on_trio
async def test_trio_knows_what_is_cancelled() -> None:
    check = internals.trio_cancellation_check()
    assert not inspect.iscoroutinefunction(check)
    assert check() is None
    with anyio.CancelScope() as scope:
        scope.cancel()
        with anyio.CancelScope(shield=True):
            assert check() is None
            await anyio.lowlevel.checkpoint()
        pending = check()
        assert pending is not None
        await pending
        pytest.fail("not cancelled")
    assert scope.cancelled_caught


def test_trio_interrupts_its_main_task() -> None:
    import trio

    @trio.lowlevel.enable_ki_protection
    async def main() -> None:
        check = internals.trio_cancellation_check()
        signal.raise_signal(signal.SIGINT)
        pending = check()
        assert pending is not None
        with pytest.raises(KeyboardInterrupt):
            await pending

    trio.run(main)


@on_trio
async def test_trio_keeps_no_timer_that_was_cancelled() -> None:
    call_at = internals.trio_call_at()
    assert call_at is not None
    deadlines = test_internals._trio_runner().deadlines
    before = len(deadlines._heap)
    for _ in range(10_000):
        call_at(anyio.current_time() + 1000, lambda: None).cancel()
    await anyio.lowlevel.checkpoint()  # Trio removes what was cancelled when it is much
    assert len(deadlines._heap) <= before


@on_trio
async def test_trio_knows_what_it_must_not_interrupt() -> None:
    from trio.lowlevel import currently_ki_protected, disable_ki_protection

    @disable_ki_protection
    def ask(function: Callable[[], bool]) -> bool:
        return function()

    assert ask(internals.ki_protected(lambda: currently_ki_protected()))
    assert not ask(lambda: currently_ki_protected())


@on_trio
async def test_trio_marks_the_same_code_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from trio import lowlevel

    def marked() -> Callable[[], bool]:
        return lambda: lowlevel.currently_ki_protected()

    @lowlevel.disable_ki_protection
    def ask(function: Callable[[], bool]) -> bool:
        return function()

    assert ask(internals.ki_protected(marked()))
    monkeypatch.setattr(lowlevel, "enable_ki_protection", None)  # is not called
    assert ask(internals.ki_protected(marked()))


def test_what_httpx_has() -> None:
    assert internals.response_keeps_content()


def test_what_asyncio_has() -> None:
    loop = asyncio.SelectorEventLoop()
    try:
        loop.call_soon(loop.stop)
        (handle,) = test_internals.ready_handles(loop)
        assert test_internals.callback_owner(handle) is loop
    finally:
        loop.close()


@on_asyncio
async def test_what_the_harness_finds_on_asyncio() -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    with anyio.CancelScope(deadline=anyio.current_time() + 1000):
        timers = list(test_internals.asyncio_timers(loop, 5))
        await anyio.lowlevel.checkpoint()
    assert task.get_coro() in [coroutine for _, coroutine in timers]
    assert not test_internals.asyncio_waited_for(task), "it runs"
    for name in ("_run_tests_and_fixtures", "_call_in_runner_task"):
        assert callable(getattr(anyio_backend.TestRunner, name))
    callers = [
        other
        for other in asyncio.all_tasks()
        if test_internals.is_anyio_runner(list(frames_of(other.get_coro())))
    ]
    assert callers == [task]


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_whose_deadline_a_waiter_has() -> None:
    waiter = current_backend().waiter()
    waiting = waiter.wait_until(anyio.current_time() + 1000)

    async def wait() -> None:
        await waiting

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        if in_trio():
            timers = test_internals.trio_timers(test_internals._trio_runner())
        else:
            timers = test_internals.asyncio_timers(asyncio.get_running_loop(), 5)
        owners = [frame for _, coroutine in timers for frame in frames_of(coroutine)]
        assert wait.__code__ in [frame.f_code for frame in owners]
        waiter.set()


def test_an_event_loop_that_hides_its_deadlines(warnings: Callable[[], list[str]]) -> None:
    class Loop:
        def time(self) -> float:
            return 10

    loop: Any = Loop()
    assert list(test_internals.asyncio_timers(loop, 5)) == [(15, None)]
    assert list(test_internals.asyncio_timers(loop, None)) == []
    assert len(warnings()) == 1


def test_what_websockets_has() -> None:
    assert fastest_mask() is not apply_mask_slowly


def test_without_the_c_extension(
    monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    assert fastest_mask() is fastest_mask() is apply_mask_slowly
    (warning,) = warnings()
    assert "has no speedups.apply_mask: large messages take longer" in warning


@on_asyncio
async def test_without_anyios_backend(
    monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    monkeypatch.delattr(anyio_backend, "AsyncIOBackend")
    monkeypatch.delattr(anyio_backend, "_task_states")
    for _ in range(2):
        assert internals.asyncio_checkpoint_if_cancelled() is checkpoint_if_cancelled
        assert not internals.ScopeCheck.is_possible()
    monkeypatch.undo()
    assert len(warnings()) == 2


@on_trio
async def test_a_trio_whose_tasks_do_not_know_what_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    import trio

    with monkeypatch.context() as patches:
        patches.setattr(trio.lowlevel, "current_task", object)
        found = [internals.trio_cancellation_check() for _ in range(2)]
    assert found == [trio.lowlevel.checkpoint_if_cancelled] * 2
    assert len(warnings()) == 1


@on_trio
async def test_a_trio_that_returns_another_function(
    monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    import trio

    def wrapping(function: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: ("wrapped", function())

    monkeypatch.setattr(trio.lowlevel, "enable_ki_protection", wrapping)
    monkeypatch.setattr(trio.lowlevel, "currently_ki_protected", lambda: False)
    function: Callable[[], Any] = int
    for _ in range(2):
        assert internals.ki_protected(function)() == ("wrapped", 0)
    assert len(warnings()) == 1


class OtherDeadlines:
    """Those of a Trio that calls what we do not have."""

    def add(self, deadline: float, cancel_scope: Any) -> None:
        self.scope = cancel_scope

    def remove(self, deadline: float, cancel_scope: Any) -> None:
        """As Trio's."""

    def expire(self, now: float) -> None:
        self.scope.cancel_by_deadline()


@on_trio
@pytest.mark.parametrize("deadlines", [None, int, OtherDeadlines])
async def test_a_trio_with_other_deadlines(
    deadlines: Any, monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    from trio._core import _run

    if deadlines is None:
        monkeypatch.delattr(_run, "Deadlines")
    else:
        monkeypatch.setattr(_run, "Deadlines", deadlines)
    for _ in range(2):
        assert internals.trio_call_at() is None
    with anyio.fail_after(60):
        await current_backend().waiter().wait_until(anyio.current_time() + 0.01)
    (warning,) = warnings()
    assert "has no Deadlines for timers: requests and connections take longer" in warning


def test_without_trios_scheduler(
    monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    async def main() -> str:
        await anyio.sleep(1000)
        return "done"

    from trio._core import _run

    context = _run.GLOBAL_RUN_CONTEXT
    monkeypatch.setattr(_run, "GLOBAL_RUN_CONTEXT", Hiding(context))
    assert run_virtual(main, backend="trio") == "done"
    (warning,) = warnings()
    assert "a program that waits for ever is not noticed" in warning
    monkeypatch.delattr(_run, "_r")
    try:
        with pytest.raises(RuntimeError, match=r"a seed cannot decide .* Use backend='asyncio'"):
            simulate(main, seed=1, backend="trio")
    finally:
        # A run that ended there would be taken for one that still runs.
        for name in ("runner", "task"):
            if hasattr(context, name):
                delattr(context, name)


class Hiding:
    """Trio's context with another runner, for us alone."""

    def __init__(self, context: Any) -> None:
        self.__dict__["context"] = context

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__dict__["context"], name)
        return object() if name == "runner" and _asked_by_us() else found

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["context"], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__dict__["context"], name)


def _asked_by_us() -> bool:
    return bool(sys._getframe(2).f_globals["__name__"] == test_internals.__name__)


def test_importing_the_client_imports_none_of_them() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, rivet_anyio; rivet_anyio.Client\n"
            "print([n for n in sys.modules if n in ('trio', 'websockets')])",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "[]\n"
