"""URLs, headers and subprotocols, and the configuration that they come from."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    "path, sent",
    [
        ("", "/"),
        ("/", "/"),
        ("//x", "/x"),
        ("a//b///c/", "/a/b/c/"),
        ("\\a\\\\b", "/a/b"),
        ("a b", "/a%20b"),
        ("ü", "/%C3%BC"),
        ("%41%2F%25", "/%41%2F%25"),
        ("a;b=c,d", "/a;b=c,d"),
        ('a{b}`c`"<>', "/a%7Bb%7D%60c%60%22%3C%3E"),
        ("a|b^[c]?^", "/a|b%5E[c]?^"),
        ("a?x=//y&z=../q#f", "/a?x=//y&z=../q"),
        ("a?x=1?y=2", "/a?x=1?y=2"),
        ("a? ü'\"", "/a?%20%C3%BC%27%22"),
        ("a#/../b?c", "/a"),
        ("http://elsewhere/x", "/http:/elsewhere/x"),
        ("...", "/..."),
        ("a../.b", "/a../.b"),
        ("@", "/@"),
        (":1", "/:1"),
    ],
)
def test_paths_are_read_as_fetch_reads_them(path: str, sent: str) -> None:
    """As ``new URL(`http://actor/request/${path}`)`` in Node.js and RivetKit's own client."""
    assert request_path(path) == "/request" + sent
    assert websocket_path(path) == "/websocket" + sent
    assert httpx.URL(actor_url(HERE, "a1", request_path(path))).raw_path.decode() == (
        "/base/gateway/a1/request" + sent
    )


DOTS = [
    ".",
    "..",
    "/..",
    "../../../actors?name=x",
    "a/../../action/reset",
    "a/./b",
    "a/..",
    "..?x",
    "..#x",
    "%2e%2e/x",
    "%2E.",
    "%252e%252e/x",
    "%25252525252e",
    "%%32%65",
    "a%2f..%2fb",
    "..%5c..%5cx",
    "a\\..\\b",
    "..\\x",
    ".%09./x",
    ".%0a.",
    "x/..%20",
    "%20../x",
    "..%3fx",
    "..%23x",
]
"""Each leads elsewhere with one of 2.0.33, 2.2.1, 2.3.19, with httpx, or in a browser."""


@pytest.mark.parametrize("text", DOTS)
def test_dot_segments(text: str) -> None:
    for path in (request_path, websocket_path, action_path, queue_path):
        with pytest.raises(ValueError, match=r"'\.' or '\.\.'") as caught:
            path(text)
        assert repr(re.split("[?#]", text)[0])[1:-1] in str(caught.value)
    with pytest.raises(ValueError, match=r"'\.' or '\.\.'"):
        Client("http://h").actor("a").get_for_id(text)


@pytest.mark.parametrize("text", ["a\tb", "a\r\nX: y", "\x00", "a\x7f"])
def test_control_characters(text: str) -> None:
    for path in (request_path, websocket_path, action_path, queue_path):
        with pytest.raises(ValueError, match="control character"):
            path(text)


def normalized(path: str) -> str:
    """What may become of a path: decoded until nothing changes, and read as browsers do."""
    while (decoded := unquote(path)) != path:
        path = decoded
    path = re.sub("[\x00-\x20]", "", path.partition("?")[0]).replace("\\", "/")
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    return "/".join(segments)


odd = st.text(alphabet=st.sampled_from("./\\%2e5cfF09?#@:ax \t\n;~ü\udc80"), max_size=24)
anything = odd | st.text(max_size=24) | st.sampled_from(DOTS)


@settings(max_examples=1000)
@given(anything)
def test_what_leaves_lies_below_the_actor(text: str) -> None:
    """Whatever is asked for, and whoever normalizes it on the way."""
    for make, below in (
        (request_path, "/request/"),
        (websocket_path, "/websocket/"),
        (action_path, "/action/"),
        (queue_path, "/queue/"),
    ):
        try:
            path = make(text)
        except ValueError as refused:
            assert len(str(refused)) < 250
            continue
        for url, start in (
            (actor_url(HERE, "a1", path), "/base/gateway/a1" + below),
            (join_url(HERE.url, path), "/base" + below),
        ):
            sent = httpx.Request("GET", url).url.raw_path.decode("ascii")
            assert sent.startswith(start)
            assert normalized(sent).startswith(start)
            assert (httpx.URL(url).host, httpx.URL(url).port) == ("host", 6420)


@settings(max_examples=500)
@given(anything)
def test_ids_are_one_segment(text: str) -> None:
    try:
        handle = Client("http://h").actor("a").get_for_id(text)
    except ValueError:
        return
    assert handle._target._id is not None
    url = actor_url(HERE, handle._target._id, action_path("get"))
    sent = httpx.URL(url).raw_path.decode("ascii")
    assert re.fullmatch("/base/gateway/[^/?]+/action/get", sent)
    assert normalized(sent).startswith("/base/gateway/")
    assert normalized(sent).endswith("/action/get") or "?" in unquote(text)


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
        ("https://h:80", ("https://h:80", "", "")),
        ("http://\xe4.example/%C3%A4", ("http://\xe4.example/%C3%A4", "", "")),
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
        ("https://ns:hush@h/\x01", "control character"),
        ("https://ns:hush@h\x7f", "control character"),
        ("https://ns:hush@h/\xe4", "its path has '\xe4': percent-encode it"),
        ("https://ns:hush@h:0", "port is 0"),
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
        {"namespace": "a\nb"},
        {"pool": "a\x00"},
        {"token": " x"},
        {"max_message_size": -1},
        {"ping_interval": 0},
        {"headers": {"a b": "c"}},
    ],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Client("http://h", **options)
