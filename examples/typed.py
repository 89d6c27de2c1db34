# mypy: disable-error-code="empty-body"
"""Typed actors: classes that type checkers, editors and msgspec check."""

import anyio
import msgspec

from rivet_anyio import Client, Event, ProtocolError, TypedActor


class Message(msgspec.Struct):
    sender: str
    text: str


class Profile(msgspec.Struct):
    name: str


class ChatRoom(TypedActor[Profile], name="chatRoom", rename="camel"):
    message: Event[Message]

    async def send_message(self, text: str) -> int: ...

    async def get_history(self) -> list[Message]: ...


class OldChatRoom(TypedActor, name="chatRoom", rename="camel"):
    """What the actor was once, or so somebody believes."""

    async def get_history(self) -> list[str]: ...


async def greet(room: ChatRoom) -> None:
    """Works over HTTP and over a connection."""
    count = await room.send_message("hello")
    print("messages:", count)


async def main() -> None:
    async with Client() as client:
        room = client.get_or_create(ChatRoom, "typed", params=Profile("alice"))
        await greet(room)
        async with room.connect() as conn, conn.events(ChatRoom.message) as messages:
            await greet(conn)
            message = await messages.receive()
            print(f"{message.sender}: {message.text}")
        print("history:", [message.text for message in await room.get_history()])
        try:
            await client.get(OldChatRoom, "typed").get_history()
        except ProtocolError as error:
            print("refused:", error)


if __name__ == "__main__":
    anyio.run(main)
