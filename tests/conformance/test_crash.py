"""A server that is killed: what it has acknowledged is there, and what it has not is there whole or not at all."""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import Connection

from tests.conformance.conftest import START, Observer, OpenStore

SERVER = """
import asyncio, itertools, os, sys
from streamgauge_server.model.clock import SystemClock
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.block import encode_row

async def main(url, subject, start):
    store = await Store.open(url, clock=SystemClock())
    moments = itertools.count(start, 2)

    async def writer():
        for time in moments:
            rows = [(t, -1, {1: t}) for t in (time, time + 1)]
            await store.blocks.append([SubjectWrite(subject, [encode_row(*row)], row=row) for row in rows])
            os.write(1, b"%d\\n" % time)

    await asyncio.gather(*(writer() for _ in range(8)))

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def test_every_acknowledged_append_survives_kill_9_under_load(open_store: OpenStore, store_url: str) -> None:
    store = await open_store()
    subject = await Observer(store).subject()
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, store_url, str(subject), str(START), stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    acknowledged = [int(await server.stdout.readline()) for _ in range(300)]
    server.kill()
    acknowledged += [int(line) for line in (await server.stdout.read()).splitlines(keepends=True) if line[-1:] == b"\n"]
    await server.wait()

    observer = Observer(await open_store())
    samples = await observer.samples(subject)
    assert {moment for time in acknowledged for moment in (time, time + 1)} <= samples.keys()
    assert all(values == {1: time} for time, values in samples.items())
    assert {time ^ 1 for time in samples} == samples.keys()
    assert await observer.latest_values() == {1: max(samples)}
    await observer.write(subject, max(samples) + 2, {1: 0})
    if store.engine == "sqlite":

        def check(connection: Connection) -> list[str]:
            return list(connection.exec_driver_sql("PRAGMA integrity_check").scalars())

        assert await store._database.read(check) == ["ok"]
