"""`GET /jobs/{jid}/savepoints/{trigger}`: how a stop with a savepoint is coming along."""

from __future__ import annotations

from dataclasses import dataclass

from streamgauge_server.flink import fields
from streamgauge_server.flink.errors import first_line

_JOB_UNKNOWN = "FlinkJobNotFoundException"


@dataclass(frozen=True, slots=True)
class SavepointStatus:
    """A savepoint is made while `completed` is false. Then it has a location, or a failure and the job runs on.

    `job_unknown` tells the failure of a job that had ended before the stop reached it, or never was.
    """

    completed: bool
    location: str = ""
    failure: str = ""
    job_unknown: bool = False

    @classmethod
    def parse(cls, answer: object) -> SavepointStatus:
        """Reads the answer.

        Raises:
            MalformedAnswer: there is no status, or it is completed with neither location nor failure.
        """
        told = fields.object_of(answer, "the savepoint's status")
        status = fields.text(fields.member(told, "status"), "id")
        if not status:
            raise fields.MalformedAnswer("the savepoint has no status")
        if status != "COMPLETED":
            return cls(completed=False)
        operation = fields.member(told, "operation")
        if location := fields.text(operation, "location"):
            return cls(completed=True, location=location)
        cause = fields.member(operation, "failure-cause")
        stack = fields.text(cause, "stack-trace") or fields.text(cause, "class")
        if not stack:
            raise fields.MalformedAnswer("the savepoint is completed without a location or a failure")
        head = stack.split("\n", 1)[0]
        return cls(completed=True, failure=first_line(stack), job_unknown=_JOB_UNKNOWN in head)
