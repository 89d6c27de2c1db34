"""Two ways to call actions: one HTTP request each, or over one connection."""

import anyio

from rivet_anyio import Client


async def main() -> None:
    async with Client() as client:
        room = client.chatRoom.get_or_create(["examples", "two-ways"])

        # Stateless: every call is one HTTP request.
        print("messages:", await room.sendMessage("over HTTP"))

        # Stateful: one WebSocket, open from here to the end of the block.
        async with room.connect() as conn:
            print("messages:", await conn.sendMessage("over a WebSocket"))
            print("messages:", await conn.sendMessage("over the same one"))

        history = await room.action("getHistory", type=list[dict[str, str]])
        for message in history:
            print("-", message["text"])


if __name__ == "__main__":
    anyio.run(main)
