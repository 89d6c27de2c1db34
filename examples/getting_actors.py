"""Ways to get a handle: by key, by id, by creating the actor, from a list."""

import anyio

from rivet_anyio import ActorError, Client


async def main() -> None:
    async with Client() as client:
        # Making a handle asks the server nothing: only its first use does.
        missing = client.counter.get(["shop", "never-created"])
        try:
            await missing.getCount()
        except ActorError as error:
            print("get:", f"{error.group}.{error.code}")

        stock = client.counter.get_or_create(["shop", "stock"], input={"initial": 10})
        print("get_or_create:", await stock.getCount())

        orders = await client.counter.create(["shop", "orders"], input={"initial": 3})
        print("create:", await orders.getCount())
        try:
            await client.counter.create(["shop", "orders"])
        except ActorError as error:
            print("create again:", f"{error.group}.{error.code}")

        actor_id = await stock.resolve()
        by_id = client.counter.get_for_id(actor_id)
        print("get_for_id:", await by_id.increment())

        # The same as client.counter, for names that are no Python identifiers.
        by_name = client.actor("counter").get(["shop", "orders"])
        print("actor():", await by_name.increment())

        keys = [info.key async for info in client.counter.list() if info.key[:1] == ("shop",)]
        print("list:", sorted(keys))


if __name__ == "__main__":
    anyio.run(main)
