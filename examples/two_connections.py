"""An asyncio program with two connections, each read by a task of an `asyncio.TaskGroup`."""

import asyncio

from rivet_anyio import Client, EventStream


async def read(name: str, messages: EventStream[dict[str, str]], last: str) -> None:
    async for message in messages:
        print(f"{name} hears {message['sender']}: {message['text']}")
        if message["text"] == last:
            break


async def main() -> None:
    async with Client() as client:
        room = client.chatRoom.get_or_create("two-connections")
        async with (
            room.connect(params={"name": "alice"}) as alice,
            room.connect(params={"name": "bob"}) as bob,
        ):
            heard_by_alice = alice.events("message", type=dict[str, str])
            heard_by_bob = bob.events("message", type=dict[str, str])
            # A subscription is sent before the actions that follow on the same connection. An
            # answer on it tells that the server has it, also for messages of others.
            await alice.getHistory()
            await bob.getHistory()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(read("alice", heard_by_alice, "bye"))
                tasks.create_task(read("bob", heard_by_bob, "bye"))
                await alice.sendMessage("hi bob")
                await bob.sendMessage("hi alice")
                await alice.sendMessage("bye")


if __name__ == "__main__":
    asyncio.run(main())
