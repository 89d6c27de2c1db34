"""Connection: a WebSocket to an actor that comes back when it was lost.

One task supervises one session after another. Everything that waits here, actions, streams,
`wait_connected`, learns from it how things stand, and none of its own troubles leaves it as an
exception.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload
from weakref import ref

import anyio

from .._actions import CONNECTION_ADVICE, ActionCall, action_attribute
from .._checks import check_name
from .._convert import check_result_type, convert
from .._errors import ActorError, ClosedError, ConnectionLostError, again
from .._gateway.attempts import Attempts
from .._gateway.call import explain, is_gone
from .._gateway.context import Core
from .._gateway.open import Line, ParamsFailed, dial
from .._gateway.resolve import Target
from .._http.upgrade import UpgradeRefused
from .._io.stream import Backend, check_loop
from .._io.tasks import SilentTasks, is_cancelled, patience, uninterrupted
from .._io.waiting import Signal
from .._log import logger
from .._observe import AttemptObserver, Call, ConnectionObserver
from .._retry import Retry
from .._types import QueueResult
from .._websocket.connection import Pump
from .._websocket.frames import RFC6455Framer
from .._websocket.framing import Close
from ..protocol.dialect import Dialect
from ..protocol.encodings import codec_for
from ..protocol.lifecycle import (
    Opening,
    Verdict,
    is_farewell,
    is_masked,
    judge,
    judge_opening,
    may_ask_again,
)
from ..protocol.messages import Init, Raw, ServerError, actor_error
from ..protocol.session import Session
from .events import EventBuffer, EventStream, Gap, Gaps, Overflow, check_policies, only_event
from .outcome import Ended, cause_of, delay_after, is_final
from .receiving import Incoming
from .sending import Sender
from .status import Status, StatusChange, StatusStream

if TYPE_CHECKING:
    from .._handle import ActorHandle

__all__ = ["Connection"]

T = TypeVar("T")

_BUFFER_BYTES = 64 * 1024 * 1024
_PATH = "/connect"
_HELD_SECONDS = 2.0
_EXPLAIN_SECONDS = 5.0
_STOPPED_SECONDS = 5.0


class Connection:
    """A connection to an actor, from `ActorHandle.connect`; open inside ``async with``.

    Entering returns once the server has said Init, or raises what went wrong: an `ActorError` for
    a refusal, a `TransportError` for the network. A connection that is lost later comes back by
    itself, with its subscriptions, as long as the actor does not refuse it.

    Every attribute that is none of this class is an action, as on the handle.
    """

    __slots__ = (
        "__weakref__",
        "_abandoned",
        "_attempt_observer",
        "_attempts",
        "_backend",
        "_blocking",
        "_buffers",
        "_change",
        "_changed",
        "_close_timeout",
        "_connect_timeout",
        "_core",
        "_entered",
        "_failure",
        "_first_settled",
        "_get_params",
        "_handle",
        "_init",
        "_leaving",
        "_lost_at",
        "_may_mask_stops",
        "_observer",
        "_opened_at",
        "_over",
        "_params",
        "_refusal",
        "_retry",
        "_sender",
        "_session",
        "_skip_ready_wait",
        "_subject",
        "_supervised",
        "_target",
        "_tasks",
        "_watchers",
    )

    def __init__(
        self,
        handle: ActorHandle,
        core: Core,
        target: Target,
        *,
        params: Any,
        get_params: Callable[[], Awaitable[Any]] | None,
        skip_ready_wait: bool,
        connect_timeout: float | None,
        close_timeout: float | None,
        retry: Retry | None,
    ) -> None:
        options = core.options
        self._handle = handle
        self._core = core
        self._target = target
        observed = core.observer is not None
        self._subject = core.subject(target.name, target.key) if observed else None
        self._params = params
        self._get_params = get_params
        self._skip_ready_wait = skip_ready_wait
        self._connect_timeout = connect_timeout or options.connect_timeout
        self._close_timeout = options.close_timeout if close_timeout is None else close_timeout
        self._retry = retry or options.retry
        self._tasks = SilentTasks()
        self._entered = False
        self._backend: Backend | None = None
        self._leaving = False
        self._first_settled = Signal()
        self._supervised = Signal()
        self._failure: BaseException | None = None
        self._over = False
        self._change = StatusChange(Status.CONNECTING)
        self._changed = Signal()
        self._watchers: set[ref[StatusStream]] = set()
        self._session: Session | None = None
        self._may_mask_stops = False
        self._refusal: ActorError | None = None
        self._init: Init | None = None
        self._opened_at = 0.0
        self._lost_at: float | None = None
        self._attempts = 0
        self._sender = Sender(self._closed_error)
        self._buffers: dict[str, list[EventBuffer]] = {}
        self._abandoned: list[EventBuffer] = []
        self._blocking: list[EventBuffer] = []
        self._observer: ConnectionObserver | None = None
        self._attempt_observer: AttemptObserver | None = None

    # What the user sees

    @property
    def status(self) -> Status:
        """What the connection is doing at this moment."""
        return self._change.status

    @property
    def actor_id(self) -> str | None:
        """The actor's id, from the last Init; None before the first."""
        return self._init.actor_id if self._init else None

    @property
    def connection_id(self) -> str | None:
        """The server's id of this connection, new after every reconnect; None before the first."""
        return self._init.connection_id if self._init else None

    def __getattr__(self, name: str) -> ActionCall:
        return action_attribute(self, self._target.name, name, CONNECTION_ADVICE)

    def __repr__(self) -> str:
        return f"<Connection to {self._handle!r} {self.status}>"

    @overload
    async def action(self, name: str, /, *args: Any) -> Any: ...

    @overload
    async def action(self, name: str, /, *args: Any, type: type[T]) -> T: ...

    @overload
    async def action(self, name: str, /, *args: Any, type: Any) -> Any: ...

    async def action(self, name: str, /, *args: Any, type: Any = Any) -> Any:
        """Call an action over the connection.

        While the connection is away, the call waits until it is back. It is sent once at most.

        Args:
            name: The action's name as the server knows it.
            args: Its arguments; docs/values.md says what travels.
            type: What to convert the result to, checked by `msgspec.convert`.

        Returns:
            What the action returned; nothing (undefined) is None.

        Raises:
            ActorError: what the actor or the server answered.
            ConnectionLostError: the connection broke after the call had left: it may have run.
            ProtocolError: the answer cannot be read, or is not of `type`.
            TypeError: an argument cannot travel; the message names the path to it.
            ClosedError: outside the block; the action did not run.

        Cancellation: a call that has not left is never sent; one that has may run.
        """
        name = check_name("action", name)
        check_result_type(type)
        observer = self._core.observer
        if observer is None:
            return _loaded(await self._sender.call(name, args), type, name)
        assert self._subject is not None
        with observer.call(Call(self._subject, "action", name, "websocket")):
            return _loaded(await self._sender.call(name, args), type, name)

    @overload
    def events(
        self,
        name: str,
        *,
        type: type[T],
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["ignore", "raise"] = ...,
    ) -> EventStream[T]: ...

    @overload
    def events(
        self,
        name: str,
        *,
        type: type[T],
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Literal["mark"],
    ) -> EventStream[T | Gap]: ...

    @overload
    def events(
        self,
        name: str,
        *,
        type: Any = ...,
        buffer_size: int = ...,
        overflow: Overflow = ...,
        gaps: Gaps = ...,
    ) -> EventStream[Any]: ...

    def events(
        self,
        name: str,
        *,
        type: Any = Any,
        buffer_size: int = 1024,
        overflow: Overflow = "raise",
        gaps: Gaps = "ignore",
    ) -> EventStream[Any]:
        """The events of one name, subscribed from here on.

        The subscription is sent before every action that is called after this. Streams of one
        name share it; closing the last one ends it. A stream that is made before the block is
        entered also gets what the actor sends while the connection opens.

        Args:
            name: The event's name as the server knows it.
            type: What to convert each event to, checked by `msgspec.convert`.
            buffer_size: How many events are held for a slow consumer. A buffer also holds
                64 MiB at most.
            overflow: What happens when the buffer is full. ``"raise"``: the stream delivers what
                it holds, then raises `EventOverflowError` and ends. ``"drop_oldest"`` and
                ``"drop_newest"`` count into `EventStream.dropped`. ``"block"`` stops reading the
                socket until there is room: that holds up the whole connection, answers to actions
                too, and the keepalive rests meanwhile.
            gaps: What happens where the connection was away and events may be missing.
                ``"ignore"`` counts into `EventStream.gaps`, ``"raise"`` raises `EventGapError`
                there, ``"mark"`` delivers a `Gap` there.

        Raises:
            ActorError, TransportError: the connection has failed for good.
            ClosedError: after the block was left.
            TypeError: the name is not a string, or an argument has a wrong type.
            ValueError: the name is empty or has a lone surrogate, or an argument is out of range.
        """
        name = check_name("event", name)
        check_policies(buffer_size, overflow, gaps)
        check_result_type(type)
        if self._entered:
            self._check_usable()
        buffer = EventBuffer(
            name,
            since=self._backend.time() if self._backend is not None else -math.inf,
            buffer_size=buffer_size,
            buffer_bytes=_BUFFER_BYTES,
            overflow=overflow,
            gaps=gaps,
            unsubscribe=self._unsubscribe,
            abandon=self._abandoned.append,
            check=self._check_stream,
            dropped=self._note_dropped if self._core.observer is not None else None,
        )
        self._sweep()
        buffers = self._buffers.setdefault(name, [])
        buffers.append(buffer)
        if overflow == "block":
            self._blocking.append(buffer)
        if len(buffers) == 1:
            self._tell_subscription(name, True)
        return EventStream(buffer, type)

    async def next_event(self, name: str, type: Any = Any) -> Any:
        """Wait for one event of this name, subscribed for just as long.

        Args:
            name: The event's name as the server knows it.
            type: What to convert it to.

        Returns:
            As `EventStream.receive`.

        Raises:
            ActorError, TransportError: the connection failed for good.
            ClosedError: outside the block, or it was left meanwhile.

        Cancellation: safe.
        """
        return await only_event(self.events(name, type=type))

    def status_changes(self) -> StatusStream:
        """The connection's states from now on; the first item is the state now.

        After the connection's end the stream delivers ``closed`` and ends.
        """
        stream = StatusStream(self._change, self._check_loop)
        if not self._over:
            self._watchers.add(ref(stream, self._watchers.discard))
        return stream

    async def wait_connected(self) -> None:
        """Wait until the connection is open.

        Raises:
            ActorError, TransportError: it failed for good.
            ClosedError: outside the block.

        Cancellation: safe.
        """
        await anyio.lowlevel.checkpoint()
        while self.status is not Status.CONNECTED:
            self._check_usable()
            await self._changed.wait()
        self._check_usable()

    async def send(self, queue: str, body: Any) -> None:
        """As `ActorHandle.send`, over HTTP, to the actor of this connection."""
        await self._handle.send(queue, body)

    async def send_and_wait(
        self, queue: str, body: Any, *, timeout: float | None = None, type: Any = Any
    ) -> QueueResult:
        """As `ActorHandle.send_and_wait`, over HTTP, to the actor of this connection."""
        return await self._handle.send_and_wait(queue, body, timeout=timeout, type=type)

    async def __aenter__(self) -> Connection:
        if self._entered:
            raise RuntimeError("a Connection can be entered once: call connect() again")
        _ = self._core.http
        self._backend = self._core.backend
        assert self._backend is not None
        self._entered = True
        for wait in (Signal.wait, EventBuffer.arrival, StatusStream.receive):
            uninterrupted(wait)
        self._sender.begin(self._backend, codec_for(self._core.config.encoding, Dialect.PLAIN))
        if self._core.observer is not None:
            assert self._subject is not None
            self._observer = self._core.observer.connection(self._subject)
        await self._tasks.enter()
        try:
            self._tasks.start(self._supervise)
            await self._first_settled.wait()
            if self._failure is not None:
                raise self._failure
        except BaseException:
            await self._leave(0.0)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._backend is not None
        check_loop(self._backend, "this connection")
        await self._leave(patience(self._close_timeout, exc_type))

    # What a session tells

    def _take(self, message: Init | ServerError) -> None:
        """Take what is no event and no answer to a call, or one that is an error."""
        assert self._session is not None
        self._session.check_answer(message, issued=self._sender.issued)
        if isinstance(message, ServerError):
            self._take_error(message)
        else:
            self._opened(message)

    # The supervisor

    async def _supervise(self) -> None:
        if self._observer is not None:
            self._observer.background()
        try:
            await self._run_sessions()
        except Exception as exc:
            self._finish(exc)
        except anyio.get_cancelled_exc_class():
            if is_cancelled():
                raise
            # asyncio lets anybody cancel a task, and that must not reach the user's body.
            self._finish(ConnectionLostError("the connection's task was cancelled from outside"))
        finally:
            self._supervised.set()

    async def _run_sessions(self) -> None:
        """One session after another, until the scope is left or there is no point."""
        first: Attempts | None = Attempts(self._retry)
        failures = 0
        while True:
            ended = await self._observed_attempt()
            if self._leaving:
                return
            cause = ended.cause
            if ended.opened:
                first = None
                failures = 0 if ended.held else failures
                self._lose(cause, ended.last_message)
            creates = self._target.creation is not None
            if is_final(ended, has_been_open=first is None, creates=creates):
                raise cause
            if first is not None:
                assert isinstance(cause, ActorError)
                await first.wait(cause, retry_after=ended.retry_after)
                continue
            self._set_status(Status.DISCONNECTED, cause)
            delay = delay_after(ended, failures, self._retry)
            failures += 1
            logger.info(
                "%s: %s; next attempt in %.2f s",
                "connection lost" if ended.opened else "no connection",
                # What the user's own code raised may hold what it was to keep.
                type(cause).__name__ if ended.by_user else cause,
                delay,
            )
            await self._retry.sleep(delay)
            self._attempts += 1
            self._set_status(Status.CONNECTING)
            del ended, cause  # else they live, with their tracebacks, for as long as the next one

    async def _observed_attempt(self) -> Ended:
        if self._observer is None:
            return await self._attempt()
        attempt = self._attempt_observer = self._observer.attempt()
        try:
            ended = await self._attempt()
        except BaseException as exc:
            attempt.end(exc)
            raise
        attempt.end(ended.cause)
        return ended

    async def _attempt(self) -> Ended:
        """One session from dialling to its end."""
        deadline = anyio.current_time() + self._connect_timeout
        try:
            line = await dial(
                self._core,
                self._target,
                _PATH,
                encoding=self._core.config.encoding,
                params=self._params,
                get_params=self._get_params,
                skip_ready_wait=self._skip_ready_wait,
                deadline=deadline,
                observer=self._attempt_observer,
            )
        except ParamsFailed as failed:
            return Ended(failed.error, opened=False, by_user=True)
        except ActorError as error:
            # What answers a handshake with plain HTTP stands before the actor.
            is_before = isinstance(error.__cause__, UpgradeRefused) or may_ask_again(error)
            opening = judge_opening(error, has_engine=is_before)
            return Ended(error, opened=False, opening=opening)
        except Exception as exc:
            return Ended(exc, opened=False)
        async with aclosing(line.stream):
            return await self._run_session(line, deadline)

    async def _run_session(self, line: Line, deadline: float) -> Ended:
        options = self._core.options
        codec = codec_for(self._core.config.encoding, line.server.dialect)
        session = self._session = Session(codec)
        self._refusal = None
        incoming = Incoming(
            session,
            self._sender,
            buffers=self._buffers,
            blocking=self._blocking,
            abandoned=self._abandoned,
            sweep=self._sweep,
            other=self._take,
            observer=self._observer,
        )
        version = line.server.version
        self._may_mask_stops = version is None or version.may_mask_stops
        sender = self._sender
        sender.codec = session.codec
        pump = sender.pump = Pump(
            line.stream,
            RFC6455Framer(options.max_message_size),
            sender.outbox,
            incoming,
            ping_interval=options.ping_interval,
            ping_timeout=options.ping_timeout,
            opening_deadline=deadline,
        )
        began = anyio.current_time()
        self._core.pumps.add(pump)
        try:
            end = await pump.run()
        finally:
            self._core.pumps.discard(pump)
            self._session = sender.pump = None
        opened = session.init is not None
        if opened:
            line.server.codec.dialect = session.codec.dialect
            self._core.doubt(line.server)
        cause = self._refusal or cause_of(end, opened=opened)
        is_explained, opening = False, Opening.OTHER
        if isinstance(cause, ActorError) and opened:
            if judge(cause) is Verdict.STALE:
                self._target.forget(line.actor_id)
        elif isinstance(cause, ActorError):
            try:
                opening = await self._judge_opening(line, cause)
            except ActorError as explained:
                cause, is_explained = explained, True
                opening = Opening.NOT_READY
        held = incoming.heard or anyio.current_time() - began > _HELD_SECONDS
        return Ended(
            cause,
            opened,
            last_message=pump.last_message,
            refused=self._refusal is not None,
            opening=opening,
            explained=is_explained,
            held=held,
            close_code=end.code if isinstance(end, Close) else None,
        )

    async def _judge_opening(self, line: Line, error: ActorError) -> Opening:
        """What an error in place of Init means, as far as the management API can say in time.

        Raises:
            ActorError: why the actor does not start.
        """
        has_engine = line.server.dialect is Dialect.COMPAT
        in_message = self._refusal is not None
        opening = judge_opening(error, has_engine=has_engine, in_message=in_message)
        with anyio.move_on_after(_EXPLAIN_SECONDS):
            if opening is Opening.UNSURE:
                gone = await is_gone(self._core, line.server, line.actor_id)
                opening = Opening.REFUSED if gone is False else Opening.STALE
            await explain(self._core, line.server, line.actor_id, error)
        if opening is Opening.UNSURE:
            opening = Opening.STALE
        if opening is Opening.STALE:
            self._target.forget(line.actor_id)
        return opening

    def _opened(self, init: Init) -> None:
        if self.status is Status.CONNECTED:
            # The 2.3 gateway keeps the socket when the actor's host died, and what was asked of
            # the actor before is never answered.
            moved = ConnectionLostError("the actor was moved and began the connection anew")
            assert self._sender.pump is not None
            self._lose(moved, self._sender.pump.last_message)
        self._init = init
        now = self._opened_at = anyio.current_time()
        if self._observer is not None and self._attempt_observer is not None:
            self._attempt_observer.end(None)
            self._observer.connected()
        logger.info("connected to actor %s, attempt %d", init.actor_id, self._attempts + 1)
        self._sender.session_opened(self._buffers)
        # Who hears of these and acts, acts after the subscriptions.
        if self._lost_at is not None:
            for buffers in self._buffers.values():
                for buffer in buffers:
                    since = max(self._lost_at, buffer.since)
                    buffer.push_gap(Gap(since, now, self._attempts))
                    if self._observer is not None:
                        self._observer.gap(buffer.name)
            self._lost_at = None
        self._attempts = 0
        self._set_status(Status.CONNECTED)
        self._first_settled.set()

    def _lose(self, cause: BaseException, last_message: float) -> None:
        """The open connection is gone: what was written may have run, the rest waits on."""
        self._lost_at = max(last_message, self._opened_at)
        self._sender.session_lost(cause)

    def _take_error(self, message: ServerError) -> None:
        error = actor_error(message.body)
        if message.action_id is not None:
            if is_farewell(error) and self._sender.pump is not None:
                # Calls that wait are sent over the next session; those under way have some time.
                self._sender.pump.stop_sending(_STOPPED_SECONDS)
                self._sender.when_idle = self._desert
            elif is_masked(error) and self._may_mask_stops:
                self._sender.probe(self._desert)
            self._sender.refused(message.action_id, error)
        elif self._session is not None and self._session.init is None:
            self._refusal = error
        else:
            logger.warning("the actor reported an error: %s.%s", error.group, error.code)
            self._set_status(self.status, error)

    def _desert(self) -> None:
        """Leave a connection behind which the actor has stopped."""
        pump = self._sender.pump
        if pump is not None:
            pump.give_up(ConnectionLostError("the actor behind the connection has stopped"))

    def _sweep(self) -> None:
        """Unsubscribe streams that became garbage."""
        while self._abandoned:
            self._unsubscribe(self._abandoned.pop())

    def _unsubscribe(self, buffer: EventBuffer) -> None:
        buffers = self._buffers.get(buffer.name, [])
        if buffer not in buffers:
            return
        self._check_loop()
        buffers.remove(buffer)
        if buffer in self._blocking:
            self._blocking.remove(buffer)
        if not buffers:
            del self._buffers[buffer.name]
            self._tell_subscription(buffer.name, False)

    def _tell_subscription(self, name: str, subscribe: bool) -> None:
        """Now, if the connection is open; else Init brings all of them at once."""
        if self.status is Status.CONNECTED and not self._over:
            self._sender.subscribe(name, subscribe)

    def _set_status(self, status: Status, error: BaseException | None = None) -> None:
        self._change = StatusChange(status, error)
        for watcher in tuple(self._watchers):
            stream = watcher()
            if stream is not None:
                stream.push(self._change)
        self._changed.set()
        self._changed = Signal()

    def _finish(self, failure: BaseException | None) -> None:
        """Nothing happens on this connection any more; everybody who waits learns why."""
        if self._over:
            return
        self._over = True
        self._sender.is_open = False
        self._failure = failure
        self._set_status(Status.CLOSED, failure)
        self._watchers.clear()
        self._sender.session_lost(failure)
        self._sender.give_up_waiting(self._closed_error)
        for buffers in self._buffers.values():
            for buffer in buffers:
                buffer.end(failure)
        self._buffers.clear()
        self._blocking.clear()
        self._first_settled.set()
        if failure is not None and self._init is not None:
            logger.warning("connection failed for good: %s", failure)

    async def _leave(self, seconds: float) -> None:
        self._leaving = True
        self._sender.is_open = False
        left = "the connection's block was left: the action did not run"
        self._sender.give_up_waiting(lambda: ClosedError(left))
        pump = self._sender.pump
        if pump is not None and self._init is not None and not self._over:
            pump.close(1000, "Disposed")
        else:
            seconds = 0.0
        try:
            await self._tasks.leave(self._supervised, seconds)
        finally:
            self._finish(None)

    def _check_usable(self) -> None:
        if not self._sender.is_open:
            raise self._closed_error()
        self._check_loop()

    def _check_stream(self) -> None:
        if not self._entered:
            raise self._closed_error()
        self._check_loop()

    def _check_loop(self) -> None:
        if self._backend is not None and not self._over:
            check_loop(self._backend, "this connection")

    def _note_dropped(self, name: str) -> None:
        if self._observer is not None:
            self._observer.dropped(name)

    def _closed_error(self) -> BaseException:
        if self._failure is not None:
            return again(self._failure)
        if not self._entered:
            return ClosedError("the connection was used before 'async with' entered it")
        return ClosedError("the connection was used after its block was left")


def _loaded(output: Raw, type: Any, name: str) -> Any:
    result = output.load()
    return result if type is Any else convert(result, type, f"result of action {name!r}")
