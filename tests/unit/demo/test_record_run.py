"""The recorder's decisions, on recordings made up for each of them."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from streamgauge.demo.recorded_run import RecordedRun, parse

TOOLS = Path(__file__).parents[3] / "tools"
OWN = "source_67ad6e0af08a2365c729ba79"
BEANS = {
    "strm.Connected": True,
    "strm.MilliSecondsBehindSource": -1,
    "strm.MilliSecondsSinceLastEvent": -1,
    "strm.TotalNumberOfCreateEventsSeen": 0,
    "strm.TotalNumberOfUpdateEventsSeen": 0,
    "strm.TotalNumberOfDeleteEventsSeen": 0,
    "strm.LastEvent": None,
    "strm.QueueRemainingCapacity": 10,
    "snap.SnapshotRunning": False,
    "snap.SnapshotCompleted": True,
    "snap.SnapshotSkipped": False,
    "snap.SnapshotPaused": False,
    "snap.SnapshotAborted": False,
    "snap.TotalNumberOfEventsSeen": 7,
    "snap.MilliSecondsSinceLastEvent": 3,
}
TASK = {"task.source-record-write-total": 5.0, "producer": {}}
SENT = {"byte-total": 90.0, "record-send-total": 5.0, "record-retry-total": 0.0}


@pytest.fixture
def record_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(TOOLS))
    yield importlib.import_module("record_run")
    for module in ("record_run", "recordings"):
        sys.modules.pop(module, None)


@pytest.fixture
def reader(record_run: ModuleType) -> ModuleType:
    return sys.modules["recordings"]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A phase that names the connector (with a password in its configuration) and a producer that started at 1 s."""
    about = {
        "status": {"connector": {"state": "RUNNING"}, "tasks": [{"state": "RUNNING"}]},
        "info": {"config": {"connector.class": "io.debezium.X", "database.password": "very-secret"}},
    }
    phase = {
        "phase": "elsewhere",
        "captured_at_ms": 900_000,
        "connect": {"connectors_expanded": {"body": {OWN: about}}},
        "jolokia_response": [{"status": 404}],
    }
    (tmp_path / "00_elsewhere.json").write_text(json.dumps(phase))
    (tmp_path / "00_elsewhere.metrics.prom.txt").write_text(
        f'kafka_producer_app_info_start_time_ms{{client_id="connector-producer-{OWN}-0"}} 1000.0\n'
    )
    return tmp_path


def record(record_run: ModuleType, recordings: Path, *timeline: dict[str, Any]) -> RecordedRun:
    entries = [{"phase": "between", **entry} for entry in timeline]
    (recordings / "timeline.json").write_text(json.dumps(entries))
    return parse(gzip.decompress(record_run.record(recordings)).decode().splitlines())


def values(run: RecordedRun, metric: str) -> list[tuple[str, int | None, int, Any]]:
    """Returns (part, start in seconds, time in seconds, value) of a metric."""
    found = []
    for frame in run.frames:
        for column in frame.columns:
            if column.metric == metric:
                start = frame.start_time.seconds if frame.HasField("start_time") else None
                kind = column.WhichOneof("values")
                assert kind is not None
                rows = list(column.rows) or range(len(frame.time_unix_micros))
                for row, value in zip(rows, getattr(column, kind).values, strict=True):
                    found.append((frame.part, start, frame.time_unix_micros[row] // 1_000_000, value))
    return found


def test_a_topic_without_a_bean_has_sent_nothing_while_its_producer_exists(
    record_run: ModuleType, recordings: Path
) -> None:
    run = record(record_run, recordings, {"t": 2.0, **TASK}, {"t": 3.0, **TASK, f"prod.{OWN}.public.orders": SENT})
    sent = {(part.rpartition(".")[2], time): value for part, _, time, value in values(run, "recordSendTotal")}
    assert sent[("orders", 2)] == 0
    assert sent[("orders", 3)] == 5
    assert sent[("customers", 3)] == 0


def test_a_topic_whose_bean_vanishes_from_a_living_producer_stops_the_recorder(
    record_run: ModuleType, recordings: Path
) -> None:
    with pytest.raises(ValueError, match="vanished"):
        record(record_run, recordings, {"t": 2.0, **TASK, f"prod.{OWN}.public.orders": SENT}, {"t": 3.0, **TASK})


def test_missing_beans_give_no_values_but_say_disconnected(record_run: ModuleType, recordings: Path) -> None:
    run = record(record_run, recordings, {"t": 1.5}, {"t": 2.0, **TASK}, {"t": 3.0, **TASK, **BEANS})
    states = [(time, value) for _, _, time, value in values(run, "streamingState")]
    assert states[:2] == [(2, "disconnected"), (3, "connected")]
    assert [time for _, _, time, _ in values(run, "StreamingTotalNumberOfCreateEventsSeen")] == [3]


def test_beans_that_return_count_from_their_first_reading(record_run: ModuleType, recordings: Path) -> None:
    run = record(
        record_run,
        recordings,
        {"t": 2.0, **TASK, **BEANS},
        {"t": 3.0, **TASK, **BEANS},
        {"t": 4.0, **TASK},
        {"t": 5.0, **TASK, **BEANS},
    )
    starts = [start for _, start, _, _ in values(run, "StreamingTotalNumberOfCreateEventsSeen")]
    assert starts == [2, 2, 5]
    assert {start for _, start, time, _ in values(run, "sourceRecordWriteTotal") if time < 900} == {1}


def test_a_second_snapshot_counts_anew_while_streaming_goes_on(record_run: ModuleType, recordings: Path) -> None:
    run = record(
        record_run,
        recordings,
        {"t": 2.0, **TASK, **BEANS},
        {"t": 3.0, **TASK, **BEANS, "snap.SnapshotRunning": True, "snap.SnapshotCompleted": False},
        {"t": 4.0, **TASK, **BEANS},
    )
    assert [start for _, start, _, _ in values(run, "SnapshotTotalNumberOfEventsSeen")] == [2, 3, 3]
    assert [start for _, start, _, _ in values(run, "StreamingTotalNumberOfCreateEventsSeen")] == [2, 2, 2]
    assert [value for *_, value in values(run, "snapshotState")] == ["completed", "running", "completed"]


def test_minus_one_milliseconds_are_no_values(record_run: ModuleType, recordings: Path) -> None:
    run = record(record_run, recordings, {"t": 2.0, **TASK, **BEANS})
    assert values(run, "StreamingMilliSecondsBehindSource") == []
    assert [value for *_, value in values(run, "SnapshotMilliSecondsSinceLastEvent")] == [3]


def test_equal_recordings_give_equal_bytes_without_the_configuration(record_run: ModuleType, recordings: Path) -> None:
    run = record(record_run, recordings, {"t": 2.0, **TASK, **BEANS})
    assert record_run.record(recordings) == record_run.record(recordings)
    assert "secret" not in str(run)
    assert run.sources[0].source.connector_class == "io.debezium.X"


@pytest.mark.parametrize(
    ("connector", "tasks", "expected"),
    [
        ("STOPPED", [], "Stopped"),
        ("FAILED", [], "Broken"),
        ("RUNNING", ["RUNNING", "FAILED"], "Broken"),
        ("PAUSED", ["PAUSED"], "Paused"),
        ("RUNNING", ["UNASSIGNED"], "Unassigned"),
        ("UNASSIGNED", [], "Unassigned"),
        ("RUNNING", [], "Starting"),
        ("RUNNING", ["RESTARTING"], "Starting"),
        ("RUNNING", ["RUNNING", "RUNNING"], "Active"),
        ("DANCING", ["RUNNING"], "Unknown"),
    ],
)
def test_connector_status_is_the_worst_of_connector_and_tasks(
    reader: ModuleType, connector: str, tasks: list[str], expected: str
) -> None:
    about = {"status": {"connector": {"state": connector}, "tasks": [{"state": state} for state in tasks]}}
    assert reader.connector_status(about) == expected


def test_a_connector_that_is_not_there_is_unknown(reader: ModuleType) -> None:
    assert reader.connector_status(None) == "Unknown"


@pytest.mark.parametrize(
    ("scanned", "remaining", "expected"),
    [
        ({}, 2, {"c.a": "pending", "c.b": "running"}),
        ({"a": 9}, 1, {"c.a": "completed", "c.b": "running"}),
        ({"a": 4}, 2, {"c.a": "running", "c.b": "running"}),  # an incremental snapshot lists the table under way
    ],
)
def test_snapshot_status_of_a_running_snapshot(
    record_run: ModuleType, scanned: dict[str, int], remaining: int, expected: dict[str, str]
) -> None:
    bean = {
        "SnapshotCompleted": False,
        "SnapshotRunning": True,
        "RowsScanned": scanned,
        "TotalTableCount": 2,
        "RemainingTableCount": remaining,
        "CapturedTables": ["a", "b"],
    }
    assert record_run.snapshot_status("c", bean, {"c.b": {}}) == expected
