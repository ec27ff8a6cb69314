"""What a copy of a store consists of: the tables in their order, how their rows are told apart and compared."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from sqlalchemy import JSON, Boolean, Table

from streamgauge_server.storage import tables
from streamgauge_server.storage.urls import Engine
from streamgauge_server.timeseries.envelope import BlockCorrupt, unseal

CopiedRow = tuple[Any, ...]

_OF_THE_STORE = frozenset({"block_log", "positions"})
"""Tables about positions in the log of one database: another one begins anew."""
_OF_THE_DATABASE = frozenset({("blocks", "transaction_id")})
"""Columns that mean something in one database only."""
_SEALED = {
    "blocks": ("day_summary", "hour_summary", "data"),
    "latest": ("samples",),
    "figures": ("data",),
}
"""Columns with a checksum of their own."""
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """A table of a copy: its columns, in which order rows are read, and who gives numbers out."""

    table: Table
    columns: Sequence[str]
    key: Sequence[str]
    counter: str | None

    @property
    def name(self) -> str:
        """The name of the table."""
        return str(self.table.name)

    def of_type(self, kind: type) -> list[int]:
        """Returns the places of the columns of a type."""
        return [place for place, name in enumerate(self.columns) if isinstance(self.table.c[name].type, kind)]


def copied_tables(source: Engine) -> list[CopiedTable]:
    """Returns the tables to copy, those first that others refer to; rows are read in the order that is cheapest."""
    found: list[CopiedTable] = []
    for table in tables.metadata.sorted_tables:
        if table.name in _OF_THE_STORE:
            continue
        columns = [column.name for column in table.columns if (table.name, column.name) not in _OF_THE_DATABASE]
        counter = next((column.name for column in table.columns if column.identity is not None), None)
        key = [column.name for column in table.primary_key]
        if table.name == "blocks":
            key = ["seq"] if source == "sqlite" else ["subject_id", "day", "seq"]
        found.append(CopiedTable(table, columns, key or ["id"], counter))
    return found


@dataclass(slots=True)
class Tally:
    """Rows of a table, added up in any order: how many, a sum of their hashes, how many bytes."""

    rows: int = 0
    checksum: int = 0
    bytes: int = 0

    def add(self, other: Tally) -> None:
        """Adds other rows of the table."""
        self.rows += other.rows
        self.checksum = (self.checksum + other.checksum) & _MASK
        self.bytes += other.bytes

    def same_rows(self, other: Tally) -> bool:
        """Tells whether both are of the same rows, but for chances of one in 2**64."""
        return (self.rows, self.checksum) == (other.rows, other.checksum)


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row with bytes whose checksum does not match: which table, its key, and the column."""

    table: str
    key: tuple[Any, ...]
    column: str


@dataclass(slots=True)
class Batch:
    """Rows of a table on their way, with their tally and what of them is damaged."""

    rows: list[CopiedRow]
    last_key: tuple[Any, ...]
    tally: Tally
    damaged: list[DamagedRow] = field(default_factory=list)


class RowReader:
    """Brings rows of one engine into the form in which they are compared, and that another engine takes.

    JSON is text, as `json.dumps` writes it, which is what SQLite keeps; truth is `bool`.
    """

    def __init__(self, copied: CopiedTable) -> None:
        self._copied = copied
        self._changes: list[tuple[int, Callable[[Any], Any]]] = [
            *[(place, bool) for place in copied.of_type(Boolean)],
            *[(place, _document) for place in copied.of_type(JSON)],
        ]
        self._key = [copied.columns.index(name) for name in copied.key]
        self._sealed = [copied.columns.index(name) for name in _SEALED.get(copied.name, ())]

    def batch(self, rows: Iterable[Sequence[Any]]) -> Batch:
        """Returns rows as they are copied, in the same order; at least one."""
        taken: list[CopiedRow] = []
        tally = Tally()
        damaged: list[DamagedRow] = []
        for row in rows:
            values = list(row)
            for place, change in self._changes:
                if values[place] is not None:
                    values[place] = change(values[place])
            damaged += [
                DamagedRow(self._copied.name, self._key_of(values), self._copied.columns[place])
                for place in self._sealed
                if values[place] and not _is_sound(values[place])
            ]
            content = _canonical(values)
            tally.rows += 1
            tally.bytes += len(content)
            tally.checksum += int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
            taken.append(tuple(values))
        tally.checksum &= _MASK
        return Batch(taken, self._key_of(taken[-1]), tally, damaged)

    def _key_of(self, row: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(row[place] for place in self._key)


def _is_sound(data: bytes) -> bool:
    try:
        unseal(data)
    except BlockCorrupt:
        return False
    return True


def _document(text: Any) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


def _canonical(values: Sequence[Any]) -> bytes:
    """Returns bytes that are equal for equal rows and for no others."""
    parts: list[bytes] = []
    for value in values:
        if value is None:
            parts.append(b"n")
            continue
        if isinstance(value, bytes):
            kind, content = b"b", value
        elif isinstance(value, str):
            kind, content = b"s", value.encode("utf-8", "surrogatepass")
        elif isinstance(value, float):
            kind, content = b"f", struct.pack("<d", value)
        else:
            kind, content = b"i", b"%d" % value
        parts += (kind, len(content).to_bytes(4, "little"), content)
    return b"".join(parts)
