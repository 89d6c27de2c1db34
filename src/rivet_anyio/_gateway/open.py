"""Opening a WebSocket to an actor, for connections and for raw sockets."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from anyio import CancelScope

from .._checks import awaitable_from
from .._errors import ConnectError, ProtocolError, RivetError
from .._http.transport import HttpAnswer, Upgraded, retry_after
from .._io.backend import ByteStream
from .._io.tasks import ForeignCancellation
from .._observe import AttemptObserver, merged
from .._types import GetParams
from .._websocket.connection import Sink, WebSocketConnection
from .._websocket.handshake import check_accepted, handshake_headers, new_key
from .._websocket.outbox import Outbox
from .._websocket.rfc6455 import RFC6455Framer
from ..protocol.addressing import actor_url, fits_subprotocol, join_url, params_json, subprotocols
from ..protocol.codec import Encoding
from .context import Core, UserFailed
from .errors import error_of, refusal_text
from .resolve import Target
from .server import Server

__all__ = ["OpenSocket", "UpgradeRefused", "ask_params", "dial", "open_socket"]

_NO_CONTEXT: Mapping[str, str] = {}


class UpgradeRefused(ConnectError):
    """The server answered the handshake with something else than 101."""


class OpenSocket:
    """An open WebSocket, and whom it leads to; its owner closes it."""

    __slots__ = ("_ended", "actor_id", "server", "stream", "subprotocol")

    def __init__(
        self,
        stream: ByteStream,
        server: Server,
        actor_id: str,
        ended: Callable[[], None],
        subprotocol: str,
    ) -> None:
        self.stream = stream
        self.server = server
        self.actor_id = actor_id
        self._ended = ended
        self.subprotocol = subprotocol

    def websocket(
        self,
        outbox: Outbox,
        sink: Sink,
        core: Core,
        *,
        max_message_size: int | None = None,
        opening_deadline: float = math.inf,
    ) -> WebSocketConnection:
        """What moves messages on it, within the limits of a client's options.

        Args:
            outbox: As for `WebSocketConnection`.
            sink: As for `WebSocketConnection`.
            core: The client's.
            max_message_size: The longest message accepted, in bytes; None takes the client's.
            opening_deadline: As for `WebSocketConnection`.
        """
        options = core.options
        assert core.backend is not None
        return WebSocketConnection(
            self.stream,
            RFC6455Framer(max_message_size or options.max_message_size),
            outbox,
            sink,
            core.backend,
            ping_interval=options.ping_interval,
            ping_timeout=options.ping_timeout,
            opening_deadline=opening_deadline,
        )

    async def aclose(self) -> None:
        """Drop the connection at once. Cancellation: does not stop it."""
        try:
            await self.stream.aclose()
        finally:
            self._ended()


async def dial(
    core: Core,
    target: Target,
    path: str,
    *,
    encoding: Encoding,
    params: Any,
    get_params: GetParams | None,
    skip_ready_wait: bool,
    deadline: float,
    observer: AttemptObserver | None = None,
    offers: Sequence[str] = (),
) -> OpenSocket:
    """Get the params, find the actor, and open a WebSocket to it.

    Args:
        core: The client.
        target: The actor; its id is asked for anew.
        path: The path below the actor.
        encoding: What the handshake says of the messages.
        params: Connection params, unless `get_params` is given.
        get_params: Awaited for the params.
        skip_ready_wait: Do not wait until the actor is ready.
        deadline: The time of `anyio.current_time` until which all this may take.
        observer: Observes the attempt; the caller reports the end to it.
        offers: Subprotocols to offer beside Rivet's.

    Raises:
        UserFailed: what `get_params` or the function for the token raised.
        ActorError: what the server answered.
        TransportError, ProtocolError: when it did not, or not in HTTP.
    """
    observed = nullcontext(_NO_CONTEXT) if observer is None else observer.current()
    late = "get_params did not return"
    server = None
    with observed as context, CancelScope(deadline=deadline):
        if get_params is not None:
            try:
                params = await ask_params(get_params)
            except Exception as exc:
                raise UserFailed(exc) from exc
        header = params_json(params)
        late = ""
        server = await core.server_of_attempt(math.inf)
        late = "did not answer with the actor's id"
        actor_id = await target.resolve(core, server, fresh=True, seconds=math.inf)
        late = "did not answer the handshake"
        return await open_socket(
            core, server, actor_id, path, encoding, header, skip_ready_wait, context, offers
        )
    late = late or core.late_part
    if server is not None:
        url = server.endpoint.url
        late = f"{url} {late}{core.via(url)}"
    raise ConnectError(f"the connection could not be opened in time: {late} within connect_timeout")


async def ask_params(get_params: GetParams) -> Any:
    """What `get_params` returns; raises what it raises."""
    with ForeignCancellation(ConnectError, "get_params", passes=True):
        return await awaitable_from("get_params", get_params())


async def open_socket(
    core: Core,
    server: Server,
    actor_id: str,
    path: str,
    encoding: Encoding,
    params: str | None,
    skip_ready_wait: bool,
    context: Mapping[str, str],
    offers: Sequence[str] = (),
) -> OpenSocket:
    """Open a WebSocket to an actor id.

    `context` are headers of an observer's, `offers` subprotocols beside Rivet's.

    Raises:
        ActorError: what the server answered.
        TransportError, ProtocolError: when it did not, or not in HTTP.
    """
    token = server.endpoint.token
    skip_ready_wait = server.skips(skip_ready_wait)
    in_path = None
    if token is not None and not fits_subprotocol(token):
        in_path, token = token, None
    if skip_ready_wait:
        url = join_url(server.endpoint.url, path)
    else:
        url = actor_url(server.endpoint, actor_id, path, token=in_path)
    key = new_key(os.urandom(16))
    offered = subprotocols(
        encoding,
        params=params,
        token=token,
        skip_ready_wait_for=actor_id if skip_ready_wait else None,
    )
    answer = await core.http.upgrade(
        url,
        headers={
            **merged(server.actor_headers(), context),
            **handshake_headers(key, [*offered, *offers]),
        },
        has_secret=in_path is not None,
    )
    if answer.stream is None:
        raise _refusal(answer, server, 0 if params is None else len(offered[-1]))
    try:
        selected = check_accepted(answer.headers, key, [offered[0], *offers])
    except ProtocolError:
        answer.stream.drop()
        answer.ended()
        raise
    return OpenSocket(answer.stream, server, actor_id, answer.ended, selected)


def _refusal(answer: Upgraded, server: Server, params_size: int) -> RivetError:
    """The error that an answer means which is not a 101."""
    text = refusal_text(answer, params_size)
    try:
        error = error_of(HttpAnswer(answer.status, answer.headers, answer.body), server.codec)
    except ProtocolError:
        seconds = retry_after(answer.headers)
        return ConnectError(text, status=answer.status, retry_after=seconds)
    error.__cause__ = UpgradeRefused(text, status=answer.status)
    return error
