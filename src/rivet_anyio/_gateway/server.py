"""The server that a client talks to, and what its version means for requests."""

from __future__ import annotations

import msgspec

from .._http.transport import HttpAnswer
from .._version import __version__
from ..protocol.addressing import HEADER_RAY, HEADER_TOKEN, Endpoint
from ..protocol.codec import Codec
from ..protocol.dialect import Dialect, ServerVersion

__all__ = ["Server"]


class Server:
    """The server that requests go to, and how it is spoken to.

    Attributes:
        endpoint: Its URL, namespace and token.
        headers: The configured headers that it may see.
        version: What ``/metadata`` said, None where it was not asked or did not answer.
        codec: Writes and reads what goes over plain HTTP.
        asks_token: Whether each request wants the token of now, by `with_token`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        headers: tuple[tuple[str, str], ...],
        version: ServerVersion | None,
        codec: Codec,
        *,
        asks_token: bool = False,
    ) -> None:
        self.endpoint = endpoint
        self.headers = headers
        self.version = version
        self.codec = codec
        self.asks_token = asks_token
        self._fields = {"User-Agent": f"rivet-anyio/{__version__}", **dict(headers)}

    def with_token(self, token: str | None) -> Server:
        """The same server, with this token; itself when it is the same."""
        if token == self.endpoint.token:
            return self
        endpoint = msgspec.structs.replace(self.endpoint, token=token)
        return Server(endpoint, self.headers, self.version, self.codec, asks_token=True)

    @property
    def dialect(self) -> Dialect:
        """How values are written, as far as is known."""
        return self.codec.dialect

    def skips(self, skip_ready_wait: bool) -> bool:
        """Whether to skip waiting until an actor is ready, when that is asked for."""
        return skip_ready_wait and (self.version is None or self.version.has_skip_ready_wait)

    def actor_headers(self) -> dict[str, str]:
        """The headers of a request to an actor."""
        headers = self._fields.copy()
        if self.endpoint.token is not None:
            headers[HEADER_TOKEN] = self.endpoint.token
        return headers

    def management_headers(self, *, has_body: bool) -> dict[str, str]:
        """The headers of a request to the management API."""
        headers = self._fields.copy()
        if self.endpoint.token is not None:
            headers["Authorization"] = f"Bearer {self.endpoint.token}"
        if has_body:
            headers["Content-Type"] = "application/json"
        return headers

    def learn(self, answer: HttpAnswer) -> None:
        """Without metadata, the management API's answers say: only 2.3 has ray ids."""
        if self.version is None and not self.codec.names_version:
            ray = HEADER_RAY in answer.headers
            self.codec.dialect = Dialect.COMPAT if ray else Dialect.PLAIN
        elif self.version is None and HEADER_RAY not in answer.headers:
            self.codec.dialect = Dialect.PLAIN
