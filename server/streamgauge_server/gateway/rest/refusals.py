"""What went wrong, as an HTTP answer whose body is a `google.rpc.Status` with details, in the shape of the server's."""

from __future__ import annotations

import math
from collections.abc import Mapping

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from starlette.requests import Request
from starlette.responses import Response

from streamgauge_server.gateway.api import HttpFailure, http_status
from streamgauge_server.gateway.rest.bodies import JSON
from streamgauge_server.gateway.rest.printing import json_bytes, json_object
from streamgauge_server.gateway.rest.violations import InvalidRequest
from streamgauge_server.gateway.upstream import Refused

DOMAIN = "streamgauge"
MAX_VIOLATIONS = 50
"""As many as the server tells; how many more there were is in the ErrorInfo's `violations_omitted`."""
_MAX_BYTES = 400
_INVALID_ARGUMENT, _INTERNAL, _UNKNOWN = 3, 13, 2
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 408: 4, 409: 10, 413: 8, 415: 3, 429: 8, 431: 8, 499: 1, 500: 13,
          501: 12, 502: 14, 503: 14, 504: 4}  # fmt: skip
"""gRPC status code that tells the same as an HTTP status which the gateway itself gives."""
_REASONS = {400: "INVALID_FIELD", 408: "DEADLINE_EXCEEDED", 413: "MESSAGE_TOO_LARGE", 504: "DEADLINE_EXCEEDED"}
"""Reason of the contract for an HTTP status of the gateway's own, where there is one."""


def tell(request: Request, error: Exception) -> Response:
    """Returns the answer that tells an error; of one that nobody expected it tells nothing but that."""
    status = status_of(request, error)
    if isinstance(error, Refused):
        return _answer(status, http_status(error), _refused_headers(error))
    if isinstance(error, HttpFailure):
        return _answer(status, error.status, error.headers)
    return _answer(status, 400 if status.code == _INVALID_ARGUMENT else 500, {})


def status_of(request: Request, error: Exception) -> status_pb2.Status:
    """Returns the status of an error with its details."""
    if isinstance(error, Refused):
        return error.status
    request_id: str = request.state.request_id
    if isinstance(error, InvalidRequest):
        return _invalid(error, request_id)
    if isinstance(error, HttpFailure):
        status = status_pb2.Status(code=_CODES.get(error.status, _UNKNOWN), message=_sound(error.message))
        if error.status in _REASONS:
            metadata = {"field": ""} if error.status == 400 else {}
            _add(status, _info(_REASONS[error.status], metadata, request_id))
        return status
    message = f"internal error; the gateway's log has the details under request id {request_id}"
    status = status_pb2.Status(code=_INTERNAL, message=message)
    _add(status, _info("INTERNAL", {}, request_id))
    return status


def error_line(request: Request, error: Exception) -> bytes:
    """Returns an error as the last line of a stream that has begun."""
    status = _printable(status_of(request, error))
    return b'{"error":' + json_bytes(status) + b"}\n"


def _invalid(error: InvalidRequest, request_id: str) -> status_pb2.Status:
    status = status_pb2.Status(code=_INVALID_ARGUMENT, message=_sound(str(error)))
    info = _info("INVALID_FIELD", {"field": error.violations[0].field}, request_id)
    bad = error_details_pb2.BadRequest()
    for violation in error.violations[:MAX_VIOLATIONS]:
        bad.field_violations.add(
            field=_sound(violation.field), description=_sound(violation.description), reason="INVALID_FIELD"
        )
    if omitted := len(error.violations) - len(bad.field_violations):
        info.metadata["violations_omitted"] = str(omitted)
    _add(status, info)
    _add(status, bad)
    return status


def _info(reason: str, metadata: Mapping[str, str], request_id: str) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    for key, value in {**metadata, "request_id": request_id}.items():
        info.metadata[key] = _sound(value)
    return info


def _add(status: status_pb2.Status, detail: Message) -> None:
    status.details.add().Pack(detail)


def _sound(text: str) -> str:
    """A text that a message can hold, of bounded size: what it quotes may be anything that a client sent."""
    encoded = text.encode("utf-8", "replace")
    cut = encoded[:_MAX_BYTES].decode("utf-8", "ignore")
    return cut if len(encoded) <= _MAX_BYTES else cut + "…"


def _answer(status: status_pb2.Status, http: int, headers: Mapping[str, str]) -> Response:
    return Response(json_bytes(_printable(status)), http, dict(headers), JSON)


def _printable(status: status_pb2.Status) -> status_pb2.Status:
    """The status without details of types that are unknown here, which have no JSON form."""
    known = status_pb2.Status(code=status.code, message=status.message)
    for detail in status.details:
        try:
            json_object(detail)
        except (TypeError, json_format.Error):
            continue
        known.details.append(detail)
    return known


def _refused_headers(error: Refused) -> dict[str, str]:
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if http_status(error) == 401:
        known = ', error="invalid_token"' if error.reason in ("TOKEN_INVALID", "TOKEN_EXPIRED") else ""
        headers["WWW-Authenticate"] = f'Bearer realm="streamgauge"{known}'
    return headers
