"""Taking samples back: out of their blocks, and out of the latest values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, literal, select, update

from streamgauge_server.model.clock import MICROS_PER_DAY
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.records import SubjectGone
from streamgauge_server.timeseries.block import decode_many
from streamgauge_server.timeseries.correction import DayBlock, DayCorrection, correct, newest_samples, unsure
from streamgauge_server.timeseries.latest import LatestSample, decode_latest, encode_latest

_REWRITTEN = ("rows", "first_time", "last_time", "hours", "day_summary", "hour_summary", "data")


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many values stood and are gone, by metric id. Values that others had replaced do not count."""

    values: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Deletion:
    """The samples in [start, end), of some metrics or all, of one run or (empty) of whoever wrote them."""

    subject_id: int
    start: int
    end: int
    metrics: Collection[int] | None
    run_id: str

    @property
    def chosen(self) -> ColumnElement[bool]:
        """Whether the deletion is about a block."""
        return tables.blocks.c.run_id == self.run_id if self.run_id else literal(True)


class Corrections:
    """Deletes samples. Subjects are named by their ids."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete_samples(
        self,
        subject_id: int,
        *,
        start: int,
        end: int,
        metrics: Collection[int] | None,
        run_id: str,
        validate_only: bool,
    ) -> Deleted:
        """Deletes the samples of a subject in [start, end) and returns how many stood; all of them or none.

        Of some metrics or, with None, of all; with a `run_id` only those that the run wrote, so that what they had
        replaced stands again, and otherwise whoever wrote them. Where samples are left of a block it keeps its place,
        so they win and lose as before. The latest values are then those of the samples that are left. Waits for appends
        to the subject that are under way, and holds up later ones until it is done. With `validate_only` it counts and
        changes nothing.

        It takes about as long as reading and writing the days that hold the samples, and reads one of them at a time.

        Raises:
            SubjectGone: the subject does not exist.
            BlockCorrupt: stored bytes are damaged.
            DomainError: STORE_UNAVAILABLE.
        """
        deletion = _Deletion(subject_id, start, end, metrics, run_id)
        if validate_only:
            return await self._database.read(lambda connection: self._delete(connection, deletion, dry=True))
        return await self._database.write(lambda connection: self._delete(connection, deletion, dry=False))

    async def subjects_of_run(
        self, tenant: str, kind: SubjectKind, run_id: str, *, after: int, limit: int
    ) -> list[int]:
        """Returns up to `limit` ids above `after`, rising, of subjects and parts of a kind of which a run wrote blocks.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        b, s = tables.blocks.c, tables.subjects.c
        query = (
            select(b.subject_id)
            .join(tables.subjects, s.id == b.subject_id)
            .where(b.run_id == run_id, b.subject_id > after, s.tenant == tenant, s.kind == int(kind))
            .distinct()
            .order_by(b.subject_id)
            .limit(limit)
        )
        return await self._database.read(lambda connection: list(connection.scalars(query)))

    def _delete(self, connection: Connection, deletion: _Deletion, *, dry: bool) -> Deleted:
        t = tables.latest
        latest = select(t.c.version, t.c.samples).where(t.c.subject_id == deletion.subject_id)
        held = connection.execute(latest if dry else latest.with_for_update()).one_or_none()
        if held is None:
            raise SubjectGone({deletion.subject_id})
        values: Counter[int] = Counter()
        changed: set[int] = set()
        for day in list(connection.scalars(_days(deletion))):
            blocks = [
                DayBlock(seq, first_time, last_time, data, bool(chosen))
                for seq, first_time, last_time, data, chosen in connection.execute(_blocks(deletion, day))
            ]
            work = partial(correct, blocks, deletion.start, deletion.end, deletion.metrics)
            correction = self._database.compute(connection, work)
            values.update(correction.values)
            changed |= correction.metrics
            if not dry:
                _store(connection, deletion.subject_id, day, correction)
        if changed and not dry:
            samples = self._latest_after(connection, deletion, decode_latest(held.samples), changed)
            connection.execute(
                update(t)
                .where(t.c.subject_id == deletion.subject_id)
                .values(version=held.version + 1, samples=encode_latest(samples))
            )
        return Deleted(dict(values))

    def _latest_after(
        self,
        connection: Connection,
        deletion: _Deletion,
        current: Mapping[int, LatestSample],
        changed: Collection[int],
    ) -> dict[int, LatestSample]:
        """Returns the latest values, in their order, after samples of some metrics are gone from the blocks."""
        lost = {m for m in changed if m in current and deletion.start <= current[m].time < deletion.end}
        # Without a run nothing is left of them in the range.
        until = deletion.start - 1 if not deletion.run_id else max((current[m].time for m in lost), default=0)
        found = self._newest(connection, deletion.subject_id, until // MICROS_PER_DAY, lost)
        return {
            metric: found[metric] if metric in lost else unsure(sample) if metric in changed else sample
            for metric, sample in current.items()
            if metric not in lost or metric in found
        }

    def _newest(
        self, connection: Connection, subject_id: int, last_day: int, metrics: Collection[int]
    ) -> dict[int, LatestSample]:
        """Returns the newest samples that the blocks up to a day hold of some metrics."""
        b = tables.blocks.c
        found: dict[int, LatestSample] = {}
        missing = set(metrics)
        if not missing:
            return found
        days = select(b.day).where(b.subject_id == subject_id, b.day <= last_day).distinct().order_by(b.day.desc())
        for day in list(connection.scalars(days)):
            held = select(b.data).where(b.subject_id == subject_id, b.day == day).order_by(b.seq)
            work = partial(decode_many, list(connection.scalars(held)), frozenset(missing))
            found |= newest_samples(self._database.compute(connection, work))
            missing -= found.keys()
            if not missing:
                break
        return found


def _days(deletion: _Deletion) -> Select[Any]:
    b = tables.blocks.c
    first, last = deletion.start // MICROS_PER_DAY, (deletion.end - 1) // MICROS_PER_DAY
    of_subject = (b.subject_id == deletion.subject_id, b.day.between(first, last), deletion.chosen)
    return select(b.day).where(*of_subject).distinct().order_by(b.day)


def _blocks(deletion: _Deletion, day: int) -> Select[Any]:
    """Selects the fields of `DayBlock` of the blocks of a day that reach into the range."""
    b = tables.blocks.c
    return (
        select(b.seq, b.first_time, b.last_time, b.data, deletion.chosen)
        .where(b.subject_id == deletion.subject_id, b.day == day)
        .where(b.first_time < deletion.end, b.last_time >= deletion.start)
        .order_by(b.seq)
    )


def _store(connection: Connection, subject_id: int, day: int, correction: DayCorrection) -> None:
    t = tables.blocks
    of_day = (t.c.subject_id == subject_id, t.c.day == day)
    for batch in batches(correction.removed):
        connection.execute(delete(t).where(*of_day, t.c.seq.in_(batch)))
    if correction.rewritten:
        connection.execute(
            update(t).where(*of_day, t.c.seq == bindparam("of_seq")),
            [
                {"of_seq": seq, **{name: getattr(block, name) for name in _REWRITTEN}}
                for seq, block in correction.rewritten.items()
            ],
        )
