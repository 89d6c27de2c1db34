"""What answers that are errors raise."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from .._errors import (
    ActorError,
    ActorSpecifier,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RivetError,
)
from .._http.transport import HttpAnswer, Upgraded, retry_after
from ..protocol.addressing import HEADER_ERROR, HEADER_RAY
from ..protocol.codec import Codec
from ..protocol.json_codec import error_from_json
from ..protocol.messages import actor_error
from ..protocol.values import quote
from ..protocol.verdicts import is_away
from .server import Server

__all__ = [
    "REDIRECTS",
    "call_error",
    "error_of",
    "is_from_gateway",
    "is_not_trusted",
    "refusal_text",
    "refuses_for_good",
    "signer",
]

REDIRECTS = (300, 301, 302, 303, 307, 308)
"""Statuses that lead to another place; of the others below 400 none does. (RFC 9110, 15.4)"""


def error_of(answer: HttpAnswer, codec: Codec | None) -> ActorError:
    """The error in an answer that is none of success.

    The gateway and the management API write JSON in every encoding, and servers up to 2.2 label
    every error ``text/plain``: the codec is tried where the label does not say JSON.

    Raises:
        ProtocolError: when there is no error in it.
    """
    error = _readable_error(answer, codec)
    error.retry_after = retry_after(answer.headers)
    return error


def _readable_error(answer: HttpAnswer, codec: Codec | None) -> ActorError:
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


def call_error(answer: HttpAnswer, codec: Codec | None, params: str | None = None) -> ActorError:
    """As `error_of`, for an answer that a proxy may have given in place of the server.

    Raises:
        ConnectError: a proxy wants credentials, and passed nothing on; or the request's head or
            body is too long; or it was refused, for now or for good.
        ConnectionLostError: the server failed, or a proxy did not get its answer.
        ProtocolError: when there is no error in it.
    """
    try:
        return error_of(answer, codec)
    except ProtocolError as unreadable:
        unreadable.retry_after = retry_after(answer.headers)
        raise _refusal(answer, params, unreadable) from None


def _refusal(answer: HttpAnswer, params: str | None, unreadable: ProtocolError) -> RivetError:
    """What an answer means in which no error can be read."""
    status, seconds = answer.status, unreadable.retry_after
    if status >= 500:
        text = f"the server, or a proxy before it, failed: {unreadable}"
        return ConnectionLostError(text, retry_after=seconds)
    if status == 407:
        text = f"the proxy wants credentials: {unreadable}"
    elif status == 431:
        size = f" (params: {len(params):,} bytes)" if params is not None else ""
        text = (
            f"HTTP 431: the head of the request is too long for the server{size}, and nothing "
            "ran; make params or headers shorter"
        )
    elif status == 413:
        text = (
            "HTTP 413: the body of the request is too long for the server or for a proxy "
            "before it, and nothing ran; send less, or raise its limit"
        )
    elif status in (401, 403) or is_away(status):
        text = f"the request was refused, and nothing ran: {unreadable}"
    elif status in REDIRECTS:
        redirected = ProtocolError(
            f"HTTP {status}, a redirect{_target_of(answer)}, which is not followed: "
            "give Client the endpoint that the server redirects to"
        )
        redirected.retry_after = seconds
        return redirected
    else:
        return unreadable
    return ConnectError(text, status=status, retry_after=seconds)


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


def refusal_text(answer: Upgraded, params_size: int) -> str:
    """What an answer to a WebSocket handshake says that is not a 101.

    Args:
        answer: The answer.
        params_size: How many bytes of the handshake were params.
    """
    text = f"the server answered the WebSocket handshake with HTTP {answer.status}"
    if answer.status in REDIRECTS:
        # Its path may be the path that was asked for, with a token in it.
        place = re.match(r"https?://[^/?#@]+(?=[/?#]|$)", answer.headers.get("location", ""))
        text += f", a redirect{f' to {place[0]}' if place else ''}, which is not followed"
    elif 200 <= answer.status < 300:
        text += ": it, or a proxy before it, does not know WebSockets here"
    elif answer.status == 431:
        size = f" (params: {params_size:,} bytes)" if params_size else ""
        text += f": the request's head is too long for it{size}; make params or headers shorter"
    elif answer.body:
        text += f": {answer.body[:200]!r}"
    if answer.version.startswith("HTTP/2"):
        text += " (HTTP/2 has no Upgrade: use an httpx client with http2=False)"
    return text


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


def refuses_for_good(error: ConnectError) -> bool:
    """Whether an HTTP status in place of a connection says that another attempt has no point."""
    return error.status is not None and not is_away(error.status)


def is_not_trusted(error: BaseException | None) -> bool:
    """Whether the server's certificate was not accepted."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
