"""Taking samples back: out of their blocks, and out of the latest values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy import Connection

from streamgauge_server.model.clock import MICROS_PER_DAY, isoformat
from streamgauge_server.model.errors import Reason, Violation, invalid
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import correction_statements as statements
from streamgauge_server.storage.damage_log import Damage, DamageLog, of_samples
from streamgauge_server.storage.damaged_summaries import forget
from streamgauge_server.storage.database import Database, DayBlockTuple, SubjectDay
from streamgauge_server.storage.day_rounds import load_days
from streamgauge_server.storage.latest_restoration import Loss, LossRange, restore_latest
from streamgauge_server.storage.records import SubjectGone
from streamgauge_server.storage.reduced_blocks import hour_summaries, reduced_among
from streamgauge_server.timeseries.correction import DayBlock, DayCorrection, correct
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.reduction import cut_out, metrics_of_summary, reduced_block, samples_in
from streamgauge_server.timeseries.summary import decode_summary


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many values stood and are gone, by metric id. Values that others had replaced do not count."""

    values: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Deletion:
    """The samples in [start, end), of some metrics or all, of one run or (empty) of whoever wrote them."""

    start: int
    end: int
    metrics: Collection[int] | None
    run_id: str


@dataclass(slots=True)
class _Tally:
    """What goes of a subject: how many values that stood, and the metrics of which any sample goes.

    With `any_metric` a damaged block is concerned, which may have held any. `damage` is what was met on the way.
    """

    values: Counter[int] = field(default_factory=Counter)
    metrics: set[int] = field(default_factory=set)
    any_metric: bool = False
    damage: list[Damage] = field(default_factory=list)


class Corrections:
    """Deletes samples. Subjects are named by their ids."""

    def __init__(self, database: Database, damage: DamageLog) -> None:
        self._database = database
        self._damage = damage

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

        It takes about as long as reading and writing the days that hold the samples, and reads a few MiB of them at a
        time, or one day. Damaged blocks go if all that they can hold does; of others their summaries lose what
        is deleted. Their values are not counted.

        Raises:
            SubjectGone: the subject does not exist.
            DomainError: STORE_UNAVAILABLE.
        """
        deleted = await self.delete_from_each(
            [subject_id], start=start, end=end, metrics=metrics, run_id=run_id, validate_only=validate_only
        )
        if subject_id not in deleted:
            raise SubjectGone({subject_id})
        return deleted[subject_id]

    async def delete_from_each(
        self,
        subject_ids: Collection[int],
        *,
        start: int,
        end: int,
        metrics: Collection[int] | None,
        run_id: str,
        validate_only: bool,
    ) -> dict[int, Deleted]:
        """Does what `delete_samples` does to each of up to some hundred subjects, all in one transaction.

        Subjects that do not exist are missing in what it returns. Its statements serve all subjects, which takes a
        fraction of the time of one by one.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        ids = list(subject_ids)
        deletion = _Deletion(start, end, metrics, run_id)
        if validate_only:
            tallies = await self._database.read(lambda connection: self._preview(connection, ids, deletion))
        else:
            tallies = await self._database.write(lambda connection: self._delete(connection, ids, deletion))
        await self._damage.note([damage for tally in tallies.values() for damage in tally.damage])
        return {subject_id: Deleted(tally.values) for subject_id, tally in tallies.items()}

    async def subjects_of_run(
        self, tenant: str, kind: SubjectKind, run_id: str, *, after: int, limit: int
    ) -> dict[int, int]:
        """Returns the subjects and parts of a kind of which a run wrote blocks: how many blocks, by id.

        Up to `limit` ids above `after`, rising.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        parameters = {"run": run_id, "after": after, "tenant": tenant, "kind": int(kind), "limit": limit}

        def work(connection: Connection) -> dict[int, int]:
            return {row.subject_id: row.blocks for row in connection.execute(statements.SUBJECTS_OF_RUN, parameters)}

        return await self._database.read(work)

    def _preview(self, connection: Connection, ids: Sequence[int], deletion: _Deletion) -> dict[int, _Tally]:
        there = connection.scalars(statements.PRESENT, {"subjects": ids}).all()
        return self._correct(connection, there, deletion, dry=True)

    def _delete(self, connection: Connection, ids: Sequence[int], deletion: _Deletion) -> dict[int, _Tally]:
        rows = {row.subject_id: row for row in connection.execute(statements.LOCKED, {"subjects": ids})}
        tallies = self._correct(connection, list(rows), deletion, dry=False)
        losses = [
            Loss(
                subject_id,
                rows[subject_id].version,
                rows[subject_id].samples,
                None if tally.any_metric else tally.metrics,
            )
            for subject_id, tally in tallies.items()
            if tally.metrics or tally.any_metric
        ]
        within = LossRange(deletion.start, deletion.end, emptied=not deletion.run_id)
        for damage in restore_latest(self._database, connection, losses, within):
            tallies[damage.subject_id].damage.append(damage)
        return tallies

    def _correct(
        self, connection: Connection, ids: Sequence[int], deletion: _Deletion, *, dry: bool
    ) -> dict[int, _Tally]:
        """Takes samples out of the blocks of subjects, or with `dry` finds out what would go."""
        tallies = {subject_id: _Tally() for subject_id in ids}
        if not ids:
            return tallies
        parameters = {
            "subjects": ids,
            "start": deletion.start,
            "end": deletion.end,
            "first_day": deletion.start // MICROS_PER_DAY,
            "last_day": (deletion.end - 1) // MICROS_PER_DAY,
        }
        statement = statements.DAYS
        if deletion.run_id:
            statement = statements.DAYS_OF_RUN
            parameters |= {"run": deletion.run_id, "first_subject": min(ids), "last_subject": max(ids)}
        rows = connection.execute(statement, parameters)
        days = [(subject_id, day, size) for subject_id, day, size in rows]
        for blocks in load_days(self._database, connection, days, deletion.start, deletion.end):
            # What a run wrote cannot be told from the rest of a summary any more.
            reduced = {} if deletion.run_id else hour_summaries(connection, reduced_among(blocks))
            corrections = self._database.compute(connection, partial(_correct_days, blocks, reduced, deletion))
            for (subject_id, day), correction in corrections.items():
                tally = tallies[subject_id]
                tally.values.update(correction.values)
                tally.metrics |= correction.metrics
                tally.any_metric |= bool(correction.stay) or not set(correction.damaged).isdisjoint(correction.removed)
                tally.damage += of_samples(subject_id, day, correction.damaged)
            if not dry:
                _store(connection, corrections)
                stay = {subject_day: correction.stay for subject_day, correction in corrections.items()}
                forget(connection, stay, deletion.start, deletion.end, deletion.metrics)
        return tallies


def _correct_days(
    days: Mapping[SubjectDay, Iterable[DayBlockTuple]],
    reduced: Mapping[SubjectDay, tuple[int, bytes]],
    deletion: _Deletion,
) -> dict[SubjectDay, DayCorrection]:
    corrections: dict[SubjectDay, DayCorrection] = {}
    for subject_day, rows in days.items():
        blocks = [
            DayBlock(seq, first_time, last_time, data, not deletion.run_id or run_id == deletion.run_id)
            for _, _, seq, first_time, last_time, run_id, data in rows
            if data
        ]
        correction = correct(blocks, deletion.start, deletion.end, deletion.metrics)
        if subject_day in reduced:
            correction = _with_summaries(correction, subject_day[1], *reduced[subject_day], deletion)
        corrections[subject_day] = correction
    return corrections


def _with_summaries(
    correction: DayCorrection, day: int, seq: int, hour_summary: bytes, deletion: _Deletion
) -> DayCorrection:
    """Returns a correction of a day along with that of its hours without samples: whole ones, or none.

    Raises:
        DomainError: INVALID_TIME_RANGE where the range cuts such an hour in two.
    """
    whole = deletion.metrics is None and deletion.start <= day * MICROS_PER_DAY <= deletion.end - MICROS_PER_DAY
    try:
        outside, inside, cut = cut_out(decode_summary(hour_summary), deletion.start, deletion.end, deletion.metrics)
    except BlockCorrupt:
        return replace(
            correction, damaged=[*correction.damaged, seq], removed=[*correction.removed, *([seq] if whole else [])]
        )
    if cut:
        problem = (
            f"cuts an hour of {isoformat(day * MICROS_PER_DAY)[:10]} of which retention has left a summary: it can be "
            "deleted as a whole only, so begin and end the range on full hours"
        )
        edges = {"start_time": isoformat(deletion.start), "end_time": isoformat(deletion.end)}
        raise invalid([Violation("time_range", problem, Reason.INVALID_TIME_RANGE, edges)])
    values = Counter(correction.values) + Counter(samples_in(inside))
    if values == Counter(correction.values):
        return correction
    left = reduced_block(outside)
    return replace(
        correction,
        values=dict(values),
        metrics=correction.metrics | frozenset(metrics_of_summary(inside)),
        rewritten=correction.rewritten if left is None else {**correction.rewritten, seq: left},
        removed=[*correction.removed, seq] if left is None else correction.removed,
    )


def _store(connection: Connection, corrections: Mapping[SubjectDay, DayCorrection]) -> None:
    removed = [
        {"of_subject": subject_id, "of_day": day, "of_seq": seq}
        for (subject_id, day), correction in corrections.items()
        for seq in correction.removed
    ]
    if removed:
        connection.execute(statements.REMOVE, removed)
    rewritten = [
        {"of_subject": subject_id, "of_day": day, "of_seq": seq}
        | {f"new_{name}": getattr(block, name) for name in statements.REWRITTEN}
        for (subject_id, day), correction in corrections.items()
        for seq, block in correction.rewritten.items()
    ]
    if rewritten:
        connection.execute(statements.REWRITE, rewritten)
