"""Answers of the jobs API out of messages of `JobService`: pure functions, JSON-ready, keys in the order of TSP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import common_pb2, server_service_pb2
from streamgauge.v1 import job_service_pb2 as pb

METRICS = ("numRecordsRead", "currentEventTs", "numRecordsProcessed")
"""The metrics of `statusAndMetrics`, in the order of TSP's document."""

NO_VALUE = "0"
"""What stands for a metric that has no value, as Flink's empty answer does in TSP."""


def success(response: object, messages: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the envelope of a success."""
    return {"response": response, "messages": list(messages)}


def failure(code: int, message: str, errors: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the envelope of a failure."""
    return {"errorCode": code, "message": message, "errors": list(errors)}


def status(told: pb.GetJobStatusResponse) -> dict[str, Any]:
    """Returns the answer of `status` for a job that has a run."""
    return success(_details(told.job), told.messages)


def status_and_metrics(told: pb.GetJobStatusAndMetricsResponse) -> dict[str, Any]:
    """Returns the answer of `statusAndMetrics` for a job that has a run."""
    job = told.status.job
    known = {one.metric: str(_of_attempt(one)) for one in told.metrics if _is_of_run(one, job.run)}
    messages = list(told.status.messages)
    if missing := [name for name in METRICS if name not in known]:
        messages.append(f"no value is known, and 0 stands for it: {', '.join(missing)}")
    metrics = {name: known.get(name, NO_VALUE) for name in METRICS}
    return success({"details": _details(job), "metrics": metrics}, messages)


def exceptions(told: pb.ListJobExceptionsResponse) -> dict[str, Any]:
    """Returns the answer of `exceptions` with the newest one; without any its text is empty and its time 0."""
    newest = told.exceptions[0] if told.exceptions else pb.JobException()
    response = {
        "timestamp": millis(newest.time),
        "root-exception": newest.stacktrace,
        "truncated": newest.truncated,
    }
    messages = list(told.messages)
    if told.history_truncated:
        messages.append("the cluster had forgotten older exceptions before they could be stored")
    return success(response, messages)


def stopped(told: pb.StopJobResponse) -> dict[str, Any]:
    """Returns the answer of `stop`: 1, and in the messages what that means."""
    run, state = told.run, _state(told.run)
    if told.already_stopped:
        outcome = f"run {run.run_id} had ended already: it is {state}"
    elif told.ended:
        outcome = f"run {run.run_id} has ended: it is {state}"
    else:
        outcome = f"the cluster has accepted the request; run {run.run_id} has not ended yet: it is {state}"
    return success(1, [outcome, *told.messages])


def overview_entries(jobs: Sequence[pb.Job]) -> list[dict[str, str]]:
    """Returns the entries of the overview. A job without a run is none of a cluster, and has no `jid`."""
    return [{"jid": job.run.run_id, "name": job.job_name} for job in jobs if job.HasField("run")]


def cluster_warnings(clusters: Sequence[common_pb2.ClusterStatus]) -> list[str]:
    """Returns which clusters the overview knows only from earlier, or not at all."""
    return [
        f"cluster {cluster.cluster!r} cannot be asked: {cluster.problem}"
        if cluster.HasField("last_attempt_time")
        else f"cluster {cluster.cluster!r} has not been asked yet"
        for cluster in clusters
        if not cluster.reachable
    ]


def version(told: server_service_pb2.GetServerInfoResponse) -> dict[str, Any]:
    """Returns the answer of `getVersion`; the messages tell the versions of the clusters."""
    return success(
        told.version,
        [f"cluster {cluster.cluster!r} runs Flink {cluster.version}" for cluster in told.clusters if cluster.version],
    )


def millis(time: Timestamp | Duration) -> int:
    """Returns milliseconds, whole ones; 0 for what is not set."""
    return time.seconds * 1_000 + time.nanos // 1_000_000


def _details(job: pb.Job) -> dict[str, Any]:
    run = job.run
    vertices = run.vertices
    return {
        "jid": run.run_id,
        "name": job.job_name,
        "state": _state(run),
        "start-time": millis(run.start_time),
        "duration": millis(run.duration),
        "vertices": [_vertex(vertex) for vertex in vertices],
        # Crossed on purpose, as in TSP: a source reads nothing over Flink's network, and a sink writes nothing.
        "read-records": vertices[0].write_records if vertices else 0,
        "write-records": vertices[-1].read_records if vertices else 0,
    }


def _vertex(vertex: pb.JobVertex) -> Mapping[str, Any]:
    return {
        "id": vertex.id,
        "name": vertex.name,
        "metrics": {"read-records": vertex.read_records, "write-records": vertex.write_records},
    }


def _state(run: pb.JobRun) -> str:
    """Returns the state as the cluster wrote it; a runner's own runs have that of the contract."""
    return run.state_text or pb.JobState.Name(run.state).removeprefix("JOB_STATE_")


def _of_attempt(latest: common_pb2.LatestValue) -> int:
    """Returns what the current attempt has counted, as Flink tells it; of a subject in parts their total.

    The three metrics are built in, so their values are integers.
    """
    return (latest.raw_value if latest.HasField("raw_value") else latest.value).int64_value


def _is_of_run(latest: common_pb2.LatestValue, run: pb.JobRun) -> bool:
    """Tells whether a value is of the run: until its first figures there are those of the run before.

    What has no start is taken as it is.
    """
    if not (latest.HasField("start_time") and run.HasField("start_time")):
        return True
    return (latest.start_time.seconds, latest.start_time.nanos) >= (run.start_time.seconds, run.start_time.nanos)
