"""A worker on Trio: takes messages from a room and writes them into a ledger, until cancelled.

Ctrl-C cancels it. It may start before its server, and goes on over reconnects; where messages may
be missing, it says so. An entry that it cannot write ends it.
"""

import trio

from rivet_anyio import Client, Gap


async def work(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    async with Client() as client:
        ledger = client.ledger.get_or_create("worker")
        room = client.chatRoom.get_or_create("worker")
        async with room.connect(wait_for_server=True) as conn:
            # With "block" the room waits for us rather than the messages being dropped.
            messages = conn.events("message", overflow="block", gaps="mark")
            await messages.subscribed()
            print("working")
            task_status.started()
            try:
                async for message in messages:
                    if isinstance(message, Gap):
                        print(f"messages may be missing: away for {message.until - message.since}")
                        continue
                    print("entry", await ledger.append(message["text"]), message["text"])
            finally:
                print("stopped")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(work)


if __name__ == "__main__":
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        print("goodbye")
