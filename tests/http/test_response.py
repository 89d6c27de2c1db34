"""What `fetch` returns is an `httpx.Response` in every respect, though made in a shorter way."""

from __future__ import annotations

import copy
import gzip
import pickle
from datetime import timedelta
from typing import Any

import httpx
import pytest

from rivet_anyio import ConfigError, ConnectionLostError, ProtocolError
from rivet_anyio._http.response import ActorResponse, outgoing

URL = "http://127.0.0.1:6420/gateway/a1/request/files?page=2"
FIELDS = [("User-Agent", "us"), ("X-Name", "caf\xe9")]


class Answer:
    """An answer whose body comes in pieces."""

    status = 200
    reason = "Fine"
    version = "HTTP/1.1"
    socket: object = None

    def __init__(self, *pieces: bytes | Exception, **fields: str) -> None:
        self.pieces = list(pieces)
        self.headers = {name.replace("_", "-"): value for name, value in fields.items()}
        self.is_closed = False

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        return [(name.encode(), value.encode()) for name, value in self.headers.items()]

    async def read(self) -> bytes:
        assert not self.is_closed
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        self.is_closed = True


def response_to(answer: Answer, method: str = "GET", limit: int = 1000) -> ActorResponse:
    return ActorResponse(answer, outgoing(method, URL, FIELDS, {}).request, limit, 0.0, float)


def eager(method: str = "GET") -> httpx.Request:
    """What httpx makes of the same request."""
    fields = [(name.encode(), value.encode("latin-1")) for name, value in FIELDS]
    return httpx.Request(method, URL, headers=fields)


def facts(request: httpx.Request) -> list[Any]:
    request.read()
    return [
        request.method,
        request.url,
        request.headers.raw,
        request.content,
        request.extensions,
        repr(request),
        isinstance(request.stream, httpx.ByteStream),
    ]


@pytest.mark.parametrize("method", ["GET", "POST", "post"])
def test_a_request_without_options(method: str) -> None:
    sent = outgoing(method, URL, FIELDS, {})
    assert (sent.url, sent.query, sent.headers) == (URL, "page=2", FIELDS)
    assert sent.content is None
    assert facts(sent.request) == facts(eager(method))
    assert not hasattr(sent.request, "no_such_attribute")


@pytest.mark.parametrize("was_looked_at", [False, True])
def test_copies_of_a_request(was_looked_at: bool) -> None:
    request = outgoing("GET", URL, FIELDS, {}).request
    if was_looked_at:
        assert request.url == URL
    for again in (copy.copy(request), pickle.loads(pickle.dumps(request))):
        assert again.url == URL
        assert again.headers == eager().headers
        assert again.content == b""


def test_what_was_set_before_a_request_was_looked_at() -> None:
    request = outgoing("GET", URL, FIELDS, {}).request
    request.extensions = {"mine": 1}
    assert request.method == "GET"
    assert request.extensions == {"mine": 1}


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_whole_answer(encoding: str) -> None:
    body = '{"word": "café"}'.encode()
    sent = gzip.compress(body) if encoding == "gzip" else body
    fields = {"content_type": "application/json", "content_encoding": encoding}
    answer = Answer(sent[:5], sent[5:], **fields)
    response = response_to(answer)
    assert await response.aread() == body
    assert answer.is_closed and response.is_closed and response.is_stream_consumed
    assert response.num_bytes_downloaded == len(sent)
    assert response.content == response.read() == await response.aread() == body
    assert [part async for part in response.aiter_bytes()] == [body]
    assert response.json() == {"word": "café"}
    assert (response.encoding, response.http_version) == ("utf-8", "HTTP/1.1")
    assert response.reason_phrase == "Fine"
    assert "content-length" not in response.headers, "nothing is added"
    assert response.raise_for_status() is response
    assert response.url == URL
    assert facts(response.request) == facts(eager())
    with pytest.raises(httpx.StreamConsumed):
        _ = [part async for part in response.aiter_raw()]
    answer.socket = lambda: None  # nobody can copy this
    for again in (pickle.loads(pickle.dumps(response)), copy.deepcopy(response)):
        assert (again.status_code, again.content, again.request.url) == (200, body, URL)
        assert await again.aread() == body
        assert [part async for part in again.aiter_bytes()] == [body]
        await again.aclose()
    await response.aclose()


async def test_a_status_of_an_error() -> None:
    answer = Answer(b"no")
    answer.status = 404
    response = response_to(answer)
    await response.aread()
    with pytest.raises(httpx.HTTPStatusError, match="404") as caught:
        response.raise_for_status()
    assert caught.value.request.url == URL


@pytest.mark.parametrize("error", [ConnectionLostError("lost"), None])
async def test_an_answer_that_cannot_be_read(error: Exception | None) -> None:
    """It cannot be read again either, where half of it would be taken for all."""
    answer = Answer(b"abc", error or b"d" * 10, b"e")
    response = response_to(answer, limit=10)
    with pytest.raises(type(error) if error else ProtocolError):
        await response.aread()
    with pytest.raises(httpx.StreamConsumed):
        await response.aread()
    with pytest.raises(httpx.ResponseNotRead):
        _ = response.content
    await response.aclose()
    assert answer.is_closed


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_what_is_read_in_pieces_has_no_bound(encoding: str) -> None:
    sent = gzip.compress(b"x" * 100) if encoding == "gzip" else b"x" * 100
    response = response_to(Answer(sent, content_encoding=encoding), limit=10)
    assert b"".join([piece async for piece in response.aiter_bytes()]) == b"x" * 100
    await response.aclose()


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("way", ["aread", "aiter_bytes", "aiter_raw", "aiter_lines", "aclose"])
async def test_the_time_until_the_end(way: str, encoding: str) -> None:
    """It is that of the request and of reading, and not of what the program does later."""
    sent = gzip.compress(b"abc") if encoding == "gzip" else b"abc"
    answer = Answer(sent, content_encoding=encoding)
    request = outgoing("GET", URL, FIELDS, {}).request
    now = 12.5
    response = ActorResponse(answer, request, 1000, 10.0, lambda: now)
    with pytest.raises(RuntimeError, match="may only be accessed after"):
        _ = response.elapsed
    if way == "aread":
        await response.aread()
    elif way != "aclose":
        _ = [piece async for piece in getattr(response, way)()]
    else:
        await response.aclose()
    before = response.elapsed
    assert before == timedelta(seconds=2.5)
    now += 100
    await response.aclose()
    assert response.elapsed == before
    again = pickle.loads(pickle.dumps(response))
    await again.aclose()
    assert again.elapsed == before


async def test_the_time_until_an_answer_broke() -> None:
    response = response_to(Answer(b"abc", ConnectionLostError("lost")))
    with pytest.raises(ConnectionLostError):
        await response.aread()
    await response.aclose()
    assert response.elapsed == timedelta(0)


async def test_an_answer_that_was_closed() -> None:
    response = response_to(Answer(b"abc"))
    await response.aclose()
    with pytest.raises(httpx.StreamClosed):
        await response.aread()


def test_a_url_that_is_too_long_for_httpx() -> None:
    with pytest.raises(ConfigError, match="URL too long"):
        outgoing("GET", URL + "x" * 65536, FIELDS, {})


@pytest.mark.parametrize(
    ("encoding", "most"), [("gzip", 16 * 1024), ("GZip, identity", 16 * 1024), ("br", 64)]
)
async def test_compressed_bytes_are_decoded_few_at_a_time(
    encoding: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of brotli 64 bytes may become 64 MiB."""
    sizes: list[int] = []

    class Decoder(httpx._decoders.ContentDecoder):
        def decode(self, data: bytes) -> bytes:
            sizes.append(len(data))
            return data

        def flush(self) -> bytes:
            return b""

    monkeypatch.setitem(httpx._decoders.SUPPORTED_DECODERS, encoding[:4].lower(), Decoder)
    response = response_to(Answer(bytes(40_000), content_encoding=encoding), limit=40_000)
    assert await response.aread() == bytes(40_000)
    assert max(sizes) == most
    assert sum(sizes) == 40_000
