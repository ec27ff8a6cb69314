"""The layout as Parquet, by pyarrow: `streamgauge[parquet]`."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from streamgauge.files.runs import FIELDS, REQUIRED, TYPES, FileError, Run, RunKey, stretches

GROUP_ROWS = 1 << 20
"""Rows of a row group, about."""
_BATCH_ROWS = 1 << 16


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError("Parquet needs pyarrow: pip install 'streamgauge[parquet]'") from None
    return pyarrow


def schema() -> Any:
    """Returns the columns and their types."""
    pa = _pyarrow()
    word = pa.dictionary(pa.int32(), pa.string())
    moment = pa.timestamp("us", tz="UTC")
    types = {
        "subject": word,
        "part": word,
        "time": moment,
        "start_time": moment,
        "metric": word,
        "type": word,
        "double_value": pa.float64(),
        "int64_value": pa.int64(),
        "bool_value": pa.bool_(),
        "string_value": pa.string(),
    }
    return pa.schema([pa.field(name, types[name]) for name in FIELDS])


class ParquetWriter:
    """Writes runs into one file. `close` makes it a file; before that it is none."""

    def __init__(self, path: Path) -> None:
        pa = _pyarrow()
        self._pa = pa
        self._schema = schema()
        self._writer: Any = pa.parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._runs: list[Run] = []
        self._rows = 0
        self.written = 0
        """Rows in all."""

    def add(self, run: Run) -> None:
        """Takes a run."""
        self._runs.append(run)
        self._rows += len(run.times)
        self.written += len(run.times)
        if self._rows >= GROUP_ROWS:
            self._write()

    def close(self) -> None:
        """Writes what is left, and the footer."""
        try:
            if self._runs:
                self._write()
        finally:
            self._writer.close()

    def append(self, path: Path) -> None:
        """Takes over the rows of another file of this layout."""
        with self._pa.parquet.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                self._writer.write_table(file.read_row_group(group))

    def _write(self) -> None:
        pa, runs, rows = self._pa, self._runs, self._rows
        self._runs, self._rows = [], 0
        times = array("q")
        for run in runs:
            times.extend(run.times)
        moment = self._schema.field("time").type
        columns = {
            "subject": self._words([run.key.subject for run in runs], runs),
            "part": self._words([run.key.part for run in runs], runs),
            "time": pa.Array.from_buffers(moment, rows, [None, pa.py_buffer(times)]),
            "start_time": pa.chunked_array(
                [
                    pa.nulls(count, moment)
                    if start is None
                    else pa.Array.from_buffers(moment, count, [None, pa.py_buffer(array("q", (start,)) * count)])
                    for start, count in _lengths(runs, lambda run: run.key.start)
                ],
                moment,
            ),
            "metric": self._words([run.key.metric for run in runs], runs),
            "type": self._words([run.key.type for run in runs], runs),
        }
        for kind in TYPES:
            held = self._schema.field(f"{kind}_value").type
            chunks = [
                pa.array([value for run in some for value in run.values], held)
                if of == kind
                else pa.nulls(sum(len(run.times) for run in some), held)
                for of, some in ((of, list(some)) for of, some in groupby(runs, lambda run: run.key.type))
            ]
            columns[f"{kind}_value"] = pa.chunked_array(chunks, held)
        self._writer.write_table(pa.table([columns[name] for name in FIELDS], schema=self._schema))

    def _words(self, words: list[str], runs: list[Run]) -> Any:
        """Returns a dictionary column of one word per run."""
        pa = self._pa
        places = {word: place for place, word in enumerate(dict.fromkeys(words))}
        codes = array("i")
        for word, run in zip(words, runs, strict=True):
            codes.extend(array("i", (places[word],)) * len(run.times))
        return pa.DictionaryArray.from_arrays(
            pa.Array.from_buffers(pa.int32(), len(codes), [None, pa.py_buffer(codes)]),
            pa.array(list(places), pa.string()),
        )


def row_count(path: Path) -> int:
    """Returns how many rows a file has."""
    with _pyarrow().parquet.ParquetFile(path) as file:
        count: int = file.metadata.num_rows
    return count


def read_parquet(path: Path, skip: int = 0) -> Iterator[Run]:
    """Yields the rows of a file after the first `skip` ones. FileError."""
    pa = _pyarrow()
    try:
        with pa.parquet.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            if missing := set(REQUIRED) - names:
                raise FileError(f"there is no column {min(missing)!r}")
            if unknown := names - set(FIELDS):
                raise FileError(f"unknown column {min(unknown)!r}; known are {', '.join(FIELDS)}")
            yield from _runs(pa, file, skip)
    except pa.ArrowException as error:
        raise FileError(f"cannot read {path}: {error}") from None


def _runs(pa: Any, file: Any, skip: int) -> Iterator[Run]:
    row = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if row + rows <= skip:
            row += rows
            continue
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group]):
            first = min(max(skip - row, 0), batch.num_rows)
            if first < batch.num_rows:
                yield from _runs_of_batch(pa, batch.slice(first), row + first + 1)
            row += batch.num_rows


def _runs_of_batch(pa: Any, batch: Any, first_row: int) -> Iterator[Run]:
    held = {name: batch.column(name) for name in batch.schema.names}
    rows = batch.num_rows
    moment = pa.timestamp("us", tz="UTC")
    keys: list[list[Any]] = []
    for name in ("subject", "part", "start_time", "metric", "type"):
        column = held.get(name)
        if column is None:
            keys.append([None] * rows)
        elif name == "start_time":
            keys.append(_plain(column.cast(moment).cast(pa.int64()), "q"))
        else:
            keys.append(_words(pa, column))
    if held["time"].null_count:
        raise FileError(f"a row of {first_row} to {first_row + rows - 1} has no time")
    times = _plain(held["time"].cast(moment).cast(pa.int64()), "q")
    for line, begin, end in stretches(zip(*keys, strict=True)):
        subject, part, start, metric, kind = cast(tuple[Any, ...], line)
        if kind not in TYPES:
            raise FileError(f"row {first_row + begin}: type must be one of {', '.join(TYPES)}, is {kind!r}")
        column = held.get(f"{kind}_value")
        some = pa.nulls(end - begin) if column is None else column.slice(begin, end - begin)
        values = _plain(some.cast(_types(pa)[kind]), _CODES.get(kind))
        if some.null_count:
            raise FileError(f"row {first_row + begin + values.index(None)}: {kind}_value is empty")
        yield Run(
            RunKey(subject or "", part or "", start, metric or "", kind), times[begin:end], values, first_row + begin
        )


_CODES = {"double": "d", "int64": "q"}


def _types(pa: Any) -> dict[str, Any]:
    return {"double": pa.float64(), "int64": pa.int64(), "bool": pa.bool_(), "string": pa.string()}


def _plain(values: Any, code: str | None) -> list[Any]:
    """Returns the values of a column; numbers without gaps, whose type has a `code`, as they lie in memory."""
    if code is None or values.null_count:
        found: list[Any] = values.to_pylist()
        return found
    held = memoryview(values.buffers()[1]).cast("B").cast(code)  # type: ignore[call-overload]
    return list(held[values.offset : values.offset + len(values)])


def _words(pa: Any, column: Any) -> list[str | None]:
    """Returns a column of texts, each word once in memory."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    words = column.dictionary.to_pylist()
    if column.null_count:
        return [None if code is None else words[code] for code in column.indices.to_pylist()]
    return [words[code] for code in _plain(column.indices.cast(pa.int64()), "q")]


def _lengths(runs: Sequence[Run], of: Callable[[Run], Any]) -> Iterator[tuple[Any, int]]:
    """Yields what neighbours share, and how many rows they have."""
    for value, some in groupby(runs, of):
        yield value, sum(len(run.times) for run in some)
