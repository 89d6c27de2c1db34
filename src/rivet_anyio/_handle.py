"""ActorHandle: one actor, over plain HTTP; the way to its connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, overload

from ._actions import HANDLE_ADVICE, ActionCall, check_attribute
from ._checks import (
    check_choice,
    check_flag,
    check_headers,
    check_instance,
    check_name,
    check_params,
    check_seconds,
    check_size,
    is_http_token,
)
from ._connection.connection import Connection
from ._connection.link import Link
from ._convert import check_result_type, convert
from ._errors import ConnectError, ProtocolError
from ._gateway.attempts import OneAttempt
from ._gateway.call import Failed, call_actor, failed
from ._gateway.context import Core
from ._gateway.errors import error_of, is_from_gateway, signer
from ._gateway.host_checked_request import unless_host_dies
from ._gateway.open import ask_params
from ._gateway.queues import check_queues, queue_timeout
from ._gateway.repeats import repeated
from ._gateway.resolve import Target, key_url
from ._gateway.server import Server
from ._http.transport import HttpAnswer, Timeouts, is_encoded
from ._observe import Call, Subject, joined, merged
from ._raw_websocket import ActorWebSocket
from ._retry import Retry
from ._text import in_short
from ._types import GetParams, QueueResult
from .protocol.addressing import (
    HEADER_ACTOR,
    HEADER_ENCODING,
    HEADER_ERROR,
    HEADER_PARAMS,
    HEADER_RAY,
    HEADER_SKIP_READY_WAIT,
    HEADER_TARGET,
    action_path,
    actor_url,
    below_path,
    check_query,
    encode_component,
    join_url,
    params_json,
    queue_path,
    request_path,
)
from .protocol.codec import Codec
from .protocol.messages import QueueReply

if TYPE_CHECKING:
    import httpx

    from ._http.response import ActorResponse

__all__ = ["ActorHandle"]

T = TypeVar("T")


_NO_CONTEXT: Mapping[str, str] = {}

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""(RFC 9110, section 9.2.2)"""

_OPTIONS = "content", "json", "data", "files", "params", "cookies", "extensions", "timeout"
"""What `ActorHandle.fetch` takes besides its own arguments."""


class _Asked(NamedTuple):
    """What a user asks of an actor's own server; `options` are httpx's."""

    path: str
    method: str
    headers: Sequence[tuple[str, str]]
    skip_ready_wait: bool | None
    timeouts: Timeouts | None
    options: dict[str, Any]
    ours_first: bool = False


class ActorHandle:
    """One actor, found by its key or id. Making one asks the server nothing.

    Every attribute that is none of this class is an action: ``await handle.increment(1)``, also
    by a dotted path; ``handle.action(name, ...)`` calls actions of any name.
    """

    __slots__ = ("__weakref__", "_core", "_get_params", "_header_params", "_params", "_target")

    def __init__(
        self, core: Core, target: Target, *, params: Any = None, get_params: GetParams | None = None
    ) -> None:
        check_params(params, get_params)
        self._core = core
        self._target = target
        self._params = params
        self._get_params = get_params
        self._header_params = params_json(params)

    @property
    def name(self) -> str:
        """The actor's name."""
        return self._target.name

    @property
    def key(self) -> tuple[str, ...] | None:
        """The actor's key, None for a handle by id."""
        return self._target.key

    def __getattr__(self, name: str) -> ActionCall:
        check_attribute(self, name, HANDLE_ADVICE)
        return ActionCall(self, self._target.name, name)

    def __repr__(self) -> str:
        which = "by id" if self.key is None else f"key={list(self.key)!r}"
        return f"<ActorHandle {self.name!r} {which}>"

    async def resolve(self) -> str:
        """The actor's id; ``get_or_create`` handles create it when it does not exist.

        Raises:
            ActorError: ``actor.not_found`` when there is no such actor, or what the server answers.
            ConnectError: when the server cannot be asked, or does not answer in time.
            ProtocolError: when the answer cannot be read.
            ClosedError: outside the client's block.
            Exception: what the function for the token raised.

        Cancellation: safe; the actor may have been created.
        """
        server = await self._core.server()
        return await self._target.resolve(self._core, server)

    async def gateway_url(self, path: str = "", *, by: Literal["id", "key"] = "id") -> str:
        """The URL of this actor at the gateway, for other HTTP clients.

        It holds the token when there is one: treat it as a secret.

        Args:
            path: The path below the actor, such as ``/request/files?page=2`` or ``/action/add``.
            by: ``"id"``: the URL means the actor of now, which is found or created. ``"key"``: it
                means whichever actor has the key when it is used; a `get_or_create` handle's
                creates it then. Nothing is asked but ``/metadata``. Since RivetKit 2.3.

        Raises:
            ActorError, ConnectError: as `resolve`; ``feature.unsupported`` for ``by="key"`` where
                the server cannot do it.
            TypeError: an argument has a wrong type.
            ValueError: the path cannot be sent; or, for ``by="key"``, the handle has no key, or
                one that a gateway reads as another: with a comma or an empty part.

        Cancellation: as `resolve`.
        """
        below = below_path(path)
        path = f"/{below}" if path else ""
        check_choice("by", by, ("id", "key"))
        server = await self._core.server()
        if by == "key":
            return key_url(self._target, server, path)
        actor_id = await self._target.resolve(self._core, server)
        token = server.endpoint.token
        if server.version is not None and not server.version.has_token_in_path:
            token = None
        return actor_url(server.endpoint, actor_id, path, token=token)

    @overload
    async def action(
        self,
        name: str,
        /,
        *args: Any,
        skip_ready_wait: bool | None = None,
        retry_for: float | None = None,
    ) -> Any: ...

    @overload
    async def action(
        self,
        name: str,
        /,
        *args: Any,
        type: type[T],
        skip_ready_wait: bool | None = None,
        retry_for: float | None = None,
    ) -> T: ...

    @overload
    async def action(
        self,
        name: str,
        /,
        *args: Any,
        type: Any,
        skip_ready_wait: bool | None = None,
        retry_for: float | None = None,
    ) -> Any: ...

    async def action(
        self,
        name: str,
        /,
        *args: Any,
        type: Any = Any,
        skip_ready_wait: bool | None = None,
        retry_for: float | None = None,
    ) -> Any:
        """Call an action with one HTTP request.

        Args:
            name: The action's name as the server knows it.
            args: Its arguments; the page "Values" lists what can be sent.
            type: What to convert the result to, checked by `msgspec.convert`.
            skip_ready_wait: Do not wait at the gateway until the actor is ready; None takes the
                client's setting.
            retry_for: The action may run more than once, also at the same time: it is called
                again after a lost connection, or while its actor or server is away, until it is
                answered or so many seconds are over. The last error has a note for each attempt
                before it. The attempt under way at the end of the time is cancelled, also the first
                one, which raises `ConnectionLostError`.

        Returns:
            What the action returned; nothing (undefined) is None.

        Raises:
            ActorError: what the actor or the server answered.
            ConnectError: the action did not run.
            ConnectionLostError: the action may have run.
            ProtocolError: the answer cannot be read, or is not of `type`.
            TypeError: an argument cannot travel (the message names the path to it), or one has a
                wrong type.
            ValueError: the name is empty, no URL can carry it, or `retry_for` is not a finite
                number more than 0.
            ClosedError: outside the client's block.
            Exception: what `get_params` or the function for the token raised.

        Cancellation: the action may have run. In a scope that is cancelled already,
        it is not sent.
        """
        name = check_name("action", name)
        path = action_path(name)
        check_flag("skip_ready_wait", skip_ready_wait, none=True)
        check_result_type(type)
        if retry_for is None:
            return await self._observed_action(name, path, args, type, skip_ready_wait, None)
        seconds = check_seconds("retry_for", retry_for)
        return await repeated(
            name,
            lambda once: self._observed_action(name, path, args, type, skip_ready_wait, once),
            seconds=seconds,
            retry=self._core.options.retry,
        )

    async def _observed_action(
        self,
        name: str,
        path: str,
        args: tuple[Any, ...],
        type: Any,
        skip_ready_wait: bool | None,
        once: OneAttempt | None,
    ) -> Any:
        observer = self._core.observer
        if observer is None:
            return await self._action(name, path, args, type, skip_ready_wait, once, _NO_CONTEXT)
        with observer.call(Call(self._subject(), "action", name, "http")) as context:
            return await self._action(name, path, args, type, skip_ready_wait, once, context)

    async def _action(
        self,
        name: str,
        path: str,
        args: tuple[Any, ...],
        type: Any,
        skip_ready_wait: bool | None,
        once: OneAttempt | None,
        context: Mapping[str, str],
    ) -> Any:
        # A closure would be more objects for each call, and the collector goes through all of them.
        attempt = partial(
            self._attempt_action, path, args, skip_ready_wait, context, once is not None
        )
        output = await call_actor(
            self._core, self._target, attempt, replaceable=name != "destroy", once=once
        )
        return convert(output, type, f"result of action {name!r}")

    async def _attempt_action(
        self,
        path: str,
        args: tuple[Any, ...],
        skip_ready_wait: bool | None,
        context: Mapping[str, str],
        is_repeated: bool,
        server: Server,
        actor_id: str,
    ) -> Any | Failed[Any]:
        content = server.codec.action_body(args)
        params = await self._params_header()
        post = partial(
            self._post, server, actor_id, path, content, params, skip_ready_wait, context
        )
        if is_repeated:
            answer = await unless_host_dies(self._core, server, actor_id, post)
        else:
            answer = await post()
        if not answer.ok:
            return failed(answer, server, params)
        return _read(answer, _load_output, server.codec)

    async def send(self, queue: str, body: Any) -> None:
        """Put a message into one of the actor's queues.

        Returns once it is stored. RivetKit answers alike, and drops the message, when the actor
        does not declare the queue. Queues came with RivetKit 2.1.

        Raises:
            ActorError: ``queue.full`` and others; ``feature.unsupported`` when the server has no
                queues.
            ConnectError: the message was not stored.
            ConnectionLostError: the message may have been stored.
            ProtocolError: the answer cannot be read; the message may have been stored.
            TypeError: the body cannot travel.
            ValueError: the queue's name is empty, or no URL can carry it.
            ClosedError: outside the client's block.
            Exception: what `get_params` or the function for the token raised.

        Cancellation: the message may have been stored. In a scope that is cancelled already,
        it is not sent.
        """
        await self._observed_send(queue, body, wait=False, timeout=None)

    async def send_and_wait(
        self, queue: str, body: Any, *, timeout: float | None = None, type: Any = Any
    ) -> QueueResult:
        """Put a message into one of the actor's queues and wait until it was worked off.

        Args:
            queue: The queue's name.
            body: The message.
            timeout: Seconds after which the server stops waiting and the status is
                ``"timedOut"``, from 0 to 2,147,483 (24 days); None: the server's own limit.
            type: What to convert the response to.

        Returns:
            The status, ``"completed"`` or ``"timedOut"``, and the response. A queue that the actor
            does not declare is answered at once with ``"completed"`` and no response.

        Raises:
            ActorError, ConnectError, ConnectionLostError, TypeError, ValueError: as `send`;
                ValueError also for another `timeout`.
            ProtocolError: the answer cannot be read, or is not of `type`.

        Cancellation: the message may have been stored. In a scope that is cancelled already,
        it is not sent.
        """
        return await self._observed_send(queue, body, wait=True, timeout=timeout, type=type)

    async def _observed_send(
        self, queue: str, body: Any, *, wait: bool, timeout: float | None, type: Any = Any
    ) -> QueueResult:
        queue = check_name("queue", queue)
        path = queue_path(queue)
        check_result_type(type)
        timeout_ms = queue_timeout(timeout)
        observer = self._core.observer
        if observer is None:
            return await self._send(queue, path, body, wait, timeout, timeout_ms, type, _NO_CONTEXT)
        call = Call(self._subject(), "send_and_wait" if wait else "send", queue, "http")
        with observer.call(call) as context:
            return await self._send(queue, path, body, wait, timeout, timeout_ms, type, context)

    async def _send(
        self,
        queue: str,
        path: str,
        body: Any,
        wait: bool,
        timeout: float | None,
        timeout_ms: int | None,
        type: Any,
        context: Mapping[str, str],
    ) -> QueueResult:
        async def attempt(server: Server, actor_id: str) -> QueueResult | Failed[QueueResult]:
            check_queues(server)
            codec = server.codec
            content = codec.queue_body(queue, body, wait, timeout_ms)
            params = await self._params_header()
            answer = await self._post(
                server,
                actor_id,
                path,
                content,
                params,
                None,
                context,
                extra_seconds=timeout or 0.0,
            )
            if not answer.ok:
                return failed(answer, server, params)
            reply = _read(answer, _load_reply, codec)
            if not wait:
                return QueueResult("completed")
            response = reply.response.load() if reply.response is not None else None
            if reply.response is not None:
                response = convert(response, type, f"response of queue {queue!r}")
            elif reply.status == "completed":
                _check_no_response(queue, type)
            return QueueResult(reply.status, response)

        return await call_actor(self._core, self._target, attempt)

    async def fetch(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        skip_ready_wait: bool | None = None,
        **options: Any,
    ) -> httpx.Response:
        """One HTTP request to the actor's own server (``onRequest``).

        Args:
            path: The path below the actor, with a query string if wanted. It is read as
                JavaScript's ``fetch`` reads a URL's, and slashes that follow each other are one,
                but dot segments are refused: what is asked for always lies below this actor.
            method: The HTTP method.
            headers: Additional headers.
            skip_ready_wait: As for `action`.
            options: As for `httpx.Request`: ``content``, ``json``, ``data``, ``files``,
                ``params``, ``cookies``; and ``timeout`` in seconds, or as `httpx.Timeout`.

        Returns:
            The response, read whole, whatever its status. The client asks for no compression unless
            `headers` have an ``Accept-Encoding``; what comes compressed is decompressed.

        Raises:
            ActorError: the actor cannot be found or started.
            ConnectError: the actor did not get the request.
            ConnectionLostError: the request may have arrived.
            ProtocolError: the body is longer than `max_message_size`, decoded or not, or was
                compressed more than once, or the answer cannot be read.
            TypeError: an argument has a wrong type, or an option is not known.
            ValueError: the path, the method, a header or the value of an option cannot be sent,
                or `timeout` is not more than 0.
            ClosedError: outside the client's block.
            Exception: what `get_params` or the function for the token raised.

        Cancellation: the request may have arrived. In a scope that is cancelled already,
        it is not sent.
        """
        asked = _asked(path, method, headers, skip_ready_wait, options)
        response = await self._open(asked)
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response

    def stream(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        skip_ready_wait: bool | None = None,
        **options: Any,
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """As `fetch`, for bodies that are read piece by piece inside ``async with``."""
        return self._stream(_asked(path, method, headers, skip_ready_wait, options))

    def _forwarded(
        self, target: str, method: str, headers: Sequence[tuple[str, str]], content: Any
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """As `stream`, with headers whose names may come twice, and of which ours come first."""
        options = {"content": content}
        asked = _Asked(request_path(target), method, headers, None, None, options, ours_first=True)
        return self._stream(asked)

    @asynccontextmanager
    async def _stream(self, asked: _Asked) -> AsyncGenerator[httpx.Response]:
        response = await self._open(asked)
        try:
            yield response
        finally:
            await response.aclose()

    async def _open(self, asked: _Asked) -> ActorResponse:
        """The response to a request, whose body is not read; the caller closes it."""
        observer = self._core.observer
        context = _NO_CONTEXT if observer is None else observer.context()
        attempt = partial(self._attempt_request, asked, context)
        return await call_actor(self._core, self._target, attempt)

    async def _attempt_request(
        self, asked: _Asked, context: Mapping[str, str], server: Server, actor_id: str
    ) -> ActorResponse | Failed[ActorResponse]:
        from ._http.response import ActorResponse, outgoing

        path, method, headers, skip_ready_wait, timeouts, options, ours_first = asked
        url, own = self._place(server, actor_id, path, skip_ready_wait)
        if (params := await self._params_header()) is not None:
            own[HEADER_PARAMS] = params
        if context:
            own = merged(own, context)
        fields = joined(own, headers) if ours_first else [*merged(own, dict(headers)).items()]
        sent = outgoing(method, url, fields, options)
        check_query(sent.query)
        core = self._core
        began = core.time()
        answer = await core.http.open(
            method, sent.url, headers=sent.headers, content=sent.content, timeouts=timeouts
        )
        limit = core.options.max_message_size
        response = ActorResponse(answer, sent.request, limit, began, core.time)
        try:
            failure = await _before_the_actor(response, server)
        except BaseException:
            await response.aclose()
            raise
        if failure is None:
            return response
        await response.aclose()
        # Anybody can write such a body; the header is the gateway's own.
        is_marked = failure.from_gateway and HEADER_ERROR in response.headers
        is_safe = is_marked or method.upper() in _IDEMPOTENT
        may_repeat = is_safe and not _is_one_shot(options)
        return replace(failure, may_repeat=may_repeat)

    def websocket(
        self,
        path: str = "",
        *,
        skip_ready_wait: bool | None = None,
        max_message_size: int | None = None,
        subprotocols: Sequence[str] = (),
    ) -> ActorWebSocket:
        """A WebSocket to the actor's own server (``onWebSocket``).

        Use it by ``async with handle.websocket(path) as ws``; it is not reconnected.

        Args:
            path: The path below the actor, with a query string if wanted.
            skip_ready_wait: As for `action`.
            max_message_size: The longest message accepted, in bytes; None takes the client's.
            subprotocols: Offered beside Rivet's own; see `ActorWebSocket.subprotocol`.

        Raises:
            TypeError: an argument has a wrong type.
            ValueError: the path cannot be sent, `max_message_size` is below 1, or a subprotocol is
                not a token or begins with ``rivet``: by those a client chooses the actor.
        """
        check_flag("skip_ready_wait", skip_ready_wait, none=True)
        check_size("max_message_size", max_message_size, none=True)
        return ActorWebSocket(
            self._core,
            self._target,
            path,
            params=self._params,
            get_params=self._get_params,
            skip_ready_wait=self._skips(skip_ready_wait),
            max_message_size=max_message_size,
            subprotocols=subprotocols,
        )

    def connect(
        self,
        *,
        params: Any = None,
        get_params: GetParams | None = None,
        skip_ready_wait: bool | None = None,
        connect_timeout: float | None = None,
        close_timeout: float | None = None,
        retry: Retry | None = None,
        wait_for_server: bool = False,
    ) -> Connection:
        """A connection to the actor, open inside ``async with handle.connect() as conn``.

        Args:
            params: Connection params instead of the handle's (and of its `get_params`).
            get_params: Awaited before every attempt for the params to use, in place of `params`.
            skip_ready_wait: As for `action`.
            connect_timeout: Seconds that one attempt may take; None takes the client's. A dial of
                its own within it still ends after the client's.
            close_timeout: Seconds that the closing handshake may take; None takes the client's.
            retry: Backoff between attempts; None takes the client's.
            wait_for_server: Entering waits until a server is there, however long that takes, and
                attempts go on as after a loss. Without it, entering raises when the first
                attempt fails. Refusals by the actor, certificates that are not accepted, a wrong
                configuration and errors of `get_params` raise at once in either case.

        Raises:
            TypeError: an argument has a wrong type, `params` cannot travel, or `get_params` is
                given, too.
            ValueError: a time is not a finite number of seconds, more than 0; `close_timeout` may
                be 0.
        """
        check_params(params, get_params)
        check_flag("skip_ready_wait", skip_ready_wait, none=True)
        connect_timeout = check_seconds("connect_timeout", connect_timeout, none=True)
        close_timeout = check_seconds("close_timeout", close_timeout, zero=True, none=True)
        check_instance("retry", retry, Retry)
        check_flag("wait_for_server", wait_for_server)
        params_json(params)
        if params is None and get_params is None:
            params, get_params = self._params, self._get_params
        options = self._core.options
        link = Link(
            self._core,
            self._target,
            params=params,
            get_params=get_params,
            skip_ready_wait=self._skips(skip_ready_wait),
            connect_timeout=options.connect_timeout if connect_timeout is None else connect_timeout,
            close_timeout=options.close_timeout if close_timeout is None else close_timeout,
            retry=retry or options.retry,
            wait_for_server=wait_for_server,
        )
        return Connection(link, self)

    async def _post(
        self,
        server: Server,
        actor_id: str,
        path: str,
        content: bytes,
        params: str | None,
        skip_ready_wait: bool | None,
        context: Mapping[str, str],
        *,
        extra_seconds: float = 0.0,
    ) -> HttpAnswer:
        url, headers = self._place(server, actor_id, path, skip_ready_wait)
        headers[HEADER_ENCODING] = server.codec.encoding
        headers["Content-Type"] = server.codec.content_type
        if params is not None:
            headers[HEADER_PARAMS] = params
        if context:
            headers = merged(headers, context)
        return await self._core.http.request(
            "POST",
            url,
            headers=headers,
            content=content,
            extra_seconds=extra_seconds,
            runs_actor=True,
        )

    async def _params_header(self) -> str | None:
        """The params of one request as JSON.

        Raises:
            ConnectError: `get_params` took longer than ``connect_timeout``.
            TypeError: what it returned cannot travel.
            Exception: what it raised.
        """
        if self._get_params is None:
            return self._header_params
        with self._core.limit(None) as limit:
            return params_json(await ask_params(self._get_params))
        raise ConnectError(
            f"get_params did not return within {limit:g} s: raise connect_timeout to wait longer"
        )

    def _place(
        self, server: Server, actor_id: str, path: str, skip_ready_wait: bool | None
    ) -> tuple[str, dict[str, str]]:
        """The URL of something of the actor, and the headers to send along."""
        headers = server.actor_headers()
        if not server.skips(self._skips(skip_ready_wait)):
            return actor_url(server.endpoint, actor_id, path), headers
        headers[HEADER_SKIP_READY_WAIT] = "1"
        headers[HEADER_TARGET] = "actor"
        headers[HEADER_ACTOR] = encode_component(actor_id)
        if path.startswith("/request"):
            return join_url(server.endpoint.url, path), headers
        return actor_url(server.endpoint, actor_id, path), headers

    def _subject(self) -> Subject:
        return self._core.subject(self._target.name, self._target.key)

    def _skips(self, skip_ready_wait: bool | None) -> bool:
        return self._core.options.skip_ready_wait if skip_ready_wait is None else skip_ready_wait


def _asked(
    path: str,
    method: str,
    headers: Mapping[str, str] | None,
    skip_ready_wait: bool | None,
    options: dict[str, Any],
) -> _Asked:
    """The arguments of `ActorHandle.fetch`, checked; raises as it does."""
    check_flag("skip_ready_wait", skip_ready_wait, none=True)
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(f"a request has no option {name!r}, only {', '.join(_OPTIONS)}")
    if not isinstance(method, str):
        raise TypeError(f"method is an HTTP method, not {in_short(method)}")
    if not is_http_token(method):
        raise ValueError(f"method is an HTTP method, not {in_short(method)}")
    timeouts = _timeouts(options.pop("timeout")) if "timeout" in options else None
    given = check_headers(headers)
    return _Asked(request_path(path), method, given, skip_ready_wait, timeouts, options)


def _timeouts(timeout: Any) -> Timeouts | None:
    """What the option ``timeout`` of a request means; None for the client's own."""
    if timeout is None or isinstance(timeout, (int, float)):
        seconds = check_seconds("timeout", timeout, none=True)
        return Timeouts(connect=seconds, read=seconds)
    from ._http.response import timeouts_of

    return timeouts_of(timeout)


def _check_no_response(queue: str, type: Any) -> None:
    try:
        convert(None, type, f"response of queue {queue!r}")
    except ProtocolError as error:
        raise ProtocolError(
            f"queue {queue!r} answered 'completed' without a response. If the actor does not "
            "declare this queue, RivetKit has dropped the message: check the name"
        ) from error


def _load_output(codec: Codec, body: bytes) -> Any:
    return codec.action_output(body).load()


def _load_reply(codec: Codec, body: bytes) -> QueueReply:
    return codec.queue_reply(body)


def _read(answer: HttpAnswer, read: Callable[[Codec, bytes], T], codec: Codec) -> T:
    """What an answer of success says; its `ProtocolError` quotes status and beginning."""
    try:
        return read(codec, answer.body)
    except ProtocolError as exc:
        raise ProtocolError(
            f"HTTP {answer.status} with a body that cannot be read: {answer.body[:200]!r}: {exc}"
        ) from exc


async def _before_the_actor(
    response: ActorResponse, server: Server
) -> Failed[ActorResponse] | None:
    """The error in an answer that need not be the actor's, None if there is none.

    The answer is read then, so that it can still be returned.
    """
    headers = response.headers
    if response.status_code < 400 or is_encoded(headers) or signer(headers) is not None:
        return None
    if "content-type" not in headers and HEADER_ERROR not in headers:
        return None
    length = headers.get("content-length", "")
    if not (length.isdecimal() and len(length) < 6 and int(length) < 65536):
        return None
    body = await response.aread()
    try:
        error = error_of(HttpAnswer(response.status_code, headers, body), server.codec)
    except ProtocolError:
        return None
    # Here labels are the actor's, but ray ids are the gateway's.
    from_gateway = HEADER_RAY in headers and is_from_gateway(server, headers)
    return Failed(error, from_gateway, answer=response)


def _is_one_shot(options: Mapping[str, Any]) -> bool:
    """Whether the body can be sent only once."""
    content = options.get("content")
    return bool(options.get("files")) or not isinstance(content, (type(None), bytes, str))
