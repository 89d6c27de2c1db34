"""What a client's handles and connections share: configuration, HTTP, and the server's own word
on who it is."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import anyio
import httpx
import msgspec

from .._config import ClientConfig
from .._errors import (
    ActorError,
    ActorSpecifier,
    ClosedError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RivetError,
)
from .._http.borrowed import HttpAnswer, HttpTransport
from .._io.stream import Backend, check_loop, current_backend
from .._observe import Observer, Subject, subject_at
from .._retry import Retry
from .._version import __version__
from .._websocket.connection import Pump
from ..protocol.addressing import (
    HEADER_ERROR,
    HEADER_RAY,
    HEADER_TOKEN,
    Endpoint,
    join_url,
    parse_endpoint_url,
    same_host,
    without_credentials,
)
from ..protocol.dialect import Dialect, ServerVersion
from ..protocol.encodings import Codec, codec_for, error_from_json
from ..protocol.management import ActorInfo, Metadata, parse_metadata
from ..protocol.messages import ErrorBody
from ..protocol.values import quote
from .shared import SharedRequests

__all__ = [
    "Core",
    "Options",
    "Server",
    "actor_error",
    "call_error",
    "error_of",
    "is_from_gateway",
    "signer",
]

_PROXY_FAILED = (502, 503, 504)


class Options(msgspec.Struct, frozen=True):
    """How connections behave; times in seconds, sizes in bytes."""

    connect_timeout: float
    close_timeout: float
    ping_interval: float | None
    ping_timeout: float | None
    max_message_size: int
    retry: Retry
    skip_ready_wait: bool


class Server:
    """The server that requests go to, and how it is spoken to.

    Attributes:
        endpoint: Its URL, namespace and token.
        headers: The configured headers that it may see.
        version: What ``/metadata`` said, None where it was not asked or did not answer.
        codec: Writes and reads what goes over plain HTTP.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        headers: tuple[tuple[str, str], ...],
        version: ServerVersion | None,
        codec: Codec,
    ) -> None:
        self.endpoint = endpoint
        self.headers = headers
        self.version = version
        self.codec = codec

    @property
    def dialect(self) -> Dialect:
        """How values are written, as far as is known."""
        return self.codec.dialect

    def skips(self, skip_ready_wait: bool) -> bool:
        """Whether to skip waiting until an actor is ready, when that is asked for."""
        known = self.version is None or self.version.has_skip_ready_wait
        return skip_ready_wait and known

    def actor_headers(self) -> dict[str, str]:
        """The headers of a request to an actor."""
        headers = self._headers()
        if self.endpoint.token is not None:
            headers[HEADER_TOKEN] = self.endpoint.token
        return headers

    def management_headers(self, *, has_body: bool) -> dict[str, str]:
        """The headers of a request to the management API."""
        headers = self._headers()
        if self.endpoint.token is not None:
            headers["Authorization"] = f"Bearer {self.endpoint.token}"
        if has_body:
            headers["Content-Type"] = "application/json"
        return headers

    def _headers(self) -> dict[str, str]:
        return {"User-Agent": f"rivet-anyio/{__version__}", **dict(self.headers)}

    def learn(self, answer: HttpAnswer) -> None:
        """Without metadata, the management API's answers tell: only 2.3 has ray ids."""
        if self.version is None and self.codec.encoding != "bare":
            ray = HEADER_RAY in answer.headers
            self.codec.dialect = Dialect.COMPAT if ray else Dialect.PLAIN
        elif self.version is None and HEADER_RAY not in answer.headers:
            self.codec.dialect = Dialect.PLAIN


class Core:
    """The inside of a client."""

    def __init__(
        self,
        config: ClientConfig,
        options: Options,
        *,
        metadata_lookup: bool,
        forward_token: bool,
        observer: Observer | None = None,
    ) -> None:
        self.config = config
        self.options = options
        self.observer = observer
        self._metadata_lookup = metadata_lookup
        self._forward_token = forward_token
        self.pumps: set[Pump] = set()  # of the open sockets
        self.backend: Backend | None = None
        self._transport: HttpTransport | None = None
        self._server: Server | None = None
        self._lookups: SharedRequests[Server] = SharedRequests()
        self.lookups_of_actors: SharedRequests[ActorInfo] = SharedRequests()
        self._used = False

    def open(self, transport: HttpTransport) -> None:
        """The client's block has been entered."""
        self.backend = current_backend()
        self._transport = transport
        self._used = True

    def close(self) -> None:
        """The client's block has been left: its sockets are of no more use."""
        self._transport = None
        for pump in tuple(self.pumps):
            pump.drop()

    @property
    def http(self) -> HttpTransport:
        """The transport; a `ClosedError` outside the client's block.

        In another event loop than the block's it is a `RuntimeError`.
        """
        if self._transport is None:
            when = "after its block was left" if self._used else "before 'async with' entered it"
            raise ClosedError(f"the Client was used {when}")
        assert self.backend is not None
        check_loop(self.backend, "this Client")
        return self._transport

    def subject(self, actor: str, key: tuple[str, ...] | None) -> Subject:
        """What observers are told of an actor."""
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

    async def server(self, *, seconds: float | None = None) -> Server:
        """The server to talk to, after asking for its metadata once.

        Args:
            seconds: How long to wait for the metadata at most; None: ``connect_timeout``.

        Raises:
            ConnectError: when the metadata did not come, or not in time.
        """
        _ = self.http
        if self._server is not None:
            return self._server
        with self.limit(seconds) as limit:
            return await self._lookups.run("metadata", self._look_up)
        raise ConnectError(
            f"{self.config.endpoint.url}/metadata did not answer within {limit:g} s: "
            "raise connect_timeout to wait longer"
        )

    @contextmanager
    def limit(self, seconds: float | None) -> Generator[float]:
        """Cancel the block after so many seconds, ``connect_timeout`` for None; yields them."""
        seconds = self.options.connect_timeout if seconds is None else seconds
        with anyio.move_on_after(seconds):
            yield float(seconds)

    async def _look_up(self) -> Server:
        self._server = server = await self._find_server()
        return server

    def doubt(self, server: Server) -> None:
        """This server broke off, and may come back in another version or at another place.

        The next `server` asks for its metadata again.
        """
        if self._server is server:
            self._server = None

    async def _find_server(self) -> Server:
        first = self._make_server(self.config.endpoint, self.config.headers, None)
        if not self._metadata_lookup:
            return first
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
        if answer.status >= 500:
            raise ConnectError(
                f"{endpoint.url}/metadata answered HTTP {answer.status}: {quote(answer.body)}",
                status=answer.status,
            )
        if answer.status in (401, 403):
            raise _metadata_refused(endpoint, answer)
        return self._moved(first, parse_metadata(answer.body)) if answer.ok else first

    def _moved(self, first: Server, metadata: Metadata) -> Server:
        """Where metadata sends us on to; secrets go to another host only when allowed."""
        old, url = first.endpoint, metadata.client_endpoint
        if url is None:
            return self._make_server(old, first.headers, metadata.version)
        try:
            clean, user, password = parse_endpoint_url(url)
            httpx.URL(clean)
        except (ConfigError, httpx.InvalidURL):
            raise ProtocolError(
                f"the server's clientEndpoint is no http(s) URL: {url!r:.100}"
            ) from None
        token = metadata.client_token or unquote(password)
        if not (token.isascii() and token.isprintable()):
            raise ProtocolError("the server's clientToken has characters that no header can carry")
        keeps_secrets = self._forward_token or same_host(old.url, clean)
        endpoint = Endpoint(
            url=clean,
            namespace=metadata.client_namespace or unquote(user) or old.namespace,
            token=token or (old.token if keeps_secrets else None),
        )
        headers = first.headers if keeps_secrets else without_credentials(first.headers, old.token)
        return self._make_server(endpoint, headers, metadata.version)

    def _make_server(
        self,
        endpoint: Endpoint,
        headers: tuple[tuple[str, str], ...],
        version: ServerVersion | None,
    ) -> Server:
        dialect = version.dialect if version else Dialect.COMPAT
        return Server(endpoint, headers, version, codec_for(self.config.encoding, dialect))


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


def error_of(answer: HttpAnswer, codec: Codec | None) -> ActorError:
    """The error in an answer that is none of success.

    The gateway and the management API write JSON in every encoding, and servers up to 2.2 label
    every error ``text/plain``: the codec is tried where the label does not say JSON.

    Raises:
        ProtocolError: when there is no error in it.
    """
    ray_id = answer.headers.get(HEADER_RAY)
    is_json = "application/json" in answer.headers.get("content-type", "")
    readers = [error_from_json]
    if codec is not None and not is_json:
        readers.insert(0, codec.error_body)
    for read in readers:
        try:
            body = read(answer.body)
        except ProtocolError:
            continue
        actor = signer(answer.headers)
        if actor is None and HEADER_ERROR in answer.headers:
            # The actor's host names the actor that it does not have.
            body = msgspec.structs.replace(body, actor=None)
        return actor_error(body, ray_id, actor)
    group, dot, code = answer.headers.get(HEADER_ERROR, "").partition(".")
    if dot:
        return ActorError(group, code, answer.body[:200].decode(errors="replace"), ray_id=ray_id)
    raise ProtocolError(f"HTTP {answer.status} without a readable error: {quote(answer.body)}")


def call_error(answer: HttpAnswer, codec: Codec | None) -> ActorError:
    """As `error_of`, for an answer that a proxy may have given in place of the server.

    Raises:
        ConnectError: a proxy wants credentials, and passed nothing on.
        ConnectionLostError: a proxy did not get the server's answer.
        ProtocolError: when there is no error in it.
    """
    try:
        return error_of(answer, codec)
    except ProtocolError as unreadable:
        if answer.status == 407:
            raise ConnectError(f"the proxy wants credentials: {unreadable}") from None
        if answer.status in _PROXY_FAILED:
            raise ConnectionLostError(f"a proxy before the server failed: {unreadable}") from None
        if 300 <= answer.status < 400:
            raise ProtocolError(
                f"HTTP {answer.status}, a redirect{_target_of(answer)}, which is not followed: "
                "give Client the endpoint that the server redirects to"
            ) from None
        raise


def _target_of(answer: HttpAnswer) -> str:
    """Where a redirect leads to, without what may be a secret in it."""
    location = answer.headers.get("location")
    if location is None:
        return ""
    try:
        parts = urlsplit(location)
        place = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
        return f" to {place.geturl()!r:.200}"
    except ValueError:
        return ""


def actor_error(
    body: ErrorBody, ray_id: str | None = None, actor: ActorSpecifier | None = None
) -> ActorError:
    """The exception for an error as the server described it.

    Metadata that cannot be read is left out, and a note says so.
    """
    metadata = note = None
    if body.metadata is not None:
        try:
            metadata = body.metadata.load()
        except ProtocolError as unreadable:
            note = f"its metadata cannot be read: {unreadable}"
    error = ActorError(
        body.group,
        body.code,
        body.message,
        metadata=metadata,
        actor=body.actor or actor,
        ray_id=ray_id,
    )
    if note is not None:
        error.add_note(note)
    return error


def signer(headers: Mapping[str, str]) -> ActorSpecifier | None:
    """The actor instance that gave an answer; servers since 2.3 say which.

    Neither the gateway nor the actor's host signs what it says in an actor's place.
    """
    id, generation = headers.get("x-rivet-actor"), headers.get("x-rivet-actor-generation", "")
    if not id or not generation.isdecimal() or len(generation) > 18:
        return None
    return ActorSpecifier(id, int(generation), headers.get("x-rivet-actor-key"))


def is_from_gateway(server: Server, headers: Mapping[str, str]) -> bool:
    """Whether the error in an answer came from before the actor's code.

    From 2.3 on actors sign their answers. Up to 2.2 they do not, and what looks like an error of
    the gateway can be their own. Where the version is not known, or an older actor runs behind a
    newer gateway, the label decides: older actors label errors as text or not at all.
    """
    if signer(headers) is not None:
        return False
    if server.version is not None and not server.version.signs_answers:
        return False
    return HEADER_ERROR in headers or "application/" in headers.get("content-type", "")
