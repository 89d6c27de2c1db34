"""A server, a proxy before it, and a client that sees it through the proxy."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from rivet_anyio import Client, Retry
from rivet_anyio.protocol.codec import Encoding
from tests.servers import Server

from .accounting import violations
from .proxy import Proxy, running_proxy
from .workload import Workload

__all__ = ["During", "Stage", "impatient", "stage"]

During = Callable[[Proxy, Workload], Awaitable[None]]
"""What happens while the workload runs."""


def impatient(
    endpoint: str, encoding: Encoding = "bare", *, notices_silence: bool = True
) -> Client:
    """A client that notices silence soon, unless told otherwise, and tries again at once.

    It asks for no metadata, which may lead it around the proxy.
    """
    return Client(
        endpoint,
        encoding=encoding,
        metadata_lookup=False,
        retry=Retry(initial=0.02, maximum=0.1),
        connect_timeout=0.6 if notices_silence else 30.0,
        close_timeout=1.0,
        ping_interval=0.15 if notices_silence else None,
        ping_timeout=0.3,
    )


@dataclass(frozen=True)
class Stage:
    """Where a workload can be played, again and again."""

    server: Server
    proxy: Proxy
    client: Client
    direct: Client

    async def play(
        self, key: list[str], chance: random.Random, during: During, *, pause: float = 0.005
    ) -> tuple[list[str], Counter[str]]:
        """Run a workload on a new ledger while something happens to it.

        Returns:
            Every broken promise, in words, and how much of what there was.
        """
        workload = Workload(self.client.ledger.get_or_create(key), chance, pause=pause)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(workload.run)
            await during(self.proxy, workload)
            workload.stop()
        log = await self.direct.ledger.get_or_create(key).log()
        # 2.3 begins actions that come together in any order.
        in_order = not self.server.version.startswith("2.3.")
        return violations(log, workload.histories, in_order=in_order), workload.report()


@asynccontextmanager
async def stage(
    server: Server, encoding: Encoding = "bare", *, notices_silence: bool = True
) -> AsyncGenerator[Stage]:
    """A stage, for as long as the block lasts."""
    with running_proxy(server.port) as proxy:
        async with (
            impatient(proxy.endpoint, encoding, notices_silence=notices_silence) as client,
            Client(server.endpoint, metadata_lookup=False) as direct,
        ):
            yield Stage(server, proxy, client, direct)
