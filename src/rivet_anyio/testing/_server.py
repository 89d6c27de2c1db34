"""ActorServer: actors in memory, behind the real protocol."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload

import anyio
import anyio.abc
import httpx
from anyio import CancelScope

from .._checks import (
    as_config_errors,
    check_choice,
    check_flag,
    check_function,
    check_instance,
    check_label,
    check_name,
    check_seconds,
    check_size,
    check_text,
)
from .._client import Client
from .._errors import ConfigError, outside_block
from .._io.backend import current_backend
from .._observe import Observer
from .._retry import Retry
from .._text import in_short
from .._types import GetToken
from ..protocol.codec import Encoding
from ..protocol.keys import Key, parse_key
from ._actors import Actor
from ._faults import Faults
from ._gateway import Gateway
from ._http import serve_http
from ._idle import hosts, paths
from ._instance import Host, logger
from ._limits import Limits
from ._listen import Listening
from ._memory import MemoryConnector, MemoryTransport
from ._network import Network, Wire
from ._peers import ActorConnection, check_close
from ._records import Log, Record
from ._registry import Registry
from ._release import release_of
from ._time import watch_clock
from ._timeline import Timeline, TimelineObserver
from ._websocket import OpenWebSockets

__tracebackhide__ = True  # pytest shows the test in place of our source

__all__ = [
    "ActorCrashError",
    "ActorServer",
    "ClientOptions",
    "ConnectionLeakError",
    "NothingArrivedError",
    "UnusedFaultError",
]

_ENDPOINT = "http://actors.test"
_EPOCH = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_LAST_WORDS_SECONDS = 1.0
_MOST_UNUSED = 10

A = TypeVar("A", bound=Actor)
R = TypeVar("R", bound=Record)


class ConnectionLeakError(AssertionError):
    """A connection was still open when the server's block was left."""


class UnusedFaultError(AssertionError):
    """A fault that the test asked for never happened."""


class ActorCrashError(AssertionError):
    """An actor's `Actor.run` raised, or it could not be made; the cause is what was raised."""


class NothingArrivedError(AssertionError):
    """`ActorServer.wait_for` waited in vain; the message lists what did arrive."""


class ClientOptions(TypedDict, total=False):
    """The options of `Client` that make sense here."""

    namespace: str | None
    token: str | GetToken | None
    pool: str | None
    encoding: Encoding
    headers: Mapping[str, str] | None
    metadata_lookup: bool
    connect_timeout: float
    close_timeout: float
    request_timeout: float | None
    ping_interval: float | None
    ping_timeout: float | None
    actor_check_interval: float | None
    max_message_size: int
    retry: Retry | None
    skip_ready_wait: bool
    observer: Observer | None


class ActorServer:
    """Actors written in Python, as a server to test against; use it by ``async with``.

    Clients from `client` reach it through memory: the real client, the real bytes, no sockets.
    `listen` lets any RivetKit client in through a real port.

    Args:
        actors: Names of actors to classes derived from `Actor`, or to functions that make one.
        version: The RivetKit version to play: ``"2.0"``, ``"2.1"``, ``"2.2"``, ``"2.3"``, or a full
            one.
        leaks: Whether leaving the block with an open connection raises `ConnectionLeakError`.
        epoch: The date at which the server's clock begins; must have a time zone.
        unused_faults: What leaving the block does when a fault of `faults` or of a network never
            happened, a `cut` or `drop_connections` that found nothing among them: ``"error"``
            raises `UnusedFaultError`, ``"ignore"`` does nothing.
        max_incoming_message_size: Bytes of the largest message that the server takes, RivetKit's
            ``maxIncomingMessageSize``.
        max_outgoing_message_size: Bytes of the largest message that it sends, RivetKit's
            ``maxOutgoingMessageSize``.

    Attributes:
        log: What happened, as records.
        network: How bytes travel: delays, refusals, outages.
        faults: What goes wrong with the next calls and connections.

    Raises:
        ConfigError: for an unknown version, a date without a time zone, a class that is no
            `Actor`, a hook in RivetKit's spelling, or a class of which two methods are the same
            action.
    """

    def __init__(
        self,
        actors: Mapping[str, Callable[[], Actor]],
        *,
        version: str = "2.3",
        leaks: bool = True,
        epoch: dt.datetime = _EPOCH,
        unused_faults: Literal["error", "ignore"] = "error",
        max_incoming_message_size: int = 64 * 1024,
        max_outgoing_message_size: int = 1024 * 1024,
    ) -> None:
        with as_config_errors():
            check_text("version", version)
            check_flag("leaks", leaks)
            check_choice("unused_faults", unused_faults, ("error", "ignore"))
            check_size("max_incoming_message_size", max_incoming_message_size)
            check_size("max_outgoing_message_size", max_outgoing_message_size)
            check_instance("epoch", epoch, dt.datetime, none=False)
        if epoch.tzinfo is None:
            raise ConfigError(f"epoch {epoch!r} has no time zone")
        self._timeline = Timeline()
        self.log = Log(self._timeline.add_record)
        self.faults = Faults(self._check_known, partial(self._timeline.add, "fault"))
        self.network = Network()
        self._networks: dict[Network, None] = {}
        release = release_of(version)
        limits = Limits(release, max_incoming_message_size, max_outgoing_message_size)
        self._host = Host(release, self.log, self.faults, limits, self._timeline, self._now)
        self._registry = Registry(self._host, actors)
        self._open = OpenWebSockets()
        self._gateway = Gateway(self._host, self._registry, self._timestamp, self._open)
        self._leaks = leaks
        self._unused_faults = unused_faults
        self._epoch = epoch
        self._began = 0.0
        self._tasks: anyio.abc.TaskGroup | None = None
        self._used = False
        self._client_count = 0
        self._bind(self.network, None)
        self._clients: list[httpx.AsyncClient] = []

    @property
    def version(self) -> str:
        """The RivetKit version that is played, in full."""
        return self._host.release.version

    @property
    def endpoint(self) -> str:
        """The URL of the server in memory, for a client with `http_client`."""
        return _ENDPOINT

    def __repr__(self) -> str:
        return f"<ActorServer of RivetKit {self.version}: {', '.join(self._registry.names)}>"

    def client(self, *, network: Network | None = None, **options: Unpack[ClientOptions]) -> Client:
        """A client of this server; enter it by ``async with``.

        Args:
            network: Its way to the server, a `Network` that other clients of this server may
                share; None: the server's own.
            options: Those of `Client`.

        Raises:
            ConfigError: as `Client`; or the network belongs to another server.
            ClosedError: outside the server's block.
        """
        self._check_open()
        network = self._network_of(network)
        self._client_count += 1
        observer = TimelineObserver(self._timeline, f"client {self._client_count}")
        options.setdefault("observer", observer)
        client = Client(_ENDPOINT, **options)
        client._connector = MemoryConnector(network._dial)
        return client

    def http_client(
        self,
        *,
        timeout: httpx.Timeout | float | None = 310.0,
        network: Network | None = None,
    ) -> httpx.AsyncClient:
        """An httpx client whose every request comes to this server.

        For programs that make their own `Client`: ``Client(server.endpoint,
        http=server.http_client())``. The server closes it.

        Args:
            timeout: As for `httpx.AsyncClient`.
            network: As for `client`.

        Raises:
            ConfigError: the network belongs to another server.
            ClosedError: outside the server's block.
        """
        if not isinstance(timeout, httpx.Timeout):
            check_seconds("timeout", timeout, none=True)
        self._check_open()
        network = self._network_of(network)
        http = httpx.AsyncClient(
            transport=MemoryTransport(network._dial), timeout=timeout, follow_redirects=False
        )
        self._clients.append(http)
        return http

    def listen(self, port: int = 0, *, host: str = "127.0.0.1") -> AbstractAsyncContextManager[str]:
        """Let clients in through a real port, inside ``async with server.listen() as endpoint``.

        Any RivetKit client may come. The block's value is the URL for it; leaving the block ends
        its connections.

        Args:
            port: The port; 0 takes a free one.
            host: The address to listen on. There is no access control: mind who can reach it.

        Raises:
            OSError: when the port is taken.
            RuntimeError: in virtual time, which sockets do not know.
            ClosedError: outside the server's block.
        """
        check_size("port", port, least=0, most=65535)
        check_label("host", host)
        return Listening(self._check_open, self.network, self._serve, host, port)

    @overload
    def actor(self, name: str, key: Key = ...) -> Actor: ...

    @overload
    def actor(self, name: str, key: Key = ..., *, type: type[A]) -> A: ...

    def actor(self, name: str, key: Key = (), *, type: type[Any] = Actor) -> Any:
        """The object behind an actor, to look into or to broadcast from.

        Args:
            name: The actor's name.
            key: Its key.
            type: Its class.

        Raises:
            LookupError: when there is no such actor.
            TypeError: when it is none of this class.
        """
        parts = parse_key(key)
        self._registry.check_known(check_name("actor", name))
        found = self._registry.find(name, parts)
        if found is None:
            there = ", ".join(str(i.ref) for i in self._registry if not i.is_destroyed)
            raise LookupError(f"there is no actor {name}{list(parts)}, only: {there or 'none'}")
        if not isinstance(found.actor, type):
            raise TypeError(f"{found.ref} is no {type.__name__}: {found.actor!r}")
        return found.actor

    @property
    def connections(self) -> tuple[ActorConnection, ...]:
        """The open connections to all actors, in the order in which they were accepted."""
        found = [
            connection
            for instance in self._registry
            for connection in instance.connections.values()
            if not connection.is_http
        ]
        return tuple(sorted(found, key=lambda connection: (len(connection.id), connection.id)))

    def timeline(self) -> str:
        """What happened so far, a short line each, in one order; the last 5000 lines.

        Each has the seconds since the server was entered, who it is about, and what it was: what
        `log` records, outcomes of actions, events that were sent, faults that were armed and that
        fired, sleeps, the network, and what the clients of `client` did: calls with their
        outcome, attempts to connect with the time since the one before, losses, events, gaps.
        With the pytest plugin it is a section in the report of a failed test.
        """
        return self._timeline.describe()

    def drop_connections(
        self,
        code: int | None = None,
        reason: str = "",
        *,
        actor: str | None = None,
        key: Key | None = None,
    ) -> int:
        """Let open connections fail. If there is none, it is an unused fault.

        Args:
            code: Close with this code; None: break off without a close frame.
            reason: The close frame's reason.
            actor: Only connections to actors of this name.
            key: Only connections to actors of this key.

        Returns:
            How many there were.

        Raises:
            TypeError, ValueError: an argument cannot be used.
            LookupError: no actor has this name.
        """
        check_close(code, reason)
        if actor is not None:
            self._registry.check_known(check_name("actor", actor))
        parts = None if key is None else parse_key(key)
        dropped = [
            connection
            for connection in self.connections
            if actor in (None, connection.actor.name) and parts in (None, connection.actor.key)
        ]
        for connection in dropped:
            connection.drop(code, reason)
        self.faults._note_drop(actor, parts, len(dropped))
        return len(dropped)

    async def restart(
        self,
        *,
        downtime: float = 0.0,
        keep_actors: bool = True,
        unsaved: Literal["kept", "lost"] = "kept",
    ) -> None:
        """Stop the server, and start it again.

        All connections break, nobody can connect for `downtime`, and what actors were doing ends.

        Args:
            downtime: Seconds.
            keep_actors: Whether actors and their state are still there; else the server begins
                with none, as with empty storage.
            unsaved: What becomes of changes of a state that were not saved yet: ``"kept"``, as
                after an orderly end, or ``"lost"``, as after a crash. A state is saved at the
                first change and then once in `Actor.state_save_interval` seconds, by
                `ActorContext.save_state`, and when the actor goes to sleep. A change is seen when
                an action or a hook ends, and when `Actor.run` asks for the next message.

        Raises:
            TypeError: when the state of an actor cannot be saved; the message names the path.

        Cancellation: the server is reachable again, and actors may still run.
        """
        check_seconds("downtime", downtime, zero=True)
        check_flag("keep_actors", keep_actors)
        check_choice("unsaved", unsaved, ("kept", "lost"))
        self._timeline.add("server", f"restarts; what was not saved is {unsaved}")
        with self.network._outage(is_optional=True), self._host.downtime():
            instances = list(self._registry)
            for instance in instances:
                instance.stop("crash")
            for instance in instances:
                await instance.stopped()
            if keep_actors:
                for instance in instances:
                    instance.recover(loses_unsaved=unsaved == "lost")
            else:
                self._registry.clear()
            await anyio.sleep(downtime)

    async def kill_host(
        self,
        *,
        silent_for: float = 0.0,
        downtime: float = 0.0,
        unsaved: Literal["kept", "lost"] = "kept",
    ) -> None:
        """Kill the process that runs the actors, behind the gateway, and start it again.

        Connections stay open, and pings are answered. After six seconds the engine knows of the
        death. Then calls wake the actors, those that were under way on connections are delivered
        again, and the connections lead to the actors' new starts, without another Init. Requests
        over HTTP that were under way are answered with an error after 19 seconds.

        Args:
            silent_for: Seconds until the end in which actors run, and nothing they send arrives.
            downtime: Seconds until actors can start again.
            unsaved: What becomes of changes of a state that were not saved yet: as `restart`.

        Raises:
            RuntimeError: before RivetKit 2.3 there is no gateway that outlives the actors' host.
            TypeError: as `restart`.

        Cancellation: actors can start again.
        """
        check_seconds("silent_for", silent_for, zero=True)
        check_seconds("downtime", downtime, zero=True)
        check_choice("unsaved", unsaved, ("kept", "lost"))
        if not self._host.release.has_engine:
            raise RuntimeError(f"RivetKit {self.version} has no gateway: use restart()")
        with self._host.silence():
            await anyio.sleep(silent_for)
            self._timeline.add("server", f"the actors' host dies; what was not saved is {unsaved}")
            dead = [instance for instance in self._registry if instance.die()]
            self._host.deaths += 1
        with self._host.downtime():
            for instance in dead:
                await instance.stopped()
            for instance in dead:
                instance.recover(loses_unsaved=unsaved == "lost")
            await anyio.sleep(downtime)

    @overload
    async def wait_for(
        self,
        what: type[R],
        *,
        where: Callable[[R], bool] | None = ...,
        count: int = ...,
        since: int = ...,
        within: float = ...,
    ) -> R: ...

    @overload
    async def wait_for(
        self,
        what: Callable[[Record], bool],
        *,
        count: int = ...,
        since: int = ...,
        within: float = ...,
    ) -> Record: ...

    async def wait_for(
        self,
        what: Any,
        *,
        where: Callable[[Any], bool] | None = None,
        count: int = 1,
        since: int = 0,
        within: float = 5.0,
    ) -> Any:
        """Wait until something has arrived; what arrived before counts, too.

        Args:
            what: A type of record, `Connected` say, or a function of a record.
            where: Only records of the type that this is true for.
            count: Wait for this many.
            since: Leave out that many records from the beginning: an earlier ``len(server.log)``.
            within: Seconds.

        Returns:
            The record that made the count full.

        Raises:
            NothingArrivedError: when time was over before; it lists what did arrive.

        Cancellation: safe.
        """
        if not callable(what):
            raise TypeError(
                f"what is a type of record, or a function of a record, not {in_short(what)}"
            )
        check_function("where", where)
        check_size("count", count)
        check_size("since", since, least=0)
        check_seconds("within", within, zero=True)
        kind: Any = what if isinstance(what, type) else Record
        test: Any = where if isinstance(what, type) else what
        deadline = anyio.current_time() + within
        await anyio.lowlevel.checkpoint()
        while True:
            found = self.log.of(kind, where=test, since=since)
            if len(found) >= count:
                return found[count - 1]
            with CancelScope(deadline=deadline) as scope:
                await self.log._grown()
            if scope.cancelled_caught:
                name = getattr(what, "__name__", repr(what))
                raise NothingArrivedError(
                    f"{len(found)} of {count} {name} within {within} s; what arrived:\n"
                    f"{self.log._describe()}"
                )

    async def __aenter__(self) -> ActorServer:
        if self._used:
            raise RuntimeError("an ActorServer can be entered once: make another one")
        self._used = True
        watch_clock()
        self._began = anyio.current_time()
        self._timeline.begin()
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        self._tasks = tasks
        self._host.enter(tasks)
        hosts[self._host] = backend = current_backend()
        paths.update(dict.fromkeys(self._networks, backend))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tasks, self._tasks = self._tasks, None
        assert tasks is not None
        for network in self._networks:
            paths.pop(network, None)
        hosts.pop(self._host, None)
        left_open: list[str] = []
        try:
            if exc is None and self._leaks:
                left_open = await self._settle()
        finally:
            tasks.cancel_scope.shield = True
            tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)
            for http in self._clients:
                with CancelScope(shield=True):
                    await http.aclose()
        for ref, crash in self._host.crashes:
            if exc is not None:
                exc.add_note(f"{ref} crashed: {crash!r}")
        if exc is not None:
            return
        if self._host.crashes:
            ref, crash = self._host.crashes[0]
            raise ActorCrashError(f"{ref} crashed: {crash!r}") from crash
        if left_open:
            raise ConnectionLeakError(
                f"left open at the end of the server's block: {', '.join(left_open)}. "
                "Leave the connection's block, or the client's task, before the server's; "
                "ActorServer(leaks=False) allows it."
            )
        unused = self._unused()
        if self._unused_faults == "error" and unused:
            raise UnusedFaultError(
                f"faults that never happened: {'; '.join(unused)}. Arm a fault before its "
                "occasion; clear() of server.faults or of the network disarms what is left, and "
                'ActorServer(unused_faults="ignore") allows it.'
            )

    def _expect_no_end(self) -> None:
        """The test has failed: what it left open or unused follows from that, and is no error."""
        self._leaks, self._unused_faults = False, "ignore"

    def _unused(self) -> list[str]:
        """Faults that never happened, each once."""
        texts = [*self.faults._unused]
        for network in self._networks:
            texts += network._unused
        found = list(dict.fromkeys(texts))
        if len(found) > _MOST_UNUSED:
            found[_MOST_UNUSED:] = [f"and {len(found) - _MOST_UNUSED} more"]
        return found

    async def _settle(self) -> list[str]:
        """What is still open; clients that just left get a moment to say so."""
        for network in self._networks:
            network.release()
            network.repair()
        with anyio.move_on_after(_LAST_WORDS_SECONDS):
            while not self._open.are_peers_there:
                await self._open.changed()
        return self._open.describe()

    def _check_known(self, actor: str | None, action: str | None, queue: str | None) -> None:
        self._registry.check_known(actor, action, queue)

    def _date(self, at: float) -> dt.datetime:
        return self._epoch + dt.timedelta(seconds=at - self._began)

    def _timestamp(self, at: float) -> int:
        return round(self._date(at).timestamp() * 1000)

    def _now(self) -> dt.datetime:
        return self._date(anyio.current_time())

    def _check_open(self) -> anyio.abc.TaskGroup:
        if self._tasks is None:
            raise outside_block("the ActorServer", entered=self._used)
        return self._tasks

    def _network_of(self, network: Network | None) -> Network:
        """The network of a client."""
        with as_config_errors():
            check_instance("network", network, Network)
        if network is None:
            return self.network
        if network not in self._networks:
            self._bind(network, self.network)
            if self._tasks is not None:
                paths[network] = current_backend()
        return network

    def _bind(self, network: Network, parent: Network | None) -> None:
        network._bind(self._accept, self._timeline.add, parent)
        self._networks[network] = None

    def _accept(self, wire: Wire) -> None:
        self._check_open().start_soon(wire.run, self._serve)

    async def _serve(self, wire: Wire) -> None:
        try:
            await serve_http(wire, self._gateway.handle)
        except Exception:
            # A fault of ours, or of an actor's answer, ends one connection and not the test.
            logger.exception("a connection failed")
