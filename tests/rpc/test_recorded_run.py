"""The recorded run, through a real server over a real channel: totals that are known, and what each phase showed.

The true totals come from the broker's logs of the recording. A phase is a moment at which the worker was asked in full;
what it showed then is asked of the server with ranges that end at that moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from streamgauge import Client, Scalar, testing
from streamgauge.demo import loader, recorded_run
from streamgauge.demo.recorded_run import MAIN_SOURCE, RecordedRun

PHASES = (
    "worker_no_connector", "snapshot_running", "snapshot_mid", "streaming_idle_after_snapshot", "after_changes",
    "idle_12s", "paused", "paused_with_changes", "resumed", "after_restart", "after_restart_5_inserts",
    "incremental_mid", "incremental_done", "db_down_2s", "db_down_10s", "db_recovered", "db_recovered_7_inserts",
    "broker_errors", "broker_recovered", "failed_or_retrying", "restarted_after_failure", "stopped",
    "resumed_from_stopped", "deleted",
)  # fmt: skip
"""The phases of the followed source; at each of them Kafka Connect was asked for the connector's status."""

GOLDEN = {
    "sourceRecordWriteTotal": 100_340,
    "StreamingTotalNumberOfCreateEventsSeen": 200,
    "StreamingTotalNumberOfUpdateEventsSeen": 40,
    "StreamingTotalNumberOfDeleteEventsSeen": 12,
    "recordSendTotal": 100_385,
    "recordRetryTotal": 45,
    "SnapshotTotalNumberOfEventsSeen": 100_076,
}
AFTER = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    return recorded_run.load()


@pytest.fixture(scope="module")
def moments(run: RecordedRun) -> dict[str, datetime]:
    """When each phase was recorded."""
    (frame,) = (frame for frame in run.frames if frame.subject == MAIN_SOURCE and not frame.part)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    times = [epoch + timedelta(microseconds=micros) for micros in frame.time_unix_micros]
    return dict(zip(PHASES, times, strict=True))


@pytest.fixture(scope="module")
def client(run: RecordedRun) -> Iterator[Client]:
    """A server that holds the run."""
    with testing.server() as server, Client(server.target) as client:
        assert loader.load(client, run) == run.sample_count
        yield client


def last(client: Client, run: RecordedRun, metric: str, moment: datetime) -> Scalar | None:
    """Returns the newest sample of a metric at a moment, parts combined."""
    result = client.metrics.query(
        [MAIN_SOURCE], metrics=[metric], start=run.first_time, end=moment + AFTER, aggregates=["last"]
    )
    (series,) = result.series
    return series.column(metric).values[0] if series.columns else None


def total(client: Client, run: RecordedRun, metric: str, moment: datetime) -> Scalar | None:
    """Returns the growth of a counter from the beginning up to a moment."""
    summary = client.sources.timesummary(MAIN_SOURCE, start=run.first_time, end=moment + AFTER, metrics=[metric])
    return summary[metric].value


@pytest.mark.parametrize(("metric", "expected"), GOLDEN.items())
def test_the_summary_is_what_the_brokers_logs_hold(
    client: Client, run: RecordedRun, metric: str, expected: int
) -> None:
    summary = client.sources.timesummary(MAIN_SOURCE, start=run.first_time, end=run.last_time + AFTER)
    assert summary[metric].value == expected


@pytest.mark.parametrize(("metric", "expected"), GOLDEN.items())
@pytest.mark.parametrize(("interval", "unit"), [(1, "minute"), (7, "minute"), (1, "hour"), (1, "month")])
def test_windows_add_up_to_the_summary(
    client: Client, run: RecordedRun, metric: str, expected: int, interval: int, unit: str
) -> None:
    series = client.sources.timeseries(
        MAIN_SOURCE, start=run.first_time, end=run.last_time + AFTER, interval=interval, unit=unit
    )
    assert sum(value or 0 for value in series[metric].values) == expected  # type: ignore[misc]


@pytest.mark.parametrize(("metric", "expected"), GOLDEN.items())
def test_the_latest_value_of_a_counter_is_its_lifetime_total(client: Client, metric: str, expected: int) -> None:
    assert client.sources.latest(MAIN_SOURCE)[metric].value == expected
    assert client.metrics.latest([MAIN_SOURCE], metrics=[metric]).subjects[0][metric].value == expected


def test_the_raw_reading_shows_why_the_naive_answer_is_wrong(client: Client, run: RecordedRun) -> None:
    latest = client.sources.latest(MAIN_SOURCE, counter_mode="raw")
    assert latest["sourceRecordWriteTotal"].value == 0
    result = client.metrics.query(
        [MAIN_SOURCE],
        metrics=["sourceRecordWriteTotal"],
        start=run.first_time,
        end=run.last_time + AFTER,
        aggregates=["max"],
    )
    assert result.series[0].column("sourceRecordWriteTotal").values == (80_147,)


def test_the_summary_says_how_many_resets_it_bridged(client: Client, run: RecordedRun) -> None:
    summary = client.sources.timesummary(MAIN_SOURCE, start=run.first_time, end=run.last_time + AFTER)
    assert summary["sourceRecordWriteTotal"].reset_count == 4
    assert summary["StreamingTotalNumberOfCreateEventsSeen"].reset_count == 4
    assert summary["StreamingMilliSecondsBehindSource"].reset_count == 0


@pytest.mark.parametrize(
    ("phase", "metric", "expected"),
    [
        ("snapshot_mid", "SnapshotTotalNumberOfEventsSeen", 30_270),
        ("streaming_idle_after_snapshot", "SnapshotTotalNumberOfEventsSeen", 80_000),
        ("after_changes", "StreamingTotalNumberOfCreateEventsSeen", 73),
        ("after_changes", "StreamingTotalNumberOfUpdateEventsSeen", 40),
        ("after_changes", "StreamingTotalNumberOfDeleteEventsSeen", 12),
        ("after_changes", "sourceRecordWriteTotal", 80_137),
        ("paused_with_changes", "StreamingTotalNumberOfCreateEventsSeen", 83),
        ("paused_with_changes", "sourceRecordWriteTotal", 80_137),
        ("resumed", "sourceRecordWriteTotal", 80_147),
        ("after_restart", "sourceRecordWriteTotal", 80_147),
        ("after_restart_5_inserts", "sourceRecordWriteTotal", 80_152),
        ("incremental_done", "StreamingTotalNumberOfCreateEventsSeen", 83 + 90),
        ("incremental_done", "SnapshotTotalNumberOfEventsSeen", 80_000 + 20_076),
        ("db_down_10s", "sourceRecordWriteTotal", 80_147 + 20_166),
        ("db_recovered_7_inserts", "sourceRecordWriteTotal", 80_147 + 20_173),
        ("broker_errors", "recordRetryTotal", 45),
        ("broker_errors", "sourceRecordWriteTotal", 80_147 + 20_173),
        ("broker_recovered", "sourceRecordWriteTotal", 100_340),
        ("broker_recovered", "recordSendTotal", 100_385),
        ("deleted", "sourceRecordWriteTotal", 100_340),
    ],
)
def test_counters_at_each_phase(
    client: Client, run: RecordedRun, moments: dict[str, datetime], phase: str, metric: str, expected: int
) -> None:
    assert total(client, run, metric, moments[phase]) == expected


@pytest.mark.parametrize(
    ("phase", "metric", "expected"),
    [
        ("snapshot_running", "SnapshotRunning", True),
        ("snapshot_running", "snapshotState", "running"),
        ("snapshot_running", "StreamingConnected", False),
        ("snapshot_running", "streamingState", "disconnected"),
        ("snapshot_running", "StreamingMilliSecondsBehindSource", None),
        ("streaming_idle_after_snapshot", "SnapshotCompleted", True),
        ("streaming_idle_after_snapshot", "snapshotState", "completed"),
        ("streaming_idle_after_snapshot", "streamingState", "connected"),
        ("after_changes", "StreamingMilliSecondsBehindSource", 215),
        ("after_changes", "StreamingMilliSecondsSinceLastEvent", 3_791),
        ("after_changes", "StreamingLastEvent", 'position: {lsn: 46708312}, key: {"id" : "112"}'),
        ("after_changes", "state", "Streaming"),
        ("idle_12s", "StreamingMilliSecondsBehindSource", 215),
        ("idle_12s", "StreamingMilliSecondsSinceLastEvent", 16_055),
        ("paused", "connector_status", "Paused"),
        ("paused", "StreamingMilliSecondsSinceLastEvent", 19_385),
        ("paused_with_changes", "StreamingMilliSecondsBehindSource", 9),
        ("resumed", "connector_status", "Active"),
        ("after_restart", "snapshotState", "skipped"),
        ("after_restart", "SnapshotCompleted", False),
        ("incremental_mid", "snapshotState", "running"),
        ("db_down_2s", "streamingState", "disconnected"),
        ("db_down_10s", "streamingState", "disconnected"),
        ("db_down_10s", "connector_status", "Active"),
        ("db_recovered", "streamingState", "connected"),
        ("failed_or_retrying", "streamingState", "disconnected"),
        ("stopped", "connector_status", "Stopped"),
        ("resumed_from_stopped", "streamingState", "connected"),
        ("deleted", "connector_status", "Unknown"),
    ],
)
def test_gauges_and_states_at_each_phase(
    client: Client, run: RecordedRun, moments: dict[str, datetime], phase: str, metric: str, expected: Scalar | None
) -> None:
    assert last(client, run, metric, moments[phase]) == expected


def test_a_window_without_samples_is_null_and_one_without_growth_is_zero(
    client: Client, run: RecordedRun, moments: dict[str, datetime]
) -> None:
    """Idle is not absence: while the database was down its events were unknown, what was written stood still."""
    down = {"start": moments["db_down_2s"], "end": moments["db_down_10s"], "unit": "minute"}
    series = client.sources.timeseries(MAIN_SOURCE, **down)  # type: ignore[arg-type]
    assert set(series["StreamingTotalNumberOfCreateEventsSeen"].values) == {None}
    assert set(series["sourceRecordWriteTotal"].values) == {0}


def test_latest_remembers_the_completed_snapshot_through_restarts(client: Client) -> None:
    latest = client.sources.latest(MAIN_SOURCE)
    assert latest["snapshotState"].value == "completed"
    assert latest["SnapshotCompleted"].value is True
    assert latest["connector_status"].value == "Unknown"
    assert latest["streamingState"].value == "disconnected"
    assert latest["recordWrittenTotal"].value is None


def test_latest_lists_the_snapshot_status_of_each_topic(client: Client) -> None:
    prefix = MAIN_SOURCE.replace("sources/", "source_")
    statuses = client.sources.latest(MAIN_SOURCE).snapshot_status
    assert [(status.topic_id, status.status) for status in statuses] == [
        (f"{prefix}.public.{table}", "completed") for table in ("customers", "dbz_signal", "orders")
    ]


def test_a_failed_task_broke_the_other_source(client: Client, run: RecordedRun) -> None:
    other = "sources/67ad6e0af08a2365c729ba80"
    failed = datetime(2026, 11, 22, 0, 20, 34, 185_000, tzinfo=UTC)
    metrics = ["connector_status", "streamingState"]
    result = client.metrics.query([other], metrics=metrics, start=run.first_time, end=failed + AFTER)
    assert {column.metric: column.values for column in result.series[0].columns} == {
        "connector_status": ("Broken",),
        "streamingState": ("disconnected",),
    }
    assert client.sources.latest(other)["connector_status"].value == "Active"


def test_parts_show_by_themselves(client: Client, run: RecordedRun) -> None:
    result = client.metrics.query(
        [MAIN_SOURCE], metrics=["recordSendTotal"], start=run.first_time, end=run.last_time + AFTER, by_part=True
    )
    sent = {
        series.part.rpartition(".")[2]: series.column("recordSendTotal").values[0]
        for series in result.series
        if "family=producer" in series.part
    }
    assert sent == {"customers": 20_147 + 20_153, "orders": 60_000, "dbz_signal": 85}


def test_importing_the_run_again_changes_nothing(client: Client, run: RecordedRun) -> None:
    before = client.sources.timesummary(MAIN_SOURCE, start=run.first_time, end=run.last_time + AFTER)
    loader.load(client, run)
    after = client.sources.timesummary(MAIN_SOURCE, start=run.first_time, end=run.last_time + AFTER)
    assert after == before
    assert client.sources.latest(MAIN_SOURCE)["sourceRecordWriteTotal"].value == 100_340


def test_the_run_moved_to_now_answers_questions_without_a_range(run: RecordedRun) -> None:
    with testing.server() as server, Client(server.target) as client:
        loader.load(client, run.moved_to(datetime.now(UTC)))
        assert client.sources.timesummary(MAIN_SOURCE)["sourceRecordWriteTotal"].value == 100_340
        assert sum(v or 0 for v in client.sources.timeseries(MAIN_SOURCE)["recordRetryTotal"].values) == 45  # type: ignore[misc]


def test_sources_are_registered_with_their_class_and_labels(client: Client) -> None:
    found = {source.id: source for source in client.sources.list(labels={"demo": "recorded-run"})}
    assert set(found) == {"67ad6e0af08a2365c729ba79", "67ad6e0af08a2365c729ba80", "file_demo"}
    debezium = client.sources.list(connector_class="io.debezium.connector.postgresql.PostgresConnector")
    assert [source.id for source in debezium] == ["67ad6e0af08a2365c729ba79", "67ad6e0af08a2365c729ba80"]
