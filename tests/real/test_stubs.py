"""Modules of typed actors, written from real servers and used with them."""

from __future__ import annotations

from types import ModuleType

from rivet_anyio import Client
from rivet_anyio.stubs import stubs_from_server
from tests.servers import Server
from tests.stubs import expected


async def test_a_running_server(server: Server, key: list[str]) -> None:
    source = await stubs_from_server(server.endpoint)
    module = ModuleType("stubs")
    exec(compile(source, "stubs.py", "exec"), vars(module))
    for name in ("counter", "chatRoom", "brokenStart"):
        assert f'(TypedActor, name="{name}")' in source
    assert "The server lists its name only" in source
    async with Client(server.endpoint) as client:
        counter = client.get_or_create(module.Counter, key)
        assert await counter.action("increment", 0, type=int) >= 0


async def test_written_actors_at_a_real_server(server: Server, key: list[str]) -> None:
    async with Client(server.endpoint) as client:
        start = expected.CounterInput(initial=5)
        counter = client.get_or_create(expected.Counter, key, input=start)
        async with counter.connect() as conn, conn.events(expected.Counter.new_count) as counts:
            assert await conn.increment(by=2) == 7
            assert await conn.get_count() == await counts.receive() == 7

        alice = expected.ChatRoomParams(name="alice")
        room = client.get_or_create(expected.ChatRoom, key, params=alice)
        assert await room.send_message("hi") == 1
        assert await room.get_history() == [expected.Message(sender="alice", text="hi")]

        probe = client.get_or_create(expected.Probe, key)
        square = expected.Square(side_length=2.5)
        async with probe.connect() as conn_, conn_.events(expected.Probe.pair) as pairs:
            assert await conn_.echo(square) == square
            assert await conn_.args(1, 2) == [1, 2]
            assert await conn_.math_add(1, b=2) == 3
            assert await conn_.slow(1) is None
            await conn_.emit("pair", "a", 1)
            assert await pairs.receive() == ("a", 1)

        if server.version > "2.1":
            worker = client.get_or_create(expected.Worker, key)
            message = expected.Message(sender="a", text="b")
            result = await worker.send_and_wait(expected.Worker.jobs, message, timeout=30)
            assert result.response == expected.WorkerJobsResponse(done=message)
