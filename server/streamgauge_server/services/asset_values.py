"""Which type a metric of an asset has: asked for, declared, or guessed from the value.

The rules are those of JSON: a text is a number or a boolean only if it is exactly a JSON literal. So "50" is a number,
while "007", "+5", "1 " and "NaN" stay texts, and postcodes and codes survive.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from streamgauge_server.model.values import (
    INT64_MAX,
    INT64_MIN,
    AssetValueType,
    Scalar,
    ValueType,
    convert_lossless,
    type_of,
)

_NUMBER = re.compile(r"(?P<mantissa>-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?)(?P<exponent>[eE][+-]?[0-9]+)?")
"""A number as RFC 8259 writes it; ASCII digits only."""

_BOOLEANS = {"true": True, "false": False}
_MAX_INT64_CHARACTERS = len(str(INT64_MIN))

ASSET_TYPES = {
    ValueType.DOUBLE: AssetValueType.NUMBER,
    ValueType.INT64: AssetValueType.NUMBER,
    ValueType.NUMBER: AssetValueType.NUMBER,
    ValueType.BOOL: AssetValueType.BOOLEAN,
    ValueType.STRING: AssetValueType.STRING,
}
"""The type that a sample has, or a declared metric asks for; ANY asks for none."""

_OF_CLASS = {
    float: AssetValueType.NUMBER,
    int: AssetValueType.NUMBER,
    bool: AssetValueType.BOOLEAN,
    str: AssetValueType.STRING,
}
"""The type of a sample by that of its Python value, for hot loops."""

BEYOND_INT64 = (
    f"is an integer beyond 64 bits ({INT64_MIN} to {INT64_MAX}), which would be rounded: send it as a STRING, or as a "
    "number with a fraction or an exponent"
)


class Typed(NamedTuple):
    """A value as it is stored, its type, and whether that was guessed."""

    value: Scalar
    type: AssetValueType
    guessed: bool


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a value is refused.

    `of_type` tells that the fault is with the type that was asked for rather than with the value. `expected` and
    `actual` are the types in words; both are empty where no type is at fault.
    """

    problem: str
    expected: str = ""
    actual: str = ""
    of_type: bool = False


def asset_type_of(value: Scalar) -> AssetValueType:
    """Returns the type that a stored value has in answers."""
    return _OF_CLASS[type(value)]


def typed_value(value: Scalar, asked: AssetValueType | None, declared: ValueType) -> Typed | Mismatch:
    """Returns a value as its type, or why it has none.

    `asked` is the type that came with the value, `declared` that of the metric's descriptor: ANY where nobody has
    declared one. Numbers in texts become int64 where they are integers that fit, also when they are written with a
    fraction or an exponent (`1e3`), and doubles otherwise; `-0.0` keeps its sign and so stays a double. An integer
    without fraction and exponent beyond 64 bits is refused rather than rounded. Doubles are finite.
    """
    required = ASSET_TYPES.get(declared)
    if required is None:
        return _guessed(value) if asked is None else _as_type(value, asked, of_type=True)
    if asked is not None and asked != required:
        return Mismatch(
            f"must be {required.name}, as the metric is declared, is {asked.name}", required.name, asked.name, True
        )
    found = _as_type(value, required, of_type=asked is not None)
    if isinstance(found, Mismatch):
        return found
    stored = convert_lossless(found.value, declared)
    if stored is None:
        actual = type_of(found.value).name
        return Mismatch(
            f"must be {declared.name}, as the metric is declared, is {actual} and cannot be converted without loss",
            declared.name,
            actual,
        )
    return Typed(stored, found.type, False)


def _guessed(value: Scalar) -> Typed | Mismatch:
    if not isinstance(value, str):
        return Typed(value, _OF_CLASS[type(value)], True)
    if value in _BOOLEANS:
        return Typed(_BOOLEANS[value], AssetValueType.BOOLEAN, True)
    number = _number_in(value)
    if isinstance(number, Mismatch):
        return number
    if number is None:
        return Typed(value, AssetValueType.STRING, True)
    return Typed(number, AssetValueType.NUMBER, True)


def _as_type(value: Scalar, asked: AssetValueType, *, of_type: bool) -> Typed | Mismatch:
    actual = asset_type_of(value)
    if actual == asked:
        return Typed(value, asked, False)
    if isinstance(value, str):
        if asked == AssetValueType.BOOLEAN and value in _BOOLEANS:
            return Typed(_BOOLEANS[value], asked, False)
        if asked == AssetValueType.NUMBER:
            number = _number_in(value)
            if isinstance(number, Mismatch):
                return number
            if number is not None:
                return Typed(number, asked, False)
    shown = f"{value[:32]!r}{'...' if len(value) > 32 else ''}" if isinstance(value, str) else _json(value)
    if of_type:
        problem = f"is {asked.name}, which the value {shown} is not"
    else:
        problem = f"must be {asked.name}, as the metric is declared, is {shown}"
    return Mismatch(problem, asked.name, actual.name, of_type)


def _json(value: float | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _number_in(text: str) -> int | float | Mismatch | None:
    """Returns the number that a text is, None where it is none or would not be finite."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    if not (found["fraction"] or found["exponent"]):
        # Python does not convert integers of thousands of digits, and there is no need to.
        number = int(text) if len(text) <= _MAX_INT64_CHARACTERS else INT64_MAX + 1
        return number if INT64_MIN <= number <= INT64_MAX else Mismatch(BEYOND_INT64)
    double = float(text)
    if not math.isfinite(double):
        return None
    integer = _integer_in(text, found["mantissa"], double)
    return double if integer is None else integer


def _integer_in(text: str, mantissa: str, double: float) -> int | None:
    """Returns the int64 that a number with a fraction or an exponent is exactly, or None."""
    if double == 0:
        # Also of what is too small for a double. And there is no negative zero among integers.
        return None if mantissa.startswith("-") or mantissa.strip("0.") else 0
    if not 1 <= abs(double) <= 2.0**63:
        return None
    exact = Decimal(text)
    return int(exact) if exact == exact.to_integral_value() and INT64_MIN <= exact <= INT64_MAX else None
