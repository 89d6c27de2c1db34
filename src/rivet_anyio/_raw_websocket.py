"""ActorWebSocket: a raw WebSocket to an actor's own server."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import checkpoint

from ._checks import check_size, check_text
from ._errors import ClosedError, ConnectionLostError, TransportError, again, outside_block
from ._gateway.context import Core, UserFailed
from ._gateway.open import OpenSocket, dial
from ._gateway.resolve import Target
from ._io.backend import check_loop
from ._io.tasks import (
    ForeignCancellation,
    SilentTasks,
    block_without_interrupts,
    close_seconds,
    forbid_interrupts,
)
from ._io.waiting import Signal
from ._log import logger
from ._observe import AttemptObserver
from ._text import in_short
from ._types import GetParams
from ._websocket.connection import State, WebSocketConnection
from ._websocket.framing import Close
from ._websocket.outbox import Outbox, capacity
from .protocol.addressing import user_subprotocols, websocket_path
from .protocol.closes import ERROR_CLOSE, FINISHED, NO_CODE, close_as_error, close_as_loss

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectStreamStatistics

__all__ = ["ActorWebSocket"]

_MAX_BUFFERED_MESSAGES = 256
_MAX_BUFFERED_BYTES = 4 * 1024 * 1024


class _Message:
    """A message on its way out; `settled` when it left, or when that cannot happen any more."""

    def __init__(self, payload: str | bytes) -> None:
        self._payload = payload
        self.size = len(payload)
        self.settled = Signal()
        self.has_left = False

    def take(self) -> str | bytes | None:
        return self._payload

    def take_back(self) -> None:
        """Nothing came of it."""

    def sent(self) -> None:
        self.has_left = True
        self.settled.set()

    def fail(self, error: Exception) -> None:
        self.settled.set()


class _Inbox:
    """The messages that nobody has taken yet; the socket's sink.

    Attributes:
        messages: In their order.
        waiting: How many tasks wait for one.
    """

    def __init__(self) -> None:
        self.messages: deque[str | bytes] = deque()
        self.waiting = 0
        self._bytes = 0
        self._arrival: Signal | None = None
        self._departure: Signal | None = None

    def take(self, messages: list[str | bytes]) -> int:
        taken = 0
        for message in messages:
            self.messages.append(message)
            self._bytes += len(message)
            taken += 1
            if self.is_full():
                break
        self.wake()
        return taken

    def is_full(self) -> bool:
        return len(self.messages) >= _MAX_BUFFERED_MESSAGES or self._bytes >= _MAX_BUFFERED_BYTES

    def notify_when_free(self, signal: Signal) -> None:
        self._departure = signal

    def pop(self) -> str | bytes:
        """The oldest; the caller knows that there is one."""
        message = self.messages.popleft()
        self._bytes -= len(message)
        if self._departure is not None:
            self._departure.set()
            self._departure = None
        return message

    async def arrival(self) -> None:
        """Wait for `wake`, which each message calls."""
        self._arrival = self._arrival or Signal()
        self.waiting += 1
        try:
            await self._arrival.wait()
        finally:
            self.waiting -= 1

    def wake(self) -> None:
        """Let those who wait look again."""
        if self._arrival is not None:
            self._arrival.set()
            self._arrival = None


class ActorWebSocket(anyio.abc.ObjectStream[str | bytes]):
    """A WebSocket to an actor's ``onWebSocket``, open inside its ``async with`` block.

    Text messages are str, binary ones bytes. Messages that come while nobody receives are
    buffered, 256 of them or 4 MiB; then the socket is not read until there is capacity again.

    Entering makes one attempt within the client's `connect_timeout`. It raises an `ActorError` for
    what the server answers, a `TransportError` or `ProtocolError` where it does not answer as it
    should, a `ClosedError` outside the client's block, and what `get_params` or the function for
    the token raised. Leaving closes with code 1000, within the client's `close_timeout`, and within
    a second when the block is left by cancellation.
    """

    def __init__(
        self,
        core: Core,
        target: Target,
        path: str,
        *,
        params: Any,
        get_params: GetParams | None,
        skip_ready_wait: bool,
        max_message_size: int | None,
        subprotocols: Sequence[str] = (),
    ) -> None:
        self._core = core
        self._target = target
        self._path = websocket_path(path)
        self._params = params
        self._get_params = get_params
        self._skip_ready_wait = skip_ready_wait
        self._max_message_size = max_message_size
        self._offers = user_subprotocols(subprotocols)
        self._tasks = SilentTasks()
        self._entered = False
        self._socket: WebSocketConnection | None = None
        self._opened: OpenSocket | None = None
        self._outbox = Outbox()
        self._unsettled: dict[_Message, None] = {}
        self._finished = Signal()
        self._left = False
        self._closed = False
        self._inbox = _Inbox()

    @property
    def subprotocol(self) -> str | None:
        """The one of `subprotocols` that the server selected, None if it selected none of them.

        RivetKit up to 2.3 selects none.
        """
        selected = None if self._opened is None else self._opened.subprotocol
        return selected if selected in self._offers else None

    @property
    def close_code(self) -> int | None:
        """The close code the peer sent, None while it has sent none (or a close without one)."""
        end = self._socket.end if self._socket else None
        return end.code if isinstance(end, Close) and end.code != NO_CODE else None

    @property
    def close_reason(self) -> str:
        """The close reason the peer sent, empty while it has sent none."""
        end = self._socket.end if self._socket else None
        return end.reason if isinstance(end, Close) else ""

    async def __aenter__(self) -> ActorWebSocket:
        block_without_interrupts(ActorWebSocket)
        if self._entered:
            raise RuntimeError("an ActorWebSocket can be entered once: call websocket() again")
        _ = self._core.http
        self._entered = True
        forbid_interrupts(ActorWebSocket.receive)
        observer = self._observer()
        try:
            self._opened = await self._dial(observer)
        except BaseException as exc:
            self._left = True
            if isinstance(exc, TransportError):
                self._core.forget_server()
            if observer is not None:
                observer.end(exc)
            raise
        if observer is not None:
            observer.end(None)
        assert self._core.backend is not None
        self._cancellation = self._core.backend.cancellation_check()
        self._socket = self._opened.websocket(
            self._outbox, self._inbox, self._core, max_message_size=self._max_message_size
        )
        self._socket.start_sending()
        await self._tasks.enter()
        self._tasks.start_shielded(self._run)
        logger.info("raw WebSocket to actor %s is open", self._opened.actor_id)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._socket is not None and self._opened is not None
        self._check_loop()
        self._tasks.check_task()
        self._left = True
        self._inbox.wake()
        seconds = close_seconds(self._core.options.close_timeout, exc_type)
        self._socket.close(seconds=seconds)
        try:
            await self._tasks.leave(self._finished, seconds)
        finally:
            await self._opened.aclose()

    async def send(self, item: str | bytes) -> None:
        """Send one message: str as text, bytes as binary.

        Returns once the operating system has all of it, in the order of the calls.

        Raises:
            ConnectionLostError, ActorError: the connection has ended; the peer may have the
                message, but never a part of it.
            ClosedError: outside the block, or after `aclose`.
            TypeError: for anything but str and bytes.
            ValueError: for text with a lone surrogate, which has no UTF-8.

        Cancellation: the message is sent whole or not at all. In a scope that is cancelled
        already, it is not sent.
        """
        if not isinstance(item, (str, bytes)):
            raise TypeError(f"a WebSocket message is str or bytes, not {in_short(item, 60)}")
        if isinstance(item, str):
            item = check_text("a WebSocket message", item)
        self._check_open()
        await capacity(self._outbox)
        self._check_open()
        assert self._socket is not None
        if (cancelled := self._cancellation()) is not None:
            self._outbox.notify()
            await cancelled
        message = _Message(item)
        self._unsettled[message] = None
        try:
            self._socket.send(message)
            await message.settled.wait()
        finally:
            self._unsettled.pop(message, None)
            self._outbox.discard(message)
        if not message.has_left:
            self._check_open()
            raise ConnectionLostError("the connection ended before the message was sent")

    async def receive(self) -> str | bytes:
        """The next message.

        Raises:
            anyio.EndOfStream: the peer closed with 1000, 1001 or no code.
            ActorError: the server closed with code 1011 and named an error in the reason.
            ConnectionLostError: the peer closed with another code (see `code` and `reason` of the
                error), or the connection broke.
            ProtocolError: the peer broke the WebSocket protocol.
            ClosedError: outside the block, or after `aclose`.

        Cancellation: safe, no message is lost.
        """
        self._check_entered()
        await checkpoint()
        while True:
            self._check_messages()
            if self._inbox.messages:
                return self._inbox.pop()
            await self._inbox.arrival()

    def receive_nowait(self) -> str | bytes:
        """As `receive`, without waiting.

        Raises:
            anyio.WouldBlock: when nothing is there.
        """
        self._check_messages()
        if not self._inbox.messages:
            raise anyio.WouldBlock
        return self._inbox.pop()

    def statistics(self) -> MemoryObjectStreamStatistics:
        """As `anyio.streams.memory.MemoryObjectReceiveStream.statistics`.

        The sender is the peer. It waits while the buffer is full.
        """
        from anyio.streams.memory import MemoryObjectStreamStatistics

        is_open = self._socket is not None and self._socket.state is State.OPEN
        return MemoryObjectStreamStatistics(
            current_buffer_used=len(self._inbox.messages),
            max_buffer_size=_MAX_BUFFERED_MESSAGES,
            open_send_streams=int(is_open),
            open_receive_streams=int(not self._left and not self._closed),
            tasks_waiting_send=int(is_open and self._inbox.is_full()),
            tasks_waiting_receive=self._inbox.waiting,
        )

    async def send_eof(self) -> None:
        """Not possible on a WebSocket: use `aclose`."""
        raise NotImplementedError("a WebSocket has no half-close: use aclose()")

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close with a code and a reason, and wait for the answer at most `close_timeout` seconds.

        Args:
            code: 1000, or an application's own from 3000 to 4999.
            reason: At most 123 bytes of UTF-8.

        Raises:
            TypeError: an argument has a wrong type.
            ValueError: for another code, or a longer reason.

        Cancellation: the socket is dropped, and the close frame may have been sent.
        """
        check_size("code", code, least=1000, most=4999)
        if code != 1000 and code < 3000:
            raise ValueError(f"code is 1000 or from 3000 to 4999, not {code!r}")
        check_text("reason", reason)
        if len(reason.encode()) > 123:
            raise ValueError(f"reason has at most 123 bytes of UTF-8, not {len(reason.encode())}")
        if self._socket is None or self._finished.is_set():
            await checkpoint()
            return
        self._check_loop()
        self._closed = True
        self._inbox.wake()
        self._socket.close(code, reason, seconds=self._core.options.close_timeout)
        try:
            await self._finished.wait()
        except BaseException:
            self._socket.drop()
            raise

    async def _dial(self, observer: AttemptObserver | None) -> OpenSocket:
        try:
            return await dial(
                self._core,
                self._target,
                self._path,
                encoding="bare",
                params=self._params,
                get_params=self._get_params,
                skip_ready_wait=self._skip_ready_wait,
                deadline=anyio.current_time() + self._core.options.connect_timeout,
                observer=observer,
                offers=self._offers,
            )
        except UserFailed as failed:
            error = failed.error
        try:
            raise error  # here it keeps its context
        finally:
            del error  # it holds this frame, which would hold it

    async def _run(self) -> None:
        assert self._socket is not None and self._opened is not None
        self._core.sockets[self._socket] = None
        try:
            with ForeignCancellation(ConnectionLostError, "the WebSocket's task"):
                await self._socket.run()
        except ConnectionLostError:
            pass  # the socket's end says so
        finally:
            self._core.sockets.pop(self._socket, None)
            self._finished.set()
            self._inbox.wake()
            if not self._left and not self._closed:
                logger.info("the raw WebSocket ended: %s", str(self._socket.end))
            for message in self._unsettled:
                message.settled.set()
            self._outbox.close()
            await self._opened.aclose()

    def _check_messages(self) -> None:
        """Raise when there is nothing to take any more."""
        self._check_entered()
        if self._closed:
            raise ClosedError("the WebSocket is closed")
        if self._finished.is_set() and not self._inbox.messages:
            assert self._socket is not None
            end = self._socket.end
            if isinstance(end, Close) and end.code in FINISHED:
                raise anyio.EndOfStream
            raise self._end_error()

    def _observer(self) -> AttemptObserver | None:
        observer = self._core.observer
        if observer is None:
            return None
        subject = self._core.subject(self._target.name, self._target.key)
        return observer.connection(subject).attempt()

    def _check_entered(self) -> None:
        if self._left or not self._entered:
            raise outside_block("the WebSocket", entered=self._entered)
        self._check_loop()

    def _check_loop(self) -> None:
        assert self._core.backend is not None
        check_loop(self._core.backend, "this WebSocket")

    def _check_open(self) -> None:
        self._check_entered()
        assert self._socket is not None
        if self._closed:
            raise ClosedError("the WebSocket is closed")
        if self._socket.end is not None:
            raise self._end_error()
        if self._socket.state is not State.OPEN:
            raise ClosedError("the WebSocket is closed")

    def _end_error(self) -> BaseException:
        """What the end of the socket raises, anew for each call that it ends."""
        assert self._socket is not None and self._socket.end is not None
        end = self._socket.end
        if not isinstance(end, Close):
            return again(end)
        meaning = close_as_error if end.code == ERROR_CLOSE else close_as_loss
        return meaning(end.code, end.reason)
