"""Client: where everything begins. One HTTP client, one server, any number of actors."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from keyword import iskeyword
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from anyio.lowlevel import checkpoint

from ._actions import CLIENT_ADVICE, refuse_attribute
from ._checks import (
    as_config_errors,
    check_actor_id,
    check_choice,
    check_flag,
    check_instance,
    check_label,
    check_name,
    check_params,
    check_seconds,
    check_size,
)
from ._config import Options, resolve_config
from ._errors import ActorError
from ._gateway.attempts import Attempts
from ._gateway.context import Core
from ._gateway.resolve import Creation, Target, create_actor
from ._handle import ActorHandle
from ._http.borrowed import Borrowed, is_http_client
from ._http.proxy import Proxies
from ._http.transport import HttpTransport, Timeouts
from ._http.wire import Wire
from ._io.backend import check_loop, current_backend
from ._io.connect import Connector, TcpConnector
from ._observe import Observer, check_observer
from ._retry import Retry
from ._text import in_short
from ._typed.actor import Interface, TypedActor
from ._types import NOT_GIVEN, CrashPolicy, GetParams, GetToken
from .protocol.addressing import params_json
from .protocol.codec import Encoding
from .protocol.keys import Key, escape_key, parse_key
from .protocol.management import ActorInfo, parse_actors
from .protocol.values import COMPAT_CBOR, prepare
from .protocol.verdicts import may_ask_again

if TYPE_CHECKING:
    import httpx
    import httpx2

__all__ = ["ActorAccessor", "ActorList", "Client"]

A = TypeVar("A")
Params = TypeVar("Params")
Input = TypeVar("Input")

_REQUEST_SECONDS = 310.0
"""A little longer than the gateway itself waits for an actor's answer."""


class Client:
    """A client of a Rivet server; use it by ``async with Client(...) as client``.

    ``client.chatRoom`` accesses the actors named ``chatRoom``; `actor` does the same for names
    that are no identifiers or collide with something here. `get_or_create` and its siblings take
    a class that describes the actor, a subclass of `TypedActor`, and return a typed handle.

    Args:
        endpoint: The server's URL, ``https://namespace:token@host/path`` with credentials; else
            ``RIVET_ENGINE``, ``RIVET_ENDPOINT``, ``http://localhost:6420``.
        namespace: The namespace; else from the URL, ``RIVET_NAMESPACE``, ``"default"``.
        token: The token, or an async function that returns the token of now; else from the URL,
            ``RIVET_TOKEN``. The function is awaited before every attempt of a request or a
            handshake, once for those that ask at the same time, for at most `connect_timeout`. It
            must not use this client. What it raises reaches the caller; when a connection is to
            be opened again, it counts as a failed attempt.
        pool: Where actors are created; else ``RIVET_POOL``, ``RIVET_RUNNER``, ``"default"``.
        encoding: How messages are written: ``"bare"`` carries every value, see the page "Values".
        headers: Sent with every request, WebSocket handshakes included.
        http: An `httpx.AsyncClient` or `httpx2.AsyncClient` that carries all requests; it is not
            closed. Its limits, proxies, TLS settings and cookies apply, and every connection holds
            one of its pool's connections. None: connections of this client's own.
        ssl_context: For https; None: verified by the system's certificates, or by those that
            ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name.
        proxy: The URL of an HTTP proxy for all requests, ``http://user:password@host:port``; None:
            as ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` say.
        max_connections: How many sockets to have open at most; None: as many as the system
            allows. Actions wait for one; what finds and connects to actors does not.
        metadata_lookup: Whether to ask the server's ``/metadata`` first, which may send the client
            on to another endpoint.
        forward_token: Whether the token may go to another host that ``/metadata`` names.
        connect_timeout: Seconds that one attempt to connect may take.
        close_timeout: Seconds that a connection's closing handshake may take.
        request_timeout: Seconds without a byte of an HTTP answer; None: no limit. The timeouts
            of an `http` client come first, where its owner set some.
        ping_interval: Seconds of silence on a connection after which a ping is sent; None: never.
        ping_timeout: Seconds after a ping without any byte that mean the peer is gone; None:
            never.
        actor_check_interval: Seconds between two requests to the management API whether the hosts
            of the actors still run that connections lead to (RivetKit 2.3); None: none is sent.
            Without metadata none is sent, either: the version is not known.
        max_message_size: The longest message or answer accepted, in bytes.
        retry: Backoff between attempts to reconnect.
        skip_ready_wait: Do not wait at the gateway until an actor is ready (RivetKit 2.3).
        observer: What is notified of calls, connections and events: a
            `rivet_anyio.otel.OpenTelemetry`.

    Times are finite numbers of seconds, more than 0; `close_timeout` may be 0.

    Raises:
        ConfigError: a value cannot be used, whatever its type, or two contradict each other.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        namespace: str | None = None,
        token: str | GetToken | None = None,
        pool: str | None = None,
        encoding: Encoding = "bare",
        headers: Mapping[str, str] | None = None,
        http: httpx.AsyncClient | httpx2.AsyncClient | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        max_connections: int | None = None,
        metadata_lookup: bool = True,
        forward_token: bool = False,
        connect_timeout: float = 30.0,
        close_timeout: float = 5.0,
        request_timeout: float | None = _REQUEST_SECONDS,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        actor_check_interval: float | None = 30.0,
        max_message_size: int = 20 * 1024 * 1024,
        retry: Retry | None = None,
        skip_ready_wait: bool = False,
        observer: Observer | None = None,
    ) -> None:
        config = resolve_config(
            endpoint,
            namespace=namespace,
            token=token,
            pool=pool,
            encoding=encoding,
            headers=headers,
        )
        with as_config_errors():
            _check_http(http, ssl_context=ssl_context, proxy=proxy, max_connections=max_connections)
            check_instance("ssl_context", ssl_context, ssl.SSLContext)
            if ssl_context is not None and ssl_context.protocol == ssl.PROTOCOL_TLS_SERVER:
                raise ValueError(
                    "ssl_context is a context of a server: make one of a client by "
                    "ssl.create_default_context()"
                )
            check_size("max_connections", max_connections, none=True)
            check_flag("metadata_lookup", metadata_lookup)
            check_flag("forward_token", forward_token)
            connect_timeout = check_seconds("connect_timeout", connect_timeout)
            close_timeout = check_seconds("close_timeout", close_timeout, zero=True)
            request_timeout = check_seconds("request_timeout", request_timeout, none=True)
            ping_interval = check_seconds("ping_interval", ping_interval, none=True)
            ping_timeout = check_seconds("ping_timeout", ping_timeout, none=True)
            actor_check_interval = check_seconds(
                "actor_check_interval", actor_check_interval, none=True
            )
            check_size("max_message_size", max_message_size)
            check_instance("retry", retry, Retry)
            check_flag("skip_ready_wait", skip_ready_wait)
            check_observer(observer)
        options = Options(
            connect_timeout=connect_timeout,
            close_timeout=close_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            actor_check_interval=actor_check_interval,
            max_message_size=max_message_size,
            retry=retry or Retry(),
            skip_ready_wait=skip_ready_wait,
        )
        self._core = Core(
            config,
            options,
            metadata_lookup=metadata_lookup,
            forward_token=forward_token,
            observer=observer,
            get_token=None if isinstance(token, str) else token,
        )
        self._http = http
        self._tls = ssl_context
        self._proxies = None if proxy is None else Proxies.of_argument(proxy)
        self._max_connections = max_connections
        self._timeouts = Timeouts(connect=connect_timeout, read=request_timeout)
        self._connector: Connector | None = None
        self._forget_pool: Callable[[], None] | None = None
        self._entered = False

    @property
    def endpoint(self) -> str:
        """The configured URL, without credentials."""
        return self._core.config.endpoint.url

    @property
    def namespace(self) -> str:
        """The configured namespace."""
        return self._core.config.endpoint.namespace

    def actor(self, name: str) -> ActorAccessor:
        """Access the actors of this name.

        Raises:
            TypeError: the name is not a string.
            ValueError: the name is empty, or has a lone surrogate.
        """
        return ActorAccessor(self._core, check_name("actor", name))

    def get(
        self,
        interface: Interface[A, Params, Input],
        key: Key = (),
        *,
        params: Params | None = None,
        get_params: Callable[[], Awaitable[Params]] | None = None,
    ) -> A:
        """As `ActorAccessor.get`, for a typed actor: a subclass of `TypedActor`.

        Args:
            interface: The class that describes the actor.
            key: One string, or a sequence of strings.
            params: Connection params, of the type that the class names.
            get_params: Awaited for the params before every request and attempt to connect, in place
                of `params`.
        """
        handle = _accessor(self, interface, "get").get(
            key,
            params=interface._plain_params(params),
            get_params=interface._plain_get_params(get_params),
        )
        return interface._over(handle)

    def get_or_create(
        self,
        interface: Interface[A, Params, Input],
        key: Key = (),
        *,
        params: Params | None = None,
        get_params: Callable[[], Awaitable[Params]] | None = None,
        input: Input = NOT_GIVEN,
        region: str | None = None,
        pool: str | None = None,
        crash_policy: CrashPolicy | None = None,
    ) -> A:
        """As `ActorAccessor.get_or_create`, for a typed actor: a subclass of `TypedActor`.

        Args:
            interface: The class that describes the actor.
            key: One string, or a sequence of strings.
            params: Connection params, of the type that the class names.
            get_params: Awaited for the params before every request and attempt to connect, in place
                of `params`.
            input: What a new actor is given, of the type that the class names.
            region: The datacenter a new actor lives in.
            pool: Where a new actor runs; None takes the client's.
            crash_policy: What the server does with a new actor whose host fails; None:
                ``"sleep"``. Given to RivetKit up to 2.2, it is ``feature.unsupported``.
        """
        handle = _accessor(self, interface, "get_or_create").get_or_create(
            key,
            params=interface._plain_params(params),
            get_params=interface._plain_get_params(get_params),
            input=interface._plain_input(input),
            region=region,
            pool=pool,
            crash_policy=crash_policy,
        )
        return interface._over(handle)

    async def create(
        self,
        interface: Interface[A, Params, Input],
        key: Key = (),
        *,
        params: Params | None = None,
        get_params: Callable[[], Awaitable[Params]] | None = None,
        input: Input = NOT_GIVEN,
        region: str | None = None,
        pool: str | None = None,
        crash_policy: CrashPolicy | None = None,
    ) -> A:
        """As `ActorAccessor.create`, for a typed actor. Arguments as `get_or_create`.

        Cancellation: the actor may have been created.
        """
        handle = await _accessor(self, interface, "create").create(
            key,
            params=interface._plain_params(params),
            get_params=interface._plain_get_params(get_params),
            input=interface._plain_input(input),
            region=region,
            pool=pool,
            crash_policy=crash_policy,
        )
        return interface._over(handle)

    def get_for_id(
        self,
        interface: Interface[A, Params, Input],
        actor_id: str,
        *,
        params: Params | None = None,
        get_params: Callable[[], Awaitable[Params]] | None = None,
    ) -> A:
        """As `ActorAccessor.get_for_id`, for a typed actor."""
        handle = _accessor(self, interface, "get_for_id").get_for_id(
            actor_id,
            params=interface._plain_params(params),
            get_params=interface._plain_get_params(get_params),
        )
        return interface._over(handle)

    def list(
        self,
        interface: Interface[Any, Any, Any],
        *,
        key: Key | None = None,
        include_destroyed: bool = False,
        page_size: int | None = None,
    ) -> ActorList:
        """As `ActorAccessor.list`, for a typed actor."""
        return _accessor(self, interface, "list").list(
            key=key, include_destroyed=include_destroyed, page_size=page_size
        )

    def __getattr__(self, name: str) -> ActorAccessor:
        if name.startswith("_") or name in CLIENT_ADVICE:
            way = f"actors of this name are accessed by .actor({name!r})"
            refuse_attribute(self, name, CLIENT_ADVICE, way)
        return self.actor(name)

    def __repr__(self) -> str:
        return f"<Client {self.endpoint} namespace={self.namespace!r}>"

    async def __aenter__(self) -> Client:
        if self._entered:
            raise RuntimeError("a Client can be entered once: make another one")
        self._entered = True
        transport = self._transport()
        self._core.open(transport)
        observer = self._core.observer
        if observer is not None and isinstance(transport, Wire):
            self._forget_pool = observer.pool(self.endpoint, transport.pool.count)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._core.backend is not None
        check_loop(self._core.backend, "this Client")
        self._core.close()
        if self._forget_pool is not None:
            self._forget_pool()

    def _transport(self) -> HttpTransport:
        size = self._core.options.max_message_size
        if self._http is not None:
            return Borrowed(self._http, max_body_size=size, timeouts=self._timeouts)
        backend = current_backend()
        return Wire(
            backend,
            self._connector or TcpConnector(),
            self._proxies or Proxies.of_environment(),
            tls=self._tls,
            max_body_size=size,
            timeouts=self._timeouts,
            max_connections=self._max_connections,
        )


def _check_http(http: object, **others: object) -> None:
    """Check the HTTP client that was given, and that nothing was given that is its business."""
    if http is None:
        return
    if not is_http_client(http):
        raise TypeError(f"http is an httpx.AsyncClient or httpx2.AsyncClient, not {in_short(http)}")
    for name, value in others.items():
        if value is not None:
            raise ValueError(f"{name} and http contradict each other: give {name} to that client")


def _accessor(client: Client, interface: Interface[Any, Any, Any], method: str) -> ActorAccessor:
    """The actors that a class describes.

    Raises:
        TypeError: this is no such class; a name, say.
    """
    given: Any = interface
    if isinstance(given, type) and issubclass(given, TypedActor):
        return client.actor(given._actor_name())
    name = given if isinstance(given, str) and given else "chatRoom"
    is_attribute = name.isidentifier() and not iskeyword(name)
    if is_attribute and isinstance(getattr(client, name, None), ActorAccessor):
        actors = f"client.{name}"
    else:
        actors = f"client.actor({name!r})"
    argument = {"get_for_id": "actor_id", "list": ""}.get(method, "key")
    raise TypeError(
        f"{method} of a client takes a class that describes an actor, not {in_short(given)}; "
        f"by the actor's name, write {actors}.{method}({argument})"
    )


class ActorAccessor:
    """The actors of one name: ``client.chatRoom``."""

    __slots__ = ("__weakref__", "_core", "_name")

    def __init__(self, core: Core, name: str) -> None:
        self._core = core
        self._name = name

    def __repr__(self) -> str:
        return f"<ActorAccessor {self._name!r}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            way = "actions are those of a handle, from get_or_create(key) or get(key)"
            refuse_attribute(self, name, CLIENT_ADVICE, "" if name.startswith("_") else way)

    def get(
        self, key: Key = (), *, params: Any = None, get_params: GetParams | None = None
    ) -> ActorHandle:
        """The actor of this key, which must exist when it is used.

        Args:
            key: One string, or a sequence of strings.
            params: Connection params: anything JSON can say.
            get_params: Awaited for the params before every request and attempt to connect, in place
                of `params`.

        Raises:
            TypeError: an argument has a wrong type, `params` cannot travel, or `get_params` is
                given, too.
            ValueError: a part of the key has a lone surrogate.
        """
        target = Target(self._name, key=parse_key(key))
        return ActorHandle(self._core, target, params=params, get_params=get_params)

    def get_or_create(
        self,
        key: Key = (),
        *,
        params: Any = None,
        get_params: GetParams | None = None,
        input: Any = NOT_GIVEN,
        region: str | None = None,
        pool: str | None = None,
        crash_policy: CrashPolicy | None = None,
    ) -> ActorHandle:
        """The actor of this key, created when it does not exist at its first use.

        Args:
            key: One string, or a sequence of strings.
            params: Connection params: anything JSON can say.
            get_params: Awaited for the params before every request and attempt to connect, in place
                of `params`.
            input: What a new actor is given.
            region: The datacenter a new actor lives in.
            pool: Where a new actor runs; None takes the client's.
            crash_policy: What the server does with a new actor whose host fails; None:
                ``"sleep"``. Given to RivetKit up to 2.2, it is ``feature.unsupported``.

        Raises:
            TypeError: an argument has a wrong type, `input` or `params` cannot travel, or both
                `params` and `get_params` are given.
            ValueError: a string is empty, or has characters that cannot be sent.
        """
        creation = self._creation(input, region, pool, crash_policy)
        target = Target(self._name, key=parse_key(key), creation=creation)
        return ActorHandle(self._core, target, params=params, get_params=get_params)

    async def create(
        self,
        key: Key = (),
        *,
        params: Any = None,
        get_params: GetParams | None = None,
        input: Any = NOT_GIVEN,
        region: str | None = None,
        pool: str | None = None,
        crash_policy: CrashPolicy | None = None,
    ) -> ActorHandle:
        """Create an actor and return a handle to it, by its id. Arguments as `get_or_create`.

        Raises:
            ActorError: ``actor.duplicate_key`` when there is one of this key already.
            ConnectError: nothing was sent.
            ConnectionLostError: it may have been created.
            TypeError, ValueError: as `get_or_create`.

        Cancellation: the actor may have been created.
        """
        parts = parse_key(key)
        creation = self._creation(input, region, pool, crash_policy)
        check_params(params, get_params)
        params_json(params)
        attempts = Attempts(self._core.options.retry, self._core.time)
        while True:
            server = await self._core.server()
            try:
                actor = await create_actor(self._core, server, "POST", self._name, parts, creation)
                break
            except ActorError as error:
                if not may_ask_again(error):
                    raise
                await attempts.wait(error)
        target = Target(self._name, actor_id=actor.actor_id)
        return ActorHandle(self._core, target, params=params, get_params=get_params)

    def get_for_id(
        self, actor_id: str, *, params: Any = None, get_params: GetParams | None = None
    ) -> ActorHandle:
        """The actor of this id.

        Raises:
            TypeError: the id is not a string.
            ValueError: the id is empty, or no URL can carry it.
        """
        target = Target(self._name, actor_id=check_actor_id(actor_id))
        return ActorHandle(self._core, target, params=params, get_params=get_params)

    def list(
        self,
        *,
        key: Key | None = None,
        include_destroyed: bool = False,
        page_size: int | None = None,
    ) -> ActorList:
        """The actors of this name, for ``async for``.

        Args:
            key: Only the one of this key.
            include_destroyed: Also those that were destroyed.
            page_size: How many are asked for at once; None leaves it to the server.

        Raises:
            TypeError: an argument has a wrong type.
            ValueError: `page_size` is below 1.
        """
        check_flag("include_destroyed", include_destroyed)
        check_size("page_size", page_size, none=True)
        parts = None if key is None else parse_key(key)
        return ActorList(self._core, self._name, parts, include_destroyed, page_size)

    def _creation(
        self,
        input: Any,
        region: str | None,
        pool: str | None,
        crash_policy: CrashPolicy | None,
    ) -> Creation:
        given = input is not NOT_GIVEN
        if given:
            prepare(input, COMPAT_CBOR, "input")
        if region is not None:
            region = check_label("the region", region)
        if pool is not None:
            pool = check_label("the pool", pool)
        if crash_policy is not None:
            check_choice("crash_policy", crash_policy, get_args(CrashPolicy))
            crash_policy = next(one for one in get_args(CrashPolicy) if one == crash_policy)
        return Creation(
            pool=self._core.config.pool if pool is None else pool,
            region=region,
            input=input if given else None,
            has_input=given,
            crash_policy=crash_policy,
        )


class ActorList:
    """Actors of one name, from `ActorAccessor.list`; pages are fetched as the iteration goes.

    Several tasks may iterate one: each actor goes to one of them.

    The iteration raises `ActorError` for what the server answers, `ConnectError` and
    `ConnectionLostError` for the network, and `ClosedError` outside the client's block.

    Cancellation: safe, no actor is left out when the iteration goes on.
    """

    def __init__(
        self,
        core: Core,
        name: str,
        key: Sequence[str] | None,
        include_destroyed: bool,
        page_size: int | None,
    ) -> None:
        self._core = core
        self._name = name
        self._key = key
        self._include_destroyed = include_destroyed
        self._page_size = page_size
        self._page: deque[ActorInfo] = deque()
        self._cursor: str | None = None
        self._seen: set[str] = set()  # the ids of the last page
        self._exhausted = False

    def __aiter__(self) -> ActorList:
        return self

    async def __anext__(self) -> ActorInfo:
        await checkpoint()
        while not self._page:
            if self._exhausted:
                raise StopAsyncIteration
            await self._fetch()
        return self._page.popleft()

    async def _fetch(self) -> None:
        seen = self._seen
        server = await self._core.server()
        query = [("name", self._name), ("namespace", server.endpoint.namespace)]
        if self._key is not None:
            query.append(("key", escape_key(self._key)))
        if self._include_destroyed:
            query.append(("include_destroyed", "true"))
        if self._page_size is not None:
            query.append(("limit", str(self._page_size)))
        if self._cursor is not None:
            query.append(("cursor", self._cursor))
        answer = await self._core.manage(server, "GET", "/actors", query)
        page = parse_actors(answer.body, server.version)
        if self._seen is not seen:
            return  # another task was faster
        # The 2.3 engine names a cursor even after its last page, and a page may begin with actors
        # of the page before.
        fresh = [actor for actor in page.actors if actor.actor_id not in self._seen]
        self._page.extend(fresh)
        self._seen = {actor.actor_id for actor in page.actors}
        self._exhausted = page.cursor is None or not fresh
        self._cursor = page.cursor
