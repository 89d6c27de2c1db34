"""Where requests go: URLs, headers and WebSocket subprotocols.

Actors are addressed by id, ``/gateway/{id}/...``; keys never appear in these URLs. (RivetKit,
``actor-gateway.ts``; the gateway that newer servers offer for keys splits them at commas.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote_plus, urlencode, urlsplit

import msgspec

from .._checks import check_name, check_route, check_text, is_http_token
from .._errors import ConfigError
from .._text import in_short
from .codec import Encoding
from .values import PARAMS_JSON, dump_ascii_json, prepare

__all__ = [
    "HEADER_ACTOR",
    "HEADER_ENCODING",
    "HEADER_ERROR",
    "HEADER_PARAMS",
    "HEADER_RAY",
    "HEADER_SKIP_READY_WAIT",
    "HEADER_TARGET",
    "HEADER_TOKEN",
    "SUBPROTOCOL",
    "Endpoint",
    "action_path",
    "actor_url",
    "ascii_host",
    "below_path",
    "check_query",
    "encode_component",
    "fits_subprotocol",
    "join_url",
    "params_json",
    "parse_endpoint_url",
    "query_url",
    "queue_path",
    "request_path",
    "same_host",
    "subprotocols",
    "user_subprotocols",
    "websocket_path",
    "without_credentials",
]

HEADER_ACTOR = "x-rivet-actor"
HEADER_ENCODING = "x-rivet-encoding"
HEADER_ERROR = "x-rivet-error"
HEADER_PARAMS = "x-rivet-conn-params"
HEADER_RAY = "x-rivet-ray-id"
HEADER_SKIP_READY_WAIT = "x-rivet-skip-ready-wait"
HEADER_TARGET = "x-rivet-target"
HEADER_TOKEN = "x-rivet-token"

SUBPROTOCOL = "rivet"
"""The one subprotocol that servers select."""

_UNRESERVED = re.compile(r"[\w.!~*'()-]*", re.ASCII)
_SLASHES = re.compile(r"[/\\]+")
_UNUSABLE = re.compile(r"[\s\\\x00-\x1f\x7f]")
_PATH_SAFE = "!$%&'()*+,-./:;=@[\\]_|~"
_QUERY_SAFE = _PATH_SAFE.replace("'", "") + "?^`{}"
_CREDENTIALS = {"authorization", "cookie", "proxy-authorization", HEADER_TOKEN}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Endpoint(msgspec.Struct, frozen=True):
    """A server: its URL without a trailing slash, and who we are there."""

    url: str
    namespace: str
    token: str | None

    def __repr__(self) -> str:
        token = "None" if self.token is None else "'***'"
        return f"Endpoint(url={self.url!r}, namespace={self.namespace!r}, token={token})"


def encode_component(text: str) -> str:
    """Percent-encode like JavaScript's ``encodeURIComponent``."""
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="-_.!~*'()")


def join_url(endpoint: str, path: str, query: Iterable[tuple[str, str]] = ()) -> str:
    """An endpoint's URL with a path below it and query parameters after it."""
    extra = "&".join(f"{encode_component(k)}={encode_component(v)}" for k, v in query)
    if extra:
        path += ("&" if "?" in path else "?") + extra
    return endpoint + path


def actor_url(endpoint: Endpoint, actor_id: str, path: str, *, token: str | None = None) -> str:
    """The URL of something of an actor; the token only where no header can carry it."""
    at = f"@{encode_component(token)}" if token else ""
    return f"{endpoint.url}/gateway/{encode_component(actor_id)}{at}{path}"


def action_path(name: str) -> str:
    """The path of an action below an actor's URL; raises as `check_name` and `check_route`."""
    return _action_path(check_name("action", name))


@lru_cache(256)  # a program calls few actions many times
def _action_path(name: str) -> str:
    check_route("the action's name", name)
    return f"/action/{encode_component(name)}"


def queue_path(name: str) -> str:
    """The path of a queue below an actor's URL; raises as `action_path`."""
    check_name("queue", name)
    check_route("the queue's name", name)
    return f"/queue/{encode_component(name)}"


def request_path(path: str) -> str:
    """The path of something at an actor's own HTTP server (``onRequest``)."""
    return "/request/" + below_path(path)


def websocket_path(path: str) -> str:
    """The path of something at an actor's own WebSocket server (``onWebSocket``)."""
    return "/websocket/" + below_path(path)


def below_path(text: str) -> str:
    """A path below an actor's own server, read as ``fetch`` reads a URL; a query string stays.

    Backslashes are slashes, and a fragment is left out. Slashes that follow each other are one,
    since no version finds the route of a path with two. (RivetKit, ``combineUrlPath``.)

    Raises:
        TypeError, ValueError: as `check_text`, `check_route` and `check_query`.
    """
    address, _, _ = check_text("the path", text).partition("#")
    path, mark, query = address.partition("?")
    check_route("the path", path)
    check_query(query)
    path = _SLASHES.sub("/", path).removeprefix("/")
    if not _UNRESERVED.fullmatch(path.replace("/", "")):
        path = quote(path, safe=_PATH_SAFE)
    return path + mark + quote(query, safe=_QUERY_SAFE)


def check_query(query: str) -> None:
    """Refuse parameters by which a gateway of 2.3 would look for another actor.

    Raises:
        ValueError: a parameter's name begins with ``rvt-``, encoded or not.
    """
    if not query or "rvt-" not in unquote_plus(query).lower():
        return
    for pair in query.split("&"):
        name = unquote_plus(pair.partition("=")[0])
        if name.strip().lower().startswith("rvt-"):
            raise ValueError(
                f"the query has the parameter {name!r:.60}: names that begin with 'rvt-' are the "
                "gateway's, and would lead to another actor"
            )


def query_url(
    endpoint: Endpoint,
    name: str,
    key: tuple[str, ...],
    path: str,
    *,
    creation: Iterable[tuple[str, str]] | None,
) -> str:
    """The URL of something of an actor by its key, as gateways of 2.3 find it.

    Args:
        endpoint: The server.
        name: The actor's name.
        key: Its key's parts.
        path: The path below the actor.
        creation: How to create it, as parameters, None to leave that.

    Raises:
        ValueError: the gateway, which splits keys at commas, would read another key.
    """
    if any("," in part or not part for part in key):
        raise ValueError(
            f"the key {list(key)!r} has a comma or an empty part, and a gateway would read another "
            "key: use by='id'"
        )
    fields = [("rvt-namespace", endpoint.namespace)]
    fields.append(("rvt-method", "get" if creation is None else "getOrCreate"))
    if key:
        fields.append(("rvt-key", ",".join(key)))
    fields += creation or ()
    if endpoint.token is not None:
        fields.append(("rvt-token", endpoint.token))
    mark = "&" if "?" in path else "?"
    return f"{endpoint.url}/gateway/{encode_component(name)}{path}{mark}{urlencode(fields)}"


def params_json(params: Any) -> str | None:
    """Connection params as the header carries them: JSON in ASCII; None is none.

    The 2.3 runtime takes a header with other characters for an absent one.

    Raises:
        TypeError: when something in the params is not JSON.
    """
    return None if params is None else dump_ascii_json(prepare(params, PARAMS_JSON, "params"))


def subprotocols(
    encoding: Encoding,
    *,
    params: str | None = None,
    token: str | None = None,
    skip_ready_wait_for: str | None = None,
) -> list[str]:
    """What a WebSocket handshake offers.

    Args:
        encoding: How messages are written; raw WebSockets say ``bare``.
        params: Connection params as `params_json` wrote them.
        token: Sent here when its characters allow it (RFC 9110 tokens).
        skip_ready_wait_for: The id of the actor to reach without waiting until it is ready.
    """
    offers = [SUBPROTOCOL, f"rivet_encoding.{encoding}"]
    if skip_ready_wait_for is not None:
        offers += [
            "rivet_target.actor",
            f"rivet_actor.{quote(skip_ready_wait_for, safe='-_.~')}",
            "rivet_skip_ready_wait",
        ]
    if token is not None:
        offers.append(f"rivet_token.{token}")
    if params is not None:
        offers.append(f"rivet_conn_params.{quote(params, safe='-_.~')}")
    return offers


def user_subprotocols(given: Any) -> tuple[str, ...]:
    """The subprotocols that a user offers beside `subprotocols`.

    Raises:
        TypeError: they are not a sequence of strings.
        ValueError: one is not a token, comes twice, or begins with ``rivet``.
    """
    if isinstance(given, (str, bytes, bytearray)) or not isinstance(given, Sequence):
        raise TypeError(f"subprotocols are a sequence of strings, not {in_short(given)}")
    offers: list[str] = []
    for one in given:
        text = check_name("subprotocol", one)
        if text.lower().startswith("rivet"):
            # What follows the dot may be a token or params.
            raise ValueError(
                f"the subprotocol {text.partition('.')[0]!r:.100} begins with 'rivet': those "
                "choose the actor and its params, and are added by the client"
            )
        if not is_http_token(text) or text in offers:
            raise ValueError(f"a subprotocol is an HTTP token, and comes once, not {text!r:.100}")
        offers.append(text)
    return tuple(offers)


def fits_subprotocol(token: str) -> bool:
    """Whether a token can be part of a subprotocol as it is: servers do not decode it."""
    return is_http_token(token)


def parse_endpoint_url(url: str) -> tuple[str, str, str]:
    """Split an endpoint URL into the URL without credentials, user name and password.

    Raises:
        ConfigError: when it is not an absolute http(s) URL, or has a query or a fragment. The
            message never repeats a password.
    """
    if not isinstance(url, str):
        raise ConfigError(f"an endpoint is a URL, not {type(url).__name__}")
    scheme, colon, _ = url.partition("://")
    _, at, host = url.rpartition("@")
    # Whatever stands before the last @ may be a token, in the wrong place or badly escaped, too.
    shown = f"{scheme + colon if colon and '@' not in scheme else ''}***@{host}" if at else url
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        why = "percent-encode / ? # @ and : in namespace and token" if at else str(exc)
        raise ConfigError(f"invalid endpoint URL {shown!r}: {why}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"invalid endpoint URL {shown!r}: it must look like https://host or "
            "https://namespace:token@host"
        )
    if _UNUSABLE.search(url):
        raise ConfigError(
            f"invalid endpoint URL {shown!r}: it has white space, a control character or a "
            "backslash"
        )
    if port == 0:
        raise ConfigError(f"invalid endpoint URL {shown!r}: its port is 0")
    if not parts.path.isascii():
        bad = next(char for char in parts.path if not char.isascii())
        raise ConfigError(
            f"invalid endpoint URL {shown!r}: its path has {bad!r}: percent-encode it"
        )
    if "?" in url:
        raise ConfigError(f"the endpoint {shown!r} cannot have a query string: remove '?...'")
    if "#" in url:
        raise ConfigError(f"the endpoint {shown!r} cannot have a fragment: remove '#...'")
    ascii_host(parts.hostname)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    clean = f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}{parts.path}"
    return clean.rstrip("/"), parts.username or "", parts.password or ""


def ascii_host(host: str) -> str:
    """A host's name as the resolver and certificates know it. (RFC 5891)

    Raises:
        ConfigError: no host has such a name.
    """
    if host.isascii():
        return host
    import idna

    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as exc:
        raise ConfigError(f"no host is named {host!r}: {exc}") from exc


def same_host(one: str, other: str) -> bool:
    """Whether two URLs lead to the same host; all names of the loopback are one."""
    hosts = [urlsplit(url).hostname or "" for url in (one, other)]
    if all(host in _LOOPBACK for host in hosts):
        return True
    return hosts[0] == hosts[1] and urlsplit(one).scheme == urlsplit(other).scheme


def without_credentials(
    headers: tuple[tuple[str, str], ...], token: str | None
) -> tuple[tuple[str, str], ...]:
    """The headers that another host may see: none that says who we are, or repeats the token."""
    return tuple(
        (name, value)
        for name, value in headers
        if name.lower() not in _CREDENTIALS and not (token and token in value)
    )
