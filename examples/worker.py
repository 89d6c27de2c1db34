"""A worker that SIGTERM ends politely: what it is doing is finished, for ten seconds at most.

It takes messages from a room and writes each into a ledger, slowly. A second signal ends it at
once. It may start before its server, and goes on when the server restarts: an entry waits until the
ledger is back, and one that was under way is reported, as it may be written or not.
"""

import signal

import anyio
from anyio.abc import TaskStatus

from rivet_anyio import Client, ClosedError, Connection, ConnectionLostError, EventStream

GRACE_SECONDS = 10.0
WORK_MILLISECONDS = 300


async def stop_politely(
    messages: EventStream[dict[str, str]],
    everything: anyio.CancelScope,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        await anext(signals)
        print("finishing", flush=True)
        await messages.aclose()
        everything.deadline = anyio.current_time() + GRACE_SECONDS
        await anext(signals)
        everything.cancel()


async def write(ledger: Connection, text: str) -> None:
    print("begin", text, flush=True)
    try:
        number = await ledger.appendSlow(text, WORK_MILLISECONDS)
        print("entry", number, text, flush=True)
    except ConnectionLostError:
        print("written or not:", text, flush=True)


async def main() -> None:
    async with Client() as client, anyio.create_task_group() as tasks:
        ledger = client.ledger.get_or_create("polite-worker").connect(wait_for_server=True)
        conn = client.chatRoom.get_or_create("polite-worker").connect(wait_for_server=True)
        messages = conn.events("message", type=dict[str, str], overflow="block")
        # First, so that a signal ends it while it waits for its server, too.
        await tasks.start(stop_politely, messages, tasks.cancel_scope)
        async with ledger, conn:
            print("ready", flush=True)
            try:
                async for message in messages:
                    await write(ledger, message["text"])
            except ClosedError:
                print("finished", flush=True)
            tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main)
