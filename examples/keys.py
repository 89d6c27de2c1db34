"""Keys: which ones are the same, and which ones are not."""

import anyio

from rivet_anyio import Client


async def main() -> None:
    async with Client() as client:

        async def resolve(key: str | list[str]) -> str:
            return await client.counter.get_or_create(key).resolve()

        # One string is a key of one part.
        print("'keys' and ['keys']:", await resolve("keys") == await resolve(["keys"]))

        # The parts of a key never run together, whatever characters they have.
        print("a,b and a + b:", await resolve(["a,b"]) == await resolve(["a", "b"]))
        print("a/b and a + b:", await resolve(["a/b"]) == await resolve(["a", "b"]))
        print("order:", await resolve(["a", "b"]) == await resolve(["b", "a"]))

        # Any text will do.
        handle = client.probe.get_or_create(["größe", "日本語", "a/b\\c"])
        print("the actor's key:", (await handle.whoami())["key"])

        async for info in client.probe.list(key=["größe", "日本語", "a/b\\c"]):
            print("listed:", info.name, info.key)


if __name__ == "__main__":
    anyio.run(main)
