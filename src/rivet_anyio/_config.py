"""A client's settings: where the server is, who we are there, and how connections behave."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import get_args
from urllib.parse import unquote

import msgspec

from ._checks import (
    as_config_errors,
    check_choice,
    check_headers,
    check_label,
    check_text,
    is_header_value,
)
from ._errors import ConfigError
from ._retry import Retry
from ._types import GetToken
from .protocol.addressing import Endpoint, parse_endpoint_url
from .protocol.codec import Encoding

__all__ = ["ClientConfig", "Options", "checked_token", "resolve_config"]

DEFAULT_ENDPOINT = "http://localhost:6420"
DEFAULT_NAMESPACE = "default"
DEFAULT_POOL = "default"

_VARIABLE = "the environment variable"


class Options(msgspec.Struct, frozen=True):
    """How connections behave; times in seconds, sizes in bytes."""

    connect_timeout: float
    close_timeout: float
    ping_interval: float | None
    ping_timeout: float | None
    actor_check_interval: float | None
    max_message_size: int
    retry: Retry
    skip_ready_wait: bool


class ClientConfig(msgspec.Struct, frozen=True):
    """A client's settings, from arguments or the environment."""

    endpoint: Endpoint
    pool: str
    encoding: Encoding
    headers: tuple[tuple[str, str], ...]


def resolve_config(
    endpoint: str | None,
    *,
    namespace: str | None,
    token: str | GetToken | None,
    pool: str | None,
    encoding: Encoding,
    headers: Mapping[str, str] | None,
    environ: Mapping[str, str] | None = None,
) -> ClientConfig:
    """Put arguments, environment variables and the endpoint's credentials together.

    Raises:
        ConfigError: for values that cannot be used or contradict each other.
    """
    env = os.environ if environ is None else environ
    with as_config_errors():
        check_choice("encoding", encoding, get_args(Encoding))
        for what, value in (("the namespace", namespace), ("the pool", pool)):
            if value is not None:
                check_text(what, value)
        # Neither may be shown: the endpoint can hold the token.
        if not isinstance(endpoint, str | None):
            raise TypeError(f"the endpoint is a string, not {type(endpoint).__name__}")
        if not isinstance(token, str | None) and not callable(token):
            raise TypeError(
                f"the token is a string or an async function, not {type(token).__name__}"
            )
        pairs = check_headers(headers)
    url, source = _first((endpoint, "endpoint"), *_of(env, "RIVET_ENGINE", "RIVET_ENDPOINT"))
    source = source or "endpoint"
    with _from(source):
        clean, user, password = parse_endpoint_url(url or DEFAULT_ENDPOINT)
    namespace, where = _credential(
        "namespace",
        user,
        source,
        _first((namespace, "the argument namespace="), *_of(env, "RIVET_NAMESPACE")),
    )
    with _from(where), as_config_errors():
        namespace = check_label("the namespace", namespace or DEFAULT_NAMESPACE)
    pool, where = _first((pool, "pool"), *_of(env, "RIVET_POOL", "RIVET_RUNNER"))
    with _from(where), as_config_errors():
        pool = check_label("the pool", pool or DEFAULT_POOL)
    return ClientConfig(
        endpoint=Endpoint(clean, namespace, _token(user, password, source, token, env)),
        pool=pool,
        encoding=next(known for known in get_args(Encoding) if known == encoding),
        headers=pairs,
    )


def _token(
    user: str,
    password: str,
    source: str,
    token: str | GetToken | None,
    env: Mapping[str, str],
) -> str | None:
    if password and not user:
        raise ConfigError(
            f"{source} has a token without a namespace: write https://namespace:token@host"
        )
    if callable(token):
        if password:
            raise ConfigError(
                f"the token is given twice: in the URL of {source} and by the argument token="
            )
        return None
    found, where = _credential(
        "token", password, source, _first((token, "the argument token="), *_of(env, "RIVET_TOKEN"))
    )
    with _from(where):
        if found and not is_header_value(found):
            raise ConfigError("the token has characters that no header can carry")
    return found or None


def _credential(
    what: str, in_url: str, source: str, elsewhere: tuple[str | None, str | None]
) -> tuple[str | None, str | None]:
    """The value, and where it comes from."""
    value, where = elsewhere
    if in_url and value:
        raise ConfigError(f"the {what} is given twice: in the URL of {source} and by {where}")
    if not in_url:
        return value, where
    try:
        return unquote(in_url, errors="strict"), source
    except UnicodeDecodeError:
        raise ConfigError(
            f"the {what} in the URL of {source} is no percent-encoded UTF-8"
        ) from None


def _of(env: Mapping[str, str], *names: str) -> list[tuple[str | None, str]]:
    return [(env.get(name), f"{_VARIABLE} {name}") for name in names]


@contextmanager
def _from(where: str | None) -> Generator[None]:
    """Name the environment variable that a value comes from in its errors."""
    try:
        yield
    except ConfigError as exc:
        if where is None or not where.startswith(_VARIABLE):
            raise
        raise ConfigError(f"{where}: {exc}") from None


def _first(*candidates: tuple[str | None, str]) -> tuple[str | None, str | None]:
    """The first value that is neither None nor empty, and where it comes from."""
    return next(((value, where) for value, where in candidates if value), (None, None))


def checked_token(token: object) -> str | None:
    """A token that a function of the user's returned, None for an empty one.

    Raises:
        ConfigError: it cannot be used; the text does not show it.
    """
    if not isinstance(token, str):
        raise ConfigError(f"the function for the token returned {type(token).__name__}, no str")
    if not is_header_value(token):
        raise ConfigError(
            "the function for the token returned one with characters that no header can carry"
        )
    return str.__str__(token) or None
