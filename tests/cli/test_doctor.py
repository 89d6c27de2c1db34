"""``doctor``: every trouble has a name and a cure. (Other versions: test_requests.py.)"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import trustme

from tests.servers import Server

from .peers import METADATA, NO_ACTORS, Answer, Request, as_json, forward, serving
from .running import Cli, Result

SECRET = "token-that-nobody-may-see"


def failure(result: Result) -> tuple[str, str, str]:
    """The one check that failed: its name, what was found, and the cure."""
    failed = [line for line in result.lines if line["verdict"] == "failed"]
    assert len(failed) == 1 and result.code == 1, result
    return failed[0]["check"], failed[0]["detail"], failed[0]["fix"]


def answer_all(answer: Answer, request: Request) -> Answer:
    return answer


def verdicts(result: Result) -> dict[str, Any]:
    return {line["check"]: line for line in result.lines}


def doctor(url: str, *args: str, **variables: str) -> Result:
    return Cli(**variables)("doctor", "-e", url, "--connect-timeout", "20", *args, code=None)


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_all_is_well(cli: Cli, key: str) -> None:
    result = cli("doctor", "-c", f"counter/{key}")
    found = verdicts(result)
    assert {line["verdict"] for line in result.lines} == {"ok"}, result
    assert found["server"]["detail"] == "RivetKit 2.2.1"
    for encoding in ("bare", "cbor", "json"):
        assert "by HTTP" in found[encoding]["detail"] and "WebSocket" in found[encoding]["detail"]
    assert cli("call", f"counter/{key}", "getCount").out == "0\n"


def test_terminal(cli: Cli) -> None:
    with cli.terminal("doctor") as run:
        result = run.end()
    assert result.code == 0 and "ok       tcp" in run.shown and "\x1b[32mok" in result.out


def test_token_that_a_real_server_ignores(server: Server) -> None:
    result = doctor(server.endpoint, RIVET_TOKEN=SECRET)
    assert "does not ask for one" in verdicts(result)["token"]["detail"] and result.code == 0
    assert SECRET not in result.out + result.err


def test_actor_that_is_missing_or_refuses(cli: Cli, key: str) -> None:
    result = cli("doctor", "guarded/nobody", code=1)
    assert failure(result)[0] == "actor" and "--create" in failure(result)[2]
    refused = cli("doctor", "-c", f"guarded/{key}", code=1)
    assert [line["check"] for line in refused.lines[-3:]] == ["bare", "cbor", "json"]
    assert all("--params" in line["fix"] for line in refused.lines[-3:])
    cli("doctor", f"guarded/{key}", "--params", '{"token": "secret"}')


def test_nobody_listens(free_port: int) -> None:
    check, detail, fix = failure(doctor(f"http://127.0.0.1:{free_port}"))
    assert check == "tcp" and "nobody listens" in detail and "6420" in fix


def test_name_that_leads_nowhere() -> None:
    check, _, fix = failure(doctor("http://nowhere.invalid:6420"))
    assert check == "dns" and "host" in fix


def test_silence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = doctor(url, "--connect-timeout", "2")
    check, detail, _ = failure(result)
    assert check == "server" and "does not answer within 2 s" in detail


@pytest.mark.parametrize("status", [200, 404])
def test_another_http_server(status: int) -> None:
    page = Answer(status, b"<h1>It works!</h1>", {"server": "nginx", "content-type": "text/html"})
    with serving(lambda request: page) as url:
        check, detail, fix = failure(doctor(url))
    assert check == "server" and "'nginx'" in detail and "another HTTP server" in detail
    assert "port or path" in fix


def test_server_below_a_path(server: Server) -> None:
    def answer(request: Request) -> Answer:
        below = request.path.startswith("/api/rivet/metadata")
        return METADATA if below else as_json({"detail": "Not Found"}, 404)

    with serving(answer) as url:
        _, _, fix = failure(doctor(url))
    assert f"--endpoint {url}/api/rivet" in fix


def test_redirect_and_bad_gateway() -> None:
    with serving(
        lambda _: Answer(301, headers={"location": "https://example.com/x/metadata"})
    ) as u:
        assert "--endpoint https://example.com/x." in failure(doctor(u))[2]
    with serving(lambda _: Answer(302, headers={"location": f"http://ns:{SECRET}@h/x"})) as u:
        assert "--endpoint http://h/x." in failure(doctor(u))[2]
    for nowhere in ("http://[", "http://h:99999999/", "ftp://h/"):
        moved = Answer(307, headers={"location": nowhere})
        with serving(partial(answer_all, moved)) as u:
            assert failure(doctor(u))[1:] == (
                "the endpoint redirects with HTTP 307, which is not followed",
                "Correct --endpoint.",
            )
    with serving(lambda _: Answer(304)) as u:
        assert "another HTTP server answers there" in failure(doctor(u))[1]
    with serving(lambda _: Answer(502, b"Bad Gateway")) as u:
        assert "behind it does not" in failure(doctor(u))[1]


@pytest.mark.parametrize(("status", "everywhere"), [(401, False), (403, True)])
def test_wrong_token(status: int, everywhere: bool) -> None:
    refusal = as_json({"group": "api", "code": "unauthorized", "message": "who?"}, status)

    def answer(request: Request) -> Answer:
        if request.path.startswith("/metadata") and not everywhere:
            return METADATA
        right = request.headers.get("authorization") == "Bearer right"
        return NO_ACTORS if right else refusal

    with serving(answer) as url:
        check, detail, fix = failure(doctor(url, RIVET_TOKEN=SECRET))
        assert (check, "refuses the token" in detail) == ("token", True) and "RIVET_TOKEN" in fix
        assert "wants a token" in failure(doctor(url))[1]
        if not everywhere:
            assert verdicts(doctor(url, RIVET_TOKEN="right"))["token"]["detail"] == "accepted"
    assert SECRET not in detail + fix


def test_refusal_that_is_no_rivet_error() -> None:
    with serving(lambda _: Answer(401, b"<h1>401</h1>", {"www-authenticate": "Basic"})) as url:
        assert failure(doctor(url))[0] == "token"


def test_proxy_that_strips_upgrade(server: Server) -> None:
    with serving(lambda request: forward(server.port, request)) as url:
        # Without metadata's answer the client would go to the server itself.
        check, _, fix = failure(doctor(url, "--no-metadata"))
    assert check == "websocket" and "proxy_set_header Upgrade" in fix


def test_clients_are_sent_nowhere(free_port: int) -> None:
    elsewhere = f"http://127.0.0.1:{free_port}"
    metadata = as_json({"runtime": "rivetkit", "version": "2.2.1", "clientEndpoint": elsewhere})
    with serving(lambda _: metadata) as url:
        check, detail, fix = failure(doctor(url))
    assert check == "redirection" and elsewhere in detail and "RIVET_PUBLIC_ENDPOINT" in fix


@pytest.mark.parametrize("elsewhere", ["http://[", "http://h:99999999/", "ftp://h"])
def test_metadata_that_sends_on_to_no_url(elsewhere: str) -> None:
    metadata = as_json({"runtime": "rivetkit", "version": "2.2.1", "clientEndpoint": elsewhere})
    with serving(lambda _: metadata) as url:
        check, detail, fix = failure(doctor(url))
    assert check == "redirection" and "invalid endpoint" in detail
    assert "RIVET_PUBLIC_ENDPOINT" in fix


def test_the_token_of_a_public_endpoint_is_not_shown() -> None:
    elsewhere = f"http://ns:{SECRET}@127.0.0.1:1"
    metadata = as_json({"runtime": "rivetkit", "version": "2.2.1", "clientEndpoint": elsewhere})
    with serving(lambda _: metadata) as url:
        check, detail, _ = failure(doctor(url))
    assert check == "redirection" and "http://127.0.0.1:1," in detail


def test_clock_and_version() -> None:
    date = "Tue, 01 Jan 2019 00:00:00 GMT"
    metadata = as_json({"runtime": "rivetkit", "version": "2.9.0"}, date=date)
    with serving(lambda r: metadata if r.path.startswith("/metadata") else NO_ACTORS) as url:
        found = verdicts(doctor(url))
    assert found["clock"]["verdict"] == "warning" and "ahead of" in found["clock"]["detail"]
    assert found["server"]["verdict"] == "warning" and "2.9.0" in found["server"]["detail"]


def test_tls(server: Server) -> None:
    wrong_scheme = failure(doctor(server.endpoint.replace("http:", "https:")))
    assert wrong_scheme[0] == "tls" and "http://" in wrong_scheme[2]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(lambda _: METADATA, tls=context) as url:
        check, detail, fix = failure(doctor(url))
        assert (check, "refused" in detail) == ("tls", True) and "SSL_CERT_FILE" in fix
        check, _, fix = failure(doctor(url.replace("https:", "http:")))
        assert check == "server" and "https://" in fix


def test_proxy_of_the_environment(free_port: int) -> None:
    proxy = f"http://user:{SECRET}@127.0.0.1:{free_port}"
    result = doctor("http://rivet.invalid", http_proxy=proxy)
    assert f"through http://127.0.0.1:{free_port}" in verdicts(result)["proxy"]["detail"]
    assert failure(result)[0] == "tcp" and SECRET not in result.out + result.err


def test_configuration() -> None:
    result = doctor(f"http://default:{SECRET}@localhost", RIVET_TOKEN="other")
    assert failure(result)[0] == "configuration"
    assert SECRET not in result.out + result.err
    assert "need ACTOR" in Cli()("doctor", "--create", code=2).err
