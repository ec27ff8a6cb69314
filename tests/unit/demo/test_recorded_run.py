"""The bundled run holds what really happened, and nothing that should not leave a machine."""

from __future__ import annotations

import gzip
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import pairwise

import pytest
from streamgauge.demo import recorded_run
from streamgauge.demo.recorded_run import MAIN_SOURCE, RecordedRun, load
from streamgauge.v1 import common_pb2
from streamgauge_server.model.names import MAX_NAME_BYTES, parse_subject, text_problem
from streamgauge_server.model.source_catalog import SOURCE_METRICS
from streamgauge_server.model.values import MetricKind, ValueType

BUILT_IN = {metric.metric: metric for metric in SOURCE_METRICS}
VALUE_TYPES = {"ints": ValueType.INT64, "bools": ValueType.BOOL, "strings": ValueType.STRING}
OWN_METRICS = {"StreamingQueueRemainingCapacity"}

Sample = tuple[int, int | None, object]
"""Moment, start of the counter, value."""


@pytest.fixture(scope="module")
def run() -> RecordedRun:
    return load()


def samples(run: RecordedRun, subject: str) -> dict[str, dict[str, list[Sample]]]:
    """Returns the samples of a subject by metric and part, in order of time."""
    found: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for frame in run.frames:
        if frame.subject != subject:
            continue
        start = frame.start_time.ToMicroseconds() if frame.HasField("start_time") else None
        for column in frame.columns:
            kind = column.WhichOneof("values")
            assert kind is not None
            values = getattr(column, kind).values
            rows = list(column.rows) or range(len(frame.time_unix_micros))
            for row, value in zip(rows, values, strict=True):
                found[column.metric][frame.part].append((frame.time_unix_micros[row], start, value))
    return {metric: {part: sorted(of, key=lambda s: s[0]) for part, of in parts.items()}
            for metric, parts in found.items()}  # fmt: skip


def increase(parts: dict[str, list[Sample]]) -> int:
    """The growth of a counter across resets, by the rules of the contract: per part, then added."""
    total = 0
    for readings in parts.values():
        for (_, start_before, before), (_, start, value) in pairwise(readings):
            assert isinstance(value, int)
            assert isinstance(before, int)
            reset = (start is not None and start_before is not None and start != start_before) or value < before
            total += value if reset else value - before
    return total


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("sourceRecordWriteTotal", 100_340),
        ("recordSendTotal", 100_385),
        ("recordRetryTotal", 45),
        ("StreamingTotalNumberOfCreateEventsSeen", 200),
        ("StreamingTotalNumberOfUpdateEventsSeen", 40),
        ("StreamingTotalNumberOfDeleteEventsSeen", 12),
        ("SnapshotTotalNumberOfEventsSeen", 80_000 + 20_076),
    ],
)
def test_counters_add_up_to_what_the_brokers_logs_hold(run: RecordedRun, metric: str, expected: int) -> None:
    assert increase(samples(run, MAIN_SOURCE)[metric]) == expected


def test_the_run_is_no_smaller_without_the_naive_mistakes(run: RecordedRun) -> None:
    """The last value and the maximum, which a naive reader would take, are wrong: else the run would prove nothing."""
    (written,) = samples(run, MAIN_SOURCE)["sourceRecordWriteTotal"].values()
    values = [value for _, _, value in written]
    assert values[-1] == 0
    assert max(values) == 80_147  # type: ignore[type-var]


def test_every_counter_of_the_followed_source_begins_at_zero(run: RecordedRun) -> None:
    """The first sample ever adds nothing, so a part that began above zero would lose what came before."""
    for metric, parts in samples(run, MAIN_SOURCE).items():
        if metric in BUILT_IN and BUILT_IN[metric].kind == MetricKind.COUNTER:
            assert {part: readings[0][2] for part, readings in parts.items()} == dict.fromkeys(parts, 0), metric


def test_counters_carry_starts_that_rise_and_precede_their_samples(run: RecordedRun) -> None:
    for source in run.sources:
        for metric, parts in samples(run, f"sources/{source.source_id}").items():
            if metric not in BUILT_IN or BUILT_IN[metric].kind != MetricKind.COUNTER:
                continue
            for part, readings in parts.items():
                starts = [start for _, start, _ in readings]
                assert None not in starts, (metric, part)
                assert starts == sorted(starts)  # type: ignore[type-var]
                assert all(start <= time for time, start, _ in readings)  # type: ignore[operator]


def test_families_reset_independently(run: RecordedRun) -> None:
    """Debezium began anew when its database came back, the task did not."""
    main = samples(run, MAIN_SOURCE)
    starts = {
        metric: {start for readings in main[metric].values() for _, start, _ in readings}
        for metric in ("sourceRecordWriteTotal", "StreamingTotalNumberOfCreateEventsSeen")
    }
    assert len(starts["sourceRecordWriteTotal"]) == 5
    assert len(starts["StreamingTotalNumberOfCreateEventsSeen"]) == 5
    assert not starts["sourceRecordWriteTotal"] & starts["StreamingTotalNumberOfCreateEventsSeen"]


def test_no_gauge_holds_the_value_that_means_none(run: RecordedRun) -> None:
    for source in run.sources:
        for metric, parts in samples(run, f"sources/{source.source_id}").items():
            if metric in BUILT_IN and (no_value := BUILT_IN[metric].no_value) is not None:
                assert no_value not in [value for readings in parts.values() for _, _, value in readings], metric


def test_names_and_types_are_those_of_the_built_in_metrics(run: RecordedRun) -> None:
    for frame in run.frames:
        assert parse_subject(frame.subject) is not None
        assert text_problem(frame.part, MAX_NAME_BYTES) is None
        for column in frame.columns:
            kind = column.WhichOneof("values")
            assert kind is not None
            if column.metric not in OWN_METRICS:
                assert BUILT_IN[column.metric].value_type == VALUE_TYPES[kind], column.metric


def test_states_are_words_of_the_catalogue(run: RecordedRun) -> None:
    for source in run.sources:
        for metric, parts in samples(run, f"sources/{source.source_id}").items():
            if metric in BUILT_IN and (order := BUILT_IN[metric].state_order):
                assert {value for readings in parts.values() for _, _, value in readings} <= set(order)


def test_parts_are_pairs_with_distinct_keys(run: RecordedRun) -> None:
    for frame in run.frames:
        keys = [pair.partition("=")[0] for pair in frame.part.split(",")] if frame.part else []
        assert len(keys) == len(set(keys))
        assert all(re.fullmatch(r"family=\w+(,\w+=[\w.]+)*", frame.part) for _ in keys[:1]), frame.part


def test_a_lost_database_shows_as_disconnected_while_kafka_connect_says_active(run: RecordedRun) -> None:
    main = samples(run, MAIN_SOURCE)
    (streaming,) = main["streamingState"].values()
    disconnected = {time for time, _, value in streaming if value == "disconnected"}
    (status,) = main["connector_status"].values()
    assert {time for time, _, value in status if value == "Active"} & disconnected


def test_a_failed_task_is_a_broken_source(run: RecordedRun) -> None:
    (status,) = samples(run, "sources/67ad6e0af08a2365c729ba80")["connector_status"].values()
    assert [value for _, _, value in status] == ["Active", "Broken", "Active", "Active", "Active"]


def test_snapshot_status_follows_each_topic(run: RecordedRun) -> None:
    parts = samples(run, MAIN_SOURCE)["snapshotStatus"]
    words = {
        part.rpartition(".")[2]: list(dict.fromkeys(str(value) for _, _, value in readings))
        for part, readings in parts.items()
    }
    assert words == {
        "customers": ["pending", "completed", "running"],  # running again: the incremental snapshot
        "orders": ["pending", "running", "completed"],
        "dbz_signal": ["pending", "completed"],
    }


def test_nothing_of_the_configuration_or_the_machine_got_in() -> None:
    packed = resources.files("streamgauge.demo").joinpath("debezium_run.jsonl.gz").read_bytes()
    text = gzip.decompress(packed).decode().lower()
    for word in ("secret", "password", "user", "host", "127.0.0.1", "18083", "55433", "dbname", "slot", "dbzrec",
                 "publication", "worker", "trace", "exception", "/var/", "jdbc"):  # fmt: skip
        assert word not in text, word
    assert len(packed) < 20_000


def test_moving_the_run_keeps_every_value_in_its_place_within_the_minute(run: RecordedRun) -> None:
    end = datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    moved = run.moved_to(end)
    assert timedelta(0) <= end - moved.last_time < timedelta(minutes=1)
    shift = moved.last_time - run.last_time
    assert shift % timedelta(minutes=1) == timedelta(0)
    micros = shift // timedelta(microseconds=1)
    for before, after in zip(run.frames, moved.frames, strict=True):
        assert [time + micros for time in before.time_unix_micros] == list(after.time_unix_micros)
        assert before.HasField("start_time") == after.HasField("start_time")
        if before.HasField("start_time"):
            assert after.start_time.ToMicroseconds() - before.start_time.ToMicroseconds() == micros
        assert list(before.columns) == list(after.columns)
    assert moved.sample_count == run.sample_count


def test_a_foreign_line_is_refused() -> None:
    with pytest.raises(ValueError, match="neither a source nor a frame"):
        recorded_run.parse(['{"frames": []}'])


def test_samples_are_counted_over_all_columns() -> None:
    frame = common_pb2.Frame(time_unix_micros=[1, 2, 3])
    frame.columns.add(metric="a").ints.values.extend([1, 2, 3])
    frame.columns.add(metric="b", rows=[1]).ints.values.append(5)
    assert recorded_run.samples_of(frame) == 4
