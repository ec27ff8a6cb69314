"""The statements of SQLite's hot paths, on the driver's connection. Sets of keys travel as one JSON parameter."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from functools import lru_cache

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
    member=lambda expression, number, _: f"{expression} IN (SELECT value FROM json_each(${number}))",
    items=lambda number, _: f"json_each(${number}) AS k",
)
_LOCKED_ROWS = """
SELECT l.subject_id, l.version, l.samples
FROM json_each(?) AS k CROSS JOIN latest AS l ON l.subject_id = k.value
"""
_INSERT_REQUEST = """
INSERT INTO requests (tenant, request_id, create_time, body_digest, response) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (tenant, request_id) DO UPDATE
SET create_time = excluded.create_time, body_digest = excluded.body_digest, response = excluded.response
WHERE requests.create_time <= ?
"""
_FIND_REQUEST = "SELECT body_digest, response FROM requests WHERE tenant = ? AND request_id = ?"
_SWEEP_REQUESTS = """
DELETE FROM requests WHERE rowid IN (SELECT rowid FROM requests WHERE create_time <= ? ORDER BY create_time LIMIT ?)
"""
_INSERT_BLOCK = """
INSERT INTO blocks (subject_id, day, rows, first_time, last_time, hours, day_summary, hour_summary, data, run_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_UPDATE_LATEST = "UPDATE latest SET version = ?, samples = ? WHERE subject_id = ?"
_LATEST = """
SELECT s.tenant, s.kind, s.name, s.part, l.subject_id, l.version, l.samples
FROM json_each(?) AS k
CROSS JOIN subjects AS s
  ON s.tenant = json_extract(k.value, '$[0]')
  AND s.kind = json_extract(k.value, '$[1]')
  AND s.name = json_extract(k.value, '$[2]')
JOIN latest AS l ON l.subject_id = s.id
"""
_BLOCK_DATA = f"""
SELECT seq, rows, first_time, last_time, substr(day_summary, 1, {SEAL_BYTES}), data
FROM blocks WHERE seq IN (SELECT value FROM json_each(?))
"""
_BLOCK_SEALS = f"""
SELECT seq, substr(data, 1, {SEAL_BYTES}) FROM blocks WHERE seq IN (SELECT value FROM json_each(?)) AND NOT reduced
"""
_REMOVE_BLOCKS = "DELETE FROM blocks WHERE seq IN (SELECT value FROM json_each(?))"
_BLOCKS_OF_DAYS = """
SELECT b.subject_id, b.day, b.seq, b.first_time, b.last_time, b.run_id, b.data
FROM json_each(?) AS k
CROSS JOIN blocks AS b ON b.subject_id = json_extract(k.value, '$[0]') AND b.day = json_extract(k.value, '$[1]')
WHERE b.first_time < ? AND b.last_time >= ?
ORDER BY b.subject_id, b.day, b.seq
"""
_DAYS_BACK = """
WITH newest AS MATERIALIZED (
  SELECT k.subject_id, (SELECT max(o.day) FROM blocks AS o WHERE o.subject_id = k.subject_id AND o.day <= k.day) AS day
  FROM (
    SELECT json_extract(value, '$[0]') AS subject_id, json_extract(value, '$[1]') AS day FROM json_each(?)
  ) AS k
)
SELECT b.subject_id, b.day, sum(length(b.data))
FROM newest CROSS JOIN blocks AS b
ON b.subject_id = newest.subject_id AND b.day BETWEEN newest.day - ? + 1 AND newest.day
GROUP BY b.subject_id, b.day
"""
_SUBJECT_PARTS = """
SELECT s.kind, s.name, s.part, s.id
FROM json_each(?) AS k
CROSS JOIN subjects AS s
  ON s.tenant = json_extract(k.value, '$[0]')
  AND s.kind = json_extract(k.value, '$[1]')
  AND s.name = json_extract(k.value, '$[2]')
"""
_SUBJECT_IDS = """
SELECT s.tenant, s.kind, s.name, s.part, s.id
FROM json_each(?) AS k
CROSS JOIN subjects AS s
  ON s.tenant = json_extract(k.value, '$[0]')
  AND s.kind = json_extract(k.value, '$[1]')
  AND s.name = json_extract(k.value, '$[2]')
  AND s.part = json_extract(k.value, '$[3]')
"""
_SUBJECT_ID = "SELECT id FROM subjects WHERE tenant = ? AND kind = ? AND name = ? AND part = ?"


def append(connection: sqlite3.Connection, plan: AppendPlan, now: int) -> None:
    """Carries a plan out inside the transaction that is open, which holds the write lock of the whole database."""
    rows = connection.execute(_LOCKED_ROWS, (json.dumps(plan.subject_ids),)).fetchall()
    plan.admit({subject_id: (version, samples) for subject_id, version, samples in rows})
    requests = plan.requests()
    if requests:
        plan.settle(_insert_requests(connection, requests, now))
    connection.executemany(
        _INSERT_BLOCK,
        [
            (
                subject_id,
                block.day,
                block.rows,
                block.first_time,
                block.last_time,
                block.hours,
                block.day_summary,
                block.hour_summary,
                block.data,
                run_id,
            )
            for subject_id, block, run_id in plan.block_rows()
        ],
    )
    connection.executemany(
        _UPDATE_LATEST, [(version, samples, subject_id) for subject_id, version, samples in plan.latest_rows()]
    )


def _insert_requests(
    connection: sqlite3.Connection, requests: Sequence[RequestRecord], now: int
) -> dict[RequestKey, RequestRecord]:
    expired = now - REQUEST_LIFETIME
    known: dict[RequestKey, RequestRecord] = {}
    for new in requests:
        row = (new.tenant, new.request_id, now, new.body_digest, new.response, expired)
        if connection.execute(_INSERT_REQUEST, row).rowcount == 0:
            digest, response = connection.execute(_FIND_REQUEST, (new.tenant, new.request_id)).fetchone()
            known[new.tenant, new.request_id] = RequestRecord(new.tenant, new.request_id, digest, response)
    connection.execute(_SWEEP_REQUESTS, (expired, 2 * len(requests)))
    return known


def latest(connection: sqlite3.Connection, subjects: Collection[SubjectTuple]) -> Sequence[LatestTuple]:
    """See `Database.latest`."""
    return connection.execute(_LATEST, (json.dumps(list(subjects)),)).fetchall()


@lru_cache(maxsize=16)
def insert_into(table: Table) -> str:
    """Returns the statement of `Database.insert_many`."""
    columns = [column.name for column in table.columns if column.name != "id"]
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def subject_parts(
    connection: sqlite3.Connection, subjects: Collection[SubjectTuple]
) -> Sequence[tuple[int, str, str, int]]:
    """See `Database.subject_parts`."""
    return connection.execute(_SUBJECT_PARTS, (json.dumps(list(subjects)),)).fetchall()


def subject_ids(connection: sqlite3.Connection, keys: Collection[SubjectPartTuple]) -> dict[SubjectPartTuple, int]:
    """See `Database.subject_ids`."""
    rows = connection.execute(_SUBJECT_IDS, (json.dumps(list(keys)),)).fetchall()
    return {(tenant, kind, name, part): id_ for tenant, kind, name, part, id_ in rows}


def subject_ids_one_by_one(
    connection: sqlite3.Connection, keys: Collection[SubjectPartTuple]
) -> dict[SubjectPartTuple, int]:
    """Returns what `subject_ids` does, also of names with the character U+0000, at which JSON texts end here."""
    found: dict[SubjectPartTuple, int] = {}
    for key in keys:
        row = connection.execute(_SUBJECT_ID, key).fetchone()
        if row is not None:
            found[key] = row[0]
    return found


def blocks(connection: sqlite3.Connection, selection: BlockSelection) -> Sequence[tuple[int, StoredBlock]]:
    """See `Database.blocks`."""
    parameters = [json.dumps(item) if isinstance(item, list) else item for item in selection.parameters]
    rows = connection.execute(_numbered(selection.sql(_LISTS)), parameters)
    return [(row[0], StoredBlock(*row[1:])) for row in rows]


def block_data(connection: sqlite3.Connection, keys: Collection[BlockKey]) -> Sequence[BlockDataTuple]:
    """See `Database.block_data`. The seq alone identifies a block."""
    return connection.execute(_BLOCK_DATA, (json.dumps([seq for _, _, seq in keys]),)).fetchall()


def block_seals(connection: sqlite3.Connection, keys: Collection[BlockKey]) -> Sequence[tuple[int, bytes]]:
    """See `Database.block_seals`."""
    return connection.execute(_BLOCK_SEALS, (json.dumps([seq for _, _, seq in keys]),)).fetchall()


def remove_blocks(connection: sqlite3.Connection, keys: Collection[BlockKey]) -> None:
    """See `Database.remove_blocks`."""
    connection.execute(_REMOVE_BLOCKS, (json.dumps([seq for _, _, seq in keys]),))


def blocks_of_days(
    connection: sqlite3.Connection, days: Collection[SubjectDay], start: int, end: int
) -> Sequence[DayBlockTuple]:
    """See `Database.blocks_of_days`."""
    return connection.execute(_BLOCKS_OF_DAYS, (json.dumps(list(days)), end, start)).fetchall()


def days_back(
    connection: sqlite3.Connection, last_days: Collection[SubjectDay], days: int
) -> Sequence[tuple[int, int, int]]:
    """See `Database.days_back`."""
    return connection.execute(_DAYS_BACK, (json.dumps(list(last_days)), days)).fetchall()


@lru_cache(maxsize=64)
def _numbered(query: str) -> str:
    """Returns a statement with its numbered parameters written as SQLite does."""
    return query.replace("$", "?")
