"""The statements of compaction. Built once, so that SQLAlchemy finds their compiled forms again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Integer, bindparam, case, delete, func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from streamgauge_server.storage import tables

_blocks, _log, _latest, _due = tables.blocks.c, tables.block_log.c, tables.latest.c, tables.compactions.c

DISCOVERED = select(_log.discovered_position, _log.discovered_seq)
LOCKED_DISCOVERED = DISCOVERED.with_for_update()
SET_DISCOVERED = update(tables.block_log).values(
    discovered_position=bindparam("position"), discovered_seq=bindparam("seq")
)

# The first comparison finds the partial index, which PostgreSQL does not do for that of rows.
NEW_BLOCKS = {
    "sqlite": text(
        """
        SELECT seq, seq, subject_id, day FROM blocks WHERE seq > max(:after_position, :after_seq) AND seq <= :position
        ORDER BY seq LIMIT :limit
        """
    ),
    "postgresql": text(
        """
        SELECT transaction_id, seq, subject_id, day FROM blocks
        WHERE transaction_id >= :after_position AND (transaction_id, seq) > (:after_position, :after_seq)
          AND transaction_id <= :position
        ORDER BY transaction_id, seq LIMIT :limit
        """
    ),
}
# Two look-ups in the index for each day, however many blocks it has.
_SEVERAL = """
SELECT k.subject_id, k.day FROM ({keys}) AS k
WHERE (SELECT min(b.seq) FROM blocks AS b WHERE b.subject_id = k.subject_id AND b.day = k.day)
  < (SELECT max(b.seq) FROM blocks AS b WHERE b.subject_id = k.subject_id AND b.day = k.day)
"""
SEVERAL = {
    "sqlite": text(
        _SEVERAL.format(
            keys="""
            SELECT json_extract(s.value, '$') AS subject_id, json_extract(d.value, '$') AS day
            FROM json_each(:subjects) AS s JOIN json_each(:days) AS d ON d.key = s.key
            """
        )
    ).bindparams(bindparam("subjects", type_=tables.Document), bindparam("days", type_=tables.Document)),
    "postgresql": text(
        _SEVERAL.format(keys="SELECT * FROM unnest(:subjects, :days) AS u (subject_id, day)")
    ).bindparams(
        bindparam("subjects", type_=postgresql.ARRAY(BigInteger)), bindparam("days", type_=postgresql.ARRAY(Integer))
    ),
}


def _enqueue(dialect: Any) -> Any:
    new = dialect.insert(tables.compactions)
    # A day that collects late data waits until its time has come.
    return new.on_conflict_do_update(
        index_elements=[_due.subject_id, _due.day],
        set_={"due_time": new.excluded.due_time},
        where=(new.excluded.due_time < _due.due_time) & ~_due.late,
    )


ENQUEUE = {"sqlite": _enqueue(sqlite), "postgresql": _enqueue(postgresql)}
# They stay until the day that refers to them is stored.
PRESENT = (
    select(tables.subjects.c.id)
    .where(tables.subjects.c.id.in_(bindparam("subjects", expanding=True)))
    .with_for_update(read=True, key_share=True)
)

DUE = (
    select(_due.subject_id, _due.day, _due.late)
    .where(_due.due_time <= bindparam("now"))
    .order_by(_due.due_time)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_one_day = (_due.subject_id == bindparam("of_subject"), _due.day == bindparam("of_day"))
_still_claimed = (*_one_day, _due.due_time == bindparam("lease"))
CLAIM = update(tables.compactions).where(*_one_day).values(due_time=bindparam("until"), late=False)
DONE = delete(tables.compactions).where(*_still_claimed)
LATER = (
    update(tables.compactions).where(*_still_claimed).values(due_time=bindparam("next_time"), late=bindparam("is_late"))
)
WAITING = select(func.count(), func.min(_due.due_time)).where(_due.due_time <= bindparam("now"))

LOCKED_SUBJECTS = (
    select(_latest.subject_id)
    .where(_latest.subject_id.in_(bindparam("subjects", expanding=True)))
    .order_by(_latest.subject_id)
    .with_for_update()
)
BLOCKS = (
    _blocks.subject_id,
    _blocks.day,
    _blocks.seq,
    _blocks.rows,
    _blocks.last_time,
    _blocks.hours,
    func.length(_blocks.data).label("size"),
    _blocks.run_id,
    case((_blocks.transaction_id.is_(None), _blocks.seq), else_=_blocks.transaction_id).label("position"),
    _blocks.reduced,
)
"""The columns of what `folding.Foldable` tells; summaries and data stay where they are."""
