"""The jobs API in the OpenAPI document: operations and schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TAG = "Legacy jobs"
_REFERENCE = "#/components/schemas/"
_INT64 = {"type": "integer", "format": "int64"}
_NATURAL = {**_INT64, "minimum": 0}
_TEXT = {"type": "string"}
_DECIMAL = {"type": "string", "pattern": "^-?[0-9]+$"}


def _object(properties: Mapping[str, Any], description: str = "") -> dict[str, Any]:
    """Returns the schema of an object that has all of its properties and no others."""
    told = {"description": description} if description else {}
    return {
        **told,
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _envelope(response: Mapping[str, Any]) -> dict[str, Any]:
    messages = {"type": "array", "items": _TEXT, "description": "What a person should know; mostly nothing."}
    return _object({"response": response, "messages": messages})


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE + name}


SCHEMAS: Mapping[str, Any] = {
    "LegacyJobVertex": _object(
        {
            "id": _TEXT,
            "name": {**_TEXT, "description": "Its operators."},
            "metrics": _object(
                {"read-records": _INT64, "write-records": _INT64},
                "Records over Flink's network; 0 too while they have not been gathered.",
            ),
        },
        "A chain of operators that run in the same tasks.",
    ),
    "LegacyJobDetails": _object(
        {
            "jid": {**_TEXT, "description": "Flink's id of the run, or what its runner calls it."},
            "name": {**_TEXT, "description": "What the runner calls the job."},
            "state": {
                **_TEXT,
                "description": "One of Flink's states, for example RUNNING, or QUEUED; later Flinks may have others.",
            },
            "start-time": {**_INT64, "description": "Milliseconds since 1970; 0 before it has started."},
            "duration": {**_INT64, "description": "Milliseconds, as last observed."},
            "vertices": {"type": "array", "items": _ref("LegacyJobVertex"), "description": "From source to sink."},
            "read-records": {**_INT64, "description": "What the first vertex has written."},
            "write-records": {**_INT64, "description": "What the last vertex has read."},
        },
        "The newest run of a job.",
    ),
    "LegacyJobStatus": _envelope(_ref("LegacyJobDetails")),
    "LegacyJobStatusAndMetrics": _envelope(
        _object(
            {
                "details": _ref("LegacyJobDetails"),
                "metrics": _object(
                    {"numRecordsRead": _DECIMAL, "currentEventTs": _DECIMAL, "numRecordsProcessed": _DECIMAL},
                    "Decimal strings; `0` too where there is no value, and the messages name it then.",
                ),
            }
        )
    ),
    "LegacyJobExceptions": _envelope(
        _object(
            {
                "timestamp": {**_INT64, "description": "Milliseconds since 1970; 0 without an exception."},
                "root-exception": {**_TEXT, "description": "The newest exception with its stack; empty without one."},
                "truncated": {"type": "boolean", "description": "Whether something was cut out of the stack."},
            }
        )
    ),
    "LegacyJobStopped": _envelope({"type": "integer", "const": 1}),
    "LegacyJobsOverview": _envelope(
        {"type": "array", "items": _object({"jid": _TEXT, "name": _TEXT}), "description": "Last started first."}
    ),
    "LegacyVersion": _envelope({**_TEXT, "description": "By Semantic Versioning."}),
    "LegacyJobFailure": _object(
        {
            "errorCode": {
                "type": "integer",
                "enum": [4002, 4004, 4005, 4006, 5005, 5008],
                "description": (
                    "4002 malformed query, 4004 path not found, 4005 invalid request (also: token, scope, verb), "
                    "4006 no such job, 5005 no answer from a cluster or the store, 5008 anything else."
                ),
            },
            "message": _TEXT,
            "errors": {"type": "array", "items": _TEXT, "description": "What a person should know, a line each."},
        }
    ),
}

_JOB = {
    "name": "uuid",
    "in": "path",
    "required": True,
    "description": "The job: its id, the Flink id of one of its runs (with or without dashes), or its name; any text.",
    "schema": {**_TEXT, "minLength": 1},
    "example": "Albert_tests7",
}
_JID = {
    "name": "jid",
    "in": "query",
    "description": "The run to stop; needed when several are active.",
    "schema": {**_TEXT, "minLength": 1, "maxLength": 128},
}
_WAIT = {
    "name": "wait",
    "in": "query",
    "description": "How many seconds to wait for the run to end, at most 300. Without it the answer comes at once.",
    "schema": {"type": "number", "minimum": 0, "maximum": 300},
}

_FAILURES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "400": ("No such job, or an invalid request.", {"errorCode": 4006, "message": "No such job.", "errors": []}),
    "401": (
        "The token is missing, invalid or has expired.",
        {"errorCode": 4005, "message": "Invalid request", "errors": ["a token is required"]},
    ),
    "403": (
        "The token lacks the scope.",
        {"errorCode": 4005, "message": "Invalid request", "errors": ["scope 'read:jobs' is missing"]},
    ),
    "404": ("No such path.", {"errorCode": 4004, "message": "Path not found: `/job/`", "errors": []}),
    "405": (
        "The path has other verbs.",
        {"errorCode": 4005, "message": "Invalid request", "errors": ["the method is not allowed"]},
    ),
    "408": (
        "The request came too slowly.",
        {"errorCode": 4005, "message": "Invalid request", "errors": ["the request did not arrive in time"]},
    ),
    "413": (
        "The request is too large.",
        {"errorCode": 4005, "message": "Invalid request", "errors": ["the body is too large"]},
    ),
    "429": (
        "Too much is asked for.",
        {"errorCode": 4005, "message": "Invalid request", "errors": ["too many requests"]},
    ),
    "500": (
        "A cluster of which nothing is known, or the store, gave no answer.",
        {
            "errorCode": 5005,
            "message": "Internal server error",
            "errors": ["cluster 'prod' cannot be asked: connection refused"],
        },
    ),
}


def _operation(
    id: str,
    summary: str,
    description: str,
    schema: str,
    example: Mapping[str, Any],
    parameters: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    failures = {
        status: {
            "description": text,
            "content": {"application/json": {"schema": _ref("LegacyJobFailure"), "example": failed}},
        }
        for status, (text, failed) in _FAILURES.items()
    }
    return {
        "operationId": id,
        "tags": [_TAG],
        "summary": summary,
        "description": description,
        "parameters": list(parameters),
        "responses": {
            "200": {
                "description": "Success.",
                "content": {"application/json": {"schema": _ref(schema), "example": example}},
            },
            **failures,
            "431": {"description": "The head of the request is too large."},
        },
    }


_DETAILS = {
    "jid": "ef2b95159960214b4f2753bafe91c7f2",
    "name": "Albert_tests7",
    "state": "FINISHED",
    "start-time": 1538572801842,
    "duration": 22372,
    "vertices": [
        {
            "id": "bc764cd8ddf7a0cff126f51c16239658",
            "name": "Source: Source",
            "metrics": {"read-records": 0, "write-records": 9197},
        },
        {
            "id": "ea632d67b7d595e5b851708ae9ad79d6",
            "name": "Sink: Writer",
            "metrics": {"read-records": 9180, "write-records": 0},
        },
    ],
    "read-records": 9197,
    "write-records": 9180,
}
_METRICS = {"numRecordsRead": "9197", "currentEventTs": "1538572824100", "numRecordsProcessed": "9180"}
_EXCEPTION = {
    "timestamp": 1538572824214,
    "root-exception": "java.lang.IllegalStateException: no rows\n\tat Reader.open(Reader.java:42)\n",
    "truncated": False,
}


def _said(response: object, *messages: str) -> dict[str, Any]:
    return {"response": response, "messages": list(messages)}


STATUS = _operation(
    "legacyJobStatus",
    "Status of a job",
    "State, times and vertices of a job's newest run. Scope `read:jobs`.",
    "LegacyJobStatus",
    _said(_DETAILS),
    [_JOB],
)
STATUS_AND_METRICS = _operation(
    "legacyJobStatusAndMetrics",
    "Status and metrics of a job",
    "The status, and what the run's current attempt has counted. Scope `read:jobs`.",
    "LegacyJobStatusAndMetrics",
    _said({"details": _DETAILS, "metrics": _METRICS}),
    [_JOB],
)


def _exceptions(id: str, description: str) -> dict[str, Any]:
    return _operation(id, "Newest exception of a job", description, "LegacyJobExceptions", _said(_EXCEPTION), [_JOB])


EXCEPTIONS = _exceptions("legacyJobExceptions", "The newest exception of a job's newest run. Scope `read:jobs`.")
EXCEPTIONS_OF_JOBS = _exceptions("legacyJobsExceptions", "The same as `/job/{uuid}/exceptions`.")


def _stop(id: str, description: str) -> dict[str, Any]:
    outcome = "the cluster has accepted the request; run {jid} has not ended yet: it is CANCELLING"
    return _operation(
        id,
        "Stop a job",
        description,
        "LegacyJobStopped",
        _said(1, outcome.format(jid=_DETAILS["jid"])),
        [_JOB, _JID, _WAIT],
    )


STOP = _stop(
    "legacyJobStop",
    "Cancels the active run of a job. 1 says that its cluster has accepted that, or with `wait` that the run has "
    "ended, or that it had ended before; the messages say which. Scope `stop:jobs`.",
)
STOP_BY_GET = _stop("legacyJobStopByGet", "The same as by POST, as TSP has it. Scope `stop:jobs`.")
OVERVIEW = _operation(
    "legacyJobsOverview",
    "All jobs",
    "Name and newest run of every job that has one. Scope `read:jobs`.",
    "LegacyJobsOverview",
    _said([{"jid": _DETAILS["jid"], "name": _DETAILS["name"]}]),
)
VERSION = _operation(
    "legacyGetVersion",
    "Version of the server",
    "The version; the messages tell those of the clusters. Any valid token may ask.",
    "LegacyVersion",
    _said("0.12.0"),
)
