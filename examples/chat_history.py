# mypy: disable-error-code="empty-body"
"""The history of a chat room, complete at every moment: a typed actor and a live state.

The room appends a message and broadcasts it in one step, and ``getHistory`` does not await. So the
snapshot has exactly the messages whose events came before it: ``atomic_snapshot=True``.
"""

import anyio
import msgspec

from rivet_anyio import Client, Event, TypedActor, live


class Message(msgspec.Struct):
    sender: str
    text: str


class Profile(msgspec.Struct):
    name: str


class ChatRoom(TypedActor[Profile], name="chatRoom", rename="camel"):
    message: Event[Message]

    async def send_message(self, text: str) -> int: ...

    async def get_history(self) -> list[Message]: ...


def append(history: list[Message], message: Message) -> list[Message]:
    return [*history, message]


async def main() -> None:
    async with Client() as client:
        room = client.get_or_create(ChatRoom, "chat-history", params=Profile("alice"))
        await room.send_message("was anybody here?")
        async with (
            room.connect() as conn,
            live(
                conn, conn.get_history, {ChatRoom.message: append}, atomic_snapshot=True
            ) as history,
        ):
            print("at first:", [message.text for message in history.value])
            await conn.send_message("I am.")
            await room.send_message("So am I.")
            async for messages in history:  # the newest state; some may be skipped
                if len(messages) == 3:
                    for message in messages:
                        print(f"{message.sender}: {message.text}")
                    break


if __name__ == "__main__":
    anyio.run(main)
