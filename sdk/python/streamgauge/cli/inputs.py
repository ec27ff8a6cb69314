"""What is written, as people and programs hand it over: `rows=5 lag=1.5`, JSON lines, CSV."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from streamgauge.enums import Scalar
from streamgauge.observations import Observation

ParseTime: TypeAlias = Callable[[str], datetime]

_INTEGER = re.compile(r"[+-]?\d+")
_FLOAT = re.compile(r"[+-]?(\d+\.\d*|\.?\d+)([eE][+-]?\d+)?")
_FIELDS = ("subject", "part", "time", "start_time")


def parse_scalar(text: str) -> Scalar:
    """Returns the value that a text means: `5` an integer, `5.0` a double, `true` and `false` booleans, else text.

    Quotes make a text of anything: `"5"`. ValueError for a number that is not finite or an integer beyond 64 bits.
    """
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        number = int(text)
        if not -(2**63) <= number < 2**63:
            raise ValueError(f"{text} does not fit into 64 bits")
        return number
    if _FLOAT.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(f"{text} is not a finite number")
        return value
    if len(text) >= 2 and text[0] == text[-1] == '"':
        try:
            unquoted = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{text}: {error.msg}") from None
        return str(unquoted)
    return text


def parse_assignment(text: str) -> tuple[str, Scalar]:
    """Returns metric and value of `metric=value`; the first `=` divides. ValueError says what is wrong."""
    metric, equals, value = text.partition("=")
    if not equals or not metric:
        raise ValueError(f"{text!r} is not metric=value")
    return metric, parse_scalar(value)


def read_json_lines(lines: Iterable[str], parse_time: ParseTime) -> Iterator[Observation]:
    """Yields an observation for each line `{"subject", "values": {metric: value}, "time", "part", "start_time"}`.

    Only subject and values are required. ValueError names the line.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line, parse_constant=refuse_constant)
            yield _from_document(document, parse_time)
        except ValueError as error:
            message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise ValueError(f"line {number}: {message}") from None


def read_csv(lines: Iterable[str], parse_time: ParseTime) -> Iterator[Observation]:
    """Yields an observation for each row.

    The first row names the columns: `subject`, and optionally `part`, `time`, `start_time`; every other column is a
    metric. An empty cell is no value. ValueError names the line.
    """
    reader = csv.reader(lines)
    header = next(reader, [])
    if "subject" not in header:
        raise ValueError("line 1: the first line must name the columns, one of them `subject`")
    if len(set(header)) != len(header):
        raise ValueError("line 1: a column is named twice")
    for row in reader:
        if not row:
            continue
        try:
            if len(row) != len(header):
                raise ValueError(f"has {len(row)} cells, the header {len(header)}")
            cells = {name: cell for name, cell in zip(header, row, strict=True) if cell}
            values = {name: parse_scalar(cell) for name, cell in cells.items() if name not in _FIELDS}
            yield _observation({**{name: cells.get(name) for name in _FIELDS}, "values": values}, parse_time)
        except ValueError as error:
            raise ValueError(f"line {reader.line_num}: {error}") from None


def _from_document(document: Any, parse_time: ParseTime) -> Observation:
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")
    if unknown := sorted(set(document) - {*_FIELDS, "values"}):
        raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(_FIELDS)}, values")
    values = document.get("values")
    if not isinstance(values, dict):
        raise ValueError("`values` must be an object of metric names and values")
    for metric, value in values.items():
        if not isinstance(value, (bool, int, float, str)):
            raise ValueError(f"the value of {metric!r} must be a number, a boolean or a text")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError(f"the value of {metric!r} does not fit into 64 bits")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"the value of {metric!r} is not a finite number")
    for name in _FIELDS:
        if not isinstance(document.get(name, ""), (str, type(None))):
            raise ValueError(f"`{name}` must be a text")
    return _observation(document, parse_time)


def _observation(fields: Mapping[str, Any], parse_time: ParseTime) -> Observation:
    if not fields.get("subject"):
        raise ValueError("`subject` is missing")
    if not fields["values"]:
        raise ValueError("there is no value")
    time, start_time = fields.get("time"), fields.get("start_time")
    return Observation(
        fields["subject"],
        fields["values"],
        time=parse_time(time) if time else None,
        part=fields.get("part") or "",
        start_time=parse_time(start_time) if start_time else None,
    )


def refuse_constant(name: str) -> float:
    """Refuses what JSON has no number for: `NaN`, `Infinity`."""
    raise ValueError(f"{name} is not a finite number")
