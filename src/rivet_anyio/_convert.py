"""``type=``: values into the user's types."""

from __future__ import annotations

from typing import Any

import msgspec

from ._errors import ProtocolError

__all__ = ["convert"]


def convert(value: Any, type: Any, what: str) -> Any:
    """The value as `type`, by `msgspec.convert`; `Any` leaves it as it is.

    Raises:
        ProtocolError: when the value is not of this type; `what` says where it came from.
    """
    if type is Any:
        return value
    try:
        # Before 0.22, msgspec raises SystemError for an integer that is too large for a float.
        return msgspec.convert(value, type)
    except (msgspec.ValidationError, SystemError) as exc:
        raise ProtocolError(f"{what}: {exc}") from exc
