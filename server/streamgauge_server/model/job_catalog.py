"""The built-in metrics of a job, as collectors write them.

Names are Flink's own where a figure is one metric of Flink. `numRecordsRead`, `numRecordsProcessed` and
`currentEventTs` are those of TSP's monitoring API. Counters of records and of time start again from zero with every
attempt (restart) of a job, those of restarts and checkpoints with every run.
"""

from __future__ import annotations

from streamgauge_server.model.source_catalog import BuiltIn
from streamgauge_server.model.values import Aggregate, MetricKind, PartCombination, ValueType

RECORDS_READ, RECORDS_PROCESSED, EVENT_TIME = "numRecordsRead", "numRecordsProcessed", "currentEventTs"
TASKS_RUNNING, TASKS_TOTAL = "tasksRunning", "tasksTotal"
BACK_PRESSURED_TIME, BUSY_TIME, IDLE_TIME = "backPressuredTime", "busyTime", "idleTime"
RESTARTS, UPTIME = "numRestarts", "uptime"
CHECKPOINTS, FAILED_CHECKPOINTS = "numberOfCompletedCheckpoints", "numberOfFailedCheckpoints"
CHECKPOINTS_IN_PROGRESS = "numberOfInProgressCheckpoints"
CHECKPOINT_DURATION, CHECKPOINT_SIZE = "lastCheckpointDuration", "lastCheckpointSize"
CHECKPOINT_FULL_SIZE, CHECKPOINT_TIME = "lastCheckpointFullSize", "lastCheckpointCompletedTimestamp"
BACK_PRESSURE, BUSYNESS, WATERMARK_LAG = "backPressuredTimeMsPerSecond", "busyTimeMsPerSecond", "watermarkLag"
PENDING_RECORDS, EMIT_LAG = "pendingRecords", "currentEmitEventTimeLag"
INPUT_ERRORS, OUTPUT_ERRORS, LATE_RECORDS = "numRecordsInErrors", "numRecordsSendErrors", "numLateRecordsDropped"

_MILLISECONDS, _SINCE_1970 = "milliseconds", "milliseconds since 1970"


def _counter(metric: str, display_name: str, unit: str, description: str) -> BuiltIn:
    return BuiltIn(
        metric,
        display_name,
        unit,
        MetricKind.COUNTER,
        ValueType.INT64,
        Aggregate.INCREASE,
        Aggregate.INCREASE,
        PartCombination.SUM,
        description,
    )


def _gauge(
    metric: str,
    display_name: str,
    unit: str,
    description: str,
    *,
    aggregate: Aggregate = Aggregate.MAX,
    parts: PartCombination = PartCombination.MAX,
) -> BuiltIn:
    return BuiltIn(
        metric, display_name, unit, MetricKind.GAUGE, ValueType.INT64, aggregate, aggregate, parts, description
    )


def _level(metric: str, display_name: str, unit: str, description: str) -> BuiltIn:
    """A number of things that are there at a moment."""
    return _gauge(metric, display_name, unit, description, aggregate=Aggregate.LAST, parts=PartCombination.SUM)


JOB_METRICS = (
    _counter(
        RECORDS_READ,
        "Records read",
        "records",
        "Records that the job's sources have emitted, in the current attempt.",
    ),
    _counter(
        RECORDS_PROCESSED,
        "Records processed",
        "records",
        "Records that have reached the job's sinks, in the current attempt.",
    ),
    _level(
        TASKS_RUNNING,
        "Subtasks running",
        "subtasks",
        "Subtasks that run. A job that is RUNNING with fewer than all of them is degraded.",
    ),
    _level(TASKS_TOTAL, "Subtasks", "subtasks", "Subtasks of the job."),
    _counter(
        BACK_PRESSURED_TIME,
        "Time back-pressured",
        _MILLISECONDS,
        "Time in which subtasks could not emit because what follows was slower; summed over all subtasks.",
    ),
    _counter(BUSY_TIME, "Time busy", _MILLISECONDS, "Time in which subtasks worked; summed over all subtasks."),
    _counter(
        IDLE_TIME, "Time idle", _MILLISECONDS, "Time in which subtasks had nothing to do; summed over all subtasks."
    ),
    _counter(RESTARTS, "Restarts", "restarts", "Restarts since the job was submitted."),
    _gauge(
        UPTIME,
        "Uptime",
        _MILLISECONDS,
        "How long the job has been running without interruption.",
        aggregate=Aggregate.LAST,
    ),
    _counter(CHECKPOINTS, "Checkpoints completed", "checkpoints", "Checkpoints that were completed."),
    _counter(FAILED_CHECKPOINTS, "Checkpoints failed", "checkpoints", "Checkpoints that failed."),
    _gauge(CHECKPOINTS_IN_PROGRESS, "Checkpoints in progress", "checkpoints", "Checkpoints that are being made."),
    _gauge(
        CHECKPOINT_DURATION,
        "Duration of the last checkpoint",
        _MILLISECONDS,
        "How long the last completed checkpoint took.",
    ),
    _gauge(CHECKPOINT_SIZE, "Size of the last checkpoint", "bytes", "Bytes that the last completed checkpoint wrote."),
    _gauge(
        CHECKPOINT_FULL_SIZE,
        "Full size of the last checkpoint",
        "bytes",
        "Bytes of the last completed checkpoint with what it shares with earlier ones.",
    ),
    _gauge(
        CHECKPOINT_TIME,
        "Time of the last checkpoint",
        _SINCE_1970,
        "When the last checkpoint was completed.",
    ),
    _gauge(
        BACK_PRESSURE,
        "Back pressure",
        "milliseconds per second",
        "Share of time in which the most back-pressured subtask could not emit, 0 to 1000.",
    ),
    _gauge(
        BUSYNESS,
        "Busyness",
        "milliseconds per second",
        "Share of time in which the busiest subtask worked, 0 to 1000. At 1000 it is the bottleneck.",
    ),
    _gauge(
        WATERMARK_LAG,
        "Watermark lag",
        _MILLISECONDS,
        "How far the slowest watermark that the sinks have seen is behind the cluster's clock.",
    ),
    _gauge(
        EVENT_TIME,
        "Time of the last event",
        _SINCE_1970,
        "Event time of the newest record, where an operator reports it.",
    ),
    _level(
        PENDING_RECORDS,
        "Records pending",
        "records",
        "Records that wait in the systems that the job reads, where its sources can tell.",
    ),
    _gauge(
        EMIT_LAG,
        "Event time lag at the sources",
        _MILLISECONDS,
        "From the time of an event to its emission by a source, the longest of all subtasks.",
    ),
    _counter(
        INPUT_ERRORS,
        "Records that could not be read",
        "records",
        "Records that sources failed to read or decode, in the current attempt.",
    ),
    _counter(
        OUTPUT_ERRORS,
        "Records that could not be written",
        "records",
        "Records that sinks failed to write, in the current attempt.",
    ),
    _counter(
        LATE_RECORDS,
        "Late records dropped",
        "records",
        "Records that windows dropped because they came too late, in the current attempt.",
    ),
)
"""All 25, in the order in which answers list them."""

OF_RUN = frozenset({RESTARTS, CHECKPOINTS, FAILED_CHECKPOINTS})
"""Counters that go on counting over the attempts of a run."""
