"""Moving figures with the records, in the same transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, delete, select

from streamgauge_server.model.metric_types import ALL_CHOICES, FigureType, Span
from streamgauge_server.storage import tables
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.figure_records import figures_of_hours
from streamgauge_server.storage.key_lists import select_by_keys
from streamgauge_server.storage.upserts import upsert
from streamgauge_server.timeseries.counting import HOURS_PER_DAY, Fact
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.figures import Figures, decode_figures, encode_figures, is_readable, merged

_t = tables.figures.c
_KEY = (_t.tenant, _t.type, _t.choice, _t.span, _t.start)


class RowKey(NamedTuple):
    """Which row of a tenant's figures."""

    type: FigureType
    choice: int
    span: Span
    start: int


class FigureChanges:
    """What a transaction adds to the figures of choices and hours, and what it takes out."""

    def __init__(self) -> None:
        self.added: dict[RowKey, Figures] = {}
        self.removed: dict[RowKey, Figures] = {}

    def move(self, before: Collection[Fact], after: Collection[Fact]) -> None:
        """Notes what a record counted before, and what it counts now."""
        if before == after:
            return
        if not before:
            _note(self.added, after, Span.HOUR)
            return
        was, is_now = Counter(before), Counter(after)
        _note(self.removed, (was - is_now).elements(), Span.HOUR)
        _note(self.added, (is_now - was).elements(), Span.HOUR)


def _note(noted: dict[RowKey, Figures], facts: Iterable[Fact], span: Span) -> None:
    for fact in facts:
        key = RowKey(fact.type, fact.choice, span, fact.hour)
        figures = noted.get(key)
        if figures is None:
            figures = noted[key] = Figures(fact.type)
        figures.add(fact.counts, fact.lengths)


def update_figures(database: Database, connection: Connection, tenant: str, changes: FigureChanges) -> None:
    """Brings the figures to what the records say after the changes, which are stored. The tenant is locked.

    Each change concerns four rows: those of its choice's hour and day, and of all choices together. What is added is
    merged into them, what goes is taken out; only where the smallest or the largest value goes, or the row cannot be
    read, is it computed anew: an hour from its records, then that of all choices from the choices, then days from their
    hours.
    """
    keys = _rolled_up(changes.added) | _rolled_up(changes.removed)
    if not keys:
        return
    current = load_rows(connection, tenant, keys)

    def change() -> tuple[dict[RowKey, Figures], list[RowKey]]:
        added, removed = _roll_up(changes.added), _roll_up(changes.removed)
        settled: dict[RowKey, Figures] = {}
        unsettled: list[RowKey] = []
        for key in keys:
            if key not in current and key not in removed:
                settled[key] = added[key]
                continue
            try:
                figures = _decoded(key, current)
            except BlockCorrupt:
                unsettled.append(key)
                continue
            if key in added:
                figures.merge(added[key])
            if key in removed and not figures.remove(removed[key]):
                unsettled.append(key)
            else:
                settled[key] = figures
        return settled, unsettled

    settled, unsettled = database.compute(connection, change)
    write_rows(connection, tenant, settled)
    recompute_rows(connection, tenant, unsettled)


def keep_gone(connection: Connection, tenant: str, facts: Iterable[Fact]) -> None:
    """Notes what records count that are let go, so that figures that are computed anew still have it."""
    noted: dict[RowKey, Figures] = {}
    _note(noted, facts, Span.GONE)
    current = load_rows(connection, tenant, noted)
    readable: dict[RowKey, Figures] = {}
    for key, figures in noted.items():
        if key not in current or is_readable(key.type, current[key]):
            figures.merge(_decoded(key, current))
            readable[key] = figures
        # What cannot be read stays as it is: it tells that figures of the hour must not be computed anew.
    write_rows(connection, tenant, readable)


def drop_choice(database: Database, connection: Connection, tenant: str, type: FigureType, choice: int) -> None:
    """Takes a choice out of the figures whose records are deleted. The tenant is locked."""
    hours = (_t.tenant == tenant, _t.type == int(type), _t.choice == choice, _t.span == int(Span.HOUR))
    rows = connection.execute(select(_t.start, _t.data).where(*hours)).all()
    changes = FigureChanges()
    damaged: list[RowKey] = []
    for row in rows:
        key = RowKey(type, choice, Span.HOUR, row.start)
        try:
            changes.removed[key] = decode_figures(type, bytes(row.data))
        except BlockCorrupt:
            damaged.append(key)
    recompute_rows(connection, tenant, _rolled_up(damaged))
    update_figures(database, connection, tenant, changes)


def recompute_rows(connection: Connection, tenant: str, keys: Collection[RowKey]) -> None:
    """Computes rows anew: hours of choices from the records, and everything else from rows that were settled before."""
    hours: dict[FigureType, list[RowKey]] = {}
    for key in keys:
        if key.span == Span.HOUR and key.choice != ALL_CHOICES:
            hours.setdefault(key.type, []).append(key)
    for type_, of_type in hours.items():
        counted = figures_of_hours(connection, tenant, type_, [(key.choice, key.start) for key in of_type])
        write_rows(connection, tenant, {key: counted.get((key.choice, key.start), Figures(type_)) for key in of_type})
    for key in keys:
        if key.span == Span.HOUR and key.choice == ALL_CHOICES:
            of_hour = (_t.choice != ALL_CHOICES, _t.span == int(Span.HOUR), _t.start == key.start)
            _write_merged(connection, tenant, key, of_hour)
    for key in keys:
        if key.span == Span.DAY:
            first = key.start * HOURS_PER_DAY
            of_day = (_t.start >= first, _t.start < first + HOURS_PER_DAY)
            _write_merged(connection, tenant, key, (_t.choice == key.choice, _t.span == int(Span.HOUR), *of_day))


def load_rows(connection: Connection, tenant: str, keys: Collection[RowKey]) -> dict[RowKey, bytes]:
    """Returns the stored figures of those rows that exist."""
    if not keys:
        return {}
    asked = [(tenant, int(key.type), key.choice, int(key.span), key.start) for key in keys]
    rows = select_by_keys(connection, (*_KEY[1:], _t.data), _KEY, asked)
    return {RowKey(FigureType(row.type), row.choice, Span(row.span), row.start): bytes(row.data) for row in rows}


def write_rows(connection: Connection, tenant: str, rows: Mapping[RowKey, Figures]) -> None:
    """Stores figures; rows in which there is nothing go."""
    values = [{**_values(tenant, key), "data": encode_figures(figures)} for key, figures in rows.items() if figures]
    upsert(connection, tables.figures, values)
    empty = [_values(tenant, key, "of_") for key, figures in rows.items() if not figures]
    if empty:
        key_is = (column == bindparam(f"of_{column.name}") for column in _KEY)
        connection.execute(delete(tables.figures).where(*key_is), empty)


def _write_merged(connection: Connection, tenant: str, key: RowKey, condition: Sequence[ColumnElement[bool]]) -> None:
    query = select(_t.choice, _t.span, _t.start, _t.data)
    query = query.where(_t.tenant == tenant, _t.type == int(key.type), *condition)

    def whole() -> Figures:
        rows = connection.execute(query)
        return merged(key.type, [decode_figures(key.type, bytes(row.data)) for row in rows])

    try:
        figures = whole()
    except BlockCorrupt:
        recompute_rows(connection, tenant, unreadable(key.type, connection.execute(query)))
        figures = whole()
    write_rows(connection, tenant, {key: figures})


def unreadable(type: FigureType, rows: Iterable[tables.AnyRow]) -> list[RowKey]:
    """Returns which of some rows (choice, span, start, data) cannot be read."""
    return [
        RowKey(type, row.choice, Span(row.span), row.start) for row in rows if not is_readable(type, bytes(row.data))
    ]


def _values(tenant: str, key: RowKey, prefix: str = "") -> dict[str, object]:
    return {
        f"{prefix}tenant": tenant,
        f"{prefix}type": int(key.type),
        f"{prefix}choice": key.choice,
        f"{prefix}span": int(key.span),
        f"{prefix}start": key.start,
    }


def _decoded(key: RowKey, rows: Mapping[RowKey, bytes]) -> Figures:
    data = rows.get(key)
    return Figures(key.type) if data is None else decode_figures(key.type, data)


def places_of(key: RowKey) -> tuple[RowKey, ...]:
    """Returns the four rows that the figures of a choice and an hour are part of."""
    day = key.start // HOURS_PER_DAY
    return (
        key,
        RowKey(key.type, key.choice, Span.DAY, day),
        RowKey(key.type, ALL_CHOICES, Span.HOUR, key.start),
        RowKey(key.type, ALL_CHOICES, Span.DAY, day),
    )


def _rolled_up(hours: Iterable[RowKey]) -> set[RowKey]:
    return {place for key in hours for place in places_of(key)}


def _roll_up(hours: Mapping[RowKey, Figures]) -> dict[RowKey, Figures]:
    """Returns the figures of hours together with the sums that they are part of.

    Sums of one hour are that hour's own figures: not to be changed.
    """
    rows: dict[RowKey, Figures] = {}
    shared: set[RowKey] = set()
    for key, figures in hours.items():
        for place in places_of(key):
            whole = rows.get(place)
            if whole is None:
                rows[place] = figures
                shared.add(place)
                continue
            if place in shared:
                shared.remove(place)
                whole = rows[place] = merged(place.type, [whole])
            whole.merge(figures)
    return rows
