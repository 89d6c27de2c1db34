"""When exactly a silent peer counts as gone, on a clock that jumps."""

from __future__ import annotations

import math
from collections import deque

import anyio
import pytest
from trio.testing import MockClock

from rivet_anyio import ConnectionLostError
from rivet_anyio._io.backend import current_backend
from rivet_anyio._io.waiting import Signal
from rivet_anyio._websocket.connection import WebSocketConnection
from rivet_anyio._websocket.framing import Close
from rivet_anyio._websocket.outbox import Outbox
from rivet_anyio._websocket.rfc6455 import RFC6455Framer

INTERVAL = 20.0
TIMEOUT = 10.0
PONG = b"\x8a\x00"


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0)


@pytest.fixture
def anyio_backend(clock: MockClock) -> tuple[str, dict[str, object]]:
    return "trio", {"clock": clock}


class Line:
    """A byte stream whose peer says what it is told to, when it is told to."""

    writes_now = False

    def __init__(self) -> None:
        self.unconfirmed = 0
        self.written = b""
        self.writes: list[float] = []
        self.write_seconds = 0.0
        self._incoming: deque[bytes] = deque()
        self._arrival = anyio.Event()

    def say(self, data: bytes) -> None:
        self._incoming.append(data)
        self._arrival.set()

    async def read(self, max_bytes: int) -> bytes:
        while not self._incoming:
            self._arrival = anyio.Event()
            await self._arrival.wait()
        return self._incoming.popleft()

    def read_now(self, max_bytes: int) -> bytes | None:
        return self._incoming.popleft() if self._incoming else None

    def is_quiet(self) -> bool:
        return not self._incoming

    def drop(self) -> None:
        raise AssertionError("a socket leaves its stream open")

    async def write(self, data: bytes) -> None:
        await anyio.sleep(self.write_seconds)
        self.written += data
        self.writes.append(anyio.current_time())

    def write_now(self, data: bytes) -> int:
        raise AssertionError("it cannot")

    def unsent(self) -> int:
        return self.unconfirmed

    async def aclose(self) -> None:
        raise AssertionError("a pump leaves its stream open")


class Ears:
    """A sink that is never full, or always."""

    def __init__(self) -> None:
        self.full = False
        self.signal = Signal()

    def take(self, messages: list[str | bytes]) -> int:
        return 1 if self.full else len(messages)

    def is_full(self) -> bool:
        return self.full

    def notify_when_free(self, signal: Signal) -> None:
        self.signal = signal


class Large:
    """A message of many writes."""

    size = 1024 * 1024

    def take(self) -> bytes:
        return bytes(self.size)

    def take_back(self) -> None:
        pass

    def sent(self) -> None:
        pass

    def fail(self, error: Exception) -> None:
        raise AssertionError("it can be written") from error


class Run:
    """A pump that runs, and when and how it ended."""

    def __init__(self) -> None:
        self.line = Line()
        self.ears = Ears()
        self.outbox = Outbox()
        self.socket = WebSocketConnection(
            self.line,
            RFC6455Framer(1000),
            self.outbox,
            self.ears,
            current_backend(),
            ping_interval=INTERVAL,
            ping_timeout=TIMEOUT,
        )
        self.began = anyio.current_time()
        self.lived = math.nan

    def put(self, item: Large) -> None:
        self.outbox.put(item)
        self.socket.notify()

    async def __call__(self) -> None:
        self.socket.start_sending()
        await self.socket.run()
        self.lived = anyio.current_time() - self.began


async def test_silence_from_the_beginning() -> None:
    run = Run()
    await run()
    assert isinstance(run.socket.end, ConnectionLostError)
    assert run.lived == pytest.approx(INTERVAL + TIMEOUT, abs=0.01)
    assert [at - run.began for at in run.line.writes] == pytest.approx([INTERVAL], abs=0.01)


@pytest.mark.parametrize("last_words", [0.1, 0.5, 0.99, 1.0, 1.5, 7.3])
async def test_silence_after_the_last_byte(last_words: float) -> None:
    """Counted in intervals; a pong answers every ping until then."""
    run = Run()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        whole, rest = divmod(last_words, 0.37)
        for part in [0.37] * int(whole) + [rest]:
            await anyio.sleep(part * INTERVAL)
            run.line.say(PONG)
    assert isinstance(run.socket.end, ConnectionLostError)
    assert run.lived == pytest.approx(last_words * INTERVAL + INTERVAL + TIMEOUT, abs=0.01)


async def test_pongs_keep_it_alive() -> None:
    run = Run()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while anyio.current_time() < run.began + 100 * INTERVAL:
            pings = len(run.line.writes)
            await anyio.sleep(0.9 * TIMEOUT)
            if len(run.line.writes) > pings:
                run.line.say(PONG)
        assert run.socket.end is None
        run.socket.drop()
    assert len(run.line.writes) > 50


async def test_a_loop_that_was_blocked_is_no_dead_peer(clock: MockClock) -> None:
    run = Run()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(INTERVAL + 1)
        assert len(run.line.writes) == 1
        run.line.say(PONG)
        clock.jump(10 * TIMEOUT)
        await anyio.sleep(1)
        assert run.socket.end is None
        run.socket.drop()


async def test_a_ping_that_was_held_up_has_its_time(clock: MockClock) -> None:
    """The loop blocks between the decision to ping and the write."""
    run = Run()
    run.line.write_seconds = 2.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(INTERVAL + 1)
        assert run.line.writes == []
        clock.jump(5 * TIMEOUT)
        await anyio.sleep(0.9 * TIMEOUT)
        assert run.socket.end is None
        run.line.say(PONG)
        await anyio.sleep(0.9 * TIMEOUT)
        assert run.socket.end is None
        run.socket.drop()


async def test_a_ping_behind_a_long_message_has_its_time() -> None:
    run = Run()
    run.line.write_seconds = 0.8 * TIMEOUT
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        for _ in range(20):
            run.put(Large())
        await anyio.sleep(INTERVAL + 6 * TIMEOUT)
        assert run.socket.end is None
        run.line.say(PONG)
        run.socket.drop()


async def test_a_ping_behind_what_the_system_holds_has_its_time() -> None:
    """The system took the message and the ping at once, and the peer's takes it slowly."""
    run = Run()
    run.line.unconfirmed = Large.size
    run.put(Large())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(INTERVAL - 1)
        while run.line.unconfirmed > 0:
            await anyio.sleep(0.7 * TIMEOUT)
            run.line.unconfirmed -= Large.size // 10
        assert run.socket.end is None
        confirmed = anyio.current_time()
    assert isinstance(run.socket.end, ConnectionLostError)
    late = anyio.current_time() - confirmed
    assert late == pytest.approx(TIMEOUT, abs=TIMEOUT / 4 + 0.01)


async def test_what_is_written_behind_a_ping_gives_it_no_time() -> None:
    run = Run()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(INTERVAL + 1)
        assert len(run.line.writes) == 1
        while run.socket.end is None:
            run.put(Large())
            await anyio.sleep(TIMEOUT / 10)
    assert run.lived == pytest.approx(INTERVAL + TIMEOUT, abs=0.01)


async def test_a_peer_whose_system_stopped_taking_has_no_time() -> None:
    run = Run()
    run.line.unconfirmed = Large.size
    run.put(Large())
    await run()
    assert run.lived == pytest.approx(INTERVAL + TIMEOUT, abs=0.01)


async def test_a_peer_that_stopped_reading_has_not() -> None:
    run = Run()
    run.line.write_seconds = math.inf
    run.put(Large())
    await run()
    assert isinstance(run.socket.end, ConnectionLostError)
    assert run.lived == pytest.approx(INTERVAL + TIMEOUT, abs=0.01)


async def test_a_peer_that_dies_while_a_ping_waits_behind_a_message() -> None:
    """A byte came after that ping was put: the next silence is judged by the same ping."""
    run = Run()
    run.line.write_seconds = math.inf
    run.put(Large())
    async with anyio.create_task_group() as tasks:
        tasks.cancel_scope.deadline = run.began + 100 * INTERVAL
        tasks.start_soon(run)
        await anyio.sleep(INTERVAL + 1)
        run.line.say(PONG)
    assert isinstance(run.socket.end, ConnectionLostError)
    assert run.lived == pytest.approx(INTERVAL + 1 + INTERVAL + TIMEOUT, abs=0.01)


async def test_a_peer_that_dies_while_a_ping_waits_and_the_reader_paused() -> None:
    run = Run()
    run.line.write_seconds = math.inf
    run.put(Large())
    async with anyio.create_task_group() as tasks:
        tasks.cancel_scope.deadline = run.began + 100 * INTERVAL
        tasks.start_soon(run)
        await anyio.sleep(INTERVAL + 1)
        run.ears.full = True
        run.line.say(b"\x82\x00")
        await anyio.sleep(3 * INTERVAL)
        run.ears.full = False
        run.ears.signal.set()
        released = anyio.current_time()
    assert isinstance(run.socket.end, ConnectionLostError)
    assert run.lived == pytest.approx(released - run.began + INTERVAL + TIMEOUT, abs=INTERVAL / 4)


async def test_a_consumer_that_holds_the_reader_stops_the_clock() -> None:
    run = Run()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        run.ears.full = True
        run.line.say(b"\x82\x00")
        await anyio.sleep(100 * INTERVAL)
        assert run.socket.end is None and run.line.writes == []
        run.ears.full = False
        run.ears.signal.set()
        released = anyio.current_time()
    assert isinstance(run.socket.end, ConnectionLostError)
    assert run.lived == pytest.approx(released - run.began + INTERVAL + TIMEOUT, abs=INTERVAL / 4)


async def test_no_pings_once_closing() -> None:
    run = Run()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.sleep(1)
        run.socket.close(1000, "", seconds=math.inf)
        await anyio.sleep(10 * INTERVAL)
        assert run.socket.end is None
        run.line.say(b"\x88\x02\x03\xe8")
    assert run.socket.end == Close(1000, "")
    assert len(run.line.writes) == 1
