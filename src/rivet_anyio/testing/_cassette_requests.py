"""What a client asks, as a cassette has it."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterable, Mapping, Sequence
from typing import Any, cast, get_args
from urllib.parse import unquote, unquote_plus

import httpx
import msgspec

from ..protocol.addressing import HEADER_ENCODING, HEADER_PARAMS, HEADER_TOKEN
from ..protocol.codec import Encoding
from ..protocol.keys import unescape_key
from ..protocol.values import COMPAT_CBOR, PLAIN_CBOR, load_cbor, revive
from ._cassette_file import Exchange, Names, RecordedConnection
from ._cassette_values import to_json
from ._encodings import ServerCodec, server_codec
from ._gateway import addressed_actor, offer_after, params_of
from ._http import HttpRequest
from ._release import Release
from ._websocket import offers_of

__all__ = [
    "connection_of",
    "encoding_of",
    "exchange_of",
    "request_of",
    "text_or_bytes",
    "whole_body",
]

_USUAL = {"runner_name_selector": None, "crash_policy": "sleep"}
"""What clients always send along, and what of it says nothing; None: whatever it is."""

_BOUNDARY = re.compile(r"multipart/.*boundary=([\w-]+)", re.IGNORECASE)


def request_of(
    method: str,
    url: str,
    endpoints: Sequence[str],
    headers: Mapping[str, str] | list[tuple[str, str]],
    content: bytes | None,
    names: Names,
) -> HttpRequest:
    """A request of the client; the secrets in its headers are noted.

    Args:
        method: The HTTP method.
        url: The absolute URL.
        endpoints: What it may begin with.
        headers: Its headers.
        content: Its body.
        names: Where secrets are noted.
    """
    target = next((url.removeprefix(at) for at in endpoints if url.startswith(f"{at}/")), url)
    request = HttpRequest(method, target, httpx.Headers(headers), content or b"")
    offers = offers_of(request)
    for token in (
        request.headers.get(HEADER_TOKEN),
        request.headers.get("authorization", "").removeprefix("Bearer "),
        offer_after(offers, "rivet_token."),
    ):
        names.add_secrets("token", token)
    params = offer_after(offers, "rivet_conn_params.")
    text = request.headers.get(HEADER_PARAMS) or (params and unquote_plus(params))
    names.add_secrets("param", params_of(text))
    return request


async def whole_body(content: bytes | AsyncIterable[bytes] | None) -> bytes | None:
    """A body, once it is whole; raises what its iteration raises."""
    if content is None or isinstance(content, bytes):
        return content
    return b"".join([piece async for piece in content])


def connection_of(request: HttpRequest, names: Names) -> RecordedConnection:
    """The connection, or raw WebSocket, that a handshake asks for, without messages."""
    asked = _asked(request)
    assert asked is not None
    id, below = asked
    names.keep_id(id)
    is_raw = below.partition("?")[0] != "/connect"
    path = "/" + below.removeprefix("/websocket").removeprefix("/")
    return RecordedConnection(id, path if is_raw else None, messages=[])


def encoding_of(request: HttpRequest) -> Encoding:
    """How messages of a request or connection are written."""
    named = request.headers.get(HEADER_ENCODING) or offer_after(
        offers_of(request), "rivet_encoding."
    )
    return cast("Encoding", named if named in get_args(Encoding) else "json")


def exchange_of(request: HttpRequest, release: Release, names: Names) -> Exchange:
    """A request to an actor or to the management API, without an answer.

    Raises:
        TypeError: as `to_json`.
    """
    asked = _asked(request)
    if asked is None:
        return _management(request, release, names)
    id, below = asked
    names.keep_id(id)
    path = below.partition("?")[0]
    if path == "/request" or path.startswith("/request/"):
        where = "/" + below.removeprefix("/request").removeprefix("/")
        body = to_json(text_or_bytes(_without_boundary(request))) if request.body else None
        return Exchange(fetch=f"{request.method} {where}", actor=id, body=body)
    codec: ServerCodec = server_codec(encoding_of(request), release)
    if path.startswith("/action/"):
        args = [to_json(arg) for arg in codec.action_args(request.body)]
        return Exchange(action=unquote(path[8:]), actor=id, args=args)
    wanted = codec.queue_request(request.body)
    name = unquote(path.removeprefix("/queue/"))
    return Exchange(send=name, actor=id, body=to_json(wanted.body), wait=wanted.wait)


def _management(request: HttpRequest, release: Release, names: Names) -> Exchange:
    query: dict[str, Any] = request.parameters
    query.pop("namespace", None)
    if "cursor" in query:
        query["cursor"] = names.known_cursor(query["cursor"])
    rest = request.path.removeprefix("/actors").strip("/").split("/")
    for id in (*query.get("actor_ids", "").split(","), rest[0] if rest[0] != "names" else ""):
        if id:
            names.keep_id(unquote(id))
    body = msgspec.json.decode(request.body) if request.body else {}
    body = {k: v for k, v in body.items() if k not in _USUAL or _USUAL[k] not in (None, v)}
    for fields in (query, body):
        if "key" in fields:
            fields["key"] = list(unescape_key(fields["key"]))
    if "input" in body:
        form = COMPAT_CBOR if release.has_engine else PLAIN_CBOR
        body["input"] = to_json(revive(load_cbor(base64.b64decode(body["input"])), form))
    return Exchange(
        request=f"{request.method} {request.path}", query=query or None, body=body or None
    )


def _asked(request: HttpRequest) -> tuple[str, str] | None:
    """The id of an actor and the path below it; None for the management API."""
    if request.path.startswith("/gateway/"):
        segment, _, rest = request.target.removeprefix("/gateway/").partition("/")
        return unquote(segment.partition("@")[0]), f"/{rest}"
    id = addressed_actor(request)
    return None if id is None else (id, request.target)


def _without_boundary(request: HttpRequest) -> bytes:
    """The body; the boundary of a form is drawn at random each time."""
    found = _BOUNDARY.match(request.headers.get("content-type", ""))
    return request.body if found is None else request.body.replace(found[1].encode(), b"boundary")


def text_or_bytes(data: bytes) -> str | bytes:
    """A body as text, if it is UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
