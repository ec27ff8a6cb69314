"""The exceptions of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, or_, select, tuple_

from streamgauge_server.model.jobs import RunException
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.key_lists import select_by_keys

MAX_EXCEPTIONS = 1_000
"""How many exceptions of a run are kept: the newest ones."""

RunKey = tuple[int, int]
"""Number of the job, number of the run."""

_t = tables.job_exceptions.c
_FIELDS = tuple(field.name for field in fields(RunException))
_COLUMNS = tuple(_t[name] for name in _FIELDS)


class Newest(NamedTuple):
    """What the exceptions of a run come to: a line about the newest one, and whether older ones were dropped."""

    error: str
    dropped: bool


def add_exceptions(connection: Connection, exceptions: Mapping[RunKey, Sequence[RunException]]) -> dict[RunKey, Newest]:
    """Stores those exceptions that are not stored yet, and returns what all of those runs come to that got any.

    The caller has locked the tenant.
    """
    told = {
        (*run, exception.fingerprint): exception for run, of_run in exceptions.items() for exception in reversed(of_run)
    }
    key = (_t.subject_id, _t.run, _t.fingerprint)
    for row in select_by_keys(connection, key, key, list(told)):
        del told[row.subject_id, row.run, row.fingerprint]
    if not told:
        return {}
    connection.execute(
        insert(tables.job_exceptions),
        [
            {"subject_id": job, "run": run, **{name: getattr(exception, name) for name in _FIELDS}}
            for (job, run, _), exception in told.items()
        ],
    )
    newest: dict[RunKey, Newest] = {}
    for runs in batches({run for _, run, _ in told}):
        newest |= _newest(connection, runs)
    return newest


def _newest(connection: Connection, runs: Sequence[int]) -> dict[RunKey, Newest]:
    """Drops what is too much, and returns the newest exception of each run."""
    place = func.row_number().over(partition_by=_t.run, order_by=(_t.time.desc(), _t.fingerprint.desc()))
    ranked = (
        select(_t.subject_id, _t.run, _t.fingerprint, _t.summary, _t.cause_summary, place.label("place"))
        .where(_t.run.in_(runs))
        .subquery()
    )
    query = select(ranked).where(or_(ranked.c.place == 1, ranked.c.place > MAX_EXCEPTIONS)).order_by(ranked.c.place)
    newest: dict[RunKey, Newest] = {}
    dropped: dict[RunKey, list[str]] = {}
    for row in connection.execute(query):
        key = (row.subject_id, row.run)
        if row.place == 1:
            newest[key] = Newest(row.cause_summary or row.summary, False)
        else:
            newest[key] = Newest(newest[key].error, True)
            dropped.setdefault(key, []).append(row.fingerprint)
    for (job, run), fingerprints in dropped.items():
        of_run = delete(tables.job_exceptions).where(_t.subject_id == job, _t.run == run)
        for batch in batches(fingerprints):
            connection.execute(of_run.where(_t.fingerprint.in_(batch)))
    return newest


def list_exceptions(connection: Connection, run: int, after: tuple[int, str] | None, limit: int) -> list[RunException]:
    """Returns up to `limit` exceptions of a run, the newest first, that follow `after` (time and fingerprint)."""
    query = select(*_COLUMNS).where(_t.run == run)
    if after is not None:
        query = query.where(tuple_(_t.time, _t.fingerprint) < after)
    query = query.order_by(_t.time.desc(), _t.fingerprint.desc()).limit(limit)
    return [_exception(row) for row in connection.execute(query)]


def _exception(row: Any) -> RunException:
    return RunException(**row._mapping)
