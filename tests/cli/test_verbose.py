"""``--verbose`` shows requests, answers and subprotocols, and no secrets."""

from __future__ import annotations

import json

import pytest

from rivet_anyio.cli._verbose import masked_header, masked_url

from .running import Cli


def test_requests_and_answers_are_shown(cli: Cli, key: str) -> None:
    shown = cli("call", "-c", f"counter/{key}", "increment", "5", "-v")
    assert shown.out == "5\n"
    assert "/action/increment\n" in shown.err and "> x-rivet-encoding: bare\n" in shown.err
    assert "< HTTP 200 after " in shown.err and "< content-type: " in shown.err


def test_handshakes_are_shown(cli: Cli, key: str) -> None:
    params = json.dumps({"token": "pa55word"})
    shown = cli(
        *("websocket", "-c", f"web/{key}", "-v", "-n", "1", "--params", params),
        *("--subprotocol", "chat.v2", "-H", "x-tag: seen", "-H", "x-api-key: hidden"),
    )
    assert "> Sec-WebSocket-Protocol: rivet, rivet_encoding.bare" in shown.err
    assert "rivet_conn_params.***, chat.v2" in shown.err and "< HTTP 101 after" in shown.err
    assert "> x-tag: seen\n" in shown.err and "> x-api-key: ***\n" in shown.err
    assert "the actor selected the subprotocol " in shown.err
    assert "pa55word" not in shown.err and "hidden" not in shown.err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h/gateway/id@s3cr3t/action/x?a=1", "http://h/gateway/id@***/action/x?a=1"),
        (
            "http://h/gateway/n/x?rvt-key=k&rvt-token=s3cr3t",
            "http://h/gateway/n/x?rvt-key=k&rvt-token=***",
        ),
        ("/x?rvt-conn-params=%7B%22t%22%3A1%7D&b=2", "/x?rvt-conn-params=***&b=2"),
        ("http://h/x?access_token=s3cr3t&b=2", "http://h/x?access_token=***&b=2"),
        ("http://h/actors?key=a%2Fb", "http://h/actors?key=a%2Fb"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", "Bearer s3cr3t", "***"),
        ("x-rivet-token", "s3cr3t", "***"),
        ("X-Rivet-Conn-Params", "{}", "***"),
        ("Set-Cookie", "a=s3cr3t", "***"),
        ("Sec-WebSocket-Protocol", "rivet, rivet_token.s.3, b", "rivet, rivet_token.***, b"),
        ("Location", "http://h/gateway/a@s3cr3t/x", "http://h/gateway/a@***/x"),
        ("content-type", "text/plain", "text/plain"),
    ],
)
def test_headers(name: str, value: str, shown: str) -> None:
    assert masked_header(name, value) == shown
