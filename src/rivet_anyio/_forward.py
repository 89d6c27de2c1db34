"""Forwarding: a request that somebody sent to a web backend goes on to an actor's own server."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ._checks import check_instance, check_text, is_http_token
from ._handle import ActorHandle
from ._text import in_short
from ._typed.actor import TypedActor

if TYPE_CHECKING:
    import httpx

__all__ = ["forward"]

_OF_THIS_HOP = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_OF_RIVET = ("x-rivet-", "sec-websocket-")


async def forward(
    handle: ActorHandle | TypedActor[Any, Any],
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    content: bytes | str | AsyncIterable[bytes] | None = None,
) -> httpx.Response:
    """Send a request that came from outside on to an actor's own server (``onRequest``).

    Whoever sent it chooses neither the actor nor the token. Of its headers these are left out:
    those of one hop (RFC 9110, section 7.6.1) and those that ``Connection`` names, ``Host``,
    ``Expect``, ``Content-Length``, which is written anew, ``Accept-Encoding``, so that the body
    comes as it is, all that begin with ``X-Rivet-`` or ``Sec-WebSocket-``, and those that `Client`
    was given. All others go on in their order. The values of a name that comes twice are joined by
    commas (RFC 9110, section 5.3), those of ``Cookie`` by semicolons.

    Args:
        handle: The actor, also a typed one.
        method: The HTTP method.
        target: Path and query as they came, beginning with ``/``; read as `ActorHandle.fetch`
            reads a path.
        headers: The headers that came: a mapping, or pairs.
        content: The body that came.

    Returns:
        The response, read whole, whatever its status.

    Raises:
        ActorError, ConnectError, ConnectionLostError, ProtocolError: as `ActorHandle.fetch`.
        TypeError: an argument has a wrong type.
        ValueError: method, target or a header cannot be sent; or the target has a dot segment or a
            parameter ``rvt-...``, which would lead to another actor.

    Cancellation: the request may have arrived.
    """
    if isinstance(handle, TypedActor):
        handle = handle._handle
    check_instance("handle", handle, ActorHandle, none=False)
    if not isinstance(method, str):
        raise TypeError(f"method is an HTTP method, not {in_short(method)}")
    if not is_http_token(method):
        raise ValueError(f"method is an HTTP method, not {in_short(method)}")
    if not check_text("target", target).startswith("/"):
        raise ValueError(f"target is a path that begins with '/', not {target!r:.100}")
    if not isinstance(content, (bytes, str, AsyncIterable, type(None))):
        raise TypeError(
            f"content is bytes, a str or an asynchronous iterable, not {type(content).__name__}"
        )
    async with handle._forwarded(target, method, _end_to_end(headers), content) as response:
        await response.aread()
        return response


def _end_to_end(headers: Any) -> list[tuple[str, str]]:
    """The headers that are meant for the actor; messages show no values."""
    if isinstance(headers, Mapping):
        # httpx joins values of one name in items().
        headers = getattr(headers, "multi_items", headers.items)()
    if isinstance(headers, (str, bytes)) or not isinstance(headers, Iterable):
        raise TypeError(f"headers are a mapping or pairs, not {type(headers).__name__}")
    pairs: list[tuple[str, str]] = []
    for pair in headers:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError("headers are a mapping or pairs of strings")
        name, value = pair
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers are strings: {in_short(name)} is not, or its value")
        if not is_http_token(name) or not _is_sendable(value):
            raise ValueError(f"the header {in_short(name)} has characters that no header can carry")
        pairs.append((name, value))
    named = {
        one.strip(" \t").lower()
        for name, value in pairs
        if name.lower() == "connection"
        for one in value.split(",")
    }
    dropped = _OF_THIS_HOP | named
    kept: dict[str, tuple[str, str]] = {}
    for name, value in pairs:
        lower = name.lower()
        # Some servers read an underscore in a name as a hyphen.
        plain = lower.replace("_", "-")
        if plain in dropped or lower in dropped or plain.startswith(_OF_RIVET):
            continue
        # Of a name that comes twice the engine of 2.3 keeps the last value only.
        first, before = kept.get(lower, (name, None))
        separator = "; " if lower == "cookie" else ", "
        kept[lower] = first, value if before is None else f"{before}{separator}{value}"
    return list(kept.values())


def _is_sendable(value: str) -> bool:
    return all(char == "\t" or " " <= char <= "~" or "\x80" <= char <= "\xff" for char in value)
