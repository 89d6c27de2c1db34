"""Actors in memory: what a program does when its server fails, without a server.

`rivet_anyio.testing` is meant for tests; here it shows a reconnect and a gap.
"""

import anyio

from rivet_anyio import Gap
from rivet_anyio.testing import Actor, ActorServer, Connected, run_virtual


class Counter(Actor):
    count = 0

    async def increment(self, by: int = 1) -> int:
        self.count += by
        self.context.broadcast("newCount", self.count)
        return self.count


async def main() -> None:
    async with ActorServer({"counter": Counter}) as server, server.client() as client:
        async with client.counter.get_or_create("visits").connect() as conn:
            counts = conn.events("newCount", gaps="mark")
            print("count:", await conn.increment())
            with server.network.outage():
                await anyio.sleep(1)
                server.actor("counter", "visits", type=Counter).count = 41
            print("count:", await conn.increment())
            for _ in range(3):
                item = await counts.receive()
                print("gap" if isinstance(item, Gap) else f"event: {item}")
        print("connections:", len(server.log.of(Connected)))


if __name__ == "__main__":
    run_virtual(main)
