"""The layout as CSV and as JSON lines. Doubles are written with as many digits as tell them apart from every other."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

from streamgauge.enums import Scalar
from streamgauge.files.moments import Micros, Texts
from streamgauge.files.runs import FIELDS, KEYS, REQUIRED, TYPES, FileError, Run, RunKey, stretches

HEADER = ",".join(FIELDS) + "\r\n"
"""The first line of a CSV file. Lines end as RFC 4180 says, which makes both CR and LF in texts safe."""

_AT_ONCE = 1_000
"""Rows that are read at once."""
_BEFORE = {kind: "," * place for place, kind in enumerate(("double", "int64", "bool", "string"))}
_AFTER = {kind: "," * (3 - place) + "\r\n" for place, kind in enumerate(_BEFORE)}
_MUST_QUOTE = frozenset(',"\r\n')


class CsvWriter:
    """Runs as lines of CSV."""

    def __init__(self) -> None:
        self._moments = Texts()

    def head(self) -> str:
        """Returns what a file begins with."""
        return HEADER

    def lines(self, run: Run) -> str:
        """Returns the rows of a run."""
        key = run.key
        head = f"{_quoted(key.subject)},{_quoted(key.part)},"
        start = "" if key.start is None else self._moments[key.start]
        middle = f",{start},{_quoted(key.metric)},{key.type},{_BEFORE[key.type]}"
        tail = _AFTER[key.type]
        texts = _cells(key.type)(run.values)
        return "".join(
            [
                f"{head}{time}{middle}{text}{tail}"
                for time, text in zip(map(self._moments.__getitem__, run.times), texts, strict=True)
            ]
        )


class JsonWriter:
    """Runs as lines of JSON."""

    def __init__(self) -> None:
        self._moments = Texts()

    def head(self) -> str:
        """Returns what a file begins with."""
        return ""

    def lines(self, run: Run) -> str:
        """Returns the rows of a run."""
        key = run.key
        head = f'{{"subject":{_json(key.subject)},"part":{_json(key.part)},"time":"'
        start = "" if key.start is None else f'"start_time":"{self._moments[key.start]}",'
        middle = f'",{start}"metric":{_json(key.metric)},"type":"{key.type}","{key.type}_value":'
        texts = map(_json, run.values) if key.type == "string" else _cells(key.type)(run.values)
        return "".join(
            [
                f"{head}{time}{middle}{text}}}\n"
                for time, text in zip(map(self._moments.__getitem__, run.times), texts, strict=True)
            ]
        )


def read_csv(lines: Iterable[str], skip: int = 0) -> Iterator[Run]:
    """Yields the rows of CSV after the first `skip` ones; the first line names the columns. FileError."""
    reader = csv.reader(lines, strict=True)
    try:
        places = _places(next(reader, []))
        rows: Iterator[list[str]] = filter(None, reader)
        if len(list(islice(rows, skip))) < skip:
            return
        moments, first = Micros(), skip + 1
        while some := list(islice(rows, _AT_ONCE)):
            yield from _csv_runs(some, places, moments, first)
            first += len(some)
    except csv.Error as error:
        raise FileError(f"line {reader.line_num}: {error}") from None


def _places(header: list[str]) -> list[int | None]:
    """Returns where the columns of the layout stand, None for what a file does without; last how many there are."""
    if unknown := set(header) - set(FIELDS):
        raise FileError(f"line 1: unknown column {min(unknown)!r}; known are {', '.join(FIELDS)}")
    if missing := set(REQUIRED) - set(header):
        raise FileError(f"line 1: there is no column {min(missing)!r}")
    if len(set(header)) != len(header):
        raise FileError("line 1: a column is named twice")
    return [*(header.index(name) if name in header else None for name in FIELDS), len(header)]


def _csv_runs(rows: Sequence[list[str]], places: Sequence[int | None], moments: Micros, first: int) -> Iterator[Run]:
    count = places[-1]
    for number, row in enumerate(rows, first):
        if len(row) != count:
            raise FileError(f"row {number}: has {len(row)} cells, the header {count}")
    cells = list(zip(*rows, strict=True))
    columns = [cells[place] if place is not None else ("",) * len(rows) for place in places[:-1]]
    yield from _runs(columns, moments, first, _PARSERS)


_Parse = Callable[[Any], Scalar]


def _runs(
    columns: Sequence[Sequence[Any]], moments: Micros, first: int, parsers: Mapping[str, _Parse]
) -> Iterator[Run]:
    """Yields the runs of rows, given as the columns of the layout; the first row has the number `first`."""
    subjects, parts, times, starts, metrics, kinds = columns[: len(KEYS)]
    values = dict(zip(TYPES, columns[len(KEYS) :], strict=True))
    for key, begin, end in stretches(zip(subjects, parts, starts, metrics, kinds, strict=True)):
        subject, part, start, metric, kind = cast(tuple[str, str, str, str, str], key)
        try:
            if kind not in parsers:
                raise ValueError(f"type must be one of {', '.join(TYPES)}, is {kind!r}")
            run = RunKey(subject, part or "", moments[start] if start else None, metric, kind)
            try:
                yield Run(
                    run,
                    list(map(moments.__getitem__, times[begin:end])),
                    list(map(parsers[kind], values[kind][begin:end])),
                    first + begin,
                )
            except (ValueError, TypeError):
                for begin in range(begin, end):  # noqa: B020  # the row to name
                    moments[times[begin]]
                    parsers[kind](values[kind][begin])
                raise
        except (ValueError, TypeError) as error:
            raise FileError(f"row {first + begin}: {error}") from None


def read_json_lines(lines: Iterable[str], skip: int = 0) -> Iterator[Run]:
    """Yields the rows of JSON lines after the first `skip` ones. FileError."""
    given = (line for line in lines if not line.isspace())
    if len(list(islice(given, skip))) < skip:
        return
    moments, first = Micros(), skip + 1
    while some := list(islice(given, _AT_ONCE)):
        documents = _documents(some, first)
        columns = [[document.get(name) for document in documents] for name in FIELDS]
        for name, column in zip(KEYS, columns, strict=False):
            if not {type(text) for text in column} <= ({str} if name in REQUIRED else {str, type(None)}):
                row = next(place for place, text in enumerate(column) if not isinstance(text, str))
                raise FileError(f"row {first + row}: {name} must be a text")
        yield from _runs(columns, moments, first, _CHECKS)
        first += len(some)


def _documents(lines: Sequence[str], first: int) -> list[dict[str, Any]]:
    """Returns the objects of lines; they are decoded as one text, and line by line only where something is wrong."""
    try:
        found: list[Any] = _decode_json(f"[{','.join(lines)}]")
        if len(found) == len(lines) and all(type(one) is dict and _KNOWN.issuperset(one) for one in found):
            return found
    except ValueError:
        found = []
    for row, line in enumerate(lines, first):
        try:
            document = _decode_json(line)
        except ValueError as error:
            message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            raise FileError(f"row {row}: {message}") from None
        if not isinstance(document, dict):
            raise FileError(f"row {row}: is not a JSON object")
        if unknown := document.keys() - _KNOWN:
            raise FileError(f"row {row}: unknown key {min(unknown)!r}; known are {', '.join(FIELDS)}")
        found.append(document)
    return found


_KNOWN = frozenset(FIELDS)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


_decode_json = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _json_double(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise ValueError("double_value must be a number")
    return float(value)


def _json_int(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("int64_value must be an integer")
    return _fitting(value)


def _json_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("bool_value must be true or false")
    return value


def _json_text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("string_value must be a text")
    return value


_CHECKS: dict[str, _Parse] = {"double": _json_double, "int64": _json_int, "bool": _json_bool, "string": _json_text}


def _fitting(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"int64_value does not fit into 64 bits: {value}")
    return value


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
    return _fitting(int(text))


def _parse_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"bool_value must be true or false, is {text!r}")
    return text == "true"


_PARSERS: dict[str, _Parse] = {"double": _parse_double, "int64": _parse_int, "bool": _parse_bool, "string": str}
