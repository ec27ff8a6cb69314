"""What folding costs, against encoding the same samples at once; what a store and its answers cost before and after.

The store is filled as live writers fill it: a block per source and scrape, of all sources in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from statistics import median

import numpy as np
from sqlalchemy import text
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR, FixedClock
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind, ValueType
from streamgauge_server.services.block_reader import BlockReader
from streamgauge_server.services.compaction import GRACE, Compacted, Compactor
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.migrate import migrate
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import encode, encode_row
from streamgauge_server.timeseries.frame import Column, Frame

from tests.bench.report import Measurement, Pair, number
from tests.bench.session import POSTGRESQL, Session
from tests.bench.workload import SCRAPE, Readings, readings

COMPACTION = "compaction_vs_encoding"
SOURCES = 8
APPENDS_AT_ONCE = 500
QUERIES = 15


async def _subjects(store: Store, count: int) -> list[int]:
    keys = [SubjectKey(SubjectName(SubjectKind.SOURCE, f"s{n}"), "") for n in range(count)]
    ids = await store.subjects.register("t", keys, limits=Limits())
    return [ids[key] for key in keys]


async def _fill(store: Store, ids: Sequence[int], series: Sequence[Readings]) -> None:
    columns = [[one.columns[name].tolist() for name in one.columns] for one in series]
    writes: list[SubjectWrite] = []
    for row, moment in enumerate(series[0].times.tolist()):
        for id_, of_source, one in zip(ids, columns, series, strict=True):
            values = {metric: column[row] for metric, column in enumerate(of_source, 1)}
            writes.append(SubjectWrite(id_, [encode_row(moment, int(one.starts[row]), values)]))
        if len(writes) >= APPENDS_AT_ONCE:
            await store.blocks.append(writes)
            writes = []
    if writes:
        await store.blocks.append(writes)


def _encoding(series: Sequence[Readings]) -> float:
    """Returns the seconds that encoding whole days takes."""
    made = [
        Frame(
            one.times,
            one.starts.astype(np.int64),
            {
                metric: Column(ValueType.DOUBLE if values.dtype == np.float64 else ValueType.INT64, values)
                for metric, values in enumerate(one.columns.values(), 1)
            },
        )
        for one in series
    ]
    begun = time.perf_counter()
    for frame in made:
        encode(frame)
    return time.perf_counter() - begun


async def _size(store: Store, engine: str) -> int:
    """Returns the bytes of the blocks in the database, free room left out."""
    if engine == POSTGRESQL:
        size = text("SELECT pg_table_size('blocks') + pg_indexes_size('blocks')")
        return int(await store._database.read(lambda connection: connection.scalar(size)) or 0)
    pages = text(
        "SELECT (p.page_count - f.freelist_count) * s.page_size FROM pragma_page_count AS p, "
        "pragma_freelist_count AS f, pragma_page_size AS s"
    )
    return int(await store._database.read(lambda connection: connection.scalar(pages)) or 0)


async def _query(store: Store, ids: Sequence[int], day: int) -> float:
    """Returns the median seconds of a day by hour of one source, all of its metrics."""
    reader, bounds = BlockReader(store), [day + hour * MICROS_PER_HOUR for hour in range(25)]
    took = []
    for turn in range(QUERIES):
        begun = time.perf_counter()
        await reader.tables([ids[turn % len(ids)]], bounds[0], bounds[-1], bounds, metrics=None, counters_among=None)
        took.append(time.perf_counter() - begun)
    return median(took)


async def _fold(store: Store, clock: FixedClock) -> Compacted:
    compactor = Compactor(store, clock, horizon=0)
    total = Compacted()
    await compactor.discover()
    while (done := await compactor.fold()).days:
        total.add(done)
    return total


async def _round(session: Session, url: str, series: Sequence[Readings]) -> tuple[Pair, list[str]]:
    samples = sum(one.sample_count for one in series)
    day = int(series[0].times[0])
    clock = FixedClock(day + MICROS_PER_DAY + GRACE)
    await migrate(url)
    store = await Store.open(url, clock=clock)
    try:
        ids = await _subjects(store, len(series))
        await _fill(store, ids, series)
        size, query = await _size(store, session.engine), await _query(store, ids, day)
        session.noise.take()
        begun = time.perf_counter()
        done = await _fold(store, clock)
        took = time.perf_counter() - begun
        if session.engine == POSTGRESQL:
            await _vacuum(store)
        size_after, query_after = await _size(store, session.engine), await _query(store, ids, day)
    finally:
        await store.close()
    rates = f"{number(done.blocks / took)} blocks/s, {number(took / samples * 1e9)} ns a sample"
    notes = [
        f"{done.blocks:,} blocks of {samples:,} samples became {done.folded} in {took:.2f} s: {rates}",
        f"bytes a sample in the database: {size / samples:.2f} before, {size_after / samples:.2f} after",
        f"a day by hour of one source: {number(query * 1e3)} ms before, {number(query_after * 1e3)} ms after",
    ]
    return Pair(samples / took, samples / _encoding(series)), notes


async def _vacuum(store: Store) -> None:
    """Gives the room of folded blocks back, as an autovacuum and time would."""
    import asyncpg

    url = str(store._database._pool.url.set(drivername="postgresql").render_as_string(hide_password=False))  # type: ignore[attr-defined]
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM FULL blocks")
    await connection.close()


def compaction(session: Session) -> list[Measurement]:
    """Measures samples per second of folding a closed day of scrapes, reading and storing included."""
    day = session.now // MICROS_PER_DAY * MICROS_PER_DAY - 2 * MICROS_PER_DAY
    pairs: list[Pair] = []
    notes: list[str] = []
    for turn in range(session.scale.import_rounds + 1):
        series = [readings(turn * SOURCES + source, day, MICROS_PER_DAY // SCRAPE) for source in range(SOURCES)]
        with session.store() as url:
            pair, notes = asyncio.run(_round(session, url, series))
        if turn:  # the first one warms up
            pairs.append(pair)
    return [Measurement(session.name(COMPACTION), "samples/s", "encoding whole days", None, pairs, notes)]
