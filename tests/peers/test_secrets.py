"""Where tokens and params go, and where they must not."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest
from websockets.sync.server import ServerConnection

from rivet_anyio import Client

from .gateway import Gateway, init, message, requests, running
from .test_websockets import connect, echo, room

GUARD = 60
ELSEWHERE = "127.0.0.2"
"""Another host as far as names go, and yet this machine."""

TOKEN = "t0ken-of-ours"
HEADERS = {
    "Authorization": "Basic dXNlcg==",
    "Cookie": "session=1",
    "X-Copy": f"also {TOKEN}",
    "X-Tenant": "acme",
}


async def use(gateway: Gateway, **options: Any) -> None:
    with anyio.fail_after(GUARD):
        async with (
            Client(gateway.url, encoding="json", token=TOKEN, headers=HEADERS, **options) as one,
            connect(one) as conn,
        ):
            await conn.action("echo", 1)


def everything(gateway: Gateway) -> str:
    """All that a gateway was told, by any header or URL."""
    return repr(gateway.requested) + repr([list(h.raw_items()) for h in gateway.headers])


async def test_no_secret_follows_to_another_host() -> None:
    with running(echo, host=ELSEWHERE) as other, running(echo) as first:
        first.client_endpoint = other.url
        await use(first)
    assert first.requested == ["/metadata?namespace=default"]
    assert TOKEN in everything(first)
    told = everything(other)
    assert "/gateway/a1/connect" in told and "acme" in told
    for secret in (TOKEN, "dXNlcg", "session"):
        assert secret not in told


async def test_secrets_follow_when_the_user_says_so() -> None:
    with running(echo, host=ELSEWHERE) as other, running(echo) as first:
        first.client_endpoint = other.url
        await use(first, forward_token=True)
    for secret in (f"rivet_token.{TOKEN}", "dXNlcg", "session"):
        assert secret in everything(other)


async def test_secrets_stay_on_the_same_host() -> None:
    with running(echo) as other, running(echo) as first:
        first.client_endpoint = other.url
        await use(first)
    assert f"rivet_token.{TOKEN}" in everything(other)


async def test_a_token_in_the_path_shows_in_no_log(
    caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """Its characters fit into no subprotocol, and httpx logs the URL of every request."""
    caplog.set_level(logging.DEBUG)
    token = "odd/t0ken=="
    with running(echo) as gateway:
        with anyio.fail_after(GUARD):
            async with Client(gateway.url, encoding="json", token=token) as one, connect(one):
                pass
    assert gateway.requested[-1] == "/gateway/a1@odd%2Ft0ken%3D%3D/connect"
    ours = [r for r in caplog.records if r.name.partition(".")[0] in (way, "rivet_anyio")]
    assert ours and any("/***" in r.getMessage() for r in ours) == (way != "wire")
    assert all("t0ken" not in record.getMessage() for record in ours)


class Opaque:
    def __repr__(self) -> str:
        return "p4ssw0rd"


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"auth": {"token": Opaque()}}, "params.auth.token"),
        ({"token": b"p4ssw0rd"}, "params.token"),
        ({"token": ["p4ssw0rd\ud800"]}, "params.token[0]"),
        ({"token": "p4ssw0rd", "limit": float("nan")}, "params.limit"),
    ],
)
async def test_params_that_cannot_travel_are_named_but_not_shown(params: Any, path: str) -> None:
    async with Client("http://127.0.0.1:1") as one:
        with pytest.raises(TypeError) as caught:
            one.actor("room").get("k", params=params)
    assert path in str(caught.value)
    assert "p4ssw0rd" not in str(caught.value)


async def test_a_server_that_comes_back_as_another_version_is_asked_who_it_is() -> None:
    """Values would be written in the old dialect otherwise: sets have no form in it."""

    def echo_until_told(socket: ServerConnection) -> None:
        socket.send(init())
        for asked in requests(socket):
            if asked.get("name") == "upgrade":
                gateway.version = "2.3.19"
                socket.close(1012, "restarting")
                return
            if "name" in asked:
                socket.send(message("ActionResponse", id=asked["id"], output=asked["args"]))

    with running(echo_until_told, version="2.2.1") as gateway:
        with anyio.fail_after(GUARD):
            async with Client(gateway.url, encoding="json") as one, room(one).connect() as conn:
                with pytest.raises(TypeError, match="set"):
                    await conn.action("echo", {1})
                with pytest.raises(Exception, match="restarting"):
                    await conn.action("upgrade")
                await conn.wait_connected()
                assert await conn.action("echo", {1}) == [{1}]
    assert gateway.requested.count("/metadata?namespace=default") == 2
