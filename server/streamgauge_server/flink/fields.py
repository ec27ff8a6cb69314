"""Reads fields of JSON answers: what is missing, of another type or out of range is absent and never an error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1

JsonObject = Mapping[str, Any]


class MalformedAnswer(ValueError):
    """An answer lacks what makes it that answer, so that it cannot be from Flink."""


def object_of(answer: object, what: str) -> JsonObject:
    """Returns an answer that must be an object.

    Raises:
        MalformedAnswer: it is something else.
    """
    if not isinstance(answer, dict):
        raise MalformedAnswer(f"{what} is not an object")
    return answer


def list_of(answer: object, what: str) -> list[Any]:
    """Returns an answer that must be a list.

    Raises:
        MalformedAnswer: it is something else.
    """
    if not isinstance(answer, list):
        raise MalformedAnswer(f"{what} is not a list")
    return answer


def member(fields: JsonObject, key: str) -> JsonObject:
    """Returns an object inside an object, an empty one when it is missing."""
    value = fields.get(key)
    return value if isinstance(value, dict) else {}


def members(fields: JsonObject, key: str) -> list[JsonObject]:
    """Returns the objects of a list inside an object."""
    value = fields.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def text(fields: JsonObject, key: str) -> str:
    """Returns a text, empty when it is missing, as every store and message can hold it."""
    value = fields.get(key)
    return storable(value) if isinstance(value, str) else ""


def storable(value: str) -> str:
    r"""Returns a text without NUL, which PostgreSQL cannot store, and without lone surrogates, which UTF-8 cannot."""
    value = value.replace("\0", "")
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode()
    return value


def integer(fields: JsonObject, key: str) -> int | None:
    """Returns an integer of 64 bits, also of a float without a fraction, or None."""
    return as_integer(fields.get(key))


def as_integer(value: object) -> int | None:
    """Returns a JSON number as an integer of 64 bits, or None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        return None
    return int(value) if MIN_INT64 <= value <= MAX_INT64 else None


def moment(fields: JsonObject, key: str) -> int | None:
    """Returns milliseconds since 1970. Flink writes -1 or 0 for what has not been yet: those are None."""
    value = integer(fields, key)
    return value if value is not None and value > 0 else None


def duration(fields: JsonObject, key: str) -> int | None:
    """Returns milliseconds; -1 is Flink's way to say that there are none."""
    value = integer(fields, key)
    return value if value is not None and value >= 0 else None
