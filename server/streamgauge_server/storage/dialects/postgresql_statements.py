"""The statements of PostgreSQL's hot paths, on the driver's connection. Rows travel as arrays, one a column."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import Any, Protocol, cast

from sqlalchemy import Table

from streamgauge_server.storage.append_plan import AppendPlan, RequestKey
from streamgauge_server.storage.block_selection import BlockSelection, ListSyntax
from streamgauge_server.storage.database import (
    BlockDataTuple,
    BlockKey,
    DayBlockTuple,
    LatestTuple,
    SubjectDay,
    SubjectPartTuple,
    SubjectTuple,
)
from streamgauge_server.storage.records import REQUEST_LIFETIME, RequestRecord
from streamgauge_server.timeseries.envelope import SEAL_BYTES
from streamgauge_server.timeseries.query import StoredBlock

_LISTS = ListSyntax(
    member=lambda expression, number, item: f"{expression} = ANY(${number}::{item}[])",
    items=lambda number, item: f"unnest(${number}::{item}[]) AS k (value)",
)
_LOCK_ROWS = """
SELECT subject_id, version, samples FROM latest WHERE subject_id = ANY($1::bigint[]) ORDER BY subject_id FOR UPDATE
"""
_INSERT_REQUESTS = """
INSERT INTO requests (tenant, request_id, create_time, body_digest, response)
SELECT k.tenant, k.request_id, $3, k.body_digest, k.response
FROM unnest($1::text[], $2::text[], $4::bytea[], $5::bytea[]) AS k (tenant, request_id, body_digest, response)
ON CONFLICT (tenant, request_id) DO UPDATE
SET create_time = excluded.create_time, body_digest = excluded.body_digest, response = excluded.response
WHERE requests.create_time <= $6
RETURNING tenant, request_id
"""
_FIND_REQUESTS = """
SELECT r.tenant, r.request_id, r.body_digest, r.response
FROM unnest($1::text[], $2::text[]) AS k (tenant, request_id)
JOIN requests AS r ON r.tenant = k.tenant AND r.request_id = k.request_id
"""
_SWEEP_REQUESTS = """
DELETE FROM requests WHERE (tenant, request_id) IN (
  SELECT tenant, request_id FROM requests WHERE create_time <= $1 ORDER BY create_time LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""
_INSERT_BLOCKS = """
INSERT INTO blocks (subject_id, day, rows, first_time, last_time, hours, day_summary, hour_summary, data, run_id)
SELECT * FROM unnest(
  $1::bigint[], $2::int[], $3::int[], $4::bigint[], $5::bigint[], $6::int[], $7::bytea[], $8::bytea[], $9::bytea[],
  $10::text[]
)
"""
_UPDATE_LATEST = """
UPDATE latest AS l SET version = k.version, samples = k.samples
FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS k (subject_id, version, samples)
WHERE l.subject_id = k.subject_id
"""
_LATEST = """
SELECT s.tenant, s.kind, s.name, s.part, l.subject_id, l.version, l.samples
FROM unnest($1::text[], $2::smallint[], $3::text[]) AS k (tenant, kind, name)
JOIN subjects AS s ON s.tenant = k.tenant AND s.kind = k.kind AND s.name = k.name
JOIN latest AS l ON l.subject_id = s.id
"""
_BLOCK_DATA = f"""
SELECT b.seq, b.rows, b.first_time, b.last_time, substr(b.day_summary, 1, {SEAL_BYTES}), b.data
FROM unnest($1::bigint[], $2::int[], $3::bigint[]) AS k (subject_id, day, seq)
JOIN blocks AS b ON b.subject_id = k.subject_id AND b.day = k.day AND b.seq = k.seq
"""
_BLOCK_SEALS = f"""
SELECT b.seq, substr(b.data, 1, {SEAL_BYTES})
FROM unnest($1::bigint[], $2::int[], $3::bigint[]) AS k (subject_id, day, seq)
JOIN blocks AS b ON b.subject_id = k.subject_id AND b.day = k.day AND b.seq = k.seq
WHERE NOT b.reduced
"""
_REMOVE_BLOCKS = """
DELETE FROM blocks AS b
USING unnest($1::bigint[], $2::int[], $3::bigint[]) AS k (subject_id, day, seq)
WHERE b.subject_id = k.subject_id AND b.day = k.day AND b.seq = k.seq
"""
_BLOCKS_OF_DAYS = """
SELECT b.subject_id, b.day, b.seq, b.first_time, b.last_time, b.run_id, b.data
FROM unnest($1::bigint[], $2::int[]) AS k (subject_id, day)
JOIN blocks AS b ON b.subject_id = k.subject_id AND b.day = k.day
WHERE b.first_time < $4 AND b.last_time >= $3
ORDER BY b.subject_id, b.day, b.seq
"""
_DAYS_BACK = """
SELECT b.subject_id, b.day, sum(length(b.data))
FROM unnest($1::bigint[], $2::int[]) AS k (subject_id, last_day)
CROSS JOIN LATERAL (
  SELECT max(o.day) AS day FROM blocks AS o WHERE o.subject_id = k.subject_id AND o.day <= k.last_day
) AS newest
JOIN blocks AS b ON b.subject_id = k.subject_id AND b.day BETWEEN newest.day - $3::int + 1 AND newest.day
GROUP BY b.subject_id, b.day
"""
_SUBJECT_PARTS = """
SELECT s.kind, s.name, s.part, s.id
FROM unnest($1::text[], $2::smallint[], $3::text[]) AS k (tenant, kind, name)
JOIN subjects AS s ON s.tenant = k.tenant AND s.kind = k.kind AND s.name = k.name
"""
_SUBJECT_IDS = """
SELECT s.tenant, s.kind, s.name, s.part, s.id
FROM unnest($1::text[], $2::smallint[], $3::text[], $4::text[]) AS k (tenant, kind, name, part)
JOIN subjects AS s ON s.tenant = k.tenant AND s.kind = k.kind AND s.name = k.name AND s.part = k.part
"""


class Driver(Protocol):
    """What is used of `asyncpg.Connection`, which has no types of its own."""

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """Runs a query and returns its rows."""
        ...

    async def fetchval(self, query: str) -> Any:
        """Runs a query and returns the first value of its first row."""
        ...

    async def execute(self, query: str, *args: object) -> str:
        """Runs a statement."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Returns a context that begins a transaction and ends it."""
        ...

    async def add_listener(self, channel: str, callback: Callable[[object, int, str, object], None]) -> None:
        """Listens on a channel: the callback gets the connection, a process id, the channel and the payload."""
        ...

    def add_termination_listener(self, callback: Callable[[object], None]) -> None:
        """Has a callback called when the connection is closed or breaks."""
        ...

    def is_closed(self) -> bool:
        """Tells whether the connection is closed or broken."""
        ...


async def append(connection: Driver, plan: AppendPlan, now: int) -> None:
    """Carries a plan out inside the transaction that is open."""
    rows = await connection.fetch(_LOCK_ROWS, plan.subject_ids)
    plan.admit({subject_id: (version, samples) for subject_id, version, samples in rows})
    requests = plan.requests()
    if requests:
        plan.settle(await _insert_requests(connection, requests, now))
    block_rows = plan.block_rows()
    if block_rows:
        blocks = [block for _, block, _ in block_rows]
        await connection.execute(
            _INSERT_BLOCKS,
            [subject_id for subject_id, _, _ in block_rows],
            [block.day for block in blocks],
            [block.rows for block in blocks],
            [block.first_time for block in blocks],
            [block.last_time for block in blocks],
            [block.hours for block in blocks],
            [block.day_summary for block in blocks],
            [block.hour_summary for block in blocks],
            [block.data for block in blocks],
            [run_id for _, _, run_id in block_rows],
        )
    latest_rows = plan.latest_rows()
    if latest_rows:
        await connection.execute(_UPDATE_LATEST, *_columns(latest_rows))


async def _insert_requests(
    connection: Driver, requests: Sequence[RequestRecord], now: int
) -> dict[RequestKey, RequestRecord]:
    expired = now - REQUEST_LIFETIME
    inserted = await connection.fetch(
        _INSERT_REQUESTS,
        [request.tenant for request in requests],
        [request.request_id for request in requests],
        now,
        [request.body_digest for request in requests],
        [request.response for request in requests],
        expired,
    )
    known = {(request.tenant, request.request_id) for request in requests} - {tuple(row) for row in inserted}
    found: dict[RequestKey, RequestRecord] = {}
    if known:
        for tenant, request_id, digest, response in await connection.fetch(_FIND_REQUESTS, *_columns(sorted(known))):
            found[tenant, request_id] = RequestRecord(tenant, request_id, digest, response)
    await connection.execute(_SWEEP_REQUESTS, expired, 2 * len(requests))
    return found


async def latest(connection: Driver, subjects: Collection[SubjectTuple]) -> Sequence[LatestTuple]:
    """See `Database.latest`."""
    return cast(Sequence[LatestTuple], await connection.fetch(_LATEST, *_columns(subjects)))


async def subject_parts(connection: Driver, subjects: Collection[SubjectTuple]) -> Sequence[tuple[int, str, str, int]]:
    """See `Database.subject_parts`."""
    return cast(Sequence[tuple[int, str, str, int]], await connection.fetch(_SUBJECT_PARTS, *_columns(subjects)))


async def subject_ids(connection: Driver, keys: Collection[SubjectPartTuple]) -> dict[SubjectPartTuple, int]:
    """See `Database.subject_ids`."""
    rows = await connection.fetch(_SUBJECT_IDS, *_columns(keys))
    return {(tenant, kind, name, part): id_ for tenant, kind, name, part, id_ in rows}


async def insert_many(connection: Driver, table: Table, rows: Collection[tuple[object, ...]]) -> None:
    """See `Database.insert_many`."""
    if rows:
        await connection.execute(_insert_into(table), *_columns(rows))


_ARRAYS = {str: "text[]", int: "bigint[]", bool: "boolean[]", bytes: "bytea[]", object: "jsonb[]"}
"""The arrays in which the values of a column travel, by what SQLAlchemy says of its type: `object` is JSON."""


@lru_cache(maxsize=16)
def _insert_into(table: Table) -> str:
    columns = [column for column in table.columns if column.name != "id"]
    arrays = [f"${number}::{_ARRAYS[column.type.python_type]}" for number, column in enumerate(columns, start=1)]
    return (
        f"INSERT INTO {table.name} ({', '.join(column.name for column in columns)}) "
        f"SELECT * FROM unnest({', '.join(arrays)})"
    )


async def blocks(connection: Driver, selection: BlockSelection) -> Sequence[tuple[int, StoredBlock]]:
    """See `Database.blocks`."""
    rows = await connection.fetch(selection.sql(_LISTS), *selection.parameters)
    return [(row[0], StoredBlock(*row[1:])) for row in rows]


async def block_data(connection: Driver, keys: Collection[BlockKey]) -> Sequence[BlockDataTuple]:
    """See `Database.block_data`."""
    return cast(Sequence[BlockDataTuple], await connection.fetch(_BLOCK_DATA, *_columns(keys)))


async def block_seals(connection: Driver, keys: Collection[BlockKey]) -> Sequence[tuple[int, bytes]]:
    """See `Database.block_seals`."""
    return cast(Sequence[tuple[int, bytes]], await connection.fetch(_BLOCK_SEALS, *_columns(keys)))


async def remove_blocks(connection: Driver, keys: Collection[BlockKey]) -> None:
    """See `Database.remove_blocks`."""
    await connection.execute(_REMOVE_BLOCKS, *_columns(keys))


async def blocks_of_days(
    connection: Driver, days: Collection[SubjectDay], start: int, end: int
) -> Sequence[DayBlockTuple]:
    """See `Database.blocks_of_days`."""
    return cast(Sequence[DayBlockTuple], await connection.fetch(_BLOCKS_OF_DAYS, *_columns(days), start, end))


async def days_back(connection: Driver, last_days: Collection[SubjectDay], days: int) -> Sequence[tuple[int, int, int]]:
    """See `Database.days_back`."""
    return cast(Sequence[tuple[int, int, int]], await connection.fetch(_DAYS_BACK, *_columns(last_days), days))


def _columns(rows: Collection[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
