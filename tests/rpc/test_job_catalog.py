"""Jobs: registered, found by whatever name, listed with counts, changed and deleted."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge.v1 import metrics_service_pb2
from streamgauge_server.internal.page_token_pb2 import PageToken
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.services.page_tokens import token_for

from tests.rpc.job_messages import DASHED, JID, create, get, report, runs_of, state_name, state_of, status, tell
from tests.rpc.messages import NOW, SECOND, micros, row, write
from tests.rpc.serving import Stubs, invalid, refused
from tests.rpc.test_sources import damaged, decoded

HOSTILE = [
    "a/b?c#d% &=+",
    "заказы 🚀",
    " ",
    "jobs",
    "a b",
    "'; DROP TABLE jobs;--",
    "x" * 255,
    "表" * 255,
    "a\nb",
    "%_*",
]


def with_number(token: str, position: int, number: int) -> str:
    """Returns a page token that somebody built who knows the format, with a number in place of a part of its key."""
    forged = PageToken.FromString(decoded(token))
    forged.after[position] = str(number)
    return token_for(forged.request_digest, forged.after)


async def listed(stubs: Stubs, **fields: Any) -> list[str]:
    answer = await stubs.jobs.ListJobs(pb.ListJobsRequest(**fields))
    return [job.name.removeprefix("jobs/") for job in answer.jobs]


class TestCreate:
    async def test_a_job_is_returned_as_it_was_registered(self, stubs: Stubs) -> None:
        await stubs.jobs.CreateJobType(pb.CreateJobTypeRequest(job_type_id="etl", job_type=pb.JobType(type_name="ETL")))
        job = await create(
            stubs, "a", job_name="заказы 🚀/x", cluster="prod", job_type="jobTypes/etl", labels={"team": "shop"}
        )
        assert (job.name, job.job_name, job.cluster, job.job_type) == ("jobs/a", "заказы 🚀/x", "prod", "jobTypes/etl")
        assert dict(job.labels) == {"team": "shop"}
        assert (micros(job.create_time), micros(job.update_time)) == (NOW, NOW)
        assert not job.HasField("run")
        assert await get(stubs) == job

    async def test_without_an_id_it_gets_a_uuid_and_without_a_name_its_id(self, stubs: Stubs) -> None:
        job = await create(stubs, "")
        assert str(uuid.UUID(job.name.removeprefix("jobs/"))) == job.job_name

    async def test_an_equal_job_again_is_returned_and_another_one_is_refused(self, stubs: Stubs) -> None:
        first = await create(stubs, "a", labels={"x": "1"})
        assert await create(stubs, "a", labels={"x": "1"}) == first
        for other in ({}, {"labels": {"x": "2"}}, {"labels": {"x": "1"}, "cluster": "c"}):
            with refused(StatusCode.ALREADY_EXISTS, "JOB_ALREADY_EXISTS") as refusal:
                await create(stubs, "a", **other)
            assert refusal.metadata["name"] == "jobs/a"

    async def test_a_type_that_does_not_exist_is_refused(self, stubs: Stubs) -> None:
        with refused(StatusCode.NOT_FOUND, "JOB_TYPE_NOT_FOUND") as refusal:
            await create(stubs, job_type="jobTypes/none")
        assert refusal.metadata["name"] == "jobTypes/none"
        assert await listed(stubs) == []

    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await create(stubs, "a/b", job_name="x\0", cluster="c\n", job_type="etl", labels={"": "v", "k": "v" * 256})
        assert refusal.violations == {
            "job_id": "must have 1 to 128 characters out of letters, digits, '.', '_', '~' and '-'",
            'job.labels[""]': "the key must not be empty",
            'job.labels["k"]': "must have at most 255 bytes, has 256",
            "job.job_name": "must not hold NUL",
            "job.cluster": "must not hold control characters",
            "job.job_type": "must be the resource name of a job type, 'jobTypes/{job_type}'",
        }
        with invalid() as refusal:
            await create(stubs, job_name="x" * 256)
        assert refusal.violations == {"job.job_name": "must have at most 255 characters, has 256"}


class TestFind:
    @pytest.mark.parametrize("name", HOSTILE)
    async def test_a_job_is_found_by_what_its_runner_calls_it(self, stubs: Stubs, name: str) -> None:
        job = await create(stubs, "a", job_name=name)
        assert await get(stubs, name) == job
        assert (await status(stubs, name)).job == job
        assert await runs_of(stubs, name) == []

    async def test_a_job_is_found_by_the_flink_id_of_a_run_however_it_is_written(self, stubs: Stubs) -> None:
        await tell(stubs, report(run_id=JID))
        for text in (JID, DASHED, JID.upper(), DASHED.upper()):
            assert (await get(stubs, text)).name == "jobs/a"

    async def test_an_id_goes_before_a_name(self, stubs: Stubs) -> None:
        await create(stubs, "a", job_name="b")
        await create(stubs, "b", job_name="a")
        assert (await get(stubs, "a")).name == "jobs/a"

    @pytest.mark.parametrize(
        "unknown", ["jobs/none", "none", str(uuid.UUID(int=5)), "0" * 32, "z" * 32, "jobs", "a/b", " ", "🚀"]
    )
    async def test_what_is_unknown_is_not_found(self, stubs: Stubs, unknown: str) -> None:
        await create(stubs)
        for call in (
            lambda: get(stubs, unknown),
            lambda: status(stubs, unknown),
            lambda: runs_of(stubs, unknown),
            lambda: stubs.jobs.ListJobExceptions(pb.ListJobExceptionsRequest(job=unknown)),
            lambda: stubs.jobs.StopJob(pb.StopJobRequest(job=unknown)),
            lambda: stubs.jobs.GetJobStatusAndMetrics(pb.GetJobStatusAndMetricsRequest(job=unknown)),
        ):
            with refused(StatusCode.NOT_FOUND, "JOB_NOT_FOUND") as refusal:
                await call()
            assert refusal.metadata["name"] == unknown

    @pytest.mark.parametrize("bad", ["", "jobs/", "jobs/a/b", "jobs/a b", "jobs/" + "x" * 129, "x" * 256, "a\0b"])
    async def test_what_cannot_be_a_job_is_refused(self, stubs: Stubs, bad: str) -> None:
        for call in (
            lambda: get(stubs, bad),
            lambda: status(stubs, bad),
            lambda: runs_of(stubs, bad),
            lambda: stubs.jobs.StopJob(pb.StopJobRequest(job=bad)),
        ):
            with invalid() as refusal:
                await call()
            assert list(refusal.violations) == ["job"]

    async def test_of_several_jobs_of_one_name_the_active_one_is_meant(self, stubs: Stubs) -> None:
        for id_ in "abc":
            await create(stubs, id_, job_name="same")
        with refused(StatusCode.FAILED_PRECONDITION, "JOB_AMBIGUOUS") as refusal:
            await get(stubs, "same")
        assert "jobs/a, jobs/b, jobs/c" in refusal.message
        await tell(stubs, report("jobs/b"), report("jobs/c", "FINISHED"))
        assert (await get(stubs, "same")).name == "jobs/b"
        await tell(stubs, report("jobs/a"))
        with refused(StatusCode.FAILED_PRECONDITION, "JOB_AMBIGUOUS"):
            await status(stubs, "same")


class TestList:
    async def test_jobs_come_by_their_start_with_counts_over_all_pages(self, stubs: Stubs) -> None:
        await create(stubs, "never")
        await tell(
            stubs,
            report("jobs/old", "FINISHED", start_time=NOW - 9 * SECOND),
            report("jobs/b", start_time=NOW - 5 * SECOND),
            report("jobs/a", start_time=NOW - 5 * SECOND),
            report("jobs/new", "RESTARTING", start_time=NOW - SECOND),
            report("jobs/waits", "QUEUED"),
        )
        expected = ["new", "a", "b", "old", "never", "waits"]
        counts = {"UNSPECIFIED": 1, "QUEUED": 1, "RUNNING": 2, "FINISHED": 1, "RESTARTING": 1}
        for size in (1, 2, 6, 1_000):
            found: list[str] = []
            token = ""
            while True:
                answer = await stubs.jobs.ListJobs(pb.ListJobsRequest(page_size=size, page_token=token))
                assert answer.total_size == 6
                assert {state_name(one.state): one.count for one in answer.state_counts} == counts
                found += [job.name.removeprefix("jobs/") for job in answer.jobs]
                token = answer.next_page_token
                if not token:
                    break
                assert len(answer.jobs) == size
            assert found == expected

    async def test_filters(self, stubs: Stubs) -> None:
        for id_, cluster, labels in (("a", "c1", {"t": "1"}), ("b", "c2", {"t": "2"}), ("c", "", {"t": "1"})):
            await create(stubs, id_, cluster=cluster, labels=labels)
        await stubs.jobs.CreateJobType(pb.CreateJobTypeRequest(job_type_id="etl", job_type=pb.JobType(type_name="ETL")))
        await create(stubs, "d", job_type="jobTypes/etl")
        await tell(stubs, report("jobs/c", "RUNNING"), report("jobs/d", "FAILED"))
        assert await listed(stubs, cluster="c2") == ["b"]
        assert await listed(stubs, labels=["t=1"]) == ["c", "a"]
        assert await listed(stubs, active_only=True) == ["c"]
        assert await listed(stubs, states=[state_of("FAILED"), state_of("RUNNING")]) == ["c", "d"]
        assert await listed(stubs, job_type="jobTypes/etl") == ["d"]
        assert await listed(stubs, job_type="jobTypes/none") == []
        answer = await stubs.jobs.ListJobs(pb.ListJobsRequest(active_only=True))
        assert [(state_name(one.state), one.count) for one in answer.state_counts] == [("RUNNING", 1)]

    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await listed(stubs, page_size=-1, states=[99, 4, 4], cluster="\n", job_type="x", labels=["x"])
        assert set(refusal.violations) == {
            *("page_size", "states[0]", "states[2]", "cluster", "job_type", "labels[0]"),
        }
        assert refusal.violations["states[2]"] == "names RUNNING twice"

    async def test_a_token_belongs_to_its_filters(self, stubs: Stubs) -> None:
        for id_ in "abc":
            await create(stubs, id_, cluster="c")
        answer = await stubs.jobs.ListJobs(pb.ListJobsRequest(page_size=1, cluster="c"))
        token = answer.next_page_token
        assert await listed(stubs, page_size=2, cluster="c", page_token=token) == ["b", "c"]
        for bad in ({}, {"cluster": "d"}, {"cluster": "c", "active_only": True}, {"cluster": "c", "states": [4]}):
            with invalid("PAGE_TOKEN_MISMATCH"):
                await listed(stubs, page_token=token, **bad)
        for broken in (*damaged(token), with_number(token, 0, 10**30)):
            with invalid("PAGE_TOKEN_MISMATCH"):
                await listed(stubs, cluster="c", page_token=broken)


class TestRuns:
    async def test_runs_come_newest_first_a_page_at_a_time(self, stubs: Stubs) -> None:
        for number in range(5):
            await tell(stubs, report(run_id=f"r{number}", state="FINISHED"))
        await tell(stubs, report(run_id="r5"))
        assert [run for run, _ in await runs_of(stubs)] == ["r5", "r4", "r3", "r2", "r1", "r0"]
        answer = await stubs.jobs.ListJobRuns(pb.ListJobRunsRequest(job="jobs/a", page_size=2))
        assert [run.ordinal for run in answer.runs] == [6, 5]
        rest = await runs_of(stubs, page_token=answer.next_page_token)
        assert [run for run, _ in rest] == ["r3", "r2", "r1", "r0"]
        token = answer.next_page_token
        for broken in (*damaged(token), *[with_number(token, 0, number) for number in (10**30, 2**31, 0, -1)]):
            with invalid("PAGE_TOKEN_MISMATCH"):
                await runs_of(stubs, page_token=broken)


class TestUpdate:
    async def test_masked_fields_change_and_the_others_do_not(self, stubs: Stubs, clock: FixedClock) -> None:
        before = await create(stubs, "a", job_name="x", labels={"a": "1"})
        clock.micros += SECOND
        message = pb.Job(name="jobs/a", job_name="y", labels={"b": "2"})
        request = pb.UpdateJobRequest(job=message, update_mask=FieldMask(paths=["labels"]))
        after = (await stubs.jobs.UpdateJob(request)).job
        assert (after.job_name, dict(after.labels)) == ("x", {"b": "2"})
        assert after.etag != before.etag
        after = (await stubs.jobs.UpdateJob(pb.UpdateJobRequest(job=pb.Job(name="jobs/a")))).job
        assert (after.job_name, dict(after.labels)) == ("a", {})
        message = pb.Job(name="jobs/a", etag=before.etag)
        with refused(StatusCode.ABORTED, "ETAG_MISMATCH"):
            await stubs.jobs.UpdateJob(pb.UpdateJobRequest(job=message))

    async def test_all_that_is_wrong_is_told_at_once(self, stubs: Stubs) -> None:
        await create(stubs)
        message = pb.Job(name="a", job_name="\0", job_type="x", labels={"": ""})
        request = pb.UpdateJobRequest(job=message, update_mask=FieldMask(paths=["job_name", "cluster", "run"]))
        with invalid() as refusal:
            await stubs.jobs.UpdateJob(request)
        assert set(refusal.violations) == {
            *("job.name", "update_mask.paths[1]", "update_mask.paths[2]", "job.job_name"),
        }


class TestDelete:
    async def test_a_deleted_job_is_gone_with_its_runs_exceptions_and_metrics(self, stubs: Stubs) -> None:
        await tell(stubs, report(metrics={"x": 1}, exceptions=["boom"]))
        await stubs.jobs.DeleteJob(pb.DeleteJobRequest(job="jobs/a"))
        with refused(StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await get(stubs)
        await create(stubs)
        assert await runs_of(stubs) == []
        latest = await stubs.metrics.GetLatestMetrics(metrics_service_pb2.GetLatestMetricsRequest(subjects=["jobs/a"]))
        assert [list(one.values) for one in latest.subjects] == [[]]

    async def test_a_report_after_a_deletion_brings_it_back(self, stubs: Stubs) -> None:
        await tell(stubs, report(metrics={"x": 1}))
        await stubs.jobs.DeleteJob(pb.DeleteJobRequest(job="jobs/a"))
        await tell(stubs, report(metrics={"x": 2}))
        assert len(await runs_of(stubs)) == 1

    async def test_the_name_must_be_a_resource_name_and_the_etag_fresh(self, stubs: Stubs) -> None:
        job = await create(stubs)
        with invalid() as refusal:
            await stubs.jobs.DeleteJob(pb.DeleteJobRequest(job="a"))
        assert list(refusal.violations) == ["job"]
        with refused(StatusCode.ABORTED, "ETAG_MISMATCH"):
            await stubs.jobs.DeleteJob(pb.DeleteJobRequest(job="jobs/a", etag="x"))
        await stubs.jobs.DeleteJob(pb.DeleteJobRequest(job="jobs/a", etag=job.etag))


async def test_metrics_of_a_job_are_written_and_read_as_those_of_any_subject(stubs: Stubs) -> None:
    await create(stubs)
    answer = await stubs.metrics.WriteMetrics(write(row({"rows": 3}, subject="jobs/a")))
    assert answer.accepted_count == 1
    unknown = await stubs.metrics.WriteMetrics(write(row({"rows": 3}, subject="jobs/none")))
    assert [error.reason for error in unknown.errors] == [21]  # JOB_NOT_FOUND
