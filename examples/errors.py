"""What each error class proves."""

import anyio

from rivet_anyio import ActorError, Client, ClosedError, ConnectError, ProtocolError

NOBODY = "http://127.0.0.1:9"
"""The port of the discard service, which hardly any machine runs."""


async def main() -> None:
    async with Client() as client:
        probe = client.probe.get_or_create("errors")

        try:
            await probe.fail("user", "out of stock")
        except ActorError as error:
            print("the actor's code raised:", f"{error.group}.{error.code}", error.metadata)

        try:
            await client.probe.get("nobody").echo(1)
        except ActorError as error:
            print("the server answered:", f"{error.group}.{error.code}")

        try:
            await probe.action("echo", "five", type=int)
        except ProtocolError as error:
            print("not of the type that was asked for:", error)

        try:
            await probe.echo({"when": [object]})
        except TypeError as error:
            print("cannot travel:", str(error).partition(":")[0])

        conn = probe.connect()
        async with conn:
            pass
        try:
            await conn.echo(1)
        except ClosedError as error:
            print("did not run:", error)

    async with Client(NOBODY) as lonely:
        try:
            await lonely.probe.get_or_create("errors").echo(1)
        except ConnectError as error:
            print("nothing was sent:", type(error).__name__)


if __name__ == "__main__":
    anyio.run(main)
