"""What is emitted on assets, as people and programs hand it over: `rowCount=5 fresh=true`, JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from streamgauge.asset_metrics import AssetValue, Emit
from streamgauge.cli.inputs import ParseTime, refuse_constant
from streamgauge.enums import AssetValueType

TYPES = [kind.value for kind in AssetValueType if kind is not AssetValueType.UNKNOWN]

_FIELDS = ("asset", "metrics", "time", "run_id")


def to_metrics(assignments: Iterable[str], types: Iterable[str]) -> dict[str, AssetValue]:
    """Returns the metrics of `name=value` and `name=type` arguments.

    The first `=` of a value divides, and the last of a type. Without a type the server guesses it from the text.
    ValueError says what is wrong.
    """
    values: dict[str, str] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f"{text!r} is not NAME=VALUE")
        if name in values:
            raise ValueError(f"{name} is given twice")
        values[name] = value
    kinds: dict[str, str] = {}
    for text in types:
        name, equals, kind = text.rpartition("=")
        if not equals or kind not in TYPES:
            raise ValueError(f"{text!r} is not NAME=TYPE with a TYPE of {', '.join(TYPES)}")
        if name not in values:
            raise ValueError(f"--type {text}: there is no {name}=VALUE")
        kinds[name] = kind
    return {name: AssetValue(value, kinds.get(name)) for name, value in values.items()}


def read_emits(lines: Iterable[str], parse_time: ParseTime) -> Iterator[Emit]:
    """Yields an emit for each line `{"asset", "metrics": {name: value}, "time", "run_id"}`.

    Only asset and metrics are required. A value is a number, a boolean, a text, or `{"value", "type"}`. ValueError
    names the line.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _from_document(json.loads(line, parse_constant=refuse_constant), parse_time)
        except ValueError as error:
            message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise ValueError(f"line {number}: {message}") from None


def _from_document(document: Any, parse_time: ParseTime) -> Emit:
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")
    if unknown := sorted(set(document) - set(_FIELDS)):
        raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(_FIELDS)}")
    for name in ("asset", "time", "run_id"):
        if not isinstance(document.get(name, ""), (str, type(None))):
            raise ValueError(f"`{name}` must be a text")
    if not document.get("asset"):
        raise ValueError("`asset` is missing")
    metrics = document.get("metrics")
    if not isinstance(metrics, dict) or not metrics:
        raise ValueError("`metrics` must be an object of metric names and values")
    time = document.get("time")
    return Emit(
        document["asset"],
        {name: _value(name, value) for name, value in metrics.items()},
        parse_time(time) if time else None,
        document.get("run_id") or "",
    )


def _value(name: str, given: Any) -> AssetValue:
    kind = None
    if isinstance(given, Mapping):
        if set(given) != {"value", "type"} or given["type"] not in TYPES:
            raise ValueError(f'the value of {name!r} must be {{"value", "type"}} with a type of {", ".join(TYPES)}')
        given, kind = given["value"], given["type"]
    if not isinstance(given, (bool, int, float, str)):
        raise ValueError(f"the value of {name!r} must be a number, a boolean or a text")
    if isinstance(given, int) and not -(2**63) <= given < 2**63:
        raise ValueError(f"the value of {name!r} does not fit into 64 bits")
    if isinstance(given, float) and not math.isfinite(given):
        raise ValueError(f"the value of {name!r} is not a finite number")
    return AssetValue(given, kind)
