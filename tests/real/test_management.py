"""Management, on real servers."""

from __future__ import annotations

import anyio
import pytest

from rivet_anyio import ActorError, Client, Management
from tests.servers import Server


async def test_management(server: Server, key: list[str]) -> None:
    has_engine = server.version.startswith("2.3")
    async with Client(server.endpoint) as client:
        management = Management(client)
        assert {"counter", "probe"} <= set(await management.names())
        handle = client.probe.get_or_create(key)
        assert await handle.echo(1) == 1
        actor_id = await handle.resolve()
        info = await management.get(actor_id)
        assert info is not None and (info.actor_id, info.key) == (actor_id, tuple(key))
        assert info.namespace_id and info.created_at is not None
        listed = [one.actor_id async for one in management.list("probe", key=key)]
        assert listed == [actor_id]
        for nobody in ("nonsense", actor_id[:-1] + "z"):
            assert await management.get(nobody) is None
        if not has_engine:
            for request in (management.destroy, management.sleep):
                with pytest.raises(ActorError) as caught:
                    await request(actor_id)
                assert (caught.value.group, caught.value.code) == ("feature", "unsupported")
            with pytest.raises(ActorError, match="crash policies"):
                await client.counter.create([*key, "policy"], crash_policy="destroy")
            return
        assert info.connectable_since is not None and info.crash_policy == "sleep"
        await client.counter.create([*key, "policy"], crash_policy="destroy")
        with anyio.fail_after(60):
            await management.sleep(actor_id)
            while (info := await management.get(actor_id)) and info.connectable_since is not None:
                continue
            assert info is not None and info.sleeping_since is not None
            assert await handle.echo(2) == 2
            await management.destroy(actor_id)
            while await management.get(actor_id) is not None:
                continue
        await management.destroy(actor_id)


async def test_an_unknown_version(server: Server, key: list[str]) -> None:
    """Without metadata a server that cannot do it shows by its answer."""
    if server.version.startswith("2.3"):
        return
    async with Client(server.endpoint, metadata_lookup=False, encoding="json") as client:
        actor_id = await client.probe.get_or_create(key).resolve()
        with pytest.raises(ActorError) as caught:
            await Management(client).destroy(actor_id)
        assert caught.value.code == "unsupported"
