"""Where the server is and who we are there: arguments, environment variables, endpoint URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import get_args
from urllib.parse import unquote

import msgspec

from ._errors import ConfigError
from .protocol.addressing import Endpoint, fits_subprotocol, parse_endpoint_url
from .protocol.dialect import Encoding

__all__ = ["ClientConfig", "resolve_config"]

DEFAULT_ENDPOINT = "http://localhost:6420"
DEFAULT_NAMESPACE = "default"
DEFAULT_POOL = "default"


class ClientConfig(msgspec.Struct, frozen=True):
    """What a client was told, by argument or environment."""

    endpoint: Endpoint
    pool: str
    encoding: Encoding
    headers: tuple[tuple[str, str], ...]


def resolve_config(
    endpoint: str | None,
    *,
    namespace: str | None,
    token: str | None,
    pool: str | None,
    encoding: str,
    headers: Mapping[str, str] | None,
    environ: Mapping[str, str] | None = None,
) -> ClientConfig:
    """Put arguments, environment variables and the endpoint's credentials together.

    Raises:
        ConfigError: for values that cannot be used or contradict each other.
    """
    env = os.environ if environ is None else environ
    url, source = _first((endpoint, "endpoint"), *_of(env, "RIVET_ENGINE", "RIVET_ENDPOINT"))
    clean, user, password = parse_endpoint_url(url or DEFAULT_ENDPOINT)
    source = source or "endpoint"
    return ClientConfig(
        endpoint=Endpoint(
            url=clean,
            namespace=_credential(
                "namespace",
                user,
                source,
                _first((namespace, "the argument namespace="), *_of(env, "RIVET_NAMESPACE")),
            )
            or DEFAULT_NAMESPACE,
            token=_token(user, password, source, token, env),
        ),
        pool=_first((pool, "pool"), *_of(env, "RIVET_POOL", "RIVET_RUNNER"))[0] or DEFAULT_POOL,
        encoding=check_encoding(encoding),
        headers=_check_headers(headers or {}),
    )


def check_encoding(encoding: str) -> Encoding:
    """The encoding itself when there is one of this name."""
    known: tuple[Encoding, ...] = get_args(Encoding)
    for name in known:
        if encoding == name:
            return name
    raise ConfigError(f"encoding is 'bare', 'cbor' or 'json', not {encoding!r}")


def _token(
    user: str, password: str, source: str, token: str | None, env: Mapping[str, str]
) -> str | None:
    if password and not user:
        raise ConfigError(
            f"{source} has a token without a namespace: write https://namespace:token@host"
        )
    found = _credential(
        "token", password, source, _first((token, "the argument token="), *_of(env, "RIVET_TOKEN"))
    )
    if found and not (found.isascii() and found.isprintable()):
        raise ConfigError("the token has characters that no header can carry")
    return found or None


def _credential(
    what: str, in_url: str, source: str, elsewhere: tuple[str | None, str | None]
) -> str | None:
    value, where = elsewhere
    if in_url and value:
        raise ConfigError(f"the {what} is given twice: in the URL of {source} and by {where}")
    if not in_url:
        return value
    try:
        return unquote(in_url, errors="strict")
    except UnicodeDecodeError:
        raise ConfigError(
            f"the {what} in the URL of {source} is no percent-encoded UTF-8"
        ) from None


def _of(env: Mapping[str, str], *names: str) -> list[tuple[str | None, str]]:
    return [(env.get(name), f"the environment variable {name}") for name in names]


def _first(*candidates: tuple[str | None, str]) -> tuple[str | None, str | None]:
    """The first value that is neither None nor empty, and where it comes from."""
    return next(((value, where) for value, where in candidates if value), (None, None))


def _check_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigError(f"headers are strings: {name!r} is not, or its value")
        if not fits_subprotocol(name) or not (value.isascii() and value.isprintable()):
            raise ConfigError(f"the header {name!r} has characters that no header can carry")
    return tuple(headers.items())
