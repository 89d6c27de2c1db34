"""Event buffers and streams, without a connection; asynchronous tests run on both backends."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import pytest

from rivet_anyio import (
    ClosedError,
    ConnectionLostError,
    EventGapError,
    EventOverflowError,
    EventStream,
    Gap,
    NamedEvent,
    ProtocolError,
)
from rivet_anyio._connection.events import EventBuffer, Unreadable, check_policies
from rivet_anyio._io.waiting import Signal

GUARD = 60


class Source:
    """A buffer that counts how often its subscription was given back, and its stream."""

    def __init__(
        self,
        names: str | tuple[str, ...] = "e",
        *,
        size: int = 3,
        bytes: int = 1000,
        type: Any = Any,
        **how: Any,
    ) -> None:
        self.unsubscribed = 0
        self.abandoned: list[EventBuffer] = []
        policies: dict[str, Any] = {"overflow": "raise", "gaps": "ignore", **how}
        self.buffer = EventBuffer(
            names,
            buffer_size=size,
            buffer_bytes=bytes,
            since=0.0,
            unsubscribe=self._unsubscribe,
            abandon=self.abandoned.append,
            **policies,
        )
        self.stream: EventStream[Any] = EventStream(self.buffer, type)

    def _unsubscribe(self, buffer: EventBuffer) -> None:
        assert buffer is self.buffer
        self.unsubscribed += 1

    def push(self, *values: Any, size: int = 1) -> None:
        for value in values:
            self.buffer.push((value, size))

    def push_gap(self, gap: Gap) -> None:
        self.buffer.begin_gap(gap.since)
        assert self.buffer.end_gap(gap.until, gap.attempts)

    async def rest(self) -> list[Any]:
        self.buffer.end(None)
        return [item async for item in self.stream]


async def test_in_order_until_the_end() -> None:
    source = Source(size=500)
    source.push(*range(200))
    assert source.stream.buffered == 200
    assert await source.rest() == list(range(200))
    with pytest.raises(anyio.EndOfStream):
        await source.stream.receive()
    source.push("late")
    source.buffer.push_all([("later", 1), ("latest", 1)], 2)
    assert source.stream.buffered == 0


async def test_the_end_with_an_error() -> None:
    source = Source()
    source.push(1)
    source.buffer.end(ConnectionLostError("gone"))
    source.buffer.end(None)
    assert await source.stream.receive() == 1
    for _ in range(2):
        with pytest.raises(ConnectionLostError, match="gone"):
            await source.stream.receive()


async def test_overflow_raise() -> None:
    source = Source()
    source.push(1, 2, 3)
    assert source.unsubscribed == 0
    source.push(4, 5)
    assert (source.unsubscribed, source.stream.dropped) == (1, 1)
    assert [await source.stream.receive() for _ in range(3)] == [1, 2, 3]
    with pytest.raises(EventOverflowError, match="buffer_size"):
        await source.stream.receive()


async def test_overflow_drop_oldest() -> None:
    source = Source(overflow="drop_oldest")
    source.push(*range(10))
    assert (source.stream.dropped, source.stream.buffered) == (7, 3)
    assert await source.rest() == [7, 8, 9]


async def test_overflow_drop_newest() -> None:
    source = Source(overflow="drop_newest")
    source.push(*range(10))
    assert (source.stream.dropped, source.stream.buffered) == (7, 3)
    assert await source.rest() == [0, 1, 2]


async def test_bytes_are_bounded_too() -> None:
    source = Source(bytes=100, overflow="drop_oldest")
    source.push("a", "b", size=40)
    source.push("c", size=90)
    assert source.stream.dropped == 2
    # One event is always taken, however long it is.
    source.push("d", size=5000)
    assert source.stream.dropped == 3
    assert await source.rest() == ["d"]


async def test_overflow_block() -> None:
    source = Source(overflow="block")
    source.push(1, 2)
    assert not source.buffer.is_full
    source.push(3)
    assert source.buffer.is_full
    free = Signal()
    source.buffer.notify_when_free(free)
    assert await source.stream.receive() == 1
    assert free.is_set() and not source.buffer.is_full
    source.push(4)
    assert source.buffer.is_full
    free = Signal()
    source.buffer.notify_when_free(free)
    await source.stream.aclose()
    assert free.is_set() and not source.buffer.is_full


async def test_a_forgotten_stream_gives_its_subscription_back() -> None:
    source = Source(overflow="block")
    source.push(1, 2, 3)
    assert source.buffer.is_full
    del source.stream
    gc.collect()
    assert source.abandoned == [source.buffer]


async def test_a_stream_that_was_closed_is_not_given_back_twice() -> None:
    source = Source()
    await source.stream.aclose()
    del source.stream
    gc.collect()
    assert (source.unsubscribed, source.abandoned) == (1, [])


async def test_gaps_ignored_are_counted() -> None:
    source = Source()
    source.push(1)
    source.push_gap(Gap(1.0, 2.0, 1))
    source.push(2)
    assert source.stream.gaps == 1
    assert await source.rest() == [1, 2]


async def test_gaps_marked_where_they_were() -> None:
    source = Source(size=10, gaps="mark")
    source.push(1)
    source.push_gap(Gap(1.0, 2.0, 1))
    source.push(2)
    source.push_gap(Gap(3.0, 4.0, 2))
    source.push_gap(Gap(5.0, 6.0, 3))
    assert source.stream.gaps == 3
    # Nothing came between the last two: they are one.
    assert await source.rest() == [1, Gap(1.0, 2.0, 1), 2, Gap(3.0, 6.0, 5)]


async def test_gaps_raised_and_gone_on_after() -> None:
    source = Source(gaps="raise")
    source.push(1)
    source.push_gap(Gap(1.0, 2.5, 4))
    source.push(2)
    assert await source.stream.receive() == 1
    with pytest.raises(EventGapError) as caught:
        await source.stream.receive()
    assert (caught.value.since, caught.value.until, caught.value.attempts) == (1.0, 2.5, 4)
    assert await source.stream.receive() == 2


async def test_unreadable_events_raise_in_their_place() -> None:
    source = Source(type=int)
    source.push(1)
    source.buffer.push(Unreadable(ProtocolError("no CBOR"), 8))
    source.push("text")
    assert await source.stream.receive() == 1
    with pytest.raises(ProtocolError, match="no CBOR"):
        await source.stream.receive()
    with pytest.raises(ProtocolError, match="'e'"):
        await source.stream.receive()
    source.push(2)
    assert await source.stream.receive() == 2


async def test_closed_while_iterated() -> None:
    source = Source(size=10)
    source.push(1, 2, 3)
    seen = []
    with pytest.raises(ClosedError):
        async for item in source.stream:
            seen.append(item)
            await source.stream.aclose()
    assert (seen, source.unsubscribed, source.stream.buffered) == ([1], 1, 0)
    await source.stream.aclose()
    assert source.unsubscribed == 1


async def test_closed_while_somebody_waits() -> None:
    source = Source()
    ended: list[str] = []

    async def wait() -> None:
        try:
            await source.stream.receive()
        except ClosedError:
            ended.append("closed")

    with anyio.fail_after(GUARD):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await source.stream.aclose()
    assert ended == ["closed"] * 3


async def test_each_event_goes_to_one_of_several_receivers() -> None:
    source = Source(size=1000)
    taken: list[list[int]] = [[], [], []]

    async def take(mine: list[int]) -> None:
        async for item in source.stream:
            mine.append(item)  # noqa: PERF401 - extend would take all at once

    with anyio.fail_after(GUARD):
        async with anyio.create_task_group() as tasks:
            for mine in taken:
                tasks.start_soon(take, mine)
            for number in range(300):
                source.push(number)
                if number % 50 == 0:
                    await anyio.wait_all_tasks_blocked()
            source.buffer.end(None)
    assert sorted(taken[0] + taken[1] + taken[2]) == list(range(300))
    assert all(mine == sorted(mine) for mine in taken)


async def test_a_cancelled_receiver_loses_nothing() -> None:
    source = Source()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await source.stream.receive()
    assert scope.cancelled_caught
    source.push(1)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await source.stream.receive()
    assert scope.cancelled_caught
    assert await source.rest() == [1]


async def test_who_gave_up_waiting_for_the_subscription_lets_the_reader_pause() -> None:
    source = Source(size=1, overflow="block", confirmed=lambda _: anyio.sleep_forever())
    source.push(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.stream.subscribed)
        await anyio.wait_all_tasks_blocked()
        assert not source.buffer.is_full  # what is waited for lies behind what comes
        tasks.cancel_scope.cancel()
    assert source.buffer.is_full


@pytest.mark.parametrize(
    "size, overflow, gaps, said",
    [
        (0, "raise", "ignore", "buffer_size"),
        (1, "drop", "ignore", "overflow"),
        (1, "raise", "skip", "gaps"),
    ],
)
def test_policies(size: int, overflow: str, gaps: str, said: str) -> None:
    check_policies(1, "block", "mark")
    with pytest.raises(ValueError, match=said):
        check_policies(size, overflow, gaps)


async def test_dropping_the_oldest_keeps_the_gap() -> None:
    source = Source(size=2, overflow="drop_oldest", gaps="mark")
    source.push(1, 2)
    source.push_gap(Gap(1.0, 2.0, 1))
    source.push(3, 4, 5)
    source.push_gap(Gap(3.0, 4.0, 2))
    source.push(6, 7, 8)
    assert await source.rest() == [Gap(1.0, 4.0, 3), 7, 8]
    assert (source.stream.gaps, source.stream.dropped) == (2, 6)


async def test_events_in_a_gap_come_behind_it() -> None:
    source = Source(size=10, gaps="mark")
    source.push(1)
    source.buffer.begin_gap(1.0)
    source.push(2, 3)
    assert source.stream.buffered == 1
    source.buffer.end_gap(2.0, 1)
    source.push(4)
    assert await source.rest() == [1, Gap(1.0, 2.0, 1), 2, 3, 4]


@pytest.mark.parametrize("overflow", ["raise", "drop_oldest", "drop_newest", "block"])
async def test_events_that_find_no_capacity_in_a_gap_are_missing_in_it(overflow: str) -> None:
    source = Source(size=2, gaps="mark", overflow=overflow)
    source.push(1)
    source.buffer.begin_gap(1.0)
    source.push(2, 3, 4)
    assert not source.buffer.is_full and not source.buffer.ended
    source.buffer.end_gap(2.0, 1)
    assert source.buffer.is_full
    assert await source.rest() == [1, Gap(1.0, 2.0, 1), 4]
    assert source.stream.dropped == 0


async def test_a_gap_in_a_full_buffer() -> None:
    source = Source(size=2, gaps="mark", overflow="block")
    source.push(1, 2)
    source.buffer.begin_gap(1.0)
    source.push(3)
    source.buffer.end_gap(2.0, 1)
    assert await source.rest() == [1, 2, Gap(1.0, 2.0, 1)]


async def test_a_gap_that_begins_anew_takes_what_came_in_it() -> None:
    source = Source(size=2, gaps="mark")
    source.buffer.begin_gap(1.0)
    source.push(1, 2)
    source.buffer.begin_gap(1.0)
    source.push(3)
    assert source.buffer.event_count == 1 and source.buffer.byte_count == 1
    source.buffer.end_gap(2.0, 2)
    assert await source.rest() == [Gap(1.0, 2.0, 2), 3]


async def test_a_stream_that_ends_in_a_gap() -> None:
    source = Source(gaps="mark")
    source.push(1)
    source.buffer.begin_gap(1.0)
    source.push(2)
    assert await source.rest() == [1]
    assert source.buffer.event_count == 0


async def test_gaps_are_forgotten_with_what_is_before_them() -> None:
    source = Source(gaps="mark")
    assert not source.buffer.forget_gaps()
    source.push(1)
    source.push_gap(Gap(1.0, 2.0, 1))
    source.push(2)
    source.push_gap(Gap(3.0, 4.0, 1))
    source.push(3)
    assert source.buffer.forget_gaps()
    assert source.buffer.event_count == 1 and source.buffer.byte_count == 1
    assert await source.rest() == [3]


async def test_several_names_in_one_order() -> None:
    source = Source(("a", "b"), size=10, gaps="mark")
    source.buffer.sinks["b"].push((1, 1))
    source.buffer.sinks["a"].push((2, 1))
    source.push_gap(Gap(1.0, 2.0, 1))
    source.buffer.sinks["b"].push(Unreadable(ProtocolError("no"), 1))
    source.buffer.sinks["b"].push((3, 1))
    assert await source.stream.receive() == NamedEvent("b", 1)
    match await source.stream.receive():
        case NamedEvent("a", value):
            assert value == 2
        case other:
            raise AssertionError(other)
    assert await source.stream.receive() == Gap(1.0, 2.0, 1)
    with pytest.raises(ProtocolError):
        await source.stream.receive()
    assert await source.rest() == [NamedEvent("b", 3)]
    assert source.stream.name == "a, b"


@pytest.mark.parametrize(
    ("names", "left"), [(("a", "b"), [4]), (("a",), [2, 3, 4])], ids=["several", "one"]
)
async def test_what_several_names_get_in_a_gap_is_missing(
    names: tuple[str, ...], left: list[int]
) -> None:
    """One name may be subscribed when another is not: behind the gap an event would be missing."""
    source = Source(names, size=3, gaps="mark")
    push = source.buffer.sinks["a"].push
    push((1, 1))
    source.buffer.begin_gap(1.0)
    push((2, 1))
    push((3, 1))
    source.buffer.end_gap(2.0, 1)
    assert source.buffer.event_count == source.buffer.byte_count == len(left)
    assert await source.stream.receive() == NamedEvent("a", 1)
    assert await source.stream.receive() == Gap(1.0, 2.0, 1)
    push((4, 1))
    assert [item.value for item in await source.rest()] == left
    assert source.stream.dropped == 0 and source.stream.gaps == 1


@pytest.mark.parametrize(("overflow", "left"), [("drop_oldest", [2, 3]), ("drop_newest", [1, 2])])
async def test_several_names_share_one_buffer(overflow: str, left: list[int]) -> None:
    source = Source(("a", "b"), size=2, overflow=overflow)
    for number, name in enumerate("aba", 1):
        source.buffer.sinks[name].push((number, 1))
    assert source.stream.dropped == 1
    assert [item.value for item in await source.rest()] == left


async def test_several_names_have_types_of_their_own() -> None:
    source = Source(("a", "b"), type={"a": set[int], "b": Any})
    source.buffer.sinks["a"].push(([1, 1], 1))
    source.buffer.sinks["b"].push(([1, 1], 1))
    source.buffer.sinks["a"].push(("x", 1))
    assert await source.stream.receive() == NamedEvent("a", {1})
    assert await source.stream.receive() == NamedEvent("b", [1, 1])
    with pytest.raises(ProtocolError, match="event 'a': "):
        await source.stream.receive()


async def test_receiving_without_waiting() -> None:
    source = Source(gaps="raise")
    with pytest.raises(anyio.WouldBlock):
        source.stream.receive_nowait()
    source.push(1)
    source.push_gap(Gap(1.0, 2.0, 1))
    source.buffer.end(ConnectionLostError("over"))
    assert source.stream.receive_nowait() == 1
    with pytest.raises(EventGapError):
        source.stream.receive_nowait()
    with pytest.raises(ConnectionLostError):
        source.stream.receive_nowait()
    source.stream.close()
    with pytest.raises(ClosedError):
        source.stream.receive_nowait()


async def test_statistics() -> None:
    source = Source(size=3, overflow="block")
    source.push(1, 2)
    found = source.stream.statistics()
    assert (found.current_buffer_used, found.max_buffer_size) == (2, 3)
    assert (found.open_send_streams, found.open_receive_streams) == (1, 1)
    assert (found.tasks_waiting_send, found.tasks_waiting_receive) == (0, 0)
    source.buffer.notify_when_free(Signal())
    assert source.stream.statistics().tasks_waiting_send == 1
    await source.stream.receive()
    await source.stream.receive()
    assert source.stream.statistics().tasks_waiting_send == 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.stream.receive)
        await anyio.wait_all_tasks_blocked()
        assert source.stream.statistics().tasks_waiting_receive == 1
        source.push(3)
    source.stream.close()
    found = source.stream.statistics()
    assert (found.open_send_streams, found.open_receive_streams) == (0, 0)
    assert found.tasks_waiting_receive == 0
