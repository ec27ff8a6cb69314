"""The one table from reason to status code, and how an error becomes a `google.rpc.Status`."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from streamgauge_server.model.errors import DomainError, Reason, Violation
from streamgauge_server.rpc.context import Call

ServicerContext = grpc.aio.ServicerContext[Any, Any]

DOMAIN = "streamgauge"
REQUEST_ID_KEY = "x-request-id"
"""Metadata key of the request id, in both directions."""

STATUS_CODES: dict[Reason, grpc.StatusCode] = {
    Reason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_TIME_RANGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.VALUE_TYPE_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TOO_MANY_WINDOWS: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PAGE_TOKEN_MISMATCH: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.REQUEST_ID_REUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.AGGREGATE_NOT_ALLOWED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.SOURCE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.JOB_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.JOB_TYPE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.ASSET_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.METRIC_TYPE_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.METRIC_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.TOKEN_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.SOURCE_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.JOB_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.JOB_TYPE_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.ASSET_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.METRIC_TYPE_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.METRIC_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.TOKEN_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.JOB_ERROR_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.JOB_NOT_STOPPABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.JOB_AMBIGUOUS: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.METRIC_TYPE_IN_USE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.FEATURE_NOT_SUPPORTED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ETAG_MISMATCH: grpc.StatusCode.ABORTED,
    Reason.WRITE_CONFLICT: grpc.StatusCode.ABORTED,
    Reason.CURSOR_EXPIRED: grpc.StatusCode.OUT_OF_RANGE,
    Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.MESSAGE_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.SUBJECT_LIMIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.METRIC_LIMIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.SLOW_CONSUMER: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.CLUSTER_UNREACHABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
    Reason.IDENTITY_PROVIDER_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.TOKEN_MISSING: grpc.StatusCode.UNAUTHENTICATED,
    Reason.TOKEN_INVALID: grpc.StatusCode.UNAUTHENTICATED,
    Reason.TOKEN_EXPIRED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.SCOPE_MISSING: grpc.StatusCode.PERMISSION_DENIED,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}
"""Which status code a reason has. The contract's `ErrorReason` names the same in its comments."""

MAX_VIOLATIONS = 50
MAX_DETAILS_BYTES = 4_000
"""Bound of the serialised status. It travels in a trailer, grows by a third in base64, and clients accept 8 kB of
trailers by default."""
_MAX_MESSAGE_BYTES = 512
_MAX_METADATA_VALUE_BYTES = 200
_MAX_FIELD_BYTES = 200
_MAX_DESCRIPTION_BYTES = 400
_VIOLATION_OVERHEAD = 16
_OMITTED = "violations_omitted"

_log = structlog.stdlib.get_logger("streamgauge.errors")


def status_of(error: DomainError, request_id: str) -> status_pb2.Status:
    """Returns the status with its details: ErrorInfo always, BadRequest and RetryInfo where the error has them.

    Its serialised size is bounded: long texts are cut, and beyond 50 violations or about 4 kB the rest is left out and
    counted in the ErrorInfo's `violations_omitted`.
    """
    status = status_pb2.Status(
        code=STATUS_CODES[error.reason].value[0], message=_cut(error.message, _MAX_MESSAGE_BYTES)
    )
    info = error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN)
    for key, value in error.metadata.items():
        info.metadata[key] = _cut(value, _MAX_METADATA_VALUE_BYTES)
    info.metadata["request_id"] = request_id
    details: list[Any] = [info]
    if error.violations:
        # Room for the message, the ErrorInfo and the wrappers around the details is taken off first.
        budget = MAX_DETAILS_BYTES - status.ByteSize() - info.ByteSize() - 256
        bad_request = _bad_request(error.violations, budget)
        if omitted := len(error.violations) - len(bad_request.field_violations):
            info.metadata[_OMITTED] = str(omitted)
        details.append(bad_request)
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(_millis(error.retry_after))
        details.append(retry)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _bad_request(violations: tuple[Violation, ...], budget: int) -> error_details_pb2.BadRequest:
    bad_request = error_details_pb2.BadRequest()
    for violation in violations[:MAX_VIOLATIONS]:
        entry = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.field, _MAX_FIELD_BYTES),
            description=_cut(violation.description, _MAX_DESCRIPTION_BYTES),
            reason=violation.reason.name,
        )
        budget -= entry.ByteSize() + _VIOLATION_OVERHEAD
        if budget < 0:
            break
        bad_request.field_violations.append(entry)
    return bad_request


def _millis(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))


def _cut(text: str, max_bytes: int) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= max_bytes:
        return encoded.decode("utf-8")
    return encoded[: max_bytes - 3].decode("utf-8", "ignore") + "…"


def domain_error(error: Exception, call: Call) -> DomainError:
    """Returns the error that the caller is told: `error` itself, or INTERNAL with its trace in the log."""
    if isinstance(error, DomainError):
        return error
    if isinstance(error, DecodeError):
        return DomainError(
            Reason.INVALID_FIELD,
            "the request is not a message of this method: it cannot be parsed",
            metadata={"field": ""},
        )
    _log.error("unexpected error", method=call.method.name, request_id=call.request_id, exc_info=error)
    return DomainError(
        Reason.INTERNAL, f"internal error; the server's log has the details under request id {call.request_id}"
    )


async def fail(context: ServicerContext, call: Call, error: Exception) -> NoReturn:
    """Ends the call with the status of `error`; an exception that is no DomainError becomes INTERNAL.

    Raises:
        grpc.aio.AbortError: always; let it pass.
    """
    told = domain_error(error, call)
    call.code = STATUS_CODES[told.reason]
    call.reason = told.reason.name
    status = status_of(told, call.request_id)
    # `abort` replaces trailing metadata that was set before.
    trailers: list[tuple[str, str | bytes]] = [
        (REQUEST_ID_KEY, call.request_id),
        ("grpc-status-details-bin", status.SerializeToString()),
    ]
    if told.retry_after is not None:
        # What RetryInfo says to people, this says to gRPC's own retries (gRFC A6).
        trailers.append(("grpc-retry-pushback-ms", str(_millis(told.retry_after))))
    await context.abort(call.code, status.message, tuple(trailers))
    raise AssertionError("abort returned")
