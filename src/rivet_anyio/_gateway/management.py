"""The names of actors that a server knows."""

from __future__ import annotations

from ..protocol.management import parse_names
from .context import Core

__all__ = ["actor_names"]


async def actor_names(core: Core) -> list[str]:
    """All of them, sorted.

    Raises:
        ActorError, ConnectError, ConnectionLostError, ProtocolError: as `Core.manage`.
    """
    server = await core.server()
    names: set[str] = set()
    cursor: str | None = None
    while True:
        query = [("namespace", server.endpoint.namespace)]
        if cursor is not None:
            query.append(("cursor", cursor))
        answer = await core.manage(server, "GET", "/actors/names", query)
        known = len(names)
        found, cursor = parse_names(answer.body)
        names.update(found)
        # The 2.3 engine names a cursor even after its last page.
        if cursor is None or len(names) == known:
            return sorted(names)
