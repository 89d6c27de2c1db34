"""Checks of what users give, made in the user's own call.

Each raises `TypeError` for a value of a wrong type and `ValueError` for any other that cannot be
used. The message is one sentence that names the option, the value and what to give instead.
"""

from __future__ import annotations

import math
import numbers
import operator
import re
from collections.abc import Awaitable, Generator, Iterable, Mapping
from contextlib import contextmanager
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Literal, TypeVar, overload
from urllib.parse import unquote

from ._errors import ConfigError
from ._text import in_short

__all__ = [
    "as_config_errors",
    "awaitable_from",
    "check_actor_id",
    "check_choice",
    "check_flag",
    "check_function",
    "check_headers",
    "check_instance",
    "check_label",
    "check_name",
    "check_params",
    "check_route",
    "check_seconds",
    "check_size",
    "check_text",
    "is_header_value",
    "is_http_token",
]

T = TypeVar("T")

_HTTP_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"(?:[!-~](?:[ -~\t]*[!-~])?)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BLANKS = re.compile(r"[\x00-\x20]+")
_SEPARATORS = re.compile(r"[/\\?#]")
_ESCAPED_PERCENT = re.compile(r"%(?:25)+")
_LARGEST = 2**63 - 1


@contextmanager
def as_config_errors() -> Generator[None]:
    """Raise what these checks raise as a `ConfigError`."""
    try:
        yield
    except ConfigError:
        raise
    except (TypeError, ValueError) as exc:
        raise ConfigError(str(exc)) from None


# Names and other text


def check_text(what: str, value: Any) -> str:
    """A string that UTF-8 can encode, as a plain str; `what` begins the message."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is a string, not {in_short(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{what} has a lone surrogate, which UTF-8 cannot encode: {in_short(value)}"
            ) from None
    return value if type(value) is str else str.__str__(value)


def check_name(kind: str, name: object) -> str:
    """The name of an action, an event, a queue or an actor: not empty; as a plain str."""
    if type(name) is str and name and name.isascii():  # as most are: one call less
        return name
    return _filled(f"the {kind}'s name", name)


def check_label(what: str, value: Any) -> str:
    """The name of a place: not empty, without control characters; as a plain str."""
    text = _filled(what, value)
    _refuse_control_characters(what, text)
    return text


def _filled(what: str, value: Any) -> str:
    """As `check_text`, and not empty."""
    text = check_text(what, value)
    if not text:
        raise ValueError(f"{what} must not be empty")
    return text


def check_actor_id(value: Any) -> str:
    """The id of an actor, which becomes part of a URL's path; as a plain str."""
    actor_id = check_label("the actor's id", value)
    check_route("the actor's id", actor_id)
    return actor_id


def check_route(what: str, text: str) -> None:
    """Text that becomes part of a URL's path, and must stay below the path before it.

    Dot segments are refused in every disguise that a client, a proxy or a server may remove. (In
    the WHATWG's URLs ``%2e`` is a dot, a backslash is a slash, and some white space is removed.
    RivetKit up to 2.2 decodes a path and reads the result as a URL again.)
    """
    _refuse_control_characters(what, text)
    if "." not in text and "%" not in text:
        return
    plain, before = text, ""
    while plain != before:
        # The escaped percent signs go all at once: each could hide the next.
        plain, before = unquote(_ESCAPED_PERCENT.sub("%", plain)), plain
    if not {".", ".."}.isdisjoint(_SEPARATORS.split(_BLANKS.sub("", plain))):
        raise ValueError(
            f"{what} has the segment '.' or '..', which would lead elsewhere: {in_short(text)}"
        )


def _refuse_control_characters(what: str, text: str) -> None:
    if _CONTROL.search(text):
        raise ValueError(f"{what} has a control character: {in_short(text)}")


# Options


@overload
def check_seconds(
    name: str, value: Any, *, zero: bool = ..., most: float = ..., none: Literal[False] = ...
) -> float: ...
@overload
def check_seconds(
    name: str, value: Any, *, zero: bool = ..., most: float = ..., none: Literal[True]
) -> float | None: ...
def check_seconds(
    name: str, value: Any, *, zero: bool = False, most: float = math.inf, none: bool = False
) -> float | None:
    """A finite number of seconds, more than 0 (or `zero`), as a float, which any text can show.

    `none` allows None, too.
    """
    if value is None and none:
        return None
    or_none = " or None" if none else ""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is a number of seconds{or_none}, not {in_short(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero) or number > most:
        limits = "of at least 0" if zero else "more than 0"
        if most != math.inf:
            limits += f" and at most {most:g}" if most < 1e6 else f" and at most {most:.0f}"
        raise ValueError(
            f"{name} is a finite number of seconds, {limits}{or_none}, not {in_short(value)}"
        )
    return number


def check_size(
    name: str, value: Any, *, least: int = 1, most: int = _LARGEST, none: bool = False
) -> None:
    """A whole number from `least` to `most`; `none` allows None, too."""
    if value is None and none:
        return
    or_none = " or None" if none else ""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is a whole number{or_none}, not {in_short(value)}")
    number = operator.index(value)
    if not least <= number <= most:
        limits = f"of at least {least}" if number < least else f"of at most {most}"
        raise ValueError(f"{name} is a whole number {limits}{or_none}, not {in_short(value)}")


def check_flag(name: str, value: Any, *, none: bool = False) -> None:
    """True or False; `none` allows None, too."""
    if not (isinstance(value, bool) or (none and value is None)):
        known = "True, False or None" if none else "True or False"
        raise TypeError(f"{name} is {known}, not {in_short(value)}")


def check_choice(name: str, value: Any, known: Iterable[str]) -> None:
    """One of these strings."""
    names = [repr(one) for one in known]
    text = f"{', '.join(names[:-1])} or {names[-1]}"
    if not isinstance(value, str):
        raise TypeError(f"{name} is {text}, not {in_short(value)}")
    if repr(str(value)) not in names:
        raise ValueError(f"{name} is {text}, not {in_short(value)}")


def check_instance(name: str, value: Any, kind: type[Any], *, none: bool = True) -> None:
    """An instance of a class, or None."""
    if not (isinstance(value, kind) or (none and value is None)):
        module = kind.__module__.partition("._")[0]
        place = kind.__name__ if module == "builtins" else f"{module}.{kind.__name__}"
        raise TypeError(
            f"{name} is an instance of {place}{' or None' if none else ''}, not {in_short(value)}"
        )


def check_function(name: str, value: Any, *, none: bool = True, plain: bool = False) -> None:
    """A function, or None; `plain` allows no async one."""
    if plain and iscoroutinefunction(value):
        raise TypeError(f"{name} is a function without 'async', not {in_short(value)}")
    if not (callable(value) or (none and value is None)):
        raise TypeError(f"{name} is a function{' or None' if none else ''}, not {in_short(value)}")


def check_params(params: Any, get_params: Any) -> None:
    """Connection params, or the function that returns them."""
    check_function("get_params", get_params)
    if params is not None and get_params is not None:
        raise TypeError("give params or get_params, not both")


def awaitable_from(name: str, value: Awaitable[T]) -> Awaitable[T]:
    """What a user's async function returned; messages do not show it, it may be secret."""
    if not isawaitable(value):
        raise TypeError(f"{name} is an async function, not one that returns {type(value).__name__}")
    return value


# Headers


def is_http_token(text: str) -> bool:
    """Whether text is a token. (RFC 9110, section 5.6.2)"""
    return _HTTP_TOKEN.fullmatch(text) is not None


def is_header_value(text: str) -> bool:
    """Whether a header can carry text as it is: visible ASCII, blanks only inside."""
    return _HEADER_VALUE.fullmatch(text) is not None


def check_headers(headers: Any) -> tuple[tuple[str, str], ...]:
    """The pairs of a mapping of names to values; messages show no values."""
    if headers is None:
        return ()
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers are a mapping of names to values, not {type(headers).__name__}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers are strings: {in_short(name)} is not, or its value")
        if not is_http_token(name) or not is_header_value(value):
            raise ValueError(f"the header {in_short(name)} has characters that no header can carry")
    return tuple(headers.items())
