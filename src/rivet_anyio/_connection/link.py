"""The supervisor of a connection: one socket after another, until the block is left or it fails.

It is the only part of a connection that runs in the background. It never raises: what ends the
connection goes to the state, and everybody who waits learns it from there.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anyio

from .._convert import check_result_type
from .._errors import ActorError, ConnectionLostError
from .._gateway.attempts import Attempts
from .._gateway.call import explained, is_gone
from .._gateway.context import Core, UserFailed
from .._gateway.open import OpenSocket, UpgradeRefused, dial
from .._gateway.resolve import Target
from .._io.backend import Backend, check_loop
from .._io.tasks import ForeignCancellation, SilentTasks, close_seconds
from .._io.waiting import Signal
from .._log import logger
from .._observe import AttemptObserver, Subject
from .._retry import Retry
from .._types import GetParams
from .._websocket.connection import WebSocketConnection
from .._websocket.framing import TOO_BIG, Close
from ..protocol.dialect import Dialect
from ..protocol.encodings import codec_for
from ..protocol.management import ActorInfo
from ..protocol.session import Session
from ..protocol.starts import start_of
from ..protocol.verdicts import (
    Opening,
    Verdict,
    is_unplaced,
    judge,
    judge_opening,
    may_ask_again,
)
from .events import (
    EventBuffer,
    EventStream,
    Gaps,
    Overflow,
    check_event_names,
    check_policies,
)
from .handshake_limit import HandshakeLimit
from .host_checked_socket import CheckedSocket
from .outcome import Ended, cause_of, delay_after
from .receiving import Receiver
from .state import ConnectionState, Phase
from .status import StatusStream

__all__ = ["Link"]

_PATH = "/connect"
_BUFFER_BYTES = 64 * 1024 * 1024
_HEALTHY_SECONDS = 2.0
"""A connection that lasted so long was healthy, although nothing was received on it."""
_EXPLAIN_SECONDS = 5.0
_WARN_SECONDS = 60.0
"""How often a connection that waits for its server says so."""
_SLOW_SECONDS = 1.0
"""A handshake that led to nothing after so long was slow."""


class Link:
    """The inside of a `Connection`, which has no attributes of its own: those are actions.

    Attributes:
        state: Everything the connection knows.
        core: The client.
        subject: What is reported to observers of the actor.
        socket: The WebSocket of the moment.
        retry: Backoff between attempts.
        cancellation: As `Backend.cancellation_check`, from `enter` on.
        warned_at: When it last warned that it waits for its server.
        handshakes: Bounds the handshakes of this connection and others; to be set before `enter`.

    Args:
        core: The client.
        target: The actor.
        params: Connection params.
        get_params: Awaited for the params before every attempt.
        skip_ready_wait: Do not wait at the gateway until the actor is ready.
        connect_timeout: Seconds that one attempt may take.
        close_timeout: Seconds that the closing handshake may take.
        retry: Backoff between attempts.
        wait_for_server: Repeat attempts without end before the first Init, too.
    """

    __slots__ = (
        "__weakref__",
        "_backend",
        "_checked",
        "_close_timeout",
        "_connect_timeout",
        "_first",
        "_get_params",
        "_is_away",
        "_params",
        "_skip_ready_wait",
        "_supervised",
        "_target",
        "_tasks",
        "_waits",
        "_was_hurried",
        "_was_slow",
        "cancellation",
        "core",
        "handshakes",
        "retry",
        "socket",
        "state",
        "subject",
        "warned_at",
    )

    _backend: Backend  # from `enter` on
    cancellation: Callable[[], Awaitable[None] | None]

    def __init__(
        self,
        core: Core,
        target: Target,
        *,
        params: Any,
        get_params: GetParams | None,
        skip_ready_wait: bool,
        connect_timeout: float,
        close_timeout: float,
        retry: Retry,
        wait_for_server: bool,
    ) -> None:
        self.state = ConnectionState(
            creates=target.creation is not None,
            confirm_seconds=connect_timeout,
            waits=wait_for_server,
        )
        self.core = core
        self.subject: Subject | None = None
        if core.observer is not None:
            self.subject = core.subject(target.name, target.key)
        self.socket: WebSocketConnection | None = None
        self._target = target
        self._params = params
        self._get_params = get_params
        self._skip_ready_wait = skip_ready_wait
        self._connect_timeout = connect_timeout
        self._close_timeout = close_timeout
        self.retry = retry
        self._first: Attempts | None = None  # until the first Init
        self._waits = wait_for_server  # until the first Init
        self.warned_at = -math.inf
        self.handshakes: HandshakeLimit | None = None
        self._was_slow = False  # the last attempt led to nothing, and took its time
        self._is_away = False  # the last attempt did not reach the server
        self._was_hurried = False  # a wait has ended early since the last Init
        self._tasks = SilentTasks()
        self._supervised = Signal()
        self._checked: CheckedSocket | None = None

    def check_loop(self) -> None:
        """Raise `RuntimeError` in another event loop or thread than the block's."""
        if self.state.phase not in (Phase.NEW, Phase.CLOSED):
            check_loop(self._backend, "this connection")

    def check_usable(self) -> None:
        """Raise where the connection cannot be used, or not from here."""
        if not self.state.is_open:
            raise self.state.closed_error()
        check_loop(self._backend, "this connection")

    def events(
        self,
        names: str | tuple[str, ...],
        type: Any,
        *,
        buffer_size: int,
        overflow: Overflow,
        gaps: Gaps,
        of_actor: str = "",
    ) -> EventStream[Any]:
        """As `Connection.events`.

        Args:
            type: The type of all values, or their types by the events' names.
            of_actor: What errors say of the actor.
        """
        names = check_event_names(names)
        check_policies(buffer_size, overflow, gaps)
        if not isinstance(type, dict):
            check_result_type(type)
        is_new = self.state.phase is Phase.NEW
        if not is_new:
            self.check_usable()
        buffer = EventBuffer(
            names,
            since=-math.inf if is_new else self._backend.time(),
            buffer_size=buffer_size,
            buffer_bytes=_BUFFER_BYTES,
            overflow=overflow,
            gaps=gaps,
            unsubscribe=self._unsubscribe,
            abandon=self._abandon,
            check=self._check_stream,
            dropped=self._note_dropped if self.core.observer is not None else None,
            confirmed=self.barrier,
        )
        self.state.subscribe(buffer)
        return EventStream(buffer, type, of_actor)

    async def barrier(self, buffer: EventBuffer) -> None:
        """Wait until the server has a buffer's subscriptions, or the buffer has ended."""
        while not buffer.ended and not self.state.has_subscriptions(buffer):
            await self.state.changed.wait()

    def status_changes(self) -> StatusStream:
        """As `Connection.status_changes`."""
        return self.state.watch(self.check_loop)

    def _unsubscribe(self, buffer: EventBuffer) -> None:
        if not buffer.ended:
            self.check_loop()
        self.state.unsubscribe(buffer)

    def _abandon(self, buffer: EventBuffer) -> bool:
        """As `ConnectionState.abandon`; whether the buffer was subscribed."""
        self.state.abandon(buffer)
        return self.state.phase is not Phase.NEW

    def _check_stream(self) -> None:
        if self.state.phase is Phase.NEW:
            raise self.state.closed_error()
        self.check_loop()

    def _note_dropped(self, name: str) -> None:
        if self.state.observer is not None:
            self.state.observer.dropped(name)

    async def enter(self) -> None:
        """Begin; return once the server has said Init, or raise what went wrong."""
        if self.state.phase is not Phase.NEW:
            raise RuntimeError("a Connection can be entered once: call connect() again")
        _ = self.core.http  # raises outside the client's block
        assert self.core.backend is not None
        self._backend = self.core.backend
        self.cancellation = self._backend.cancellation_check()
        codec = codec_for(self.core.config.encoding, Dialect.PLAIN)
        self.state.enter(codec, self._backend.waiter)
        if self.core.observer is not None:
            assert self.subject is not None
            self.state.observer = self.core.observer.connection(self.subject)
        await self._tasks.enter()
        try:
            self._tasks.start_shielded(self._supervise)
            await self.state.settled_first.wait()
            if self.state.failure is not None:
                raise self.state.failure
        except BaseException as exc:
            await self._leave(close_seconds(self._close_timeout, type(exc)))
            raise

    async def leave(self, exc_type: type[BaseException] | None) -> None:
        """End; the closing handshake takes `close_timeout` at most."""
        check_loop(self._backend, "this connection")
        self._tasks.check_task()
        await self._leave(close_seconds(self._close_timeout, exc_type))

    async def _leave(self, seconds: float) -> None:
        self._check_no_more()
        try:
            await self._tasks.leave(self._supervised, self.state.leave(seconds))
        finally:
            self.state.finish(None)

    async def _supervise(self) -> None:
        if self.state.observer is not None:
            self.state.observer.background()
        try:
            with ForeignCancellation(ConnectionLostError, "the connection's task"):
                self._first = None if self._waits else Attempts(self.retry, self.core.time)
                # No local name holds the end of an attempt: it would live until the next one.
                while (delay := self._judge(await self._observed_attempt())) is not None:
                    await self._wait(delay)
                    self.state.attempt_begins()
        except Exception as failure:
            if self.state.init is not None:
                logger.warning("connection failed for good: %s", str(failure))
            self.state.finish(failure)
        finally:
            self._supervised.set()

    async def _wait(self, delay: float) -> None:
        # Once until the next Init: a server that is overloaded must not meet all at each Init.
        if self._is_away and not self._was_hurried:
            self._was_hurried = await self.core.backoffs.sleep(self.retry, delay)
        else:
            await self.retry.sleep(delay)

    def _judge(self, ended: Ended) -> float | None:
        """Seconds until the next attempt, None when the block was left; raises what is final."""
        state = self.state
        if state.phase is Phase.LEAVING:
            return None
        has_point = state.attempt_ended(ended)
        if not has_point:
            raise ended.cause
        self._is_away = ended.is_away
        if ended.opened:
            self._first = None
            self._waits = self._was_hurried = False
        if self._first is not None and isinstance(ended.cause, ActorError):
            return self._first.next_delay(ended.cause)
        delay = delay_after(ended, state.failures, self.retry)
        if self._waits or ended.is_unreached:
            self.core.forget_server()
        if self._waits:
            self._warn(ended.cause)
        logger.info(
            "%s: %s; next attempt in %.2f s",
            "connection lost" if ended.opened else "no connection",
            # What the user's own code raised may hold what it was to keep.
            type(ended.cause).__name__ if ended.by_user else str(ended.cause),
            delay,
        )
        state.retry_later(ended.cause)
        return delay

    def _warn(self, cause: BaseException) -> None:
        now = self._backend.time()
        warned = self if self.handshakes is None else self.handshakes  # one for all of a feed
        if now >= warned.warned_at + _WARN_SECONDS:
            warned.warned_at = now
            logger.warning(
                "actor %r cannot be reached at %s, and the connection waits until it can: %s",
                self._target.name,
                self.core.config.endpoint.url,
                str(cause),
            )

    def _observed_attempt(self) -> Awaitable[Ended]:
        # No coroutine: its frame would live for as long as the connection.
        observer = self.state.observer
        if self.handshakes is not None:
            return self._limited_attempt(self.handshakes)
        if observer is not None:
            return self._ended_attempt(observer.attempt())
        return self._attempt(None)

    async def _limited_attempt(self, handshakes: HandshakeLimit) -> Ended:
        observer = self.state.observer
        handshake = await handshakes.begin(slow=self._was_slow)
        if observer is not None:
            handshake.observer = observer.attempt()
        began = self._backend.time()
        ended = await self._ended_attempt(handshake)
        self._was_slow = not ended.opened and self._backend.time() > began + _SLOW_SECONDS
        return ended

    async def _ended_attempt(self, attempt: AttemptObserver) -> Ended:
        """One attempt, whose observer gets its end."""
        try:
            ended = await self._attempt(attempt)
        except BaseException as exc:
            attempt.end(exc)
            raise
        attempt.end(ended.cause)
        return ended

    async def _attempt(self, observer: AttemptObserver | None) -> Ended:
        """One attempt, from dialling to the end of its connection."""
        deadline = self._backend.time() + self._connect_timeout
        record = await self._record()
        try:
            opened = await dial(
                self.core,
                self._target,
                _PATH,
                encoding=self.core.config.encoding,
                params=self._params,
                get_params=self._get_params,
                skip_ready_wait=self._skip_ready_wait,
                deadline=deadline,
                observer=observer,
            )
        except UserFailed as failed:
            return Ended(failed.error, opened=False, by_user=True)
        except ActorError as error:
            # What answers a handshake with plain HTTP stands before the actor.
            answers_handshake = isinstance(error.__cause__, UpgradeRefused)
            is_before = answers_handshake or may_ask_again(error)
            opening = judge_opening(error, has_engine=is_before)
            if not answers_handshake and is_unplaced(error):
                opening = Opening.AWAY
            return Ended(error, opened=False, opening=opening)
        except Exception as exc:
            return Ended(exc, opened=False)
        async with aclosing(opened):
            found = record or self._target.found
            return await self._run_socket(opened, found, deadline, observer)

    async def _record(self) -> ActorInfo | None:
        """The record of an actor by id, before it is connected to again; None if there is none.

        An actor by key is looked up at every attempt.
        """
        init = self.state.init
        if self._target.is_fixed and init is not None and self.state.knows_start:
            with anyio.move_on_after(min(_EXPLAIN_SECONDS, self._connect_timeout / 4)):
                try:
                    return next(iter(await self.core.find_actors([init.actor_id])), None)
                except Exception as error:
                    logger.debug("the record of actor %s: %s", init.actor_id, str(error))
        return None

    def _check_no_more(self) -> None:
        checked, self._checked = self._checked, None
        if checked is not None:
            self.core.checks.remove(checked)

    async def _run_socket(
        self,
        opened: OpenSocket,
        record: ActorInfo | None,
        deadline: float,
        observer: AttemptObserver | None,
    ) -> Ended:
        codec = codec_for(self.core.config.encoding, opened.server.dialect)
        session = Session(codec, opened.actor_id)
        receiver = Receiver(self.state, session, observer, self.core.backoffs, opened.server.codec)
        socket = self.socket = opened.websocket(
            self.state.outbox, receiver, self.core, opening_deadline=deadline
        )
        receiver.socket = socket
        version = opened.server.version
        masks_stops = version is None or version.may_mask_stops
        asks_first = version is None or version.may_die_of_unsubscribing
        # Where no gateway keeps it, a connection breaks with its host: a start says nothing more.
        is_kept = version is not None and version.has_engine
        start = start_of(record) if is_kept else None
        self.state.socket_opens(
            socket, session.codec, masks_stops=masks_stops, asks_first=asks_first, start=start
        )
        began = self._backend.time()
        self.core.sockets[socket] = None
        if self.state.phase is not Phase.LEAVING and is_kept:
            self._checked = CheckedSocket(self.state, socket, session, self._tasks)
            self.core.checks.add(self._checked)
        try:
            end = await socket.run()
        finally:
            self._check_no_more()
            self.core.sockets.pop(socket, None)
            self.socket = None
            del receiver.socket  # a cycle would keep it until the next collection
        if socket.fault == TOO_BIG:
            logger.warning(
                "actor %r sent %s. Each such message ends the connection, and is lost",
                self._target.name,
                str(end),
            )
        lasted = self._backend.time() - began
        is_open = session.init is not None
        if is_open and self.state.phase is not Phase.LEAVING:
            self.core.invalidate(opened.server)
        cause = receiver.refusal or cause_of(end, opened=is_open)
        is_explained, opening = False, Opening.OTHER
        if isinstance(cause, ActorError) and is_open:
            if judge(cause) is Verdict.STALE:
                self._target.forget(opened.actor_id)
        elif isinstance(cause, ActorError):
            in_message = receiver.refusal is not None
            opening, cause, is_explained = await self._judge_opening(
                opened, record, cause, in_message=in_message
            )
        return Ended(
            cause,
            is_open,
            last_message=socket.last_message,
            refused=receiver.refusal is not None,
            opening=opening,
            explained=is_explained,
            healthy=receiver.received or lasted > _HEALTHY_SECONDS,
            close_code=end.code if isinstance(end, Close) else None,
        )

    async def _judge_opening(
        self, opened: OpenSocket, record: ActorInfo | None, error: ActorError, *, in_message: bool
    ) -> tuple[Opening, ActorError, bool]:
        """What an error in place of Init means, as far as the management API can say in time.

        Returns:
            What it means, the error with its reason, and whether that lasts.
        """
        has_engine = opened.server.dialect is Dialect.COMPAT
        opening = judge_opening(error, has_engine=has_engine, in_message=in_message)
        with anyio.move_on_after(_EXPLAIN_SECONDS):
            if opening is Opening.UNSURE:
                gone = await is_gone(self.core, opened.server, opened.actor_id, record)
                opening = Opening.REFUSED if gone is False else Opening.STALE
            reason, lasts = await explained(self.core, opened.server, opened.actor_id, error)
            if reason is not error:
                return Opening.NOT_READY, reason, lasts
        if opening is Opening.UNSURE:
            opening = Opening.STALE
        if opening is Opening.STALE:
            self._target.forget(opened.actor_id)
        return opening, error, False
