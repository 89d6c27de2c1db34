"""Opening a WebSocket to an actor, for connections and for raw sockets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from anyio import CancelScope

from .._errors import ConnectError, ProtocolError
from .._http.transport import HttpAnswer
from .._http.upgrade import UpgradeRefused, upgrade
from .._io.stream import ByteStream
from .._io.tasks import foreign_cancellation
from .._observe import AttemptObserver, merged
from .._types import GetParams
from ..protocol.addressing import actor_url, fits_subprotocol, join_url, params_json, subprotocols
from ..protocol.dialect import Encoding
from .context import Core
from .errors import error_of
from .resolve import Target
from .server import Server

__all__ = ["OpenSocket", "ParamsFailed", "dial", "open_stream"]

_NO_CONTEXT: Mapping[str, str] = {}


class ParamsFailed(Exception):
    """The user's `get_params` failed; `error` is what it raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class OpenSocket:
    """An open WebSocket, and whom it leads to."""

    __slots__ = ("actor_id", "server", "stream")

    def __init__(self, stream: ByteStream, server: Server, actor_id: str) -> None:
        self.stream = stream
        self.server = server
        self.actor_id = actor_id


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
        observer: Observes the attempt; the caller tells it of the end.

    Raises:
        ParamsFailed: what `get_params` raised.
        ActorError: what the server answered.
        TransportError, ProtocolError: when it did not, or not in HTTP.
    """
    observed = nullcontext(_NO_CONTEXT) if observer is None else observer.current()
    with observed as context, CancelScope(deadline=deadline):
        if get_params is not None:
            params = await _ask(get_params)
        header = params_json(params)
        server = await core.server(seconds=math.inf)
        actor_id = await target.resolve(core, server, fresh=True, seconds=math.inf)
        stream = await open_stream(
            core, server, actor_id, path, encoding, header, skip_ready_wait, context
        )
        return OpenSocket(stream, server, actor_id)
    raise ConnectError("the connection could not be opened in time: connect_timeout is over")


async def _ask(get_params: GetParams) -> Any:
    try:
        with foreign_cancellation(ConnectError("get_params was cancelled from outside")):
            return await get_params()
    except Exception as exc:
        raise ParamsFailed(exc) from exc


async def open_stream(
    core: Core,
    server: Server,
    actor_id: str,
    path: str,
    encoding: Encoding,
    params: str | None,
    skip_ready_wait: bool,
    context: Mapping[str, str],
) -> ByteStream:
    """Open a WebSocket to an actor id; `context` are headers of an observer's.

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
    try:
        return await upgrade(
            core.http.client,
            url,
            headers=merged(server.actor_headers(), context),
            subprotocols=subprotocols(
                encoding,
                params=params,
                token=token,
                skip_ready_wait_for=actor_id if skip_ready_wait else None,
            ),
            has_secret=in_path is not None,
        )
    except UpgradeRefused as refused:
        answer = HttpAnswer(refused.status or 0, refused.headers, refused.body)
        try:
            error = error_of(answer, server.codec)
        except ProtocolError:
            raise ConnectError(
                str(refused), status=refused.status, retry_after=refused.retry_after
            ) from None
        raise error from refused
