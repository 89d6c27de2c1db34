"""A handshake that goes wrong on a reconnect: what is tried again, and what is the end."""

from __future__ import annotations

import anyio
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RivetError,
    Status,
)

from .proxy import Proxy
from .upgrades import Goodbye, Reply, Silence, UpgradeFault

RETRIED: dict[str, tuple[UpgradeFault, type[RivetError], int | None]] = {
    "503": (Reply.status(503, "Retry-After: 1"), ConnectError, 503),
    "502": (Reply.status(502), ConnectError, 502),
    "504": (Reply.status(504), ConnectError, 504),
    "429": (Reply.status(429), ConnectError, 429),
    "wrong accept key": (Reply.wrong_accept(), ProtocolError, None),
    "no Init": (Silence(), ConnectError, None),
    "closed before Init": (Goodbye(1000), ConnectionLostError, None),
    "closed at Init": (Goodbye(1012, after_frames=1), ConnectionLostError, None),
}

FINAL: dict[str, tuple[UpgradeFault, type[RivetError], int | None]] = {
    "401": (Reply.status(401), ConnectError, 401),
    "403": (Reply.status(403), ConnectError, 403),
    "307": (Reply.status(307, "Location: http://127.0.0.1:9/"), ConnectError, 307),
    "refused before Init": (Goodbye(1011, "user.no_entry"), ActorError, None),
}


def _patience(fault: str) -> float:
    """How long an attempt may take: no longer than needed where it takes all of that."""
    return 3.0 if fault == "no Init" else 30.0


@pytest.mark.parametrize("fault", RETRIED)
async def test_it_is_tried_again(client: Client, proxy: Proxy, key: list[str], fault: str) -> None:
    handshake, kind, status = RETRIED[fault]
    seen: list[BaseException] = []
    with anyio.fail_after(60):
        async with client.ledger.get_or_create(key).connect(
            connect_timeout=_patience(fault)
        ) as conn:
            changes = conn.status_changes()
            proxy.fail_upgrade(handshake)
            proxy.cut()
            while len(seen) < 2:
                change = await changes.receive()
                seen += [change.error] if change.error is not None else []
            assert await conn.append(1) == 1
        assert [change.error async for change in changes if change.error is not None] == []
    assert isinstance(seen[0], ConnectionLostError)
    assert isinstance(seen[1], kind)
    assert getattr(seen[1], "status", None) == status


@pytest.mark.parametrize("fault", FINAL)
async def test_it_is_the_end_and_everybody_learns_of_it(
    client: Client, proxy: Proxy, key: list[str], fault: str
) -> None:
    handshake, kind, status = FINAL[fault]
    raised: list[RivetError] = []
    with anyio.fail_after(60):
        async with client.ledger.get_or_create(key).connect(
            connect_timeout=_patience(fault)
        ) as conn:
            changes = conn.status_changes()
            events = conn.events("appended")
            proxy.fail_upgrade(handshake)
            proxy.cut()
            async for change in changes:
                if change.status is Status.CLOSED:
                    break
            for use in (lambda: conn.append(1), events.receive, conn.wait_connected):
                with pytest.raises(kind) as caught:
                    await use()
                raised.append(caught.value)
            assert [change async for change in changes] == []
        assert await client.ledger.get_or_create(key).log() == []
    assert {getattr(error, "status", None) for error in raised} == {status}


@pytest.mark.parametrize("fault", [*RETRIED, *FINAL])
async def test_the_first_attempt_raises(
    client: Client, proxy: Proxy, key: list[str], fault: str
) -> None:
    handshake, kind, status = (RETRIED | FINAL)[fault]
    proxy.fail_upgrade(handshake)
    with anyio.fail_after(60):
        if fault == "closed at Init":
            # It was open, so it comes back.
            async with client.ledger.get_or_create(key).connect(
                connect_timeout=_patience(fault)
            ) as conn:
                try:
                    await conn.append(1)
                except ConnectionLostError:
                    # It left before the close had come: the proxy let nothing through.
                    assert await conn.append(2) == 1
            return
        with pytest.raises(kind) as caught:
            async with client.ledger.get_or_create(key).connect(connect_timeout=_patience(fault)):
                pytest.fail("it was opened")
    assert getattr(caught.value, "status", None) == status


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 1013])
async def test_a_close_between_two_frames(
    client: Client, proxy: Proxy, key: list[str], code: int
) -> None:
    with anyio.fail_after(60):
        async with client.ledger.get_or_create(key).connect() as conn:
            changes = conn.status_changes()
            proxy.close_websockets(code, "enough")
            assert (await changes.receive()).status is Status.CONNECTED
            lost = (await changes.receive()).error
            assert isinstance(lost, ConnectionLostError)
            assert (lost.code, lost.reason) == (code, "enough")
            assert await conn.append(1) == 1
