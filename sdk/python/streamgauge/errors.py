"""Exceptions of failed calls: one class per family of status codes, one per reason that programs tell apart.

Every call of the SDK that fails raises a `StreamgaugeError`, chained to the `grpc.RpcError` that it came from:

    >>> from streamgauge import Client, SourceNotFoundError
    >>> with Client() as client:
    ...     try:
    ...         client.sources.get("orders")
    ...     except SourceNotFoundError as error:
    ...         print(error.metadata["name"], error.request_id)

Catch the family (`NotFoundError`) or the reason (`SourceNotFoundError`); `error.reason` has the reason's name also
where no class stands for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from streamgauge.enums import Reason

DOMAIN = "streamgauge"
_DETAILS_KEY = "grpc-status-details-bin"
_REQUEST_ID_KEY = "x-request-id"


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field of a request: its path, such as `observations[3].values["x"]`, what is wrong, and the reason."""

    field: str
    description: str
    reason: str = ""


class StreamgaugeError(Exception):
    """A call that failed.

    Attributes:
        code: The gRPC status code.
        reason: Why, as a name of `Reason`; empty when the error did not come from a streamgauge server (a connection
            refused, a proxy's answer).
        message: The reason for people.
        metadata: Every dynamic part of the message, by the keys that the contract names for the reason.
        violations: All wrong fields of the request.
        request_id: Finds the call in the server's log; empty when the server did not tell.
        retry_after: Seconds after which another try makes sense; None when the server did not say.
    """

    _family: ClassVar[grpc.StatusCode | None] = None

    def __init_subclass__(
        cls, *, code: grpc.StatusCode | None = None, reason: Reason | None = None, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if code is not None:
            cls._family = code
            _BY_CODE[code] = cls
        if reason is not None:
            _BY_REASON[reason] = cls

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.metadata: dict[str, str] = dict(metadata or {})
        self.violations = tuple(violations)
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        where = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.reason or self.code.name}: {self.message}{where}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, {k: v for k, v in self.__dict__.items() if k != "message"})


_BY_CODE: dict[grpc.StatusCode, type[StreamgaugeError]] = {}
_BY_REASON: dict[str, type[StreamgaugeError]] = {}


def _rebuild(cls: type[StreamgaugeError], message: str, attributes: dict[str, Any]) -> StreamgaugeError:
    error = cls(message)
    error.__dict__.update(attributes)
    return error


# --- Families: one class per status code -----------------------------------------------------------------------------


class InvalidArgumentError(StreamgaugeError, code=grpc.StatusCode.INVALID_ARGUMENT):
    """The request is wrong, whatever the state of the server. `violations` lists every wrong field."""


class NotFoundError(StreamgaugeError, code=grpc.StatusCode.NOT_FOUND):
    """No such thing, or it is another tenant's."""


class AlreadyExistsError(StreamgaugeError, code=grpc.StatusCode.ALREADY_EXISTS):
    """The name is taken."""


class FailedPreconditionError(StreamgaugeError, code=grpc.StatusCode.FAILED_PRECONDITION):
    """The state of the thing does not allow it."""


class AbortedError(StreamgaugeError, code=grpc.StatusCode.ABORTED):
    """Somebody else changed it meanwhile: read it again, then decide."""


class OutOfRangeError(StreamgaugeError, code=grpc.StatusCode.OUT_OF_RANGE):
    """A position beyond what is kept."""


class ResourceExhaustedError(StreamgaugeError, code=grpc.StatusCode.RESOURCE_EXHAUSTED):
    """A limit was reached. `metadata` names it."""


class UnavailableError(StreamgaugeError, code=grpc.StatusCode.UNAVAILABLE):
    """The server, or its store, cannot be reached now; another try may succeed."""


class UnauthenticatedError(StreamgaugeError, code=grpc.StatusCode.UNAUTHENTICATED):
    """No valid token."""


class PermissionDeniedError(StreamgaugeError, code=grpc.StatusCode.PERMISSION_DENIED):
    """The token does not allow it."""


class DeadlineExceededError(StreamgaugeError, code=grpc.StatusCode.DEADLINE_EXCEEDED):
    """Not done in time. A write may have been stored all the same."""


class UnimplementedError(StreamgaugeError, code=grpc.StatusCode.UNIMPLEMENTED):
    """The server does not know this call: it is older than the SDK, or not a streamgauge server."""


class InternalError(StreamgaugeError, code=grpc.StatusCode.INTERNAL):
    """A fault of the server. Its log has more under `request_id`."""


# --- Reasons that a program may want to tell apart -------------------------------------------------------------------


class InvalidTimeRangeError(InvalidArgumentError, reason=Reason.INVALID_TIME_RANGE):
    """The range is empty or reversed; `metadata` has `start_time` and `end_time` as resolved."""


class ValueTypeMismatchError(InvalidArgumentError, reason=Reason.VALUE_TYPE_MISMATCH):
    """A value cannot become the metric's type without loss."""


class TooManyWindowsError(InvalidArgumentError, reason=Reason.TOO_MANY_WINDOWS):
    """The range holds more windows than allowed; `metadata` has `limit` and `actual`."""


class PageTokenMismatchError(InvalidArgumentError, reason=Reason.PAGE_TOKEN_MISMATCH):
    """The page token is damaged or belongs to another question."""


class RequestIdReusedError(InvalidArgumentError, reason=Reason.REQUEST_ID_REUSED):
    """The request id was used with another body within 24 hours."""


class AggregateNotAllowedError(InvalidArgumentError, reason=Reason.AGGREGATE_NOT_ALLOWED):
    """The aggregate makes no sense for the metric's kind."""


class SourceNotFoundError(NotFoundError, reason=Reason.SOURCE_NOT_FOUND):
    """There is no such source."""


class JobNotFoundError(NotFoundError, reason=Reason.JOB_NOT_FOUND):
    """There is no such job."""


class JobTypeNotFoundError(NotFoundError, reason=Reason.JOB_TYPE_NOT_FOUND):
    """There is no such job type."""


class MetricTypeNotFoundError(NotFoundError, reason=Reason.METRIC_TYPE_NOT_FOUND):
    """There is no such metric type, or no such choice of it."""


class AssetNotFoundError(NotFoundError, reason=Reason.ASSET_NOT_FOUND):
    """There is no such asset."""


class MetricNotFoundError(NotFoundError, reason=Reason.METRIC_NOT_FOUND):
    """There is no such metric."""


class TokenNotFoundError(NotFoundError, reason=Reason.TOKEN_NOT_FOUND):
    """There is no such token."""


class SourceAlreadyExistsError(AlreadyExistsError, reason=Reason.SOURCE_ALREADY_EXISTS):
    """There is a source of this name."""


class JobAlreadyExistsError(AlreadyExistsError, reason=Reason.JOB_ALREADY_EXISTS):
    """There is a job of this id, with other fields."""


class JobTypeAlreadyExistsError(AlreadyExistsError, reason=Reason.JOB_TYPE_ALREADY_EXISTS):
    """There is a job type of this id, or of this type name and version."""


class JobErrorAlreadyExistsError(AlreadyExistsError, reason=Reason.JOB_ERROR_ALREADY_EXISTS):
    """There is an error of this name in the catalog."""


class MetricTypeAlreadyExistsError(AlreadyExistsError, reason=Reason.METRIC_TYPE_ALREADY_EXISTS):
    """There is a metric type of this name, or a choice of this id."""


class AssetAlreadyExistsError(AlreadyExistsError, reason=Reason.ASSET_ALREADY_EXISTS):
    """There is an asset of this URN."""


class JobNotStoppableError(FailedPreconditionError, reason=Reason.JOB_NOT_STOPPABLE):
    """The job runs where this server cannot stop it, or the savepoint failed and the run goes on."""


class JobAmbiguousError(FailedPreconditionError, reason=Reason.JOB_AMBIGUOUS):
    """Several jobs are called so, or several runs of the job are active: name the job by its id, or the run."""


class MetricTypeInUseError(FailedPreconditionError, reason=Reason.METRIC_TYPE_IN_USE):
    """The metric type, the column or the choice has values."""


class EtagMismatchError(AbortedError, reason=Reason.ETAG_MISMATCH):
    """The resource has changed since its etag was read."""


class WriteConflictError(AbortedError, reason=Reason.WRITE_CONFLICT):
    """A concurrent write won; the same call may succeed now."""


class CursorExpiredError(OutOfRangeError, reason=Reason.CURSOR_EXPIRED):
    """The changes after this cursor are not kept any more, or the cursor is one of another store (a copy is one).

    Read the present state, and watch from `metadata["oldest_cursor"]` on.
    """


class RateLimitedError(ResourceExhaustedError, reason=Reason.RATE_LIMITED):
    """Too many calls; `retry_after` says when to come back."""


class MessageTooLargeError(ResourceExhaustedError, reason=Reason.MESSAGE_TOO_LARGE):
    """A request or an answer over its bound."""


class SlowConsumerError(ResourceExhaustedError, reason=Reason.SLOW_CONSUMER):
    """What was watched was not read as fast as it was written; `metadata["cursor"]` is where a new watch may go on."""


class SubjectLimitError(ResourceExhaustedError, reason=Reason.SUBJECT_LIMIT):
    """As many subjects, or parts of one, as allowed."""


class MetricLimitError(ResourceExhaustedError, reason=Reason.METRIC_LIMIT):
    """As many metrics as allowed."""


class StoreUnavailableError(UnavailableError, reason=Reason.STORE_UNAVAILABLE):
    """The server's database is away or refuses writes; nothing of the call was stored."""


class ClusterUnreachableError(UnavailableError, reason=Reason.CLUSTER_UNREACHABLE):
    """The job's cluster does not answer, and nothing is stored that could stand for its answer."""


class ShuttingDownError(UnavailableError, reason=Reason.SHUTTING_DOWN):
    """The server is stopping; another one may answer."""


class TokenMissingError(UnauthenticatedError, reason=Reason.TOKEN_MISSING):
    """The server wants a token."""


class TokenInvalidError(UnauthenticatedError, reason=Reason.TOKEN_INVALID):
    """The token is unknown, malformed or revoked."""


class TokenExpiredError(UnauthenticatedError, reason=Reason.TOKEN_EXPIRED):
    """The token has expired; `metadata` has `expire_time`."""


class ScopeMissingError(PermissionDeniedError, reason=Reason.SCOPE_MISSING):
    """The token lacks a scope; `metadata` has `scope`."""


def from_rpc_error(error: grpc.RpcError) -> StreamgaugeError:
    """Returns the typed error of a failed call, sync or asyncio. Raise it `from error`.

    The reason's class is taken where the reason's family matches the status code, otherwise the code's class.
    """
    trailing: Any = error.trailing_metadata() or ()
    # A tuple first: older versions of gRPC have an asyncio `Metadata` whose `keys` lead `dict` astray.
    return _build(error.code(), error.details() or "", dict(tuple(trailing)))


@dataclass(slots=True)
class _Details:
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    retry_after: float | None = None

    def read(self, packed: str | bytes | None) -> None:
        """Reads the packed `google.rpc.Status`.

        It comes from whatever stands between us and the server. What is missing or damaged is left out: it must not
        hide the error itself.
        """
        if not isinstance(packed, bytes):
            return
        try:
            for detail in status_pb2.Status.FromString(packed).details:
                self._take(detail)
        except DecodeError:
            return

    def _take(self, detail: any_pb2.Any) -> None:
        match detail.TypeName():
            case "google.rpc.ErrorInfo":
                info = error_details_pb2.ErrorInfo.FromString(detail.value)
                if info.domain == DOMAIN:
                    self.reason, self.metadata = info.reason, dict(info.metadata)
            case "google.rpc.BadRequest":
                request = error_details_pb2.BadRequest.FromString(detail.value)
                self.violations += [Violation(v.field, v.description, v.reason) for v in request.field_violations]
            case "google.rpc.RetryInfo":
                delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
                self.retry_after = delay.seconds + delay.nanos / 1e9


def _build(code: grpc.StatusCode, message: str, headers: Mapping[str, str | bytes]) -> StreamgaugeError:
    details = _Details()
    details.read(headers.get(_DETAILS_KEY))
    family = _BY_CODE.get(code, StreamgaugeError)
    specific = _BY_REASON.get(details.reason, family)
    request_id = details.metadata.get("request_id") or headers.get(_REQUEST_ID_KEY, "")
    return (specific if issubclass(specific, family) else family)(
        message,
        code=code,
        reason=details.reason,
        metadata=details.metadata,
        violations=details.violations,
        request_id=request_id if isinstance(request_id, str) else "",
        retry_after=details.retry_after,
    )
