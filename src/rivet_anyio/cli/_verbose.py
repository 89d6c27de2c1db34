"""``--verbose``: every request and its answer on stderr, without secrets."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any

from .._client import Client
from .._http.transport import HttpAnswer, ObservedTransport, OpenAnswer, Timeouts, Upgraded
from ._stderr import to_stderr

__all__ = ["TracedClient", "masked_header", "masked_url"]

_SECRET = re.compile(r"token|secret|password|passwd|auth|cookie|api-?key|params", re.IGNORECASE)
_IN_PATH = re.compile(r"(/gateway/[^/?@]+)@[^/?]*")
_IN_QUERY = re.compile(
    r"([?&][^=&]*(?:token|secret|password|api-?key|auth|params)[^=&]*=)[^&]*", re.IGNORECASE
)
_IN_SUBPROTOCOL = re.compile(r"\b(rivet_token|rivet_conn_params)\.[^\s,]*")


class TracedClient(Client):
    """A client that shows what it sends and receives."""

    async def __aenter__(self) -> TracedClient:
        await super().__aenter__()
        self._core._transport = _Traced(self._core.http)
        return self


class _Traced(ObservedTransport):
    """A transport that shows what goes through it."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        **options: Any,
    ) -> HttpAnswer:
        began = _show_request(method, url, headers.items(), content)
        answer = await self._transport.request(
            method, url, headers=headers, content=content, **options
        )
        _show_answer(answer.status, answer.headers, began, f"{len(answer.body)} bytes")
        return answer

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: list[tuple[str, str]],
        content: bytes | AsyncIterable[bytes] | None,
        timeouts: Timeouts | None,
    ) -> OpenAnswer:
        began = _show_request(method, url, headers, content)
        answer = await self._transport.open(
            method, url, headers=headers, content=content, timeouts=timeouts
        )
        _show_answer(answer.status, answer.headers, began)
        return answer

    async def upgrade(self, url: str, *, headers: Mapping[str, str], **options: Any) -> Upgraded:
        began = _show_request("GET", url, headers.items(), None)
        answer = await self._transport.upgrade(url, headers=headers, **options)
        _show_answer(answer.status, answer.headers, began)
        return answer


def masked_url(url: str) -> str:
    """A URL without tokens and params."""
    return _IN_QUERY.sub(r"\1***", _IN_PATH.sub(r"\1@***", url))


def masked_header(name: str, value: str) -> str:
    """A header's value without secrets."""
    if name.lower() == "sec-websocket-protocol":
        return _IN_SUBPROTOCOL.sub(r"\1.***", value)
    return "***" if _SECRET.search(name) else masked_url(value)


def _show_request(
    method: str, url: str, headers: Iterable[tuple[str, str]], content: object
) -> float:
    lines = [f"{method} {masked_url(url)}"]
    lines += [f"{name}: {masked_header(name, value)}" for name, value in headers]
    if content is not None:
        size = f"{len(content)} bytes" if isinstance(content, bytes) else "a stream"
        lines.append(f"({size})")
    _show(">", lines)
    return time.perf_counter()


def _show_answer(
    status: int, headers: Mapping[str, str], began: float, size: str | None = None
) -> None:
    lines = [f"HTTP {status} after {(time.perf_counter() - began) * 1000:.1f} ms"]
    lines += [f"{name}: {masked_header(name, value)}" for name, value in headers.items()]
    if size is not None:
        lines.append(f"({size})")
    _show("<", lines)


def _show(mark: str, lines: list[str]) -> None:
    to_stderr("\n".join(f"{mark} {line}" for line in lines))
