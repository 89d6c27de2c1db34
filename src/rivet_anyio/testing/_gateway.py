"""What the server answers: the gateway, actions, queues, raw requests, WebSockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Awaitable, Callable
from functools import partial
from typing import Any, cast, get_args
from urllib.parse import unquote, unquote_plus

import anyio
import httpx
from anyio import move_on_after

from .._checks import is_header_value
from .._errors import ActorError, ProtocolError
from ..protocol.codec import Encoding
from ..protocol.values import dump_json
from ._actors import Actor
from ._encodings import QueueRequest, ServerCodec, server_codec
from ._faults import Plan
from ._http import Answer, HttpRequest, Upgrade
from ._instance import Host, Instance, internal_error, logger, not_found
from ._management import JSON, Management
from ._network import Wire
from ._peers import ActorConnection, ActorSocket
from ._queue import QueueMessage
from ._records import MessageQueued, Refused, Requested, SocketClosed, SocketOpened
from ._registry import Registry
from ._routes import Route, actor_route, is_method, server_route
from ._session import ReplyLost, Session, failure, perform, plan_action, without_metadata
from ._steps import begin
from ._websocket import OpenWebSockets, ServerWebSocket, offers_of, upgrade_answer

__all__ = ["Gateway", "addressed_actor", "offer_after", "params_of"]

TEXT: tuple[str, str] = ("content-type", "text/plain;charset=UTF-8")
_PYTHONS_TEXT = ("content-type", "text/plain; charset=utf-8")
"""What `httpx.Response` writes in its place."""

_IN_VAIN_SECONDS = 19.0
"""How long a gateway waits for the answer of a host that has died."""


class Gateway:
    """Answers requests as one RivetKit release does.

    Args:
        host: The server.
        registry: Its actors.
        timestamp: Milliseconds since 1970 for a time of `anyio.current_time`.
        open_channels: Where open connections are noted while they are open.
    """

    def __init__(
        self,
        host: Host,
        registry: Registry,
        timestamp: Callable[[float], int],
        open_channels: OpenWebSockets,
    ) -> None:
        self._host = host
        self._registry = registry
        self._management = Management(host, registry, timestamp)
        self._open_channels = open_channels
        self._rays = 0
        self._connections = 0

    async def handle(self, request: HttpRequest) -> Answer | Upgrade | None:
        """Answer a request; None: break the connection off."""
        self._rays += 1
        ray = f"ray{self._rays:04d}"
        if not is_method(self._host.release, request.method):
            return Answer(400)
        try:
            answer = await self._route(request)
        except ReplyLost:
            return None
        except _Refused as refused:
            answer = _status(refused.status, refused.retry_after)
        except ActorError as error:
            answer = self._gateway_error(request, error, ray)
        if answer is not None and self._host.release.has_engine:
            answer.headers.append(("x-rivet-ray-id", ray))
        return answer

    async def _route(self, request: HttpRequest) -> Answer | Upgrade | None:
        release = self._host.release
        if request.path.startswith("/gateway/"):
            return await self._gateway(request)
        id = self._addressed(request)
        if id is not None:
            return await self._actor(request, self._management.known(id), request.target)
        if request.is_upgrade:
            return self._no_websocket()
        route = server_route(release, request.path)
        if request.method == "OPTIONS" and not release.has_engine:
            return Answer(204)
        method = "GET" if request.method == "HEAD" else request.method
        if route is None or not route.takes(method):
            return self._nothing_at(request, route)
        if route.path in ("/", "/health"):
            return self._greeting(route)
        return await self._manage(request, route)

    def _addressed(self, request: HttpRequest) -> str | None:
        """The actor that is named beside the path, if there is one."""
        release, target = self._host.release, request.headers.get("x-rivet-target")
        # By headers the engine leads raw requests to an actor, and nothing else.
        is_led = target is None or (target == "actor" and _is_raw_request(request.path))
        if release.has_engine and not is_led and not request.is_upgrade:
            raise ActorError("guard", "no_route", f"No route found for {request.target}.")
        if is_addressed(request) and not addressed_actor(request):
            if release.has_engine:
                raise ActorError("guard", "missing_header", "Missing x-rivet-actor header.")
            text = "Missing x-rivet-actor header when x-rivet-target=actor"
            raise ActorError("request", "missing_actor_header", text)
        return addressed_actor(request)

    def _no_websocket(self) -> Answer:
        """Nothing at this path becomes a WebSocket."""
        if self._host.release.has_engine:
            text = "WebSockets are not supported here."
            raise ActorError("guard", "websocket_not_supported", text)
        return Answer(400)

    def _nothing_at(self, request: HttpRequest, route: Route | None) -> Answer:
        """There is no such path, or it takes other methods."""
        if not self._host.release.has_engine:
            return _nothing()
        if route is None:
            raise ActorError("api", "not_found", "The requested resource was not found")
        allowed = ["GET,HEAD" if method == "GET" else method for method in route.methods]
        status = 200 if request.method == "OPTIONS" else 405
        return Answer(status, [("allow", ",".join(allowed))])

    def _greeting(self, route: Route) -> Answer:
        """What the server says of itself to anybody."""
        release = self._host.release
        if route.path == "/health":
            runtime = "engine" if release.has_engine else "rivetkit"
            said = {"status": "ok", "runtime": runtime, "version": release.version}
            return Answer(200, [JSON], dump_json(said))
        if release.has_engine:
            return Answer(308, [("location", "/ui/")])
        site = "rivet.dev" if release.minor else "rivetkit.org"
        text = f"This is a RivetKit server.\n\nLearn more at https://{site}"
        return Answer(200, [TEXT], text.encode())

    async def _manage(self, request: HttpRequest, route: Route) -> Answer | None:
        plan = self._host.faults._plan("management", *self._management.subject(request))
        _stop(plan)
        await _hinder(plan)
        answer = await self._management.handle(request, route)
        if plan.loses_reply:
            raise ReplyLost
        return answer

    # The gateway

    async def _gateway(self, request: HttpRequest) -> Answer | Upgrade | None:
        segment, _, rest = request.path.removeprefix("/gateway/").partition("/")
        if not segment:
            return self._nothing_at(request, None)
        pairs = request.query.split("&")
        own = [part for part in pairs if not part.startswith("rvt-")]
        query = "&".join(own)
        target = f"/{rest}" + (f"?{query}" if query else "")
        if len(own) < len(pairs) and self._host.release.has_engine:
            found = self._query(unquote(segment), pairs)
        else:
            id = segment if self._host.release.minor == 0 else segment.partition("@")[0]
            found = self._management.known(unquote(id))
        return await self._actor(request, found, target)

    def _query(self, name: str, pairs: list[str]) -> Instance:
        """The query gateway of 2.3; it splits keys at commas."""
        values: dict[str, str] = {}
        for pair in pairs:
            field, _, value = pair.partition("=")
            if field.startswith("rvt-"):
                values[field] = unquote_plus(value)
        key = tuple(values["rvt-key"].split(",")) if values.get("rvt-key") else ()
        found = self._registry.find(name, key)
        if found is None and values.get("rvt-method") == "getOrCreate":
            input = self._management.input_of_query(values.get("rvt-input"))
            found = self._registry.create(name, key, input)
        if found is None:
            raise not_found(self._host.release)
        return found

    async def _actor(
        self, request: HttpRequest, instance: Instance, target: str
    ) -> Answer | Upgrade | None:
        if request.is_upgrade:
            return self._upgrade(request, instance, target)
        deaths, began = self._host.deaths, anyio.current_time()
        answer = await self._answer(request, instance, target)
        await self._host.heard()
        if deaths != self._host.deaths:
            await anyio.sleep(max(0.0, began + _IN_VAIN_SECONDS - anyio.current_time()))
            raise ActorError("core", "internal_error", "An internal error occurred")
        return answer

    async def _answer(self, request: HttpRequest, instance: Instance, target: str) -> Answer | None:
        path, release = target.partition("?")[0], self._host.release
        if request.method == "OPTIONS":
            return Answer(204)  # It is a browser's question, and does not reach the actor.
        if _is_raw_request(path):
            return await self._request(request, instance, target)
        route = actor_route(release, path)
        method = request.method
        if method == "HEAD" and not release.has_engine:
            method = "GET"
        codec = server_codec("json", release)
        if (route is None or not route.takes(method)) and not release.has_engine:
            if release.minor == 0 and method == "GET" and _becomes_websocket(path):
                return self._error(instance, codec, internal_error(release))
            return _nothing()
        limits = self._host.limits
        try:
            if route is None:
                raise _no_route(path)
            if not route.takes(method):
                raise _not_allowed(method, path)
            if route.methods == ("GET",):
                return await self._introduction(instance, route)
            codec = self._codec(request)
            params = self._params(request, self._unreadable())
            if not limits.lets_in(request.body):
                raise limits.incoming_too_long()
            caller = self._caller(instance, params)
            if route.path == "/action/*":
                name = unquote(route.name)
                plan = plan_action(self._host, instance, name, over_http=True)
                _stop(plan)
                body = await self._action(request, instance, codec, name, plan, caller)
            else:
                wanted = self._read(codec.queue_request, request.body)
                name = unquote(route.name) or wanted.name or ""
                if not name:
                    raise ActorError("request", "invalid", "Invalid request: missing queue name")
                plan = self._host.faults._plan("queue", name, instance.ref.name, instance.ref.key)
                _stop(plan)
                body = await self._queue(instance, codec, name, wanted, plan, caller)
            if not limits.lets_out(body):
                raise limits.outgoing_too_long()
        except (ReplyLost, _Refused):
            raise
        except Exception as error:
            if isinstance(error, ActorError) and error.group == "guard" and error.actor is None:
                raise  # the gateway's own
            return self._error(instance, codec, failure(instance, path, error))
        return Answer(200, [*self._signature(instance), ("content-type", codec.content_type)], body)

    async def _introduction(self, instance: Instance, route: Route) -> Answer:
        """What an actor says of itself to anybody."""
        release = self._host.release
        await instance.ready()
        signed = self._signature(instance)
        if route.path == "/metadata":
            said = {"runtime": "rivetkit", "version": release.version}
            if release.minor >= 2:
                said["type"] = "local"
            return Answer(200, [*signed, JSON], dump_json(said))
        text = "This is an RivetKit actor.\n\nLearn more at https://rivetkit.org"
        return Answer(200, [*signed, TEXT], b"ok" if route.path == "/health" else text.encode())

    async def _action(
        self,
        request: HttpRequest,
        instance: Instance,
        codec: ServerCodec,
        name: str,
        plan: Plan,
        caller: _Caller,
    ) -> bytes:
        args = self._read(codec.action_args, request.body)
        # Up to 2.1 the answer is written last: what `on_disconnect` changes in an object of the
        # state shows.
        is_last = self._host.release.minor <= 1
        answer = None if is_last else codec.action_reply
        async with caller as connection:
            output = await perform(self._host, instance, connection, name, args, plan, answer)
        return codec.action_reply(output) if is_last else output

    async def _queue(
        self,
        instance: Instance,
        codec: ServerCodec,
        name: str,
        wanted: QueueRequest,
        plan: Plan,
        caller: _Caller,
    ) -> bytes:
        await _hinder(plan)
        body = await self._enqueue(instance, codec, name, wanted, caller)
        if plan.loses_reply:
            raise ReplyLost
        return body

    async def _enqueue(
        self,
        instance: Instance,
        codec: ServerCodec,
        name: str,
        wanted: QueueRequest,
        caller: _Caller,
    ) -> bytes:
        async with caller:
            message = QueueMessage(name, wanted.body)
            self._host.log._append(
                MessageQueued(anyio.current_time(), instance.ref, name, wanted.body, wanted.wait)
            )
            is_declared = instance.has_queue(name)
            if is_declared:
                instance.enqueue(message)
            else:
                logger.warning(
                    "%s declares no queue %r, only %s: the message is dropped, as RivetKit does",
                    instance.ref,
                    name,
                    ", ".join(sorted(type(instance.actor).queues or ())) or "none",
                )
            if not wanted.wait or not is_declared:
                return codec.queue_reply("completed", None, False)
            longest = instance.actor.action_timeout if self._host.release.has_engine else None
            with move_on_after(longest):
                with move_on_after(wanted.timeout):
                    if wanted.timeout != 0:
                        return codec.queue_reply("completed", await message._wait(), True)
                return codec.queue_reply("timedOut", None, False)
            raise instance.timed_out()

    async def _request(
        self, request: HttpRequest, instance: Instance, target: str
    ) -> Answer | None:
        path = "/" + target.removeprefix("/request").removeprefix("/")
        if not self._host.release.has_engine:
            path = _without_last_slash(path)
        ref = instance.ref
        plan = self._host.faults._plan("fetch", path.partition("?")[0], ref.name, ref.key)
        _stop(plan)
        self._host.log._append(
            Requested(anyio.current_time(), instance.ref, request.method, path, request.body)
        )
        try:
            await _hinder(plan)
            params = self._params(request, internal_error(self._host.release))
            if request.method in ("CONNECT", "TRACE"):
                raise internal_error(self._host.release)  # JavaScript has no such requests
            caller = self._caller(instance, params)
            caller.connection._is_request = True
            async with caller as connection:
                if type(instance.actor).on_request is Actor.on_request:
                    return self._no_handler(instance)
                url = f"http://actor{path}"
                response = await instance.respond(
                    connection,
                    httpx.Request(
                        request.method, url, headers=request.headers, content=request.body
                    ),
                )
        except Exception as error:
            if isinstance(error, ActorError) and error.group == "guard" and error.actor is None:
                raise
            codec = self._codec_of(request.headers.get("x-rivet-encoding"))
            return self._error(instance, codec, failure(instance, "on_request", error))
        if plan.loses_reply:
            raise ReplyLost
        return self._raw_answer(request, instance, response)

    def _raw_answer(
        self, request: HttpRequest, instance: Instance, response: httpx.Response
    ) -> Answer:
        """What the actor answers, as it leaves the server."""
        release = self._host.release
        headers = [*self._signature(instance), *self._fields_of(response)]
        if not release.has_engine and "content-type" not in response.headers:
            headers.append(("content-type", "text/plain; charset=UTF-8"))
        stream = response.stream
        body: bytes | AsyncIterable[bytes]
        if isinstance(stream, httpx.ByteStream):
            body = b"".join(stream)  # not decompressed
        else:
            try:
                body = response.content
            except httpx.ResponseNotRead:
                body = cast("AsyncIterable[bytes]", stream)
        if request.method == "HEAD":
            body = b""
        # 2.3 says how long a body is only where there is none, and those before where there is one.
        return Answer(response.status_code, headers, body, bool(body) != release.has_engine)

    def _fields_of(self, response: httpx.Response) -> list[tuple[str, str]]:
        """Its fields as JavaScript joins them; of cookies, 2.3 passes on the last alone."""
        cookies = response.headers.get_list("set-cookie")
        if self._host.release.has_engine:
            del cookies[:-1]
        encoding = response.headers.encoding
        fields = [
            TEXT
            if field == _PYTHONS_TEXT
            else (field[0], field[1].encode(encoding).decode("latin-1"))
            for field in response.headers.items()
            if field[0] != "set-cookie"
        ]
        return fields + [("set-cookie", cookie) for cookie in cookies]

    def _no_handler(self, instance: Instance) -> Answer:
        """2.3 says nothing; the versions before always say it in JSON."""
        if self._host.release.has_engine:
            return Answer(404, self._signature(instance))
        text = (
            "Raw request handler not defined. Actor must implement `onRequest` to handle raw HTTP "
            "requests. (https://www.rivet.dev/docs/actors/fetch-and-websocket-handler/)"
        )
        error = ActorError("handler", "request_not_defined", text)
        body = server_codec("json", self._host.release).error_body(error)
        return Answer(404, [("content-type", "text/plain;charset=UTF-8")], body)

    # WebSockets

    def _upgrade(self, request: HttpRequest, instance: Instance, target: str) -> Answer | Upgrade:
        release, path = self._host.release, target.partition("?")[0]
        if not release.has_engine:
            path = _without_last_slash(path)
        if not _becomes_websocket(path):
            raise not_found(release) if release.has_engine else internal_error(release)
        is_raw = path != "/connect"
        encoding = offer_after(offers_of(request), "rivet_encoding.")
        if encoding is not None and encoding not in get_args(Encoding):
            if release.has_engine:
                return _closed(request, 1003, "actor.unsupported_websocket_encoding")
            return Answer(500)
        try:
            params = self._params_offered(request)
        except ValueError:
            if release.has_engine:
                return _closed(request, 1011, "core.internal_error")
            return Answer(500)
        fault = self._host.faults._plan_connect(instance.ref)
        if fault is not None and (fault.error is None or is_raw):
            code = str(fault.status)
            self._host.log._append(
                Refused(anyio.current_time(), instance.ref, params, "http", code)
            )
            return _status(fault.status, fault.retry_after)
        self._connections += 1
        id = f"connection{self._connections:04d}"

        async def connect(wire: Wire, early: bytes) -> None:
            channel = ServerWebSocket(wire, early)
            codec = self._codec_of(encoding)
            session = Session(self._host, instance, codec, id, params, channel, fault)
            await self._while_open(id, instance, channel, session.run)

        async def open_raw(wire: Wire, early: bytes) -> None:
            channel = ServerWebSocket(wire, early)
            asked = "/" + target.removeprefix("/websocket").removeprefix("/")
            socket = ActorSocket(id, asked, params, channel)

            async def run() -> None:
                await channel.run(lambda: self._talk_raw(instance, socket, channel))

            await self._while_open(id, instance, channel, run)

        return upgrade_answer(request, open_raw if is_raw else connect)

    async def _while_open(
        self,
        id: str,
        instance: Instance,
        channel: ServerWebSocket,
        run: Callable[[], Awaitable[None]],
    ) -> None:
        self._open_channels.add(id, instance.ref, channel)
        try:
            await run()
        finally:
            self._open_channels.remove(id)

    async def _talk_raw(
        self, instance: Instance, socket: ActorSocket, channel: ServerWebSocket
    ) -> None:
        connection = ActorConnection(socket.id, instance.ref, socket.params, None)
        if not self._host.release.has_engine:
            connection._raw_channel = channel
        try:
            await instance.ready()
            with instance.busy(keeps_awake=False):
                await instance.admit(connection)
        except Exception as error:
            self._refuse_raw(instance, channel, error)
            return
        instance.connections[connection.id] = connection
        try:
            await instance.welcome(connection)
        except Exception as error:
            if not self._host.release.has_engine:
                channel.close(1000, "`onConnect` failed")
            self._refuse_raw(instance, channel, error)
        else:
            await self._serve_raw(instance, socket, connection, channel)
        finally:
            instance.connections.pop(connection.id, None)
            self._host.tasks.start_soon(instance.part, connection)

    async def _serve_raw(
        self,
        instance: Instance,
        socket: ActorSocket,
        connection: ActorConnection,
        channel: ServerWebSocket,
    ) -> None:
        log, ref = self._host.log, instance.ref
        log._append(SocketOpened(anyio.current_time(), ref, socket.id, socket.path))

        async def handle() -> None:
            try:
                with instance.handling(connection):
                    await instance.actor.on_websocket(socket)
                channel.close(1000, "")
            except Exception as error:
                if self._host.release.has_engine:
                    self._refuse_raw(instance, channel, error)
                else:
                    failure(instance, "on_websocket", error)

        try:
            with instance.socket(channel):
                await channel.serve(partial(begin, self._host.tasks, handle))
        finally:
            by_client = channel.by_client
            log._append(
                SocketClosed(
                    anyio.current_time(), ref, socket.id, channel.code, channel.reason, by_client
                )
            )

    def _refuse_raw(self, instance: Instance, channel: ServerWebSocket, error: Exception) -> None:
        seen = failure(instance, "on_websocket", error)
        named = seen.code if self._host.release.minor == 0 else f"{seen.group}.{seen.code}"
        channel.close(1011, named)

    # Small parts

    def _caller(self, instance: Instance, params: Any) -> _Caller:
        self._connections += 1
        id = f"connection{self._connections:04d}"
        return _Caller(self._host, instance, ActorConnection(id, instance.ref, params, None))

    def _params(self, request: HttpRequest, error: ActorError) -> Any:
        """The params of a request; with text that is not JSON, 2.3 raises this error."""
        has_engine = self._host.release.has_engine
        text = request.headers.get("x-rivet-conn-params")
        if has_engine and (text is None or not text.isascii()):
            return None
        try:
            return json.loads(text) if text or has_engine else None
        except (ValueError, RecursionError) as exc:
            if has_engine:
                raise error from None
            raise ActorError("params", "invalid", f"Invalid params JSON: {exc}") from None

    def _params_offered(self, request: HttpRequest) -> Any:
        """The params of a handshake; raises ValueError for text that is not JSON."""
        text = offer_after(offers_of(request), "rivet_conn_params.")
        try:
            return json.loads(unquote_plus(text)) if text else None
        except RecursionError as exc:
            raise ValueError("nested too deeply") from exc

    def _codec(self, request: HttpRequest) -> ServerCodec:
        """The encoding that a request asks for; 2.3 takes one that it does not know for json.

        Raises:
            ActorError: up to 2.2 there is no such encoding.
        """
        encoding, release = request.headers.get("x-rivet-encoding"), self._host.release
        if encoding and encoding not in get_args(Encoding) and not release.has_engine:
            page = "clients/javascript" if release.minor else "actors/clients/#actor-client"
            text = f"Invalid encoding `{encoding}`. (https://www.rivet.dev/docs/{page})"
            raise ActorError("encoding", "invalid", text)
        return self._codec_of(encoding)

    def _codec_of(self, encoding: str | None) -> ServerCodec:
        """The encoding of this name, or else json."""
        for known in get_args(Encoding):
            if encoding == known:
                return server_codec(known, self._host.release)
        return server_codec("json", self._host.release)

    def _read(self, read: Callable[[bytes], Any], body: bytes) -> Any:
        try:
            return read(body)
        except ProtocolError as exc:
            logger.warning("a body that cannot be read: %s", str(exc))
            raise self._unreadable() from None

    def _unreadable(self) -> ActorError:
        """What is said of a body that cannot be read, and 2.3 says it of params, too."""
        if self._host.release.has_engine:
            return ActorError("core", "internal_error", "An internal error occurred")
        return internal_error(self._host.release)

    def _signature(self, instance: Instance) -> list[tuple[str, str]]:
        if not self._host.release.has_engine:
            return []
        actor = instance.specifier
        headers = [
            ("x-rivet-actor", actor.id),
            ("x-rivet-actor-generation", str(actor.generation)),
        ]
        if actor.key is not None and actor.key.isascii() and is_header_value(actor.key):
            headers.append(("x-rivet-actor-key", actor.key))
        return headers

    def _error(self, instance: Instance | None, codec: ServerCodec, error: ActorError) -> Answer:
        """An error of the actor, or of the runtime around it."""
        try:
            body = codec.error_body(error)
        except TypeError:
            if instance is None:
                raise
            body = codec.error_body(without_metadata(instance, error))
        headers = [] if instance is None else self._signature(instance)
        if self._host.release.has_engine:
            headers.append(("content-type", codec.content_type))
        elif codec.encoding == "json":
            headers.append(TEXT)
        return Answer(self._status(error), headers, body)

    def _gateway_error(self, request: HttpRequest, error: ActorError, ray: str) -> Answer | Upgrade:
        """An error from before the actor: JSON, or a WebSocket that is closed at once.

        Up to 2.2 it has the form of an actor's own.
        """
        release = self._host.release
        if request.is_upgrade:
            suffix = f"#{ray}" if release.has_engine else ""
            reason = error.code if release.minor == 0 else f"{error.group}.{error.code}{suffix}"
            return _closed(request, 1011, reason)
        if not release.has_engine:
            return self._error(None, self._codec_of(request.headers.get("x-rivet-encoding")), error)
        fields: dict[str, Any] = {
            "group": error.group,
            "code": error.code,
            "message": error.message,
        }
        if error.metadata is not None:
            fields["metadata"] = error.metadata
        headers = [JSON]
        if release.marks_errors:
            headers.append(("x-rivet-error", f"{error.group}.{error.code}"))
        return Answer(self._status(error), headers, dump_json(fields))

    def _status(self, error: ActorError) -> int:
        """HTTP statuses, which mean nothing to clients."""
        named = (error.group, error.code)
        if not self._host.release.has_engine:
            return 500 if error.code in _FAILURES else 400
        if named in _STATUSES:
            return _STATUSES[named]
        if error.code == "internal_error":
            # The runtime of 2.3 says it of what it cannot read.
            return 400 if error.group == "core" and error.actor is not None else 500
        if error.group == "guard":
            return 400 if error.code.startswith("query_") else 503
        return 500 if error.group == "user" else 400


_FAILURES = ("internal_error", "invalid_request_handler_response")

_STATUSES = {
    ("actor", "not_found"): 404,
    ("actor", "action_not_found"): 404,
    ("api", "not_found"): 404,
    ("guard", "no_route"): 404,
    ("guard", "missing_header"): 400,
    ("actor", "method_not_allowed"): 405,
    ("api", "unauthorized"): 401,
    ("api", "forbidden"): 403,
    ("auth", "forbidden"): 403,
    ("guard", "rate_limit"): 429,
    ("actor", "action_timed_out"): 408,
}


class _Caller:
    """A call over HTTP: a connection of its own, for as long as it takes."""

    def __init__(self, host: Host, instance: Instance, connection: ActorConnection) -> None:
        self._host = host
        self._instance = instance
        self.connection = connection
        self.connection._leave = self._leave
        self._busy = instance.busy()

    def _leave(self) -> None:
        self._instance.connections.pop(self.connection.id, None)

    async def __aenter__(self) -> ActorConnection:
        await self._instance.ready()
        self._busy.__enter__()
        try:
            with self._instance.signing():
                await self._instance.admit(self.connection)
                self._instance.connections[self.connection.id] = self.connection
                await self._welcome()
        except BaseException:
            self._leave()
            self._busy.__exit__(None, None, None)
            raise
        return self.connection

    async def _welcome(self) -> None:
        """Up to 2.2, what `Actor.on_connect` raises does not keep the call from being made."""
        try:
            await self._instance.welcome(self.connection)
        except Exception:
            if self._host.release.has_engine:
                raise
            self._leave()
            logger.exception("%s: on_connect failed", self._instance.ref)

    async def __aexit__(self, *exc: object) -> None:
        self._leave()
        await begin(self._host.tasks, self._part)

    async def _part(self) -> None:
        """Call the hook. An actor that is to sleep does so after it, and is not woken for it."""
        try:
            if self._host.release.minor == 0:
                self._busy.__exit__(None, None, None)
            await self._instance.part(self.connection, is_kept_awake=True)
        finally:
            if self._host.release.minor > 0:
                self._busy.__exit__(None, None, None)


class _Refused(Exception):
    """The test wants an HTTP status from before the actor."""

    def __init__(self, status: int, retry_after: int | None) -> None:
        self.status = status
        self.retry_after = retry_after


def _stop(plan: Plan) -> None:
    """Raise where the test wants that the request never reaches the actor."""
    if plan.status is not None:
        raise _Refused(plan.status, plan.retry_after)
    if plan.loses_request:
        raise ReplyLost


async def _hinder(plan: Plan) -> None:
    """Wait, and raise the error, where the test wants that."""
    if plan.delay:
        await anyio.sleep(plan.delay)
    if plan.error is not None:
        raise plan.error


def _without_last_slash(target: str) -> str:
    """Up to 2.2 the last slash of a path does not arrive."""
    path, mark, query = target.partition("?")
    return (path.rstrip("/") or "/") + mark + query


def _status(status: int, retry_after: int | None) -> Answer:
    headers = [("content-type", "text/plain")]
    if retry_after is not None:
        headers.append(("retry-after", str(retry_after)))
    return Answer(status, headers, b"refused by the test")


def _closed(request: HttpRequest, code: int, reason: str) -> Upgrade:
    """A WebSocket that is closed at once."""

    async def refuse(wire: Wire, early: bytes) -> None:
        channel = ServerWebSocket(wire, early)
        channel.close(code, reason)

        async def nothing() -> None:
            return

        await channel.run(nothing)

    return upgrade_answer(request, refuse)


def _nothing() -> Answer:
    """Up to 2.2 there is nothing at a path, or nothing for this method."""
    return Answer(404, [("content-type", "text/plain; charset=UTF-8")], b"Not Found (RivetKit)")


def _is_raw_request(path: str) -> bool:
    """Whether an actor's `on_request` answers at this path."""
    return path == "/request" or path.startswith("/request/")


def _becomes_websocket(path: str) -> bool:
    """Whether an actor speaks WebSocket at this path."""
    return path in ("/connect", "/websocket") or path.startswith("/websocket/")


def _no_route(path: str) -> ActorError:
    """2.3 finds nothing at a path of an actor."""
    text, metadata = f"Actor route '{path}' was not found.", {"id": path, "resource": "route"}
    return ActorError("actor", "not_found", text, metadata=metadata)


def _not_allowed(method: str, path: str) -> ActorError:
    """2.3 finds something, but not for this method."""
    metadata = {"method": method, "path": path}
    return ActorError("actor", "method_not_allowed", "Method not allowed", metadata=metadata)


def is_addressed(request: HttpRequest) -> bool:
    """Whether headers or subprotocols name the actor, and not the path."""
    is_target = request.headers.get("x-rivet-target") == "actor"
    return is_target or "rivet_target.actor" in offers_of(request)


def addressed_actor(request: HttpRequest) -> str | None:
    """The id of an actor that is named in headers or subprotocols instead of the path."""
    if request.headers.get("x-rivet-target") == "actor":
        id: str | None = request.headers.get("x-rivet-actor")
        return id
    if is_addressed(request):
        return unquote(offer_after(offers_of(request), "rivet_actor.") or "")
    return None


def offer_after(offers: list[str], prefix: str) -> str | None:
    """What follows the prefix in the subprotocol that has it."""
    return next((offer[len(prefix) :] for offer in offers if offer.startswith(prefix)), None)


def params_of(text: str | None) -> Any:
    """Connection params; text that is not JSON counts as absent."""
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
