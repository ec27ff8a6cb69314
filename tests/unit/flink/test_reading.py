"""Which requests the figures of a job cost, and what becomes of names that change."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.flink.reading import NAMES_FRESH_MS, SETTLING_MS, FigureReader

from tests.flink.fake import Answer, FakeFlink
from tests.flink.fake_jobs import SINK, SOURCE, FakeJob, FakeJobs

JID = "576cc71be43678de4371fbd6ac3c0503"
NAMES = f"/jobs/{JID}/vertices/{SINK}/subtasks/metrics"
LISTINGS = {NAMES, f"/jobs/{JID}/vertices/{SOURCE}/subtasks/metrics"}


class Cluster:
    """A fake with one job, and a reader of it."""

    def __init__(self, fake: FakeFlink, reader: FigureReader) -> None:
        self.fake, self.reader = fake, reader
        self.job = FakeJob(JID, "orders", read=20, processed=10)
        self.jobs = FakeJobs([self.job])
        fake.respond = self.jobs.respond

    def has(self, *metrics: str) -> None:
        """Gives the sink metrics; each is 7 in every subtask."""
        listed = [{"id": name} for name in metrics]
        self.fake.answers["GET", NAMES] = Answer.of(listed)
        asked = ",".join(sorted(metrics))
        values = [{"id": name, "min": 7.0, "max": 7.0, "sum": 7.0} for name in metrics]
        self.fake.answers["GET", f"{NAMES}?agg=min,max,sum&get={asked}"] = Answer.of(values)

    async def read(self) -> dict[str, int]:
        self.fake.requests.clear()
        return dict((await self.reader.read(JID)).figures)

    @property
    def listings(self) -> int:
        return sum(target in LISTINGS for target in self.fake.targets())


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with FakeFlink() as fake, FlinkClient([fake.base_url]) as client:
        yield Cluster(fake, FigureReader(client))


async def test_metrics_that_appear_in_the_first_minute_of_an_attempt_are_found(cluster: Cluster) -> None:
    assert "busyTimeMsPerSecond" not in await cluster.read()
    cluster.has("busyTimeMsPerSecond")
    assert (await cluster.read())["busyTimeMsPerSecond"] == 7
    cluster.has("busyTimeMsPerSecond", "Sink__Writer.numRecordsSendErrors")
    assert (await cluster.read())["numRecordsSendErrors"] == 7


async def test_names_are_listed_again_now_and_then_and_after_a_restart(cluster: Cluster) -> None:
    cluster.has("busyTimeMsPerSecond")
    cluster.jobs.now_ms = cluster.job.attempt_ms + SETTLING_MS + 1
    await cluster.read()
    assert cluster.listings == 2
    assert (await cluster.read())["busyTimeMsPerSecond"] == 7
    assert (cluster.listings, len(cluster.fake.requests)) == (0, 3)
    cluster.jobs.now_ms += NAMES_FRESH_MS
    await cluster.read()
    assert cluster.listings == 2
    cluster.job.attempt_ms = cluster.jobs.now_ms
    await cluster.read()
    assert cluster.listings == 2


async def test_a_name_that_is_gone_is_noticed(cluster: Cluster) -> None:
    cluster.has("busyTimeMsPerSecond", "Sink__Writer.numRecordsSendErrors")
    cluster.jobs.now_ms = cluster.job.attempt_ms + SETTLING_MS + 1
    await cluster.read()
    for key in cluster.fake.answers:
        cluster.fake.answers[key] = Answer.of([])  # as Flink answers when one of several names is unknown
    cluster.has("busyTimeMsPerSecond")
    assert "busyTimeMsPerSecond" not in await cluster.read()
    assert (await cluster.read())["busyTimeMsPerSecond"] == 7


async def test_an_ended_job_costs_one_request(cluster: Cluster) -> None:
    cluster.job.state = "FINISHED"
    figures = await cluster.read()
    assert (figures["numRecordsRead"], figures["numRecordsProcessed"]) == (20, 10)
    assert cluster.fake.targets() == [f"/jobs/{JID}"]
