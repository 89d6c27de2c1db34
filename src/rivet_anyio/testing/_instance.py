"""The life of one actor: created, awake, asleep, destroyed."""

from __future__ import annotations

import datetime as dt
import heapq
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio
import anyio.abc
import httpx
from anyio import CancelScope, move_on_after

from .._errors import ActorError, ActorSpecifier, again
from .._io.waiting import Signal
from ..protocol.keys import escape_key
from ._actors import Actor, actions_of
from ._context import ActorContext
from ._limits import Limits
from ._peers import ActorConnection, current_connection
from ._queue import Mailbox, QueueMessage
from ._records import ActionCalled, ActorCreated, ActorDestroyed, ActorRef, Log
from ._release import Release
from ._steps import begin
from ._storage import StateCodec, Storage
from ._timeline import Timeline, shown

if TYPE_CHECKING:
    from ._faults import Faults
    from ._websocket import ServerWebSocket

__all__ = ["Host", "Instance", "internal_error", "logger", "not_found", "working_for"]

logger = logging.getLogger("rivet_anyio.testing")

_DEATH_SECONDS = 6.0
"""How long the engine of 2.3 takes to find out that a host is dead."""
_WAKE_SECONDS = 3.0
"""How long it waits for a host that could start an actor."""
_STARTS = 9
_START_SECONDS = 0.25
"""How often an engine starts an actor that fails to start, and how long it waits in between."""
_STATE_BYTES = 128 * 1024
"""How long a state can be in 2.1 and 2.2."""
_BEGIN_SECONDS = 0.05
"""How long after its creation 2.3 starts an actor that nobody calls."""
HOOK_SECONDS = 5.0
_GRACE_SECONDS = 15.0
_BRIEF_SECONDS = 0.005
"""How long an actor that stops waits for what is under way, before anything else."""

_End = Literal["sleep", "destroy", "crash"]

_T = TypeVar("_T")


class Host:
    """What all actors of a server share.

    Attributes:
        release: The RivetKit version that is played.
        log: What happened.
        faults: What shall go wrong.
        tasks: Where actors live.
        crashes: What `Actor.run` raised, or what kept an actor from being made.
        limits: How large messages can be.
        timeline: What happened, for people.
        state: How states are saved.
        now: The server's date.
        deaths: How often the process has died that runs the actors.
        is_silent: Whether nothing that actors send leaves it any more.
        unnoticed: How many actors have died, and the engine does not know.
        changed_at: When the last death was noticed, or the last start came after one.
    """

    def __init__(
        self,
        release: Release,
        log: Log,
        faults: Faults,
        limits: Limits,
        timeline: Timeline,
        now: Callable[[], dt.datetime],
    ) -> None:
        self.release = release
        self.limits = limits
        self.timeline = timeline
        self.log = log
        self.faults = faults
        self.state = StateCodec(release)
        self.now = now
        self.is_down = self.is_silent = False
        self._back = Signal()
        self.deaths = self.unnoticed = 0
        self.changed_at = -math.inf
        self._heard = Signal()
        self.crashes: list[tuple[ActorRef, Exception]] = []
        self.forget: Callable[[Instance], None] = lambda instance: None
        self._tasks: anyio.abc.TaskGroup | None = None

    def enter(self, tasks: anyio.abc.TaskGroup) -> None:
        """The server has been entered."""
        self._tasks = tasks

    @property
    def tasks(self) -> anyio.abc.TaskGroup:
        """The server's task group; there is one inside its block."""
        assert self._tasks is not None
        return self._tasks

    @property
    def news_at(self) -> float:
        """See `ActorHost`."""
        return math.inf if self.unnoticed or self.is_silent else self.changed_at

    @contextmanager
    def downtime(self) -> Generator[None]:
        """Inside this block no actor wakes by itself."""
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False
            self._back.set()
            self._back = Signal()

    @contextmanager
    def silence(self) -> Generator[None]:
        """Inside this block nothing that actors send leaves the server."""
        self.is_silent = True
        try:
            yield
        finally:
            self.is_silent = False
            heard, self._heard = self._heard, Signal()
            heard.set()

    async def heard(self) -> None:
        """Wait until what actors send leaves the server."""
        while self.is_silent:
            await self._heard.wait()

    async def up(self) -> None:
        """Wait until the server runs."""
        while self.is_down:
            await self._back.wait()


class _Life:
    """From one start to the stop that follows."""

    def __init__(self) -> None:
        self.scope = CancelScope()
        self.started = Signal()
        self.stopping = Signal()
        self.ended = Signal()
        self.was_awake = False
        self.error: Exception | None = None
        self.end: _End = "sleep"
        self.is_running = False
        self.queue_waits = 0


class Instance:
    """One actor.

    Attributes:
        ref: Which.
        created_at: When, in seconds of `anyio.current_time`.
        started_at: When it started first, up to 2.2 when it started last, or None.
        connectable_at: When the start began that the server knows, or None.
        slept_at: Since when it sleeps; None: it does not.
        destroyed_at: When it was destroyed, or None.
        generation: How often it was started.
        connections: Its open connections.
        mailbox: Its queues.
        calls: How many calls are under way.
        crashes: How often it ended without warning.
        start_error: Why it could not start, or does not run, as the engine reports it.
        channels: Its open raw WebSockets.
    """

    def __init__(self, host: Host, ref: ActorRef, factory: Callable[[], Actor], input: Any) -> None:
        self.ref = ref
        self.created_at = anyio.current_time()
        self.started_at: float | None = None
        self.connectable_at: float | None = None
        self._newest_start = -math.inf
        self.slept_at: float | None = None
        self.destroyed_at: float | None = None
        self.generation = 0
        self.connections: dict[str, ActorConnection] = {}
        self.mailbox = Mailbox(self._check_response)
        self.calls = 0
        self._scopes: dict[CancelScope, None] = {}
        self._loose_calls = 0  # those under way that do not keep it awake
        self._handlers = 0  # of raw WebSockets
        self.crashes = 0
        self.start_error: Any = None
        self.channels: dict[ServerWebSocket, None] = {}
        self._unnoticed: Signal | None = None  # set when the engine knows that its host died
        self._has_died = False
        self._is_broken = False  # the last start failed: up to 2.2 that is for good
        self._host = host
        self._factory = factory
        self._input = input
        self._is_created = False
        self._is_outdated = False
        self._life: _Life | None = None
        self._quiet = Signal()
        self._rested_at = self.created_at
        self._vars: Any = None
        self._is_waking = False
        self._is_mute = False  # from its end to its next start, up to 2.2
        self._alarms: list[tuple[float, int, str, bytes]] = []
        self._alarm_count = 0
        self._is_too_large = False
        self._is_deaf = False  # to its alarms
        self.actor = self._make()
        self.actor._context = ActorContext(self)
        self._actions = actions_of(type(self.actor))
        self._runs = type(self.actor).run is not Actor.run and host.release.has_queues
        self._storage = Storage(self.actor.state_save_interval)
        host.log._append(ActorCreated(self.created_at, ref, input))

    def _make(self) -> Actor:
        actor = self._factory()
        if not isinstance(actor, Actor):
            raise TypeError(f"{self._factory!r} makes {actor!r}, which is no Actor")
        return actor

    @property
    def release(self) -> Release:
        """The RivetKit version that is played."""
        return self._host.release

    @property
    def is_awake(self) -> bool:
        """Whether it has started and does not stop."""
        life = self._life
        return life is not None and life.started.is_set() and not life.stopping.is_set()

    @property
    def is_dead(self) -> bool:
        """Whether its host has died, and the engine does not know."""
        return self._unnoticed is not None

    @property
    def is_destroyed(self) -> bool:
        """Whether it is gone for good."""
        return self.destroyed_at is not None

    @property
    def specifier(self) -> ActorSpecifier:
        """How the actor signs its errors: an empty key is the empty string here."""
        key = escape_key(self.ref.key) if self.ref.key else ""
        return ActorSpecifier(self.ref.id, max(self.generation, 1), key)

    @property
    def key_inside(self) -> tuple[str, ...]:
        """The key as the actor itself sees it: in 2.0, what the client wrote is one part."""
        key = self.ref.key
        return key if self._host.release.minor else (escape_key(key),)

    def signed(self, error: Exception) -> ActorError:
        """What the client sees of an error, signed by the actor where its version does that."""
        release = self._host.release
        seen = error if isinstance(error, ActorError) else internal_error(release)
        if not release.has_engine:
            return seen
        return ActorError(
            seen.group,
            seen.code,
            seen.message,
            metadata=seen.metadata,
            actor=seen.actor or self.specifier,
        )

    def _check_response(self, response: Any) -> None:
        if self._host.release.has_engine:
            self._host.state.dump_args([response])

    def has_queue(self, name: str) -> bool:
        """Whether the actor takes messages to this queue."""
        declared = type(self.actor).queues
        return declared is None or name in declared

    def enqueue(self, message: QueueMessage) -> None:
        """Take a message in; raises as `Mailbox.put`."""
        size = len(self._host.state.dump_body(message.body))
        self.mailbox.put(message, size, self.actor.max_queue_message_size)

    def check_queues(self) -> None:
        """Raise `RuntimeError` in 2.0, which has none."""
        if not self._host.release.has_queues:
            raise RuntimeError(f"RivetKit {self._host.release.version} has no queues")

    def check_queue(self, name: str) -> None:
        """Raise `LookupError` for a queue that the actor takes from and does not declare."""
        if not self.has_queue(name):
            cls = type(self.actor)
            declared = ", ".join(sorted(cls.queues or ())) or "none"
            raise LookupError(f"{cls.__name__} has no queue {name!r}, only: {declared}")

    async def begin(self) -> None:
        """It has been created: 2.0 lets it wait for a call, and 2.3 starts it a moment later.

        Raises:
            ActorError: in 2.1 and 2.2, when it cannot start.
        """
        if self._host.release.is_serial:
            await self.ready()
        elif self._host.release.has_engine:
            self._host.tasks.start_soon(self._begin)

    async def _begin(self) -> None:
        await anyio.sleep(_BEGIN_SECONDS)
        if self._life is None and not self.generation and not self.is_destroyed:
            with suppress(ActorError):
                await self.ready()

    async def ready(self) -> None:
        """Start it unless it runs.

        Raises:
            ActorError: ``actor.not_found`` when it is gone, or what is said of an actor that
                cannot start.
        """
        starts = 0
        while not self.is_awake:
            if self.is_destroyed:
                raise not_found(self._host.release, self.ref.id)
            if self._unnoticed is not None:
                await self._unnoticed.wait()
                continue
            if self._is_broken and not self._host.release.has_engine:
                raise internal_error(self._host.release)
            life = self._life
            if life is None and self._host.is_down:
                with move_on_after(_WAKE_SECONDS):
                    await self._host.up()
                    continue
                self.start_error = "no_envoys"
                raise ActorError("guard", "actor_wake_retries_exceeded", "no_envoys")
            if life is None:
                life = self._life = _Life()
                self._host.tasks.start_soon(self._live, life)
            elif life.stopping.is_set():
                await life.ended.wait()
                continue
            await life.started.wait()
            if life.error is not None:
                starts += 1
                if starts == _STARTS or not self._host.release.has_engine:
                    raise self._not_started(life.error)
                await anyio.sleep(_START_SECONDS)
            if life.was_awake:
                # It may stop already: this call still belongs to the life that it began.
                return

    async def call(
        self,
        connection: ActorConnection | None,
        name: str,
        args: tuple[Any, ...],
        delay: float = 0.0,
        answer: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Run an action; what it returned, or what `answer` made of that.

        Args:
            connection: Who called; None: nobody, it was scheduled.
            name: The action.
            args: Its arguments.
            delay: How many seconds it waits first. They count for the time that it may take.
            answer: Called with what it returned, also when that is too late. As in JavaScript, no
                other action runs between its end and this. None leaves it as it is.

        Raises:
            ActorError: when there is no such action, or it took too long.
            TypeError: when the actor's state cannot be saved after it.
            Exception: what the action raised.
        """
        method = self._actions.get(name)
        if method is None:
            raise self._no_such_action(name)

        async def run() -> Any:
            with working_for(connection), self.signing(), self.changing():
                output = await getattr(self.actor, method)(*args)
            self.note(f"{name} returned {shown(output)}")
            return output if answer is None else answer(output)

        scope = CancelScope(deadline=anyio.current_time() + self.actor.action_timeout)
        if delay:
            with self._living(scope):
                await anyio.sleep(delay)
            if scope.cancelled_caught:
                raise self._cut_short(scope)
        return await self._wait_for(name, run, scope.deadline)

    async def _wait_for(self, name: str, work: Callable[[], Awaitable[_T]], deadline: float) -> _T:
        """Run code of the actor, and wait for it: until the deadline, after which it goes on.

        Raises:
            ActorError: when it takes too long, or ended with the actor.
            Exception: what it raised.
        """
        results: list[_T] = []
        errors: list[Exception] = []
        over = Signal()
        life = CancelScope()

        async def run() -> None:
            try:
                with life:
                    results.append(await work())
            except Exception as exc:
                if waiting.cancelled_caught:
                    logger.error("%s: %s failed, too late", self.ref, name, exc_info=exc)
                errors.append(exc)
            finally:
                del self._scopes[life]
                over.set()

        self._scopes[life] = None
        with CancelScope(deadline=deadline) as waiting:
            await begin(self._host.tasks, run)
            await over.wait()
        for error in errors:
            raise error
        for result in results:
            return result
        if over.is_set():
            raise ActorError("actor", "stopping", "Actor stopping")
        raise self.timed_out()

    async def respond(self, connection: ActorConnection, request: httpx.Request) -> httpx.Response:
        """Let the actor answer a raw request; in 2.3 it has as long as an action.

        Raises:
            ActorError: when it took too long, or answers with something else.
            Exception: what the hook raised.
        """

        async def run() -> httpx.Response:
            with working_for(connection), self.changing():
                response: object = await self.actor.on_request(request)
            if not isinstance(response, httpx.Response):
                logger.error("%s: on_request returned %r, no httpx.Response", self.ref, response)
                raise self._no_response(response)
            if response.status_code < HTTPStatus.OK:
                raise ValueError(f"no response can have the status {response.status_code}")
            return response

        has_engine = self._host.release.has_engine
        longest = self.actor.action_timeout if has_engine else math.inf
        return await self._wait_for("on_request", run, anyio.current_time() + longest)

    def _no_response(self, response: object) -> ActorError:
        if self._host.release.has_engine or response is not None:
            return internal_error(self._host.release)
        text = (
            "Actor's onRequest handler must return a Response object. Returning void/undefined is "
            "not allowed. (https://www.rivet.dev/docs/actors/fetch-and-websocket-handler/)"
        )
        return ActorError("handler", "invalid_request_handler_response", text)

    async def hold_up(self, seconds: float) -> None:
        """Wait instead of an action.

        Raises:
            ActorError: when the actor stopped meanwhile, or it took too long.
        """
        scope = CancelScope(deadline=anyio.current_time() + self.actor.action_timeout)
        with self._living(scope):
            await anyio.sleep(seconds)
            return
        raise self._cut_short(scope)

    def _cut_short(self, scope: CancelScope) -> ActorError:
        """Why an action did not come to its end."""
        if anyio.current_time() < scope.deadline:
            return ActorError("actor", "stopping", "Actor stopping")
        return self.timed_out()

    @contextmanager
    def socket(self, channel: ServerWebSocket) -> Generator[None]:
        """A raw WebSocket is open."""
        self.channels[channel] = None
        try:
            yield
        finally:
            del self.channels[channel]

    @contextmanager
    def handling(self, connection: ActorConnection) -> Generator[None]:
        """The handler of a raw WebSocket runs, at the longest until the server ends.

        Since 2.2 the actor stays awake for it, also when the WebSocket has ended.
        """
        self._handlers += 1
        try:
            with working_for(connection), self.changing():
                yield
        finally:
            self._handlers -= 1
            if self._host.release.minor >= 2:
                self._rest()

    # The state

    def save(self) -> None:
        """Save the state now.

        Raises:
            TypeError: when something in it cannot be saved; the message names the path.
        """
        self._storage.save(self._dump(), anyio.current_time())

    def changed(self) -> None:
        """The actor's own code has run: its state may be another.

        Raises:
            TypeError: as `save`.
        """
        if self._is_created:
            self._storage.note(self._dump(), anyio.current_time())

    @contextmanager
    def changing(self) -> Generator[None]:
        """The actor's own code runs."""
        try:
            yield
        except BaseException:
            with self.guarded("to save its state"):
                self.changed()
            raise
        self.changed()

    def _dump(self) -> bytes:
        try:
            data = self._host.state.dump(self.actor)
        except TypeError as exc:
            raise TypeError(
                f"the state of {self.ref} cannot be saved: {exc}. Put what is not to be saved into "
                "an attribute that begins with an underscore, or into context.vars"
            ) from None
        if len(data) > _STATE_BYTES and self._host.release.is_serial and not self._is_too_large:
            self._is_too_large = True
            version = self._host.release.version
            text = f"its state has {len(data)} bytes: RivetKit {version} dies when it saves it"
            self._host.crashes.append((self.ref, ValueError(text)))
        return data

    def recover(self, *, loses_unsaved: bool) -> None:
        """After a crash: the state is what was saved, or what it was.

        Raises:
            TypeError: as `save`.
        """
        now = anyio.current_time()
        if self._is_created and not loses_unsaved:
            self.save()
        data = self._storage.read(now)
        if data is not None:
            self._storage.save(data, now)
        self._reload(data)
        self._is_broken = False
        if self._is_deaf:
            self._is_deaf = False
            for alarm in self._alarms:
                self._host.tasks.start_soon(self._ring, alarm)

    def _reload(self, data: bytes | None) -> None:
        """Make the actor anew, with a state that was saved.

        What is under way goes on with the state that it has, and nobody saves that. Where nothing
        is, the object stays the same: tests may hold it.
        """
        context, fresh = self.actor._context, self._make()
        own = {**vars(fresh)}
        if data is not None:
            own = {name: value for name, value in own.items() if name.startswith("_")}
            own |= self._host.state.load(data)
        if self._goes_on:
            self.actor = fresh
        vars(self.actor).clear()
        vars(self.actor).update(own)
        self.actor._context = context

    # Actions later

    def schedule(self, seconds: float, action: str, args: tuple[Any, ...]) -> None:
        """Run an action later.

        Raises:
            TypeError: when an argument cannot be saved.
        """
        when = anyio.current_time() + seconds
        self._alarm_count += 1
        alarm = (when, self._alarm_count, action, self._host.state.dump_args(args))
        heapq.heappush(self._alarms, alarm)
        self._host.tasks.start_soon(self._ring, alarm)

    def forget(self) -> None:
        """The server begins without it: neither a call that waits nor an alarm starts it."""
        self.destroyed_at = anyio.current_time()
        self._alarms.clear()

    async def _ring(self, alarm: tuple[float, int, str, bytes]) -> None:
        await anyio.sleep_until(alarm[0])
        await self._host.up()
        if not self._is_deaf:
            await self._sound(alarm)

    async def _sound_the_overdue(self) -> None:
        """In 2.2 an actor that went to sleep does not wake for its alarms, but finds them."""
        if self._is_deaf:
            self._is_deaf = False
            for alarm in sorted(self._alarms):
                if alarm[0] <= anyio.current_time():
                    await begin(self._host.tasks, partial(self._sound, alarm, is_starting=True))

    async def _sound(
        self, alarm: tuple[float, int, str, bytes], *, is_starting: bool = False
    ) -> None:
        _, _, action, data = alarm
        if self.is_destroyed or alarm not in self._alarms:
            return
        self._alarms.remove(alarm)
        heapq.heapify(self._alarms)
        args = tuple(self._host.state.load_args(data))
        self._host.log._append(ActionCalled(anyio.current_time(), self.ref, action, args, None))
        with self.guarded(f"the scheduled action {action!r}"):
            if not is_starting:
                await self.ready()
            self._rest()
            with self.busy(keeps_awake=self._host.release.minor >= 2):
                await self.call(None, action, args)

    def now(self) -> dt.datetime:
        """The server's date."""
        return self._host.now()

    @property
    def vars(self) -> Any:
        """What `Actor.create_vars` made."""
        if self._vars is None:
            raise RuntimeError("an actor has its vars from on_wake on, not before")
        return self._vars

    def note(self, text: str) -> None:
        """Something happened to the actor, or it did something."""
        self._host.timeline.add("server", f"{self.ref} {text}")

    # Events

    def broadcast(self, event: str, args: tuple[Any, ...]) -> None:
        """Send an event to whom it may concern, as each version does it.

        Raises:
            TypeError: when an argument cannot travel.
            ActorError: when it is too long.
            RuntimeError: up to 2.2, in `Actor.on_wake` and once the actor stops.
        """
        release = self._host.release
        if release.has_engine:
            self._host.state.dump_args(args)
        if self._is_waking:
            if not release.has_engine:
                raise RuntimeError(f"RivetKit {release.version} does not broadcast in on_wake")
            return
        if self._is_mute:
            raise RuntimeError(f"RivetKit {release.version} broadcasts nothing once an actor stops")
        for connection in tuple(self.connections.values()):
            if connection._channel is None:
                continue
            try:
                connection._channel.deliver(event, args, subscribed_only=True)
            except TypeError:
                if release.has_engine:
                    raise
                logger.exception("%s: the event %r cannot travel, and is not sent", self.ref, event)
                return

    @contextmanager
    def _living(self, scope: CancelScope) -> Generator[None]:
        """Something that the end of the actor's life may cut short."""
        self._scopes[scope] = None
        try:
            with scope:
                yield
        finally:
            del self._scopes[scope]

    def _end_calls(self) -> None:
        for scope in tuple(self._scopes):
            scope.cancel()

    @contextmanager
    def signing(self) -> Generator[None]:
        """Sign the errors of the actor's own code, which may be in the words of a gateway."""
        try:
            yield
        except ActorError as error:
            raise self.signed(self._masked(error)) from error.__cause__

    def _masked(self, error: ActorError) -> ActorError:
        """2.3 passes on the text of an error that the actor made in its own name, and no other."""
        is_own = error.group == "user" or (error.group, error.code) == ("actor", "not_found")
        if is_own or not self._host.release.has_engine:
            return error
        text = internal_error(self._host.release).message
        return ActorError(error.group, error.code, text, actor=error.actor)

    def timed_out(self) -> ActorError:
        """What is said of an action that took too long."""
        if self._host.release.has_engine:
            return ActorError("actor", "action_timed_out", "Action timed out")
        hint = "This can be increased with: `actor({ options: { action: { timeout: ... } } })`"
        return ActorError("action", "timed_out", f"Action timed out. {hint}")

    async def admit(self, connection: ActorConnection) -> None:
        """Ask the actor whether it takes this connection.

        Raises:
            ActorError: when it does not, or takes too long.
            Exception: what the hook raised.
        """
        connection._crashes = self.crashes
        await self._ask(connection, "on_before_connect")
        connection.state = await self._ask(connection, "create_conn_state")
        connection._needs_state = not self._host.release.has_engine

    async def welcome(self, connection: ActorConnection) -> None:
        """Notify the actor of a connection that is one of its own now.

        Up to 2.2 nobody waits for more than the hook's first step. When it fails later, the
        connection is closed.

        Raises:
            ActorError: when the hook took too long, or one of the hooks destroyed the actor.
            Exception: what the hook raised.
        """
        if self._host.release.has_engine:
            await self._ask(connection, "on_connect")
            if self.is_destroyed and not connection._is_request:
                raise ActorError("actor", "destroying", "An internal error occurred")
            return
        failed: list[Exception] = []

        async def greet() -> None:
            try:
                await self._ask(connection, "on_connect")
            except Exception as error:
                failed.append(error)
                if connection._may_send:
                    logger.error("%s: on_connect failed", self.ref, exc_info=error)
                    connection.disconnect("`onConnect` failed")

        connection._may_send = False
        await begin(self._host.tasks, greet)
        connection._may_send = True
        if failed:
            raise failed[0]

    async def admit_subscription(self, connection: ActorConnection, event: str) -> None:
        """Ask the actor whether a connection may be subscribed to an event.

        Raises:
            ActorError: when it may not, or the actor takes too long.
            Exception: what the hook raised.
        """
        if self._host.release.minor == 0:
            return
        with self.signing():
            if not await self._ask(connection, "can_subscribe", event):
                raise ActorError("auth", "forbidden", "Forbidden")

    async def _ask(self, connection: ActorConnection, hook: str, *args: object) -> Any:
        with working_for(connection), move_on_after(HOOK_SECONDS), self.changing():
            return await getattr(self.actor, hook)(connection, *args)
        if self._host.release.has_engine:
            raise ActorError("actor", "callback_timed_out", f"{hook} took too long")
        raise internal_error(self._host.release)

    async def part(self, connection: ActorConnection, *, is_kept_awake: bool = False) -> None:
        """Call `Actor.on_disconnect`, unless the actor has crashed since.

        In 2.3, where connections outlast a sleep, that wakes the actor. 2.1 and 2.2 call it more
        often for a connection that the actor has closed.

        Args:
            connection: The one that has ended.
            is_kept_awake: Whether the actor does not stop meanwhile, because it is `busy`.
        """
        self._rest()
        if connection._crashes != self.crashes:
            return
        is_up = is_kept_awake and self._life is not None
        if self._host.release.has_engine and not self.is_destroyed and not is_up:
            with self.guarded("to wake for on_disconnect"):
                await self.ready()
        for _ in range(self._partings(connection)):
            # In 2.0 no actor stays awake for the hook.
            busy = self.busy(keeps_awake=self._host.release.minor >= 1)
            with busy, self.guarded("on_disconnect"), self.changing():
                await self.actor.on_disconnect(connection)

    def _partings(self, connection: ActorConnection) -> int:
        """2.1 and 2.2 call the hook for each time that the actor closed the connection."""
        if self._host.release.minor == 1:
            return max(1, connection.is_http + connection._closings)
        if self._host.release.minor == 2:
            return 1 + connection._closings
        return 1

    @contextmanager
    def guarded(self, what: str) -> Generator[None]:
        """Log what a hook raises, where no client waits for it."""
        try:
            yield
        except Exception as exc:
            logger.exception("%s: %s failed", self.ref, what)
            self.note(f"{what} failed: {shown(exc)}")

    @contextmanager
    def busy(self, *, keeps_awake: bool = True) -> Generator[None]:
        """A call is under way: the actor does not stop before its answer is out.

        Args:
            keeps_awake: Whether it does not fall asleep by itself either.
        """
        self.calls += 1
        self._loose_calls += not keeps_awake
        try:
            yield
        finally:
            self.calls -= 1
            self._loose_calls -= not keeps_awake
            if keeps_awake:
                self._rest()
            else:
                self._stir()

    @property
    def _goes_on(self) -> bool:
        """Whether something is under way that, up to 2.2, outlasts the sleep of its actor."""
        return bool(self.calls or self._handlers) and not self._host.release.has_engine

    def _rest(self) -> None:
        """Something has ended that kept the actor from resting."""
        self._rested_at = anyio.current_time()
        self._stir()

    def _stir(self) -> None:
        """Whether it rests may be another thing now."""
        self._quiet.set()
        self._quiet = Signal()

    def waits_for_queue(self, change: int) -> None:
        """One task more, or less, waits for a message; `Actor.run` rests meanwhile."""
        life = self._life
        if life is not None:
            life.queue_waits += change
            self._rest()

    def _is_resting(self, life: _Life) -> bool:
        handlers = self._handlers if self._host.release.minor >= 2 else 0
        is_active = self.calls > self._loose_calls or self.connections or handlers
        return not is_active and (life.queue_waits > 0 or not life.is_running)

    async def _until_quiet(self, seconds: float) -> None:
        """Wait until no call is under way, for some seconds at most."""
        with move_on_after(seconds):
            while self.calls:
                await self._quiet.wait()

    async def _until_stopping(self, life: _Life) -> None:
        """Wait until it is to stop; after a rest that is long enough, it is."""
        timeout = self.actor.sleep_timeout
        while not life.stopping.is_set():
            if timeout is None:
                await life.stopping.wait()
            elif not self._is_resting(life):
                await self._quiet.wait()
            elif anyio.current_time() >= self._rested_at + timeout:
                self.stop("sleep")
            else:
                with CancelScope(deadline=self._rested_at + timeout):
                    await life.stopping.wait()

    def destroy(self) -> None:
        """Begin to stop for good, because the actor says so.

        Raises:
            ActorError: in 2.3, when it was said before.
        """
        if self._host.release.has_engine and self.is_destroyed:
            raise ActorError("actor", "stopping", "Actor is stopping.")
        life = self._life
        if life is None or life.end != "sleep" or not life.stopping.is_set():
            self.stop("destroy")

    def stop(self, end: _End) -> None:
        """Begin to stop; what is under way is waited for."""
        if end == "destroy" and not self.is_destroyed:
            self.destroyed_at = anyio.current_time()
            self._host.log._append(ActorDestroyed(self.destroyed_at, self.ref))
            self._host.forget(self)
        life = self._life
        if life is None:
            if end == "destroy":
                self._host.tasks.start_soon(self._bury)
            return
        life.end = end if life.end != "destroy" else "destroy"
        self._is_deaf = end == "sleep" and self._host.release.minor == 2
        life.stopping.set()
        self._stir()
        if end == "crash":
            self.crashes += 1
            life.scope.cancel()
            self._end_calls()

    def die(self) -> bool:
        """Its host dies, and the gateway keeps its connections; whether it ran."""
        if self._life is None:
            return False
        if self._unnoticed is None:
            self._unnoticed = Signal()
            self._host.unnoticed += 1
            self._host.tasks.start_soon(self._notice_death, self._unnoticed)
        self._has_died = True
        self.stop("crash")
        for channel in self.channels:
            channel.close(1000, "")
        return True

    async def _notice_death(self, unnoticed: Signal) -> None:
        await anyio.sleep(_DEATH_SECONDS)
        now = anyio.current_time()
        self._unnoticed = self.connectable_at = None
        self.start_error = {"envoy_connection_lost": {"envoy_key": "host"}}
        self.slept_at = self._host.changed_at = now
        self._host.unnoticed -= 1
        self.note("is known to be dead")
        unnoticed.set()

    async def stopped(self) -> None:
        """Wait until it does not run any more."""
        if self._life is not None:
            await self._life.ended.wait()

    async def _live(self, life: _Life) -> None:
        current_connection.set(None)
        release, leaves = self._host.release, False
        try:
            with life.scope:
                await self._start()
                life.was_awake = True
                await self._sound_the_overdue()
                life.started.set()
                async with anyio.create_task_group() as tasks:
                    if self._runs:
                        life.is_running = True
                        tasks.start_soon(self._run, life)
                    self._rested_at = anyio.current_time()
                    await self._until_stopping(life)
                    await self._until_quiet(_BRIEF_SECONDS)
                    leaves = release.leaves_calls(life.end)
                    self._is_mute = release.minor <= 1
                    if leaves or not release.has_engine:
                        await self._notify(life.end)
                    self._is_mute = not release.has_engine
                    if leaves:
                        self._let_go(closes=True)
                    if release.has_engine:  # those before wait for nothing
                        await self._until_quiet(_GRACE_SECONDS)
                    tasks.cancel_scope.cancel()
                if release.has_engine:
                    self._end_calls()
                if release.has_engine and not leaves:
                    await self._notify(life.end)
                self._wind_up(life.end)
        except Exception as exc:
            logger.exception("%s: the actor cannot start", self.ref)
            life.error = exc
            self._is_broken = True
        finally:
            life.started.set()
            life.stopping.set()
            life.ended.set()
            self._life = None
            self.mailbox.give_back()
            if self._unnoticed is None:
                self.connectable_at = None
                if not self.is_destroyed:
                    self.slept_at = anyio.current_time()

    async def _start(self) -> None:
        if self._is_broken:
            self._is_broken = False
            self._reload(self._storage.read(anyio.current_time()))
        if not self._is_created:
            await self.actor.on_create(self._input)
            self.save()
            self._is_created = True
        if self._is_outdated:
            self._is_outdated = False
            self._reload(self._storage.read(anyio.current_time()))
        self.generation += 1
        self.slept_at = None
        self._is_mute = False
        # Two starts differ by what a record can say, at least.
        self._newest_start = max(anyio.current_time(), self._newest_start + 0.001)
        self.connectable_at = self._newest_start
        if self.started_at is None or not self._host.release.has_engine:
            self.started_at = self._newest_start
        self.start_error = None
        if self._has_died:
            self._has_died = False
            self._host.changed_at = anyio.current_time()
            for connection in self.connections.values():
                connection._crashes = self.crashes  # the gateway has moved it to this start
        self.note("wakes")
        self._vars = await self.actor.create_vars()
        self._is_waking = True
        try:
            await self.actor.on_wake()
            self.changed()  # not what a start has changed that fails
        finally:
            self._is_waking = False

    async def _run(self, life: _Life) -> None:
        try:
            with self.changing():
                await self.actor.run()
        except Exception as exc:
            logger.exception("%s: run() failed", self.ref)
            self.note(f"run() failed: {shown(exc)}")
            self._host.crashes.append((self.ref, exc))
        life.is_running = False
        self._rest()
        if self._host.release.minor == 1 and not life.stopping.is_set():
            self.stop("destroy")

    async def _notify(self, end: _End) -> None:
        """The actor's hook for its end; up to 2.2 it runs before what is under way has ended."""
        if end == "sleep":
            self.note("sleeps")
            with self.guarded("on_sleep"):
                await self.actor.on_sleep()
        elif end == "destroy":
            with self.guarded("on_destroy"):
                await self.actor.on_destroy()

    def _wind_up(self, end: _End) -> None:
        if end == "sleep":
            self._let_go(closes=self._host.release.minor == 0)
            try:
                self.save()
            except TypeError as exc:
                self._host.crashes.append((self.ref, exc))
            if self._goes_on:
                # What is under way may still change the state, and save it, until the next start.
                self._is_outdated = True
            else:
                self._reload(self._storage.read(anyio.current_time()))
        elif end == "destroy":
            self._let_go(closes=True)

    async def _bury(self) -> None:
        await self._notify("destroy")
        self._wind_up("destroy")

    def _let_go(self, *, closes: bool) -> None:
        """What becomes of connections: 2.3 keeps them while the actor sleeps, but for raw
        WebSockets; 2.0 closes them, 2.1 and 2.2 forget them without a word."""
        if self._host.release.is_serial:
            self.connections.clear()
            return
        if closes:
            for connection in tuple(self.connections.values()):
                connection.drop(1000)
        for channel in self.channels:
            channel.close(1000, "actor.stopped" if self._host.release.has_engine else "")

    def _not_started(self, error: Exception) -> ActorError:
        """What is said to who waited for a start: the engine says that it gives up, 2.2 why."""
        if self._host.release.minor == 2 and isinstance(error, ActorError):
            return again(error)
        if not self._host.release.has_engine:
            return internal_error(self._host.release)
        self.start_error = {"crashed": {"message": str(error)}}
        message = "Actor failed to start too many times."
        return ActorError("guard", "actor_wake_retries_exceeded", message)

    def _no_such_action(self, name: str) -> ActorError:
        method = inspect.getattr_static(type(self.actor), name, None)
        is_plain = inspect.isfunction(method) and not inspect.iscoroutinefunction(method)
        if is_plain and not name.startswith("_"):
            logger.error("%s: %s is no action: write 'async def %s'", self.ref, name, name)
        if self._host.release.has_engine:
            return ActorError("actor", "action_not_found", f"Action `{name}` was not found.")
        hint = "Validate the action exists on your actor."
        return ActorError("action", "not_found", f"Action '{name}' not found. {hint}")


@contextmanager
def working_for(connection: ActorConnection | None) -> Generator[None]:
    """What runs here works on the call of this connection."""
    token = current_connection.set(connection)
    try:
        yield
    finally:
        current_connection.reset(token)


def not_found(release: Release, id: str | None = None) -> ActorError:
    """What is said of an actor that is not there; 2.0 and 2.1 do not say it, 2.2 names its id."""
    if release.minor <= 1:
        return internal_error(release)
    if id is not None and not release.has_engine:
        hint = "(https://www.rivet.dev/docs/clients/javascript)"
        return ActorError("actor", "not_found", f"Actor not found: {id} {hint}")
    return ActorError("actor", "not_found", "The actor does not exist or was destroyed.")


def internal_error(release: Release) -> ActorError:
    """What clients see of an exception that was not meant for them."""
    if release.has_engine:
        return ActorError("rivetkit", "internal_error", "An internal error occurred")
    group = "internal" if release.minor == 0 else "rivetkit"
    message = "Internal error. Read the server logs for more details."
    return ActorError(group, "internal_error", message, metadata={})
