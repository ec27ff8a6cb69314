"""The observations: appending blocks, loading them, and the latest values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, select, update

from streamgauge_server.model.clock import MICROS_PER_DAY, MIN_MICROS, Clock
from streamgauge_server.model.names import SubjectName
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.block_selection import BlockSelection
from streamgauge_server.storage.database import Database, LatestTuple, SubjectTuple
from streamgauge_server.storage.group_commit import GroupCommit
from streamgauge_server.storage.group_read import GroupRead
from streamgauge_server.storage.latest_rebuilding import LatestRebuilding, is_damaged
from streamgauge_server.storage.records import (
    REQUEST_LIFETIME,
    Append,
    LatestDamaged,
    LatestRow,
    Outcome,
    RequestRecord,
    SubjectGone,
    SubjectWrite,
)
from streamgauge_server.timeseries.block import SUMMARY_MIN_ROWS
from streamgauge_server.timeseries.envelope import SEAL_BYTES, BlockCorrupt
from streamgauge_server.timeseries.latest import LatestSample, decode_latest, encode_latest
from streamgauge_server.timeseries.query import StoredBlock

__all__ = ["BlockExtent", "Blocks", "LatestRow", "RequestRecord", "SubjectGone", "SubjectWrite"]

DATA_BELOW_ROWS = SUMMARY_MIN_ROWS
"""By default blocks of fewer rows are loaded with their data: they have no summaries."""

SUBJECTS_AT_ONCE = 100
"""Subjects whose blocks one statement loads: other calls get their turn in between."""


_FIRST_DAY = MIN_MICROS // MICROS_PER_DAY


@dataclass(frozen=True, slots=True)
class BlockExtent:
    """Where a block of a subject is and how large: its first moment in microseconds, the bytes of its data."""

    day: int
    seq: int
    first_time: int
    size: int


Enough = Callable[[int, Sequence[StoredBlock]], bool]


class Blocks:
    """Appends and loads blocks. Subjects are named by their ids, except in `latest`."""

    def __init__(self, database: Database, clock: Clock, rebuilding: LatestRebuilding) -> None:
        self._database = database
        self._clock = clock
        self._rebuilding = rebuilding
        self._commits = GroupCommit(self._append_all)
        self._latest: GroupRead[SubjectTuple, dict[str, LatestRow]] = GroupRead(self._fetch_latest)

    async def append(
        self, writes: Sequence[SubjectWrite], request: RequestRecord | None = None
    ) -> RequestRecord | None:
        """Stores blocks, advances the latest values, and returns when both are durable: all of it or nothing.

        Of blocks of one subject that hold the same moment and metric, those of the later append win; within an append
        those further back. With a `request` whose key was used in the last 24 hours nothing is stored and the earlier
        record is returned; the caller compares the digests. Concurrent appends share a transaction.

        A caller that is cancelled may or may not have written.

        Raises:
            SubjectGone: a subject does not exist.
            DomainError: STORE_UNAVAILABLE, SHUTTING_DOWN.
        """
        return await self._commits.submit(Append(writes, request))

    @property
    def appends_waiting(self) -> int:
        """How many appends of this process wait for their transaction to begin."""
        return self._commits.waiting

    async def find_request(self, tenant: str, request_id: str) -> RequestRecord | None:
        """Returns the record of an idempotency key that was used in the last 24 hours, or None.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        t = tables.requests
        query = select(t.c.body_digest, t.c.response).where(
            t.c.tenant == tenant,
            t.c.request_id == request_id,
            t.c.create_time > self._clock.now() - REQUEST_LIFETIME,
        )
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else RequestRecord(tenant, request_id, row.body_digest, row.response)

    async def load(
        self,
        subject_ids: Sequence[int],
        first_day: int,
        last_day: int,
        *,
        summaries: bool,
        hour_summary_days: Collection[int] | None = None,
        data_below_rows: int = DATA_BELOW_ROWS,
    ) -> dict[int, list[StoredBlock]]:
        """Returns the blocks of subjects from one day to another, both included, by subject, sorted by (day, seq).

        `data` is filled in for blocks of fewer than `data_below_rows` rows, None for others. Summaries are None without
        `summaries`; with `hour_summary_days`, those of hours are filled in for these days only. Subjects without blocks
        have an empty list. One statement per 100 subjects.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        return await self._load(
            BlockSelection(subject_ids, first_day, last_day, summaries, hour_summary_days, data_below_rows)
        )

    async def extents(self, subject_id: int, start: int, end: int, *, limit: int) -> list[BlockExtent]:
        """Returns the first `limit` blocks of a subject that reach into [start, end), by first moment, then by seq.

        Reduced ones, which have no samples, are left out.

        The index has them by day, so this costs as much as the blocks of the days that are returned.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        t = tables.blocks
        query = (
            select(t.c.day, t.c.seq, t.c.first_time, func.length(t.c.data))
            .where(
                t.c.subject_id == subject_id,
                t.c.day.between(start // MICROS_PER_DAY, (end - 1) // MICROS_PER_DAY),
                t.c.last_time >= start,
                t.c.first_time < end,
                ~t.c.reduced,
            )
            .order_by(t.c.day, t.c.first_time, t.c.seq)
            .limit(limit)
        )
        return await self._database.read(lambda connection: [BlockExtent(*row) for row in connection.execute(query)])

    async def reduced(self, subject_id: int, first_day: int, last_day: int) -> list[tuple[int, bytes]]:
        """Returns the days of a subject of which samples are gone, rising, with their summaries of the day.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        t = tables.blocks
        query = (
            select(t.c.day, t.c.day_summary)
            .where(t.c.subject_id == subject_id, t.c.day.between(first_day, last_day), t.c.reduced)
            .order_by(t.c.day)
        )
        return await self._database.read(lambda connection: [(day, data) for day, data in connection.execute(query)])

    async def load_data(self, keys: Sequence[tuple[int, int, int]]) -> dict[int, bytes]:
        """Returns the data of blocks named by (subject id, day, seq), by seq; blocks that are gone are missing.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        found: dict[int, bytes] = {}
        for batch in batches(keys):
            found |= {seq: data for seq, *_, data in await self._database.block_data(batch)}
        return found

    async def load_data_of(self, blocks: Mapping[int, Sequence[StoredBlock]]) -> dict[int, bytes]:
        """Returns the data of blocks that were loaded, given by subject id, by seq.

        Missing are those that have gone or changed since: they were deleted, corrected, folded with others, or lost
        samples to retention. What was loaded of their subjects is then no longer of one moment, and has to be loaded
        again as a whole.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        loaded = {block.seq: block for held in blocks.values() for block in held}
        found: dict[int, bytes] = {}
        for batch in batches((id_, block.day, block.seq) for id_, held in blocks.items() for block in held):
            for seq, rows, first_time, last_time, seal, data in await self._database.block_data(batch):
                block = loaded[seq]
                same = (rows, first_time, last_time) == (block.rows, block.first_time, block.last_time)
                # A metric may go and leave all moments as they are.
                if same and (block.day_summary is None or block.day_summary[:SEAL_BYTES] == seal):
                    found[seq] = data
        return found

    async def days_before(
        self,
        subject_ids: Sequence[int],
        day: int,
        *,
        enough: Enough | None = None,
        data_below_rows: int = DATA_BELOW_ROWS,
    ) -> dict[int, list[StoredBlock]]:
        """Returns what a baseline needs: the newest blocks of subjects before a day, whole days of them.

        First the newest day that holds anything; then, for subjects of which `enough(subject_id, blocks)` is false, the
        30 days before it as well; then everything earlier: at most three statements (per 100 subjects). Without
        `enough` any block is enough. Subjects without blocks have an empty list; blocks come with day summaries,
        without those of hours, and with data below `data_below_rows`, sorted by (day, seq).

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        newest = BlockSelection(subject_ids, _FIRST_DAY, day - 1, True, (), data_below_rows, newest_day_only=True)
        found = await self._load(newest)
        for days in (30, None):
            more = [id_ for id_, blocks in found.items() if blocks and not (enough is None or enough(id_, blocks))]
            if not more:
                break
            first_day = _FIRST_DAY if days is None else min(found[id_][0].day for id_ in more) - days
            found |= await self._load(BlockSelection(more, first_day, day - 1, True, (), data_below_rows))
        return found

    async def latest(self, tenant: str, names: Sequence[SubjectName]) -> dict[SubjectName, dict[str, LatestRow]]:
        """Returns the newest samples of subjects, by subject and part; the part of the subject as a whole is "".

        Subjects that do not exist are missing; those without samples have rows without samples. One statement for up to
        1,000 subjects, shared with concurrent callers: rows must not be modified.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        keys = {name: (tenant, int(name.kind), name.id) for name in names}
        found = await self._latest.get(keys.values())
        return {name: found[key] for name, key in keys.items() if key in found}

    async def set_lifetimes(self, subject_id: int, version: int, lifetimes: Mapping[int, int | float]) -> None:
        """Stores recomputed lifetime totals by metric id, unless the subject's row has changed since `version`.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        t = tables.latest
        same = (t.c.subject_id == subject_id, t.c.version == version)

        def work(connection: Connection) -> None:
            encoded = connection.scalar(select(t.c.samples).where(*same).with_for_update())
            if encoded is None:
                return
            try:
                samples = decode_latest(encoded)
            except BlockCorrupt:
                return  # made anew by whoever reads it next, and then another version
            for metric, lifetime in lifetimes.items():
                if (old := samples.get(metric)) is not None:
                    samples[metric] = LatestSample(old.time, old.value, old.start, lifetime)
            connection.execute(update(t).where(*same).values(version=version + 1, samples=encode_latest(samples)))

        await self._database.write(work)

    async def close(self) -> None:
        """Commits what waits and refuses further appends."""
        await self._commits.close()

    async def _append_all(self, appends: Sequence[Append]) -> Sequence[Outcome]:
        try:
            return await self._database.append(appends, self._clock.now())
        except LatestDamaged as error:
            await self._rebuilding.rebuild(error.subject_ids)
        return await self._database.append(appends, self._clock.now())

    async def _fetch_latest(self, keys: Collection[SubjectTuple]) -> dict[SubjectTuple, dict[str, LatestRow]]:
        rows = await self._database.latest(keys)
        try:
            return _by_subject(rows)
        except BlockCorrupt:
            await self._rebuilding.rebuild({row[4] for row in rows if is_damaged(row[6])})
        return _by_subject(await self._database.latest(keys))

    async def _load(self, selection: BlockSelection) -> dict[int, list[StoredBlock]]:
        found: dict[int, list[StoredBlock]] = {id_: [] for id_ in selection.subject_ids}
        for ids in batches(found, SUBJECTS_AT_ONCE):
            for subject_id, block in await self._database.blocks(replace(selection, subject_ids=ids)):
                found[subject_id].append(block)
        return found


def _by_subject(rows: Sequence[LatestTuple]) -> dict[SubjectTuple, dict[str, LatestRow]]:
    found: dict[SubjectTuple, dict[str, LatestRow]] = {}
    for tenant, kind, name, part, subject_id, version, samples in rows:
        row = LatestRow(subject_id, version, decode_latest(samples))
        found.setdefault((tenant, kind, name), {})[part] = row
    return found
