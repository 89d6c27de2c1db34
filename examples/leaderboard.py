"""A leaderboard that loses its connection and is right again: numbered changes, in memory.

The actor counts its changes. Its ``scores`` action awaits, so only the numbers say which changes
are in what it returns.
"""

from collections.abc import Awaitable

import anyio

from rivet_anyio import Live, Versions, live
from rivet_anyio.testing import Actor, ActorServer, run_virtual

Scores = dict[str, int]
State = tuple[int, Scores]


class Leaderboard(Actor):
    def __init__(self) -> None:
        self.version = 0
        self.points: Scores = {}

    async def add(self, player: str, points: int) -> None:
        self.points[player] = self.points.get(player, 0) + points
        self.version += 1
        self.context.broadcast("scored", self.version, player, self.points[player])

    async def scores(self) -> tuple[int, Scores]:
        state = self.version, dict(self.points)
        await anyio.sleep(0.2)
        return state


def scored(state: State, event: tuple[int, str, int]) -> State:
    version, player, points = event
    return version, {**state[1], player: points}


def ranked(scores: Scores) -> str:
    best = sorted(scores, key=lambda player: -scores[player])
    return ", ".join(f"{player} {scores[player]}" for player in best)


async def main() -> None:
    versions = Versions[State](lambda state: state[0], lambda event: event[0])
    async with ActorServer({"leaderboard": Leaderboard}) as server, server.client() as client:
        board = client.leaderboard.get_or_create("today")
        await board.add("alice", 10)
        async with board.connect() as conn:

            def scores() -> Awaitable[State]:
                return conn.action("scores", type=State)

            async with live(conn, scores, {"scored": scored}, versions=versions) as state:
                print("at first:", ranked(state.value[1]))
                await board.add("bob", 20)
                await until(state, 2)
                with server.network.outage():
                    await anyio.sleep(1)
                    print("away, the last state:", ranked(state.value[1]), state.is_current)
                    # Somebody else scores meanwhile.
                    await server.actor("leaderboard", "today", type=Leaderboard).add("carol", 30)
                await until(state, 3)
                print("after", state.refreshed, "refresh:", state.is_current)


async def until(state: Live[State], version: int) -> None:
    async for number, scores in state:
        if number >= version:
            print(f"{number}: {ranked(scores)}")
            break


if __name__ == "__main__":
    run_virtual(main)
