"""The blocks as a log in the order of their commits, for those who watch what is written.

A position of the log is that of a transaction and a block within it: the seq alone on SQLite, which has one writer at a
time, and on PostgreSQL the id of the transaction and the seq. There only transactions are read below the oldest one
that is still running, so none is missed that took its id early and commits late.

In that order blocks of one subject may come with falling seqs: a transaction that waited for the subject's lock has
the lower id and the higher seqs. Which of them stands is for the seqs to say, so a batch is sorted by seq; and where a
block with a higher seq was told in a batch before, it is told again along with the late one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, select, text

from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import INT64_MAX, SubjectKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.storage.positions import LogState, log_state
from streamgauge_server.storage.subjects import SubjectKey

MAX_BLOCKS = 1_000
"""Blocks in one batch, those not counted that are told again."""
MAX_BYTES = 4 * 2**20
"""Data of the blocks in one batch, unless a single one has more."""


class LogPosition(NamedTuple):
    """As far as a block of a transaction; all of the transaction where `seq` is INT64_MAX."""

    position: int
    seq: int


def whole(position: int) -> LogPosition:
    """Returns the place behind everything at a position."""
    return LogPosition(position, INT64_MAX)


BEGINNING = whole(0)


class LogExpired(Exception):
    """Blocks after the place asked for may have been folded. What is after `oldest` can still be told."""

    def __init__(self, oldest: LogPosition) -> None:
        super().__init__(f"folded up to {oldest.position}")
        self.oldest = oldest


class LoggedBlock(NamedTuple):
    """A block as it stands: the one with the higher seq stands over others of its subject or part."""

    subject_id: int
    day: int
    seq: int
    data: bytes


@dataclass(frozen=True, slots=True)
class LogBatch:
    """What was committed up to a place, by seq. `more` tells that there is more to read at once."""

    blocks: Sequence[LoggedBlock]
    through: LogPosition
    more: bool


_FOLDED = select(tables.block_log.c.folded_position)
_b, _s = tables.blocks.c, tables.subjects.c
_SIZES = (
    select(_b.seq, func.length(_b.data))
    .where(_b.seq > bindparam("after"), _b.seq <= bindparam("until"))
    .order_by(_b.seq)
    .limit(MAX_BLOCKS + 1)
)
_ROWS = (
    select(_b.subject_id, _b.day, _b.seq, _b.data)
    .where(_b.seq > bindparam("after"), _b.seq <= bindparam("until"))
    .order_by(_b.seq)
)
_NEWS = text(f"""
WITH first AS MATERIALIZED (
  SELECT b.transaction_id, b.seq, b.subject_id, b.day, length(b.data) AS size
  FROM blocks AS b
  WHERE b.transaction_id >= :position AND (b.transaction_id, b.seq) > (:position, :seq)
    AND (b.transaction_id, b.seq) <= (:until_position, :until_seq)
    AND b.transaction_id < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
  ORDER BY b.transaction_id, b.seq
  LIMIT {MAX_BLOCKS + 1}
), news AS MATERIALIZED (
  SELECT f.*, row_number() OVER log AS place, sum(f.size) OVER log - f.size AS before
  FROM first AS f
  WINDOW log AS (ORDER BY f.transaction_id, f.seq)
), told AS MATERIALIZED (
  SELECT n.transaction_id, n.seq, n.subject_id, n.day
  FROM news AS n
  WHERE n.place <= {MAX_BLOCKS} AND n.before < {MAX_BYTES}
), again AS (
  SELECT DISTINCT o.transaction_id, o.seq, o.subject_id, o.day
  FROM told AS t
  JOIN blocks AS o ON o.subject_id = t.subject_id AND o.day = t.day AND o.seq > t.seq
  WHERE o.transaction_id < t.transaction_id
    AND (o.transaction_id, o.seq) <= (:position, :seq)
)
SELECT l.folded_position, (SELECT count(*) FROM first) AS found, k.fresh, k.transaction_id, k.subject_id, k.day, k.seq,
  b.data
FROM block_log AS l
LEFT JOIN (
  SELECT true AS fresh, told.* FROM told UNION ALL SELECT false, again.* FROM again
) AS k ON true
LEFT JOIN blocks AS b ON b.subject_id = k.subject_id AND b.day = k.day AND b.seq = k.seq
""")
_NEWEST_TRANSACTION = text("""
SELECT max(b.transaction_id) FROM blocks AS b
WHERE b.transaction_id < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
""")


class ChangeLog:
    """Reads the log."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read = _read_sqlite if database.engine == "sqlite" else _read_postgresql

    async def state(self) -> tuple[LogState, LogPosition]:
        """Returns the state of the log, and the place behind everything that is committed.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """

        def work(connection: Connection) -> tuple[LogState, LogPosition]:
            # First: what is folded after it was read was final before.
            state = log_state(connection)
            newest: int | None = state.final_position
            if self._database.engine != "sqlite":
                # Ids of transactions that wrote no block are left out: after a crash of the database they may be given
                # again.
                newest = connection.scalar(_NEWEST_TRANSACTION)
            return state, whole(max(newest or 0, state.folded_position))

        return await self._database.read(work)

    async def read(self, after: LogPosition, until: LogPosition | None = None) -> LogBatch:
        """Returns what was committed after a place, as far as it is final, up to another place or to the newest.

        Raises:
            LogExpired: some of it may have been folded. The check and the batch are of one moment.
            DomainError: STORE_UNAVAILABLE.
        """
        end = whole(INT64_MAX) if until is None else until
        return await self._database.read(lambda connection: self._read(connection, after, end))

    async def subjects(self, ids: Collection[int]) -> dict[int, tuple[str, SubjectKey]]:
        """Returns tenant and name of those subjects and parts that exist, by id.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """

        def work(connection: Connection) -> dict[int, tuple[str, SubjectKey]]:
            found: dict[int, tuple[str, SubjectKey]] = {}
            for batch in batches(ids):
                query = select(_s.id, _s.tenant, _s.kind, _s.name, _s.part).where(_s.id.in_(batch))
                for id_, tenant, kind, name, part in connection.execute(query):
                    found[id_] = (tenant, SubjectKey(SubjectName(SubjectKind(kind), name), part))
            return found

        return await self._database.read(work)

    def listen(self, listener: Callable[[], None]) -> None:
        """Has a listener called after every commit of this process."""
        self._database.committed.add(listener)

    def ignore(self, listener: Callable[[], None]) -> None:
        """Ends what `listen` began."""
        self._database.committed.remove(listener)

    async def hear(self, listener: Callable[[], None]) -> None:
        """Calls a listener after commits of other processes, until it is cancelled; see `Database.hear`."""
        await self._database.hear(listener)


def _check(after: LogPosition, folded: int) -> None:
    if after < whole(folded):
        raise LogExpired(whole(folded))


def _read_sqlite(connection: Connection, after: LogPosition, until: LogPosition) -> LogBatch:
    _check(after, connection.execute(_FOLDED).scalar_one())
    span = {"after": after.position, "until": until.position}
    sizes = connection.execute(_SIZES, span).all()
    if not sizes:
        return LogBatch((), after, more=False)
    taken, size = 0, 0
    while taken < min(len(sizes), MAX_BLOCKS) and (not taken or size < MAX_BYTES):
        size += sizes[taken][1]
        taken += 1
    last = sizes[taken - 1][0]
    rows = connection.execute(_ROWS, {"after": after.position, "until": last})
    return LogBatch([LoggedBlock(*row) for row in rows if row.data], whole(last), taken < len(sizes))


def _read_postgresql(connection: Connection, after: LogPosition, until: LogPosition) -> LogBatch:
    parameters: dict[str, Any] = {
        "position": after.position,
        "seq": after.seq,
        "until_position": until.position,
        "until_seq": until.seq,
    }
    rows = connection.execute(_NEWS, parameters).all()
    _check(after, rows[0].folded_position)
    told = [LogPosition(row.transaction_id, row.seq) for row in rows if row.fresh]
    blocks = [LoggedBlock(row.subject_id, row.day, row.seq, row.data) for row in rows if row.data]
    if more := len(told) < rows[0].found:
        through = max(told)
    else:
        # Of transactions as far as this one there is nothing more to come.
        through = min(until, whole(max(told).position)) if told else after
    return LogBatch(sorted(blocks, key=lambda block: block.seq), through, more)
