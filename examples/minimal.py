"""The smallest program: call one action of one actor."""

import anyio

from rivet_anyio import Client


async def main() -> None:
    async with Client() as client:
        counter = client.counter.get_or_create("minimal")
        print("count:", await counter.increment(5))


if __name__ == "__main__":
    anyio.run(main)
