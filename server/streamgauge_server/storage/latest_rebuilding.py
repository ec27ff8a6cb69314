"""Rows of latest values that cannot be read, made anew from everything that is stored of their subjects.

Whoever comes across such a row does it, in a transaction that holds the row's lock: an append before it moves the row
on, a read before it answers. What is found is the newest sample of every metric; lifetimes are then unknown, and
computed by the next reader. Not found again are metrics of which retention has left nothing, and what damaged blocks
held.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import Connection, and_, case, select

from streamgauge_server.model.clock import MAX_MICROS
from streamgauge_server.storage import correction_statements as statements
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.damage_log import Damage, DamageLog, of_blocks
from streamgauge_server.storage.database import Database
from streamgauge_server.timeseries.block import SUMMARY_MIN_ROWS
from streamgauge_server.timeseries.correction import unsure
from streamgauge_server.timeseries.damage import DamagedPart, damage_of, set_aside
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.latest import LatestSample, decode_latest, encode_latest
from streamgauge_server.timeseries.query import StoredBlock, baseline, needed_for_baseline

_b = tables.blocks.c
_COLUMNS = (_b.seq, _b.day, _b.rows, _b.first_time, _b.last_time, _b.hours, _b.hour_summary, _b.day_summary)


class LatestRebuilding:
    """Makes damaged rows anew, in transactions of their own."""

    def __init__(self, database: Database, log: DamageLog) -> None:
        self._database = database
        self._log = log

    async def rebuild(self, subject_ids: Collection[int]) -> None:
        """Makes those rows of subjects anew that cannot be read.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """

        def work(connection: Connection) -> list[Damage]:
            return rebuild_latest(self._database, connection, subject_ids)

        await self._log.note(await self._database.write(work))


def rebuild_latest(database: Database, connection: Connection, subject_ids: Collection[int]) -> list[Damage]:
    """Makes those rows of subjects anew that cannot be read, within a transaction; returns all damage that it met.

    Takes the locks of the rows.
    """
    met: list[Damage] = []
    for ids in batches(sorted(subject_ids)):
        for row in connection.execute(statements.LOCKED, {"subjects": ids}).all():
            if not is_damaged(row.samples):
                continue
            samples, found = newest_of(database, connection, row.subject_id)
            met += [Damage(DamagedPart.LATEST, row.subject_id, is_loss=False), *found]
            values = {"of_subject": row.subject_id, "new_version": row.version + 1, "new_samples": samples}
            connection.execute(statements.UPDATE_LATEST, values)
    return met


def is_damaged(samples: bytes) -> bool:
    """Tells whether a row of latest values cannot be read."""
    try:
        decode_latest(samples)
    except BlockCorrupt:
        return True
    return False


def newest_of(database: Database, connection: Connection, subject_id: int) -> tuple[bytes, list[Damage]]:
    """Returns the newest samples that the blocks of a subject tell of, encoded, and what of them is damaged."""
    data = case((_b.rows < SUMMARY_MIN_ROWS, _b.data)).label("data")
    query = select(*_COLUMNS, data).where(_b.subject_id == subject_id).order_by(_b.day, _b.seq)
    blocks = [StoredBlock(*row) for row in connection.execute(query)]
    damage: list[Damage] = []

    def read() -> dict[int, LatestSample] | None:
        nonlocal blocks
        try:
            found = baseline(blocks, MAX_MICROS)
        except BlockCorrupt:
            met = [one for block in blocks if (one := damage_of(block)) is not None]
            if not met:
                raise
            blocks = set_aside(blocks, met)
            damage.extend(of_blocks(subject_id, met))
            return None
        return {
            metric: unsure(LatestSample(one.time, one.value, one.start, None)) for metric, one in sorted(found.items())
        }

    samples = None
    while samples is None:
        blocks = _filled(connection, subject_id, blocks)
        samples = database.compute(connection, read)
    return encode_latest(samples), damage


def _filled(connection: Connection, subject_id: int, blocks: Sequence[StoredBlock]) -> list[StoredBlock]:
    """Returns blocks with the samples of those that the newest samples cannot be told without."""
    lacking = needed_for_baseline(blocks, MAX_MICROS)
    data: dict[int, bytes] = {}
    for seqs in batches(sorted(lacking)):
        found = connection.execute(select(_b.seq, _b.data).where(and_(_b.subject_id == subject_id, _b.seq.in_(seqs))))
        data.update((seq, bytes(content)) for seq, content in found)
    return [replace(block, data=data[block.seq]) if block.seq in data else block for block in blocks]
