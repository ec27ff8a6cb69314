"""Positions: where a block stands in the order of commits, and what was final how long ago.

The position of a block is its `seq` on SQLite, which has one writer at a time, and the id of the transaction that
inserted it on PostgreSQL. A position is final when no block at or below it can still be committed. On PostgreSQL any
transaction of the cluster that writes and stays open holds finality up, also one of another database.

Blocks that have been final for the watch horizon may be folded. How long a position has been final is told by `age`,
the time for which servers have been running: it advances by no more than either the clock or the process's own waiting
says, so a clock that jumps forward makes nothing older than it is, and one that jumps back stops nothing for good.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, case, delete, func, insert, select, text, update

from streamgauge_server.model.clock import MICROS_PER_MINUTE, MICROS_PER_SECOND, Clock
from streamgauge_server.storage import tables
from streamgauge_server.storage.database import Database

CLOCK_TOLERANCE = 10 * MICROS_PER_MINUTE
"""By how much the clocks of servers may differ: one that is further behind the newest note counts as set back."""
LEAST_STEP = MICROS_PER_MINUTE // 2
"""How far apart notes are at least, in microseconds, whoever makes them."""

_log, _positions, _blocks = tables.block_log.c, tables.positions.c, tables.blocks.c
_FINAL = {
    "sqlite": text("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'blocks'), 0)"),
    "postgresql": text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1"),
}
_NEXT_TRANSACTION = text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
# What this statement sees and was not inserted by a transaction of this cluster.
_FORGET_TRANSACTIONS = text(
    "UPDATE blocks SET transaction_id = 0 WHERE transaction_id >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
)
_STATE = select(_log.store_id, _log.folded_position)
_LEAST_OLD = select(
    case((_log.folded_position < _log.discovered_position, _log.discovered_position), else_=_log.folded_position)
)
_LOCKED_STATE = _STATE.with_for_update()
_NEWEST = select(_positions.age, _positions.time, _positions.position).order_by(_positions.age.desc()).limit(1)
_NEWEST_TRANSACTION = select(func.max(_blocks.transaction_id)).where(_blocks.transaction_id.is_not(None))


@dataclass(frozen=True, slots=True)
class LogState:
    """The state of the blocks as a log.

    `store_id` is random, each store has its own. Blocks at or below `folded_position` may have been folded, so that a
    watcher who has not come that far may have missed something. `final_position` is the last one that is final.
    """

    store_id: str
    folded_position: int
    final_position: int


def final_position(connection: Connection) -> int:
    """Returns the last final position, within the transaction of a connection."""
    return int(connection.execute(_FINAL[connection.dialect.name]).scalar_one())


def log_state(connection: Connection) -> LogState:
    """Returns the state of the log, within the transaction of a connection."""
    final = final_position(connection)
    row = connection.execute(_STATE).one()
    return LogState(row.store_id, row.folded_position, final)


def raise_folded(connection: Connection, position: int) -> None:
    """Tells watchers that blocks up to a position may be folded, within the transaction that folds them."""
    connection.execute(update(tables.block_log).where(_log.folded_position < position).values(folded_position=position))


class Positions:
    """Tells which positions are final, and keeps notes of it."""

    def __init__(self, database: Database, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._seen = _Seen(-1, 0)

    async def final(self) -> int:
        """Returns the last final position: no block at or below it can still be committed.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        return await self._database.read(final_position)

    async def state(self) -> LogState:
        """Returns the state of the log.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        return await self._database.read(log_state)

    async def adopt(self) -> bool:
        """Makes positions fit the database that the store is in now; returns whether they did not.

        A store of PostgreSQL that was restored from a dump into another cluster has transaction ids that are yet to
        come there. Its blocks then count as old, and it becomes another store: cursors of before are not of it.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        return await self._database.write(_adopt)

    async def note(self, kept: int) -> None:
        """Notes which position is final now, unless nothing has been appended since the last note.

        To be called about once a minute. Notes that are older than `kept` microseconds are removed but for the newest
        of them. When the system's clock was set back, days that wait to be compacted are looked at anew.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        now, waiting = self._clock.now(), self._micros()

        def work(connection: Connection) -> int:
            connection.execute(_LOCKED_STATE)
            position = _last_block(connection)
            newest = connection.execute(_NEWEST).one_or_none()
            age = 0
            if newest is not None:
                step = min(max(now - newest.time, 0), self._waited(newest.age, waiting))
                if now < newest.time - CLOCK_TOLERANCE:
                    due = tables.compactions.c.due_time
                    connection.execute(update(tables.compactions).where(due > now).values(due_time=now))
                elif position == newest.position or step < LEAST_STEP:
                    return int(newest.age)
                age = newest.age + max(step, 1)
            connection.execute(insert(tables.positions).values(age=age, time=now, position=position))
            kept_from = select(func.max(_positions.age)).where(_positions.age <= age - kept).scalar_subquery()
            connection.execute(delete(tables.positions).where(_positions.age < kept_from))
            return age

        self._see(await self._database.write(work), waiting)

    async def old(self, horizon: int) -> int:
        """Returns the highest position that has been final for `horizon` microseconds as far as is known.

        That is at least the one up to which blocks may have been folded already, or days to fold were looked for: a
        block that another server has found must not be passed over by this one.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        now, waiting = self._clock.now(), self._micros()

        def work(connection: Connection) -> tuple[int, int]:
            if not horizon:
                return final_position(connection), -1
            least: int = connection.execute(_LEAST_OLD).scalar_one()
            newest = connection.execute(_NEWEST).one_or_none()
            if newest is None:
                return least, -1
            age = newest.age + min(max(now - newest.time, 0), self._waited(newest.age, waiting))
            of_then = connection.scalar(select(func.max(_positions.position)).where(_positions.age <= age - horizon))
            return max(least, of_then or 0), newest.age

        position, age = await self._database.read(work)
        if age >= 0:
            self._see(age, waiting)
        return position

    def _micros(self) -> int:
        return int(self._monotonic() * MICROS_PER_SECOND)

    def _waited(self, age: int, now: int) -> int:
        """Returns for how long this process has known the note with an age."""
        return now - self._seen.since if self._seen.age == age else 0

    def _see(self, age: int, now: int) -> None:
        if self._seen.age != age:
            self._seen = _Seen(age, now)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The newest note and since when this process has known it, in microseconds by a clock that cannot be set."""

    age: int
    since: int


def _adopt(connection: Connection) -> bool:
    if connection.dialect.name == "sqlite":
        return False
    state = connection.execute(_LOCKED_STATE).one()
    newest = max(state.folded_position, connection.scalar(_NEWEST_TRANSACTION) or 0)
    if newest < connection.execute(_NEXT_TRANSACTION).scalar_one():
        return False
    connection.execute(_FORGET_TRANSACTIONS)
    connection.execute(delete(tables.positions))
    other_store = {"store_id": secrets.token_hex(16), "folded_position": 0}
    connection.execute(update(tables.block_log).values(**other_store, discovered_position=0, discovered_seq=0))
    return True


def _last_block(connection: Connection) -> int:
    """Returns the position of the last block that is final, or where there is none above a final position, that one."""
    final = final_position(connection)
    if connection.dialect.name == "sqlite":
        return final
    newest = connection.scalar(_NEWEST_TRANSACTION)
    return final if newest is None else min(final, newest)
