"""A fake Flink cluster of many running jobs, as a process of its own: prints its address."""

from __future__ import annotations

import asyncio
import sys

from tests.flink.fake import Answer, FakeFlink, Request
from tests.flink.fake_jobs import FakeJobs

RESTARTS = 20
"""Jobs that restart between two overviews."""
RECORDS = 1_000
"""Records that every job reads meanwhile."""

_OF_TASKS = ("backPressuredTimeMsPerSecond", "busyTimeMsPerSecond", "idleTimeMsPerSecond", "numRecordsIn")
_OTHERS = tuple(f"mailboxLatencyMs_p{share}.of.some.kind" for share in range(60))
"""Vertices have some seventy metrics, of which few are asked for."""
_NAMES = [{"id": name} for name in (*_OF_TASKS, "currentInputWatermark", *_OTHERS)]
_AGGREGATE = {"min": 5.0, "max": 40.0, "sum": 90.0}


class BusyCluster:
    """Jobs that go on reading and restart now and then, whose vertices have metrics."""

    def __init__(self, number: int) -> None:
        self._jobs = FakeJobs.many(number)
        self._overviews = 0

    def respond(self, request: Request) -> Answer | None:
        """Answers a request; an overview makes time go on."""
        if request.path == "/jobs/overview":
            self._go_on()
        elif request.path.endswith("/subtasks/metrics"):
            _, asked, names = request.target.partition("&get=")
            return Answer.of([{"id": name, **_AGGREGATE} for name in names.split(",")] if asked else _NAMES)
        return self._jobs.respond(request)

    def _go_on(self) -> None:
        jobs = list(self._jobs.jobs.values())
        self._jobs.now_ms += 10_000
        for job in jobs:
            job.read += RECORDS
            job.processed += RECORDS // 2
        for place in range(RESTARTS):
            job = jobs[(self._overviews * RESTARTS + place) % len(jobs)]
            job.restarts += 1
            job.attempt_ms, job.read, job.processed = self._jobs.now_ms, 0, 0
        self._overviews += 1


async def main(number: int) -> None:
    """Serves until it is ended."""
    async with FakeFlink() as fake:
        fake.respond = BusyCluster(number).respond
        print(fake.base_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
