"""What a failed call becomes."""

from __future__ import annotations

import pickle
from typing import Any, cast

import grpc
import pytest
import streamgauge
from streamgauge import (
    AbortedError,
    AlreadyExistsError,
    ClusterUnreachableError,
    CursorExpiredError,
    DeadlineExceededError,
    EtagMismatchError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    JobAlreadyExistsError,
    JobAmbiguousError,
    JobErrorAlreadyExistsError,
    JobNotFoundError,
    JobNotStoppableError,
    JobTypeAlreadyExistsError,
    JobTypeNotFoundError,
    MetricTypeAlreadyExistsError,
    MetricTypeInUseError,
    MetricTypeNotFoundError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    RateLimitedError,
    Reason,
    ResourceExhaustedError,
    ScopeMissingError,
    SourceAlreadyExistsError,
    SourceNotFoundError,
    StoreUnavailableError,
    StreamgaugeError,
    TokenExpiredError,
    TooManyWindowsError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    Violation,
    errors,
)
from streamgauge.v1 import errors_pb2

from tests.unit.sdk.scripts import TestingScript, refuse, scripted_server, status

Code = grpc.StatusCode
CREATE = "SourceService/CreateSource"  # never tried again, so one answer is enough


def failure(told: Any, **keywords: Any) -> StreamgaugeError:
    script = TestingScript()
    call = script.start(script.client.sources.create, "orders")
    script.refuse(CREATE, told, **keywords)
    error = call.exception(timeout=10)
    assert isinstance(error, StreamgaugeError)
    return error


@pytest.mark.parametrize(
    ("code", "family"),
    [
        (Code.INVALID_ARGUMENT, InvalidArgumentError),
        (Code.NOT_FOUND, NotFoundError),
        (Code.ALREADY_EXISTS, AlreadyExistsError),
        (Code.FAILED_PRECONDITION, FailedPreconditionError),
        (Code.ABORTED, AbortedError),
        (Code.OUT_OF_RANGE, OutOfRangeError),
        (Code.RESOURCE_EXHAUSTED, ResourceExhaustedError),
        (Code.UNAVAILABLE, UnavailableError),
        (Code.UNAUTHENTICATED, UnauthenticatedError),
        (Code.PERMISSION_DENIED, PermissionDeniedError),
        (Code.DEADLINE_EXCEEDED, DeadlineExceededError),
        (Code.UNIMPLEMENTED, UnimplementedError),
        (Code.INTERNAL, InternalError),
        (Code.DATA_LOSS, StreamgaugeError),
    ],
)
def test_each_status_code_has_its_family_also_without_details(
    code: grpc.StatusCode, family: type[StreamgaugeError]
) -> None:
    error = failure(status(code, "why not"))
    assert type(error) is family
    assert (error.code, error.message, error.reason) == (code, "why not", "")
    assert (error.metadata, error.violations, error.request_id, error.retry_after) == ({}, (), "", None)
    assert str(error) == f"{code.name}: why not"


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (Code.NOT_FOUND, Reason.SOURCE_NOT_FOUND, SourceNotFoundError),
        (Code.ALREADY_EXISTS, Reason.SOURCE_ALREADY_EXISTS, SourceAlreadyExistsError),
        (Code.ABORTED, Reason.ETAG_MISMATCH, EtagMismatchError),
        (Code.INVALID_ARGUMENT, Reason.TOO_MANY_WINDOWS, TooManyWindowsError),
        (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, InvalidArgumentError),
        (Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, StoreUnavailableError),
        (Code.UNAUTHENTICATED, Reason.TOKEN_EXPIRED, TokenExpiredError),
        (Code.PERMISSION_DENIED, Reason.SCOPE_MISSING, ScopeMissingError),
        (Code.RESOURCE_EXHAUSTED, Reason.RATE_LIMITED, RateLimitedError),
        (Code.FAILED_PRECONDITION, Reason.FEATURE_NOT_SUPPORTED, FailedPreconditionError),
        (Code.FAILED_PRECONDITION, Reason.METRIC_TYPE_IN_USE, MetricTypeInUseError),
        (Code.NOT_FOUND, Reason.METRIC_TYPE_NOT_FOUND, MetricTypeNotFoundError),
        (Code.ALREADY_EXISTS, Reason.METRIC_TYPE_ALREADY_EXISTS, MetricTypeAlreadyExistsError),
        (Code.ALREADY_EXISTS, Reason.JOB_ERROR_ALREADY_EXISTS, JobErrorAlreadyExistsError),
        (Code.FAILED_PRECONDITION, Reason.JOB_AMBIGUOUS, JobAmbiguousError),
        (Code.FAILED_PRECONDITION, Reason.JOB_NOT_STOPPABLE, JobNotStoppableError),
        (Code.NOT_FOUND, Reason.JOB_NOT_FOUND, JobNotFoundError),
        (Code.NOT_FOUND, Reason.JOB_TYPE_NOT_FOUND, JobTypeNotFoundError),
        (Code.ALREADY_EXISTS, Reason.JOB_ALREADY_EXISTS, JobAlreadyExistsError),
        (Code.ALREADY_EXISTS, Reason.JOB_TYPE_ALREADY_EXISTS, JobTypeAlreadyExistsError),
        (Code.OUT_OF_RANGE, Reason.CURSOR_EXPIRED, CursorExpiredError),
        (Code.UNAVAILABLE, Reason.CLUSTER_UNREACHABLE, ClusterUnreachableError),
    ],
)
def test_a_reason_has_its_class_where_there_is_one_and_its_family_otherwise(
    code: grpc.StatusCode, reason: Reason, expected: type[StreamgaugeError]
) -> None:
    error = failure(status(code, reason=reason))
    assert type(error) is expected
    assert error.reason == reason


def test_all_details_of_the_status_are_in_the_error() -> None:
    told = status(
        Code.INVALID_ARGUMENT,
        "two fields are wrong",
        reason="INVALID_FIELD",
        metadata={"field": "source_id", "request_id": "abc123"},
        violations=[("source_id", "must not be empty", "INVALID_FIELD"), ("source.labels", "too many", "")],
        retry_after=1.5,
    )
    error = failure(told)
    assert error.metadata == {"field": "source_id", "request_id": "abc123"}
    assert error.violations == (
        Violation("source_id", "must not be empty", "INVALID_FIELD"),
        Violation("source.labels", "too many", ""),
    )
    assert error.request_id == "abc123"
    assert error.retry_after == 1.5
    assert str(error) == "INVALID_FIELD: two fields are wrong (request abc123)"


def test_the_request_id_is_taken_from_the_trailer_when_there_are_no_details() -> None:
    assert failure(status(Code.INTERNAL), trailing=(("x-request-id", "t-1"),)).request_id == "t-1"


def test_the_error_is_chained_to_the_rpc_error() -> None:
    cause = failure(status(Code.NOT_FOUND)).__cause__
    assert isinstance(cause, grpc.RpcError)
    assert cast(Any, cause).code() is Code.NOT_FOUND


def test_a_reason_of_another_domain_or_of_another_family_does_not_choose_the_class() -> None:
    foreign = failure(status(Code.NOT_FOUND, reason="SOURCE_NOT_FOUND", domain="example.com"))
    assert (type(foreign), foreign.reason) == (NotFoundError, "")
    odd = failure(status(Code.INTERNAL, reason="SOURCE_NOT_FOUND"))
    assert (type(odd), odd.reason) == (InternalError, "SOURCE_NOT_FOUND")


def test_a_reason_of_a_newer_server_keeps_its_name() -> None:
    error = failure(status(Code.NOT_FOUND, reason="PIPELINE_NOT_FOUND"))
    assert (type(error), error.reason) == (NotFoundError, "PIPELINE_NOT_FOUND")


def test_damaged_details_do_not_hide_the_error() -> None:
    error = errors._build(Code.NOT_FOUND, "gone", {"grpc-status-details-bin": b"\xff\xff\xff"})
    assert (type(error), error.message) == (NotFoundError, "gone")


def test_a_damaged_detail_inside_a_sound_status_does_not_hide_the_error() -> None:
    told = status(Code.NOT_FOUND, "gone", reason="SOURCE_NOT_FOUND")
    told.details[0].value = b"\xff\xff\xff"
    error = errors._build(Code.NOT_FOUND, "gone", {"grpc-status-details-bin": told.SerializeToString()})
    assert (type(error), error.message, error.reason) == (NotFoundError, "gone", "")


def test_an_error_survives_pickling() -> None:
    error = failure(status(Code.NOT_FOUND, reason="SOURCE_NOT_FOUND", metadata={"name": "sources/orders"}))
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is SourceNotFoundError
    assert (copy.code, copy.reason, copy.metadata, str(copy)) == (error.code, error.reason, error.metadata, str(error))


async def test_the_asyncio_client_raises_the_same_errors_with_the_same_details() -> None:
    told = status(Code.NOT_FOUND, reason="SOURCE_NOT_FOUND", metadata={"name": "sources/x", "request_id": "r"})
    with scripted_server(GetSource=refuse(told)) as server:
        async with streamgauge.AsyncClient(server.target) as client:
            with pytest.raises(SourceNotFoundError) as caught:
                await client.sources.get("x")
    assert caught.value.metadata == {"name": "sources/x", "request_id": "r"}
    assert caught.value.request_id == "r"
    assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)


def test_reason_has_every_reason_of_the_contract() -> None:
    names = {value.name.removeprefix("ERROR_REASON_") for value in errors_pb2.ErrorReason.DESCRIPTOR.values} - {
        "UNSPECIFIED"
    }
    assert {str(reason) for reason in Reason} == names
    assert all(reason.name == reason.value for reason in Reason)


def test_every_error_class_is_exported_by_the_package() -> None:
    classes: set[type[StreamgaugeError]] = {
        errors.StreamgaugeError,
        *errors._BY_CODE.values(),
        *errors._BY_REASON.values(),
    }
    assert {cls.__name__ for cls in classes} <= set(streamgauge.__all__)
