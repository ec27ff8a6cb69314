"""The 22 built-in metrics of a streaming source, as Debezium and Kafka Connect report them."""

from __future__ import annotations

from dataclasses import dataclass

from streamgauge_server.model.values import Aggregate, MetricKind, PartCombination, ValueType

CONNECTOR_STATUS_ORDER = ("Active", "Starting", "Unassigned", "Unknown", "Paused", "Stopped", "Broken")
"""Kafka Connect's states as the service names them, from best to worst: one broken task makes a broken source."""


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A metric that ships with the server."""

    metric: str
    display_name: str
    unit: str
    kind: MetricKind
    value_type: ValueType
    window_aggregate: Aggregate
    summary_aggregate: Aggregate
    part_combination: PartCombination
    description: str
    state_order: tuple[str, ...] = ()
    no_value: float | None = None
    in_timeseries: bool = False
    """One of the twelve that a time series and a summary answer when no metric is named."""


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
        in_timeseries=True,
    )


def _millis(
    metric: str, display_name: str, parts: PartCombination, description: str, *, in_timeseries: bool = True
) -> BuiltIn:
    return BuiltIn(
        metric,
        display_name,
        "milliseconds",
        MetricKind.GAUGE,
        ValueType.INT64,
        Aggregate.MAX,
        Aggregate.MAX,
        parts,
        description,
        no_value=-1.0,
        in_timeseries=in_timeseries,
    )


def _flag(
    metric: str,
    display_name: str,
    window: Aggregate,
    summary: Aggregate,
    parts: PartCombination,
    description: str,
) -> BuiltIn:
    return BuiltIn(
        metric, display_name, "boolean", MetricKind.GAUGE, ValueType.BOOL, window, summary, parts, description
    )


def _state(
    metric: str,
    display_name: str,
    description: str,
    order: tuple[str, ...] = (),
    parts: PartCombination = PartCombination.WORST,
) -> BuiltIn:
    return BuiltIn(
        metric,
        display_name,
        "enum",
        MetricKind.STATE,
        ValueType.STRING,
        Aggregate.LAST,
        Aggregate.LAST,
        parts,
        description,
        state_order=order,
    )


SOURCE_METRICS: tuple[BuiltIn, ...] = (
    _counter(
        "SnapshotTotalNumberOfEventsSeen",
        "Events (Snapshot)",
        "count",
        "Events that snapshots have read. Starts again at 0 with every snapshot and task.",
    ),
    _millis(
        "SnapshotMilliSecondsSinceLastEvent",
        "Time Since Last Snapshot Event",
        PartCombination.MAX,
        "Time since a snapshot last read an event, at the moment of the reading.",
    ),
    _flag(
        "SnapshotRunning",
        "Snapshot Running?",
        Aggregate.MAX,
        Aggregate.MAX,
        PartCombination.MAX,
        "Whether a snapshot is running.",
    ),
    _flag(
        "SnapshotCompleted",
        "Snapshot Completed?",
        Aggregate.MAX,
        Aggregate.LAST,
        PartCombination.MIN,
        "Whether a snapshot has completed. Debezium forgets it with a restart; the latest value remembers it.",
    ),
    _millis(
        "StreamingMilliSecondsBehindSource",
        "Latency Behind Source",
        PartCombination.MAX,
        "Age of the last event when it was handled. Keeps its value while no events come: read it beside the time "
        "since the last event.",
    ),
    _millis(
        "StreamingMilliSecondsSinceLastEvent",
        "Time Since Last Streaming Event",
        PartCombination.MIN,
        "Time since the last streamed event, at the moment of the reading.",
    ),
    _flag(
        "StreamingConnected",
        "Streaming Connected?",
        Aggregate.MIN,
        Aggregate.AVG,
        PartCombination.MIN,
        "Whether the connector is connected to its database. The summary is the fraction of connected samples.",
    ),
    _counter(
        "StreamingTotalNumberOfCreateEventsSeen",
        "Events (Create)",
        "count",
        "Inserts that the connector has read, rows of a signalling table among them.",
    ),
    _counter(
        "StreamingTotalNumberOfUpdateEventsSeen", "Events (Update)", "count", "Updates that the connector has read."
    ),
    _counter(
        "StreamingTotalNumberOfDeleteEventsSeen", "Events (Delete)", "count", "Deletes that the connector has read."
    ),
    BuiltIn(
        "StreamingLastEvent",
        "Last Streaming Event",
        "id",
        MetricKind.TEXT,
        ValueType.STRING,
        Aggregate.LAST,
        Aggregate.LAST,
        PartCombination.LAST,
        "Position and key of the last streamed event, as Debezium prints it. May hold key values of rows.",
    ),
    _counter(
        "sourceRecordWriteTotal",
        "Events Written",
        "count",
        "Records that Kafka has acknowledged: what was delivered. A delete writes two, the event and its tombstone.",
    ),
    _counter("byteTotal", "Volume", "bytes", "Bytes that the producer has sent, retries included."),
    _counter("recordSendTotal", "Received", "count", "Records that the producer has sent, retries included."),
    _counter("recordRetryTotal", "Retried", "count", "Records that the producer has sent again."),
    _counter(
        "recordWrittenTotal", "Events Written", "count", "Records written, as connectors without Debezium count them."
    ),
    _millis(
        "latency",
        "Source Latency",
        PartCombination.MAX,
        "Latency of the source; where it is not written, the latency behind the source stands for it.",
        in_timeseries=False,
    ),
    _state("state", "Enabled State", "What the connector is enabled to do, for example `Streaming`."),
    _state(
        "streamingState",
        "Streaming State",
        "`connected` or `disconnected`.",
        ("connected", "disconnected"),
    ),
    _state(
        "snapshotState",
        "Snapshot State",
        "`not_started`, `pending`, `running`, `paused`, `completed`, `aborted` or `skipped`. A snapshot that was "
        "completed once and is skipped after a restart reads `completed` in the latest value.",
        ("completed", "skipped", "running", "pending", "not_started", "paused", "aborted"),
    ),
    _state(
        "snapshotStatus",
        "Snapshot Status",
        "Status of the snapshot of each topic; written per part, with the topic in the part's `topic=`.",
        parts=PartCombination.UNION,
    ),
    _state(
        "connector_status",
        "Source State",
        "`Active`, `Paused`, `Stopped`, `Broken`, `Starting`, `Unassigned` or `Unknown`.",
        CONNECTOR_STATUS_ORDER,
    ),
)
"""All 22, in the order in which answers list them."""
