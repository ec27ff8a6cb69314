"""A collector that is killed: each of its reports is there whole or not at all, and the acknowledged ones are."""

from __future__ import annotations

import asyncio
import sys

from streamgauge_server.model.jobs import NewJob, run_of_status
from streamgauge_server.model.limits import Limits

from tests.conformance.conftest import START, Observer, OpenStore

JOBS = 20
COLLECTOR = """
import asyncio, itertools, os, sys
from streamgauge_server.model.clock import SystemClock
from streamgauge_server.model.jobs import JobState, RunException, RunUpdate, Vertex
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.block import encode_row

async def main(url, start, jobs):
    store = await Store.open(url, clock=SystemClock())
    for turn in itertools.count(1):
        row = (start + turn, -1, {1: turn})
        updates = [
            RunUpdate(
                job, f"r{turn // 10}", start + turn, state=JobState.RUNNING, restarts=turn, details=True,
                vertices=[Vertex(f"v{turn}", "", 1, "")],
                exceptions=[RunException(f"e{turn}", turn, "", f"s{turn}", "")],
            )
            for job in jobs
        ]
        await store.job_runs.apply("t", updates, [SubjectWrite(job, [encode_row(*row)], row=row) for job in jobs])
        os.write(1, b"%d\\n" % turn)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), [int(job) for job in sys.argv[3:]]))
"""


async def test_every_acknowledged_report_survives_kill_9_and_none_is_there_in_part(
    open_store: OpenStore, store_url: str
) -> None:
    store = await open_store()
    jobs = list((await store.jobs.register("t", [NewJob(f"j{n}") for n in range(JOBS)], limits=Limits())).values())
    collector = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COLLECTOR, store_url, str(START), *map(str, jobs), stdout=asyncio.subprocess.PIPE
    )
    assert collector.stdout is not None
    acknowledged = [int(await collector.stdout.readline()) for _ in range(25)]
    collector.kill()
    acknowledged += [int(line) for line in (await collector.stdout.read()).splitlines(keepends=True) if b"\n" in line]
    await collector.wait()

    store = await open_store()
    observer = Observer(store)
    stored = (await store.job_runs.last_seq("t")) // JOBS
    assert stored in (acknowledged[-1], acknowledged[-1] + 1)
    assert len(await store.job_runs.changes("t", 0, 100_000)) == stored * JOBS
    turns = range(1, stored + 1)
    for job in jobs:
        runs = await store.job_runs.of_job(job, limit=100)
        assert [run.run_id for run in runs] == [f"r{number}" for number in range(stored // 10, -1, -1)]
        for run in runs:
            of_run = [turn for turn in turns if f"r{turn // 10}" == run.run_id]
            exceptions = await store.job_runs.exceptions(run.number, limit=100)
            assert [exception.time for exception in exceptions] == of_run[::-1]
            whole = await store.job_runs.get(job, run.run_id)
            assert whole is not None
            assert (whole.restarts, whole.error) == (of_run[-1], f"s{of_run[-1]}")
            assert [vertex.id for vertex in whole.vertices] == [f"v{of_run[-1]}"]
        assert await observer.samples(job) == {START + turn: {1: turn} for turn in turns}
    for n, number in enumerate(jobs):
        job_run = (await store.jobs.get("t", f"j{n}")).run
        assert job_run == run_of_status(await store.job_runs.of_job(number, limit=100))
