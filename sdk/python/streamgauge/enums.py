"""The closed sets of the API. Members are strings, so `unit="hour"` and `unit=WindowUnit.HOUR` mean the same.

A newer server may answer with a member that this version does not know; it is then `UNKNOWN`, which no request accepts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

Scalar: TypeAlias = float | int | bool | str
"""One measured value. An `int` keeps all 64 bits; `True` is a boolean and not 1."""


class SubjectKind(StrEnum):
    """What is measured. The value is the collection that the names of such subjects begin with."""

    UNKNOWN = "unknown"
    SOURCE = "sources"
    JOB = "jobs"
    ASSET = "assets"
    METRIC_TYPE_CHOICE = "metricTypes"


class MetricKind(StrEnum):
    """How the readings of a metric behave over time."""

    UNKNOWN = "unknown"
    GAUGE = "gauge"
    COUNTER = "counter"
    STATE = "state"
    TEXT = "text"


class ValueType(StrEnum):
    """The type of a metric's values. `NUMBER` (doubles and integers) and `ANY` are for metrics of assets."""

    UNKNOWN = "unknown"
    DOUBLE = "double"
    INT64 = "int64"
    BOOL = "bool"
    STRING = "string"
    NUMBER = "number"
    ANY = "any"


class AssetValueType(StrEnum):
    """The type of a metric's value on an asset."""

    UNKNOWN = "unknown"
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"


class MetricDirection(StrEnum):
    """Which way a metric gets better."""

    UNKNOWN = "unknown"
    HIGHER_IS_BETTER = "higher_is_better"
    LOWER_IS_BETTER = "lower_is_better"


class Aggregate(StrEnum):
    """How the samples of a window become one value."""

    UNKNOWN = "unknown"
    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    AVG = "avg"
    FIRST = "first"
    LAST = "last"
    INCREASE = "increase"
    RATE = "rate"
    TIME_IN_VALUE = "time_in_value"


class PartCombination(StrEnum):
    """How the values of a subject's parts become the subject's value."""

    UNKNOWN = "unknown"
    SUM = "sum"
    MAX = "max"
    MIN = "min"
    LAST = "last"
    WORST = "worst"
    UNION = "union"


class CounterMode(StrEnum):
    """How counters are read: growth across resets, the lifetime total across resets, or the reading as written."""

    INCREASE = "increase"
    CUMULATIVE = "cumulative"
    RAW = "raw"


class JobState(StrEnum):
    """What a run of a job is doing: Flink's eleven states, `QUEUED`, and `OTHER` for one that the server does not know.

    `FINISHED`, `FAILED` and `CANCELED` are final: `state.is_final`.
    """

    UNKNOWN = "unknown"
    QUEUED = "queued"
    INITIALIZING = "initializing"
    CREATED = "created"
    RUNNING = "running"
    FAILING = "failing"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELED = "canceled"
    FINISHED = "finished"
    RESTARTING = "restarting"
    SUSPENDED = "suspended"
    RECONCILING = "reconciling"
    OTHER = "other"

    @property
    def is_final(self) -> bool:
        """Whether a run in this state has ended, for good."""
        return self in (JobState.FINISHED, JobState.FAILED, JobState.CANCELED)


class JobOutcome(StrEnum):
    """How a run ended. `COMPLETED`: by itself, or stopped with a savepoint."""

    UNKNOWN = "unknown"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class TaskKind(StrEnum):
    """What a task of an execution does: fetches what the job needs, prepares it, runs its own work, cleans up."""

    UNKNOWN = "unknown"
    PULL = "pull"
    PRE = "pre"
    MAIN = "main"
    POST = "post"


class ErrorCategory(StrEnum):
    """What kind of trouble an error is: of the system that runs jobs, of the data, or of the job's own program."""

    UNKNOWN = "unknown"
    SYSTEM = "system"
    DATA = "data"
    ALGORITHM = "algorithm"


class IngestStatus(StrEnum):
    """What became of a file. `DEFERRED`: no rule matched; `DUPLICATE`: it was ingested before."""

    UNKNOWN = "unknown"
    DEFERRED = "deferred"
    INGESTED = "ingested"
    ERRORED = "errored"
    DUPLICATE = "duplicate"


class ColumnAggregate(StrEnum):
    """How the values of several choices or windows become one.

    Custom metric types have `SUM`, `MIN`, `MAX` and `AVG`; `P50`, `P95` and `RATIO` are of built-in, derived columns.
    """

    UNKNOWN = "unknown"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    AVG = "avg"
    P50 = "p50"
    P95 = "p95"
    RATIO = "ratio"


class StatusOrigin(StrEnum):
    """Where a status comes from: the cluster, asked for this answer, or what was told last."""

    UNKNOWN = "unknown"
    LIVE = "live"
    STORED = "stored"


class StopMode(StrEnum):
    """How to stop a run: cancel it at once, or take a savepoint and end it."""

    CANCEL = "cancel"
    SAVEPOINT = "savepoint"


class TimeType(StrEnum):
    """Which of its three answers a source gives."""

    UNKNOWN = "unknown"
    TIMESERIES = "timeseries"
    TIMESUMMARY = "timesummary"
    LATEST = "latest"


class WindowUnit(StrEnum):
    """A unit of calendar time, UTC. Weeks begin on Monday, months on their first day."""

    UNKNOWN = "unknown"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Reason(StrEnum):
    """Why the server refused a call or an item of a write: `streamgauge.v1.ErrorReason` without its prefix."""

    INVALID_FIELD = "INVALID_FIELD"
    INVALID_TIME_RANGE = "INVALID_TIME_RANGE"
    VALUE_TYPE_MISMATCH = "VALUE_TYPE_MISMATCH"
    TOO_MANY_WINDOWS = "TOO_MANY_WINDOWS"
    PAGE_TOKEN_MISMATCH = "PAGE_TOKEN_MISMATCH"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    AGGREGATE_NOT_ALLOWED = "AGGREGATE_NOT_ALLOWED"
    SOURCE_NOT_FOUND = "SOURCE_NOT_FOUND"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    JOB_TYPE_NOT_FOUND = "JOB_TYPE_NOT_FOUND"
    ASSET_NOT_FOUND = "ASSET_NOT_FOUND"
    METRIC_TYPE_NOT_FOUND = "METRIC_TYPE_NOT_FOUND"
    METRIC_NOT_FOUND = "METRIC_NOT_FOUND"
    TOKEN_NOT_FOUND = "TOKEN_NOT_FOUND"
    SOURCE_ALREADY_EXISTS = "SOURCE_ALREADY_EXISTS"
    JOB_ALREADY_EXISTS = "JOB_ALREADY_EXISTS"
    JOB_TYPE_ALREADY_EXISTS = "JOB_TYPE_ALREADY_EXISTS"
    ASSET_ALREADY_EXISTS = "ASSET_ALREADY_EXISTS"
    METRIC_TYPE_ALREADY_EXISTS = "METRIC_TYPE_ALREADY_EXISTS"
    METRIC_ALREADY_EXISTS = "METRIC_ALREADY_EXISTS"
    TOKEN_ALREADY_EXISTS = "TOKEN_ALREADY_EXISTS"
    JOB_ERROR_ALREADY_EXISTS = "JOB_ERROR_ALREADY_EXISTS"
    JOB_NOT_STOPPABLE = "JOB_NOT_STOPPABLE"
    JOB_AMBIGUOUS = "JOB_AMBIGUOUS"
    METRIC_TYPE_IN_USE = "METRIC_TYPE_IN_USE"
    FEATURE_NOT_SUPPORTED = "FEATURE_NOT_SUPPORTED"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    WRITE_CONFLICT = "WRITE_CONFLICT"
    CURSOR_EXPIRED = "CURSOR_EXPIRED"
    RATE_LIMITED = "RATE_LIMITED"
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    SUBJECT_LIMIT = "SUBJECT_LIMIT"
    METRIC_LIMIT = "METRIC_LIMIT"
    SLOW_CONSUMER = "SLOW_CONSUMER"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    CLUSTER_UNREACHABLE = "CLUSTER_UNREACHABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    IDENTITY_PROVIDER_UNAVAILABLE = "IDENTITY_PROVIDER_UNAVAILABLE"
    TOKEN_MISSING = "TOKEN_MISSING"
    TOKEN_INVALID = "TOKEN_INVALID"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    SCOPE_MISSING = "SCOPE_MISSING"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"
