"""What is written on the command line: values, and which actor is meant."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from ._json import parse_json

__all__ = [
    "JSON",
    "VALUE",
    "WAIT_OPTION",
    "ArgumentsCommand",
    "Place",
    "Seconds",
    "json_fault",
    "parse_place",
    "read_values",
    "with_seconds",
]

_NEGATIVE = re.compile(r"-(\d|\.\d|Infinity)")
_PARTS = re.compile(r"(?:\\.|[^/])+|/", re.DOTALL)
_NUMBER = re.compile(r"-?[\d.]+")
WAIT_OPTION = "--wait-for-server"
_WAIT_SECONDS = 60
_BEGINS_JSON = ("{", "[", '"')
_SHIELD = "\0"
"""In front of an argument that looks like an option; no argument of a program has it."""


if TYPE_CHECKING:
    _TextType = click.ParamType[str]
    _AnyType = click.ParamType[Any]
    _FloatType = click.ParamType[float]
else:  # click before 8.4 has no type parameter there
    _TextType = _AnyType = _FloatType = click.ParamType


class ArgumentsCommand(click.Command):
    """A command whose arguments may be negative numbers: ``-5`` is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, with negative numbers out of click's sight.

        Behind an option that takes a value click does not mistake them.
        """
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        takes = {name for each in options if not each.is_flag for name in each.opts}
        shielded = [
            _SHIELD + arg if _NEGATIVE.match(arg) and before not in takes else arg
            for before, arg in pairwise(["", *args])
        ]
        rest = super().parse_args(ctx, with_seconds(shielded))
        ctx.params = {name: _bare(value) for name, value in ctx.params.items()}
        return rest


def _bare(value: Any) -> Any:
    if isinstance(value, str):
        return value.removeprefix(_SHIELD)
    return tuple(map(_bare, value)) if isinstance(value, tuple) else value


def with_seconds(args: list[str]) -> list[str]:
    """A command line on which ``--wait-for-server`` has its seconds.

    A word behind it is its own only if it is a number: an actor may stand there.
    """
    found: list[str] = []
    for index, arg in enumerate(args):
        if arg == "--":
            return found + args[index:]
        following = args[index + 1] if index + 1 < len(args) else ""
        if arg == WAIT_OPTION and not _NUMBER.fullmatch(following):
            arg = f"{WAIT_OPTION}={_WAIT_SECONDS}"
        found.append(arg)
    return found


class _Value(_TextType):
    """Text that `read_values` makes a value of."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The argument as it was written."""
        return str(value)


class _Json(_AnyType):
    """JSON that may hold secrets: no message repeats it."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value that was written."""
        if not isinstance(value, str):
            return value
        try:
            return parse_json(value)
        except ValueError as exc:
            self.fail(f"not JSON: {json_fault(exc)}", param, ctx)


class Seconds(_FloatType):
    """A duration, more than 0."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number of seconds."""
        text = str(value)
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds < float("inf"):
            self.fail(f"{text!r} is not a number of seconds above 0", param, ctx)
        return seconds


VALUE = _Value()
JSON = _Json()


def read_values(
    texts: tuple[str, ...], *, strings: bool, strict: bool, hint: str = "--string (-s) sends text"
) -> list[Any]:
    """Arguments as values: one that is JSON is that, any other is a string.

    Args:
        texts: The arguments.
        strings: Take every one for a string.
        strict: Refuse one that is not JSON.
        hint: How to send text that looks like JSON.

    Raises:
        click.UsageError: for one that begins as JSON does and is not; with `strict`, for any that
            is not; or when both are asked for.
    """
    if strings and strict:
        raise click.UsageError("--string and --json exclude each other")
    return list(texts) if strings else [_read(text, strict, hint) for text in texts]


def _read(text: str, strict: bool, hint: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as exc:
        if strict or text.lstrip().startswith(_BEGINS_JSON):
            shown = text if len(text) <= 60 else f"{text[:60]}..."
            raise click.UsageError(f"{shown!r} is not JSON: {json_fault(exc)}; {hint}") from None
        return text


def json_fault(exc: ValueError) -> str:
    """What is wrong with a JSON document, and where; the document itself may be secret."""
    if not isinstance(exc, json.JSONDecodeError):
        return str(exc)
    where = f"column {exc.colno}" if exc.lineno == 1 else f"line {exc.lineno}, column {exc.colno}"
    return f"{exc.msg[0].lower()}{exc.msg[1:]} at {where}"


@dataclass(frozen=True, slots=True)
class Place:
    """The actor that is meant: a name with a key, or with an id."""

    name: str
    key: tuple[str, ...] = ()
    id: str | None = None

    def __str__(self) -> str:
        if self.id is not None:
            return f"{_escape(self.name)} --id {self.id}"
        return "/".join(_escape(part) for part in (self.name, *self.key))


def parse_place(text: str, keys: tuple[str, ...] = (), id: str | None = None) -> Place:
    r"""Read ``NAME/PART/PART``, in which ``\/`` is a slash and ``\0`` alone an empty part.

    With `keys` or `id`, the text is the name as it stands.

    Raises:
        click.UsageError: for a part that is empty without saying so.
    """
    if keys and id is not None:
        raise click.UsageError("--key and --id exclude each other")
    if keys or id is not None:
        parts = [text, *keys]
    else:
        found = _PARTS.findall(text)
        parts = [_unescape(part) for part in found[::2]]
        if text and (len(found) % 2 == 0 or "/" in found[::2]):
            raise click.UsageError(f"{text!r} has an empty part: write \\0 if that is meant")
    if not any(parts[:1]):
        raise click.UsageError(f"{text!r} names no actor: write NAME or NAME/KEY")
    return Place(parts[0], tuple(parts[1:]), id)


def _unescape(part: str) -> str:
    return "" if part == "\\0" else re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL)


def _escape(part: str) -> str:
    return part.replace("\\", "\\\\").replace("/", "\\/") if part else "\\0"
