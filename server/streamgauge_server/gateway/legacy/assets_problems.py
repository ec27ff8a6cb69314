"""What goes wrong in the assets API: problem documents (RFC 9457) that tell everything that is wrong at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from google.rpc import error_details_pb2
from starlette.responses import JSONResponse, Response

from streamgauge_server.gateway.api import HttpFailure, http_status
from streamgauge_server.gateway.legacy.headers import refusal_headers
from streamgauge_server.gateway.upstream import Refused

MEDIA_TYPE = "application/problem+json"

INVALID_FIELD = "INVALID_FIELD"

MAX_FAULTS = 100
"""How much of what the gateway finds wrong is told; the server has a bound of its own."""

_OMITTED = "violations_omitted"
_TITLES = {499: "Client Closed Request"}

_METRIC_FIELD = re.compile(r"metrics\[(?P<index>\d+)\](?:\.(?P<member>\w+))?")
_MEMBERS = {"name": "name", "value": "value", "value_type": "valueType"}
_POINTERS = {"time": "/timestamp", "metrics": "/metrics", "metric": "/name", "value": "/value"}
_PARAMETERS = {
    "asset": "asset_urn",
    "time_range.start_time": "from",
    "time_range.end_time": "to",
    "page_size": "page_size",
    "page_token": "page_token",
    "return_merged": "return",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: at a JSON pointer into the body, in a parameter of path or query, or with it all."""

    message: str
    code: str = INVALID_FIELD
    pointer: str | None = None
    parameter: str | None = None

    @property
    def place(self) -> tuple[str | None, str | None]:
        """Where it is wrong."""
        return self.pointer, self.parameter

    def document(self) -> dict[str, str]:
        """Returns it as an entry of `errors`."""
        where = {"pointer": self.pointer, "parameter": self.parameter}
        return {name: text for name, text in where.items() if text is not None} | {
            "code": self.code,
            "message": self.message,
        }


class Faults:
    """What is wrong with a request, as it is found: the first of it, and how much more there is."""

    def __init__(self) -> None:
        self.told: list[Fault] = []
        self.omitted = 0

    def __bool__(self) -> bool:
        return bool(self.told)

    def add(self, fault: Fault) -> None:
        """Adds what has been found."""
        if len(self.told) < MAX_FAULTS:
            self.told.append(fault)
        else:
            self.omitted += 1


class Problem(Exception):
    """A request is refused, with everything that is wrong with it. `headers` go with the answer.

    `omitted` counts what is wrong beside `faults`.
    """

    def __init__(
        self, status: int, faults: Sequence[Fault], headers: Mapping[str, str] | None = None, omitted: int = 0
    ) -> None:
        super().__init__(faults[0].message)
        self.status = status
        self.faults = list(faults)
        self.headers = dict(headers or {})
        self.omitted = omitted


def faults_of(refused: Refused, *, single: bool = False) -> list[Fault]:
    """Returns what the server found wrong with fields, by the names that this API has for them.

    `single` tells that an emit in the single format was sent to it as one in the multiple format.
    """
    found = error_details_pb2.BadRequest()
    for detail in refused.status.details:
        if detail.Unpack(found):
            break
    return [_fault(violation, refused.reason, single=single) for violation in found.field_violations]


def problem_of(refused: Refused, headers: Mapping[str, str] | None = None) -> Problem:
    """Returns a refusal of the server as a problem."""
    status = 413 if refused.reason == "MESSAGE_TOO_LARGE" else http_status(refused)
    code = refused.reason or refused.code.name
    faults = faults_of(refused) or [Fault(refused.message, code)]
    return Problem(status, faults, refusal_headers(refused) | dict(headers or {}), omitted_of(refused))


def omitted_of(refused: Refused) -> int:
    """Returns how many violations the server left out because there are too many."""
    return int(refused.reason_metadata.get(_OMITTED, "0"))


def merged(own: Iterable[Fault], found: Iterable[Fault]) -> list[Fault]:
    """Returns all faults; of one place those that were found first stand, for the others are about stand-ins."""
    first = list(own)
    places = {fault.place for fault in first}
    return first + [fault for fault in found if fault.place not in places]


def document(problem: Problem) -> dict[str, Any]:
    """Returns the problem document."""
    first = problem.faults[0]
    more = len(problem.faults) - 1 + problem.omitted
    where = "the body" if first.pointer == "" else first.parameter or first.pointer
    detail = f"{where}: {first.message}" if where else first.message
    told: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(problem.status) or HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": f"{detail} (and {more} more)" if more else detail,
        "code": first.code,
        "errors": [fault.document() for fault in problem.faults if fault.place != (None, None)],
    }
    return told | ({"omitted": problem.omitted} if problem.omitted else {})


def response(error: Exception) -> Response:
    """Returns the answer to a request that failed."""
    if isinstance(error, Refused):
        problem = problem_of(error)
    elif isinstance(error, HttpFailure):
        problem = Problem(error.status, [Fault(error.message, _code(error.status))], error.headers)
    elif isinstance(error, Problem):
        problem = error
    else:
        problem = Problem(500, [Fault("internal error", "INTERNAL")])
    return JSONResponse(document(problem), problem.status, problem.headers, MEDIA_TYPE)


def _code(status: int) -> str:
    """Returns a status as a code, for example METHOD_NOT_ALLOWED."""
    return HTTPStatus(status).name


def _fault(violation: error_details_pb2.BadRequest.FieldViolation, reason: str, *, single: bool) -> Fault:
    field, message, code = violation.field, violation.description, violation.reason or reason or INVALID_FIELD
    if field in _PARAMETERS:
        return Fault(message, code, parameter=_PARAMETERS[field])
    found = _METRIC_FIELD.fullmatch(field)
    if found is None:
        return Fault(message, code, pointer=_POINTERS.get(field, ""))
    member = _MEMBERS.get(found["member"] or "", "")
    parts = [member] if single else ["metrics", found["index"], member]
    return Fault(message, code, pointer="".join(f"/{part}" for part in parts if part))
