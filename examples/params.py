"""Connection params: fixed ones, and ones that are fetched before every attempt to connect."""

import anyio

from rivet_anyio import ActorError, Client


async def fetch_params() -> dict[str, str]:
    """Stands for a request to whoever issues tokens."""
    print("fetching params")
    return {"user": "bob", "token": "secret"}


async def main() -> None:
    async with Client() as client:
        alice = client.guarded.get_or_create("params", params={"user": "alice", "token": "secret"})
        async with alice.connect() as conn:
            print("user:", (await conn.me())["state"]["user"])

        bob = client.guarded.get_or_create("params", get_params=fetch_params)
        async with bob.connect() as conn:
            print("user:", (await conn.me())["state"]["user"])

        stranger = client.guarded.get_or_create("params", params={"token": "guessed"})
        try:
            async with stranger.connect():
                print("never reached")
        except ActorError as error:
            print("refused:", f"{error.group}.{error.code}")


if __name__ == "__main__":
    anyio.run(main)
