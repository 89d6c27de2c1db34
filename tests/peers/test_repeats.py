"""Which calls over HTTP are sent again, by what the answer says and who can have said it.

The servers here are functions from requests to answers. What they say is what real ones said:
RivetKit up to 2.2 signs nothing and labels errors as text; 2.3.19 has ray ids, marks what comes
from its gateway and the actor's host by ``x-rivet-error``, and signs what comes from an actor.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from rivet_anyio import ActorError, ActorHandle, Client, ConnectError, ProtocolError, Retry
from rivet_anyio._gateway.attempts import Attempts

GUARD = 60
RAY = {"x-rivet-ray-id": "ray1"}
SIGNATURE = {"x-rivet-actor": "a1", "x-rivet-actor-generation": "1"}
TEXT = {"content-type": "text/plain;charset=UTF-8"}
JSON = {"content-type": "application/json"}

LOOKALIKES = [
    ("actor", "not_found"),
    ("actor", "starting"),
    ("actor", "destroying"),
    ("actor", "not_ready"),
    ("actor", "not_registered"),
    ("actor", "destroyed_while_waiting_for_ready"),
    ("guard", "actor_ready_timeout"),
    ("guard", "actor_runner_failed"),
    ("guard", "actor_wake_retries_exceeded"),
    ("guard", "rate_limit"),
    ("envoy", "actor_not_found"),
    ("envoy", "actor_generation_mismatch"),
]


class Delays:
    """Takes the place of sleeping."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await anyio.lowlevel.checkpoint()


class RivetServer(httpx.AsyncBaseTransport):
    """Answers what is asked of an actor by `answer`, and lists the actors in `alive`.

    Attributes:
        asked: The requests to actors: method, path and id.
        managed: The requests to the management API: method and path.
        created: When the actors were created, in milliseconds.
    """

    def __init__(self, version: str, answer: Callable[[str], httpx.Response]) -> None:
        self.version = version
        self.alive = ["a1"]
        self.destroyed: list[str] = []
        self.created = 1
        self.reason: Any = None  # why they do not start
        self.asked: list[tuple[str, str, str]] = []
        self.managed: list[str] = []
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.lowlevel.checkpoint()
        path = request.url.path
        ray = RAY if self.version.startswith("2.3") else {}
        if path == "/metadata":
            return httpx.Response(200, json={"runtime": "rivetkit", "version": self.version})
        if path == "/actors":
            self.managed.append(f"{request.method} {path}")
            ids = request.url.params.get("actor_ids")
            if request.method == "PUT":
                if not self.alive:
                    self.alive.append(f"a{len(self.destroyed) + 1}")
                return httpx.Response(200, json={"actor": self._info(self.alive[0])}, headers=ray)
            known = [*self.alive, *self.destroyed] if ids else self.alive
            found = [self._info(id) for id in known if ids in (None, id)]
            return httpx.Response(200, json={"actors": found}, headers=ray)
        _, _, id, rest = path.split("/", 3)
        self.asked.append((request.method, f"/{rest}", id))
        return self._answer(id)

    def _info(self, id: str) -> dict[str, Any]:
        destroyed = 1 if id in self.destroyed else None
        info = {"actor_id": id, "name": "c", "key": "k", "destroy_ts": destroyed}
        return info | {"create_ts": self.created, "error": self.reason}

    def destroy(self, id: str, *, listed: bool = False) -> None:
        self.alive.remove(id)
        if listed:
            self.destroyed.append(id)


@asynccontextmanager
async def using(server: RivetServer, **options: Any) -> AsyncGenerator[tuple[Client, Delays]]:
    delays = Delays()
    retry = Retry(initial=0.1, maximum=30, random=lambda: 1.0, sleep=delays.sleep)
    with anyio.fail_after(GUARD):
        async with (
            httpx.AsyncClient(transport=server) as http,
            Client("http://h", http=http, encoding="json", retry=retry, **options) as client,
        ):
            yield client, delays


def error(
    group: str,
    code: str,
    headers: dict[str, str],
    *,
    status: int = 400,
    message: str = "passed on",
    **more: Any,
) -> httpx.Response:
    body = {"group": group, "code": code, "message": message, **more}
    return httpx.Response(status, content=json.dumps(body).encode(), headers=headers)


def output(value: Any) -> httpx.Response:
    return httpx.Response(200, json={"output": value})


async def call(handle: ActorHandle) -> Any:
    return await handle.action("pay")


async def send(handle: ActorHandle) -> Any:
    return await handle.send("jobs", 1)


async def send_and_wait(handle: ActorHandle) -> Any:
    return await handle.send_and_wait("jobs", 1, timeout=1)


def fetching(method: str) -> Callable[[ActorHandle], Awaitable[Any]]:
    async def fetch(handle: ActorHandle) -> Any:
        return (await handle.fetch("pay", method=method, content=b"x")).status_code

    return fetch


def streaming(method: str) -> Callable[[ActorHandle], Awaitable[Any]]:
    async def stream(handle: ActorHandle) -> Any:
        async with handle.stream("pay", method=method) as response:
            await response.aread()
            return response.status_code

    return stream


CALLS = {"action": call, "send": send, "send_and_wait": send_and_wait}
REQUESTS = {
    "POST": fetching("POST"),
    "PATCH": fetching("PATCH"),
    "GET": fetching("GET"),
    "PUT": fetching("PUT"),
    "stream POST": streaming("POST"),
    "stream GET": streaming("GET"),
}
IDEMPOTENT = ("GET", "PUT", "stream GET")


# What an actor's own code says


@pytest.mark.parametrize("version", ["2.1.3", "2.2.1", "2.3.19"])
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_an_actor_answered_runs_once(name: str, version: str) -> None:
    signed = {**RAY, **SIGNATURE, **JSON}
    headers = signed if version == "2.3.19" else TEXT
    server = RivetServer(version, output)
    async with using(server) as (client, delays):
        handle = client.c.get_or_create("k")
        for number, (group, code) in enumerate(LOOKALIKES, 1):
            server._answer = lambda _, g=group, c=code: error(g, c, headers)  # type: ignore[misc]
            with pytest.raises(ActorError) as caught:
                await CALLS[name](handle)
            assert (caught.value.group, caught.value.code) == (group, code)
            assert len(server.asked) == number and not delays.seconds


@pytest.mark.parametrize("version", ["2.0.33", "2.1.3", "2.2.1", "2.3.19"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_that_an_actor_answered_arrives_once(name: str, version: str) -> None:
    """It is the actor's answer, so it is returned. Any label and marks can be its own."""
    server = RivetServer(version, output)
    async with using(server) as (client, _):
        handle = client.c.get_or_create("k")
        for number, (group, code) in enumerate(LOOKALIKES, 1):
            headers = {**JSON, "x-rivet-error": f"{group}.{code}"}
            if version == "2.3.19":
                headers |= RAY | SIGNATURE
            reply = error(group, code, headers, status=503)
            server._answer = lambda _, reply=reply: reply  # type: ignore[misc]
            assert await REQUESTS[name](handle) == 503
            assert len(server.asked) == number


async def test_an_older_actor_behind_an_engine_is_not_taken_for_the_engine() -> None:
    """Its answers have a ray id and no signature, but the label of old actors, or none."""
    for headers in ({**RAY, **TEXT}, RAY):
        for group, code in LOOKALIKES:
            reply = error(group, code, headers)
            server = RivetServer("2.3.19", lambda _, reply=reply: reply)  # type: ignore[misc]
            async with using(server) as (client, _):
                with pytest.raises(ActorError):
                    await client.c.get_or_create("k").pay()
                assert len(server.asked) == 1


# actor.not_found, and what the management API knows


def gone_at_first(server: RivetServer, refusal: Callable[[str], httpx.Response]) -> None:
    server._answer = lambda id: output(id) if id in server.alive else refusal(id)


UNSIGNED = {
    "2.2.1": lambda id: error(
        "actor", "not_found", TEXT, message=f"Actor not found: {id} (https://rivet.dev)"
    ),
    "2.3.11": lambda id: error("actor", "not_found", {**RAY, **JSON}, status=404),
    "2.3.19": lambda id: error(
        "actor", "not_found", {**RAY, **JSON, "x-rivet-error": "actor.not_found"}, status=404
    ),
}


@pytest.mark.parametrize("version", UNSIGNED)
async def test_a_call_to_an_actor_that_is_gone_is_repeated(version: str) -> None:
    server = RivetServer(version, output)
    gone_at_first(server, UNSIGNED[version])
    async with using(server) as (client, delays):
        handle = client.c.get_or_create("k")
        assert await handle.pay() == "a1"
        server.destroy("a1", listed=True)
        assert await handle.pay() == "a2"
        assert [id for _, _, id in server.asked] == ["a1", "a1", "a2"]
        assert delays.seconds == [0.0]
        # PUT, then the question whether it is gone, then PUT.
        assert server.managed == ["PUT /actors", "GET /actors", "PUT /actors"]


@pytest.mark.parametrize("version", UNSIGNED)
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_to_an_actor_that_is_gone(version: str, name: str) -> None:
    """What is not idempotent is sent again only when the gateway's own header says that it may."""
    server = RivetServer(version, output)
    gone_at_first(server, UNSIGNED[version])
    async with using(server) as (client, _):
        handle = client.c.get_or_create("k")
        assert await handle.resolve() == "a1"
        server.destroy("a1")
        if name in IDEMPOTENT or version == "2.3.19":
            assert await REQUESTS[name](handle) == 200
            assert [id for _, _, id in server.asked] == ["a1", server.alive[0]]
        else:
            with pytest.raises(ActorError, match=r"^actor\.not_found"):
                await REQUESTS[name](handle)
            assert len(server.asked) == 1
            assert await REQUESTS[name](handle) == 200, "the id was forgotten"


@pytest.mark.parametrize("version", UNSIGNED)
async def test_not_found_of_an_actor_that_exists_is_raised(version: str) -> None:
    server = RivetServer(version, UNSIGNED[version])
    async with using(server) as (client, delays):
        with pytest.raises(ActorError, match=r"^actor\.not_found"):
            await client.c.get_or_create("k").pay()
        assert len(server.asked) == 1 and not delays.seconds


async def test_an_actor_that_another_caller_created_anew_under_the_same_id() -> None:
    """Up to 2.2 an id is made of name and key: that it leads somewhere says nothing."""
    server = RivetServer("2.2.1", output)

    def gone(id: str) -> httpx.Response:
        server.created, server._answer = 2, output
        return UNSIGNED["2.2.1"](id)

    async with using(server) as (client, delays):
        handle = client.c.get_or_create("k")
        assert await handle.pay() == "a1"
        server._answer = gone
        assert await handle.pay() == "a1"
        assert len(server.asked) == 3 and delays.seconds == [0.0]


async def test_an_older_server_dates_each_actor_anew() -> None:
    """RivetKit 2.0 gives the present time for when an actor was created: that proves nothing."""
    server = RivetServer("2.0.33", output)

    def passed_on(id: str) -> httpx.Response:
        server.created += 1
        return UNSIGNED["2.2.1"](id)

    server._answer = passed_on
    async with using(server) as (client, _):
        with pytest.raises(ActorError, match=r"^actor\.not_found"):
            await client.c.get_or_create("k").pay()
        assert len(server.asked) == 1


async def test_an_action_that_destroyed_its_actor_and_then_said_not_found_runs_once() -> None:
    """The server names the id; what the action passes on names another, or none."""
    server = RivetServer("2.2.1", output)

    def destroy_and_pass_on(id: str) -> httpx.Response:
        server.alive.clear()
        return error("actor", "not_found", TEXT, message="Actor not found: other")

    server._answer = destroy_and_pass_on
    async with using(server) as (client, _):
        handle = client.c.get_or_create("k")
        with pytest.raises(ActorError, match=r"^actor\.not_found"):
            await handle.pay()
        assert len(server.asked) == 1
        server._answer = output
        assert await handle.pay() == "a1", "it is created anew for the next call"


async def test_handles_that_mean_one_actor_do_not_go_to_another() -> None:
    for version, refusal in UNSIGNED.items():
        server = RivetServer(version, output)
        gone_at_first(server, refusal)
        async with using(server) as (client, _):
            server.destroy("a1")
            with pytest.raises(ActorError, match=r"^actor\.not_found"):
                await client.c.get_for_id("a1").pay()
            assert await fetching("GET")(client.c.get_or_create("k")) == 200
            with pytest.raises(ActorError, match=r"^actor\.not_found"):
                await client.c.get_for_id("a0").fetch("x")
        assert all(asked in ("GET /actors", "PUT /actors") for asked in server.managed)


async def test_without_a_word_of_the_management_api_the_error_is_raised() -> None:
    server = RivetServer("2.2.1", UNSIGNED["2.2.1"])
    async with using(server) as (client, _):
        handle = client.c.get_or_create("k")
        await handle.resolve()

        async def broken(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/actors":
                raise httpx.ConnectError("no way")
            return await RivetServer.handle_async_request(server, request)

        server.handle_async_request = broken  # type: ignore[method-assign]
        with pytest.raises(ActorError, match=r"^actor\.not_found"):
            await handle.pay()
        assert len(server.asked) == 1
        assert await fetching("GET")(handle) == 400
        # A call that may run more than once does not end with what nobody confirms.
        with pytest.raises(ActorError, match=r"^actor\.not_found") as caught:
            await handle.action("pay", retry_for=1.0)
        assert any("attempt" in note for note in caught.value.__notes__)
        assert len(server.asked) > 3


# What the gateway and the actor's host say


@pytest.mark.parametrize(
    "refusal",
    [
        error("actor", "destroying", {**RAY, **JSON}, status=500),
        error("actor", "starting", {**RAY, **JSON}, status=500),
        error("guard", "actor_ready_timeout", {**RAY, **JSON}, status=503),
        error(
            "envoy",
            "actor_not_found",
            {**RAY, **JSON, "x-rivet-error": "envoy.actor_not_found"},
            status=503,
            actor={"actorId": "a1", "generation": 1},
        ),
        error(
            "envoy",
            "actor_generation_mismatch",
            {**RAY, **JSON, "x-rivet-error": "envoy.actor_generation_mismatch"},
            status=503,
            actor={"actorId": "a1", "generation": 1},
        ),
        httpx.Response(
            503,
            content=b"Actor not found",
            headers={**RAY, "x-rivet-error": "envoy.actor_not_found"},
        ),
    ],
    ids=["destroying", "starting", "guard", "envoy", "generation", "text"],
)
@pytest.mark.parametrize("name", [*CALLS, "GET"])
async def test_a_call_that_did_not_reach_the_actor_is_repeated(
    name: str, refusal: httpx.Response
) -> None:
    """A host names the actor that it does not have: that is no signature."""
    server = RivetServer("2.3.19", lambda _: refusal if len(server.asked) < 3 else output(1))
    reply = httpx.Response(200, json={"status": "completed"})
    if name in ("send", "send_and_wait"):
        server._answer = lambda _: refusal if len(server.asked) < 3 else reply
    async with using(server) as (client, delays):
        await (CALLS | REQUESTS)[name](client.c.get_or_create("k"))
        assert len(server.asked) == 3 and len(delays.seconds) == 2


HOST_LOST = {"envoy_connection_lost": {"envoy_key": "e"}}
NOT_STARTED = error("guard", "actor_ready_timeout", {**RAY, **JSON}, status=503)


@pytest.mark.parametrize(
    "reason", [{"crashed": {"message": "no state"}}, "no_envoys"], ids=["crashed", "no_envoys"]
)
async def test_a_call_is_not_repeated_while_a_reason_lasts(reason: Any) -> None:
    server = RivetServer("2.3.19", lambda _: NOT_STARTED)
    server.reason = reason
    async with using(server) as (client, _):
        with pytest.raises(ActorError, match="actor a1 failed to start: "):
            await client.c.get_or_create("k").pay()
        assert len(server.asked) == 1


async def test_a_call_is_repeated_when_the_actor_lost_its_host() -> None:
    server = RivetServer("2.3.19", lambda _: NOT_STARTED if len(server.asked) < 3 else output(1))
    server.reason = HOST_LOST
    async with using(server) as (client, delays):
        handle = client.c.get_or_create("k")
        assert await handle.pay() == 1
        assert len(server.asked) == 3
        server._answer = lambda _: NOT_STARTED
        with pytest.raises(ActorError, match=r"actor a1 lost its host: .*envoy_connection_lost"):
            await handle.pay()
        assert len(server.asked) == 3 + 10 and len(delays.seconds) == 2 + 9


async def test_what_did_not_reach_the_actor_has_no_signature() -> None:
    refusal = error(
        "envoy",
        "fetch_failed",
        {**RAY, **JSON, "x-rivet-error": "envoy.fetch_failed"},
        actor={"actorId": "a1", "generation": 1},
    )
    server = RivetServer("2.3.19", lambda _: refusal)
    async with using(server) as (client, _):
        with pytest.raises(ActorError) as caught:
            await client.c.get_or_create("k").pay()
        assert caught.value.actor is None
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "asked, waited",
    [
        ("7", 7.0),
        ("3600", 30.0),
        ("Thu, 01 Jan 2026 00:00:09 GMT", 9.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.2),
        ("soon", 0.2),
        ("-5", 0.2),
        ("1e400", 0.2),
    ],
)
async def test_retry_after_lengthens_the_wait_before_a_repeat(asked: str, waited: float) -> None:
    dates = {"date": "Thu, 01 Jan 2026 00:00:00 GMT", "retry-after": asked}
    refusal = error("guard", "rate_limit", {**RAY, **JSON, **dates}, status=429)
    server = RivetServer("2.3.19", lambda _: refusal if len(server.asked) < 2 else output(1))
    async with using(server) as (client, delays):
        assert await client.c.get_or_create("k").pay() == 1
        assert delays.seconds == [waited]


# Asking for ids


MASKED = error("rivetkit", "internal_error", TEXT, status=500)
"""What RivetKit 2.1 answers for an actor that was destroyed, for ever, and for a failed action."""


@pytest.mark.parametrize("version", ["2.0.33", "2.1.3"])
async def test_where_ids_go_stale_silently_each_call_asks(version: str) -> None:
    server = RivetServer(version, output)
    gone_at_first(server, lambda _: MASKED)
    async with using(server) as (client, _):
        handle = client.c.get_or_create("k")
        assert await handle.pay() == "a1"
        server.destroy("a1", listed=True)
        assert await handle.pay() == "a2"
    assert len(server.asked) == 2


@pytest.mark.parametrize("name", ["action", "GET", "POST"])
async def test_where_that_is_not_known_the_call_after_a_masked_error_asks(name: str) -> None:
    """It may have run, so it is not repeated."""
    server = RivetServer("2.1.3", output)
    gone_at_first(server, lambda _: MASKED)
    async with using(server, metadata_lookup=False) as (client, _):
        handle = client.c.get_or_create("k")
        assert await handle.pay() == "a1"
        server.destroy("a1", listed=True)
        if name == "action":
            with pytest.raises(ActorError, match="internal_error"):
                await handle.pay()
        else:
            assert await REQUESTS[name](handle) == 500
        assert len(server.asked) == 2
        assert await handle.pay() == "a2"


async def test_a_start_that_fails_in_the_words_of_a_gateway_runs_once() -> None:
    """Up to 2.2 asking for an id starts the actor, whose own code can fail with anything."""
    server = RivetServer("2.2.1", output)
    starts = 0

    async def failing(request: httpx.Request) -> httpx.Response:
        nonlocal starts
        if request.url.path != "/actors":
            return await RivetServer.handle_async_request(server, request)
        starts += 1
        return error("actor", "not_found", TEXT)

    server.handle_async_request = failing  # type: ignore[method-assign]
    async with using(server) as (client, _):
        for ask in (
            client.c.get_or_create("k").pay,
            client.c.get_or_create("k").resolve,
            lambda: client.c.create("k"),
        ):
            starts = 0
            with pytest.raises(ActorError, match=r"^actor\.not_found"):
                await ask()
            assert starts == 1


# Answers that lead elsewhere


async def test_a_redirect_names_where_it_leads_to() -> None:
    moved = httpx.Response(
        301, headers={"location": "https://user:pass@rivet.example/gateway?token=secret#x"}
    )
    server = RivetServer("2.3.19", lambda _: moved)
    async with using(server) as (client, _):
        with pytest.raises(ProtocolError) as caught:
            await client.c.get_or_create("k").pay()
        text = str(caught.value)
        assert "301" in text and "'https://rivet.example/gateway'" in text
        assert "pass" not in text and "secret" not in text
        server._answer = lambda _: httpx.Response(302)
        with pytest.raises(ProtocolError, match="302, a redirect, which is not followed"):
            await client.c.get_or_create("k").pay()
        server._answer = lambda _: httpx.Response(307, headers={"location": "http://[bad"})
        with pytest.raises(ProtocolError, match="307"):
            await client.c.get_or_create("k").pay()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [b"", b"{}", b"<h1>no</h1>"])
async def test_metadata_that_is_refused_says_how_to_do_without(status: int, body: bytes) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=body)

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
        Client("http://h", http=http) as client,
    ):
        with pytest.raises(ConnectError, match="metadata_lookup=False") as caught:
            await client.c.get_or_create("k").pay()
        assert caught.value.status == status and str(status) in str(caught.value)


async def test_metadata_that_the_server_refuses_says_so_too() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return error("api", "forbidden", {**RAY, **JSON}, status=403)

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
        Client("http://h", http=http) as client,
    ):
        with pytest.raises(ActorError, match="metadata_lookup=False") as caught:
            await client.c.get_or_create("k").pay()
        assert (caught.value.group, caught.value.code) == ("api", "forbidden")
        assert caught.value.ray_id == "ray1"


async def test_no_attempt_begins_after_a_minute() -> None:
    now = 100.0
    attempts = Attempts(Retry(), lambda: now)
    error = ActorError("guard", "actor_ready_timeout", "wait")
    assert attempts.next_delay(error) <= 0.2
    now += 59
    assert attempts.next_delay(error) <= 0.4
    now += 2
    with pytest.raises(ActorError, match="actor_ready_timeout"):
        attempts.next_delay(error)


@pytest.mark.parametrize("one_shot", [True, False])
async def test_files_are_sent_once(one_shot: bool) -> None:
    """They have been read by then."""
    refusal = error(
        "guard", "rate_limit", {**RAY, **JSON, "x-rivet-error": "guard.rate_limit"}, status=429
    )
    server = RivetServer("2.3.19", lambda _: refusal if len(server.asked) == 1 else output(1))
    async with using(server) as (client, _):
        handle = client.c.get_or_create("k")
        if one_shot:
            with pytest.raises(ActorError, match="rate_limit"):
                await handle.fetch("x", method="POST", files={"f": b"x"})
        else:
            assert (await handle.fetch("x", method="POST", content=b"x")).status_code == 200
    assert len(server.asked) == (1 if one_shot else 2)
