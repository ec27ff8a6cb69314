"""Every recorded answer, of Flink 2.3 and 1.20, is read by the parser of its endpoint."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from streamgauge_server.flink.cluster import ClusterConfig, ClusterOverview, parse_jobs, parse_status
from streamgauge_server.flink.failures import FailureHistory
from streamgauge_server.flink.job_details import JobDetails
from streamgauge_server.flink.metric_values import parse_aggregates, parse_names, parse_values
from streamgauge_server.flink.savepoints import SavepointStatus
from streamgauge_server.flink.states import FlinkState

from tests.flink.recordings import VERSIONS, Recording, recording, recordings

PARSERS: tuple[tuple[str, Callable[[object], object]], ...] = (
    (r"/overview", ClusterOverview.parse),
    (r"/config", ClusterConfig.parse),
    (r"/jobs/overview", parse_jobs),
    (r"/jobs/\w+/?", JobDetails.parse),
    (r"/jobs/\w+/status", parse_status),
    (r"/jobs/\w+/exceptions(\?.*)?", FailureHistory.parse),
    (r"/jobs/\w+/savepoints/\w+", SavepointStatus.parse),
    (r"/jobs/\w+/(vertices/\w+/)?(subtasks/)?metrics", parse_names),
    (r"/jobs/\w+/(vertices/\w+/)?metrics\?get=.*", parse_values),
    (r"/jobs/\w+/vertices/\w+/subtasks/metrics\?get=.*", parse_aggregates),
)
ANSWERED = [one for version in VERSIONS for one in recordings(version) if one.method == "GET" and one.status == 200]
DETAILS = [one for one in ANSWERED if re.fullmatch(r"/jobs/[0-9A-Fa-f]{32}/?", one.target)]


def parser_of(one: Recording) -> Callable[[object], object]:
    return next(parse for pattern, parse in PARSERS if re.fullmatch(pattern, one.target))


def title(one: Recording) -> str:
    return f"{one.version}/{one.name}"


@pytest.mark.parametrize("one", ANSWERED, ids=title)
def test_every_recorded_answer_is_read(one: Recording) -> None:
    parser_of(one)(one.answer)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_endpoint_has_been_recorded_of_every_version(version: str) -> None:
    parsers = {parser_of(one) for one in ANSWERED if one.version == version}
    missing = {parse for _, parse in PARSERS} - parsers
    assert missing <= ({parse_status} if version == "v1_20" else set())


@pytest.mark.parametrize("one", DETAILS, ids=title)
def test_details_tell_vertices_with_their_inputs_and_a_known_state(one: Recording) -> None:
    job = JobDetails.parse(one.answer)
    assert job.state is not FlinkState.OTHER
    assert job.state_text == job.state.value
    assert job.vertices
    ids = {vertex.id for vertex in job.vertices}
    for vertex in job.vertices:
        assert vertex.inputs is not None
        assert set(vertex.inputs) <= ids
        assert vertex.tasks.total == vertex.parallelism
    assert job.start_ms == job.timestamps["INITIALIZING"]
    assert (job.end_ms is None) != job.state.terminal


def test_the_overview_tells_states_times_and_subtasks() -> None:
    jobs = {job.name: job for job in parse_jobs(recording("jobs_overview").answer)}
    running, finished = jobs["orders-1"], jobs["finite-1"]
    assert (running.jid, running.state) == ("576cc71be43678de4371fbd6ac3c0503", FlinkState.RUNNING)
    assert (running.start_ms, running.end_ms, running.duration_ms) == (1795305009647, None, 19638)
    assert (running.tasks.total, running.tasks.running, running.degraded) == (6, 6, False)
    assert (finished.state, finished.end_ms, finished.duration_ms) == (FlinkState.FINISHED, 1795305014267, 3498)
    assert jobs["failing-1"].state.terminal


def test_the_overview_of_1_20_tells_the_same_without_the_fields_that_2_x_has() -> None:
    jobs = {job.name: job for job in parse_jobs(recording("jobs_overview", "v1_20").answer)}
    assert jobs["orders-1"].state is FlinkState.RUNNING
    assert jobs["orders-1"].tasks.total == 6
    assert jobs["hugefail"].state is FlinkState.FAILED


def test_a_job_that_is_running_without_all_its_subtasks_is_degraded() -> None:
    summary = next(job for job in parse_jobs(recording("jobs_overview_noslots").answer) if job.name == "noslots")
    details = JobDetails.parse(recording("job_noslots").answer)
    assert (summary.tasks.running, summary.tasks.total, summary.degraded) == (24, 60, True)
    assert (details.tasks.running, details.tasks.total, details.degraded) == (24, 60, True)


def test_what_flink_has_not_fetched_yet_is_absent_and_not_zero() -> None:
    early = JobDetails.parse(recording("job_long").answer)
    assert not early.complete
    assert {vertex.metrics.write_records for vertex in early.vertices} == {None}
    assert {vertex.metrics.busy_ms for vertex in early.vertices} == {None}
    warm = JobDetails.parse(recording("job_long_warm").answer)
    assert warm.complete
    assert [v.metrics.write_records for v in warm.vertices] == [2095, 1047, 0]
    assert [v.metrics.busy_ms for v in warm.vertices] == [1196, 858, 758]


def test_a_restart_begins_a_new_attempt() -> None:
    first = JobDetails.parse(recording("tm_down_job_restart").answer)
    later = JobDetails.parse(recording("job_after_tm_recovery2").answer)
    assert first.jid == later.jid
    assert later.attempt_ms > first.attempt_ms


def test_an_attempt_begins_when_the_job_runs_whenever_its_vertices_start() -> None:
    told = recording("job_long_warm").answer
    attempt = JobDetails.parse(told).attempt_ms
    assert attempt == told["timestamps"]["RUNNING"]
    told["vertices"][-1]["start-time"] += 60_000  # as in a batch job, whose stages follow one another
    assert JobDetails.parse(told).attempt_ms == attempt
    told["timestamps"]["RUNNING"] = 0
    assert JobDetails.parse(told).attempt_ms == told["start-time"]


def test_savepoints_in_progress_completed_and_failed_are_told_apart() -> None:
    assert SavepointStatus.parse(recording("savepoint_status_0").answer) == SavepointStatus(completed=False)
    done = SavepointStatus.parse(recording("savepoint_status_1").answer)
    assert done.location.startswith("file:/")
    assert not done.failure
    missing = SavepointStatus.parse(recording("stop_noslots_status").answer)
    assert missing.failure.startswith("Checkpoint triggering task Source: Source (9/20) of job")
    assert missing.failure.endswith("Not all required tasks are currently running.")
    assert not missing.job_unknown
    ended = SavepointStatus.parse(recording("stop_finished_status").answer)
    assert ended.job_unknown
    assert ended.failure == "Could not find Flink job (b6cb47f36a3c65754f89e0369b3f490f)"


def test_metrics_are_read_as_the_texts_that_flink_sends() -> None:
    values = parse_values(recording("vertex_flatmap_metrics_get_currentEventTs").answer)
    assert values == {"0.Flat_Map.currentEventTs": "1538573876000", "1.Flat_Map.currentEventTs": "1538573875000"}
    assert parse_values(recording("job_long_metrics_get_unknown").answer).keys() == {"uptime"}
    aggregate = parse_aggregates(recording("vertex_source_subtasks_agg_sum").answer)["numRecordsOut"]
    assert (aggregate.sum, aggregate.min) == (2154.0, None)
