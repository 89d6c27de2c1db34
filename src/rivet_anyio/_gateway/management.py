"""The management API beside the finding of actors."""

from __future__ import annotations

from .._errors import ActorError, ProtocolError
from ..protocol.addressing import encode_component
from ..protocol.management import check_changed, parse_names
from .context import Core
from .server import Server

__all__ = ["actor_names", "check_engine", "manage_actor"]


async def actor_names(core: Core) -> list[str]:
    """All names of actors that a server knows, sorted.

    Raises:
        ActorError, ConnectError, ConnectionLostError, ProtocolError: as `Core.manage`.
    """
    names: set[str] = set()
    cursor: str | None = None
    while True:
        server = await core.server()
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


def check_engine(server: Server, what: str) -> None:
    """Raise where the server is known to have no engine: it would ignore what needs one."""
    version = server.version
    if version is not None and not version.has_engine:
        raise _unsupported(f"this server runs RivetKit {version.text}: {what} came with 2.3")


async def manage_actor(core: Core, method: str, actor_id: str, below: str, what: str) -> None:
    """One request that changes an actor; it is never sent again.

    Args:
        core: The client.
        method: The HTTP method.
        actor_id: The actor.
        below: The path below the actor's.
        what: What is asked for, in the plural, for the error of a server that has it not.

    Raises:
        ActorError: ``feature.unsupported``, or what the server answers.
        ConnectError, ConnectionLostError, ProtocolError: as `Core.manage`.
    """
    server = await core.server()
    check_engine(server, what)
    namespace = [("namespace", server.endpoint.namespace)]
    path = f"/actors/{encode_component(actor_id)}{below}"
    body = b"{}" if method == "POST" else None
    try:
        answer = await core.manage(server, method, path, namespace, body)
    except ProtocolError as unreadable:
        # Servers without this path, of an unknown version, answer so; an engine writes errors.
        if str(unreadable).startswith("HTTP 404 "):
            raise _unsupported(f"this server has no {what}: {unreadable}") from None
        raise
    check_changed(answer.body)


def _unsupported(text: str) -> ActorError:
    return ActorError("feature", "unsupported", text)
