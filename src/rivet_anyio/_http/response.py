"""httpx's request and response around our own: what `ActorHandle.fetch` takes and returns.

This is the only module of the wire that imports httpx, so it is imported at its first use.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from inspect import isasyncgen
from typing import Any, NamedTuple, TypeVar, cast

import httpx

from .._checks import check_seconds
from .._errors import ConfigError, ProtocolError
from .._io.internals import response_keeps_content
from .._text import in_short
from .transport import OpenAnswer, Timeouts, encodings_of, too_long

__all__ = ["ActorResponse", "Outgoing", "outgoing", "timeouts_of"]

T = TypeVar("T")

_ENCODED_PIECES = {"gzip": 16 * 1024, "deflate": 16 * 1024}
"""Bytes that are decoded at once: they may become a thousand times as many."""

_OTHER_ENCODED_PIECE = 64
"""The same for encodings such as ``br``, of which 16 bytes may become 16 MiB."""

_MAX_URL = 65536
"""Characters of a URL that httpx takes."""

Content = bytes | AsyncIterable[bytes] | None


class Outgoing(NamedTuple):
    """A request, in httpx's form and as it is sent."""

    request: httpx.Request
    url: str
    query: str
    headers: list[tuple[str, str]]
    content: Content


class Request(httpx.Request):
    """A request without options, which httpx makes when it is looked at. Few programs do that."""

    def __init__(self, method: str, url: str, headers: Sequence[tuple[str, str]]) -> None:
        self._given = method, url, headers

    def __getattr__(self, name: str) -> Any:
        given = vars(self).get("_given")
        if given is not None:
            method, url, headers = given
            made = httpx.Request(method, url, headers=_encoded(headers))
            vars(self).update({**vars(made), **vars(self)})  # what was set before stays
            vars(self).pop("_given", None)
        return object.__getattribute__(self, name)


def outgoing(
    method: str,
    url: str,
    headers: Sequence[tuple[str, str]],
    options: Mapping[str, Any],
) -> Outgoing:
    """The request that httpx's options describe; ``params`` are added to those of the URL.

    Args:
        method: The HTTP method.
        url: An absolute URL, percent-encoded as httpx does it.
        headers: Names in ASCII and values in Latin-1.
        options: Those of `httpx.Request`.

    Raises:
        TypeError, ValueError: httpx cannot make a request of an option.
        ConfigError: the URL cannot be used.
    """
    if not options and len(url) <= _MAX_URL:
        request = Request(method, url, headers)
        return Outgoing(request, url, url.partition("?")[2], list(headers), None)
    given = dict(options)
    params = given.pop("params", None)
    try:
        place = httpx.URL(url)
        if params is not None:
            place = place.copy_merge_params(params)
        made = httpx.Request(method, place, headers=_encoded(headers), **given)
    except httpx.InvalidURL as exc:
        raise ConfigError(f"the request cannot be sent: {exc}") from exc
    except (AttributeError, TypeError, ValueError) as exc:
        # Of most values httpx does not say whose they are, and some it uses without a check.
        kind = ValueError if isinstance(exc, ValueError) else TypeError
        raise kind(f"httpx cannot use these {', '.join(options)}: {exc}") from exc
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in made.headers.raw]
    query = made.url.query.decode("ascii")
    return Outgoing(made, str(made.url), query, fields, _content(made, options))


def _encoded(headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]


def _content(request: httpx.Request, options: Mapping[str, Any]) -> Content:
    """The body of a request that was built with these options.

    A generator is given as it is, without httpx's wrapper, so that it can be closed.

    Raises:
        TypeError: it can be read only by a program that is not asynchronous.
    """
    given: Any = options.get("content")
    if isasyncgen(given):
        return cast("AsyncIterable[bytes]", given)
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        return request.content or None
    if isinstance(stream, httpx.AsyncByteStream):
        # That of files can be iterated in both ways, and a client of httpx takes the wrong one.
        return aiter(stream)
    raise TypeError("content is bytes, a str or an asynchronous iterable, not a synchronous one")


def timeouts_of(timeout: Any) -> Timeouts | None:
    """What httpx's option ``timeout`` means; None for that of the client.

    Raises:
        TypeError: it is neither seconds nor `httpx.Timeout`.
        ValueError: a time of it is not more than 0.
    """
    if isinstance(timeout, type(httpx.USE_CLIENT_DEFAULT)):
        return None
    if not isinstance(timeout, (tuple, httpx.Timeout)):
        timeout = check_seconds("timeout", timeout, none=True)
    elif isinstance(timeout, tuple) and not 2 <= len(timeout) <= 4:
        raise ValueError(
            "timeout is a tuple of two to four times (connect, read, write, pool), "
            f"not {in_short(timeout)}"
        )
    given = httpx.Timeout(timeout)
    return Timeouts(
        connect=check_seconds("the connect timeout", given.connect, none=True),
        read=check_seconds("the read timeout", given.read, none=True),
    )


class _Body(httpx.AsyncByteStream):
    """The body of an answer, in pieces."""

    def __init__(self, answer: OpenAnswer, encodings: list[str]) -> None:
        self._answer = answer
        self._rest = memoryview(b"")
        self._most: int | None = None
        if encodings:
            self._most = _ENCODED_PIECES.get(encodings[0], _OTHER_ENCODED_PIECE)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = b"" if self._rest else await self._answer.read()
        if self._most is not None:
            rest = self._rest or memoryview(data)
            data, self._rest = bytes(rest[: self._most]), rest[self._most :]
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        await self._answer.aclose()


class _Pieces(AsyncIterator[T]):
    """What one of httpx's generators gives, with errors of ours.

    It counts bytes where `limit` says how many may come.
    """

    def __init__(self, response: ActorResponse, generator: AsyncIterator[T], limit: int | None):
        self._response = response
        self._generator: Any = generator
        self._limit = limit
        self._size = 0

    async def __anext__(self) -> T:
        try:
            piece: T = await self._generator.__anext__()
        except httpx.DecodingError as exc:
            raise ProtocolError(f"the answer cannot be decoded: {exc}") from exc
        if self._limit is not None:
            self._size += len(cast("bytes", piece))
            if self._size > self._limit:
                raise too_long(self._response.status_code, self._limit)
        return piece

    async def aclose(self) -> None:
        if not self._generator.ag_running:
            await self._generator.aclose()


class ActorResponse(httpx.Response):
    """An `httpx.Response` whose body raises the errors of this library.

    Args:
        answer: What came.
        request: What was asked for.
        limit: The longest body that `aread` takes, in bytes after decoding.
        began: When the request was sent.
        time: The clock, in seconds.
    """

    def __init__(
        self,
        answer: OpenAnswer,
        request: httpx.Request,
        limit: int,
        began: float,
        time: Callable[[], float],
    ) -> None:
        self._answer = answer
        self._began = began
        self._time = time
        self._encodings = encodings_of(answer.headers)
        super().__init__(
            answer.status,
            headers=answer.raw_headers,
            stream=_Body(answer, self._encodings),
            request=request,
            extensions={
                "http_version": answer.version.encode("ascii"),
                "reason_phrase": answer.reason.encode("ascii", "replace"),
            },
        )
        self._limit = limit
        self._reads_whole = False
        self._iterators: list[_Pieces[Any]] = []

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["_answer"], state["_time"]  # a copy has what was read, and no connection
        return {**state, "_iterators": []}

    async def aread(self) -> bytes:
        if not (self._encodings or self.is_stream_consumed or self.is_closed):
            # httpx's own takes three generators, and longer than the rest of a call.
            self.is_stream_consumed = True
            body = await self._read_whole()
            self._note_end()
            self.stream = httpx.ByteStream(body)
            if response_keeps_content():
                self.is_closed = True
                self._content = body
                self._num_bytes_downloaded = len(body)
                return body
            self.is_stream_consumed = False
            return self.read()
        self._reads_whole = True
        try:
            return await super().aread()
        finally:
            self._reads_whole = False

    async def _read_whole(self) -> bytes:
        parts = []
        size = 0
        while data := await self._answer.read():
            size += len(data)
            if size > self._limit:
                raise too_long(self.status_code, self._limit)
            parts.append(data)
        await self._answer.aclose()
        return b"".join(parts)

    def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        return self._pieces(super().aiter_raw(chunk_size))

    def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        if len(self._encodings) > 1:
            # A few bytes may become a thousand times as many in each of them.
            raise ProtocolError(
                f"HTTP {self.status_code} with several content encodings, "
                f"{', '.join(self._encodings)!r:.200}: no more than one is decoded"
            )
        limit = self._limit if self._reads_whole else None
        return self._pieces(super().aiter_bytes(chunk_size), limit)

    def aiter_text(self, chunk_size: int | None = None) -> AsyncIterator[str]:
        return self._pieces(super().aiter_text(chunk_size))

    def aiter_lines(self) -> AsyncIterator[str]:
        return self._pieces(super().aiter_lines())

    async def aclose(self) -> None:
        # Each of them may be read by the one before it.
        iterators, self._iterators = self._iterators, []
        for iterator in iterators:
            await iterator.aclose()
        if not self.is_closed:
            self._note_end()
        await super().aclose()

    def _note_end(self) -> None:
        self.elapsed = timedelta(seconds=self._time() - self._began)

    def _pieces(self, generator: AsyncIterator[T], limit: int | None = None) -> _Pieces[T]:
        pieces = _Pieces(self, generator, limit)
        self._iterators.append(pieces)
        return pieces
