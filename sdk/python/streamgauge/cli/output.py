"""Answers on the screen or for another program: a table, JSON, JSON lines or CSV.

A table is for people: it may round, shorten and draw. The other three are for programs: every digit, every microsecond,
nulls kept apart from zeros, times as ISO 8601 in UTC. Nothing but the answer goes to the standard output.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Any

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table as RichTable
from rich.text import Text

from streamgauge.cli import sparkline
from streamgauge.cli.times import format_time

PIPE_WIDTH = 100_000
"""Columns of a table that does not go to a terminal: nothing is folded or cut there."""


class Format(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Table:
    """What people see. Headers that begin with `>` are for numbers, set to the right."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    """Lines below the table: the range as resolved, what was not found."""
    below: Table | None = None
    """Another table, below the notes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer in its three shapes."""

    document: Any
    """The whole answer, for JSON."""
    fields: Sequence[str]
    """The names of the records' fields, in the order of the CSV columns."""
    records: Iterable[Mapping[str, Any]]
    """Flat records, for JSON lines and CSV."""
    table: Table = field(default_factory=lambda: Table((), ()))


def show(answer: Answer, format_: Format) -> None:
    """Prints an answer to the standard output."""
    match format_:
        case Format.JSON:
            print(json.dumps(plain(answer.document), indent=2, ensure_ascii=False, allow_nan=False))
        case Format.JSONL:
            for record in answer.records:
                print(json_line(record))
        case Format.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(answer.fields)
            writer.writerows([_cell(record.get(name)) for name in answer.fields] for record in answer.records)
        case Format.TABLE:
            _show_table(answer.table)


def json_line(record: Mapping[str, Any]) -> str:
    """Returns a record as one line of JSON."""
    return json.dumps(plain(record), ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """Returns a value as JSON has it: times as text, lengths in seconds, words of closed sets as words."""
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _cell(value: Any) -> str:
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return repr(value) if isinstance(value, float) else str(value)


def _show_table(table: Table) -> None:
    if sys.stdout.isatty():
        _print_table(table, Console(highlight=False))
        return
    piped = io.StringIO()
    _print_table(table, Console(file=piped, width=PIPE_WIDTH, highlight=False, color_system=None))
    for line in piped.getvalue().splitlines():
        print(line.rstrip())


def _print_table(table: Table, console: Console) -> None:
    if table.headers:
        grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
        for header in table.headers:
            justify: JustifyMethod = "right" if header.startswith(">") else "left"
            grid.add_column(header.lstrip(">"), justify=justify, overflow="fold")
        for row in table.rows:
            grid.add_row(*(Text(cell) for cell in row))
        console.print(grid)
    for note in table.notes:
        console.print(Text(note, style="dim"))
    if table.below is not None:
        console.print()
        _print_table(table.below, console)


def human(value: Any, unit: str = "") -> str:
    """Returns a value as people read it: thousands set apart, six digits of a fraction, `-` where there is none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return format_time(value.replace(microsecond=0)).replace("T", " ")
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, float):
        text = f"{value:,.6g}" if abs(value) < 1e15 else repr(value)
    elif isinstance(value, Mapping):
        text = ", ".join(f"{key}={item}" for key, item in value.items())
    else:
        text = str(value)
    return f"{text} {unit}" if unit in ("bytes", "milliseconds") and text else text


def trend(values: Sequence[Any]) -> str:
    """Returns the sparkline of numbers and booleans, in characters that the output can show; nothing for texts."""
    if any(isinstance(value, str) for value in values):
        return ""
    return sparkline.sparkline(values, ramp=sparkline.BLOCKS if can_show(sparkline.BLOCKS) else sparkline.ASCII)


def can_show(text: str) -> bool:
    """Whether the standard output has these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
