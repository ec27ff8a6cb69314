"""The figures of the built-in metric types."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, or_, select

from streamgauge_server.model.metric_types import ALL_CHOICES, FigureType, Span
from streamgauge_server.storage import tables
from streamgauge_server.storage.damage_log import DamageLog
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.figure_records import HourKey, figures_of_range
from streamgauge_server.storage.figure_updating import RowKey, load_rows, places_of, recompute_rows, write_rows
from streamgauge_server.storage.tenants import lock_tenant
from streamgauge_server.timeseries.counting import HOURS_PER_DAY
from streamgauge_server.timeseries.figures import Figures, decode_figures, encode_figures, is_readable

_t = tables.figures.c


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of one span that begin in [first, end), hours or days since 1970."""

    span: Span
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class StoredFigures:
    """A row as it is stored (`figures.decode_figures`)."""

    choice: int
    span: Span
    start: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Recalculated:
    """How many figures of a choice and an hour there are in a range, by the records or as kept, and how many differed.

    `changed` also counts sums that differed: of days, and of all choices together.
    """

    checked: int
    changed: int


class FigureStore:
    """Reads figures, and proves them. They are moved by the stores of the records."""

    def __init__(self, database: Database, damage: DamageLog) -> None:
        self._database = database
        self._damage = damage

    async def rows(
        self, tenant: str, type: FigureType, choices: Collection[int], stretches: Sequence[Stretch], *, limit: int
    ) -> list[StoredFigures]:
        """Returns up to `limit` rows of choices (0: all of them together) that lie in any of the stretches.

        One statement, so that a record that moves from one stretch to another meanwhile counts once. The rows are left
        for the caller to decode, which is most of the work. At most 1,000 choices.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        if not choices or not stretches:
            return []
        inside = [and_(_t.span == int(one.span), _t.start >= one.first, _t.start < one.end) for one in stretches]
        query = select(_t.choice, _t.span, _t.start, _t.data).where(_t.tenant == tenant, _t.type == int(type))
        query = query.where(_t.choice.in_(sorted(set(choices))), or_(*inside)).limit(limit)
        found = await self._database.read(lambda connection: connection.execute(query).all())
        return [StoredFigures(row.choice, Span(row.span), row.start, bytes(row.data)) for row in found]

    async def mend(self, tenant: str, type: FigureType, rows: Collection[StoredFigures]) -> None:
        """Computes those of some rows that cannot be read anew: hours from the records, everything else from hours.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        keys = [RowKey(type, row.choice, row.span, row.start) for row in rows if not is_readable(type, row.data)]

        def work(connection: Connection) -> list[RowKey]:
            lock_tenant(connection, tenant)
            current = load_rows(connection, tenant, keys)
            damaged = [key for key, data in current.items() if not is_readable(type, data)]
            recompute_rows(connection, tenant, damaged)
            return damaged

        damaged = await self._database.write(work)
        self._damage.note_figures(
            tenant, [f"{key.type.name}/{key.choice}/{key.span.name}/{key.start}" for key in damaged]
        )

    async def recalculate(
        self, tenant: str, type: FigureType, first: int, last: int, *, repair: bool = True
    ) -> Recalculated:
        """Computes the figures of the hours from `first` to `last` (both included) from the records.

        What is kept and differs, or cannot be read, is replaced if `repair`; where it is not known any more what
        records counted that were let go, only what cannot be read. A transaction per day, so that reports go on
        meanwhile.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        checked = changed = 0
        for day in range(first // HOURS_PER_DAY, last // HOURS_PER_DAY + 1):
            of_day = await self._recalculate_day(tenant, type, day, range(first, last + 1), repair)
            checked += of_day.checked
            changed += of_day.changed
        return Recalculated(checked, changed)

    async def _recalculate_day(
        self, tenant: str, type: FigureType, day: int, asked: range, repair: bool
    ) -> Recalculated:
        """Computes a whole day, which the sums need, and compares these and the hours that are asked for."""
        first = day * HOURS_PER_DAY
        last = first + HOURS_PER_DAY - 1

        def work(connection: Connection) -> Recalculated:
            lock_tenant(connection, tenant)
            counted, uncertain = figures_of_range(connection, tenant, type, first, last)
            kept = _kept(connection, tenant, type, Span.HOUR, first, last)
            for choice, hour in uncertain:
                data = kept.get(RowKey(type, choice, Span.HOUR, hour))
                if data is not None and is_readable(type, data):
                    counted[choice, hour] = decode_figures(type, data)
            kept |= _kept(connection, tenant, type, Span.DAY, day, day)
            told = self._database.compute(connection, lambda: _with_sums(type, counted))
            stored = {key: encode_figures(figures) for key, figures in told.items()}
            differing = {
                key
                for key in stored.keys() | kept.keys()
                if (key.span == Span.DAY or key.start in asked) and stored.get(key) != kept.get(key)
            }
            if repair:
                write_rows(connection, tenant, {key: told.get(key, Figures(type)) for key in differing})
            checked = sum(
                key.choice != ALL_CHOICES and key.span == Span.HOUR and key.start in asked
                for key in stored.keys() | kept.keys()
            )
            return Recalculated(checked, len(differing))

        return await self._database.write(work)


def _kept(
    connection: Connection, tenant: str, type: FigureType, span: Span, first: int, last: int
) -> dict[RowKey, bytes]:
    query = select(_t.choice, _t.start, _t.data).where(_t.tenant == tenant, _t.type == int(type))
    query = query.where(_t.span == int(span), _t.start.between(first, last))
    return {RowKey(type, row.choice, span, row.start): bytes(row.data) for row in connection.execute(query)}


def _with_sums(type: FigureType, counted: Mapping[HourKey, Figures]) -> dict[RowKey, Figures]:
    """Returns the figures of the hours of a day, per choice, with those of the day and of all choices together."""
    rows = {RowKey(type, choice, Span.HOUR, hour): figures for (choice, hour), figures in counted.items()}
    for key in list(rows):
        for place in places_of(key):
            if place != key:
                rows.setdefault(place, Figures(type)).merge(rows[key])
    return rows
