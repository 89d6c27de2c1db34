"""The life of one actor: created, awake, asleep, destroyed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.abc
from anyio import CancelScope, move_on_after

from .._errors import ActorError, ActorSpecifier
from .._io.waiting import Signal
from ..protocol.keys import escape_key
from ._actors import Actor, actions_of
from ._context import ActorContext
from ._peers import ActorConnection, current_connection
from ._queue import Mailbox
from ._records import ActorCreated, ActorDestroyed, ActorRef, Log
from ._release import Release

if TYPE_CHECKING:
    from ._faults import Faults

__all__ = ["Host", "Instance", "internal_error", "logger", "not_found"]

logger = logging.getLogger("rivet_anyio.testing")

ACTION_SECONDS = 60.0
HOOK_SECONDS = 5.0
_GRACE_SECONDS = 15.0

_End = Literal["sleep", "destroy", "crash"]


class Host:
    """What all actors of a server share.

    Attributes:
        release: The RivetKit version that is played.
        log: What happened.
        faults: What shall go wrong.
        tasks: Where actors live.
        crashes: What `Actor.run` raised, or what kept an actor from being made.
    """

    def __init__(self, release: Release, log: Log, faults: Faults) -> None:
        self.release = release
        self.log = log
        self.faults = faults
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
        self.calls: dict[CancelScope, None] = {}

    def end_calls(self) -> None:
        """No call outlives the life that it began in."""
        for scope in tuple(self.calls):
            scope.cancel()


class Instance:
    """One actor.

    Attributes:
        ref: Which.
        created_at: When, in seconds of `anyio.current_time`.
        slept_at: Since when it sleeps; None: it does not.
        destroyed_at: When it was destroyed, or None.
        generation: How often it was started.
        connections: Its open connections.
        mailbox: Its queues.
        calls: How many calls are under way.
        start_error: Why it could not start, as the engine reports it.
    """

    def __init__(self, host: Host, ref: ActorRef, factory: Callable[[], Actor], input: Any) -> None:
        self.ref = ref
        self.created_at = anyio.current_time()
        self.slept_at: float | None = None
        self.destroyed_at: float | None = None
        self.generation = 0
        self.connections: dict[str, ActorConnection] = {}
        self.mailbox = Mailbox()
        self.calls = 0
        self.start_error: Any = None
        self._host = host
        self._input = input
        self._is_created = False
        self._life: _Life | None = None
        self._quiet = Signal()
        self.actor = factory()
        if not isinstance(self.actor, Actor):
            raise TypeError(f"{factory!r} makes {self.actor!r}, which is no Actor")
        self.actor._context = ActorContext(self)
        self._actions = actions_of(type(self.actor))
        host.log._append(ActorCreated(self.created_at, ref, input))

    @property
    def is_awake(self) -> bool:
        """Whether it has started and does not stop."""
        life = self._life
        return life is not None and life.started.is_set() and not life.stopping.is_set()

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
        return (escape_key(key),) if key and self._host.release.minor == 0 else key

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

    def has_queue(self, name: str) -> bool:
        """Whether the actor takes messages to this queue."""
        declared = type(self.actor).queues
        return declared is None or name in declared

    async def ready(self) -> None:
        """Start it unless it runs.

        Raises:
            ActorError: ``actor.not_found`` when it is gone, or what is said of an actor that
                cannot start.
        """
        while not self.is_awake:
            if self.is_destroyed:
                raise not_found(self._host.release, self.ref.id)
            life = self._life
            if life is None:
                life = self._life = _Life()
                self._host.tasks.start_soon(self._live, life)
            elif life.stopping.is_set():
                await life.ended.wait()
                continue
            await life.started.wait()
            if life.error is not None:
                raise self._not_started(life.error)
            if life.was_awake:
                # It may stop already: this call still belongs to the life that it began.
                return

    async def call(self, connection: ActorConnection, name: str, args: tuple[Any, ...]) -> Any:
        """Run an action.

        Raises:
            ActorError: when there is no such action, or it took too long.
            Exception: what the action raised.
        """
        method = self._actions.get(name)
        if method is None:
            raise self._no_such_action(name)
        scope = CancelScope(deadline=anyio.current_time() + ACTION_SECONDS)
        token = current_connection.set(connection)
        try:
            with self._living(scope), self.signing():
                return await getattr(self.actor, method)(*args)
        finally:
            current_connection.reset(token)
        if anyio.current_time() < scope.deadline:
            raise ActorError("actor", "stopping", "Actor stopping")
        raise self.timed_out()

    async def hold_up(self, seconds: float) -> None:
        """Wait before an action runs.

        Raises:
            ActorError: when the actor stopped meanwhile; the action must not run.
        """
        with self._living(CancelScope()):
            await anyio.sleep(seconds)
            return
        raise ActorError("actor", "stopping", "Actor stopping")

    @contextmanager
    def _living(self, scope: CancelScope) -> Generator[None]:
        """Something that ends with the actor's present life, if not before."""
        calls = self._life.calls if self._life is not None else dict[CancelScope, None]()
        calls[scope] = None
        try:
            with scope:
                yield
        finally:
            del calls[scope]

    @contextmanager
    def signing(self) -> Generator[None]:
        """Sign the errors of the actor's own code, which may be in the words of a gateway."""
        try:
            yield
        except ActorError as error:
            raise self.signed(error) from error.__cause__

    def timed_out(self) -> ActorError:
        """What is said of an action that took too long."""
        if self._host.release.has_engine:
            return ActorError("actor", "action_timed_out", "Action timed out.")
        return ActorError("action", "timed_out", "Action timed out.")

    async def admit(self, connection: ActorConnection) -> None:
        """Ask the actor whether it takes this connection.

        Raises:
            ActorError: when it does not, or takes too long.
            Exception: what the hook raised.
        """
        await self._ask(connection, "on_before_connect", connection)

    async def welcome(self, connection: ActorConnection) -> None:
        """Notify the actor of a connection that is one of its own now.

        Raises:
            ActorError: when the hook took too long.
            Exception: what the hook raised.
        """
        connection._may_send = self._host.release.has_engine
        try:
            await self._ask(connection, "on_connect", connection)
        finally:
            connection._may_send = True

    async def admit_subscription(self, connection: ActorConnection, event: str) -> None:
        """Ask the actor whether a connection may be subscribed to an event.

        Raises:
            ActorError: when it may not, or the actor takes too long.
            Exception: what the hook raised.
        """
        if self._host.release.minor == 0:
            return
        with self.signing():
            if not await self._ask(connection, "can_subscribe", connection, event):
                raise ActorError("auth", "forbidden", "Forbidden")

    async def _ask(self, connection: ActorConnection, hook: str, *args: object) -> Any:
        token = current_connection.set(connection)
        try:
            with move_on_after(HOOK_SECONDS):
                return await getattr(self.actor, hook)(*args)
        finally:
            current_connection.reset(token)
        if self._host.release.has_engine:
            raise ActorError("actor", "callback_timed_out", f"{hook} took too long")
        raise internal_error(self._host.release)

    async def part(self, connection: ActorConnection) -> None:
        """Notify the actor that a connection has ended."""
        with self.guarded("on_disconnect"):
            await self.actor.on_disconnect(connection)

    @contextmanager
    def guarded(self, what: str) -> Generator[None]:
        """Log what a hook raises, where no client waits for it."""
        try:
            yield
        except Exception:
            logger.exception("%s: %s failed", self.ref, what)

    @contextmanager
    def busy(self) -> Generator[None]:
        """A call is under way: the actor does not stop before its answer is out."""
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1
            if not self.calls:
                self._quiet.set()
                self._quiet = Signal()

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
        life.stopping.set()
        if end == "crash":
            life.scope.cancel()
            life.end_calls()

    async def stopped(self) -> None:
        """Wait until it does not run any more."""
        if self._life is not None:
            await self._life.ended.wait()

    async def _live(self, life: _Life) -> None:
        try:
            with life.scope:
                await self._start()
                life.was_awake = True
                life.started.set()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._run)
                    await life.stopping.wait()
                    with move_on_after(_GRACE_SECONDS):
                        while self.calls:
                            await self._quiet.wait()
                    tasks.cancel_scope.cancel()
                life.end_calls()
                await self._wind_up(life.end)
        except Exception as exc:
            logger.exception("%s: the actor cannot start", self.ref)
            life.error = exc
        finally:
            life.started.set()
            life.stopping.set()
            life.ended.set()
            self._life = None
            if not self.is_destroyed:
                self.slept_at = anyio.current_time()

    async def _start(self) -> None:
        if not self._is_created:
            await self.actor.on_create(self._input)
            self._is_created = True
        self.generation += 1
        self.slept_at = None
        await self.actor.on_wake()

    async def _run(self) -> None:
        try:
            await self.actor.run()
        except Exception as exc:
            logger.exception("%s: run() failed", self.ref)
            self._host.crashes.append((self.ref, exc))

    async def _wind_up(self, end: _End) -> None:
        if end == "sleep":
            with self.guarded("on_sleep"):
                await self.actor.on_sleep()
            self._let_go(closes=self._host.release.minor == 0)
        elif end == "destroy":
            await self._bury()

    async def _bury(self) -> None:
        with self.guarded("on_destroy"):
            await self.actor.on_destroy()
        self._let_go(closes=True)

    def _let_go(self, *, closes: bool) -> None:
        """What becomes of connections: 2.3 keeps them while the actor sleeps, 2.0 closes them,
        2.1 and 2.2 forget them without a word."""
        if self._host.release.is_serial:
            self.connections.clear()
        elif closes:
            for connection in tuple(self.connections.values()):
                connection.disconnect()

    def _not_started(self, error: Exception) -> ActorError:
        """The engine tries again and gives up; the runtimes before it knew nothing to say."""
        if not self._host.release.has_engine:
            return internal_error(self._host.release)
        self.start_error = {"crashed": {"message": str(error)}}
        message = "Actor failed to start too many times."
        return ActorError("guard", "actor_wake_retries_exceeded", message)

    def _no_such_action(self, name: str) -> ActorError:
        if self._host.release.has_engine:
            return ActorError("actor", "action_not_found", f"Action `{name}` was not found.")
        hint = "Validate the action exists on your actor."
        return ActorError("action", "not_found", f"Action '{name}' not found. {hint}")


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
