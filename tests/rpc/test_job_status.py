"""What a job is doing: from the store while that is young, from its cluster otherwise, and stale if need be."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from grpc import StatusCode
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.jobs import ClusterStatus, JobState

from tests.flink.fake import HTML, LEADER_ELECTION, NOT_JSON, drop, half_a_body, never_answer
from tests.flink.fake_jobs import START_MS, FakeJob
from tests.rpc.job_messages import (
    CLUSTER,
    JID,
    OTHER_JID,
    OnCluster,
    create,
    exceptions_of,
    get,
    metrics_of,
    on_cluster,
    report,
    state_name,
    status,
    tell,
)
from tests.rpc.messages import NOW, SECOND, micros
from tests.rpc.serving import Start, Stubs, invalid, refused

MINUTE = 60 * SECOND


async def polled(on: OnCluster, at: int) -> None:
    """Says that a collector had an overview of the cluster."""
    app = on.stubs.app
    assert app is not None
    assert app.store is not None
    await app.store.collectors.report("default", ClusterStatus(CLUSTER, True, at, at, "", "2.3.0", 1, 1))


class TestStored:
    async def test_a_job_without_a_cluster_is_as_it_was_reported(self, stubs: Stubs, clock: FixedClock) -> None:
        await tell(stubs, report())
        clock.micros += 600 * SECOND
        answer = await status(stubs, max_age=0)
        assert (answer.origin, answer.stale, list(answer.messages)) == (pb.STATUS_ORIGIN_STORED, False, [])
        assert state_name(answer.job.run.state) == "RUNNING"
        assert answer.job.run.duration.ToMicroseconds() == 0, "it does not count on while nobody observes it"

    async def test_a_job_without_a_run_has_none(self, stubs: Stubs) -> None:
        await create(stubs)
        answer = await status(stubs)
        assert not answer.job.HasField("run")
        assert await metrics_of(stubs) == {}

    async def test_what_is_young_enough_is_not_asked_for(self, start: Start, clock: FixedClock) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await create(on.stubs, cluster=CLUSTER)
            await on.store()
            clock.micros += 14 * SECOND
            answer = await status(on.stubs)
            assert (answer.origin, answer.stale) == (pb.STATUS_ORIGIN_STORED, False)
            assert on.requests() == []
            clock.micros += SECOND
            assert (await status(on.stubs)).origin == pb.STATUS_ORIGIN_LIVE
            assert (await status(on.stubs, max_age=0)).origin == pb.STATUS_ORIGIN_LIVE

    async def test_a_poll_of_the_cluster_observes_its_active_runs(self, start: Start, clock: FixedClock) -> None:
        async with on_cluster(start) as on:
            await create(on.stubs, cluster=CLUSTER)
            await on.store()
            clock.micros += 600 * SECOND
            await polled(on, clock.micros - SECOND)
            answer = await status(on.stubs)
            assert (answer.origin, answer.stale) == (pb.STATUS_ORIGIN_STORED, False)
            assert micros(answer.job.run.observe_time) == NOW + 599 * SECOND
            assert (await get(on.stubs)).run.observe_time == answer.job.run.observe_time
            listed = await on.stubs.jobs.ListJobs(pb.ListJobsRequest())
            assert listed.jobs[0].run.observe_time == answer.job.run.observe_time
            assert [(one.cluster, one.reachable) for one in listed.clusters] == [(CLUSTER, True)]
            runs = await on.stubs.jobs.ListJobRuns(pb.ListJobRunsRequest(job="jobs/a"))
            assert runs.runs[0].observe_time == answer.job.run.observe_time
            assert on.requests() == []

    async def test_a_cluster_that_this_server_does_not_know_is_not_asked(self, stubs: Stubs) -> None:
        await create(stubs, cluster="elsewhere")
        answer = await status(stubs, max_age=0)
        assert answer.stale
        assert answer.messages == ["cluster 'elsewhere' cannot be asked: this server's settings do not name it"]


class TestLive:
    async def test_a_look_stores_what_it_sees(self, start: Start, clock: FixedClock) -> None:
        async with on_cluster(start, FakeJob(JID, "a", read=106, processed=54)) as on:
            await create(on.stubs, cluster=CLUSTER)
            await on.store(state=JobState.CREATED)
            answer = await status(on.stubs, max_age=0)
            run = answer.job.run
            assert (answer.origin, answer.stale, list(answer.messages)) == (pb.STATUS_ORIGIN_LIVE, False, [])
            assert (run.run_id, state_name(run.state), micros(run.observe_time)) == (JID, "RUNNING", NOW)
            assert [(one.name, one.write_records, one.read_records) for one in run.vertices] == [
                ("Source: Source", 106, 0),
                ("Sink: Writer", 0, 54),
            ]
            assert (await metrics_of(on.stubs))["numRecordsRead"] == 106
            assert not (await get(on.stubs)).run.vertices

    async def test_what_the_cluster_has_not_gathered_is_absent(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a", complete=False)) as on:
            await create(on.stubs, cluster=CLUSTER)
            await on.store()
            answer = await status(on.stubs, max_age=0)
            assert [one.HasField("read_records") for one in answer.job.run.vertices] == [False, False]
            assert "numRecordsRead" not in await metrics_of(on.stubs)

    async def test_a_state_that_nobody_knows_yet_is_told_as_it_is_written(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a", state="HIBERNATING")) as on:
            await create(on.stubs, cluster=CLUSTER)
            await on.store()
            run = (await status(on.stubs, max_age=0)).job.run
            assert (state_name(run.state), run.state_text) == ("OTHER", "HIBERNATING")

    async def test_callers_at_the_same_time_share_one_look(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await create(on.stubs, cluster=CLUSTER)
            await on.store()
            answers = await asyncio.gather(*(status(on.stubs, max_age=0) for _ in range(50)))
            assert {answer.origin for answer in answers} == {pb.STATUS_ORIGIN_LIVE}
            assert on.requests().count(f"/jobs/{JID}/status") < 10

    @pytest.mark.parametrize("by", ["name", "id"])
    async def test_a_job_that_was_never_seen_is_looked_for(self, start: Start, by: str) -> None:
        name = "заказы 🚀/x" if by == "name" else "whatever"
        async with on_cluster(start, FakeJob(JID, name), FakeJob(OTHER_JID, "another")) as on:
            id_ = "a" if by == "name" else "01234567-89ab-cdef-0123-456789abcdef"
            await create(on.stubs, id_, job_name=name if by == "name" else "", cluster=CLUSTER)
            answer = await status(on.stubs, f"jobs/{id_}")
            assert (answer.origin, answer.job.run.run_id) == (pb.STATUS_ORIGIN_LIVE, JID)

    async def test_a_job_that_its_cluster_does_not_know_has_no_run(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(OTHER_JID, "another")) as on:
            await create(on.stubs, cluster=CLUSTER)
            answer = await status(on.stubs)
            assert not answer.job.HasField("run")
            assert not answer.stale

    async def test_a_job_that_ended_and_was_submitted_again_tells_of_the_new_run(
        self, start: Start, clock: FixedClock
    ) -> None:
        ended = FakeJob(JID, "a", state="FINISHED", end_ms=START_MS + 5_000)
        async with on_cluster(start, ended) as on:
            await create(on.stubs, cluster=CLUSTER)
            first = await status(on.stubs)
            assert (first.job.run.run_id, state_name(first.job.run.state)) == (JID, "FINISHED")
            on.jobs.jobs[OTHER_JID] = FakeJob(OTHER_JID, "a", start_ms=START_MS + 9_000)
            second = await status(on.stubs, max_age=0)
            assert (second.job.run.run_id, second.job.run.ordinal) == (OTHER_JID, 2)

    async def test_several_active_runs_are_told(self, start: Start) -> None:
        jobs = [FakeJob(JID, "a"), FakeJob(OTHER_JID, "a", start_ms=START_MS + 1_000)]
        async with on_cluster(start, *jobs) as on:
            await create(on.stubs, cluster=CLUSTER)
            answer = await status(on.stubs)
            assert answer.job.run.run_id == OTHER_JID
            assert answer.active_run_ids == [OTHER_JID, JID]
            assert answer.messages == [f"2 runs are active; this is the newest: {OTHER_JID}, {JID}"]
            on.jobs.jobs[OTHER_JID].state = "CANCELED"
            answer = await status(on.stubs, max_age=0)
            assert (answer.job.run.run_id, list(answer.active_run_ids), list(answer.messages)) == (JID, [], [])

    async def test_exceptions_are_as_fresh_as_the_status(self, start: Start) -> None:
        failure = {
            "exceptionName": "java.lang.Error",
            "stacktrace": "java.lang.Error: boom\n\tat x",
            "timestamp": 5_000,
        }
        async with on_cluster(start, FakeJob(JID, "a", state="RESTARTING", failures=[failure])) as on:
            await create(on.stubs, cluster=CLUSTER)
            await on.store()
            request = pb.ListJobExceptionsRequest(job="jobs/a")
            assert list((await on.stubs.jobs.ListJobExceptions(request)).exceptions) == []
            request.max_age.SetInParent()
            answer = await on.stubs.jobs.ListJobExceptions(request)
            assert [one.summary for one in answer.exceptions] == ["java.lang.Error: boom"]
            assert not answer.stale


class TestAway:
    async def test_a_job_manager_that_never_answers_does_not_keep_the_stored_answer_back(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await create(on.stubs, cluster=CLUSTER)
            await on.store()
            on.flink.misbehave(never_answer)
            for seconds in (1.0, 2.0):
                begun = time.monotonic()
                answer = await status(on.stubs, max_age=0, timeout=seconds)
                assert time.monotonic() - begun < seconds
                assert (answer.origin, answer.stale) == (pb.STATUS_ORIGIN_STORED, True)
                assert state_name(answer.job.run.state) == "RUNNING"
                assert "did not answer" in answer.messages[0]
            request = pb.ListJobExceptionsRequest(job="jobs/a")
            request.max_age.SetInParent()
            assert (await on.stubs.jobs.ListJobExceptions(request, timeout=1.0)).stale

    async def test_the_servers_own_limit_bounds_the_wait_as_well(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a"), limits={"max_call_seconds": 1}) as on:
            await create(on.stubs, cluster=CLUSTER)
            await on.store()
            on.flink.misbehave(never_answer)
            assert (await status(on.stubs, max_age=0)).stale

    @pytest.mark.parametrize("how", [HTML, NOT_JSON, LEADER_ELECTION, half_a_body, drop])
    async def test_a_cluster_that_talks_nonsense_is_one_that_cannot_be_asked(self, start: Start, how: object) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await create(on.stubs, cluster=CLUSTER)
            await create(on.stubs, "never-seen", cluster=CLUSTER)
            await on.store()
            on.flink.misbehave(how)  # type: ignore[arg-type]
            answer = await status(on.stubs, max_age=0)
            assert (answer.origin, answer.stale) == (pb.STATUS_ORIGIN_STORED, True)
            assert state_name(answer.job.run.state) == "RUNNING"
            assert answer.messages[0].startswith("cluster 'prod' cannot be asked: ")
            assert on.flink.base_url not in answer.messages[0]
            with refused(StatusCode.UNAVAILABLE, "CLUSTER_UNREACHABLE") as refusal:
                await status(on.stubs, "jobs/never-seen")
            assert refusal.metadata["cluster"] == CLUSTER
            assert refusal.retry_after
            on.flink.behave()
            answer = await status(on.stubs, max_age=0)
            assert (answer.origin, answer.stale, list(answer.messages)) == (pb.STATUS_ORIGIN_LIVE, False, [])

    async def test_a_refused_connection(self, start: Start) -> None:
        async with on_cluster(start, FakeJob(JID, "a")) as on:
            await create(on.stubs, cluster=CLUSTER)
            await on.store()
            await on.flink.stop()
            assert (await status(on.stubs, max_age=0)).stale

    async def test_what_has_ended_is_never_stale(self, start: Start) -> None:
        async with on_cluster(start) as on:
            await create(on.stubs, cluster=CLUSTER)
            await on.store(state=JobState.FINISHED)
            await on.flink.stop()
            answer = await status(on.stubs, max_age=0)
            assert (state_name(answer.job.run.state), answer.stale) == ("FINISHED", False)

    async def test_a_run_that_the_cluster_does_not_know_is_not_lost_at_once(self, start: Start) -> None:
        async with on_cluster(start) as on:
            await create(on.stubs, cluster=CLUSTER)
            await on.store()
            for _ in range(3):
                answer = await status(on.stubs, max_age=0)
                assert (state_name(answer.job.run.state), answer.job.run.lost, answer.stale) == ("RUNNING", False, True)
                assert answer.messages == [f"cluster 'prod' does not know run {JID} any more"]
            on.jobs.jobs[JID] = FakeJob(JID, "a", state="FAILING")
            answer = await status(on.stubs, max_age=0)
            assert (state_name(answer.job.run.state), answer.stale) == ("FAILING", False)


class TestRequests:
    @pytest.mark.parametrize(
        ("seconds", "nanos", "problem"),
        [
            (-1, 0, "must not be negative, is -1 s"),
            (0, -1, "must not be negative"),
            (1, -1, "is not a valid duration"),
            (0, 1_000_000_000, "is not a valid duration"),
            (2**62, 0, "is not a valid duration"),
        ],
    )
    async def test_ages_that_are_none(self, stubs: Stubs, seconds: int, nanos: int, problem: str) -> None:
        await tell(stubs, report())
        calls: list[tuple[Any, Any]] = [
            (pb.GetJobStatusRequest(job="jobs/a"), stubs.jobs.GetJobStatus),
            (pb.GetJobStatusAndMetricsRequest(job="jobs/a"), stubs.jobs.GetJobStatusAndMetrics),
            (pb.ListJobExceptionsRequest(job="jobs/a"), stubs.jobs.ListJobExceptions),
        ]
        for request, call in calls:
            request.max_age.seconds, request.max_age.nanos = seconds, nanos
            with invalid() as refusal:
                await call(request)
            assert list(refusal.violations) == ["max_age"]
            assert refusal.violations["max_age"].startswith(problem)

    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        request = pb.GetJobStatusAndMetricsRequest(job="jobs/a", metrics=["", "\n"])
        request.max_age.seconds = -1
        with invalid() as refusal:
            await stubs.jobs.GetJobStatusAndMetrics(request)
        assert list(refusal.violations) == ["max_age", "metrics[0]", "metrics[1]"]
        with invalid() as refusal:
            await exceptions_of(stubs, page_size=-1, run_id="\n")
        assert list(refusal.violations) == ["page_size", "run_id"]
