"""Retention that is killed: hours are answered as before, whenever it happens, and the next process goes on."""

from __future__ import annotations

import asyncio
import itertools
import sys

from streamgauge_server.model.clock import FixedClock

from tests.conformance.conftest import Observer, OpenStore
from tests.conformance.test_retention import TODAY, apply, blocks_of, by_hour, counted, frame_of, metrics_of, write

# Tells when a transaction is about to begin and when it has been committed, and goes on without waiting.
RETENTION = """
import asyncio, os, sys
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.retention import EVERYTHING
from streamgauge_server.services import retention
from streamgauge_server.storage.store import Store

retention.DAYS_AT_ONCE = 3

async def main(url, now):
    clock = FixedClock(now)
    store = await Store.open(url, clock=clock)
    apply = store.retention.apply

    async def told(changes):
        os.write(1, b"begin\\n")
        made = await apply(changes)
        os.write(1, b"end\\n")
        return made

    store.retention.apply = told
    await retention.RetentionService(store, clock, EVERYTHING, horizon=0).apply("t")
    os.write(1, b"done\\n")
    await store.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_nothing_is_lost_when_retention_is_killed_at_any_moment(
    open_store: OpenStore, store_url: str, clock: FixedClock
) -> None:
    store = await open_store()
    subject = await Observer(store).subject()
    ids = await metrics_of(store, gone=(3, None), kept=(None, None))
    for value in range(2):
        await write(store, subject, frame_of(range(TODAY - 15, TODAY), list(ids.values()), value))
    before = await by_hour(store, subject, TODAY - 15, TODAY)
    for lines in itertools.count(1):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RETENTION, store_url, str(clock.now()), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        said = [await process.stdout.readline() for _ in range(lines)]
        if process.returncode is None:
            process.kill()
        await process.wait()
        assert await by_hour(store, subject, TODAY - 15, TODAY) == before
        if said[-1] in (b"done\n", b""):
            break
    assert lines > 2
    assert counted(await apply(store, clock)) == (0, 0, 0, 0)
    held = await blocks_of(store, subject)
    assert sum(not block.rows for block in held) == 12
    assert len(held) == 12 + 30
