"""The layout as CSV and as JSON lines. Doubles are written with as many digits as tell them apart from every other."""

from __future__ import annotations

import csv
import json
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from streamgauge.enums import Scalar
from streamgauge.files.moments import Moments
from streamgauge.files.runs import FIELDS, KEYS, FileError, Run, RunKey, RunReader

HEADER = ",".join(FIELDS) + "\r\n"
"""The first line of a CSV file. Lines end as RFC 4180 says, which makes both CR and LF in texts safe."""

_BEFORE = {kind: "," * place for place, kind in enumerate(("double", "int64", "bool", "string"))}
_AFTER = {kind: "," * (3 - place) + "\r\n" for place, kind in enumerate(_BEFORE)}
_MUST_QUOTE = frozenset(',"\r\n')


class CsvWriter:
    """Runs as lines of CSV."""

    def __init__(self) -> None:
        self._moments = Moments()

    def head(self) -> str:
        """Returns what a file begins with."""
        return HEADER

    def lines(self, run: Run) -> str:
        """Returns the rows of a run."""
        key = run.key
        head = f"{_quoted(key.subject)},{_quoted(key.part)},"
        start = "" if key.start is None else self._moments.texts([key.start])[0]
        middle = f",{start},{_quoted(key.metric)},{key.type},{_BEFORE[key.type]}"
        tail = _AFTER[key.type]
        texts = _cells(key.type)(run.values)
        return "".join(
            [
                f"{head}{time}{middle}{text}{tail}"
                for time, text in zip(self._moments.texts(run.times), texts, strict=True)
            ]
        )


class JsonWriter:
    """Runs as lines of JSON."""

    def __init__(self) -> None:
        self._moments = Moments()

    def head(self) -> str:
        """Returns what a file begins with."""
        return ""

    def lines(self, run: Run) -> str:
        """Returns the rows of a run."""
        key = run.key
        head = f'{{"subject":{_json(key.subject)},"part":{_json(key.part)},"time":"'
        start = "" if key.start is None else f'"start_time":"{self._moments.texts([key.start])[0]}",'
        middle = f'",{start}"metric":{_json(key.metric)},"type":"{key.type}","{key.type}_value":'
        texts = map(_json, run.values) if key.type == "string" else _cells(key.type)(run.values)
        return "".join(
            [
                f"{head}{time}{middle}{text}}}\n"
                for time, text in zip(self._moments.texts(run.times), texts, strict=True)
            ]
        )


def read_csv(lines: Iterable[str], skip: int = 0) -> Iterator[Run]:
    """Yields the rows of CSV after the first `skip` ones; the first line names the columns. FileError."""
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        columns = _columns(header)
        rows = (row for row in reader if row)
        for _ in range(skip):
            if next(rows, None) is None:
                return
        yield from _read(map(columns, rows), skip)
    except csv.Error as error:
        raise FileError(f"line {reader.line_num}: {error}") from None


def _columns(header: list[str]) -> Callable[[list[str]], tuple[str, ...]]:
    """Returns what takes the cells of the layout out of a row, whatever the order of its columns."""
    if unknown := set(header) - set(FIELDS):
        raise FileError(f"line 1: unknown column {min(unknown)!r}; known are {', '.join(FIELDS)}")
    if missing := {"subject", "time", "metric", "type"} - set(header):
        raise FileError(f"line 1: there is no column {min(missing)!r}")
    if len(set(header)) != len(header):
        raise FileError("line 1: a column is named twice")
    count = len(header)
    places = [header.index(name) if name in header else count for name in FIELDS]
    pick = operator.itemgetter(*places)

    def cells(row: list[str]) -> tuple[str, ...]:
        if len(row) != count:
            raise ValueError(f"has {len(row)} cells, the header {count}")
        row.append("")
        found: tuple[str, ...] = pick(row)
        return found

    return cells


def _read(rows: Iterator[tuple[str, ...]], skip: int) -> Iterator[Run]:
    """Yields the runs of rows in the order of the layout's columns, given as texts."""
    moments = Moments()
    runs = RunReader(skip + 1)
    last: tuple[str, ...] = ()
    key = RunKey("", "", None, "", "")
    parse: Callable[[str], Scalar] = str
    place = 0
    while True:
        try:
            row = next(rows, None)
            if row is None:
                break
            subject, part, time, start, metric, kind = row[:6]
            if (subject, part, start, metric, kind) != last:
                if kind not in _PARSERS:
                    raise ValueError(f"type must be one of {', '.join(_PARSERS)}, is {kind!r}")
                key = RunKey(subject, part, moments.micros(start) if start else None, metric, kind)
                last = (subject, part, start, metric, kind)
                parse, place = _PARSERS[kind]
            if kind != "string" and not row[place]:
                raise ValueError(f"{FIELDS[place]} is empty")
            done = runs.add(key, moments.micros(time), parse(row[place]))
        except ValueError as error:
            raise FileError(f"row {runs.row}: {error}") from None
        if done is not None:
            yield done
    if (rest := runs.rest()) is not None:
        yield rest


def read_json_lines(lines: Iterable[str], skip: int = 0) -> Iterator[Run]:
    """Yields the rows of JSON lines after the first `skip` ones. FileError."""
    moments = Moments()
    runs = RunReader(skip + 1)
    given = (line for line in lines if not line.isspace())
    for _ in range(skip):
        if next(given, None) is None:
            return
    load = json.JSONDecoder(parse_constant=_refuse_constant).decode
    for line in given:
        try:
            document = load(line)
            if not isinstance(document, dict):
                raise ValueError("is not a JSON object")
            if not _KNOWN.issuperset(document):
                raise ValueError(f"unknown key {min(document.keys() - _KNOWN)!r}; known are {', '.join(FIELDS)}")
            key, time = _key(document, moments)
            done = runs.add(key, time, _json_value(document, key.type))
        except ValueError as error:
            message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise FileError(f"row {runs.row}: {message}") from None
        if done is not None:
            yield done
    if (rest := runs.rest()) is not None:
        yield rest


_KNOWN = frozenset(FIELDS)


def _key(document: dict[str, Any], moments: Moments) -> tuple[RunKey, int]:
    texts = [document.get(name) or "" for name in KEYS]
    for name, text in zip(KEYS, texts, strict=True):
        if not isinstance(text, str):
            raise ValueError(f"{name} must be a text")
    subject, part, time, start, metric, kind = texts
    if kind not in _PARSERS:
        raise ValueError(f"type must be one of {', '.join(_PARSERS)}, is {kind!r}")
    return RunKey(subject, part, moments.micros(start) if start else None, metric, kind), moments.micros(time)


def _json_value(document: dict[str, Any], kind: str) -> Scalar:
    value: Any = document.get(f"{kind}_value")
    if kind == "double" and type(value) is int:
        return float(value)
    if not isinstance(value, (float, int, str)) or type(value) is not _PYTHON[kind]:
        raise ValueError(f"{kind}_value must be a {_PYTHON[kind].__name__}")
    return _check_int(value) if kind == "int64" else value  # type: ignore[arg-type]  # it is one


def _check_int(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"int64_value does not fit into 64 bits: {value}")
    return value


_PYTHON: dict[str, type] = {"double": float, "int64": int, "bool": bool, "string": str}


def _quoted(text: str) -> str:
    if _MUST_QUOTE.isdisjoint(text):
        return text
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def _json(value: Any) -> str:
    return _encode_json(value)


_encode_json = json.JSONEncoder(ensure_ascii=False).encode


def _cells(kind: str) -> Callable[[Iterable[Scalar]], Iterable[str]]:
    """Returns what makes texts of values of a type."""
    return _TEXTS[kind]


_TEXTS: dict[str, Callable[[Iterable[Any]], Iterable[str]]] = {
    "double": lambda values: map(repr, values),
    "int64": lambda values: map(str, values),
    "bool": lambda values: ["true" if value else "false" for value in values],
    "string": lambda values: map(_quoted, values),
}


def _parse_double(text: str) -> float:
    if "_" in text:
        raise ValueError(f"{text!r} is no number")
    return float(text)


def _parse_int(text: str) -> int:
    if "_" in text:
        raise ValueError(f"{text!r} is no integer")
    return _check_int(int(text))


def _parse_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"bool_value must be true or false, is {text!r}")
    return text == "true"


_PARSERS: dict[str, tuple[Callable[[str], Any], int]] = {
    "double": (_parse_double, FIELDS.index("double_value")),
    "int64": (_parse_int, FIELDS.index("int64_value")),
    "bool": (_parse_bool, FIELDS.index("bool_value")),
    "string": (str, FIELDS.index("string_value")),
}
"""How the text of a value of each type is read, and in which column it stands."""


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")
