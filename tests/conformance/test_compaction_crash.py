"""Compaction that is killed: every sample is there, whenever it happens, and the next process finishes the work."""

from __future__ import annotations

import asyncio
import itertools
import sys

import pytest
from sqlalchemy import Connection
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_MINUTE, FixedClock
from streamgauge_server.services.compaction import GRACE, Compactor
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.timeseries.block import encode_row

from tests.conformance.conftest import START, Observer, OpenStore

DAY = START // MICROS_PER_DAY
CLOSED = (DAY + 1) * MICROS_PER_DAY + GRACE

# Tells when a transaction is about to begin and when it has been committed, and goes on without waiting.
COMPACTION = """
import asyncio, os, sys
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.services import compaction
from streamgauge_server.services.compaction import Compactor
from streamgauge_server.storage.store import Store

compaction.BLOCKS_AT_ONCE = 20

async def main(url, now):
    clock = FixedClock(now)
    store = await Store.open(url, clock=clock)
    apply = store.compactions.apply

    async def told(*arguments):
        os.write(1, b"begin\\n")
        made = await apply(*arguments)
        os.write(1, b"end\\n")
        return made

    store.compactions.apply = told
    compactor = Compactor(store, clock, horizon=0)
    await compactor.discover()
    while (await compactor.fold()).days:
        pass
    os.write(1, b"done\\n")
    await store.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_nothing_is_lost_when_compaction_is_killed_at_any_moment(
    open_store: OpenStore, store_url: str, clock: FixedClock
) -> None:
    store = await open_store()
    observer = Observer(store)
    subjects = [await observer.subject(f"s{number}") for number in range(6)]
    expected: dict[int, dict[int, dict[int, object]]] = {}
    for subject in subjects:
        times = [DAY * MICROS_PER_DAY + n * MICROS_PER_MINUTE for n in range(30)]
        twice = [(time, {1: round_}) for round_ in range(2) for time in times[:: round_ + 1]]
        await store.blocks.append([SubjectWrite(subject, [encode_row(time, 5, values)]) for time, values in twice])
        expected[subject] = dict(twice)  # type: ignore[arg-type]

    now = CLOSED
    for lines in itertools.count(1):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", COMPACTION, store_url, str(now), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        said = [await process.stdout.readline() for _ in range(lines)]
        if process.returncode is None:
            process.kill()
        await process.wait()
        for subject in subjects:
            assert await observer.samples(subject) == expected[subject]
        if said[-1] in (b"done\n", b""):
            break
        now += 11 * MICROS_PER_MINUTE  # what it had taken is free again
    assert lines > 2

    clock.micros = now
    compactor = Compactor(await open_store(), clock, horizon=0)
    while (await compactor.fold()).days:
        pass
    loaded = await store.blocks.load(subjects, DAY, DAY, summaries=True)
    assert {len(blocks) for blocks in loaded.values()} == {1}
    for subject in subjects:
        assert await observer.samples(subject) == expected[subject]
    async for examined in store.integrity.scan():
        assert not examined.findings
    if store.engine == "sqlite":

        def check(connection: Connection) -> list[str]:
            return list(connection.exec_driver_sql("PRAGMA integrity_check").scalars())

        assert await store._database.read(check) == ["ok"]


@pytest.mark.parametrize("engine", ["postgresql"])
async def test_appends_that_overlap_are_folded_in_the_order_in_which_they_won(
    open_store: OpenStore, clock: FixedClock
) -> None:
    """Many servers append to one subject and fold it: the last to have been answered stands."""
    stores = [await open_store() for _ in range(3)]
    subject = await Observer(stores[0]).subject()
    moments = [DAY * MICROS_PER_DAY + n for n in range(5)]
    clock.micros = CLOSED
    writing = True

    async def write(number: int) -> None:
        for n in range(40):
            await Observer(stores[number % 3]).write(subject, moments[n % 5], {1: number * 1_000 + n})

    async def fold(number: int) -> int:
        compactor, folded = Compactor(stores[number], clock, horizon=0), 0
        while writing:
            await compactor.discover()
            folded += (await compactor.fold()).folded
        return folded

    folding = [asyncio.create_task(fold(number)) for number in range(2)]
    await asyncio.gather(*(write(number) for number in range(6)))
    latest = await Observer(stores[0]).latest_values()
    writing = False
    assert sum(await asyncio.gather(*folding)) > 0
    samples = await Observer(stores[0]).samples(subject)
    assert samples.keys() == set(moments)
    assert samples[moments[-1]] == latest
