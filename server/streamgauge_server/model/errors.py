"""Domain errors. Each has a reason of the contract; the gRPC edge alone knows status codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """Reasons of the contract's `ErrorReason`, by the same names and numbers."""

    INVALID_FIELD = 1
    INVALID_TIME_RANGE = 2
    VALUE_TYPE_MISMATCH = 3
    TOO_MANY_WINDOWS = 4
    PAGE_TOKEN_MISMATCH = 5
    REQUEST_ID_REUSED = 6
    AGGREGATE_NOT_ALLOWED = 7
    SOURCE_NOT_FOUND = 20
    JOB_NOT_FOUND = 21
    JOB_TYPE_NOT_FOUND = 22
    ASSET_NOT_FOUND = 23
    METRIC_TYPE_NOT_FOUND = 24
    METRIC_NOT_FOUND = 25
    TOKEN_NOT_FOUND = 26
    SOURCE_ALREADY_EXISTS = 40
    JOB_ALREADY_EXISTS = 41
    JOB_TYPE_ALREADY_EXISTS = 42
    ASSET_ALREADY_EXISTS = 43
    METRIC_TYPE_ALREADY_EXISTS = 44
    METRIC_ALREADY_EXISTS = 45
    TOKEN_ALREADY_EXISTS = 46
    JOB_ERROR_ALREADY_EXISTS = 47
    JOB_NOT_STOPPABLE = 60
    JOB_AMBIGUOUS = 61
    METRIC_TYPE_IN_USE = 62
    FEATURE_NOT_SUPPORTED = 63
    ETAG_MISMATCH = 80
    WRITE_CONFLICT = 81
    CURSOR_EXPIRED = 90
    RATE_LIMITED = 100
    MESSAGE_TOO_LARGE = 101
    SUBJECT_LIMIT = 102
    METRIC_LIMIT = 103
    SLOW_CONSUMER = 104
    STORE_UNAVAILABLE = 120
    CLUSTER_UNREACHABLE = 121
    SHUTTING_DOWN = 122
    IDENTITY_PROVIDER_UNAVAILABLE = 123
    TOKEN_MISSING = 140
    TOKEN_INVALID = 141
    TOKEN_EXPIRED = 142
    SCOPE_MISSING = 143
    DEADLINE_EXCEEDED = 150
    INTERNAL = 160


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field: its path in the request (`observations[3].values["x"]`) and what is wrong, limit and actual.

    `metadata` is what an error with this reason says of itself, by default the field.
    """

    field: str
    description: str
    reason: Reason = Reason.INVALID_FIELD
    metadata: Mapping[str, str] | None = None


class DomainError(Exception):
    """A refusal with a reason.

    `metadata` holds every dynamic part of the message, by the keys that the contract's `ErrorReason` names.
    `violations` are all wrong fields at once. `retry_after` (seconds) is set where waiting helps.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after


def invalid(violations: Sequence[Violation]) -> DomainError:
    """The error of a request with wrong fields: the first violation gives the reason, all of them travel along."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return DomainError(
        first.reason,
        f"{first.field}: {first.description}{more}",
        metadata={"field": first.field} if first.metadata is None else first.metadata,
        violations=violations,
    )


def invalid_field(field: str, description: str, reason: Reason = Reason.INVALID_FIELD) -> DomainError:
    """The error of a request with one wrong field."""
    return invalid([Violation(field, description, reason)])


def store_unavailable(engine: str, cause: str, retry_after: float = 1.0) -> DomainError:
    """The error of a store that cannot be reached or cannot write; `cause` is a word such as `disk_full`."""
    return DomainError(
        Reason.STORE_UNAVAILABLE,
        f"the {engine} store is unavailable ({cause}); nothing of this call was stored",
        metadata={"store": engine, "cause": cause},
        retry_after=retry_after,
    )
