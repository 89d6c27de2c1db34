"""One open WebSocket: a task that reads, and a task that writes and keeps the deadlines.

Neither ever raises: the first thing that ends the connection is kept as its `end`, and both return.
Only the writer waits for the socket, so a cancelled caller leaves no half frame behind: what a
caller writes itself it writes in one step, and the writer writes what did not fit. From the first
write that has to wait, a third task keeps the deadlines.

The states, and who leaves each of them:

| state   | what may leave                  | what ends it                              |
|---------|---------------------------------|-------------------------------------------|
| OPENING | pings and pongs                 | `start_sending`, its deadline             |
| OPEN    | everything                      | `close`, `fail`, a close frame, bad bytes |
| CLOSING | what was begun, the close frame | the peer's close frame, its deadline      |
| ENDED   | nothing                         |                                           |

`drop`, a broken socket and a peer that is gone lead to ENDED from every state. Whoever begins to
close sets the deadline, and it is kept whether the writer can write or not.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import anyio
from anyio import move_on_after
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from .._errors import ConnectError, ConnectionLostError, ProtocolError, RivetError
from .._io.backend import Backend, ByteStream, Waiter
from .._io.tasks import forbid_interrupts, without_interrupts
from .._io.waiting import Signal
from .framing import Close, Framer, FramingError, Ping, Pong
from .keepalive import Due, Keepalive
from .outbox import HIGH_WATER, Outbox, Outgoing, capacity

__all__ = ["CLOSE_FRAME_SECONDS", "Sink", "State", "WebSocketConnection"]

_READ_SIZE = 256 * 1024
_WRITE_SIZE = 256 * 1024
_SMALL_WRITE = 16 * 1024
"""Up to so many bytes, the rest of a write is copied rather than waited for with a third task."""
_FRAMES_PER_CHECKPOINT = 64
_PAUSE_CHECK_SECONDS = 0.5
CLOSE_FRAME_SECONDS = 1.0
"""How long a close frame may take to leave when nothing else is waited for, and how long the
peer's own explanation may take after a failed write."""


class Sink(Protocol):
    """Where messages go."""

    def take(self, messages: list[str | bytes]) -> int:
        """Take the first of these messages, one at least, and return how many.

        A sink that does not take them all gets the others one by one. A `RivetError` ends the
        connection.
        """
        ...

    def is_full(self) -> bool:
        """Whether reading must pause."""
        ...

    def notify_when_free(self, signal: Signal) -> None:
        """Set the signal when reading may go on."""
        ...


class State(enum.Enum):
    """See the module."""

    OPENING = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()
    ENDED = enum.auto()


class _Batch(NamedTuple):
    """What leaves together, and what it is made of."""

    writes: list[bytes | Iterator[bytes]]
    items: list[Outgoing]
    has_ping: bool
    has_close: bool


class WebSocketConnection:
    """Moves messages between a byte stream, an outbox and a sink.

    Attributes:
        state: See the module.
        end: Why it ended: the peer's close frame, or an error. None until that is known.
        fault: The close code of the first `fail`.
        last_received: When bytes last came, or when reading went on after a pause.
        last_message: When the last message came that the sink has taken: at the latest when it was
            read; of what came during a pause, when the bytes before the pause did.
        keepalive: When to ping.

    Args:
        stream: What frames travel on.
        framer: Frames to bytes and back.
        outbox: Where outgoing messages wait; nothing is taken from it before `start_sending`.
        sink: Where incoming messages go.
        backend: That of the event loop.
        ping_interval: Seconds of silence after which a ping is sent; None: never.
        ping_timeout: Seconds after a ping without any byte from the peer that mean it is gone;
            None: never.
        opening_deadline: The time of `anyio.current_time` by which `start_sending` must have been
            called.
    """

    def __init__(
        self,
        stream: ByteStream,
        framer: Framer,
        outbox: Outbox,
        sink: Sink,
        backend: Backend,
        *,
        ping_interval: float | None,
        ping_timeout: float | None,
        opening_deadline: float = math.inf,
    ) -> None:
        self._time, self._backend = backend.time, backend
        forbid_interrupts(WebSocketConnection.send, WebSocketConnection.notify, capacity)
        self._stream = stream
        self._framer = framer
        self._outbox = outbox
        self._sink = sink
        now = self._time()
        self.state = State.OPENING
        self.end: RivetError | Close | None = None
        self.last_received = self.last_message = now
        self.keepalive = Keepalive(ping_interval, ping_timeout, now)
        self._pings = 0
        self._deadline = opening_deadline  # of OPENING, then of what is to come
        self._due: float | None = None  # the deadline that was found to be over
        self._limit: RivetError | None = None  # what a deadline of OPEN means
        self._is_retired = False
        self._control: list[Ping | Pong] = []
        self._close_frame: Close | None = None
        self.fault: int | None = None
        self._close_sent = False
        self._rest: _Batch | None = None
        self._written = 0
        self._last_written = now
        self._idle_writer: Waiter | None = None
        self._watcher: Waiter | None = None  # of the third task, once it runs
        self._paused: Signal | None = None  # while the sink is full
        self._ended = Signal()
        self._has_read = False  # the reader has nothing left to do
        self._tasks: TaskGroup | None = None

    # What others ask of it

    def start_sending(self) -> None:
        """Let messages leave."""
        if self.state is State.OPENING:
            self.state = State.OPEN
            self._deadline = math.inf
        batch = self._next_batch() if self._is_free() else None
        if batch is not None and batch.writes:
            self._write_batch_now(batch)
        if not self._outbox.is_idle:  # one batch is not always all
            self.notify()

    def send(self, item: Outgoing) -> None:
        """Write a message: at once if nothing stands in the way, else after what waits.

        Nothing in it can be cancelled: what cannot be written at once is left to the writer.
        """
        if not self._outbox.is_idle or item.size > HIGH_WATER or not self._is_free():
            self._outbox.put(item)
            self.notify()
            return
        payload = item.take()
        if payload is None:
            return
        frame = self._framer.encode(payload)
        written = self._write_now(frame)
        if not written:
            item.take_back()
            self._outbox.put(item)
            self.notify()
        elif written == len(frame):
            item.sent()
        else:
            self._leave_to_writer(_Batch([frame[written:]], [item], False, False))

    def notify(self) -> None:
        """Notify the writer that there is something to write."""
        writer, self._idle_writer = self._idle_writer, None
        if writer is not None:
            writer.set()

    def retire(self, error: RivetError, *, seconds: float) -> None:
        """Take no message from the outbox any more, and fail with this error in `seconds`."""
        if self.state is State.OPEN and not self._is_retired:
            self.limit(error, seconds=seconds)
            self._is_retired = True

    def limit(self, error: RivetError, *, seconds: float) -> None:
        """Fail with this error in `seconds`, unless `unlimit` is called before."""
        if self.state is State.OPEN and not self._is_retired:
            self._limit = error
            self._deadline = self._time() + seconds
            self._check_deadlines()

    def unlimit(self) -> None:
        """Stay open for as long as there is nothing against it."""
        if self.state is State.OPEN and not self._is_retired:
            self._deadline = math.inf

    def close(self, code: int = 1000, reason: str = "", *, seconds: float) -> None:
        """Begin the closing handshake, which may take `seconds`; nothing else leaves any more."""
        if self.state in (State.OPENING, State.OPEN):
            self.state = State.CLOSING
            self._close_frame = Close(code, reason)
            self._deadline = math.inf
            self.notify()
            if self._paused is not None:
                self._paused.set()
        self.hurry(seconds)

    def hurry(self, seconds: float) -> None:
        """End in `seconds` at the latest if it is opening or closing."""
        self._deadline = min(self._deadline, self._time() + seconds)
        self._check_deadlines()

    def fail(self, error: RivetError, code: int = 1000) -> None:
        """End because of this error; a close frame is the last that leaves, if it can."""
        self.fault = self.fault or code
        self._finish(error)
        self.close(code, "", seconds=CLOSE_FRAME_SECONDS)

    def drop(self) -> None:
        """End at once; the peer gets no close frame."""
        self._finish(ConnectionLostError("the connection was dropped"))
        self._stop()

    async def run(self) -> RivetError | Close:
        """Read, write and watch until the connection ends; returns its `end`.

        Cancellation: drops everything at once, without a close frame.
        """
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                if self.state is State.ENDED:
                    tasks.cancel_scope.cancel()
                # The reader is resumed most often, and that costs less in a task of its own than
                # at the end of a long chain of calls.
                tasks.start_soon(without_interrupts(self._listen))
                await self._write()
                if self.end is not None:
                    self._stop()
                elif self._watcher is None:
                    await self._watch()  # the peer has until the deadline to answer
        except BaseException:
            self._finish(ConnectionLostError("the connection's task was cancelled"))
            raise
        finally:
            self.state = State.ENDED
        # Nobody said why: one of the tasks was cancelled from outside.
        self._finish(ConnectionLostError("the connection was dropped"))
        assert self.end is not None
        return self.end

    # Ending

    def _finish(self, end: RivetError | Close) -> None:
        if self.end is None:
            self.end = end
            self._ended.set()

    def _stop(self) -> None:
        self.state = State.ENDED
        if self._has_read and (self._idle_writer is not None or self._close_sent):
            # Nobody waits for the socket: to wake who waits costs less than to cancel.
            self.notify()
            if self._watcher is not None:
                self._watcher.set()
        elif self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    # Reading

    async def _listen(self) -> None:
        try:
            await self._read()
        except Exception as error:  # a fault of ours must not leave as a group
            self._finish(_internal(error))
        self._has_read = True
        if self.state is State.CLOSING and not self._close_sent:
            self.hurry(CLOSE_FRAME_SECONDS)  # the writer stops everything when it has left
        else:
            self._stop()

    async def _read(self) -> None:
        frames = 0
        unread_since: float | None = None  # bytes may have waited so long, because of a pause
        is_first = True
        while self.end is None:
            if unread_since is not None and self._stream.is_quiet():
                unread_since = None
            try:
                # Mostly, the first message came with the answer to the handshake.
                data = self._stream.read_now(_READ_SIZE) if is_first else None
                is_first = False
                if data is None:
                    data = await self._stream.read(_READ_SIZE)
            except ConnectionLostError as lost:
                self._finish(lost)
                return
            if not data:
                self._finish(ConnectionLostError("the peer went away without a close frame"))
                return
            self.last_received = now = self._time()
            came = now if unread_since is None else unread_since
            try:
                for received in self._framer.receive(data):
                    if not isinstance(received, list):
                        self._take_control(received)
                        frames += 1
                    else:
                        frames += len(received)
                        if await self._deliver(received, came):
                            unread_since = came
                    if self.end is not None:
                        return
                    if frames >= _FRAMES_PER_CHECKPOINT:
                        frames = 0
                        await checkpoint()
            except FramingError as error:
                self.fail(ProtocolError(str(error)), error.close_code)
            except ProtocolError as error:
                self.fail(error, 1002)
            except Exception as error:  # a fault of ours must not leave as a group
                self.fail(_internal(error), 1011)

    async def _deliver(self, messages: list[str | bytes], came: float) -> bool:
        """Hand messages to the sink; whether that had to pause."""
        has_paused = False
        taken, offered = 0, messages
        while offered and self._close_frame is None and self.end is None:
            taken += self._sink.take(offered)
            self.last_message = came
            offered = messages[taken : taken + 1]
            if self._sink.is_full():
                has_paused = True
                await self._pause()
        return has_paused

    def _take_control(self, frame: Ping | Pong | Close) -> None:
        if isinstance(frame, Ping):
            self._control = [f for f in self._control if not isinstance(f, Pong)]
            self._control.append(Pong(frame.payload))
            self.notify()
        elif isinstance(frame, Close):
            self._control.clear()
            self._finish(frame)
            code = 1000 if frame.code == 1005 else frame.code
            self.close(code, "", seconds=CLOSE_FRAME_SECONDS)

    async def _pause(self) -> None:
        """Stop reading while the sink is full; silence then is our own doing."""
        try:
            while self._close_frame is None and self._sink.is_full():
                signal = self._paused = Signal()
                self._sink.notify_when_free(signal)
                # A stream that becomes garbage cannot say so from wherever it is collected.
                with move_on_after(_PAUSE_CHECK_SECONDS):
                    await signal.wait()
        finally:
            self._paused = None
            self.last_received = self._time()  # so that an earlier ping asks nothing any more

    # Writing

    async def _write(self) -> None:
        try:
            while not self._close_sent and self.state is not State.ENDED:
                batch = self._rest or self._next_batch()
                if batch.writes:
                    await self._write_all(batch.writes)
                    self._rest = None
                    self._note_left(batch)
                elif (seconds := self._seconds_to_wait()) > 0:
                    del batch  # memory, for as long as nothing is written
                    waiter = self._idle_writer = self._backend.waiter()
                    await waiter.wait_until(self._time() + seconds)
                    self._idle_writer = None
                else:
                    await checkpoint()
        except ConnectionLostError as lost:
            with move_on_after(min(CLOSE_FRAME_SECONDS, self._deadline - self._time())):
                await self._ended.wait()
            self._finish(lost)
            self._stop()
        except Exception as error:  # a fault of ours must not leave as a group
            self._finish(_internal(error))
            self._stop()
        finally:
            self._idle_writer = None

    def _seconds_to_wait(self) -> float:
        """Keep the deadlines unless the third task does."""
        return self._keep_deadlines() if self._watcher is None else math.inf

    def _is_free(self) -> bool:
        """Whether the writer has nothing to do, and others may write."""
        return (
            self._idle_writer is not None
            and self.state is State.OPEN
            and self._stream.writes_now
            and self._rest is None
            and not self._control
            and not self._is_retired
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
        self.notify()

    def _next_batch(self) -> _Batch:
        """What to write next."""
        parts: list[bytes] = []
        has_ping = False
        if self._control:
            parts = [self._framer.encode(frame) for frame in self._control]
            has_ping = any(isinstance(frame, Ping) for frame in self._control)
            self._control.clear()
        items: list[Outgoing] = []
        writes: list[bytes | Iterator[bytes]] = []
        close = self._close_frame
        if close is not None:
            parts.append(self._framer.encode(close))
        elif self.state is State.OPEN and not self._is_retired:
            encode = self._framer.encode
            for item, payload in self._outbox.take():
                items.append(item)
                if len(payload) <= _WRITE_SIZE:
                    parts.append(encode(payload))
                else:  # a piece for each write, so that it is never in memory twice
                    if parts:
                        writes.append(b"".join(parts))
                        parts = []
                    writes.append(self._framer.encode_in_pieces(payload, _WRITE_SIZE))
        if parts:
            writes.append(parts[0] if len(parts) == 1 else b"".join(parts))
        return _Batch(writes, items, has_ping, close is not None)

    async def _write_all(self, writes: list[bytes | Iterator[bytes]]) -> None:
        stream = self._stream
        for one in writes:
            for data in (one,) if isinstance(one, bytes) else one:
                if len(data) <= _SMALL_WRITE and stream.writes_now:
                    data = data[self._write_now(data) :]
                if data:
                    if self._watcher is None:
                        assert self._tasks is not None
                        self._watcher = self._backend.waiter()
                        self._tasks.start_soon(without_interrupts(self._watch))
                    await stream.write(data)
                    self._note_written(len(data))

    def _note_written(self, size: int) -> None:
        self._last_written = self._time()
        self._written += size

    def _note_left(self, batch: _Batch) -> None:
        if batch.has_ping:
            self.keepalive.ping_left(self._last_written, self._written)
        for item in batch.items:
            item.sent()
        if batch.has_close:
            self._close_sent = True

    # Watching the deadlines

    async def _watch(self) -> None:
        """Keep the deadlines while the writer may have to wait for the socket."""
        try:
            while self.state is not State.ENDED:
                seconds = self._keep_deadlines()
                if seconds > 0:
                    waiter = self._watcher = self._backend.waiter()
                    await waiter.wait_until(self._time() + seconds)
                else:
                    await checkpoint()
        except Exception as error:  # a fault of ours must not leave as a group
            self._finish(_internal(error))
            self._stop()

    def _keep_deadlines(self) -> float:
        """Do what is due; return the seconds until something else may be."""
        now = self._time()
        left = self._deadline - now
        if left <= 0:
            if self._due != self._deadline:
                self._due = self._deadline  # what came in time is read first
            else:
                self._miss_deadline()
            return 0.0
        if self.state is State.OPENING:
            return min(left, self.keepalive.interval)
        if self.state is not State.OPEN:
            return left
        if self._paused is not None:
            return min(left, self.keepalive.interval / 4)
        due = self.keepalive.check(
            now,
            last_received=self.last_received,
            written=self._written,
            last_written=self._last_written,
            unsent=self._stream.unsent,
        )
        if due is Due.PING:
            self._pings += 1
            self._control.append(Ping(self._pings.to_bytes(4, "big")))
            self.notify()
        elif due is Due.GONE:
            self._finish(
                ConnectionLostError(
                    f"the peer sent nothing for {self.keepalive.timeout} s after a ping"
                )
            )
            self._stop()
        return min(left, due) if isinstance(due, float) else 0.0

    def _miss_deadline(self) -> None:
        if self.state is State.OPEN:
            assert self._limit is not None
            self.fail(self._limit)
            return
        if self.state is State.OPENING:
            self._finish(ConnectError("the server did not open the connection in time"))
        else:
            self._finish(ConnectionLostError("the connection was not closed in time"))
        self._stop()

    def _check_deadlines(self) -> None:
        """Let the deadlines be looked at anew: one is earlier than before."""
        if self._watcher is None:
            self.notify()
        else:
            self._watcher.set()


def _internal(error: Exception) -> RivetError:
    if isinstance(error, RivetError):
        return error
    internal = ProtocolError(f"the client failed to go on: {error!r}")
    internal.__cause__ = error
    return internal
