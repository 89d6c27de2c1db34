"""What an actor's own code says in the words of a gateway, on every version: it ran once."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from rivet_anyio import ActorError, Client
from tests.servers import Server

GUARD = 60
LOOKALIKES = [
    ("actor", "not_found"),
    ("actor", "starting"),
    ("actor", "destroying"),
    ("guard", "actor_ready_timeout"),
    ("envoy", "actor_not_found"),
]


def what(key: list[str], group: str, code: str) -> dict[str, Any]:
    return {"label": "-".join([*key, group, code]), "group": group, "code": code}


async def test_an_action_runs_once(client: Client, key: list[str]) -> None:
    handle = client.mimic.get_or_create(key)
    with anyio.fail_after(GUARD):
        for group, code in LOOKALIKES:
            told = what(key, group, code)
            with pytest.raises(ActorError) as caught:
                await handle.action("raise", told)
            assert (caught.value.group, caught.value.code) == (group, code)
            assert await handle.runs(told["label"]) == 1


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_request_arrives_once(client: Client, key: list[str], method: str) -> None:
    handle = client.mimic.get_or_create(key)
    with anyio.fail_after(GUARD):
        for group, code in LOOKALIKES:
            label = f"{method}-{key[-1]}-{group}-{code}"
            response = await handle.fetch(f"{label}/{group}/{code}", method=method)
            assert (response.status_code, response.json()["code"]) == (404, code)
            assert await handle.runs(label) == 1


async def test_a_hook_of_a_connection_runs_once(client: Client, key: list[str]) -> None:
    handle = client.mimic.get_or_create(key)
    with anyio.fail_after(GUARD):
        for group, code in [("actor", "not_found"), ("guard", "actor_ready_timeout")]:
            told = what(key, group, code)
            with pytest.raises(ActorError, match=code):
                async with handle.connect(params=told):
                    pytest.fail("the body ran")
            assert await handle.runs(told["label"]) == 1


async def test_a_hook_of_a_call_runs_once(client: Client, key: list[str]) -> None:
    plain = client.mimic.get_or_create(key)
    with anyio.fail_after(GUARD):
        for group, code in LOOKALIKES:
            told = what(key, group, code)
            with pytest.raises(ActorError, match=code):
                await client.mimic.get_or_create(key, params=told).runs("x")
            assert await plain.runs(told["label"]) == 1


async def test_an_action_that_destroys_its_actor_runs_once(
    client: Client, server: Server, key: list[str]
) -> None:
    """The actor is gone afterwards, but the action ran; the next call creates it anew."""
    told = what(key, "actor", "not_found")
    handle = client.mimic.get_or_create(key)
    witness = client.mimic.get_or_create([*key, "witness"])
    with anyio.fail_after(GUARD):
        with pytest.raises(ActorError, match="not_found"):
            await handle.destroyAndRaise(told)
        assert await witness.runs(told["label"]) == 1
        while True:
            try:
                assert await handle.runs(told["label"]) == 1
                break
            except ActorError as error:
                # What a dying actor answers may come after an action began.
                assert error.code in ("stopping", "internal_error", "not_found", "dropped_reply")
