"""The summaries of days whose samples are gone, for those who change what is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import Connection, case

from streamgauge_server.storage import tables
from streamgauge_server.storage.database import DayBlockTuple, SubjectDay
from streamgauge_server.storage.key_lists import select_by_keys

_b = tables.blocks.c
_COLUMNS = (_b.subject_id, _b.day, _b.seq, _b.reduced, case((_b.reduced, _b.hour_summary)).label("hour_summary"))


def reduced_among(days: Mapping[SubjectDay, Iterable[DayBlockTuple]]) -> list[SubjectDay]:
    """Returns those days that have a block without samples."""
    return [day for day, blocks in days.items() if any(not block[-1] for block in blocks)]


def hour_summaries(connection: Connection, days: Collection[SubjectDay]) -> dict[SubjectDay, tuple[int, bytes]]:
    """Returns the reduced block of each day that has one: its seq and its summaries by hour."""
    if not days:
        return {}
    rows = select_by_keys(connection, _COLUMNS, (_b.subject_id, _b.day), days)
    return {(row.subject_id, row.day): (row.seq, row.hour_summary) for row in rows if row.reduced}
