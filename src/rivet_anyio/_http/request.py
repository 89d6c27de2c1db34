"""The head of a request, checked before a byte of it leaves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from .._checks import is_http_token
from .._errors import ConfigError

__all__ = ["Fields", "RequestHead", "tokens", "write_head"]

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))
_ALWAYS_A_BODY = frozenset(("POST", "PUT", "PATCH"))
_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]*")
_TARGET = re.compile(r"[!-~]+")
_BAD_IN_VALUE = re.compile(r"[^\t -~\x80-\xff]")
_MEANINGFUL = frozenset(
    ("connection", "content-length", "expect", "trailer", "transfer-encoding", "upgrade")
)


class RequestHead(NamedTuple):
    """A head that may be sent.

    Attributes:
        data: The head, as it is to be written.
        streamed: How many bytes of body follow by `Exchange.send_body`; None is in chunks.
        keeps_alive: Whether the connection may go on after it.
        upgrade: The protocols it asks for, in lower case.
    """

    data: bytes
    streamed: int | None
    keeps_alive: bool = True
    upgrade: frozenset[str] = frozenset()


class Fields:
    """Header fields that are checked once, for any number of requests.

    Attributes:
        pairs: Names and values.
        lines: The same as they are written; None where they cannot be sent.
        is_meaningful: Whether some of them mean something to the connection.
    """

    __slots__ = ("is_meaningful", "lines", "pairs")

    def __init__(self, headers: Sequence[tuple[str, str]] | Mapping[str, str]) -> None:
        # A dict first, because to ask for a Mapping takes a microsecond.
        self.pairs = list(headers.items() if isinstance(headers, (dict, Mapping)) else headers)
        is_meaningful = _judge_names(tuple([name for name, _ in self.pairs]))
        self.is_meaningful = bool(is_meaningful)
        self.lines: str | None = None
        if is_meaningful is not None and not _BAD_IN_VALUE.search(
            "".join([value for _, value in self.pairs])
        ):
            self.lines = _lines(self.pairs)


def write_head(
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] | Mapping[str, str] | Fields,
    content: bytes | None,
    *,
    streams: bool,
    upgrade: bool,
) -> RequestHead:
    """Write a head; the arguments are those of `Exchange`.

    Raises:
        ConfigError: for what cannot be sent. The text shows no values, which may be secrets.
    """
    fields = headers if isinstance(headers, Fields) else Fields(headers)
    if (
        fields.lines is None
        or (method not in _METHODS and not is_http_token(method))
        or not _TARGET.fullmatch(target)
    ):
        raise _refused(method, target, fields.pairs)
    length = None if content is None else len(content)
    if length is None and not streams and method.upper() in _ALWAYS_A_BODY:
        length = 0
    if upgrade or fields.is_meaningful:
        return _write_meaningful(
            method, target, list(fields.pairs), length, streams=streams, upgrade=upgrade
        )
    lines = fields.lines
    if streams:
        lines += "Transfer-Encoding: chunked\r\n"
    elif length is not None:
        lines += f"Content-Length: {length}\r\n"
    return RequestHead(_encode(method, target, lines), None if streams else 0)


@lru_cache(256)
def _judge_names(names: tuple[str, ...]) -> bool | None:
    """Whether some of these mean something to the connection; None if they cannot be sent."""
    lower = [name.lower() for name in names]
    if "" in lower or not _NAMES.fullmatch("".join(lower)) or lower.count("host") != 1:
        return None
    return not _MEANINGFUL.isdisjoint(lower)


def tokens(value: str) -> frozenset[str]:
    """The members of a field that is a list of tokens, in lower case."""
    return frozenset([token for one in value.lower().split(",") if (token := one.strip(" \t"))])


def _write_meaningful(
    method: str,
    target: str,
    pairs: list[tuple[str, str]],
    length: int | None,
    *,
    streams: bool,
    upgrade: bool,
) -> RequestHead:
    """The same for headers among which are some that mean something to this connection."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name.lower(), []).append(value)
    for name, why in (("Expect", "the body does not wait"), ("Trailer", "trailers are not sent")):
        if name.lower() in values:
            raise ConfigError(f"the header {name!r} cannot be sent, since {why}: remove it")
    protocols = tokens(",".join(values.get("upgrade", ())))
    if upgrade and not protocols:
        raise ConfigError("a request that asks for an upgrade has a header 'Upgrade'")
    codings = [coding.lower() for coding in values.get("transfer-encoding", ())]
    lengths = values.get("content-length", [])
    if codings and (lengths or not streams or codings != ["chunked"]):
        raise ConfigError(
            "the header 'Transfer-Encoding' contradicts how the body is sent: remove it"
        )
    streamed = None if streams else 0
    if lengths:
        text = lengths[0]
        announced = int(text) if re.fullmatch(r"[0-9]{1,16}", text) else -1
        if len(lengths) > 1 or announced < 0 or not (streams or announced == (length or 0)):
            raise ConfigError(
                "the header 'Content-Length' contradicts the body: remove it, or give the "
                "length of the body in bytes, once"
            )
        streamed = announced if streams else 0
    elif streams and not codings:
        pairs.append(("Transfer-Encoding", "chunked"))
    elif length is not None and not streams:
        pairs.append(("Content-Length", str(length)))
    return RequestHead(
        _encode(method, target, _lines(pairs)),
        streamed,
        "close" not in tokens(",".join(values.get("connection", ()))),
        protocols if upgrade else frozenset(),
    )


def _lines(pairs: Sequence[tuple[str, str]]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in pairs])


def _encode(method: str, target: str, lines: str) -> bytes:
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def _refused(method: str, target: str, pairs: Sequence[tuple[str, str]]) -> ConfigError:
    """Why a request cannot be sent."""
    if not is_http_token(method):
        return ConfigError(f"the method {method!r} cannot be sent: it is not a token like 'GET'")
    if not _TARGET.fullmatch(target):
        bad = next((one for one in target if not "!" <= one <= "~"), None)
        what = "is empty" if bad is None else f"has {bad!r}: percent-encode it"
        return ConfigError(f"the target of a request cannot be sent: it {what}")
    hosts = 0
    for name, value in pairs:
        if not is_http_token(name):
            return ConfigError(f"the header {name!r} cannot be sent: its name is not a token")
        bad = next((one for one in value if _BAD_IN_VALUE.match(one)), None)
        if bad is not None:
            return ConfigError(f"the header {name!r} cannot be sent: its value has {bad!r}")
        hosts += name.lower() == "host"
    return ConfigError(f"a request has exactly one header 'Host', not {hosts}")
