"""Events: a stream, a typed stream, and a single one."""

import anyio
import msgspec

from rivet_anyio import Client, Connection


class Message(msgspec.Struct):
    sender: str
    text: str


async def wait_for_one(conn: Connection) -> None:
    print("one:", await conn.next_event("newCount"))


async def main() -> None:
    async with Client() as client:
        room = client.chatRoom.get_or_create("events", params={"name": "alice"})
        async with room.connect() as conn, conn.events("message", type=Message) as messages:
            for text in ("one", "two", "three"):
                await conn.sendMessage(text)
            async for message in messages:
                print(f"{message.sender}: {message.text}")
                if message.text == "three":
                    break

        probe = client.probe.get_or_create("events")
        async with probe.connect() as conn:
            stream = conn.events("moved")
            # An event of one argument is that argument; any other number makes a tuple.
            await conn.emit("moved", "north")
            await conn.emit("moved", 3, 4)
            await conn.emit("moved")
            for _ in range(3):
                print("moved:", await stream.receive())

        counter = client.counter.get_or_create("events")
        async with counter.connect() as conn, anyio.create_task_group() as tasks:
            # The subscription is sent as soon as the task runs, before the action below.
            tasks.start_soon(wait_for_one, conn)
            await anyio.wait_all_tasks_blocked()
            await conn.increment(7)


if __name__ == "__main__":
    anyio.run(main)
