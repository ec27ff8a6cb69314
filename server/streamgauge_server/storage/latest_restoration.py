"""The latest values of subjects that lost samples: what is left in their blocks takes the place of what is gone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import Connection

from streamgauge_server.model.clock import MAX_MICROS, MICROS_PER_DAY, MIN_MICROS
from streamgauge_server.storage import correction_statements as statements
from streamgauge_server.storage.damage_log import Damage, of_samples
from streamgauge_server.storage.database import Database, DayBlockTuple, SubjectDay
from streamgauge_server.storage.day_rounds import load_days
from streamgauge_server.storage.latest_rebuilding import is_damaged, rebuild_latest
from streamgauge_server.storage.reduced_blocks import hour_summaries, reduced_among
from streamgauge_server.timeseries.correction import newest_samples, unsure
from streamgauge_server.timeseries.damage import parted
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.latest import LatestSample, decode_latest, encode_latest
from streamgauge_server.timeseries.reduction import newest_in
from streamgauge_server.timeseries.summary import decode_summary

_WIDER = 8
"""How many times more days are looked at, each time that what is missing was not found."""
_MOST_DAYS = 2**22
"""More than there are between the first and the last day that a block can be of."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A subject's row of `latest`, and the metrics of which samples have gone from its blocks; None is any of them."""

    subject_id: int
    version: int
    samples: bytes
    metrics: Collection[int] | None


@dataclass(frozen=True, slots=True)
class LossRange:
    """Where samples have gone: [start, end), in microseconds.

    `emptied` tells that no sample of the metrics concerned is left there.
    """

    start: int
    end: int
    emptied: bool


@dataclass(slots=True)
class _Restoration:
    """The latest values of a subject on their way.

    `lost` are metrics whose latest sample may have gone, `found` is what takes its place. Blocks after `last_day` have
    been looked at, or cannot hold what is missing.
    """

    loss: Loss
    current: dict[int, LatestSample]
    lost: frozenset[int]
    last_day: int
    found: dict[int, LatestSample] = field(default_factory=dict)

    @property
    def missing(self) -> frozenset[int]:
        return self.lost - self.found.keys()

    def row(self) -> dict[str, object]:
        """Returns the parameters of the update. Metrics that are left keep their order."""
        samples: dict[int, LatestSample] = {}
        for metric, sample in self.current.items():
            if metric not in self.lost:
                concerned = self.loss.metrics is None or metric in self.loss.metrics
                samples[metric] = unsure(sample) if concerned else sample
            elif metric in self.found:
                samples[metric] = self.found[metric]
        return {
            "of_subject": self.loss.subject_id,
            "new_version": self.loss.version + 1,
            "new_samples": encode_latest(samples),
        }


def restore_latest(
    database: Database, connection: Connection, losses: Sequence[Loss], within: LossRange
) -> list[Damage]:
    """Rewrites the `latest` rows of subjects, within the transaction that took samples out of their blocks.

    Returns the damage that was met: rows that could not be read are made anew, blocks are left out.
    """
    damaged = [loss.subject_id for loss in losses if is_damaged(loss.samples)]
    met = rebuild_latest(database, connection, damaged)
    losses = [loss for loss in losses if loss.subject_id not in damaged]
    if not losses:
        return met
    restorations = database.compute(connection, lambda: [_begin(loss, within) for loss in losses])
    met += _find(database, connection, {restoration.loss.subject_id: restoration for restoration in restorations})
    rows = database.compute(connection, lambda: [restoration.row() for restoration in restorations])
    connection.execute(statements.UPDATE_LATEST, rows)
    return met


def _begin(loss: Loss, within: LossRange) -> _Restoration:
    current = decode_latest(loss.samples)
    held = current if loss.metrics is None else [metric for metric in loss.metrics if metric in current]
    lost = frozenset(metric for metric in held if within.start <= current[metric].time < within.end)
    until = within.start - 1 if within.emptied else max((current[metric].time for metric in lost), default=0)
    return _Restoration(loss, current, lost, until // MICROS_PER_DAY)


def _find(database: Database, connection: Connection, restorations: Mapping[int, _Restoration]) -> list[Damage]:
    """Finds the newest samples that are left, going back from the last days; returns the damaged blocks on the way."""
    met: list[Damage] = []
    searching = {subject_id: restoration for subject_id, restoration in restorations.items() if restoration.missing}
    width = 1
    while searching:
        last_days = [(subject_id, restoration.last_day) for subject_id, restoration in searching.items()]
        days = sorted(database.days_back(connection, last_days, width), key=lambda day: day[1], reverse=True)
        # Days of a subject that has found everything meanwhile are not loaded any more.
        wanted = (day for day in days if searching[day[0]].missing)
        for blocks in load_days(database, connection, wanted, MIN_MICROS, MAX_MICROS):
            reduced = hour_summaries(connection, reduced_among(blocks))
            met += database.compute(connection, partial(_look_at, blocks, reduced, searching))
        for subject_id, day, _ in days:
            searching[subject_id].last_day = min(searching[subject_id].last_day, day - 1)
        with_days = {subject_id for subject_id, _, _ in days}
        searching = {id_: searching[id_] for id_ in searching if id_ in with_days and searching[id_].missing}
        width = min(width * _WIDER, _MOST_DAYS)
    return met


def _look_at(
    blocks: Mapping[SubjectDay, Iterable[DayBlockTuple]],
    reduced: Mapping[SubjectDay, tuple[int, bytes]],
    searching: Mapping[int, _Restoration],
) -> list[Damage]:
    met: list[Damage] = []
    for (subject_id, day), of_day in reversed(list(blocks.items())):
        restoration = searching[subject_id]
        if missing := restoration.missing:
            held, damaged = parted({row[2]: row[-1] for row in of_day if row[-1]})
            restoration.found |= newest_samples(list(held.values()), missing)
            if (subject_id, day) in reduced:
                seq, hour_summary = reduced[subject_id, day]
                try:
                    restoration.found |= newest_in(decode_summary(hour_summary), missing)
                except BlockCorrupt:
                    damaged = [*damaged, seq]
            met += of_samples(subject_id, day, damaged)
    return met
