"""Jobs for the fake Flink that can be put into any state, thousands of them: `fake.respond = FakeJobs(...).respond`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.flink.fake import Answer, Request

START_MS = 1_795_305_009_647
STATES = (
    "INITIALIZING",
    "CREATED",
    "RUNNING",
    "FAILING",
    "FAILED",
    "CANCELLING",
    "CANCELED",
    "FINISHED",
    "RESTARTING",
    "SUSPENDED",
    "RECONCILING",
)
ENDED = frozenset({"FAILED", "CANCELED", "FINISHED"})
SOURCE, SINK = "bc764cd8ddf7a0cff126f51c16239658", "ea632d67b7d595e5b851708ae9ad79d6"


@dataclass
class FakeJob:
    """A job of a source and a sink. Change it as the test needs; times are milliseconds since 1970."""

    jid: str
    name: str
    state: str = "RUNNING"
    start_ms: int = START_MS
    end_ms: int = -1
    attempt_ms: int = START_MS + 1_000
    restarts: int = 0
    read: int = 0
    processed: int = 0
    complete: bool = True
    tasks_running: int = 2
    slow_to_cancel: bool = False
    """Whether it stays CANCELLING until the test ends it."""
    failures: list[dict[str, object]] = field(default_factory=list)
    """Entries of the exception history, newest first."""


class FakeJobs:
    """The jobs of a fake cluster by id. A job that is taken out of `jobs` is unknown to it."""

    def __init__(self, jobs: Iterable[FakeJob] = ()) -> None:
        self.jobs = {job.jid: job for job in jobs}
        self.now_ms = START_MS + 60_000
        self.savepoints: dict[str, dict[str, object]] = {}
        """Answers about savepoints by trigger. A stop adds one that is completed."""

    @classmethod
    def many(cls, number: int) -> FakeJobs:
        """Returns running jobs `job-0`, `job-1`, ..."""
        return cls(FakeJob(f"{index:032x}", f"job-{index}") for index in range(number))

    def respond(self, request: Request) -> Answer | None:
        """Answers a request about the cluster or a job; None for paths that do not exist."""
        match request.path.strip("/").split("/"):
            case ["overview"]:
                return Answer.of({"flink-version": "2.3.0", "taskmanagers": 1, "slots-total": 8, "slots-available": 0})
            case ["config"]:
                return Answer.of({"refresh-interval": 3000, "flink-version": "2.3.0"})
            case ["jobs", "overview"]:
                return Answer.of({"jobs": [self._summary(job) for job in self.jobs.values()]})
            case ["jobs", jid, *rest]:
                job = self.jobs.get(jid)
                if rest[:1] == ["stop"]:
                    return self._stop(job, request)
                if rest[:1] == ["savepoints"]:
                    return self._savepoint(rest[1])
                if job is None:
                    return Answer.error(
                        404,
                        f"org.apache.flink.runtime.rest.NotFoundException: Job {jid} not found\n\tat a.B.c(B.java:1)",
                    )
                return self._cancel(job) if request.method == "PATCH" else self._of(job, rest, request)
        return None

    def end(self, job: FakeJob, state: str) -> None:
        """Ends a job that has not ended yet."""
        if job.state not in ENDED:
            job.state, job.end_ms = state, self.now_ms

    def _of(self, job: FakeJob, rest: list[str], request: Request) -> Answer | None:
        match rest:
            case []:
                return Answer.of(self._details(job))
            case ["status"]:
                return Answer.of({"status": job.state})
            case ["exceptions"]:
                limit = int(request.target.rpartition("maxExceptions=")[2])
                entries = job.failures[:limit]
                return Answer.of(
                    {"exceptionHistory": {"entries": entries, "truncated": len(entries) < len(job.failures)}}
                )
            case ["metrics"]:
                ended = job.state in ENDED
                return Answer.of([] if ended else [{"id": "numRestarts", "value": str(job.restarts)}])
            case ["vertices", _, *_]:
                return Answer.of([])
        return None

    def _cancel(self, job: FakeJob) -> Answer:
        if job.state in ENDED and job.state != "CANCELED":
            return Answer.error(
                409,
                "org.apache.flink.runtime.rest.handler.RestHandlerException: Job cancellation failed because the job "
                f"has already reached another terminal state ({job.state}).\n\tat a.B.c(B.java:1)",
            )
        if job.slow_to_cancel and job.state not in ENDED:
            job.state = "CANCELLING"
        else:
            self.end(job, "CANCELED")
        return Answer.of({}, 202)

    def _stop(self, job: FakeJob | None, request: Request) -> Answer:
        trigger = str(json.loads(request.body)["triggerId"])
        if job is None or job.state in ENDED:
            name = "org.apache.flink.runtime.messages.FlinkJobNotFoundException"
            stack = f"java.util.concurrent.CompletionException: {name}: Could not find Flink job\n\tat a.B.c(B.java:1)"
            outcome: dict[str, object] = {"failure-cause": {"class": "CompletionException", "stack-trace": stack}}
        else:
            self.end(job, "FINISHED")
            outcome = {"location": f"file:/savepoints/savepoint-{job.jid[:6]}"}
        self.savepoints.setdefault(trigger, {"status": {"id": "COMPLETED"}, "operation": outcome})
        return Answer.of({"request-id": trigger}, 202)

    def _savepoint(self, trigger: str) -> Answer:
        if trigger in self.savepoints:
            return Answer.of(self.savepoints[trigger])
        return Answer.error(404, f"There is no savepoint operation with triggerId={trigger}")

    def _duration(self, job: FakeJob) -> int:
        return (job.end_ms if job.state in ENDED else self.now_ms) - job.start_ms

    def _summary(self, job: FakeJob) -> dict[str, object]:
        return {
            "jid": job.jid,
            "name": job.name,
            "state": job.state,
            "start-time": job.start_ms,
            "end-time": job.end_ms,
            "duration": self._duration(job),
            "last-modification": max(job.end_ms, job.attempt_ms),
            "tasks": {"total": 2, "running": 0 if job.state in ENDED else job.tasks_running},
        }

    def _details(self, job: FakeJob) -> dict[str, object]:
        return {
            "jid": job.jid,
            "name": job.name,
            "state": job.state,
            "start-time": job.start_ms,
            "end-time": job.end_ms,
            "duration": self._duration(job),
            "now": self.now_ms,
            "timestamps": {state: job.attempt_ms if state in (job.state, "RUNNING") else 0 for state in STATES},
            "vertices": [
                self._vertex(job, SOURCE, "Source: Source", read=0, written=job.read),
                self._vertex(job, SINK, "Sink: Writer", read=job.processed, written=0),
            ],
            "plan": {"nodes": [{"id": SINK, "inputs": [{"id": SOURCE}]}, {"id": SOURCE}]},
        }

    def _vertex(self, job: FakeJob, id: str, name: str, *, read: int, written: int) -> dict[str, object]:
        counts = {"read-records": read, "write-records": written, "read-bytes": 20 * read, "write-bytes": 20 * written}
        return {
            "id": id,
            "name": name,
            "parallelism": 1,
            "status": job.state,
            "start-time": job.attempt_ms,
            "end-time": job.end_ms,
            "duration": self._duration(job),
            "tasks": {"RUNNING": 0 if job.state in ENDED else 1},
            "metrics": {
                **counts,
                **{f"{key}-complete": job.complete for key in counts},
                "accumulated-backpressured-time": 0,
                "accumulated-idle-time": 10,
                "accumulated-busy-time": 5.0,
            },
        }
