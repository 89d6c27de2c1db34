"""What a client asks the management API when it checks whether the actors' hosts still run."""

from __future__ import annotations

from collections.abc import Iterable

from rivet_anyio import Client
from rivet_anyio.protocol.management import ActorInfo

__all__ = ["count_checks"]


def count_checks(client: Client) -> list[list[str]]:
    """The ids of each request that the client's checks make from now on."""
    asked: list[list[str]] = []
    ask = client._core.checks._ask_for

    async def count(ids: list[str]) -> Iterable[ActorInfo]:
        asked.append(ids)
        return await ask(ids)

    client._core.checks._ask_for = count
    return asked
