"""What a client's handles and connections share: configuration, HTTP, and the server's own word
on who it is."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn, Protocol
from urllib.parse import unquote

import anyio

from .._checks import awaitable_from, is_header_value
from .._config import ClientConfig, Options, checked_token
from .._errors import (
    ActorError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RivetError,
    again,
    outside_block,
)
from .._http.transport import HttpAnswer, HttpTransport, retry_after
from .._io.backend import Backend, check_loop, current_backend
from .._io.tasks import ForeignCancellation
from .._observe import Observer, Subject, subject_at
from .._types import GetToken
from ..protocol.addressing import (
    Endpoint,
    join_url,
    parse_endpoint_url,
    same_host,
    without_credentials,
)
from ..protocol.dialect import Dialect, ServerVersion
from ..protocol.encodings import codec_for
from ..protocol.management import ActorInfo, Metadata, parse_actors, parse_metadata
from ..protocol.values import quote
from ..protocol.verdicts import is_away
from .backoffs import Backoffs
from .errors import call_error, error_of
from .host_checks import ActorChecks
from .server import Server
from .shared import SharedRequests

__all__ = ["Core", "UserFailed"]


class UserFailed(Exception):
    """The user's `get_params` or function for the token failed; `error` is what it raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error

    def __copy__(self) -> UserFailed:
        return UserFailed(again(self.error))


class Droppable(Protocol):
    """An open socket."""

    def drop(self) -> None:
        """End it at once."""
        ...


class Core:
    """The inside of a client.

    Attributes:
        sockets: The open WebSockets, which end with the client's block.
        checks: Asks whether the actors' hosts still run.
        backoffs: Where connections wait for a server that is away.
    """

    def __init__(
        self,
        config: ClientConfig,
        options: Options,
        *,
        metadata_lookup: bool,
        forward_token: bool,
        observer: Observer | None = None,
        get_token: GetToken | None = None,
    ) -> None:
        self.config = config
        self.options = options
        self.observer = observer
        self._metadata_lookup = metadata_lookup
        self._forward_token = forward_token
        self._get_token = get_token
        self._tokens: SharedRequests[str | None] = SharedRequests()
        self._awaits_token = False
        self.sockets: dict[Droppable, None] = {}
        self.checks = ActorChecks(self.find_actors, options.actor_check_interval)
        self.backoffs = Backoffs()
        self.backend: Backend | None = None
        self._transport: HttpTransport | None = None
        self._server: Server | None = None
        self._failed_dials = 0  # when the server was found
        self._lookups: SharedRequests[Server] = SharedRequests()
        self.lookups_of_actors: SharedRequests[ActorInfo] = SharedRequests()
        self._used = False

    def open(self, transport: HttpTransport) -> None:
        """The client's block has been entered."""
        self.backend = current_backend()
        self._transport = transport
        self._used = True

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Client, and the handles and connections made with it, cannot be pickled or copied "
            "deeply: make a Client where it is used"
        )

    def close(self) -> None:
        """The client's block has been left: end its sockets."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
        for socket in tuple(self.sockets):
            socket.drop()

    def time(self) -> float:
        """The clock of the event loop, in seconds; a `ClosedError` before the client's block."""
        if self.backend is None:
            raise outside_block("the Client", entered=False)
        return self.backend.time()

    @property
    def http(self) -> HttpTransport:
        """The transport; a `ClosedError` outside the client's block.

        In another event loop than the block's it is a `RuntimeError`.
        """
        if self._transport is None:
            raise outside_block("the Client", entered=self._used)
        assert self.backend is not None
        check_loop(self.backend, "this Client")
        return self._transport

    def via(self, url: str) -> str:
        """As `HttpTransport.via`."""
        return "" if self._transport is None else self._transport.via(url)

    def subject(self, actor: str, key: tuple[str, ...] | None) -> Subject:
        """What is reported to observers of an actor."""
        return subject_at(self.config.endpoint.url, actor, key)

    async def manage(
        self,
        server: Server,
        method: str,
        path: str,
        query: list[tuple[str, str]],
        content: bytes | None = None,
    ) -> HttpAnswer:
        """One request to the management API.

        Raises:
            ActorError: what the API answered, when it was an error.
            ConnectError, ConnectionLostError, ProtocolError: as `HttpTransport.request` and
                `call_error`.
        """
        answer = await self.http.request(
            method,
            join_url(server.endpoint.url, path, query),
            headers=server.management_headers(has_body=content is not None),
            content=content,
        )
        server.learn(answer)
        if not answer.ok:
            raise call_error(answer, None)
        return answer

    async def find_actors(self, ids: list[str]) -> tuple[ActorInfo, ...]:
        """The records of actors; only an engine has them all.

        Raises:
            ActorError, ConnectError, ConnectionLostError, ProtocolError: as `manage` and `server`.
            Exception: what the user's function for the token raised.
        """
        with self.limit(None) as limit:
            server = await self.server()
            query = [("actor_ids", ",".join(ids)), ("namespace", server.endpoint.namespace)]
            answer = await self.manage(server, "GET", "/actors", query)
            return parse_actors(answer.body, server.version).actors
        url = self.config.endpoint.url
        raise ConnectError(
            f"the management API of {url} did not answer{self.via(url)} within {limit:g} s"
        )

    async def server(self, *, seconds: float | None = None) -> Server:
        """The server to talk to, with the token of now, after asking for its metadata.

        It is asked again once a connection could not be opened: the server may have moved.

        Args:
            seconds: How long to wait for metadata and token at most; None: ``connect_timeout``.

        Raises:
            ConnectError: when they did not come, or not in time.
            Exception: what the user's function for the token raised.
        """
        try:
            return await self.server_of_attempt(seconds)
        except UserFailed as failed:
            error = failed.error
        try:
            raise error  # here it keeps its context
        finally:
            del error  # it holds this frame, which would hold it

    async def server_of_attempt(self, seconds: float | None) -> Server:
        """As `server`; what the user's function raised is marked as `UserFailed`."""
        if self.http.failed_dials != self._failed_dials:
            self.forget_server()
        server = self._server
        if server is not None and not server.asks_token:
            return server
        with self.limit(seconds) as limit:
            if server is None:
                server = await self._lookups.run("metadata", self._look_up)
                if not server.asks_token:
                    return server
            token = await self._token()
            # Those with the same token get the same server, and share its requests.
            known = self._server
            if known is None or known.codec is not server.codec:
                return server.with_token(token)
            self._server = changed = known.with_token(token)
            return changed
        raise ConnectError(
            f"{self.late_part} within {limit:g} s: raise connect_timeout to wait longer"
        )

    @property
    def late_part(self) -> str:
        """What `server_of_attempt` was waiting for when it was cancelled."""
        if self._awaits_token:
            return "the function for the token did not return"
        url = self.config.endpoint.url
        return f"{url}/metadata did not answer{self.via(url)}"

    async def _token(self) -> str | None:
        """The token of now, asked for once by all that ask at the same time."""
        get_token = self._get_token
        if get_token is None:
            return self.config.endpoint.token

        async def ask() -> str | None:
            self._awaits_token = True  # stays so after a cancellation, for `late_part`
            try:
                with ForeignCancellation(ConnectError, "the function for the token", passes=True):
                    token = checked_token(await awaitable_from("token", get_token()))
            except Exception as error:
                self._awaits_token = False
                raise UserFailed(error) from error
            self._awaits_token = False
            return token

        return await self._tokens.run("token", ask)

    @contextmanager
    def limit(self, seconds: float | None) -> Generator[float]:
        """Cancel the block after so many seconds, ``connect_timeout`` for None; yields them."""
        seconds = self.options.connect_timeout if seconds is None else seconds
        if seconds == math.inf:
            yield seconds
            return
        with anyio.move_on_after(seconds):
            yield float(seconds)

    async def _look_up(self) -> Server:
        before = self.http.failed_dials
        self._server = server = await self._find_server()
        self._failed_dials = before
        return server

    def invalidate(self, server: Server) -> None:
        """This server broke off, and may come back in another version or at another place.

        The next `server` asks for its metadata again.
        """
        if self._server is not None and self._server.codec is server.codec:
            self.forget_server()
        if self._transport is not None:
            self._transport.lost(server.endpoint.url)

    def forget_server(self) -> None:
        """It did not answer as it should: the next `server` asks for its metadata again.

        Where metadata is not asked for, what its answers taught counts on.
        """
        if self._metadata_lookup:
            self._server = None

    async def _find_server(self) -> Server:
        asks = self._get_token is not None
        first = self._make_server(self.config.endpoint, self.config.headers, None, asks_token=asks)
        if not self._metadata_lookup:
            return first
        if asks:
            first = first.with_token(await self._token())
        endpoint = first.endpoint
        try:
            answer = await self.http.request(
                "GET",
                join_url(endpoint.url, "/metadata", [("namespace", endpoint.namespace)]),
                headers=first.management_headers(has_body=False),
            )
        except ConnectionLostError as lost:
            # Asking for metadata runs nothing, so what the caller wanted did not run.
            raise ConnectError(f"{endpoint.url}/metadata did not answer: {lost}") from lost
        if is_away(answer.status):
            raise ConnectError(
                f"{endpoint.url}/metadata answered HTTP {answer.status}: {quote(answer.body)}",
                status=answer.status,
                retry_after=retry_after(answer.headers),
            )
        if answer.status in (401, 403):
            raise _metadata_refused(endpoint, answer)
        return self._moved(first, parse_metadata(answer.body)) if answer.ok else first

    def _moved(self, first: Server, metadata: Metadata) -> Server:
        """Where metadata sends us on to; secrets go to another host only when allowed."""
        old, url = first.endpoint, metadata.client_endpoint
        if url is None:
            return self._make_server(
                old, first.headers, metadata.version, asks_token=first.asks_token
            )
        try:
            clean, user, password = parse_endpoint_url(url)
        except ConfigError as exc:
            raise ProtocolError(f"the server's clientEndpoint cannot be used: {exc}") from None
        token = metadata.client_token or unquote(password)
        if not is_header_value(token):
            raise ProtocolError("the server's clientToken has characters that no header can carry")
        keeps_secrets = self._forward_token or same_host(old.url, clean)
        endpoint = Endpoint(
            url=clean,
            namespace=metadata.client_namespace or unquote(user) or old.namespace,
            token=token or (old.token if keeps_secrets else None),
        )
        headers = first.headers if keeps_secrets else without_credentials(first.headers, old.token)
        asks = first.asks_token and keeps_secrets and not token
        return self._make_server(endpoint, headers, metadata.version, asks_token=asks)

    def _make_server(
        self,
        endpoint: Endpoint,
        headers: tuple[tuple[str, str], ...],
        version: ServerVersion | None,
        *,
        asks_token: bool = False,
    ) -> Server:
        dialect = version.dialect if version else Dialect.COMPAT
        codec = codec_for(self.config.encoding, dialect)
        return Server(endpoint, headers, version, codec, asks_token=asks_token)


def _metadata_refused(endpoint: Endpoint, answer: HttpAnswer) -> RivetError:
    """The error of a server, or of a gateway before it, that keeps its metadata to itself."""
    advice = "Client(metadata_lookup=False) does without it"
    try:
        error = error_of(answer, None)
    except ProtocolError as unreadable:
        text = f"{endpoint.url}/metadata was refused ({advice}): {unreadable}"
        return ConnectError(text, status=answer.status)
    return ActorError(
        error.group,
        error.code,
        f"{error.message} ({endpoint.url}/metadata was refused: {advice})",
        metadata=error.metadata,
        actor=error.actor,
        ray_id=error.ray_id,
    )
