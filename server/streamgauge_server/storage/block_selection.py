"""Which blocks to load and what of them, and the SQL for it, which differs between engines in one expression."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

BlockTuple = tuple[int, int, int, int, int, int, int, bytes | None, bytes | None, bytes | None]
"""Subject id, then the fields of `timeseries.query.StoredBlock` in their order."""

Member = Callable[[str, int, str], str]
"""Writes the condition that an expression is in a list: of (expression, number of the parameter, type of the items)."""


@dataclass(frozen=True, slots=True)
class BlockSelection:
    """Blocks of subjects from one day to another, both included, by (subject, day, seq).

    Without `summaries` they come without any, with `hour_days` with summaries of hours for those days only. Data come
    with blocks of fewer than `data_below_rows` rows. With `newest_day_only` just the last day in the range on which a
    subject has blocks.
    """

    subject_ids: Sequence[int]
    first_day: int
    last_day: int
    summaries: bool
    hour_days: Collection[int] | None
    data_below_rows: int
    newest_day_only: bool = False

    def sql(self, member: Member) -> str:
        """Returns the statement with its parameters written $1, $2, ..."""
        hours = "some" if self.hour_days else "all" if self.hour_days is None else "none"
        return _sql(self.summaries, hours, self.newest_day_only, member)

    @property
    def parameters(self) -> list[int | list[int]]:
        """The parameters: subject ids, first and last day, the bound on rows, maybe days with summaries of hours."""
        parameters: list[int | list[int]] = [
            list(self.subject_ids),
            self.first_day,
            self.last_day,
            self.data_below_rows,
        ]
        if self.summaries and self.hour_days:
            parameters.append(list(self.hour_days))
        return parameters


@lru_cache(maxsize=64)
def _sql(summaries: bool, hours: str, newest_day_only: bool, member: Member) -> str:
    hour_summary = "b.hour_summary"
    if not summaries or hours == "none":
        hour_summary = "NULL"
    elif hours == "some":
        hour_summary = f"CASE WHEN {member('b.day', 5, 'int')} THEN b.hour_summary END"
    days = "b.day BETWEEN $2 AND $3"
    if newest_day_only:
        days = (
            "b.day = (SELECT max(o.day) FROM blocks AS o WHERE o.subject_id = b.subject_id AND o.day BETWEEN $2 AND $3)"
        )
    return f"""
        SELECT b.subject_id, b.seq, b.day, b.rows, b.first_time, b.last_time, b.hours,
          {hour_summary}, {"b.day_summary" if summaries else "NULL"}, CASE WHEN b.rows < $4 THEN b.data END
        FROM blocks AS b
        WHERE {member("b.subject_id", 1, "bigint")} AND {days}
        ORDER BY b.subject_id, b.day, b.seq
    """
