"""Appending observations as part of a larger transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select, update

from streamgauge_server.storage import tables
from streamgauge_server.storage.append_plan import AppendPlan
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.records import Append, SubjectGone, SubjectWrite


def append_within(database: Database, connection: Connection, writes: Sequence[SubjectWrite]) -> None:
    """Stores blocks and advances the latest values, as `Blocks.append` does, within the transaction of a connection.

    Locks the `latest` rows of the subjects: call it after the lock on the tenant and before any other.

    Raises:
        SubjectGone: a subject does not exist. Nothing was written yet.
        LatestDamaged: a row of latest values cannot be read: roll back, have it made anew, and begin again.
    """
    plan = AppendPlan([Append(writes)])
    t = tables.latest
    rows: dict[int, tuple[int, bytes]] = {}
    for ids in batches(plan.subject_ids):
        locked = select(t.c.subject_id, t.c.version, t.c.samples).where(t.c.subject_id.in_(ids))
        for subject_id, version, samples in connection.execute(locked.order_by(t.c.subject_id).with_for_update()):
            rows[subject_id] = (version, samples)
    plan.admit(rows)
    for outcome in plan.outcomes:
        if isinstance(outcome, SubjectGone):
            raise outcome
    blocks = [
        {
            "subject_id": subject_id,
            "day": block.day,
            "rows": block.rows,
            "first_time": block.first_time,
            "last_time": block.last_time,
            "hours": block.hours,
            "day_summary": block.day_summary,
            "hour_summary": block.hour_summary,
            "data": block.data,
            "run_id": run_id,
        }
        for subject_id, block, run_id in plan.block_rows()
    ]
    if blocks:
        connection.execute(insert(tables.blocks), blocks)
    latest = [
        {"of_subject": subject_id, "version": version, "samples": samples}
        for subject_id, version, samples in database.compute(connection, plan.latest_rows)
    ]
    if latest:
        connection.execute(update(t).where(t.c.subject_id == bindparam("of_subject")), latest)
