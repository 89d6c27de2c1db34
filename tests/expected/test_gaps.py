"""A gap is never hidden: whatever is missing lies inside one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anyio
import pytest

from rivet_anyio import Client, EventStream, Gap, Retry, Status
from rivet_anyio.testing import Actor, ActorServer, run_virtual
from tests.faults.proxy import running_proxy
from tests.faults.toxics import Latency
from tests.peers.raw import Peer, close, frame, response, serving, text
from tests.servers import Server, start_server

PATIENCE = 30
RETRY = Retry(initial=0.01, maximum=0.02)
PINGS = 2


def event(number: int) -> bytes:
    """An event as the actor sends it."""
    return text({"tag": "Event", "val": {"name": "e", "args": [number]}})


async def subscribed(peer: Peer) -> None:
    """Wait for the subscription."""
    while True:
        opcode, payload = await peer.frame()
        if opcode == 1 and json.loads(payload)["body"]["tag"] == "SubscriptionRequest":
            return


async def answer(peer: Peer) -> None:
    """Answer every action, whatever it is called, until the client closes; `fire` is an event."""
    while heard := await peer.heard():
        if heard[0] == 1:
            body = json.loads(heard[1])["body"]
            if body["tag"] == "ActionRequest":
                await peer.send(response(body["val"]["id"], None))
                if body["val"]["name"] == "fire":
                    await peer.send(event(3))


async def until_gap(stream: EventStream[object]) -> tuple[list[object], Gap]:
    """What comes before the first gap, and the gap."""
    events: list[object] = []
    while True:
        item = await stream.receive()
        if isinstance(item, Gap):
            return events, item
        events.append(item)


async def test_a_gap_ends_when_the_server_has_the_subscription() -> None:
    """Another client causes an event between Init and the subscription: it reaches nobody here."""
    missed_at = 0.0
    back = anyio.Event()

    async def talk(peer: Peer) -> None:
        nonlocal missed_at
        await peer.open()
        if peer.number == 1:
            await subscribed(peer)
            await peer.send(event(1) + close(1012))
            return
        await back.wait()
        missed_at = anyio.current_time()
        await subscribed(peer)
        await answer(peer)

    async with (
        serving(talk) as url,
        Client(url, metadata_lookup=False, encoding="json", retry=RETRY) as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):
        stream = conn.events("e", gaps="mark")
        changes = conn.status_changes()
        with anyio.fail_after(PATIENCE):
            async for change in changes:
                if change.status is Status.DISCONNECTED:
                    break
            # The server has the subscription a while after it said Init, however it is confirmed.
            with anyio.move_on_after(0.5):
                await conn.wait_connected()
            back.set()
            before, gap = await until_gap(stream)
            await conn.action("fire")
            assert before == [1] and await stream.receive() == 3
    assert gap.since <= missed_at <= gap.until


@pytest.mark.parametrize("lost", ["closed", "moved", "broken"])
async def test_a_gap_begins_with_the_last_message_of_the_actor(lost: str) -> None:
    """What a gateway answers to pings says nothing about the actor behind it."""
    fell_silent = 0.0
    pinged = anyio.Event()

    async def talk(peer: Peer) -> None:
        nonlocal fell_silent
        await peer.open()
        if peer.number > 1:
            await answer(peer)
            return
        await subscribed(peer)
        await peer.send(event(1))
        pings = 0
        while pings < PINGS:
            opcode, payload = await peer.frame()
            if opcode == 9:
                pings += 1
                fell_silent = fell_silent or anyio.current_time()
                await peer.send(frame(10, payload))
        if lost == "moved":
            await peer.send(text({"tag": "Init", "val": {"actorId": "a1", "connectionId": "c2"}}))
            await answer(peer)
        elif lost == "closed":
            await peer.send(close(1012))
        pinged.set()

    async with (
        serving(talk) as url,
        Client(
            url,
            metadata_lookup=False,
            encoding="json",
            retry=RETRY,
            ping_interval=0.1,
            ping_timeout=2,
        ) as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):
        stream = conn.events("e", gaps="mark")
        with anyio.fail_after(PATIENCE):
            assert await stream.receive() == 1
            received = anyio.current_time()
            before, gap = await until_gap(stream)
    assert before == []
    assert gap.since <= received, f"{gap.since - received} s too late"
    assert received < fell_silent <= gap.until


@pytest.mark.parametrize("lost", ["while paused", "after it"])
async def test_a_gap_does_not_begin_with_the_end_of_a_pause(lost: str) -> None:
    """A reader that ``overflow="block"`` held up has not heard of the actor meanwhile."""
    lose = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.open()
        if peer.number > 1:
            await answer(peer)
            return
        await subscribed(peer)
        await peer.send(event(1) + event(2))
        await lose.wait()

    async with (
        serving(talk) as url,
        Client(url, metadata_lookup=False, encoding="json", retry=RETRY) as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):
        stream = conn.events("e", gaps="mark", buffer_size=1, overflow="block")
        with anyio.fail_after(PATIENCE):
            while not stream.buffered:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            received = anyio.current_time()
            await anyio.sleep(0.2)
            if lost == "while paused":
                lose.set()
                await anyio.sleep(0.1)
            assert await stream.receive() == 1 and await stream.receive() == 2
            lose.set()
            before, gap = await until_gap(stream)
    assert before == []
    assert gap.since <= received + 0.1, f"{gap.since - received} s too late"


async def test_reading_pauses_when_a_gap_that_ends_fills_the_stream() -> None:
    """What came in the gap takes all capacity: the event behind the answer has to wait."""

    async def talk(peer: Peer) -> None:
        await peer.open()
        await subscribed(peer)
        if peer.number == 1:
            await peer.send(close(1012))
            return
        await peer.send(event(1))
        while heard := await peer.heard():
            if heard[0] == 1 and (body := json.loads(heard[1])["body"])["tag"] == "ActionRequest":
                await peer.send(response(body["val"]["id"], None) + event(2))

    async with (
        serving(talk) as url,
        Client(url, metadata_lookup=False, encoding="json", retry=RETRY) as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):
        stream = conn.events("e", buffer_size=1, overflow="block")
        with anyio.fail_after(PATIENCE):
            async for change in conn.status_changes():
                if change.status is Status.CONNECTED and stream.gaps:
                    break
            await anyio.wait_all_tasks_blocked()
            assert stream.buffered == 1
            assert [await stream.receive(), await stream.receive()] == [1, 2]


async def test_what_came_during_a_pause_is_as_old_as_the_pause() -> None:
    """Events that waited to be read behind a full stream say nothing of the time after them."""
    lost_at = 0.0
    pauses, lost = anyio.Event(), anyio.Event()

    async def talk(peer: Peer) -> None:
        nonlocal lost_at
        await peer.open()
        if peer.number > 1:
            await answer(peer)
            return
        await subscribed(peer)
        await peer.send(event(1))
        await pauses.wait()
        await peer.send(event(2))
        await peer.send(close(1012))
        lost_at = anyio.current_time()
        lost.set()

    async with (
        serving(talk) as url,
        Client(url, metadata_lookup=False, encoding="json", retry=RETRY) as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):
        stream = conn.events("e", gaps="mark", buffer_size=1, overflow="block")
        with anyio.fail_after(PATIENCE):
            while not stream.buffered:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            pauses.set()
            await lost.wait()
            await anyio.sleep(0.01)  # whatever the clocks' resolution is
            before, gap = await until_gap(stream)
    assert before == [1, 2]
    assert gap.since <= lost_at, f"{gap.since - lost_at} s too late"


@pytest.fixture(scope="module")
def real_server() -> Iterator[Server]:
    with start_server("2.2.1") as server:
        yield server


async def test_what_a_real_server_sent_without_a_subscription_lies_in_the_gap(
    real_server: Server, anyio_backend_name: str
) -> None:
    """Bytes to the server take long after the reconnect, and so does the subscription."""
    key = ["gaps", anyio_backend_name]
    sent: list[tuple[float, float]] = []
    got: set[int] = set()
    gaps: list[Gap] = []
    with running_proxy(real_server.port) as proxy:
        async with (
            Client(real_server.endpoint, metadata_lookup=False) as direct,
            Client(proxy.endpoint, metadata_lookup=False, retry=RETRY) as client,
            direct.probe.get_or_create(key).connect() as sender,
            client.probe.get_or_create(key).connect() as conn,
        ):

            async def send() -> None:
                before = anyio.current_time()
                await sender.emit("e", len(sent))
                sent.append((before, anyio.current_time()))
                await anyio.sleep(0.01)

            stream = conn.events("e", gaps="mark")
            await conn.echo(1)
            with anyio.fail_after(PATIENCE):
                with proxy.toxic(Latency(0.3), on=("up",)):
                    proxy.cut()
                    while not stream.gaps or got.isdisjoint(range(len(sent) - 5, len(sent))):
                        await send()
                        while stream.buffered:
                            item = await stream.receive()
                            if isinstance(item, Gap):
                                gaps.append(item)
                            else:
                                got.add(item)
    missing = [sent[number] for number in range(max(got)) if number not in got]
    outside = [
        (before, after)
        for before, after in missing
        if not any(gap.since <= after and before <= gap.until for gap in gaps)
    ]
    assert gaps and missing
    assert not outside, f"{len(outside)} events are lost outside the gaps {gaps}"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("is_read_to_the_end", [False, True])
def test_a_gap_begins_before_the_pause(backend: str, is_read_to_the_end: bool) -> None:
    """A full stream pauses the connection, which is lost: nobody knows when it was read last."""

    class Ticker(Actor):
        async def tick(self, number: int) -> None:
            self.context.broadcast("tick", number)

    async def main() -> None:
        async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
            ticker = client.ticker.get_or_create()
            async with (
                ticker.connect() as conn,
                conn.events("tick", buffer_size=1, overflow="block", gaps="mark") as ticks,
            ):
                for number in range(3):
                    await anyio.sleep(1)
                    await ticker.tick(number)
                if is_read_to_the_end:
                    assert [await ticks.receive() for _ in range(3)] == [0, 1, 2]
                    await anyio.sleep(1)
                    await ticker.tick(3)
                    last = anyio.current_time()
                else:
                    last = 1.0
                await anyio.sleep(1)
                server.drop_connections()
                await anyio.sleep(5)
                before, gap = await until_gap(ticks)
                assert before == ([3] if is_read_to_the_end else [0, 1, 2])
                assert gap.since == pytest.approx(last)

    run_virtual(main, backend=backend)
