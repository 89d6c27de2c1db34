"""One open WebSocket: a task that reads, a task that writes, a task that keeps it alive.

None of the three ever raises: the first thing that ends the connection is kept as its `end`, and
the three return. Only the writer waits for the socket, so a cancelled caller leaves no half frame
behind: what a caller writes itself it writes in one step, and what did not fit is the writer's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import anyio
from anyio import CancelScope, move_on_after
from anyio.lowlevel import checkpoint

from .._errors import ConnectError, ConnectionLostError, ProtocolError, RivetError
from .._io.stream import ByteStream, current_backend
from .._io.tasks import uninterrupted
from .._io.waiting import Signal
from .framing import Close, Frame, Framer, FramingError, Ping, Pong
from .outbox import HIGH_WATER, Outbox, Outgoing

__all__ = ["Pump", "Sink"]

_READ_SIZE = 256 * 1024
_WRITE_SIZE = 256 * 1024
_FRAMES_PER_CHECKPOINT = 64
_ROOM_CHECK_SECONDS = 0.5
_LATE_CHECKPOINTS = 4
_TICK = 0.001
"""Seconds to a deadline that count as none: clocks and sums of floats are not exact."""
_LAST_WORDS_SECONDS = 1.0
"""After a failed write, how long the peer's own explanation is waited for."""


class Sink(Protocol):
    """Where messages go."""

    def message(self, data: str | bytes) -> None:
        """Take one message; a `RivetError` from here ends the connection."""
        ...

    def full(self) -> anyio.Event | None:
        """None while there is room, else an event that is set when there may be again."""
        ...


class _Batch(NamedTuple):
    """What leaves together, and what it is made of."""

    writes: list[bytes | Iterator[bytes]]
    items: list[Outgoing]
    pings: int
    is_last: bool


class Pump:
    """Moves messages between a byte stream, an outbox and a sink.

    Attributes:
        last_heard: When the last bytes came, in seconds of `anyio.current_time`.
        last_message: When the last message came that the sink has taken.
        end: Why it ended: the peer's close frame, or what went wrong. None while it is open.

    Args:
        stream: What frames travel on.
        framer: Frames to bytes and back.
        outbox: Where outgoing messages wait; nothing is taken from it before `begin_sending`.
        sink: Where incoming messages go.
        ping_interval: Seconds of silence after which a ping is sent; None: never.
        ping_timeout: Seconds after a ping without any byte from the peer that mean it is gone;
            None: never.
        opening_deadline: The time of `anyio.current_time` by which `begin_sending` must have been
            called; `inf`: no matter when.
    """

    def __init__(
        self,
        stream: ByteStream,
        framer: Framer,
        outbox: Outbox,
        sink: Sink,
        *,
        ping_interval: float | None,
        ping_timeout: float | None,
        opening_deadline: float = float("inf"),
    ) -> None:
        backend = current_backend()
        self._time, self._waiter = backend.time, backend.waiter
        uninterrupted(self.send)  # marks the function, for all pumps
        self._stream = stream
        self._framer = framer
        self._outbox = outbox
        self._sink = sink
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._opening_deadline = opening_deadline
        self._opened = Signal()
        self._ended = Signal()
        self._control: list[Frame] = []
        self._close_frame: Close | None = None
        self._close_sent = Signal()
        self._is_idle = False
        self._rest: _Batch | None = None
        self.last_message = self.last_heard = self._last_written = self._time()
        self._pings = self._unsent_pings = 0
        self._ping_written = self._last_written
        self._written = self._ping_end = 0  # in bytes: so far, and when the last ping had left
        self._held = False
        self._pause: CancelScope | None = None
        self._scope: CancelScope | None = None
        self.end: RivetError | Close | None = None

    @property
    def closing(self) -> bool:
        """Whether the close handshake has begun from this side."""
        return self._close_frame is not None

    def begin_sending(self) -> None:
        """Let the writer take from the outbox."""
        self._opened.set()
        batch = self._next_batch() if self._is_free() else None
        if batch is not None and batch.writes:
            self._write_batch_now(batch)
        else:
            self._outbox.wake()

    def send(self, item: Outgoing) -> None:
        """Write a message: at once if nothing stands in the way, else when its turn comes.

        Nothing in it can be cancelled: what cannot be written at once is left to the writer.
        """
        if not self._outbox.is_empty or item.size > HIGH_WATER or not self._is_free():
            self._outbox.put(item)
            return
        payload = item.take()
        if payload is None:
            return
        frame = self._framer.encode(payload)
        written = self._write_now(frame)
        if not written:
            item.take_back()
            self._outbox.put(item)
        elif written == len(frame):
            item.sent()
        else:
            self._leave_to_writer(_Batch([frame[written:]], [item], 0, False))

    def _is_free(self) -> bool:
        """Whether the writer has nothing to do, and others may write."""
        return (
            self._is_idle
            and self._stream.writes_now
            and self.end is None
            and self._rest is None
            and not self._control
            and self._close_frame is None
            and self._opened.is_set()
        )

    def _write_batch_now(self, batch: _Batch) -> None:
        first = batch.writes[0]
        if isinstance(first, bytes):
            written = self._write_now(first)
            if written == len(first) and len(batch.writes) == 1:
                self._note_left(batch)
                return
            batch.writes[0] = first[written:]
        self._leave_to_writer(batch)

    def _write_now(self, data: bytes) -> int:
        written = self._stream.write_now(data)
        if written:
            self._note_written(written)
        return written

    def _leave_to_writer(self, batch: _Batch) -> None:
        self._rest = batch
        self._outbox.wake()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin the close handshake: what waits in the outbox is not sent any more."""
        if self._close_frame is None:
            self._close_frame = Close(code, reason)
            self._outbox.wake()
            if self._pause is not None:
                self._pause.cancel()  # its event is the sink's, which waits with it again

    def drop(self) -> None:
        """End at once, without a word to the peer."""
        self._finish(ConnectionLostError("the connection was dropped"))
        self._stop()

    def stop_sending(self, seconds: float) -> None:
        """Take nothing from the outbox any more, and end after these seconds at the latest."""
        self._opened = Signal()
        self._stop_after(seconds)

    def give_up(self, error: RivetError) -> None:
        """End because of this error: a close frame leaves last, if the writer can write it soon."""
        self.close(1000, "")
        self._finish(error)
        self._stop_after(_LAST_WORDS_SECONDS)

    async def run(self) -> RivetError | Close:
        """Pump until the connection ends; returns its `end`.

        Cancellation: drops everything at once, without a close frame.
        """
        async with anyio.create_task_group() as tasks:
            self._scope = tasks.cancel_scope
            # The reader is resumed most often, and that costs less in a task of its own than at
            # the end of a long chain of calls.
            tasks.start_soon(uninterrupted(self._listen))
            tasks.start_soon(uninterrupted(self._keep_alive))
            await self._write()
            if self.end is not None:  # the close frame has left, and no answer is waited for
                self._stop()
        if self.end is None:
            self.end = ConnectionLostError("the connection was dropped")
        return self.end

    def _stop(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def _stop_after(self, seconds: float) -> None:
        if self._scope is not None:
            self._scope.deadline = min(self._scope.deadline, self._time() + seconds)

    def _finish(self, end: RivetError | Close) -> None:
        if self.end is None:
            self.end = end
            self._ended.set()

    async def _listen(self) -> None:
        try:
            await self._read()
        except Exception as error:  # a fault of ours must not leave as a group
            self.give_up(_internal(error))
        await self._answer_close()
        self._stop()

    async def _read(self) -> None:
        frames = 0
        message, full = self._sink.message, self._sink.full
        while self.end is None:
            try:
                data = await self._stream.read(_READ_SIZE)
            except ConnectionLostError as lost:
                self._finish(lost)
                return
            if not data:
                self._finish(ConnectionLostError("the peer went away without a close frame"))
                return
            now = self.last_heard = self._time()
            try:
                for frame in self._framer.receive(data):
                    if isinstance(frame, tuple):
                        self._take_control(frame)
                    elif self._close_frame is None:
                        message(frame)
                        self.last_message = now
                    if self.end is not None:
                        return
                    if full() is not None:
                        await self._wait_for_room()
                    frames += 1
                    if frames % _FRAMES_PER_CHECKPOINT == 0:
                        await checkpoint()
            except FramingError as error:
                self.close(error.close_code, "")
                self._finish(ProtocolError(str(error)))
            except ProtocolError as error:
                self.close(1002, "")
                self._finish(error)
            except Exception as error:  # a fault of ours must not leave as a group
                self.close(1011, "")
                self._finish(_internal(error))

    def _take_control(self, frame: Ping | Pong | Close) -> None:
        if isinstance(frame, Ping):
            self._control = [f for f in self._control if not isinstance(f, Pong)]
            self._control.append(Pong(frame.payload))
            self._outbox.wake()
        elif isinstance(frame, Close):
            self._control.clear()
            self.close(1000 if frame.code == 1005 else frame.code, "")
            self._finish(frame)

    async def _wait_for_room(self) -> None:
        """Stop reading while a consumer holds us up; silence then is our own doing."""
        while (room := self._sink.full()) is not None and self._close_frame is None:
            self._held = True
            try:
                # A stream that becomes garbage cannot say so from wherever it is collected.
                with move_on_after(_ROOM_CHECK_SECONDS) as self._pause:
                    await room.wait()
            finally:
                self._held = False
                self._pause = None
                self.last_heard = self._time()

    async def _answer_close(self) -> None:
        """Let a close frame leave, if the writer still can."""
        if self._close_frame is not None:
            with move_on_after(_LAST_WORDS_SECONDS):
                await self._close_sent.wait()

    async def _write(self) -> None:
        try:
            while not self._close_sent.is_set():
                batch = self._rest or self._next_batch()
                if batch.writes:
                    await self._write_all(batch.writes)
                    self._rest = None
                    self._note_left(batch)
                else:
                    self._is_idle = True
                    try:
                        await self._outbox.filled(self._waiter())
                    finally:
                        self._is_idle = False
        except ConnectionLostError as lost:
            with move_on_after(_LAST_WORDS_SECONDS):
                await self._ended.wait()
            self._finish(lost)
            self._stop()
        except Exception as error:  # a fault of ours must not leave as a group
            self._finish(_internal(error))
            self._stop()

    def _next_batch(self) -> _Batch:
        """What to write next."""
        parts: list[bytes] = []
        pings = 0
        if self._control:
            parts = [self._framer.encode(frame) for frame in self._control]
            pings = sum(isinstance(frame, Ping) for frame in self._control)
            self._control.clear()
        items: list[Outgoing] = []
        writes: list[bytes | Iterator[bytes]] = []
        close = self._close_frame
        if close is not None:
            parts.append(self._framer.encode(close))
        elif self._opened.is_set():
            encode = self._framer.encode
            for item, payload in self._outbox.take():
                items.append(item)
                if len(payload) <= _WRITE_SIZE:
                    parts.append(encode(payload))
                else:  # a piece for each write, so that it is never held twice
                    if parts:
                        writes.append(b"".join(parts))
                        parts = []
                    writes.append(self._framer.encode_in_pieces(payload, _WRITE_SIZE))
        if parts:
            writes.append(parts[0] if len(parts) == 1 else b"".join(parts))
        return _Batch(writes, items, pings, close is not None)

    async def _write_all(self, writes: list[bytes | Iterator[bytes]]) -> None:
        for one in writes:
            for data in (one,) if isinstance(one, bytes) else one:
                await self._stream.write(data)
                self._note_written(len(data))

    def _note_written(self, size: int) -> None:
        self._last_written = self._time()
        self._written += size

    def _note_left(self, batch: _Batch) -> None:
        if batch.pings:
            self._unsent_pings -= batch.pings
            self._ping_written = self._last_written
            self._ping_end = self._written
        for item in batch.items:
            item.sent()
        if batch.is_last:
            self._close_sent.set()

    async def _keep_alive(self) -> None:
        try:
            await self._ping_when_silent()
        except Exception as error:  # a fault of ours must not leave as a group
            self._finish(_internal(error))
            self._stop()

    async def _ping_when_silent(self) -> None:
        with move_on_after(self._opening_deadline - self._time()):
            await self._opened.wait()
        if not self._opened.is_set():
            self._finish(ConnectError("the server did not open the connection in time"))
            self._stop()
            return
        if self._ping_interval is None:
            return
        while True:
            if self._held or self._close_frame is not None:
                await anyio.sleep(self._ping_interval / 4)
                continue
            left = self.last_heard + self._ping_interval - self._time()
            if left > _TICK:
                await anyio.sleep(left)
                continue
            if self._ping_timeout is None:
                if not self._unsent_pings:
                    self._ping()
                await anyio.sleep(self._ping_interval)
                continue
            asked = self._time()
            self._ping()
            if not await self._heard_since(asked, self._ping_interval, self._ping_timeout):
                self._finish(
                    ConnectionLostError(
                        f"the peer sent nothing for {self._ping_timeout} s after a ping"
                    )
                )
                self._stop()
                return

    def _ping(self) -> None:
        self._pings += 1
        self._unsent_pings += 1
        self._control.append(Ping(self._pings.to_bytes(4, "big")))
        self._outbox.wake()

    async def _heard_since(self, asked: float, interval: float, timeout: float) -> bool:
        """Whether a byte comes in time, counted from the last progress of what is written.

        So a ping that waits behind a long message has time, here or in the system's buffers, and a
        peer that stopped reading has not.
        """
        late = 0
        queued, under_way = _Growth(), _Growth()
        while self.last_heard < asked:
            if self._held or self._close_frame is not None:
                return True
            arrived = self._written - self._stream.unsent()
            if self._unsent_pings:
                since = max(asked, self._last_written, queued.last(arrived, self._time()))
            else:
                grown = under_way.last(min(arrived, self._ping_end), self._time())
                since = max(self._ping_written, grown)
            left = since + timeout - self._time()
            if left > _TICK:
                late = 0
                await anyio.sleep(min(left, interval, timeout / 4))
            elif late < _LATE_CHECKPOINTS:
                # Something may have blocked the whole event loop: let the others catch up.
                late += 1
                await checkpoint()
            else:
                return False
        return True


class _Growth:
    """When a number was last seen to have grown."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._time = -math.inf

    def last(self, number: int, now: float) -> float:
        """Look at it; never, `-inf`, if it has not grown since the first look."""
        if self._number is not None and number > self._number:
            self._time = now
        self._number = number
        return self._time


def _internal(error: Exception) -> RivetError:
    if isinstance(error, RivetError):
        return error
    internal = ProtocolError(f"the client failed to go on: {error!r}")
    internal.__cause__ = error
    return internal
