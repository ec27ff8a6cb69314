"""What a SQL engine has to offer, and how one is opened."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, Table

from streamgauge_server.storage.block_selection import BlockSelection
from streamgauge_server.storage.commit_signal import CommitSignal
from streamgauge_server.storage.records import Append, Outcome
from streamgauge_server.storage.urls import Engine, StoreUrl
from streamgauge_server.timeseries.query import StoredBlock

T = TypeVar("T")

SubjectTuple = tuple[str, int, str]
"""Tenant, number of the subject's kind, name."""
LatestTuple = tuple[str, int, str, str, int, int, bytes]
"""Tenant, kind, name, part, subject id, version, encoded samples."""
BlockKey = tuple[int, int, int]
"""Subject id, day, seq."""
BlockDataTuple = tuple[int, int, int, int, bytes | None, bytes]
"""Seq, rows, first and last moment, the seal of the summary of the day, data."""
SubjectDay = tuple[int, int]
"""Subject id, day."""
DayBlockTuple = tuple[int, int, int, int, int, str | None, bytes]
"""Subject id, day, seq, first and last moment, the run that wrote it, data."""
SubjectPartTuple = tuple[str, int, str, str]
"""Tenant, kind, name, part."""


class Database(Protocol):
    """One database of one engine.

    `read` and `write` run a plain function of a connection as one transaction. The function may run twice, after a lost
    connection or a conflict with another transaction, so its only effects are those on the database. Errors of the
    driver come out as `DomainError` STORE_UNAVAILABLE where the store is to blame. A text with the character U+0000,
    which PostgreSQL cannot keep, is INVALID_FIELD there. After `close` every call is SHUTTING_DOWN.
    """

    engine: Engine
    committed: CommitSignal
    """Fires after every commit of this process."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs a function that only reads. Each of its statements sees what is committed when it starts."""
        ...

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs a function as a transaction and returns when it is durable."""
        ...

    async def append(self, appends: Sequence[Append], now: int) -> list[Outcome]:
        """Runs the append transaction; `now` is when new idempotency keys begin to age, in microseconds."""
        ...

    async def latest(self, subjects: Collection[SubjectTuple]) -> Sequence[LatestTuple]:
        """Returns the `latest` rows of all parts of subjects that exist, in one statement."""
        ...

    async def subject_ids(self, keys: Collection[SubjectPartTuple]) -> dict[SubjectPartTuple, int]:
        """Returns the ids of those subject parts that exist, in one statement."""
        ...

    def subject_ids_within(
        self, connection: Connection, keys: Collection[SubjectPartTuple]
    ) -> dict[SubjectPartTuple, int]:
        """Returns what `subject_ids` does, as part of the transaction of a function that `write` runs."""
        ...

    def insert_many(self, connection: Connection, table: Table, rows: Collection[tuple[object, ...]]) -> None:
        """Inserts rows as part of the transaction of a function that `write` runs, at what the driver itself takes.

        A row has the values of all columns of the table in their order, except for an `id`, which the database gives;
        JSON is given as text.
        """
        ...

    async def subject_parts(self, subjects: Collection[SubjectTuple]) -> Sequence[tuple[int, str, str, int]]:
        """Returns kind, name, part and id of all parts of subjects that exist, in one statement."""
        ...

    def compute(self, connection: Connection, work: Callable[[], T]) -> T:
        """Runs a long computation in the middle of a function that `read` or `write` runs: other calls go on."""
        ...

    async def blocks(self, selection: BlockSelection) -> Sequence[tuple[int, StoredBlock]]:
        """Returns the blocks of a selection with their subject ids, in one statement."""
        ...

    async def block_data(self, keys: Collection[BlockKey]) -> Sequence[BlockDataTuple]:
        """Returns the data of those blocks that exist, in one statement."""
        ...

    def blocks_of_days(
        self, connection: Connection, days: Collection[SubjectDay], start: int, end: int
    ) -> Sequence[DayBlockTuple]:
        """Returns the blocks of days of subjects that reach into [start, end), by (subject, day, seq).

        In one statement, as part of the transaction of a function that `read` or `write` runs; so does `days_back`.
        """
        ...

    def days_back(
        self, connection: Connection, last_days: Collection[SubjectDay], days: int
    ) -> Sequence[tuple[int, int, int]]:
        """Returns the days on which subjects have blocks and how many bytes of data: (subject, day, bytes).

        Of each subject the newest such day up to its last one, and those of the `days` - 1 days before it.
        """
        ...

    def block_seals(self, connection: Connection, keys: Collection[BlockKey]) -> Sequence[tuple[int, bytes]]:
        """Returns seq and the seal of the data of those blocks that exist and have all their samples.

        In one statement, as part of the transaction of a function that `write` runs; so does `remove_blocks`.
        """
        ...

    def remove_blocks(self, connection: Connection, keys: Collection[BlockKey]) -> None:
        """Deletes blocks."""
        ...

    async def hear(self, listener: Callable[[], None]) -> None:
        """Calls a listener soon after commits of other processes, until it is cancelled.

        It is only a hint: nobody tells of commits while the connection is lost. An engine that has no way to tell
        returns at once.
        """
        ...

    async def version(self) -> str:
        """Returns the version of the database software. Also the cheapest way to see whether it answers."""
        ...

    def has_item(self, document: ColumnElement[Any], key: str, value: str) -> ColumnElement[bool]:
        """Returns the condition that a JSON object holds a key with a text value."""
        ...

    async def close(self) -> None:
        """Closes all connections."""
        ...


async def open_database(url: StoreUrl, *, pool_size: int) -> Database:
    """Opens a database; `pool_size` bounds how many reads run at the same time."""
    if url.engine == "sqlite":
        from streamgauge_server.storage.dialects.sqlite import SqliteDatabase

        return await SqliteDatabase.open(url, pool_size=pool_size)
    from streamgauge_server.storage.dialects.postgresql import PostgresqlDatabase

    return await PostgresqlDatabase.open(url, pool_size=pool_size)


async def run_once(url: StoreUrl, work: Callable[[Connection], T], *, migrating: bool) -> T | None:
    """Runs a function as the one transaction of a connection of its own.

    With `migrating` it creates what is missing and locks out other processes that migrate. Without, a missing database
    file is None.

    Raises:
        DomainError: STORE_UNAVAILABLE.
    """
    if url.engine == "sqlite":
        from streamgauge_server.storage.dialects.sqlite import run_once as run_on_sqlite

        return await run_on_sqlite(url, work, migrating=migrating)
    from streamgauge_server.storage.dialects.postgresql import run_once as run_on_postgresql

    return await run_on_postgresql(url, work, migrating=migrating)
