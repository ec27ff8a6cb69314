"""Failures of the jobs API: TSP's error codes, and which of them each thing that goes wrong has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc
from starlette.requests import Request
from starlette.responses import Response

from streamgauge_server.gateway.api import HttpFailure
from streamgauge_server.gateway.legacy import jobs_rendering as rendering
from streamgauge_server.gateway.legacy.headers import refusal_headers
from streamgauge_server.gateway.legacy.jobs_answers import answer
from streamgauge_server.gateway.upstream import Refused

MALFORMED_QUERY, PATH_NOT_FOUND, INVALID_REQUEST, NO_SUCH_JOB = 4002, 4004, 4005, 4006
MONITORING, UNEXPECTED = 5005, 5008

TEXTS = {
    MALFORMED_QUERY: "Malformed query.",
    INVALID_REQUEST: "Invalid request",
    NO_SUCH_JOB: "No such job.",
    MONITORING: "Internal server error",
    UNEXPECTED: "Request handling failure",
}
"""What TSP says with each code, to the letter; that of PATH_NOT_FOUND has the path in it."""

STATUS_OF_REFUSAL = {
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
}
"""HTTP status of refusals that are the caller's doing. They are INVALID_REQUEST; all others are MONITORING and 500."""

QUERY_FIELDS = {"run_id": "jid", "wait": "wait"}
"""The query parameter behind each field of a gRPC request that has one."""


class Failure(Exception):
    """What a caller is told: the HTTP status, the error code, and the list of errors."""

    def __init__(self, status: int, code: int, errors: Sequence[str] = ()) -> None:
        super().__init__(f"{code}: {', '.join(errors)}")
        self.status = status
        self.code = code
        self.errors = errors


def malformed_query(error: str) -> Failure:
    """Returns the failure of a query parameter that cannot be read."""
    return Failure(400, MALFORMED_QUERY, [error])


def no_such_job(*errors: str) -> Failure:
    """Returns the failure of a job that is not known."""
    return Failure(400, NO_SUCH_JOB, errors)


def unreachable(errors: Sequence[str]) -> Response:
    """Answers for clusters of which nothing can be told."""
    return _answer(Failure(500, MONITORING, errors))


def tell(request: Request, error: Exception) -> Response:
    """Answers with what went wrong."""
    if isinstance(error, HttpFailure) and error.status == 404:
        path = request.scope["raw_path"].decode("ascii", "replace")
        return answer(rendering.failure(PATH_NOT_FOUND, f"Path not found: `{path}`"), 404)
    headers = refusal_headers(error) if isinstance(error, Refused) else {}
    return _answer(_failure(error), headers)


def _answer(failure: Failure, headers: Mapping[str, str] | None = None) -> Response:
    return answer(rendering.failure(failure.code, TEXTS[failure.code], failure.errors), failure.status, headers)


def _failure(error: Exception) -> Failure:
    match error:
        case Failure():
            return error
        case Refused():
            return _refusal(error)
        case HttpFailure():
            return Failure(error.status, INVALID_REQUEST if error.status < 500 else MONITORING, [error.message])
        case _:
            return Failure(500, UNEXPECTED)


def _refusal(refused: Refused) -> Failure:
    if refused.reason == "JOB_NOT_FOUND":
        return no_such_job()
    violations = dict(refused.violations)
    if "job" in violations:
        # TSP compares the path with the names of jobs: what cannot be one is as unknown as any other.
        return no_such_job(f"uuid: {violations['job']}")
    if queried := [f"{QUERY_FIELDS[field]}: {why}" for field, why in violations.items() if field in QUERY_FIELDS]:
        return Failure(400, MALFORMED_QUERY, queried)
    status = STATUS_OF_REFUSAL.get(refused.code)
    if status is None:
        return Failure(500, MONITORING, [refused.message])
    return Failure(status, INVALID_REQUEST, [refused.message])
