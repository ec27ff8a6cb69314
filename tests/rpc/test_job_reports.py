"""Jobs reported by their own runners: whole or not at all, and twice the same as once."""

from __future__ import annotations

import uuid

import pytest
from grpc import StatusCode
from streamgauge.v1 import common_pb2, metrics_service_pb2
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock

from tests.rpc.job_messages import (
    changes_of,
    create,
    exceptions_of,
    get,
    metrics_of,
    report,
    runs_of,
    state_name,
    status,
    tell,
)
from tests.rpc.messages import NOW, SECOND, micros, query, scalar
from tests.rpc.serving import Start, Stubs, invalid, refused

MINUTE = 60 * SECOND


async def names(stubs: Stubs) -> list[str]:
    return sorted(job.name for job in (await stubs.jobs.ListJobs(pb.ListJobsRequest())).jobs)


class TestJobs:
    async def test_an_unknown_resource_name_is_registered_as_it_is(self, stubs: Stubs) -> None:
        (told,) = await tell(stubs, report("jobs/nightly", run_id="1"))
        assert (told.job, told.run_id, state_name(told.state)) == ("jobs/nightly", "1", "RUNNING")
        assert (await get(stubs, "jobs/nightly")).job_name == "nightly"

    async def test_an_unknown_name_is_registered_under_itself_if_it_can_be_an_id(self, stubs: Stubs) -> None:
        (told,) = await tell(stubs, report("nightly.load"))
        assert told.job == "jobs/nightly.load"

    @pytest.mark.parametrize("name", ["a/b?c#d% &=+", "заказы 🚀", " ", "x" * 255])
    async def test_any_other_name_gets_an_id_that_is_always_the_same(self, stubs: Stubs, name: str) -> None:
        (first,) = await tell(stubs, report(name))
        (second,) = await tell(stubs, report(name))
        assert first.job == second.job
        assert uuid.UUID(first.job.removeprefix("jobs/")).version == 5
        assert (await get(stubs, name)).job_name == name
        await stubs.jobs.UpdateJob(pb.UpdateJobRequest(job=pb.Job(name=first.job, job_name="renamed")))
        (third,) = await tell(stubs, report(name))
        assert third.job == first.job
        assert len(await names(stubs)) == 1

    async def test_a_known_job_is_found_by_its_name(self, stubs: Stubs) -> None:
        await create(stubs, "j", job_name="Nightly load")
        (told,) = await tell(stubs, report("Nightly load"))
        assert told.job == "jobs/j"

    async def test_a_resource_name_is_never_taken_for_another_jobs_name(self, stubs: Stubs) -> None:
        await create(stubs, "a", job_name="b")
        (told,) = await tell(stubs, report("jobs/b"))
        assert told.job == "jobs/b"

    async def test_a_new_job_has_the_type_that_it_was_reported_with(self, stubs: Stubs) -> None:
        message = pb.CreateJobTypeRequest(job_type_id="etl", job_type=pb.JobType(type_name="etl"))
        await stubs.jobs.CreateJobType(message)
        await tell(stubs, report(job_type="jobTypes/etl"))
        assert (await get(stubs)).job_type == "jobTypes/etl"
        with refused(StatusCode.NOT_FOUND, "JOB_TYPE_NOT_FOUND"):
            await tell(stubs, report("jobs/b"), report("jobs/c", job_type="jobTypes/none"))
        assert await names(stubs) == ["jobs/a"]

    async def test_several_jobs_of_a_name_are_told_apart_by_which_goes_on(self, stubs: Stubs) -> None:
        for id_ in "ab":
            await create(stubs, id_, job_name="same")
        with refused(StatusCode.FAILED_PRECONDITION, "JOB_AMBIGUOUS") as refusal:
            await tell(stubs, report("same"))
        assert list(refusal.violations) == ["reports[0].job"]
        await tell(stubs, report("jobs/b"))
        (told,) = await tell(stubs, report("same", "FAILED"))
        assert told.job == "jobs/b"

    async def test_a_job_on_a_cluster_is_not_reported(self, stubs: Stubs) -> None:
        await create(stubs, cluster="prod")
        with invalid() as refusal:
            await tell(stubs, report("jobs/b"), report(state="FINISHED"))
        assert refusal.violations == {"reports[1].job": "runs on cluster 'prod', which tells what it does"}
        assert await names(stubs) == ["jobs/a"]


class TestRuns:
    async def test_without_a_run_id_it_is_the_active_run_or_a_new_one(self, stubs: Stubs) -> None:
        (first,) = await tell(stubs, report())
        (second,) = await tell(stubs, report(state="FINISHED"))
        (third,) = await tell(stubs, report())
        assert first.run_id == second.run_id != third.run_id
        assert await runs_of(stubs) == [(third.run_id, "RUNNING"), (first.run_id, "FINISHED")]

    async def test_reports_of_one_request_build_on_one_another(self, stubs: Stubs, clock: FixedClock) -> None:
        told = await tell(stubs, report(state="QUEUED"), report(), report(state="FINISHED"), report(), report("b"))
        assert len({one.run_id for one in told[:3]}) == 1
        assert told[3].run_id != told[0].run_id
        assert [state_name(one.state) for one in told] == ["FINISHED", "FINISHED", "FINISHED", "RUNNING", "RUNNING"]
        with invalid() as refusal:
            await tell(stubs, report(run_id="x", state="FAILED"), report(run_id="x"))
        assert refusal.violations == {"reports[1].state": "run x has ended as FAILED, and stays so"}

    async def test_how_a_run_ended_stays_and_telling_it_again_changes_nothing(
        self, stubs: Stubs, clock: FixedClock
    ) -> None:
        final = report(state="FAILED", metrics={"rows": 5}, exceptions=["boom"], restart_count=1)
        await tell(stubs, report(), final)
        before = await status(stubs)
        stream = stubs.jobs.WatchJobs(pb.WatchJobsRequest())
        await stream.read()
        clock.micros += MINUTE
        await tell(stubs, final)
        assert await status(stubs) == before
        assert len(await runs_of(stubs)) == 1
        assert len((await exceptions_of(stubs)).exceptions) == 1
        samples = await stubs.metrics.QueryMetrics(
            query("jobs/a", metrics=["rows"], start=NOW - MINUTE, end=NOW + 9 * MINUTE, aggregates=["COUNT"])
        )
        assert [list(s.columns[0].ints.values) for s in samples.series] == [[1]]
        for state in ("RUNNING", "FINISHED", "QUEUED"):
            with invalid() as refusal:
                await tell(stubs, report(state=state, run_id=before.job.run.run_id))
            assert "has ended as FAILED" in refusal.violations["reports[0].state"]
        await tell(stubs, report("jobs/other"))
        assert [change.job for change in await changes_of(stream)] == ["jobs/other"]
        stream.cancel()

    async def test_another_end_without_a_run_id_is_another_run(self, stubs: Stubs) -> None:
        await tell(stubs, report(state="FINISHED", start_time=NOW - 2 * MINUTE, end_time=NOW - MINUTE))
        await tell(stubs, report(state="FINISHED", start_time=NOW - 2 * MINUTE, end_time=NOW - MINUTE))
        assert len(await runs_of(stubs)) == 1
        await tell(stubs, report(state="FINISHED", end_time=NOW))
        await tell(stubs, report(state="FAILED"))
        assert [state for _, state in await runs_of(stubs)] == ["FAILED", "FINISHED", "FINISHED"]

    async def test_times_have_defaults_and_the_first_ones_stand(self, stubs: Stubs, clock: FixedClock) -> None:
        await tell(stubs, report(state="QUEUED", queue_time=NOW - SECOND))
        run = (await get(stubs)).run
        assert micros(run.queue_time) == NOW - SECOND
        assert not run.HasField("start_time")
        assert not run.HasField("duration")
        clock.micros += SECOND
        await tell(stubs, report())
        clock.micros += SECOND
        await tell(stubs, report(start_time=NOW - MINUTE))
        run = (await get(stubs)).run
        assert (micros(run.start_time), run.duration.ToMicroseconds()) == (NOW + SECOND, SECOND)
        clock.micros += SECOND
        await tell(stubs, report(state="FINISHED"))
        run = (await get(stubs)).run
        assert (micros(run.end_time), run.duration.ToMicroseconds()) == (NOW + 3 * SECOND, 2 * SECOND)
        assert run.outcome == pb.JOB_OUTCOME_COMPLETED
        assert run.final_figures

    async def test_an_end_in_the_past_begins_no_later(self, stubs: Stubs) -> None:
        await tell(stubs, report(state="CANCELED", end_time=NOW - MINUTE))
        run = (await get(stubs)).run
        assert (micros(run.start_time), micros(run.end_time)) == (NOW - MINUTE, NOW - MINUTE)

    async def test_a_report_is_news_although_the_clock_was_set_back(self, stubs: Stubs, clock: FixedClock) -> None:
        await tell(stubs, report())
        clock.micros -= MINUTE
        (told,) = await tell(stubs, report(state="FINISHED", metrics={"rows": 1}))
        assert state_name(told.state) == "FINISHED"
        assert await metrics_of(stubs) == {"rows": 1}

    async def test_restarts_and_tasks(self, stubs: Stubs, clock: FixedClock) -> None:
        await tell(stubs, report(tasks=pb.TaskCounts(running=1, finished=1, total=3)))
        run = (await get(stubs)).run
        assert run.degraded
        assert not run.flapping
        for restarts in (1, 2, 3):
            clock.micros += SECOND
            await tell(stubs, report(restart_count=restarts, tasks=pb.TaskCounts(running=3, total=3)))
        run = (await get(stubs)).run
        assert (run.restart_count, run.degraded, run.flapping) == (3, False, True)
        clock.micros += 10 * MINUTE
        assert not (await get(stubs)).run.flapping


class TestMetrics:
    async def test_metrics_are_those_of_any_subject(self, stubs: Stubs, clock: FixedClock) -> None:
        await tell(stubs, report(metrics={"rows": 5, "ratio": 0.5, "ok": True, "phase": "load"}))
        assert await metrics_of(stubs) == {"rows": 5, "ratio": 0.5, "ok": True, "phase": "load"}
        assert await metrics_of(stubs, "jobs/a", "rows", "none") == {"rows": 5}
        answer = await stubs.metrics.GetLatestMetrics(metrics_service_pb2.GetLatestMetricsRequest(subjects=["jobs/a"]))
        assert {one.metric: micros(one.time) for one in answer.subjects[0].values} == dict.fromkeys(
            ("rows", "ratio", "ok", "phase"), NOW
        )

    async def test_counters_are_added_up_over_runs(self, stubs: Stubs, clock: FixedClock) -> None:
        descriptor = common_pb2.MetricDescriptor(
            name="metricDescriptors/jobs/rows",
            kind=common_pb2.METRIC_KIND_COUNTER,
            value_type=common_pb2.VALUE_TYPE_INT64,
        )
        await stubs.metrics.UpdateMetricDescriptor(
            metrics_service_pb2.UpdateMetricDescriptorRequest(metric_descriptor=descriptor, allow_missing=True)
        )
        for run, rows in (("r1", 10), ("r1", 30), ("r2", 40)):
            clock.micros += SECOND
            await tell(stubs, report(run_id=run, metrics={"rows": rows}))
        answer = await stubs.jobs.GetJobStatusAndMetrics(pb.GetJobStatusAndMetricsRequest(job="jobs/a"))
        (one,) = answer.metrics
        assert (scalar(one.value), scalar(one.raw_value)) == (70, 40)
        assert micros(one.start_time) == NOW + 3 * SECOND

    async def test_a_type_that_does_not_fit_is_refused_with_everything(self, stubs: Stubs) -> None:
        await tell(stubs, report(metrics={"rows": 5}))
        with invalid("VALUE_TYPE_MISMATCH") as refusal:
            await tell(stubs, report("jobs/b", metrics={"new": 1}), report("jobs/c", metrics={"rows": "x", "ok": 1}))
        assert list(refusal.violations) == ['reports[1].metrics["rows"]']
        assert await names(stubs) == ["jobs/a"]
        with invalid("VALUE_TYPE_MISMATCH") as refusal:
            await tell(stubs, report("jobs/b", metrics={"fresh": 1}), report("jobs/c", metrics={"fresh": "x"}))
        assert list(refusal.violations) == ['reports[1].metrics["fresh"]']

    async def test_a_limit_of_metrics_stores_nothing(self, start: Start) -> None:
        # The built-in ones count.
        stubs = await start(limits={"max_metrics_per_tenant": 1})
        with refused(StatusCode.RESOURCE_EXHAUSTED, "METRIC_LIMIT"):
            await tell(stubs, report(metrics={"x": 1, "y": 2}))
        assert await names(stubs) == []

    async def test_a_limit_of_subjects_stores_nothing(self, start: Start) -> None:
        stubs = await start(limits={"max_subjects_per_tenant": 1})
        with refused(StatusCode.RESOURCE_EXHAUSTED, "SUBJECT_LIMIT"):
            await tell(stubs, report("jobs/a"), report("jobs/b"))
        assert await names(stubs) == []


class TestExceptions:
    async def test_exceptions_are_kept_once_and_listed_newest_first(self, stubs: Stubs, clock: FixedClock) -> None:
        timed = pb.ReportedException(stacktrace="java.io.IOException: disk\n\tat A", exception_class="IOException")
        timed.time.FromMicroseconds(NOW - MINUTE)
        message = report(exceptions=["boom\n  at B", timed, pb.ReportedException(stacktrace="boom\n  at B", task="t")])
        await tell(stubs, message)
        clock.micros += SECOND
        await tell(stubs, message)
        answer = await exceptions_of(stubs)
        assert [(one.summary, one.task, micros(one.time)) for one in answer.exceptions[2:]] == [
            ("java.io.IOException: disk", "", NOW - MINUTE)
        ]
        assert {(one.summary, one.task) for one in answer.exceptions[:2]} == {("boom", ""), ("boom", "t")}
        assert (await get(stubs)).run.error == "boom"

    async def test_a_stack_trace_of_two_megabytes_keeps_head_and_end(self, stubs: Stubs) -> None:
        text = "Top: 🚀" + "x" * 2_000_000 + "\nCaused by: java.lang.Error: the end"
        await tell(stubs, report(exceptions=[text]))
        (one,) = (await exceptions_of(stubs)).exceptions
        assert one.truncated
        assert len(one.stacktrace.encode()) <= 65_536
        assert one.stacktrace.startswith("Top: 🚀")
        assert one.stacktrace.endswith("Caused by: java.lang.Error: the end")
        assert len(one.summary.encode()) <= 1_024

    async def test_a_traceback_of_python_is_summed_up_by_the_line_that_tells_the_error(self, stubs: Stubs) -> None:
        traceback = (
            'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\nValueError: no\nmore of it'
        )
        await tell(stubs, report(exceptions=[traceback]))
        assert [one.summary for one in (await exceptions_of(stubs)).exceptions] == ["ValueError: no"]

    async def test_nul_in_a_stack_trace_is_left_out(self, stubs: Stubs) -> None:
        await tell(stubs, report(exceptions=["bo\0om"]))
        assert [one.stacktrace for one in (await exceptions_of(stubs)).exceptions] == ["boom"]

    async def test_what_is_kept_of_a_stack_trace_is_a_limit(self, start: Start) -> None:
        stubs = await start(limits={"max_stacktrace_bytes": 1_000})
        await tell(stubs, report(exceptions=["x" * 2_000]))
        (one,) = (await exceptions_of(stubs)).exceptions
        assert one.truncated
        assert len(one.stacktrace) <= 1_000

    async def test_pages(self, stubs: Stubs) -> None:
        await tell(stubs, report(run_id="r", exceptions=[f"boom {number}" for number in range(45)]))
        seen: list[str] = []
        token = ""
        sizes = []
        while True:
            answer = await exceptions_of(stubs, page_token=token)
            sizes.append(len(answer.exceptions))
            seen += [one.summary for one in answer.exceptions]
            assert answer.run_id == "r"
            token = answer.next_page_token
            if not token:
                break
        assert sizes == [20, 20, 5]
        assert len(set(seen)) == 45
        first = await exceptions_of(stubs, page_size=100)
        assert len(first.exceptions) == 45
        token = (await exceptions_of(stubs, page_size=1)).next_page_token
        for other in ({"run_id": "r"}, {"job": "a"}):
            with invalid("PAGE_TOKEN_MISMATCH"):
                await exceptions_of(stubs, **({"job": "jobs/a", "page_token": token} | other))

    async def test_a_page_stays_below_what_an_answer_may_weigh(self, stubs: Stubs) -> None:
        await tell(stubs, report(exceptions=[f"{number}" + "x" * 70_000 for number in range(80)]))
        answer = await exceptions_of(stubs, page_size=100)
        assert 20 < len(answer.exceptions) < 80
        assert answer.next_page_token
        rest = await exceptions_of(stubs, page_size=100, page_token=answer.next_page_token)
        assert rest.exceptions

    async def test_a_run_without_exceptions_and_a_job_without_a_run_answer_with_none(self, stubs: Stubs) -> None:
        await create(stubs, "idle")
        await tell(stubs, report(run_id="r"))
        assert (await exceptions_of(stubs)).run_id == "r"
        assert list((await exceptions_of(stubs, "jobs/idle")).exceptions) == []
        with refused(StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await exceptions_of(stubs, run_id="other")

    async def test_an_older_run_is_named(self, stubs: Stubs) -> None:
        await tell(stubs, report(run_id="1", state="FAILED", exceptions=["one"]), report(run_id="2"))
        assert list((await exceptions_of(stubs)).exceptions) == []
        assert [one.summary for one in (await exceptions_of(stubs, run_id="1")).exceptions] == ["one"]


class TestRefusals:
    async def test_all_that_is_wrong_with_all_reports_is_told_at_once(self, stubs: Stubs) -> None:
        bad_time = report("jobs/t", "FINISHED", end_time=NOW - 3 * SECOND, start_time=NOW)
        bad_time.queue_time.nanos = -1
        numbers = report("jobs/n", restart_count=-1, tasks=pb.TaskCounts(running=-1, total=3))
        numbers.metrics["none"].SetInParent()
        numbers.metrics["nan"].double_value = float("nan")
        numbers.metrics["\n"].int64_value = 1
        with invalid() as refusal:
            await tell(
                stubs,
                report("jobs/fine"),
                report("jobs/a b", run_id="ü", job_type="x"),
                report("", "UNSPECIFIED"),
                report("jobs/o", "OTHER", run_id="x" * 129),
                bad_time,
                report("jobs/e", end_time=NOW, start_time=NOW + 3_600 * SECOND),
                report("jobs/x", exceptions=["", " \0", pb.ReportedException(stacktrace="x", task="t" * 1_025)]),
                numbers,
                report("jobs/m", tasks=pb.TaskCounts(running=3, finished=1, total=3)),
                report("x" * 256),
            )
        assert refusal.violations == {
            "reports[1].job": (
                "after 'jobs/' must have 1 to 128 characters out of letters, digits, '.', '_', '~' and '-'"
            ),
            "reports[1].run_id": "must consist of printable ASCII characters",
            "reports[1].job_type": "must be the resource name of a job type, 'jobTypes/{job_type}'",
            "reports[2].job": "must not be empty",
            "reports[2].state": _STATES + ", is 0",
            "reports[3].run_id": "must have at most 128 characters, has 129",
            "reports[3].state": _STATES + ", is 13",
            "reports[4].queue_time": "is not a valid timestamp: nanos must be between 0 and 999,999,999",
            "reports[4].end_time": "must not be before start_time",
            "reports[5].start_time": (
                "must be at most 600 s ahead of the server's clock (2026-01-01T12:00:00Z), is 3600 s ahead"
            ),
            "reports[5].end_time": "does not go with a state that is not final",
            "reports[6].exceptions[0].stacktrace": "must not be empty",
            "reports[6].exceptions[1].stacktrace": "must not be empty",
            "reports[6].exceptions[2].task": "must have at most 1024 bytes, has 1025",
            'reports[7].metrics["nan"]': "must be finite, is nan",
            'reports[7].metrics["none"]': (
                "must have exactly one of double_value, int64_value, bool_value, string_value"
            ),
            'reports[7].metrics["\n"]': "must not hold control characters",
            "reports[7].restart_count": "must not be negative, is -1",
            "reports[7].tasks.running": "must not be negative, is -1",
            "reports[8].tasks.total": "must be at least running and finished together, 4, is 3",
            "reports[9].job": "must have at most 255 characters, has 256",
        }
        assert await names(stubs) == []

    async def test_numbers_of_things_are_bounded(self, stubs: Stubs) -> None:
        for count in (0, 1_001):
            with invalid() as refusal:
                await tell(stubs, *[report(f"jobs/{number}") for number in range(count)])
            assert refusal.violations == {"reports": f"must have 1 to 1000 entries, has {count}"}
        with invalid() as refusal:
            await tell(stubs, report(exceptions=["x"] * 101))
        assert refusal.violations == {"reports[0].exceptions": "must have at most 100 entries, has 101"}
        assert len(await tell(stubs, *[report(f"n/{number}") for number in range(1_000)])) == 1_000

    async def test_an_end_before_the_stored_start_is_refused(self, stubs: Stubs) -> None:
        await tell(stubs, report(run_id="r"))
        with invalid() as refusal:
            await tell(stubs, report(run_id="r", state="FINISHED", end_time=NOW - SECOND))
        assert refusal.violations == {"reports[0].end_time": "must not be before the start of the run"}


_STATES = (
    "must be one of QUEUED, INITIALIZING, CREATED, RUNNING, FAILING, FAILED, CANCELLING, CANCELED, FINISHED, "
    "RESTARTING, SUSPENDED, RECONCILING"
)
