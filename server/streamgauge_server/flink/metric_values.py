"""Answers of the metric endpoints: names, values as texts, aggregates over subtasks."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from streamgauge_server.flink import fields

_INTEGER = re.compile(r"-?[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A metric over all subtasks of a vertex. Doubles: integers are exact up to 2^53. None is no number."""

    min: float | None
    max: float | None
    sum: float | None


def parse_names(answer: object) -> frozenset[str]:
    """Reads the ids of metrics that exist.

    Raises:
        MalformedAnswer: it is no list.
    """
    return frozenset(_ids(answer))


def parse_values(answer: object) -> dict[str, str]:
    """Reads values by metric id, as the texts that Flink sends. Ids that it does not know are missing.

    Raises:
        MalformedAnswer: it is no list.
    """
    return {
        id: fields.storable(value) for id, entry in _ids(answer).items() if isinstance(value := entry.get("value"), str)
    }


def parse_aggregates(answer: object) -> dict[str, Aggregate]:
    """Reads aggregates by metric name; empty if Flink does not know one of the names that it was asked for.

    Raises:
        MalformedAnswer: it is no list.
    """
    return {
        id: Aggregate(finite(entry.get("min")), finite(entry.get("max")), finite(entry.get("sum")))
        for id, entry in _ids(answer).items()
    }


def finite(value: object) -> float | None:
    """Returns a number, also of a text; None for NaN, infinities and what is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def whole(value: str) -> int | None:
    """Returns an integer of 64 bits out of a text, None for everything else."""
    if not _INTEGER.fullmatch(value):
        return None
    number = int(value)
    return number if fields.MIN_INT64 <= number <= fields.MAX_INT64 else None


def _ids(answer: object) -> Mapping[str, fields.JsonObject]:
    entries = fields.list_of(answer, "the answer about metrics")
    return {id: entry for entry in entries if isinstance(entry, dict) and (id := fields.text(entry, "id"))}
