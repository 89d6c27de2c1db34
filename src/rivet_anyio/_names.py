"""The names of actors that a server knows."""

from __future__ import annotations

from typing import Any

import msgspec

from ._client import Client
from ._errors import ProtocolError
from .protocol.values import quote

__all__ = ["actor_names"]


class _Pagination(msgspec.Struct):
    cursor: str | None = None


class _Names(msgspec.Struct):
    names: dict[str, Any]
    pagination: _Pagination | None = None


async def actor_names(client: Client) -> list[str]:
    """All of them, sorted.

    Raises:
        ActorError, ConnectError, ConnectionLostError, ProtocolError: as `Core.manage`.
    """
    core = client._core
    server = await core.server()
    names: set[str] = set()
    cursor: str | None = None
    while True:
        query = [("namespace", server.endpoint.namespace)]
        if cursor is not None:
            query.append(("cursor", cursor))
        page = _read((await core.manage(server, "GET", "/actors/names", query)).body)
        known = len(names)
        names.update(page.names)
        cursor = page.pagination.cursor if page.pagination else None
        # The 2.3 engine names a cursor even after its last page.
        if cursor is None or len(names) == known:
            return sorted(names)


def _read(body: bytes) -> _Names:
    try:
        return msgspec.json.decode(body, type=_Names)
    except msgspec.MsgspecError as exc:
        raise ProtocolError(f"the management API answered {quote(body)}: {exc}") from exc
