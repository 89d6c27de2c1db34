"""Python objects as the plain values that travel, by their declared types."""

from __future__ import annotations

from typing import Any

import msgspec

from .._convert import Converter, Misfit, converter_for
from ..protocol.objects import UNDEFINED
from ..protocol.values import COMPAT_CBOR, prepare

__all__ = ["Plain", "Unresolved", "check_type"]


_SCALARS = (int, str, float, bool)

_SECRET_FORM = msgspec.structs.replace(COMPAT_CBOR, secret=True)


class Plain:
    """Checks values of one type, and converts them to what travels.

    Args:
        type: The annotation; `Any` lets every value through as it is.
        place: Where it stands, for messages.
        secret: Whether values are connection params: they travel as JSON, and no text repeats them.
    """

    def __init__(self, type: Any, place: str, *, secret: bool = False) -> None:
        self._type = type
        self._place = place
        self._secret = secret
        self._converter: Converter | None = None

    def check(self) -> None:
        """Raise `TypeError` for a type that cannot be checked, `Unresolved` for one not yet."""
        if self._converter is None:
            self._converter = check_type(self._type, self._place)

    def __call__(self, value: Any, what: str) -> Any:
        """The value as it travels; `UNDEFINED` is of every type.

        Raises:
            TypeError: it is not of this type, or has no form; `what` says what the value is.
        """
        wanted = self._type
        if wanted is Any or (wanted in _SCALARS and type(value) is wanted) or value is UNDEFINED:
            return value
        self.check()
        assert self._converter is not None
        try:
            return self._converter.dump(value, not self._secret)
        except Misfit as exc:
            if self._secret:
                raise TypeError(f"{what}: {exc.secretly}") from None
            raise TypeError(f"{what}: {exc}") from exc.__cause__
        except (TypeError, ValueError, RecursionError) as exc:
            # msgspec does not say where in the value it was.
            prepare(value, _SECRET_FORM if self._secret else COMPAT_CBOR, what)
            raise TypeError(f"{what}: {exc}") from (None if self._secret else exc)


class Unresolved(TypeError):
    """An annotation names what is not there at run time, or not yet."""


def check_type(type: Any, what: str) -> Converter | None:
    """What converts a type that stands at `what`; None for `Any`.

    Raises:
        TypeError: nothing can.
        Unresolved: it names what is not there yet.
    """
    if type is Any:
        return None
    try:
        return converter_for(type)
    except NameError as exc:
        raise Unresolved(f"{what}: {exc}") from exc
    except TypeError as exc:
        raise TypeError(f"{what}: {exc}") from exc
