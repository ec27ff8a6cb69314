"""Rows by long lists of keys of several columns, which travel as one JSON parameter."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    and_,
    bindparam,
    column,
    func,
    select,
)

from streamgauge_server.storage import tables


def select_by_keys(
    connection: Connection, columns: Sequence[ColumnElement[Any]], key: Sequence[Column[Any]], keys: Collection[Any]
) -> CursorResult[Any]:
    """Selects columns of those rows of a table whose `key` columns hold one of many combinations of values.

    An index on these columns is used for each combination. `IN` with tuples would not do: SQLite reads the whole table
    for it, and PostgreSQL plans one condition for each. Texts must not hold U+0000, which JSON has no room for.
    """
    asked = bindparam("asked", [list(values) for values in keys], type_=tables.Document)
    value = column("value", tables.Document)
    parts: list[ColumnElement[Any]]
    if connection.dialect.name == "sqlite":
        items = func.json_each(asked).table_valued(value)
        parts = [func.json_extract(items.c.value, f"$[{place}]") for place in range(len(key))]
    else:
        items = func.jsonb_array_elements(asked).table_valued(value)
        texts = [func.jsonb_extract_path_text(items.c.value, str(place)) for place in range(len(key))]
        parts = [
            text.cast(BigInteger) if each.type.python_type is int else text
            for each, text in zip(key, texts, strict=True)
        ]
    condition = and_(*(each == part for each, part in zip(key, parts, strict=True)))
    return connection.execute(select(*columns).select_from(items).join(key[0].table, condition))
