"""Floats as JSON that arrives unchanged.

RivetKit 2.3 reads JSON with serde_json, which multiplies or divides the digits by a power of ten in
floating point. That changes one in eight floats of 16 or 17 digits, and one in five integers
beyond 2**50 that end in ``.0``. Nearly every float has another text that arrives unchanged: an
integer and an exponent for which that one operation gives the float.
"""

from __future__ import annotations

import math

import msgspec

__all__ = ["exact_number"]

_POWERS = tuple(float(f"1e{exponent}") for exponent in range(309))
_DIGITS = 2**64
"""serde_json keeps the digits of a number in 64 bits."""


def exact_number(value: float) -> float | msgspec.Raw | None:
    """What msgspec has to write so that serde_json, and every exact reader, reads this float.

    Returns:
        The float itself if its usual text will do, a text, or None if there is no such text. 2 of
        1,000 random floats between 0 and 1 have none, and 2 of 100 of random bits.
    """
    text = repr(value)
    if len(text) <= 16 and "e" not in text:
        # At most 15 digits, which are exact, and one division by an exact power of ten.
        return value
    if not math.isfinite(value):
        return None
    sign = "-" if value < 0 else ""
    mantissa, _, power = text.removeprefix("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    digits, exponent = int(whole + fraction), int(power or 0) - len(fraction)
    size = abs(value)
    if _read(digits, exponent) == size:
        # msgspec writes these digits, too, but for what it adds to whole numbers.
        return value if fraction else msgspec.Raw(f"{sign}{digits}e{exponent}".encode())
    first = exponent + len(str(digits)) - 20
    numerator, denominator = size.as_integer_ratio()
    for exponent in range(first, first + 6):
        if exponent < 0:
            near = numerator * 10**-exponent / denominator
        else:
            near = numerator / (denominator * 10**exponent)
        for whole_number in (near, math.nextafter(near, 0), math.nextafter(near, math.inf)):
            if (
                _read(whole_number, exponent) == size
                and whole_number.is_integer()
                and whole_number < _DIGITS
            ):
                found = f"{int(whole_number)}e{exponent}"
                if float(found) == size:
                    return msgspec.Raw((sign + found).encode())
    return None


def _read(digits: float, exponent: int) -> float:
    """What serde_json makes of these digits with this exponent."""
    value = float(digits)
    while exponent < -308:
        value /= 1e308
        exponent += 308
    return value / _POWERS[-exponent] if exponent < 0 else value * _POWERS[min(exponent, 308)]
