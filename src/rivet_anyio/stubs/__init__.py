"""Modules of typed actors, written from what a server or a TypeScript registry says.

Both functions return the text of a module that imports nothing but the standard library, msgspec
and rivet_anyio. It passes ``mypy --strict`` and pyright.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .._checks import check_seconds
from .._client import Client
from .._errors import ConfigError
from .._gateway.management import actor_names
from ._description import ActorShape, RegistryShape
from ._typescript import describe_typescript
from ._writer import write_module

if TYPE_CHECKING:
    import httpx
    import httpx2

__all__ = ["stubs_from_server", "stubs_from_typescript"]

_LONGEST_TIMEOUT = 1_000_000
_UNKNOWN = "The server lists its name only: describe actions, events and queues here."


async def stubs_from_server(
    endpoint: str | None = None,
    *,
    namespace: str | None = None,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    http: httpx.AsyncClient | httpx2.AsyncClient | None = None,
) -> str:
    """A module with a class for every actor that a running server knows.

    Servers list names only, so the classes are to be filled in.

    Args:
        endpoint: As for `Client`, and so are the others.
        namespace: The namespace.
        token: The token, where the management API asks for one.
        headers: Sent with every request.
        http: An `httpx.AsyncClient` or `httpx2.AsyncClient` that carries the requests.

    Raises:
        ConfigError: the server knows no actors, or the endpoint cannot be used.
        ActorError, ConnectError, ConnectionLostError, ProtocolError: as for other requests.

    Cancellation: safe.
    """
    async with Client(
        endpoint, namespace=namespace, token=token, headers=headers, http=http
    ) as client:
        names = await actor_names(client._core)
        if not names:
            raise ConfigError(f"{client.endpoint} knows no actors in {client.namespace!r}")
        title = f"The actors of {client.endpoint}, namespace {client.namespace}."
    actors = tuple(ActorShape(name, notes=(_UNKNOWN,)) for name in names)
    return write_module(RegistryShape(actors), title)


def stubs_from_typescript(
    registry_path: str | os.PathLike[str],
    *,
    export: str | None = None,
    node: str | None = None,
    timeout: float = 120.0,
) -> str:
    """A module with a class for every actor of a TypeScript registry, typed as it is there.

    The registry is read, not run. The ``typescript`` package is taken from its project.

    Args:
        registry_path: The file that calls ``setup``.
        export: The registry's exported name, where the file exports several.
        node: The Node.js program; else ``node`` on the ``PATH``.
        timeout: Seconds that TypeScript may take, at most a million.

    Raises:
        ConfigError: Node.js, the package or the registry is missing; the message says which.
        TypeError, ValueError: `timeout` cannot be used.
    """
    check_seconds("timeout", timeout, most=_LONGEST_TIMEOUT)
    path = Path(registry_path)
    shape = describe_typescript(path, export=export, node=node, timeout=timeout)
    if not shape.actors:
        raise ConfigError(f"the registry of {path} names no actors in its type")
    return write_module(shape, f"The actors of {path.name}.")
