"""One connection that is lost again and again, and leaves nothing behind."""

from __future__ import annotations

import logging
import tracemalloc

import anyio
import pytest
import sniffio

from rivet_anyio import Client, Retry, Status

from .leftovers import held, held_memory, nothing_left_since
from .proxy import Proxy

_WARM_UP = 20
_HELD_BYTES = 16 * 1024


def memory_without_deadlines() -> int:
    """Trio keeps up to 1,000 deadlines that nobody waits for any more."""
    if sniffio.current_async_library() == "trio":
        from trio._core import _run

        _run.GLOBAL_RUN_CONTEXT.runner.deadlines._prune()
    return held_memory()


@pytest.mark.timeout(300)
async def test_reconnects_leave_nothing_behind(
    client: Client,
    proxy: Proxy,
    key: list[str],
    pytestconfig: pytest.Config,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, logger="rivet_anyio")
    count: int = pytestconfig.getoption("--reconnects")
    handle = client.ledger.get_or_create(key)
    async with handle.connect(retry=Retry(initial=0.001, maximum=0.001)) as conn:
        changes = conn.status_changes()
        events = conn.events("appended")

        async def reconnect(times: int) -> None:
            for _ in range(times):
                proxy.cut()
                while (await changes.receive()).status is not Status.DISCONNECTED:
                    pass
                while (await changes.receive()).status is not Status.CONNECTED:
                    pass

        with anyio.fail_after(280):
            tracemalloc.start()
            try:
                await reconnect(_WARM_UP)
                before, memory = await held(), memory_without_deadlines()
                await reconnect(count)
                left = await nothing_left_since(before)
                grown = memory_without_deadlines() - memory
            finally:
                tracemalloc.stop()
            assert left == []
            assert grown < _HELD_BYTES
            assert events.gaps == _WARM_UP + count
            assert await conn.append(1) == 1
            assert await events.receive() == (1, 1)
