"""A conversation that is cut at a byte, wherever that is: the handshake, an answer, an event."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import anyio
import pytest

from rivet_anyio import (
    Client,
    ConnectError,
    Connection,
    ConnectionLostError,
    EventStream,
    Gap,
    Retry,
)
from rivet_anyio.protocol.codec import Encoding
from tests.servers import Server

from .proxy import Direction, running_proxy
from .toxics import CutOnce

_LONGEST = 10_000
"""No conversation is longer, in bytes of one direction."""


@dataclass
class Told:
    """What the client was told."""

    ran: int = 0
    may_have_run: int = 0
    did_not_run: int = 0
    events: list[object] = field(default_factory=list)

    async def call(self, caller: Client | Connection, key: list[str]) -> None:
        """Count once, over HTTP or a connection."""
        try:
            if isinstance(caller, Client):
                await caller.counter.get_or_create(key).increment(1)
            else:
                await caller.increment(1)
            self.ran += 1
        except ConnectError:
            self.did_not_run += 1
        except ConnectionLostError:
            self.may_have_run += 1

    async def converse(self, client: Client, direct: Client, key: list[str]) -> None:
        await self.call(client, key)
        try:
            await self._connect(client, direct, key)
        except (ConnectError, ConnectionLostError):  # the first attempt is the only one
            await self._connect(client, direct, key)

    async def _connect(self, client: Client, direct: Client, key: list[str]) -> None:
        async with client.counter.get_or_create(key).connect() as conn:
            stream = conn.events("newCount", type=int, gaps="mark")
            async with stream:
                for _ in range(3):
                    await self.call(conn, key)
                await self._listen(stream, direct, key)

    async def _listen(self, stream: EventStream[int | Gap], direct: Client, key: list[str]) -> None:
        """Until an event came that was sent after the last gap."""
        while True:
            self.ran += 1
            last = await direct.counter.get_or_create(key).increment(1)
            async for event in stream:
                self.events.append(event)
                if isinstance(event, Gap):
                    break
                if event == last:
                    return

    def contradictions(self, count: int) -> list[str]:
        """What of it is not true, where the actor has counted so far."""
        found = []
        if not self.ran <= count <= self.ran + self.may_have_run:
            found.append(f"the actor has {count}: {self}")
        for before, event in itertools.pairwise(self.events):
            if isinstance(before, int) and isinstance(event, int) and event != before + 1:
                found.append(f"{event} follows {before}: {self}")
        return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("encoding", ["bare", "json"])
async def test_a_cut_at_any_byte_is_told(
    server: Server,
    direct: Client,
    key: list[str],
    encoding: Encoding,
    direction: Direction,
    reset: bool,
    pytestconfig: pytest.Config,
) -> None:
    step: int = pytestconfig.getoption("--cut-every")
    retry = Retry(initial=0.01, maximum=0.02)
    with running_proxy(server.port) as proxy:
        found: list[str] = []
        for at in range(0, _LONGEST, step):
            cut, told, own = CutOnce(at, reset=reset), Told(), [*key, str(at)]
            with proxy.toxic(cut, on=(direction,)), anyio.fail_after(20):
                async with Client(
                    proxy.endpoint, encoding=encoding, metadata_lookup=False, retry=retry
                ) as client:
                    await told.converse(client, direct, own)
            count = await direct.counter.get_or_create(own).getCount()
            found += [f"cut at {at}: {one}" for one in told.contradictions(count)]
            if not cut.tripped:
                break
        assert not found, "\n".join(found)
        assert 500 < at < _LONGEST
