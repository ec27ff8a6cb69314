"""Which blocks to load and what of them, and the SQL for it, which differs between engines in how lists are passed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class ListSyntax:
    """How an engine reads a parameter that is a list.

    `member(expression, number, type)` is the condition that an expression is in the list which is parameter `number`;
    `items(number, type)` is the list as a table `k` with one column, `value`.
    """

    member: Callable[[str, int, str], str]
    items: Callable[[int, str], str]


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

    def sql(self, syntax: ListSyntax) -> str:
        """Returns the statement with its parameters written $1, $2, ...

        Its columns are the subject id, then the fields of `StoredBlock` in their order.
        """
        hours = "some" if self.hour_days else "all" if self.hour_days is None else "none"
        return _sql(self.summaries, hours, self.newest_day_only, syntax)

    @property
    def parameters(self) -> list[int | list[int]]:
        """The parameters: subject ids, first and last day, the bound on rows, maybe days with summaries of hours."""
        some_hours = [list(self.hour_days)] if self.summaries and self.hour_days else []
        return [list(self.subject_ids), self.first_day, self.last_day, self.data_below_rows, *some_hours]


@lru_cache(maxsize=32)
def _sql(summaries: bool, hours: str, newest_day_only: bool, syntax: ListSyntax) -> str:
    hour_summary = "b.hour_summary"
    if not summaries or hours == "none":
        hour_summary = "NULL"
    elif hours == "some":
        hour_summary = f"CASE WHEN {syntax.member('b.day', 5, 'int')} THEN b.hour_summary END"
    where = f"{syntax.member('b.subject_id', 1, 'bigint')} AND b.day BETWEEN $2 AND $3"
    if newest_day_only:
        where = f"""(b.subject_id, b.day) IN (
          SELECT k.value, (SELECT max(o.day) FROM blocks AS o WHERE o.subject_id = k.value AND o.day BETWEEN $2 AND $3)
          FROM {syntax.items(1, "bigint")}
        )"""
    return f"""
        SELECT b.subject_id, b.seq, b.day, b.rows, b.first_time, b.last_time, b.hours,
          {hour_summary}, {"b.day_summary" if summaries else "NULL"}, CASE WHEN b.rows < $4 THEN b.data END
        FROM blocks AS b
        WHERE {where}
        ORDER BY b.subject_id, b.day, b.seq
    """
