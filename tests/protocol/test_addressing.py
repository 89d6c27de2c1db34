"""URLs, headers and subprotocols, and the configuration that they come from."""

from __future__ import annotations

from typing import Any

import pytest

from rivet_anyio import Client, ConfigError
from rivet_anyio._config import ClientConfig, resolve_config
from rivet_anyio.protocol.addressing import (
    Endpoint,
    action_path,
    actor_url,
    encode_component,
    fits_subprotocol,
    join_url,
    params_json,
    parse_endpoint_url,
    queue_path,
    request_path,
    same_host,
    subprotocols,
    websocket_path,
)

HERE = Endpoint("http://host:6420/base", "default", None)


def test_actor_urls() -> None:
    assert actor_url(HERE, "a1", "/connect") == "http://host:6420/base/gateway/a1/connect"
    assert actor_url(HERE, "a/1@", "") == "http://host:6420/base/gateway/a%2F1%40"
    assert actor_url(HERE, "a1", "/x", token="t/@") == "http://host:6420/base/gateway/a1@t%2F%40/x"


def test_paths() -> None:
    assert action_path("send/it ü") == "/action/send%2Fit%20%C3%BC"
    assert queue_path("jobs?") == "/queue/jobs%3F"
    assert request_path("/history?x=1") == request_path("history?x=1") == "/request/history?x=1"
    assert websocket_path("/s") == websocket_path("s") == "/websocket/s"
    assert websocket_path("") == "/websocket/"


def test_join() -> None:
    assert join_url("http://h", "/actors") == "http://h/actors"
    assert (
        join_url("http://h/b", "/a", [("k", "a/b,c"), ("n", "")]) == "http://h/b/a?k=a%2Fb%2Cc&n="
    )
    assert join_url("http://h", "/a?x=1", [("y", "2")]) == "http://h/a?x=1&y=2"


def test_encode_component_is_javascript_s() -> None:
    assert encode_component("-_.!~*'()") == "-_.!~*'()"
    assert encode_component("a b&c=ü/\\") == "a%20b%26c%3D%C3%BC%2F%5C"


def test_params() -> None:
    assert params_json(None) is None
    assert params_json({"authToken": "ü💻\x7f"}) == '{"authToken":"\\u00fc\\ud83d\\udcbb\\u007f"}'
    with pytest.raises(TypeError, match=r"params\.a\[1\]"):
        params_json({"a": [1, b"x"]})


def test_subprotocols() -> None:
    assert subprotocols("bare") == ["rivet", "rivet_encoding.bare"]
    assert subprotocols("json", params='{"a":"b c"}', token="t") == [
        "rivet",
        "rivet_encoding.json",
        "rivet_token.t",
        "rivet_conn_params.%7B%22a%22%3A%22b%20c%22%7D",
    ]
    assert subprotocols("cbor", skip_ready_wait_for="a/1") == [
        "rivet",
        "rivet_encoding.cbor",
        "rivet_target.actor",
        "rivet_actor.a%2F1",
        "rivet_skip_ready_wait",
    ]
    # Each must be a token of RFC 9110, whatever the params are.
    params = params_json({chr(i): chr(i) for i in range(0x100)})
    assert all(fits_subprotocol(offer) for offer in subprotocols("bare", params=params))


@pytest.mark.parametrize(
    "token, fits",
    [
        ("abc-_.!~*'%", True),
        ("a b", False),
        ("a/b", False),
        ("a=", False),
        ("", False),
        ("ü", False),
        ("a,b", False),
        ("a\n", False),
    ],
)
def test_tokens_in_subprotocols(token: str, fits: bool) -> None:
    assert fits_subprotocol(token) is fits


@pytest.mark.parametrize(
    "url, parts",
    [
        ("https://h", ("https://h", "", "")),
        ("https://h/", ("https://h", "", "")),
        ("http://h:1/a/b//", ("http://h:1/a/b", "", "")),
        ("https://ns:tok@h:8/p", ("https://h:8/p", "ns", "tok")),
        ("https://ns@h", ("https://h", "ns", "")),
        ("https://:tok@h", ("https://h", "", "tok")),
        ("https://n%40s:t%3Ak@h", ("https://h", "n%40s", "t%3Ak")),
        ("http://[::1]:6420", ("http://[::1]:6420", "", "")),
        ("HTTP://h", ("http://h", "", "")),
    ],
)
def test_endpoint_url(url: str, parts: tuple[str, str, str]) -> None:
    assert parse_endpoint_url(url) == parts


@pytest.mark.parametrize(
    "url, said",
    [
        ("", "must look like"),
        ("host:6420", "must look like"),
        ("ws://ns:hush@h", "must look like"),
        ("https://", "must look like"),
        ("https://ns:hush@h:99999", "invalid endpoint"),
        ("https://ns:hush@h:port", "invalid endpoint"),
        ("https://ns:hush@[::1", "invalid endpoint"),
        ("https://ns:hush@h/a b", "white space"),
        ("https://ns:hush@h\\x", "backslash"),
        ("https://ns:hush@h/?a=1", "query"),
        ("https://ns:hush@h?", "query"),
        ("https://ns:hush@h/#f", "fragment"),
    ],
)
def test_endpoint_url_errors(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_endpoint_url(url)
    assert "hush" not in str(caught.value)


def test_same_host() -> None:
    assert same_host("http://localhost:1", "http://127.0.0.1:2/x")
    assert same_host("http://[::1]:1", "http://localhost")
    assert same_host("https://a.example", "https://a.example:444/b")
    assert not same_host("https://a.example", "http://a.example")
    assert not same_host("https://a.example", "https://b.example")
    assert not same_host("http://localhost", "http://b.example")


# Configuration


def resolve(endpoint: str | None = None, **options: Any) -> ClientConfig:
    given: dict[str, Any] = {
        "namespace": None,
        "token": None,
        "pool": None,
        "encoding": "bare",
        "headers": None,
        "environ": {},
        **options,
    }
    return resolve_config(endpoint, **given)


def test_defaults() -> None:
    config = resolve()
    assert config.endpoint == Endpoint("http://localhost:6420", "default", None)
    assert (config.pool, config.encoding, config.headers) == ("default", "bare", ())


def test_arguments_come_first() -> None:
    environ = {
        "RIVET_ENGINE": "http://engine",
        "RIVET_ENDPOINT": "http://endpoint",
        "RIVET_NAMESPACE": "env-ns",
        "RIVET_TOKEN": "env-token",
        "RIVET_POOL": "env-pool",
        "RIVET_RUNNER": "env-runner",
    }
    own = {"namespace": "ns", "token": "tok", "pool": "p", "environ": environ}
    config = resolve("http://own", **own)
    assert config.endpoint == Endpoint("http://own", "ns", "tok")
    assert config.pool == "p"
    config = resolve(environ=environ)
    assert config.endpoint == Endpoint("http://engine", "env-ns", "env-token")
    assert config.pool == "env-pool"
    del environ["RIVET_ENGINE"], environ["RIVET_POOL"]
    config = resolve(environ=environ)
    assert (config.endpoint.url, config.pool) == ("http://endpoint", "env-runner")


def test_empty_values_are_none() -> None:
    empty = dict.fromkeys(
        ["RIVET_ENGINE", "RIVET_ENDPOINT", "RIVET_NAMESPACE", "RIVET_TOKEN", "RIVET_POOL"], ""
    )
    assert resolve(environ=empty, token="", namespace="") == resolve()


def test_credentials_in_the_url() -> None:
    config = resolve("https://my%2Fns:t%40k@h/p")
    assert config.endpoint == Endpoint("https://h/p", "my/ns", "t@k")
    config = resolve(environ={"RIVET_ENDPOINT": "https://ns:tok@h"})
    assert config.endpoint == Endpoint("https://h", "ns", "tok")


@pytest.mark.parametrize(
    "endpoint, options, said",
    [
        ("https://ns:hush@h", {"token": "hush2"}, "token is given twice.*argument token="),
        ("https://ns:hush@h", {"namespace": "o"}, "namespace is given twice"),
        ("https://ns:hush@h", {"environ": {"RIVET_TOKEN": "hush2"}}, "variable RIVET_TOKEN"),
        ("https://ns@h", {"environ": {"RIVET_NAMESPACE": "o"}}, "variable RIVET_NAMESPACE"),
        (None, {"environ": {"RIVET_ENGINE": "ftp://ns:hush@h"}}, "must look like"),
        (
            None,
            {"environ": {"RIVET_ENGINE": "http://n:hush@h"}, "namespace": "o"},
            "variable RIVET_ENGINE",
        ),
        ("https://:hush@h", {}, "token without a namespace"),
        (None, {"token": "hush\n"}, "token has characters"),
        (None, {"token": "hush-ü"}, "token has characters"),
        ("https://ns:hush%0A@h", {}, "token has characters"),
        (None, {"encoding": "xml"}, "not 'xml'"),
        (None, {"headers": {"a": "hush\r\nb: c"}}, "header 'a'"),
        (None, {"headers": {"a": "hush-ü"}}, "header 'a'"),
        (None, {"headers": {"ü": "hush"}}, "header 'ü'"),
        (None, {"headers": {"a": 1}}, "headers are strings"),
    ],
)
def test_config_errors(endpoint: str | None, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        resolve(endpoint, **options)
    assert isinstance(caught.value, ValueError)
    assert "hush" not in str(caught.value)


def test_the_token_is_not_shown() -> None:
    assert "hush" not in repr(resolve("https://ns:hush@h"))
    assert "hush" not in str(resolve("https://ns:hush@h").endpoint)


@pytest.mark.parametrize(
    "url",
    [
        "http://default:se/CRET@h",
        "http://default:se#CRET@h",
        "http://default:se?CRET@h",
        "default:CRET@api.example",
        "http:/default:CRET@h",
        "https://default:se@CRET@h:abc",
        "http://a:b@CRET@h#f",
        "ftp://ns:CRET@h",
    ],
)
def test_a_misplaced_token_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_endpoint_url(url)
    assert "CRET" not in str(caught.value)
    assert "'se'" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_credentials_that_are_no_utf8() -> None:
    with pytest.raises(ConfigError, match="namespace in the URL of endpoint"):
        Client("http://%ff:tok@h")


@pytest.mark.parametrize(
    "options",
    [
        {"connect_timeout": 0},
        {"max_message_size": -1},
        {"ping_interval": 0},
        {"headers": {"a b": "c"}},
    ],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Client("http://h", **options)
