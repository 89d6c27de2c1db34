"""Management: what an administrator does with actors, beside calling them."""

from __future__ import annotations

import builtins
from typing import Any

from ._checks import check_actor_id, check_instance
from ._client import ActorList, Client
from ._errors import ActorError
from ._gateway.management import actor_names, manage_actor
from ._gateway.resolve import find_by_id
from ._typed.actor import Interface, TypedActor
from .protocol.keys import Key
from .protocol.management import ActorInfo
from .protocol.verdicts import is_impossible_id

__all__ = ["Management"]


class Management:
    """The actors of a server, managed by ``Management(client)`` inside the client's block.

    Each method but `list` and `names` sends one request, and never sends it again. An engine that
    checks tokens wants an administrator's for all but `get`.

    Args:
        client: The client whose server and token to use.

    Raises:
        TypeError: this is no `Client`.
    """

    def __init__(self, client: Client) -> None:
        check_instance("client", client, Client, none=False)
        self._client = client

    def __repr__(self) -> str:
        return f"<Management of {self._client!r}>"

    async def get(self, actor_id: str) -> ActorInfo | None:
        """The actor of an id, None if there is none, or it was destroyed. It is not woken.

        Raises:
            ActorError: what the server answered.
            ConnectError, ConnectionLostError, ProtocolError: there is no answer, or none that can
                be read.
            TypeError: the id is not a string.
            ValueError: the id is empty, or cannot be one.

        Cancellation: safe.
        """
        actor_id = _check_id(actor_id)
        core = self._client._core
        server = await core.server()
        try:
            found = await find_by_id(core, server, actor_id)
        except ActorError as error:
            # It left the id out, and then misses it.
            if not is_impossible_id(error):
                raise
            return None
        return found if found is not None and found.destroyed_at is None else None

    def list(
        self,
        name: str | Interface[Any, Any, Any],
        *,
        key: Key | None = None,
        include_destroyed: bool = False,
    ) -> ActorList:
        """The actors of a name, for ``async for``. They are not woken.

        Args:
            name: The actors' name, or a subclass of `TypedActor`.
            key: Only the one of this key.
            include_destroyed: Also those that were destroyed; RivetKit up to 2.2 forgets them.

        Raises:
            TypeError: an argument has a wrong type.
            ValueError: the name is empty.
        """
        if isinstance(name, type) and issubclass(name, TypedActor):
            name = name._actor_name()
        given: Any = name
        accessor = self._client.actor(given)
        return accessor.list(key=key, include_destroyed=include_destroyed)

    async def names(self) -> builtins.list[str]:
        """The names of actors that the server knows, sorted.

        Raises:
            ActorError, ConnectError, ConnectionLostError, ProtocolError: as `get`.

        Cancellation: safe.
        """
        return await actor_names(self._client._core)

    async def destroy(self, actor_id: str) -> None:
        """Destroy an actor and what it has stored. Since RivetKit 2.3.

        It ends soon after. One that was destroyed before is no error.

        Raises:
            ActorError: ``feature.unsupported`` where the server cannot do it; ``actor.not_found``
                and others.
            ConnectError: nothing was sent.
            ConnectionLostError: it may have been destroyed.
            ProtocolError, TypeError, ValueError: as `get`.

        Cancellation: the actor may have been destroyed.
        """
        await manage_actor(
            self._client._core, "DELETE", _check_id(actor_id), "", "requests to destroy actors"
        )

    async def sleep(self, actor_id: str) -> None:
        """Put an actor to sleep, until somebody calls it. Since RivetKit 2.3.

        It sleeps soon after. Its connections stay open and bring no events, until a call on one of
        them, or another call or connection, wakes it.

        Raises:
            ActorError: ``feature.unsupported`` where the server cannot do it; ``actor.not_found``
                and others.
            ConnectError: nothing was sent.
            ConnectionLostError: it may have been put to sleep.
            ProtocolError, TypeError, ValueError: as `get`.

        Cancellation: the actor may have been put to sleep.
        """
        await manage_actor(
            self._client._core,
            "POST",
            _check_id(actor_id),
            "/sleep",
            "requests to put actors to sleep",
        )


def _check_id(actor_id: str) -> str:
    actor_id = check_actor_id(actor_id)
    if "," in actor_id:
        raise ValueError(f"the actor's id has a comma, so it is none: {actor_id!r:.100}")
    return actor_id
