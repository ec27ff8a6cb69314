"""Metrics of assets in `MetricsService`: values of any type, what is declared of them, how long each value stood."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from streamgauge.v1 import asset_metric_service_pb2, common_pb2, errors_pb2
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge_server.model.assets import asset_id
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.limits import Limits

from tests.rpc.messages import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Scalar,
    batch,
    column,
    frame,
    latest_of,
    query,
    row,
    scalar,
    windows_of,
    write,
)
from tests.rpc.serving import Start, Stubs, invalid, refused

URN = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)"
ASSET = f"assets/{asset_id(URN)}"
TYPES = {"DOUBLE": "doubles", "INT64": "ints", "BOOL": "bools", "STRING": "strings"}


@pytest.fixture
async def stubs(start: Start) -> Stubs:
    """A server that knows one asset."""
    stubs = await start()
    await register(stubs)
    return stubs


async def register(stubs: Stubs, urn: str = URN) -> None:
    asset = asset_metric_service_pb2.Asset(urn=urn)
    await stubs.assets.CreateAsset(asset_metric_service_pb2.CreateAssetRequest(asset=asset))


async def put(stubs: Stubs, values: dict[str, Scalar], at: int, part: str = "", subject: str = ASSET) -> None:
    answer = await stubs.metrics.WriteMetrics(write(row(values, at=at, part=part, subject=subject)))
    assert answer.rejected_count == 0, answer.errors


async def latest(stubs: Stubs, subject: str = ASSET) -> dict[str, Scalar | None]:
    (answer,) = (await stubs.metrics.GetLatestMetrics(pb.GetLatestMetricsRequest(subjects=[subject]))).subjects
    return latest_of(answer)


async def windows(stubs: Stubs, *aggregates: str, **options: Any) -> dict[tuple[str, str, str], list[Scalar | None]]:
    """Returns what a query answers, by metric, aggregate and type of the samples."""
    answer = await stubs.metrics.QueryMetrics(query(ASSET, aggregates=aggregates, **options))
    (series,) = answer.series
    count = len(answer.window_bounds) - 1
    return {
        (
            found.metric,
            common_pb2.Aggregate.Name(found.aggregate).removeprefix("AGGREGATE_"),
            common_pb2.ValueType.Name(found.sample_type).removeprefix("VALUE_TYPE_"),
        ): windows_of(found, count)
        for found in series.columns
    }


async def times(
    stubs: Stubs, metric: str, subject: str = ASSET, **options: Any
) -> list[tuple[Scalar | None, list[Any]]]:
    """Returns the seconds per window of each value of a metric, as they come."""
    request = query(subject, metrics=[metric], aggregates=["TIME_IN_VALUE"], **options)
    answer = await stubs.metrics.QueryMetrics(request)
    (series,) = answer.series
    assert {found.WhichOneof("values") for found in series.columns} <= {"doubles"}
    return [(scalar(found.of_value), windows_of(found, len(answer.window_bounds) - 1)) for found in series.columns]


def name_of(metric: str, kind: str = "assets") -> str:
    return f"metricDescriptors/{kind}/{metric}"


async def describe(
    stubs: Stubs, name: str, *paths: str, allow_missing: bool = False, etag: str = "", **fields: Any
) -> common_pb2.MetricDescriptor:
    """Changes or declares fields; enums are given by their words. The mask is `paths`, or the fields that are given."""
    prefixes = {
        "kind": "METRIC_KIND", "value_type": "VALUE_TYPE", "direction": "METRIC_DIRECTION",
        "window_aggregate": "AGGREGATE", "summary_aggregate": "AGGREGATE", "part_combination": "PART_COMBINATION",
    }  # fmt: skip
    given: dict[str, Any] = {
        field: f"{prefixes[field]}_{value}" if field in prefixes else value for field, value in fields.items()
    }
    request = pb.UpdateMetricDescriptorRequest(
        metric_descriptor=common_pb2.MetricDescriptor(name=name, etag=etag, **given),
        update_mask=FieldMask(paths=paths or list(fields)),
        allow_missing=allow_missing,
    )
    return (await stubs.metrics.UpdateMetricDescriptor(request)).metric_descriptor


async def declare(stubs: Stubs, metric: str, **fields: Any) -> common_pb2.MetricDescriptor:
    return await describe(stubs, name_of(metric), allow_missing=True, **fields)


async def get(stubs: Stubs, metric: str) -> common_pb2.MetricDescriptor:
    request = pb.GetMetricDescriptorRequest(name=name_of(metric))
    return (await stubs.metrics.GetMetricDescriptor(request)).metric_descriptor


async def refusals(stubs: Stubs, message: common_pb2.Observation | common_pb2.Frame) -> list[tuple[str, str, str]]:
    """Returns metric, reason and message of what is wrong with a row or a frame, which is not stored."""
    if isinstance(message, common_pb2.Observation):
        errors = (await stubs.metrics.WriteMetrics(write(message))).errors
    else:

        async def messages() -> Any:
            yield batch(message)

        errors = (await stubs.metrics.ImportMetrics(messages())).errors
    return [(error.metric, errors_pb2.ErrorReason.Name(error.reason), error.message) for error in errors]


class TestMixedValues:
    async def test_every_sample_of_a_metric_comes_back_with_its_own_type(self, stubs: Stubs) -> None:
        items: list[Scalar] = [7, 0.5, True, "seven", 2**63 - 1, 7.0, ""]
        for n, item in enumerate(items):
            await put(stubs, {"m": item}, at=NOW - SECOND + n)
            found = (await latest(stubs))["m"]
            assert (type(found), found) == (type(item), item)
        descriptor = await get(stubs, "m")
        assert descriptor.value_type == common_pb2.VALUE_TYPE_ANY
        assert descriptor.kind == common_pb2.METRIC_KIND_GAUGE
        assert descriptor.part_combination == common_pb2.PART_COMBINATION_LAST

    async def test_one_write_may_hold_values_of_all_types_of_a_metric(self, stubs: Stubs) -> None:
        items: list[Scalar] = [1, "a", 2.5, False, 3]
        rows = [row({"m": item, "n": n}, at=NOW - 10 + n, subject=ASSET) for n, item in enumerate(items)]
        assert (await stubs.metrics.WriteMetrics(write(*rows))).accepted_count == 5
        whole = await windows(stubs, "COUNT", "FIRST", "LAST")
        assert whole == {
            ("m", "COUNT", "DOUBLE"): [3],
            ("m", "COUNT", "BOOL"): [1],
            ("m", "COUNT", "STRING"): [1],
            ("m", "FIRST", "DOUBLE"): [1.0],
            ("m", "LAST", "DOUBLE"): [3.0],
            ("n", "COUNT", "INT64"): [5],
            ("n", "FIRST", "INT64"): [0],
            ("n", "LAST", "INT64"): [4],
        }

    async def test_a_frame_may_hold_another_type_than_the_frame_before(self, stubs: Stubs) -> None:
        first = frame([NOW - 4, NOW - 3], column("m", [1, 2]), subject=ASSET)
        second = frame([NOW - 3, NOW - 2], column("m", ["x", "y"]), subject=ASSET)

        async def messages() -> Any:
            yield batch(first)
            yield batch(second)

        assert (await stubs.metrics.ImportMetrics(messages())).accepted_frame_count == 2
        assert await windows(stubs, "COUNT", "LAST") == {
            ("m", "COUNT", "INT64"): [1],
            ("m", "COUNT", "STRING"): [2],
            ("m", "LAST", "STRING"): ["y"],
        }

    async def test_metrics_of_sources_keep_one_type(self, stubs: Stubs) -> None:
        await put(stubs, {"m": 1}, at=NOW - 2, subject="sources/a")
        ((metric, reason, _),) = await refusals(stubs, row({"m": "x"}, at=NOW - 1))
        assert (metric, reason) == ("m", "ERROR_REASON_VALUE_TYPE_MISMATCH")

    async def test_each_window_tells_first_and_last_in_the_column_of_its_own_sample(self, stubs: Stubs) -> None:
        start = NOW - 4 * HOUR
        samples: dict[int, Scalar] = {
            start: 1,
            start + MINUTE: "a",
            start + HOUR: "b",
            start + HOUR + MINUTE: 5,
            start + 2 * HOUR: True,
            start + 2 * HOUR + MINUTE: 0.5,
            start + 2 * HOUR + 2 * MINUTE: False,
        }
        for at, item in samples.items():
            await put(stubs, {"m": item}, at=at)
        found = await windows(stubs, "FIRST", "LAST", "MAX", "AVG", "SUM", start=start, end=NOW, window=(1, "HOUR"))
        assert found == {
            ("m", "FIRST", "DOUBLE"): [1.0, None, None, None],
            ("m", "FIRST", "STRING"): [None, "b", None, None],
            ("m", "FIRST", "BOOL"): [None, None, True, None],
            ("m", "LAST", "STRING"): ["a", None, None, None],
            ("m", "LAST", "DOUBLE"): [None, 5.0, None, None],
            ("m", "LAST", "BOOL"): [None, None, False, None],
            ("m", "MAX", "DOUBLE"): [1.0, 5.0, 0.5, None],
            ("m", "MAX", "BOOL"): [None, None, True, None],
            ("m", "AVG", "DOUBLE"): [1.0, 5.0, 0.5, None],
            ("m", "AVG", "BOOL"): [None, None, 0.5, None],
            ("m", "SUM", "DOUBLE"): [1.0, 5.0, 0.5, None],
            ("m", "SUM", "BOOL"): [None, None, 1, None],
        }

    async def test_parts_of_different_types_leave_the_newest_one_standing(self, stubs: Stubs) -> None:
        await put(stubs, {"m": 5}, at=NOW - 3, part="p=0")
        await put(stubs, {"m": 7}, at=NOW - 2, part="p=1")
        await declare(stubs, "m", part_combination="SUM")
        assert await latest(stubs) == {"m": 12}
        assert await windows(stubs) == {("m", "LAST", "INT64"): [12]}
        await put(stubs, {"m": "down"}, at=NOW - 1, part="p=2")
        assert await latest(stubs) == {"m": "down"}
        assert await windows(stubs) == {("m", "LAST", "STRING"): ["down"]}
        assert await windows(stubs, "SUM", "COUNT") == {
            ("m", "SUM", "INT64"): [12],
            ("m", "COUNT", "INT64"): [2],
            ("m", "COUNT", "STRING"): [1],
        }

    async def test_numbers_of_parts_are_doubles_where_one_of_them_is(self, stubs: Stubs) -> None:
        await put(stubs, {"m": 2**53 + 1}, at=NOW - 2, part="p=0")
        await put(stubs, {"m": 0.5}, at=NOW - 1, part="p=1")
        await declare(stubs, "m", value_type="NUMBER", part_combination="MAX")
        assert await windows(stubs, "MAX") == {("m", "MAX", "DOUBLE"): [float(2**53)]}
        assert await windows(stubs, "COUNT") == {("m", "COUNT", "DOUBLE"): [2]}

    async def test_a_named_metric_without_samples_in_the_range_has_an_empty_column(self, stubs: Stubs) -> None:
        await put(stubs, {"m": 1}, at=NOW - 3 * DAY)
        assert await windows(stubs, metrics=["m"]) == {("m", "LAST", "ANY"): [None]}
        assert await windows(stubs, "COUNT", metrics=["m"]) == {("m", "COUNT", "ANY"): [None]}

    async def test_an_aggregate_that_no_sample_has_is_left_out(self, stubs: Stubs) -> None:
        await put(stubs, {"m": "x"}, at=NOW - 1)
        assert await windows(stubs, "SUM", metrics=["m"]) == {}

    async def test_names_have_255_characters_of_any_script(self, stubs: Stubs) -> None:
        name = "é漢👋" * 85
        await put(stubs, {name: 1}, at=NOW - 1)
        assert await latest(stubs) == {name: 1}
        assert (await get(stubs, name)).metric == name
        whole = await get(stubs, name)
        request = pb.UpdateMetricDescriptorRequest(metric_descriptor=whole)
        assert (await stubs.metrics.UpdateMetricDescriptor(request)).metric_descriptor.display_name == name
        ((metric, reason, message),) = await refusals(stubs, row({name + "x": 1}, subject=ASSET))
        assert (metric, reason) == (name, "ERROR_REASON_INVALID_FIELD")
        assert message.endswith("must have at most 255 characters, has 256")

    async def test_a_write_does_not_register_an_asset(self, stubs: Stubs) -> None:
        ((_, reason, _),) = await refusals(stubs, row({"m": 1}, subject="assets/unknown"))
        assert reason == "ERROR_REASON_ASSET_NOT_FOUND"


class TestTimeInValue:
    START = NOW - 4 * HOUR

    async def test_a_value_stands_from_its_sample_to_the_next_one_or_the_end(self, stubs: Stubs) -> None:
        await put(stubs, {"badge": "gold"}, at=self.START + 10 * MINUTE)
        await put(stubs, {"badge": "silver"}, at=self.START + 40 * MINUTE)
        await put(stubs, {"badge": "gold"}, at=self.START + 45 * MINUTE)
        found = await times(stubs, "badge", start=self.START, end=self.START + HOUR)
        assert found == [("gold", [30 * 60.0 + 15 * 60.0]), ("silver", [5 * 60.0])]

    async def test_the_sample_before_the_range_stands_at_its_beginning(self, stubs: Stubs) -> None:
        await put(stubs, {"ready": True}, at=self.START - 40 * DAY)
        await put(stubs, {"ready": False}, at=self.START + 90 * MINUTE)
        found = await times(stubs, "ready", start=self.START, end=NOW, window=(1, "HOUR"))
        assert found == [(False, [None, 1_800.0, 3_600.0, 3_600.0]), (True, [3_600.0, 1_800.0, None, None])]
        await put(stubs, {"ready": False}, at=self.START - 1)
        found = await times(stubs, "ready", start=self.START, end=NOW)
        assert found == [(False, [4 * 3_600.0])]

    async def test_nothing_stands_after_the_servers_clock(self, stubs: Stubs, clock: FixedClock) -> None:
        await put(stubs, {"ready": True}, at=NOW - 90 * SECOND)
        options: dict[str, Any] = {"start": NOW - HOUR, "end": NOW + HOUR, "window": (1, "HOUR")}
        assert await times(stubs, "ready", **options) == [(True, [90.0, None])]
        clock.micros += 250_000
        assert await times(stubs, "ready", **options) == [(True, [90.0, 0.25])]
        assert await times(stubs, "ready", start=NOW + MINUTE, end=NOW + HOUR) == []

    async def test_windows_that_the_range_cuts_hold_what_is_inside(self, stubs: Stubs) -> None:
        await put(stubs, {"state": "up"}, at=self.START - DAY)
        found = await times(
            stubs, "state", start=self.START + 20 * MINUTE, end=self.START + 150 * MINUTE, window=(1, "HOUR")
        )
        assert found == [("up", [2_400.0, 3_600.0, 1_800.0])]

    async def test_numbers_end_what_stood_and_are_not_told(self, stubs: Stubs) -> None:
        samples: dict[int, Scalar] = {0: "x", 10: 5, 30: True, 70: 0.5, 75: "x", 80: 1}
        for at, item in samples.items():
            await put(stubs, {"m": item}, at=self.START + at * SECOND)
        found = await times(stubs, "m", start=self.START, end=self.START + HOUR)
        assert found == [(True, [40.0]), ("x", [15.0])]
        assert {type(item) for item, _ in found} == {bool, str}

    async def test_true_and_the_text_true_are_different_values(self, stubs: Stubs) -> None:
        await put(stubs, {"m": True}, at=self.START)
        await put(stubs, {"m": "true"}, at=self.START + MINUTE)
        found = await times(stubs, "m", start=self.START, end=self.START + HOUR)
        assert [(type(item), seconds) for item, seconds in found] == [(str, [3_540.0]), (bool, [60.0])]

    @pytest.mark.parametrize("combination", ["LAST", "UNION"])
    async def test_parts_add_whatever_their_combination(self, stubs: Stubs, combination: str) -> None:
        await declare(stubs, "state", value_type="STRING", part_combination=combination)
        await put(stubs, {"state": "up"}, at=self.START, part="p=0")
        await put(stubs, {"state": "down"}, at=self.START + 10 * MINUTE, part="p=0")
        await put(stubs, {"state": "up"}, at=self.START + 30 * MINUTE, part="p=1")
        options: dict[str, Any] = {"start": self.START, "end": self.START + HOUR}
        assert await times(stubs, "state", **options) == [("down", [3_000.0]), ("up", [600.0 + 1_800.0])]
        request = query(ASSET, metrics=["state"], aggregates=["TIME_IN_VALUE"], by_part=True, **options)
        by_part = (await stubs.metrics.QueryMetrics(request)).series
        assert [(s.part, [(scalar(c.of_value), c.doubles.values[0]) for c in s.columns]) for s in by_part] == [
            ("p=0", [("down", 3_000.0), ("up", 600.0)]),
            ("p=1", [("up", 1_800.0)]),
        ]

    async def test_the_hundred_values_that_stood_longest_are_told(self, stubs: Stubs) -> None:
        rows = [
            row({"m": f"v{n}"}, at=self.START + n * (n + 1) // 2 * SECOND, subject=ASSET) for n in range(1, 151)
        ]  # v{n} stands for n + 1 seconds
        assert (await stubs.metrics.WriteMetrics(write(*rows))).rejected_count == 0
        last = self.START + 150 * 151 // 2 * SECOND
        found = await times(stubs, "m", start=self.START, end=last)
        assert found == [(f"v{n}", [float(n + 1)]) for n in range(149, 49, -1)]

    async def test_without_names_every_metric_is_told_that_stands(self, stubs: Stubs) -> None:
        await put(stubs, {"old": "x", "number": 5, "ready": True}, at=NOW - 30 * DAY)
        await declare(stubs, "number", value_type="NUMBER")
        request = query(ASSET, aggregates=["TIME_IN_VALUE"], start=NOW - HOUR, end=NOW)
        (series,) = (await stubs.metrics.QueryMetrics(request)).series
        assert [(c.metric, scalar(c.of_value), list(c.doubles.values)) for c in series.columns] == [
            ("old", "x", [3_600.0]),
            ("ready", True, [3_600.0]),
        ]
        assert {c.sample_type for c in series.columns} == {common_pb2.VALUE_TYPE_STRING, common_pb2.VALUE_TYPE_BOOL}

    async def test_booleans_and_states_of_sources_have_it_and_numbers_do_not(self, stubs: Stubs) -> None:
        source: dict[str, Scalar] = {"StreamingConnected": True, "connector_status": "Running", "byteTotal": 5}
        await put(stubs, source, at=NOW - HOUR, subject="sources/a")
        await put(stubs, {"StreamingConnected": False}, at=NOW - MINUTE, subject="sources/a")
        options: dict[str, Any] = {"subject": "sources/a", "start": NOW - HOUR, "end": NOW}
        assert await times(stubs, "StreamingConnected", **options) == [(True, [3_540.0]), (False, [60.0])]
        assert await times(stubs, "connector_status", **options) == [("Running", [3_600.0])]
        with invalid("AGGREGATE_NOT_ALLOWED") as refusal:
            await times(stubs, "byteTotal", **options)
        assert refusal.metadata["metric"] == "byteTotal"
        assert "TIME_IN_VALUE makes no sense for 'byteTotal', a COUNTER of type INT64" in refusal.message

    async def test_what_was_overwritten_never_stood(self, stubs: Stubs) -> None:
        await put(stubs, {"m": "wrong"}, at=self.START)
        await put(stubs, {"m": "right"}, at=self.START)
        assert await times(stubs, "m", start=self.START, end=self.START + HOUR) == [("right", [3_600.0])]

    async def test_samples_of_many_days_and_blocks_add_up(self, stubs: Stubs) -> None:
        begin = NOW - 40 * DAY
        every = 7 * MINUTE
        count = 40 * DAY // every
        moments = [begin + n * every for n in range(count)]

        async def messages() -> Any:
            for low in range(0, count, 500):
                part = moments[low : low + 500]
                yield batch(frame(part, column("m", [n % 3 == 0 for n in range(low, low + len(part))]), subject=ASSET))

        assert (await stubs.metrics.ImportMetrics(messages())).rejected_frame_count == 0
        found = dict(await times(stubs, "m", start=begin, end=begin + count * every))
        true = sum(n % 3 == 0 for n in range(count))
        assert found == {True: [true * 420.0], False: [(count - true) * 420.0]}
        by_day = dict(await times(stubs, "m", start=begin, end=NOW, window=(1, "DAY")))
        assert len(by_day[True]) == 41
        assert [a + b for a, b in zip(by_day[True], by_day[False], strict=True)] == [
            43_200.0,
            *[86_400.0] * 39,
            43_200.0,
        ]


class TestDeclared:
    async def test_a_declared_metric_is_stored_whole_and_read_back(self, stubs: Stubs) -> None:
        declared = await declare(
            stubs,
            "ratio",
            display_name="Ratio",
            description="Rows that are good.",
            unit="percent",
            value_type="NUMBER",
            min_value=0.0,
            max_value=100.0,
            direction="HIGHER_IS_BETTER",
            part_combination="MIN",
        )
        assert await get(stubs, "ratio") == declared
        assert (declared.kind, declared.value_type) == (common_pb2.METRIC_KIND_GAUGE, common_pb2.VALUE_TYPE_NUMBER)
        assert (declared.min_value, declared.max_value) == (0.0, 100.0)
        assert declared.direction == common_pb2.METRIC_DIRECTION_HIGHER_IS_BETTER
        assert (declared.display_name, declared.unit, declared.metric) == ("Ratio", "percent", "ratio")

    async def test_defaults_follow_the_type(self, stubs: Stubs) -> None:
        any_ = await declare(stubs, "any", unit="x")
        text = await declare(stubs, "text", value_type="STRING")
        flag = await declare(stubs, "flag", value_type="BOOL")
        total = await declare(stubs, "total", value_type="NUMBER", kind="COUNTER")
        kinds = [common_pb2.MetricKind.Name(d.kind).removeprefix("METRIC_KIND_") for d in (any_, text, flag, total)]
        assert kinds == ["GAUGE", "TEXT", "GAUGE", "COUNTER"]
        assert any_.value_type == common_pb2.VALUE_TYPE_ANY
        assert any_.part_combination == text.part_combination == common_pb2.PART_COMBINATION_LAST
        assert flag.part_combination == common_pb2.PART_COMBINATION_MAX
        assert total.window_aggregate == common_pb2.AGGREGATE_INCREASE
        assert any_.display_name == "any"

    async def test_a_changed_type_keeps_what_was_chosen_and_moves_what_was_default(self, stubs: Stubs) -> None:
        await declare(stubs, "m", window_aggregate="MAX")
        after = await describe(stubs, name_of("m"), value_type="NUMBER")
        assert after.window_aggregate == common_pb2.AGGREGATE_MAX
        assert after.summary_aggregate == common_pb2.AGGREGATE_LAST
        assert after.part_combination == common_pb2.PART_COMBINATION_SUM

    async def test_without_allow_missing_nothing_is_declared(self, stubs: Stubs) -> None:
        with refused(StatusCode.NOT_FOUND, "METRIC_NOT_FOUND"):
            await describe(stubs, name_of("m"), unit="x")
        with refused(StatusCode.NOT_FOUND, "METRIC_NOT_FOUND"):
            await describe(stubs, name_of("m"), allow_missing=True, unit="x", etag="1-1")
        with refused(StatusCode.NOT_FOUND, "METRIC_NOT_FOUND"):
            await get(stubs, "m")

    async def test_metrics_of_sources_are_declared_with_a_type_of_their_own(self, stubs: Stubs) -> None:
        name = name_of("m", "sources")
        with invalid() as refusal:
            await describe(stubs, name, allow_missing=True, unit="u" * 65)
        assert refusal.violations == {
            "metric_descriptor.value_type": "is required to declare a metric that is not of assets",
            "metric_descriptor.unit": "must have at most 64 bytes, has 65",
        }
        for mixed in ("NUMBER", "ANY"):
            with invalid() as refusal:
                await describe(stubs, name, allow_missing=True, value_type=mixed)
            assert refusal.violations == {"metric_descriptor.value_type": f"{mixed} is for metrics of assets only"}
        await describe(stubs, name, allow_missing=True, value_type="INT64", min_value=0.0)
        assert await refusals(stubs, row({"m": -1})) == [
            ("m", "ERROR_REASON_INVALID_FIELD", 'values["m"]: must be at least 0, is -1')
        ]
        with invalid() as refusal:
            await describe(stubs, name, value_type="DOUBLE")
        assert refusal.violations == {
            "metric_descriptor.value_type": "cannot be changed: it is INT64 since the metric was first seen"
        }

    async def test_all_that_is_wrong_is_told_at_once_and_nothing_is_declared(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await declare(
                stubs,
                "m",
                unit="\n",
                value_type="ANY",
                kind="COUNTER",
                window_aggregate="RATE",
                summary_aggregate="TIME_IN_VALUE",
                part_combination="UNION",
                no_value=-1.0,
                min_value=float("nan"),
                max_value=5.0,
            )
        assert refusal.violations.keys() == {
            f"metric_descriptor.{field}"
            for field in (
                "unit", "kind", "summary_aggregate", "part_combination", "no_value", "min_value", "max_value",
            )
        }  # fmt: skip
        with refused(StatusCode.NOT_FOUND, "METRIC_NOT_FOUND"):
            await get(stubs, "m")

    @pytest.mark.parametrize(
        ("fields", "violations"),
        [
            ({"value_type": "NUMBER", "min_value": 2.0, "max_value": 1.0}, {"min_value"}),
            ({"value_type": "NUMBER", "min_value": float("-inf")}, {"min_value"}),
            ({"value_type": "NUMBER", "max_value": float("nan")}, {"max_value"}),
            ({"value_type": "BOOL", "min_value": 0.0}, {"min_value"}),
            ({"value_type": "STRING", "max_value": 0.0}, {"max_value"}),
            ({"max_value": 0.0}, {"max_value"}),
            ({"value_type": "NUMBER", "kind": "TEXT"}, {"kind"}),
            ({"value_type": "STRING", "kind": "GAUGE"}, {"kind"}),
            ({"value_type": "BOOL", "kind": "COUNTER"}, {"kind"}),
            ({"value_type": "STRING", "window_aggregate": "SUM"}, {"window_aggregate"}),
            ({"value_type": "BOOL", "window_aggregate": "TIME_IN_VALUE"}, {"window_aggregate"}),
            ({"value_type": "STRING", "part_combination": "SUM"}, {"part_combination"}),
            ({"value_type": "NUMBER", "part_combination": "WORST"}, {"part_combination"}),
        ],
    )
    async def test_what_does_not_fit_the_type_is_refused(
        self, stubs: Stubs, fields: dict[str, Any], violations: set[str]
    ) -> None:
        reason = "AGGREGATE_NOT_ALLOWED" if "window_aggregate" in violations else "INVALID_FIELD"
        with invalid(reason) as refusal:
            await declare(stubs, "m", **fields)
        assert refusal.violations.keys() == {f"metric_descriptor.{field}" for field in violations}

    async def test_enum_numbers_that_nobody_knows_are_refused(self, stubs: Stubs) -> None:
        descriptor = common_pb2.MetricDescriptor(name=name_of("m"))
        descriptor.direction = descriptor.value_type = 99  # type: ignore[assignment]
        with invalid() as refusal:
            await stubs.metrics.UpdateMetricDescriptor(
                pb.UpdateMetricDescriptorRequest(metric_descriptor=descriptor, allow_missing=True)
            )
        assert set(refusal.violations) == {"metric_descriptor.direction", "metric_descriptor.value_type"}

    async def test_of_built_in_metrics_neither_limits_nor_type_change(self, stubs: Stubs) -> None:
        with invalid() as refusal:
            await describe(
                stubs, name_of("latency", "sources"), min_value=0.0, max_value=9.0, value_type="DOUBLE", kind="COUNTER"
            )
        assert refusal.violations.keys() == {
            f"metric_descriptor.{field}" for field in ("min_value", "max_value", "value_type", "kind")
        }
        after = await describe(stubs, name_of("latency", "sources"), direction="LOWER_IS_BETTER")
        assert after.direction == common_pb2.METRIC_DIRECTION_LOWER_IS_BETTER

    async def test_another_type_brings_its_kind_and_defaults_and_back(self, stubs: Stubs) -> None:
        await put(stubs, {"m": 5}, at=NOW - 3)
        text = await describe(stubs, name_of("m"), value_type="STRING")
        assert (text.kind, text.value_type) == (common_pb2.METRIC_KIND_TEXT, common_pb2.VALUE_TYPE_STRING)
        assert await latest(stubs) == {"m": 5}  # what is stored stays as it is
        assert await windows(stubs) == {("m", "LAST", "INT64"): [5]}
        ((metric, reason, _),) = await refusals(stubs, row({"m": 6}, at=NOW - 2, subject=ASSET))
        assert (metric, reason) == ("m", "ERROR_REASON_VALUE_TYPE_MISMATCH")
        await put(stubs, {"m": "six"}, at=NOW - 2)
        number = await describe(stubs, name_of("m"), value_type="NUMBER", min_value=0.0)
        assert (number.kind, number.part_combination) == (
            common_pb2.METRIC_KIND_GAUGE,
            common_pb2.PART_COMBINATION_SUM,
        )
        with invalid() as refusal:
            await describe(stubs, name_of("m"), value_type="ANY")
        assert refusal.violations == {"metric_descriptor.min_value": "needs numbers, the values are ANY"}
        back = await describe(stubs, name_of("m"), "value_type", "min_value", value_type="ANY")
        assert back.value_type == common_pb2.VALUE_TYPE_ANY
        await put(stubs, {"m": True}, at=NOW - 1)

    async def test_a_counter_of_numbers_counts_across_older_texts(self, stubs: Stubs) -> None:
        items: list[Scalar] = [5, "broken", 8]
        for n, item in enumerate(items):
            await put(stubs, {"m": item}, at=NOW - 10 + n)
        await describe(stubs, name_of("m"), value_type="NUMBER", kind="COUNTER")
        assert await latest(stubs) == {"m": 8}
        assert await windows(stubs) == {("m", "INCREASE", "INT64"): [3]}
        await put(stubs, {"m": 8.5}, at=NOW - 5)
        assert await windows(stubs) == {("m", "INCREASE", "DOUBLE"): [3.5]}

    async def test_values_become_the_declared_type_where_nothing_is_lost(self, stubs: Stubs) -> None:
        for metric, value_type in (("i", "INT64"), ("d", "DOUBLE"), ("n", "NUMBER"), ("b", "BOOL")):
            await declare(stubs, metric, value_type=value_type)
        await put(stubs, {"i": 5.0, "d": 5, "n": 5, "b": 1}, at=NOW - 2)
        found = await latest(stubs)
        assert {m: (type(item), item) for m, item in found.items()} == {
            "i": (int, 5), "d": (float, 5.0), "n": (int, 5), "b": (bool, True),
        }  # fmt: skip
        bad: dict[str, Scalar] = {"i": 0.5, "d": "5", "n": True, "b": 2}
        found_reasons = await refusals(stubs, row(bad, at=NOW - 1, subject=ASSET))
        assert {(metric, reason) for metric, reason, _ in found_reasons} == {
            (metric, "ERROR_REASON_VALUE_TYPE_MISMATCH") for metric in bad
        }
        columns = [column(metric, [item]) for metric, item in bad.items()]
        assert {metric for metric, _, _ in await refusals(stubs, frame([NOW - 1], *columns, subject=ASSET))} == set(bad)
        assert await latest(stubs) == found

    async def test_numbers_beyond_the_limits_are_refused_with_limit_and_value(self, stubs: Stubs) -> None:
        await declare(stubs, "m", value_type="NUMBER", min_value=-0.5, max_value=100.0, no_value=-1.0)
        await put(stubs, {"m": 100}, at=NOW - 9)
        await put(stubs, {"m": -0.5}, at=NOW - 8)
        await put(stubs, {"m": -1, "n": 0}, at=NOW - 7)  # "no value" is dropped before the limits are looked at
        before = await latest(stubs)
        cases: list[tuple[Scalar, str]] = [
            (101, "must be at most 100, is 101"),
            (100.25, "must be at most 100, is 100.25"),
            (-2, "must be at least -0.5, is -2"),
            (-0.75, "must be at least -0.5, is -0.75"),
            (2**63 - 1, "must be at most 100, is 9223372036854775807"),
        ]
        for item, problem in cases:
            expected = ("m", "ERROR_REASON_INVALID_FIELD")
            ((*found, message),) = await refusals(stubs, row({"m": item, "n": 1}, at=NOW - 6, subject=ASSET))
            assert (tuple(found), message) == (expected, f'values["m"]: {problem}')
            member = "ints" if isinstance(item, int) else "doubles"
            filler = type(item)(0)
            values = frame([NOW - 6, NOW - 5, NOW - 4], column("m", [filler, type(item)(-1), item]), subject=ASSET)
            ((*found, message),) = await refusals(stubs, values)
            assert (tuple(found), message) == (expected, f"columns[0].{member}.values[2]: {problem}")
        assert await latest(stubs) == before

    async def test_limits_beyond_the_exact_doubles_are_exact(self, stubs: Stubs) -> None:
        await declare(stubs, "m", value_type="INT64", max_value=float(2**53))
        for message in (
            row({"m": 2**53 + 1}, at=NOW - 1, subject=ASSET),
            frame([NOW - 1], column("m", [2**53 + 1]), subject=ASSET),
        ):
            ((metric, _, text),) = await refusals(stubs, message)
            assert metric == "m"
            assert text.endswith("must be at most 9007199254740992, is 9007199254740993")
        await put(stubs, {"m": 2**53}, at=NOW - 1)

    async def test_two_who_declare_at_once_end_with_one_descriptor(self, stubs: Stubs) -> None:
        answers = await asyncio.gather(*(declare(stubs, "m", value_type="NUMBER", unit=f"u{n}") for n in range(12)))
        stored = await get(stubs, "m")
        assert stored in answers
        assert len({answer.create_time.ToMicroseconds() for answer in answers}) == 1
        assert {answer.etag.partition("-")[0] for answer in answers} == {stored.etag.partition("-")[0]}
        assert sorted(answer.unit for answer in answers) == sorted(f"u{n}" for n in range(12))

    async def test_changes_at_once_never_leave_what_together_is_wrong(self, stubs: Stubs) -> None:
        for n in range(8):
            await declare(stubs, f"m{n}", value_type="NUMBER")
            results = await asyncio.gather(
                describe(stubs, name_of(f"m{n}"), value_type="STRING"),
                describe(stubs, name_of(f"m{n}"), min_value=0.0),
                return_exceptions=True,
            )
            stored = await get(stubs, f"m{n}")
            assert not (stored.value_type == common_pb2.VALUE_TYPE_STRING and stored.HasField("min_value"))
            assert sum(isinstance(result, BaseException) for result in results) == 1

    async def test_declared_metrics_count_towards_the_limit(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_metrics_per_tenant=1))
        await declare(stubs, "a")
        with refused(StatusCode.RESOURCE_EXHAUSTED, "METRIC_LIMIT") as refusal:
            await declare(stubs, "b")
        assert refusal.metadata["limit"] == "1"

    async def test_this_server_checks_the_next_write_by_what_was_declared(self, stubs: Stubs) -> None:
        await put(stubs, {"m": "x"}, at=NOW - 2)
        await describe(stubs, name_of("m"), value_type="NUMBER", max_value=1.0)
        assert len(await refusals(stubs, row({"m": 2}, at=NOW - 1, subject=ASSET))) == 1

    async def test_another_server_does_within_five_seconds(
        self, start: Start, shared_url: str, clock: FixedClock
    ) -> None:
        one, other = await start(database=shared_url), await start(database=shared_url)
        await register(one)
        await put(other, {"m": "x"}, at=NOW - 2)
        await describe(one, name_of("m"), value_type="NUMBER")
        clock.micros += 5 * SECOND
        assert len(await refusals(other, row({"m": "y"}, at=NOW - 1, subject=ASSET))) == 1
