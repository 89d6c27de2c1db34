"""One request for everybody who asks for the same: who sends it, who waits, what each is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from rivet_anyio import ConnectError
from rivet_anyio._gateway.shared import SharedRequests

GUARD = 60
BACKENDS = ["asyncio", "trio"]


@dataclass(frozen=True)
class Caller:
    """Comes after so many ticks, and is cancelled so many ticks later unless that is None."""

    comes: int
    patience: int | None
    key: str


@dataclass(frozen=True)
class Reply:
    """What a request ends with after so many ticks."""

    ticks: int
    fails: bool


callers = st.lists(
    st.builds(
        Caller,
        comes=st.integers(0, 8),
        patience=st.none() | st.integers(0, 8),
        key=st.sampled_from("ab"),
    ),
    min_size=1,
    max_size=8,
)
replies = st.lists(st.builds(Reply, ticks=st.integers(0, 6), fails=st.booleans()), min_size=1)


class Play:
    """Runs a schedule, and holds what happens to the rules."""

    def __init__(self, replies: list[Reply]) -> None:
        self.shared: SharedRequests[int] = SharedRequests()
        self.replies = replies
        self.under_way: dict[str, int] = {}
        self.ended: dict[int, Reply] = {}
        self.began = 0
        self.abandoned = 0
        self.errors: list[BaseException] = []

    async def send(self, key: str) -> int:
        assert key not in self.under_way, "two requests for one key at a time"
        number = self.under_way[key] = self.began
        self.began += 1
        reply = self.replies[number % len(self.replies)]
        try:
            for _ in range(reply.ticks):
                await checkpoint()
        except BaseException:
            self.abandoned += 1
            raise
        finally:
            del self.under_way[key]
        self.ended[number] = reply
        if reply.fails:
            raise ConnectError(str(number), status=number)
        return number

    async def call(self, caller: Caller) -> None:
        for _ in range(caller.comes):
            await checkpoint()
        ended_before = set(self.ended)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                if caller.patience is not None:
                    tasks.start_soon(self.cancel, scope, caller.patience)
                try:
                    number = await self.shared.run(caller.key, partial(self.send, caller.key))
                    assert not self.ended[number].fails
                except ConnectError as error:
                    number = int(str(error))
                    assert self.ended[number].fails and error.status == number
                    assert not any(error is other for other in self.errors)
                    self.errors.append(error)
                assert number not in ended_before, "an outcome from before the caller asked"
                tasks.cancel_scope.cancel()
            return
        assert caller.patience is not None

    async def cancel(self, scope: anyio.CancelScope, ticks: int) -> None:
        for _ in range(ticks):
            await checkpoint()
        scope.cancel()

    async def run(self, schedule: list[Caller]) -> None:
        with anyio.fail_after(GUARD):
            async with anyio.create_task_group() as tasks:
                for caller in schedule:
                    tasks.start_soon(self.call, caller)
        assert not self.shared._under_way
        assert self.abandoned <= sum(caller.patience is not None for caller in schedule)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_sender_notes_is_not_for_the_others(backend: str) -> None:
    """An action of the sender's that was repeated, say."""

    async def play() -> None:
        shared: SharedRequests[None] = SharedRequests()
        errors: list[ConnectError] = []

        async def send() -> None:
            await anyio.wait_all_tasks_blocked()
            raise ConnectError("away")

        async def call(note: str) -> None:
            try:
                await shared.run("a", send)
            except ConnectError as error:
                errors.append(error)
                error.add_note(note)

        with anyio.fail_after(GUARD):
            async with anyio.create_task_group() as tasks:
                for note in "123":
                    tasks.start_soon(call, note)
        assert [len(error.__notes__) for error in errors] == [1, 1, 1]
        assert sorted(note for error in errors for note in error.__notes__) == ["1", "2", "3"]

    anyio.run(play, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(deadline=None, max_examples=150)
@given(schedule=callers, replies=replies)
def test_schedules(backend: str, schedule: list[Caller], replies: list[Reply]) -> None:
    anyio.run(Play(replies).run, schedule, backend=backend)


async def test_everybody_is_given_one_outcome() -> None:
    shared: SharedRequests[object] = SharedRequests()
    sent = 0
    go_on = anyio.Event()
    results: list[object] = []

    async def send() -> object:
        nonlocal sent
        sent += 1
        await go_on.wait()
        return object()

    async def call() -> None:
        results.append(await shared.run("key", send))

    with anyio.fail_after(GUARD):
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
    assert sent == 1
    assert len(results) == 50 and len({id(result) for result in results}) == 1


async def test_when_the_sender_is_cancelled_the_next_one_sends() -> None:
    shared: SharedRequests[str] = SharedRequests()
    results: list[str] = []
    sending = anyio.Event()

    async def never() -> str:
        sending.set()
        await anyio.sleep_forever()
        raise AssertionError

    async def at_once() -> str:
        return "second"

    async def wait() -> None:
        results.append(await shared.run("key", at_once))

    with anyio.fail_after(GUARD):
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as first:
                    first.start_soon(shared.run, "key", never)
                    await sending.wait()
                    tasks.start_soon(wait)
                    tasks.start_soon(wait)
                    await anyio.wait_all_tasks_blocked()
                    assert not results
                    scope.cancel()
    assert results == ["second", "second"]


async def test_a_waiter_that_is_cancelled_ends_nothing_for_others() -> None:
    shared: SharedRequests[str] = SharedRequests()
    results: list[str] = []
    go_on = anyio.Event()

    async def send() -> str:
        await go_on.wait()
        return "first"

    async def call() -> None:
        results.append(await shared.run("key", send))

    with anyio.fail_after(GUARD):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0) as scope:
                await call()
            assert scope.cancelled_caught
            go_on.set()
    assert results == ["first"]
