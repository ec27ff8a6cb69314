"""The metrics of a job: by which names they are kept, and which metrics of Flink they come from. Nothing else is taken.

Names are Flink's own where a figure is one metric of Flink. `numRecordsRead`, `numRecordsProcessed`, `currentEventTs`
are those of TSP's monitoring API. Counters start again from zero with every attempt (restart) of the job, except those
of restarts and checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from streamgauge_server.model.values import MetricKind, ValueType


class Origin(Enum):
    """Where a figure comes from."""

    DETAILS = "the job's details"
    JOB = "a metric of the job"
    TASK = "a metric of every vertex"
    OPERATOR = "a metric of those operators that have it"


class Reduction(Enum):
    """How the values of subtasks, operators and vertices become one."""

    MIN = "min"
    MAX = "max"
    SUM = "sum"


@dataclass(frozen=True, slots=True)
class JobMetric:
    """One metric of a job. `flink_id` is empty where it is computed from several fields."""

    metric: str
    display_name: str
    unit: str
    kind: MetricKind
    value_type: ValueType
    origin: Origin
    flink_id: str
    description: str
    reduction: Reduction = Reduction.MAX


def _count(metric: str, name: str, unit: str, origin: Origin, flink_id: str, description: str) -> JobMetric:
    return JobMetric(
        metric, name, unit, MetricKind.COUNTER, ValueType.INT64, origin, flink_id, description, Reduction.SUM
    )


def _gauge(
    metric: str, name: str, unit: str, origin: Origin, flink_id: str, description: str, reduction: Reduction
) -> JobMetric:
    return JobMetric(metric, name, unit, MetricKind.GAUGE, ValueType.INT64, origin, flink_id, description, reduction)


RECORDS_READ, RECORDS_PROCESSED, EVENT_TIME = "numRecordsRead", "numRecordsProcessed", "currentEventTs"
TASKS_RUNNING, TASKS_TOTAL = "tasksRunning", "tasksTotal"
BACK_PRESSURED_TIME, BUSY_TIME, IDLE_TIME = "backPressuredTime", "busyTime", "idleTime"
RESTARTS, WATERMARK_LAG = "numRestarts", "watermarkLag"

INPUT_WATERMARK = "currentInputWatermark"

_DETAILS = (
    _count(
        RECORDS_READ,
        "Records read",
        "records",
        Origin.DETAILS,
        "",
        "Records that the job's sources have emitted, in the current attempt.",
    ),
    _count(
        RECORDS_PROCESSED,
        "Records processed",
        "records",
        Origin.DETAILS,
        "",
        "Records that have reached the job's sinks, in the current attempt.",
    ),
    _gauge(
        TASKS_RUNNING,
        "Subtasks running",
        "subtasks",
        Origin.DETAILS,
        "",
        "Subtasks that run. A job that is RUNNING with fewer than all of them is degraded.",
        Reduction.SUM,
    ),
    _gauge(TASKS_TOTAL, "Subtasks", "subtasks", Origin.DETAILS, "", "Subtasks of the job.", Reduction.SUM),
    _count(
        BACK_PRESSURED_TIME,
        "Time back-pressured",
        "milliseconds",
        Origin.DETAILS,
        "accumulated-backpressured-time",
        "Time in which subtasks could not emit because what follows was slower; summed over all subtasks.",
    ),
    _count(
        BUSY_TIME,
        "Time busy",
        "milliseconds",
        Origin.DETAILS,
        "accumulated-busy-time",
        "Time in which subtasks worked; summed over all subtasks.",
    ),
    _count(
        IDLE_TIME,
        "Time idle",
        "milliseconds",
        Origin.DETAILS,
        "accumulated-idle-time",
        "Time in which subtasks had nothing to do; summed over all subtasks.",
    ),
)

_JOB = (
    _count(RESTARTS, "Restarts", "restarts", Origin.JOB, "numRestarts", "Restarts since the job was submitted."),
    _gauge(
        "uptime",
        "Uptime",
        "milliseconds",
        Origin.JOB,
        "uptime",
        "How long the job has been running without interruption.",
        Reduction.MAX,
    ),
    _count(
        "numberOfCompletedCheckpoints",
        "Checkpoints completed",
        "checkpoints",
        Origin.JOB,
        "numberOfCompletedCheckpoints",
        "Checkpoints that were completed.",
    ),
    _count(
        "numberOfFailedCheckpoints",
        "Checkpoints failed",
        "checkpoints",
        Origin.JOB,
        "numberOfFailedCheckpoints",
        "Checkpoints that failed.",
    ),
    _gauge(
        "numberOfInProgressCheckpoints",
        "Checkpoints in progress",
        "checkpoints",
        Origin.JOB,
        "numberOfInProgressCheckpoints",
        "Checkpoints that are being made.",
        Reduction.MAX,
    ),
    _gauge(
        "lastCheckpointDuration",
        "Duration of the last checkpoint",
        "milliseconds",
        Origin.JOB,
        "lastCheckpointDuration",
        "How long the last completed checkpoint took.",
        Reduction.MAX,
    ),
    _gauge(
        "lastCheckpointSize",
        "Size of the last checkpoint",
        "bytes",
        Origin.JOB,
        "lastCheckpointSize",
        "Bytes that the last completed checkpoint wrote.",
        Reduction.MAX,
    ),
    _gauge(
        "lastCheckpointFullSize",
        "Full size of the last checkpoint",
        "bytes",
        Origin.JOB,
        "lastCheckpointFullSize",
        "Bytes of the last completed checkpoint with what it shares with earlier ones.",
        Reduction.MAX,
    ),
    _gauge(
        "lastCheckpointCompletedTimestamp",
        "Time of the last checkpoint",
        "milliseconds since 1970",
        Origin.JOB,
        "lastCheckpointCompletedTimestamp",
        "When the last checkpoint was completed; Flink 2.x tells it.",
        Reduction.MAX,
    ),
)

_TASK = (
    _gauge(
        "backPressuredTimeMsPerSecond",
        "Back pressure",
        "milliseconds per second",
        Origin.TASK,
        "backPressuredTimeMsPerSecond",
        "Share of time in which the most back-pressured subtask could not emit, 0 to 1000.",
        Reduction.MAX,
    ),
    _gauge(
        "busyTimeMsPerSecond",
        "Busyness",
        "milliseconds per second",
        Origin.TASK,
        "busyTimeMsPerSecond",
        "Share of time in which the busiest subtask worked, 0 to 1000. At 1000 it is the bottleneck.",
        Reduction.MAX,
    ),
    _gauge(
        WATERMARK_LAG,
        "Watermark lag",
        "milliseconds",
        Origin.TASK,
        INPUT_WATERMARK,
        "How far the slowest watermark that the sinks have seen is behind the cluster's clock.",
        Reduction.MIN,
    ),
)

_OPERATOR = (
    _gauge(
        EVENT_TIME,
        "Time of the last event",
        "milliseconds since 1970",
        Origin.OPERATOR,
        "currentEventTs",
        "Event time of the newest record, where an operator reports it.",
        Reduction.MAX,
    ),
    _gauge(
        "pendingRecords",
        "Records pending",
        "records",
        Origin.OPERATOR,
        "pendingRecords",
        "Records that wait in the systems that the job reads, where its sources can tell.",
        Reduction.SUM,
    ),
    _gauge(
        "currentEmitEventTimeLag",
        "Event time lag at the sources",
        "milliseconds",
        Origin.OPERATOR,
        "currentEmitEventTimeLag",
        "From the time of an event to its emission by a source, the longest of all subtasks.",
        Reduction.MAX,
    ),
    _count(
        "numRecordsInErrors",
        "Records that could not be read",
        "records",
        Origin.OPERATOR,
        "numRecordsInErrors",
        "Records that sources failed to read or decode, in the current attempt.",
    ),
    _count(
        "numRecordsSendErrors",
        "Records that could not be written",
        "records",
        Origin.OPERATOR,
        "numRecordsSendErrors",
        "Records that sinks failed to write, in the current attempt.",
    ),
    _count(
        "numLateRecordsDropped",
        "Late records dropped",
        "records",
        Origin.OPERATOR,
        "numLateRecordsDropped",
        "Records that windows dropped because they came too late, in the current attempt.",
    ),
)

JOB_METRICS = (*_DETAILS, *_JOB, *_TASK, *_OPERATOR)
"""The allow-list."""

OF_JOB = tuple(metric for metric in JOB_METRICS if metric.origin is Origin.JOB)
OF_TASKS = tuple(metric for metric in JOB_METRICS if metric.origin is Origin.TASK)
OF_OPERATORS = tuple(metric for metric in JOB_METRICS if metric.origin is Origin.OPERATOR)

JOB_METRIC_IDS = tuple(metric.flink_id for metric in OF_JOB)
"""What to ask of `GET /jobs/{jid}/metrics`, in one request: names that a version does not have are left out."""
