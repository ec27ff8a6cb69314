"""Metrics and exceptions of jobs, as the collector stores them."""

from __future__ import annotations

from typing import Any

import pytest
from streamgauge_server.flink.failures import MAX_STACK_BYTES
from streamgauge_server.model.values import SubjectKind

from tests.collectors.conftest import CLUSTER, TENANT, Collecting, jid
from tests.flink.fake import Answer
from tests.flink.fake_jobs import START_MS
from tests.flink.recordings import recording


def failure(number: int, text: str = "java.lang.IllegalStateException: no", **fields: Any) -> dict[str, object]:
    """Returns an entry of the exception history."""
    return {
        "exceptionName": "java.lang.IllegalStateException",
        "stacktrace": f"{text}\n\tat demo.DemoJob.run(DemoJob.java:1)",
        "timestamp": START_MS + number,
        "taskName": f"Flat Map (1/1) - execution #{number}",
        "endpoint": "127.0.0.1:6122",
        **fields,
    }


async def test_counters_go_on_over_attempts(collecting: Collecting) -> None:
    job = collecting.add(1, "orders", read=100, processed=40)
    await collecting.poll()
    job.attempt_ms, job.restarts, job.read, job.processed = START_MS + 65_000, 1, 30, 10
    await collecting.poll()
    job.read = 50
    await collecting.poll()
    assert (await collecting.values("orders"))["numRecordsRead"] == 50
    assert await collecting.total("orders", "numRecordsRead") == 150
    assert await collecting.total("orders", "numRecordsProcessed") == 50
    job.attempt_ms, job.restarts, job.read = START_MS + 95_000, 2, 60
    await collecting.poll()
    assert await collecting.total("orders", "numRecordsRead") == 210


async def test_restarts_are_counted_once_although_attempts_change(collecting: Collecting) -> None:
    job = collecting.add(1, "orders")
    for restarts in range(4):
        job.restarts, job.attempt_ms = restarts, START_MS + 1_000 * restarts
        await collecting.poll()
    assert await collecting.total("orders", "numRestarts") == 3
    run = await collecting.run(jid(1))
    assert (run.restarts, len(run.recent_restarts)) == (3, 3)


async def test_a_count_that_falls_within_an_attempt_is_no_new_beginning(collecting: Collecting) -> None:
    job = collecting.add(1, "orders", read=100)
    await collecting.poll()
    job.read = 70
    await collecting.poll()
    job.read = 110
    await collecting.poll()
    assert await collecting.total("orders", "numRecordsRead") == 110


async def test_what_has_not_been_gathered_yet_is_absent_and_never_zero(collecting: Collecting) -> None:
    job = collecting.add(1, "orders", complete=False)
    await collecting.poll()
    values = await collecting.values("orders")
    assert "numRecordsRead" not in values
    assert "busyTime" not in values
    assert values["tasksTotal"] == 2
    assert [v.write_records for v in (await collecting.run(jid(1))).vertices] == [None, None]
    job.complete, job.read = True, 4
    await collecting.poll()
    assert await collecting.total("orders", "numRecordsRead") == 4


async def test_a_clock_of_the_cluster_that_is_ahead_begins_no_attempts(collecting: Collecting) -> None:
    ahead = collecting.clock.micros // 1_000 + 3_600_000
    job = collecting.add(1, "orders", attempt_ms=ahead)
    for read in (10, 20, 30):
        job.read = read
        await collecting.poll()
    sample = (await collecting.samples("orders"))["numRecordsRead"]
    assert (sample.value, sample.time, sample.start) == (30, ahead * 1_000, ahead * 1_000)


async def test_the_last_figures_are_those_of_the_end(collecting: Collecting) -> None:
    job = collecting.add(1, "orders", read=10)
    await collecting.poll()
    collecting.advance(1)
    job.state, job.end_ms, job.read = "FINISHED", collecting.flink.now_ms, 99
    await collecting.poll()
    sample = (await collecting.samples("orders"))["numRecordsRead"]
    assert (sample.value, sample.time) == (99, job.end_ms * 1_000)


async def test_a_metric_that_was_declared_as_a_double_takes_figures(collecting: Collecting) -> None:
    collecting.add(1, "orders", read=3)
    await collecting.store.metrics.update(TENANT, SubjectKind.JOB, "tasksTotal", {"no_value": 2.0})
    await collecting.store.metrics.update(TENANT, SubjectKind.JOB, "numRecordsRead", {"max_value": 2.0})
    await collecting.poll()
    values = await collecting.values("orders")
    assert values.keys() & {"tasksTotal", "numRecordsRead", "tasksRunning"} == {"tasksRunning"}


async def test_a_healthy_job_is_not_asked_for_exceptions(collecting: Collecting) -> None:
    collecting.add(1, "orders")
    await collecting.poll(3)
    assert not [target for target in collecting.fake.targets() if "exceptions" in target]
    assert await collecting.exceptions(jid(1)) == []


async def test_exceptions_are_asked_for_when_the_job_has_restarted_and_kept_once(collecting: Collecting) -> None:
    job = collecting.add(1, "orders")
    await collecting.poll()
    job.failures.insert(0, failure(1))
    job.restarts = 1
    await collecting.poll(3)
    assert len([target for target in collecting.fake.targets() if "exceptions" in target]) == 1
    (exception,) = await collecting.exceptions(jid(1))
    assert exception.exception_class == "java.lang.IllegalStateException"
    assert exception.summary == "java.lang.IllegalStateException: no"
    assert (exception.task, exception.endpoint) == ("Flat Map (1/1) - execution #1", "127.0.0.1:6122")
    assert exception.time == (START_MS + 1) * 1_000
    assert (await collecting.run(jid(1))).error == "java.lang.IllegalStateException: no"


async def test_26_failures_in_a_history_of_16_are_all_kept(collecting: Collecting) -> None:
    job = collecting.add(1, "orders", state="RESTARTING")
    for number in range(26):
        job.failures.insert(0, failure(number, f"java.lang.IllegalStateException: number {number}"))
        del job.failures[16:]
        job.restarts = number + 1
        if number % 4 == 3:
            await collecting.poll()
    job.state, job.end_ms = "FAILED", collecting.flink.now_ms
    await collecting.poll()
    exceptions = await collecting.exceptions(jid(1))
    assert [one.summary.rpartition(" ")[2] for one in exceptions] == [str(number) for number in reversed(range(26))]
    assert (await collecting.run(jid(1))).history_truncated


async def test_the_cause_of_a_failure_of_the_job_is_its_error(collecting: Collecting) -> None:
    cause = failure(5, "java.lang.IllegalArgumentException: bad record")
    wrapper = failure(5, "org.apache.flink.runtime.JobException: Recovery is suppressed", taskName=None)
    wrapper["concurrentExceptions"] = [cause]
    collecting.add(1, "orders", state="FAILED", end_ms=START_MS + 5_000, failures=[wrapper])
    await collecting.poll()
    (exception,) = await collecting.exceptions(jid(1))
    assert exception.summary == "org.apache.flink.runtime.JobException: Recovery is suppressed"
    assert exception.cause_summary == "java.lang.IllegalArgumentException: bad record"
    assert (await collecting.run(jid(1))).error == "java.lang.IllegalArgumentException: bad record"


async def test_a_stack_of_two_megabytes_is_cut(collecting: Collecting) -> None:
    stack = "java.lang.IllegalStateException: " + "é" * 1_000_000 + "\nCaused by: java.io.IOException: the end\0"
    collecting.add(1, "orders", state="FAILED", end_ms=START_MS + 5_000, failures=[failure(1, stack)])
    await collecting.poll()
    (exception,) = await collecting.exceptions(jid(1))
    assert exception.truncated
    assert len(exception.stacktrace.encode()) <= MAX_STACK_BYTES
    assert "Caused by: java.io.IOException: the end" in exception.stacktrace
    assert "\0" not in exception.stacktrace


async def test_exceptions_that_are_too_large_do_not_keep_the_figures_from_being_stored(collecting: Collecting) -> None:
    collecting.add(1, "orders", state="FAILED", end_ms=START_MS + 5_000, read=5)
    huge = Answer(b"[" + b" " * (17 * 1024 * 1024) + b"]")
    collecting.fake.answers["GET", f"/jobs/{jid(1)}/exceptions"] = huge
    await collecting.poll()
    run = await collecting.run(jid(1))
    assert (run.final_figures, run.history_truncated) == (True, True)
    assert (await collecting.values("orders"))["numRecordsRead"] == 5
    assert collecting.metric("errors_total", cause="too-large") == 1


async def test_vertices_beyond_a_thousand_and_long_names_are_cut(collecting: Collecting) -> None:
    collecting.add(1, "orders")
    details = collecting.flink._details(collecting.flink.jobs[jid(1)])
    vertex = dict(details["vertices"][0])  # type: ignore[index]
    details["vertices"] = [{**vertex, "id": jid(n), "name": "é" * 2_000} for n in range(1_200)]
    details["plan"] = {"nodes": []}
    details["state"], details["end-time"] = "FINISHED", START_MS + 5_000
    collecting.flink.jobs[jid(1)].state = "FINISHED"
    collecting.fake.answers["GET", f"/jobs/{jid(1)}"] = Answer.of(details)
    await collecting.poll()
    run = await collecting.run(jid(1))
    assert len(run.vertices) == 1_000
    assert {len(vertex.name.encode()) for vertex in run.vertices} == {1_024}


@pytest.mark.parametrize("version", ["v2_3", "v1_20"])
async def test_recorded_answers_of_real_clusters(collecting: Collecting, version: str) -> None:
    overview = recording("jobs_overview", version).answer
    collecting.fake.replay(version)
    # Of several recordings about one target the last one answers; that of the overview decides which runs there are.
    collecting.fake.answers["GET", "/jobs/overview"] = Answer.of(overview)
    await collecting.poll(2)
    jobs = await collecting.jobs()
    assert {job.job_name for job in jobs} == {entry["name"] for entry in overview["jobs"]}
    for entry in overview["jobs"]:
        run = await collecting.run(entry["jid"])
        # Details that were recorded later may tell of the end.
        assert run.state_text == entry["state"] or run.ended
        assert run.cluster == CLUSTER
        assert run.start_time == entry["start-time"] * 1_000
