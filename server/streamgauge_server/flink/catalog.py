"""Which metrics of Flink the built-in metrics of a job come from (`model.job_catalog`). Nothing else is taken."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from streamgauge_server.model import job_catalog as jobs


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
    """Where one metric of a job comes from. `flink_id` is empty where it is computed from several fields."""

    metric: str
    origin: Origin
    flink_id: str
    reduction: Reduction = Reduction.MAX


INPUT_WATERMARK = "currentInputWatermark"

JOB_METRICS = (
    JobMetric(jobs.RECORDS_READ, Origin.DETAILS, "", Reduction.SUM),
    JobMetric(jobs.RECORDS_PROCESSED, Origin.DETAILS, "", Reduction.SUM),
    JobMetric(jobs.TASKS_RUNNING, Origin.DETAILS, "", Reduction.SUM),
    JobMetric(jobs.TASKS_TOTAL, Origin.DETAILS, "", Reduction.SUM),
    JobMetric(jobs.BACK_PRESSURED_TIME, Origin.DETAILS, "accumulated-backpressured-time", Reduction.SUM),
    JobMetric(jobs.BUSY_TIME, Origin.DETAILS, "accumulated-busy-time", Reduction.SUM),
    JobMetric(jobs.IDLE_TIME, Origin.DETAILS, "accumulated-idle-time", Reduction.SUM),
    JobMetric(jobs.RESTARTS, Origin.JOB, "numRestarts"),
    JobMetric(jobs.UPTIME, Origin.JOB, "uptime"),
    JobMetric(jobs.CHECKPOINTS, Origin.JOB, "numberOfCompletedCheckpoints"),
    JobMetric(jobs.FAILED_CHECKPOINTS, Origin.JOB, "numberOfFailedCheckpoints"),
    JobMetric(jobs.CHECKPOINTS_IN_PROGRESS, Origin.JOB, "numberOfInProgressCheckpoints"),
    JobMetric(jobs.CHECKPOINT_DURATION, Origin.JOB, "lastCheckpointDuration"),
    JobMetric(jobs.CHECKPOINT_SIZE, Origin.JOB, "lastCheckpointSize"),
    JobMetric(jobs.CHECKPOINT_FULL_SIZE, Origin.JOB, "lastCheckpointFullSize"),
    JobMetric(jobs.CHECKPOINT_TIME, Origin.JOB, "lastCheckpointCompletedTimestamp"),
    JobMetric(jobs.BACK_PRESSURE, Origin.TASK, "backPressuredTimeMsPerSecond"),
    JobMetric(jobs.BUSYNESS, Origin.TASK, "busyTimeMsPerSecond"),
    JobMetric(jobs.WATERMARK_LAG, Origin.TASK, INPUT_WATERMARK, Reduction.MIN),
    JobMetric(jobs.EVENT_TIME, Origin.OPERATOR, "currentEventTs"),
    JobMetric(jobs.PENDING_RECORDS, Origin.OPERATOR, "pendingRecords", Reduction.SUM),
    JobMetric(jobs.EMIT_LAG, Origin.OPERATOR, "currentEmitEventTimeLag"),
    JobMetric(jobs.INPUT_ERRORS, Origin.OPERATOR, "numRecordsInErrors", Reduction.SUM),
    JobMetric(jobs.OUTPUT_ERRORS, Origin.OPERATOR, "numRecordsSendErrors", Reduction.SUM),
    JobMetric(jobs.LATE_RECORDS, Origin.OPERATOR, "numLateRecordsDropped", Reduction.SUM),
)
"""The allow-list."""

OF_JOB = tuple(metric for metric in JOB_METRICS if metric.origin is Origin.JOB)
OF_TASKS = tuple(metric for metric in JOB_METRICS if metric.origin is Origin.TASK)
OF_OPERATORS = tuple(metric for metric in JOB_METRICS if metric.origin is Origin.OPERATOR)

JOB_METRIC_IDS = tuple(metric.flink_id for metric in OF_JOB)
"""What to ask of `GET /jobs/{jid}/metrics`, in one request: names that a version does not have are left out."""
