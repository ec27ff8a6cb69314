"""Jobs into messages and back, and what is refused before it is sent."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from streamgauge import (
    JobOutcome,
    JobReport,
    JobState,
    ReportedException,
    StatusOrigin,
    TaskCounts,
    errors,
)
from streamgauge import _job_codec as codec
from streamgauge._job_requests import patience, watched
from streamgauge._run_reports import RunReports, final_state
from streamgauge.job_reports import MAX_STACKTRACE_CHARACTERS
from streamgauge.v1 import job_service_pb2 as pb

T0 = datetime(2026, 11, 22, 6, tzinfo=UTC)


# --- Answers ---------------------------------------------------------------------------------------------------------


def test_a_status_is_decoded_whole() -> None:
    message = pb.GetJobStatusResponse(origin=pb.STATUS_ORIGIN_LIVE, stale=True, messages=["m"], active_run_ids=["b"])
    run = message.job.run
    run.run_id, run.ordinal, run.state, run.state_text, run.degraded = "a", 3, pb.JOB_STATE_RUNNING, "RUNNING", True
    run.start_time.FromDatetime(T0)
    run.duration.FromMilliseconds(1_500)
    run.tasks.running, run.tasks.total = 1, 2
    run.vertices.add(id="v", name="source", parallelism=2, state="RUNNING", read_records=0)
    status = codec.status(message)
    assert (status.origin, status.stale, status.messages, status.active_run_ids) == (
        StatusOrigin.LIVE,
        True,
        ("m",),
        ("b",),
    )
    assert status.run is not None
    assert (status.state, status.run.ended, status.run.outcome) == (JobState.RUNNING, False, None)
    assert (status.run.start_time, status.run.end_time, status.run.duration) == (T0, None, timedelta(seconds=1.5))
    assert status.run.tasks == TaskCounts(1, 0, 2)
    (vertex,) = status.run.vertices
    assert (vertex.read_records, vertex.write_records) == (0, None)


def test_a_job_without_a_run_has_no_state() -> None:
    job = codec.job(pb.Job(name="jobs/orders"))
    assert (job.id, job.run, job.state) == ("orders", None, None)


def test_a_member_that_this_version_does_not_know_is_unknown() -> None:
    message = pb.JobRun()
    message.MergeFromString(pb.JobRun(run_id="a").SerializeToString() + b"\x18\x63\x28\x63")  # state and outcome: 99
    run = codec.run(message)
    assert (run.state, run.outcome, run.ended) == (JobState.UNKNOWN, JobOutcome.UNKNOWN, False)


def test_an_overview_counts_jobs_without_a_run_apart() -> None:
    message = pb.ListJobsResponse(total_size=5)
    message.state_counts.add(state=pb.JOB_STATE_RUNNING, count=2)
    message.state_counts.add(count=3)
    message.clusters.add(cluster="main", problem="refused")
    overview = codec.overview(message)
    assert (overview.total, overview.state_counts) == (5, {JobState.RUNNING: 2, None: 3})
    assert (overview.clusters[0].reachable, overview.clusters[0].problem) == (False, "refused")


# --- Requests --------------------------------------------------------------------------------------------------------


def test_a_change_of_nothing_is_refused_for_an_empty_mask_would_mean_everything() -> None:
    with pytest.raises(ValueError, match="give a field to change"):
        codec.update("orders", None, None, None, "")
    request = codec.update("orders", None, "", {}, "e")
    assert (request.job.name, list(request.update_mask.paths)) == ("jobs/orders", ["job_type", "labels"])


def test_lengths_of_time_must_be_timedeltas() -> None:
    wait: Any = 30
    with pytest.raises(TypeError, match="wait must be a timedelta"):
        codec.stop("a", "cancel", drain=False, savepoint_directory="", run_id="", wait=wait)
    request = codec.stop("a", "savepoint", drain=True, savepoint_directory="d", run_id="r", wait=timedelta(minutes=1))
    assert request == pb.StopJobRequest(
        job="a", mode=pb.STOP_MODE_SAVEPOINT, drain=True, savepoint_directory="d", run_id="r", wait=request.wait
    )
    assert request.wait.seconds == 60


def test_a_stop_that_waits_has_time_for_it() -> None:
    assert patience(None, None) is None
    assert patience(timedelta(seconds=60), None) == 90
    assert patience(timedelta(seconds=60), 5) == 5


def test_watched_jobs_are_named_by_id() -> None:
    assert list(watched("orders", "", False).jobs) == ["jobs/orders"]
    assert list(watched(["jobs/a", "b"], "", False).jobs) == ["jobs/a", "jobs/b"]


def test_a_report_says_what_is_given_and_nothing_else() -> None:
    assert codec.report(JobReport("a", "queued")) == pb.JobReport(job="a", state=pb.JOB_STATE_QUEUED)
    message = codec.report(
        JobReport("a", JobState.FAILED, end_time=T0, metrics={"n": 1}, restart_count=0, tasks=TaskCounts(1, 2, 3))
    )
    assert message.HasField("restart_count")
    assert (message.metrics["n"].int64_value, message.tasks.total) == (1, 3)
    with pytest.raises(ValueError, match="end_time must be timezone-aware"):
        codec.report(JobReport("a", "failed", end_time=datetime(2026, 1, 1)))  # noqa: DTZ001 (the point)
    with pytest.raises(ValueError, match="UNKNOWN"):
        codec.report(JobReport("a", "unknown"))


def test_many_reports_are_cut_into_requests_by_count_and_bytes() -> None:
    counts = [len(r.reports) for r in codec.report_requests(JobReport(f"j{n}", "running") for n in range(2_500))]
    assert counts == [1_000, 1_000, 500]
    big = ReportedException("x" * 700_000)
    counts = [len(r.reports) for r in codec.report_requests([JobReport("a", "failed", exceptions=[big])] * 3)]
    assert counts == [1, 1, 1]


# --- Exceptions ------------------------------------------------------------------------------------------------------


def test_a_python_exception_is_told_with_its_headline_first_its_cause_and_its_class() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise errors.NotFoundError("outer") from inner
    except errors.NotFoundError as error:
        told = ReportedException.of(error, task="t")
    assert told.exception_class == "streamgauge.errors.NotFoundError"
    lines = told.stacktrace.splitlines()
    assert lines[0] == "streamgauge.errors.NotFoundError: UNKNOWN: outer"
    assert "KeyError: 'inner'" in lines
    assert told.time is not None
    assert told.task == "t"


def test_a_traceback_that_cannot_be_sent_as_it_is_is_made_so() -> None:
    told = ReportedException.of(ValueError("a\0b\ud800" + "x" * 1_000_000 + "the end"))
    assert told.exception_class == "ValueError"
    assert len(told.stacktrace) < MAX_STACKTRACE_CHARACTERS + 100
    assert told.stacktrace.startswith("ValueError: a\\x00b\\ud800x")
    assert told.stacktrace.endswith("xthe end\n")
    assert codec.exception(told).stacktrace == told.stacktrace


# --- What a run has yet to tell --------------------------------------------------------------------------------------


def reports(told: list[Exception]) -> RunReports:
    return RunReports(JobReport("a", "running", run_id="r", start_time=T0), told.append)


def test_news_are_gone_once_taken_and_come_back_below_newer_ones() -> None:
    growing = reports([])
    growing.add_metrics({"a": 1, "b": 1})
    growing.add_exception(ValueError("first"))
    taken = growing.take(JobState.RUNNING)
    assert (taken.run_id, taken.job, sorted(taken.metrics)) == ("r", "a", ["a", "b"])
    assert not growing.take(JobState.RUNNING).metrics
    growing.add_metrics({"b": 2})
    growing.add_exception(ValueError("second"))
    growing.put_back(taken)
    again = growing.take(JobState.FINISHED)
    assert {name: value.int64_value for name, value in again.metrics.items()} == {"a": 1, "b": 2}
    assert [e.stacktrace for e in again.exceptions] == ["ValueError: first\n", "ValueError: second\n"]
    assert again.HasField("end_time")


def test_values_that_cannot_be_sent_are_told_and_the_others_kept() -> None:
    told: list[Exception] = []
    growing = reports(told)
    wrong: Any = {5: 1, "none": None, "nan": math.nan, "big": 2**63, "\ud800": 1, "text": "\ud800", "good": 1}
    growing.add_metrics(wrong)
    growing.set_tasks(TaskCounts(2**40, 0, 0))
    assert len(told) == 7
    assert list(growing.take(JobState.RUNNING).metrics) == ["good"]


def test_a_run_that_ends_before_it_began_by_a_clock_set_back_ends_as_it_began() -> None:
    growing = RunReports(JobReport("a", "running", start_time=datetime(9000, 1, 1, tzinfo=UTC)), None)
    report = growing.take(JobState.FINISHED)
    assert report.end_time == report.start_time


def test_the_newest_hundred_exceptions_are_kept() -> None:
    growing = reports([])
    for number in range(150):
        growing.add_exception(ValueError(str(number)))
    kept = growing.take(JobState.RUNNING).exceptions
    assert (len(kept), kept[0].stacktrace) == (100, "ValueError: 50\n")


class Unspeakable(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise SystemError("no")


def test_an_exception_that_cannot_be_told_is_told_by_its_class() -> None:
    growing = reports([])
    growing.add_exception(Unspeakable())
    assert (
        growing.take(JobState.RUNNING).exceptions[0].stacktrace.startswith(("Unspeakable", f"{__name__}.Unspeakable"))
    )


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, JobState.FINISHED),
        (ValueError(), JobState.FAILED),
        (SystemExit(), JobState.FINISHED),
        (SystemExit(0), JobState.FINISHED),
        (SystemExit(1), JobState.FAILED),
        (SystemExit("no"), JobState.FAILED),
        (KeyboardInterrupt(), JobState.CANCELED),
    ],
)
def test_how_the_work_ends_is_how_the_run_ends(error: BaseException | None, state: JobState) -> None:
    assert final_state(error) is state
