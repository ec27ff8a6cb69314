"""The statements of corrections. Built once, so that SQLAlchemy finds their compiled forms again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, and_, bindparam, delete, func, select, update

from streamgauge_server.storage import tables

_blocks, _latest, _subjects = tables.blocks.c, tables.latest.c, tables.subjects.c
_given: BindParameter[Any] = bindparam("subjects", expanding=True)

PRESENT = select(_latest.subject_id).where(_latest.subject_id.in_(_given)).order_by(_latest.subject_id)
LOCKED = (
    select(_latest.subject_id, _latest.version, _latest.samples)
    .where(_latest.subject_id.in_(_given))
    .order_by(_latest.subject_id)
    .with_for_update()
)
# Not a join, for which PostgreSQL may read all subjects of the tenant each time: one look-up for each block of the run.
_is_asked_for = (
    select(and_(_subjects.tenant == bindparam("tenant"), _subjects.kind == bindparam("kind")))
    .where(_subjects.id == _blocks.subject_id)
    .scalar_subquery()
)
SUBJECTS_OF_RUN = (
    select(_blocks.subject_id, func.count().label("blocks"))
    .where(_blocks.run_id == bindparam("run"), _blocks.subject_id > bindparam("after"), _is_asked_for)
    .group_by(_blocks.subject_id)
    .order_by(_blocks.subject_id)
    .limit(bindparam("limit"))
)

_in_days = _blocks.day.between(bindparam("first_day"), bindparam("last_day"))
_in_range = and_(_blocks.first_time < bindparam("end"), _blocks.last_time >= bindparam("start"))
DAYS = (
    select(_blocks.subject_id, _blocks.day, func.sum(func.length(_blocks.data)))
    .where(_blocks.subject_id.in_(_given), _in_days, _in_range)
    .group_by(_blocks.subject_id, _blocks.day)
    .order_by(_blocks.subject_id, _blocks.day)
)
_chosen = tables.blocks.alias("chosen")
_days_of_run = (
    select(_chosen.c.subject_id, _chosen.c.day)
    .where(_chosen.c.run_id == bindparam("run"), _chosen.c.subject_id.in_(_given))
    # PostgreSQL, which does not know how much a new run wrote, may search the list only after reading all of the run.
    .where(_chosen.c.subject_id.between(bindparam("first_subject"), bindparam("last_subject")))
    .where(_chosen.c.day.between(bindparam("first_day"), bindparam("last_day")))
    .where(_chosen.c.first_time < bindparam("end"), _chosen.c.last_time >= bindparam("start"))
    .distinct()
    .subquery("days")
)
DAYS_OF_RUN = (
    select(_blocks.subject_id, _blocks.day, func.sum(func.length(_blocks.data)))
    .join(_days_of_run, and_(_blocks.subject_id == _days_of_run.c.subject_id, _blocks.day == _days_of_run.c.day))
    .where(_in_range)
    .group_by(_blocks.subject_id, _blocks.day)
    .order_by(_blocks.subject_id, _blocks.day)
)

REWRITTEN = ("rows", "first_time", "last_time", "hours", "day_summary", "hour_summary", "data")
_one_block = and_(
    _blocks.subject_id == bindparam("of_subject"),
    _blocks.day == bindparam("of_day"),
    _blocks.seq == bindparam("of_seq"),
)
REMOVE = delete(tables.blocks).where(_one_block)
REWRITE = update(tables.blocks).where(_one_block).values({name: bindparam(f"new_{name}") for name in REWRITTEN})
UPDATE_LATEST = (
    update(tables.latest)
    .where(_latest.subject_id == bindparam("of_subject"))
    .values(version=bindparam("new_version"), samples=bindparam("new_samples"))
)
