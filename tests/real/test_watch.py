"""`watch` on real servers, through a proxy that cuts all connections."""

from __future__ import annotations

import itertools

import anyio
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    Retry,
    SourceEvent,
    SourceFailed,
    SourceGap,
    watch,
)
from rivet_anyio.testing import collect
from tests.faults.proxy import running_proxy
from tests.servers import Server

GUARD = 120
_numbers = itertools.count()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # in memory it is tried on both
async def test_several_actors(server: Server) -> None:
    number = next(_numbers)
    with running_proxy(server.port) as proxy, anyio.fail_after(GUARD):
        async with (
            Client(
                proxy.endpoint, metadata_lookup=False, retry=Retry(initial=0.05, maximum=0.5)
            ) as client,
            watch("newCount", "other") as feed,
        ):
            counters = {
                name: client.counter.get_or_create(["watch", name, str(number)]) for name in "abc"
            }
            for name, handle in counters.items():
                feed.add(handle, key=name)
            feed.add(client.guarded.get_or_create(["watch", str(number)]), key="refused")
            items = {item.key: item for item in await collect(feed, 4, within=GUARD)}
            failed = items.pop("refused")
            assert isinstance(failed, SourceFailed) and isinstance(failed.error, ActorError)
            assert all(isinstance(item, SourceGap) for item in items.values())
            for by, handle in enumerate(counters.values(), 1):
                await handle.increment(by)
            assert set(await collect(feed, 3, within=GUARD)) == {
                SourceEvent("a", "newCount", 1),
                SourceEvent("b", "newCount", 2),
                SourceEvent("c", "newCount", 3),
            }
            feed.remove("c")
            proxy.cut()
            gaps = await collect(feed, 2, within=GUARD)
            assert {gap.key for gap in gaps} == {"a", "b"}
            for handle in counters.values():
                await handle.increment(10)
            assert set(await collect(feed, 2, within=GUARD)) == {
                SourceEvent("a", "newCount", 11),
                SourceEvent("b", "newCount", 12),
            }
            assert feed.statistics().connected == 2
