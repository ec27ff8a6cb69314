"""Answers of the jobs API out of messages, as golden files have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import common_pb2, server_service_pb2
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge_server.gateway.legacy import jobs_rendering as rendering
from streamgauge_server.gateway.legacy.jobs_answers import encoded

from tests.gateway.golden_files import check_golden, golden_cases

JID = "ef2b95159960214b4f2753bafe91c7f2"
START_MS = 1_538_572_801_842


def at(ms: int, nanos: int = 0) -> Timestamp:
    return Timestamp(seconds=ms // 1_000, nanos=ms % 1_000 * 1_000_000 + nanos)


def lasting(ms: int, nanos: int = 0) -> Duration:
    return Duration(seconds=ms // 1_000, nanos=ms % 1_000 * 1_000_000 + nanos)


def run(**fields: Any) -> pb.JobRun:
    told: dict[str, Any] = {
        "run_id": JID,
        "state": pb.JOB_STATE_FINISHED,
        "state_text": "FINISHED",
        "start_time": at(START_MS),
        "duration": lasting(22_372),
        "vertices": [
            pb.JobVertex(id="bc764cd8", name="Source: Source", read_records=0, write_records=9_197),
            pb.JobVertex(id="0a448493", name="Flat Map", read_records=9_197, write_records=4_000),
            pb.JobVertex(id="ea632d67", name="Sink: Wríter", read_records=4_000, write_records=0),
        ],
    }
    return pb.JobRun(**(told | fields))


def status(of: pb.JobRun | None = None, **fields: Any) -> pb.GetJobStatusResponse:
    return pb.GetJobStatusResponse(
        job=pb.Job(name="jobs/a", job_name="Albert_tests7", run=run() if of is None else of), **fields
    )


def latest(metric: str, number: int, raw: int | None = None, start_ms: int | None = None) -> common_pb2.LatestValue:
    told = common_pb2.LatestValue(metric=metric, value=common_pb2.Value(int64_value=number), time=at(START_MS + 20_000))
    if raw is not None:
        told.raw_value.int64_value = raw
    if start_ms is not None:
        told.start_time.CopyFrom(at(start_ms))
    return told


def with_metrics(*metrics: common_pb2.LatestValue, **fields: Any) -> pb.GetJobStatusAndMetricsResponse:
    return pb.GetJobStatusAndMetricsResponse(status=status(**fields), metrics=metrics)


def exception(**fields: Any) -> pb.JobException:
    return pb.JobException(
        time=at(START_MS, 999_999), stacktrace="java.io.IOException: no\n\tat A.b(A.java:1)\n", **fields
    )


def overview(*jobs: pb.Job) -> Mapping[str, Any]:
    return rendering.success(rendering.overview_entries(jobs))


LARGEST = 2**63 - 1

CASES: dict[str, Callable[[], Mapping[str, Any]]] = {
    "status": lambda: rendering.status(status()),
    "status-with-warnings": lambda: rendering.status(
        status(stale=True, messages=["cluster 'prod' cannot be asked: connection refused", "2 runs are active"])
    ),
    "status-without-vertices": lambda: rendering.status(status(run(vertices=[]))),
    "status-before-the-first-figures": lambda: rendering.status(
        status(run(vertices=[pb.JobVertex(id="bc764cd8", name="Source")], state_text="RUNNING"))
    ),
    "status-of-a-queued-run": lambda: rendering.status(
        status(pb.JobRun(run_id="night-7", state=pb.JOB_STATE_QUEUED, queue_time=at(START_MS)))
    ),
    "status-in-a-state-of-a-later-flink": lambda: rendering.status(
        status(run(state=pb.JOB_STATE_OTHER, state_text="HIBERNATING"))
    ),
    "status-with-the-largest-numbers": lambda: rendering.status(
        status(
            run(
                duration=lasting(315_576_000_000_000),
                vertices=[pb.JobVertex(id="a", read_records=LARGEST, write_records=LARGEST)],
            )
        )
    ),
    "status-with-fractions-of-milliseconds": lambda: rendering.status(
        status(run(start_time=at(START_MS, 999_999), duration=lasting(1, 999_999), vertices=[]))
    ),
    "metrics": lambda: rendering.status_and_metrics(
        with_metrics(
            latest("numRecordsRead", 9_197, 9_197, START_MS),
            latest("numRecordsProcessed", LARGEST, LARGEST, START_MS),
            latest("currentEventTs", START_MS, START_MS),
        )
    ),
    "metrics-without-values": lambda: rendering.status_and_metrics(with_metrics(messages=["a warning"])),
    "metrics-of-the-current-attempt": lambda: rendering.status_and_metrics(
        with_metrics(
            latest("numRecordsRead", 10_000, 12, START_MS + 5_000),
            latest("numRecordsProcessed", 9_000),
            latest("currentEventTs", 0, 0),
        )
    ),
    "metrics-of-an-earlier-run": lambda: rendering.status_and_metrics(
        with_metrics(
            latest("numRecordsRead", 10_000, 10_000, START_MS - 60_000),
            latest("numRecordsProcessed", 10_000, 0, START_MS),
        )
    ),
    "exceptions": lambda: rendering.exceptions(pb.ListJobExceptionsResponse(exceptions=[exception()], run_id=JID)),
    "exceptions-none": lambda: rendering.exceptions(pb.ListJobExceptionsResponse(run_id=JID)),
    "exceptions-cut": lambda: rendering.exceptions(
        pb.ListJobExceptionsResponse(
            exceptions=[exception(truncated=True)],
            run_id=JID,
            history_truncated=True,
            stale=True,
            messages=["cluster 'prod' cannot be asked: timeout"],
        )
    ),
    "stop-accepted": lambda: rendering.stopped(
        pb.StopJobResponse(run=run(state_text="CANCELLING"), accepted=True)
    ),
    "stop-ended": lambda: rendering.stopped(
        pb.StopJobResponse(run=run(state_text="CANCELED"), accepted=True, ended=True, messages=["a warning"])
    ),
    "stop-already": lambda: rendering.stopped(pb.StopJobResponse(run=run(), already_stopped=True, ended=True)),
    "overview": lambda: overview(
        pb.Job(name="jobs/a", job_name="Albert_tests7", run=run()),
        pb.Job(name="jobs/b", job_name="jobs / \"ü\"\n", run=run(run_id="b")),
        pb.Job(name="jobs/c", job_name="registered only"),
    ),
    "overview-none": lambda: overview(),
    "version": lambda: rendering.version(
        server_service_pb2.GetServerInfoResponse(
            version="0.12.0",
            clusters=[
                common_pb2.ClusterStatus(cluster="prod", reachable=True, version="2.3.0"),
                common_pb2.ClusterStatus(cluster="new"),
            ],
        )
    ),
    "failure": lambda: rendering.failure(4006, "No such job."),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_answer_is_as_its_golden_file_has_it(case: str) -> None:
    check_golden("jobs", case, encoded(CASES[case]()))


def test_there_are_no_golden_files_without_a_case() -> None:
    assert golden_cases("jobs") == CASES.keys()


def test_warnings_tell_clusters_that_are_away_from_those_that_were_never_asked() -> None:
    away = common_pb2.ClusterStatus(cluster="a", problem="connection refused", last_attempt_time=at(START_MS))
    unasked, there = common_pb2.ClusterStatus(cluster="b"), common_pb2.ClusterStatus(cluster="c", reachable=True)
    assert rendering.cluster_warnings([away, unasked, there]) == [
        "cluster 'a' cannot be asked: connection refused",
        "cluster 'b' has not been asked yet",
    ]
