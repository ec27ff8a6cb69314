"""Assets through both clients against a real server: what is emitted comes out, and what is refused says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamgauge import (
    EVERY_ASSET,
    Aggregate,
    AssetAlreadyExistsError,
    AssetNotFoundError,
    AssetValue,
    AssetValueType,
    Emit,
    EmitFailure,
    EtagMismatchError,
    FailureKind,
    InvalidArgumentError,
    MetricDirection,
    RejectedItemsError,
    RequestIdReusedError,
    ValueType,
    ValueTypeMismatchError,
    WriterStats,
    testing,
)

from tests.sdk.conftest import done, everything, pages

T0 = datetime(2026, 11, 1, 10, 15, 30, 123_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)
URN = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)"
OTHER = "urn:li:dashboard:(looker,a%2Fb/c d,ü)"


def plain(metrics: Any) -> dict[str, Any]:
    return {name: metric.value for name, metric in metrics.items()}


def kinds(metrics: Any) -> dict[str, str]:
    return {name: str(metric.value_type) for name, metric in metrics.items()}


# --- Emitting --------------------------------------------------------------------------------------------------------


async def test_python_values_keep_their_type_and_nothing_is_guessed(api: Any) -> None:
    values = {"big": 2**63 - 1, "ratio": 0.1, "fresh": True, "postcode": "50", "word": "true", "np": np.int64(7)}
    result = await done(api.assets.emit(URN, values, T0 + timedelta(microseconds=999), run_id="r"))
    assert (result.urn, result.time, result.warnings) == (URN, T0, ())
    assert plain(result.metrics) == values
    assert not any(metric.guessed for metric in result.metrics.values())
    (moment,) = await everything(api.assets.history(URN))
    assert moment.time == T0
    assert {n: (type(m.value), m.value) for n, m in moment.metrics.items()} == {
        "big": (int, 2**63 - 1),
        "ratio": (float, 0.1),
        "fresh": (bool, True),
        "postcode": (str, "50"),
        "word": (str, "true"),
        "np": (int, 7),
    }
    assert kinds(moment.metrics) == {
        "big": "number", "ratio": "number", "fresh": "boolean", "postcode": "string", "word": "string", "np": "number"
    }  # fmt: skip


async def test_with_guess_the_server_reads_texts_as_json(api: Any) -> None:
    texts = {"a": "50", "b": "true", "c": "007", "d": "NaN", "e": "2024-03-02T17:44:00.000Z"}
    result = await done(api.assets.emit(URN, texts, guess=True))
    assert plain(result.metrics) == {**texts, "a": 50, "b": True}
    assert all(metric.guessed for metric in result.metrics.values())


async def test_one_value_may_name_its_type_or_leave_it_to_the_server(api: Any) -> None:
    values = {"a": AssetValue("50", "number"), "b": AssetValue("50", AssetValueType.STRING), "c": AssetValue("50")}
    result = await done(api.assets.emit(URN, values))
    assert [(m.value, m.guessed) for m in result.metrics.values()] == [(50, False), ("50", False), (50, True)]
    with pytest.raises(ValueTypeMismatchError) as caught:
        await done(api.assets.emit(URN, {"a": AssetValue(18, "boolean")}))
    assert [violation.field for violation in caught.value.violations] == ["metrics[0].value_type"]


async def test_metrics_of_one_moment_are_merged_and_read_in_the_order_of_first_report(api: Any) -> None:
    await done(api.assets.emit(URN, {"a": 1, "b": 2, "c": 3}, T0))
    merged = await done(api.assets.emit(URN, {"d": 4, "c": 5}, T0, return_merged=True))
    assert list(plain(merged.metrics).items()) == [("a", 1), ("b", 2), ("c", 5), ("d", 4)]


async def test_a_refusal_names_everything_that_is_wrong_and_stores_nothing(api: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await done(api.assets.emit(URN, {"a": float("nan"), " b": 1, "c": 1}))
    assert len(caught.value.violations) == 2
    with pytest.raises(AssetNotFoundError):
        await everything(api.assets.history(URN))


async def test_validate_only_stores_nothing_and_a_request_id_makes_a_repeat_count_once(api: Any) -> None:
    await done(api.assets.emit(URN, {"a": 1}, validate_only=True))
    with pytest.raises(AssetNotFoundError):
        await done(api.assets.get(URN))
    first = await done(api.assets.emit(URN, {"a": 1}, request_id="once"))
    assert await done(api.assets.emit(URN, {"a": 1}, request_id="once")) == first
    assert len(await everything(api.assets.history(URN))) == 1
    with pytest.raises(RequestIdReusedError):
        await done(api.assets.emit(URN, {"a": 2}, request_id="once"))


async def test_a_value_that_cannot_be_sent_is_refused_before_it_is(api: Any) -> None:
    with pytest.raises(TypeError, match=r"metrics\['a'\]"):
        await done(api.assets.emit(URN, {"a": None}))
    with pytest.raises(ValueError, match="64 bits"):
        await done(api.assets.emit(URN, {"a": 2**63}))
    with pytest.raises(ValueError, match="time must be timezone-aware"):
        await done(api.assets.emit(URN, {"a": 1}, datetime(2026, 1, 1)))  # noqa: DTZ001 (the point)


async def test_many_emits_have_an_outcome_each(api: Any) -> None:
    emits = [Emit(URN, {"a": 1}, T0), Emit("nonsense", {"a": 1}, T0), Emit(OTHER, {"a": 2.5}, T0, "r")]
    result = await done(api.assets.emit_many(emits))
    assert (result.accepted, result.rejected, sorted(result.emitted)) == (2, 1, [0, 2])
    assert result.emitted[2]["a"].value == 2.5
    (error,) = result.errors
    assert (error.index, error.asset, error.reason) == (1, "nonsense", "INVALID_FIELD")
    assert error.violations[0].field == "asset"
    with pytest.raises(RejectedItemsError, match="1 items were refused"):
        result.raise_for_rejected()
    again = await done(api.assets.emit_many(emits, errors_only=True))
    assert (again.accepted, again.emitted, again.errors) == (2, {}, (error,))


async def test_more_emits_than_a_request_takes_are_sent_in_several(api: Any) -> None:
    emits = [Emit(f"urn:x:{n}" if n != 5_003 else "", {"n": n}, T0) for n in range(5_005)]
    result = await done(api.assets.emit_many(emits, errors_only=True))
    assert (result.accepted, [error.index for error in result.errors]) == (5_004, [5_003])
    latest = await done(api.assets.latest(["urn:x:0", "urn:x:5004"]))
    assert [latest[urn]["n"].value for urn in ("urn:x:0", "urn:x:5004")] == [0, 5_004]


async def test_an_async_iterable_of_emits_is_taken_as_well(server: testing.RunningServer) -> None:
    async def emits() -> AsyncIterator[Emit]:
        yield Emit(URN, {"a": 1})
        yield Emit(OTHER, {"a": 1})

    async with server.async_client() as client:
        assert (await client.assets.emit_many(emits())).accepted == 2


# --- Reading ---------------------------------------------------------------------------------------------------------


async def test_a_history_is_cut_by_range_and_name_and_read_in_pages(api: Any) -> None:
    await done(api.assets.emit_many(Emit(URN, {"a": n, "b": -n}, T0 + n * SECOND) for n in range(7)))
    history = api.assets.history(URN, start=T0 + SECOND, end=T0 + 6 * SECOND, metrics="a", page_size=2)
    assert [plain(moment.metrics) for moment in await everything(history)] == [{"a": n} for n in range(1, 6)]
    assert [len(page.items) for page in await pages(history)] == [2, 2, 1]


async def test_the_newest_values_of_many_assets_come_with_their_age(api: Any) -> None:
    await done(api.assets.emit(URN, {"a": 1, "b": "x"}, T0))
    await done(api.assets.emit(URN, {"a": 2}, T0 + SECOND))
    result = await done(api.assets.latest([URN, "urn:x:nobody"]))
    assert result.unknown_assets == ("urn:x:nobody",)
    assert plain(result[URN].metrics) == {"a": 2, "b": "x"}
    assert result[URN]["b"].time == T0
    assert result[URN]["b"].age == result.read_time - T0
    by_name = await done(api.assets.latest(result[URN].name, metrics=["a"]))
    assert plain(by_name[result[URN].name].metrics) == {"a": 2}


async def test_windows_tell_for_how_long_each_value_stood(api: Any) -> None:
    name = (await done(api.assets.emit(URN, {"status": "open", "n": 1}, T0))).asset
    await done(api.assets.emit(URN, {"status": "shut", "n": "one"}, T0 + 3 * SECOND))
    result = await done(
        api.metrics.query([name], start=T0, end=T0 + 10 * SECOND, metrics=["status"], aggregates=["time_in_value"])
    )
    (series,) = result.series
    columns = {c.of_value: c.values for c in series.columns}
    assert columns == {"open": (3.0,), "shut": (7.0,)}
    assert series.column("status", Aggregate.TIME_IN_VALUE, of_value="shut").sample_type is ValueType.STRING
    frame = result.to_dataframe()
    assert frame[name, "", "status", "time_in_value", "string", "open"].tolist() == [3.0]
    mixed = await done(api.metrics.query([name], start=T0, end=T0 + 10 * SECOND, metrics=["n"], aggregates=["count"]))
    assert {str(c.sample_type): c.values for c in mixed.series[0].columns} == {"int64": (1,), "string": (1,)}
    assert mixed.series[0].column("n", sample_type="string").values == (1,)


# --- DataFrames ------------------------------------------------------------------------------------------------------


async def test_a_data_frame_is_emitted_and_comes_back(api: Any) -> None:
    index = pd.date_range(T0, periods=3, freq="1s")
    given = pd.DataFrame({"rows": [1, 2, 3], "owner": ["50", None, "x"], "gap": [None, 0.5, None]}, index=index)
    result = await done(api.assets.emit_dataframe(given, URN))
    assert (result.accepted, result.rejected) == (3, 0)
    read = await done(api.assets.history(URN).to_dataframe())
    assert (read.index.name, list(read.index), list(read.columns)) == ("time", list(index), ["rows", "owner", "gap"])
    assert [str(kind) for kind in read.dtypes] == ["Int64", "string", "Float64"]
    for name in given:
        assert [None if pd.isna(v) else v for v in read[name]] == [None if pd.isna(v) else v for v in given[name]]


async def test_rows_of_a_data_frame_may_name_their_asset(api: Any) -> None:
    given = pd.DataFrame({"urn": [URN, OTHER], "at": pd.to_datetime([T0, T0]), "n": [1, 2], "none": [None, None]})
    await done(api.assets.emit_dataframe(given, asset_column="urn", time="at", run_id="r"))
    frame = (await done(api.assets.latest([URN, OTHER]))).to_dataframe()
    assert frame["value"].to_dict() == {(URN, "n"): 1, (OTHER, "n"): 2}
    assert frame["time"].tolist() == [T0, T0]
    with pytest.raises(ValueError, match="either asset or asset_column"):
        await done(api.assets.emit_dataframe(given, time="at"))
    with pytest.raises(ValueError, match="row 1 has no asset"):
        await done(api.assets.emit_dataframe(given.assign(urn=[URN, float("nan")]), asset_column="urn", time="at"))


# --- Assets and corrections ------------------------------------------------------------------------------------------


async def test_an_asset_is_created_read_changed_listed_and_deleted(api: Any) -> None:
    made = await done(api.assets.create(URN, labels={"team": "shop"}))
    assert (made.urn, made.platform, dict(made.labels)) == (URN, "postgres", {"team": "shop"})
    assert made.name == f"assets/{made.id}"
    assert await done(api.assets.get(made.name)) == made == await done(api.assets.get(URN))
    with pytest.raises(AssetAlreadyExistsError):
        await done(api.assets.create(URN))
    changed = await done(api.assets.update(URN, labels={"team": "ops"}, etag=made.etag))
    assert dict(changed.labels) == {"team": "ops"}
    with pytest.raises(EtagMismatchError):
        await done(api.assets.update(made.name, labels={}, etag=made.etag))
    await done(api.assets.create(OTHER))
    assert [a.urn for a in await everything(api.assets.list(page_size=1))] == [OTHER, URN]
    for filter_ in ({"platform": "postgres"}, {"urn_prefix": "urn:li:dataset:"}, {"labels": {"team": "ops"}}):
        assert await everything(api.assets.list(**filter_)) == [changed]
    await done(api.assets.delete(URN, etag=changed.etag))
    with pytest.raises(AssetNotFoundError):
        await done(api.assets.get(URN))


async def test_what_a_run_emitted_is_taken_back_and_what_it_replaced_stands_again(api: Any) -> None:
    await done(api.assets.emit(URN, {"a": 1}, T0))
    await done(api.assets.emit_many([Emit(URN, {"a": 2, "b": 2}, T0, "r"), Emit(OTHER, {"a": 3}, T0, "r")]))
    preview = await done(api.assets.delete_metrics(EVERY_ASSET, run_id="r", validate_only=True))
    assert (preview.values, preview.assets, dict(preview.by_metric)) == (3, 2, {"a": 2, "b": 1})
    assert await done(api.assets.delete_metrics(EVERY_ASSET, run_id="r")) == preview
    assert [plain(m.metrics) for m in await everything(api.assets.history(URN))] == [{"a": 1}]
    assert await everything(api.assets.history(OTHER)) == []


async def test_metrics_are_deleted_by_range_and_name_or_all_of_them(api: Any) -> None:
    await done(api.assets.emit_many(Emit(URN, {"a": n, "b": n}, T0 + n * SECOND) for n in range(4)))
    gone = await done(api.assets.delete_metrics(URN, start=T0, end=T0 + 2 * SECOND, metrics=["a"]))
    assert dict(gone.by_metric) == {"a": 2}
    assert (await done(api.assets.delete_metrics(URN, everything=True))).values == 6
    with pytest.raises(InvalidArgumentError):
        await done(api.assets.delete_metrics(URN))


# --- Declared metrics ------------------------------------------------------------------------------------------------


async def test_a_declared_metric_is_checked_and_not_guessed(api: Any) -> None:
    declared = await done(
        api.metrics.descriptors.declare(
            "nullFraction", "number", subject_kind="assets", min_value=0, max_value=1, direction="lower_is_better"
        )
    )
    assert (declared.value_type, declared.min_value, declared.max_value) == (ValueType.NUMBER, 0.0, 1.0)
    assert declared.direction is MetricDirection.LOWER_IS_BETTER
    result = await done(api.assets.emit(URN, {"nullFraction": "0.5"}, guess=True))
    assert (result["nullFraction"].value, result["nullFraction"].guessed) == (0.5, False)
    with pytest.raises(ValueTypeMismatchError):
        await done(api.assets.emit(URN, {"nullFraction": "0.5"}))
    with pytest.raises(InvalidArgumentError):
        await done(api.assets.emit(URN, {"nullFraction": 1.5}))
    cleared = await done(
        api.metrics.descriptors.update("nullFraction", subject_kind="assets", max_value=None, direction=None)
    )
    assert (cleared.min_value, cleared.max_value, cleared.direction) == (0.0, None, None)


async def test_limits_of_retention_are_set_told_and_taken_away(api: Any) -> None:
    thirty, many = timedelta(days=30), timedelta(days=730)
    limited = await done(
        api.metrics.descriptors.declare(
            "rowCount", "number", subject_kind="assets", sample_retention=thirty, summary_retention=many
        )
    )
    assert (limited.sample_retention, limited.summary_retention) == (thirty, many)
    with pytest.raises(InvalidArgumentError, match="whole days"):
        await done(
            api.metrics.descriptors.update("rowCount", subject_kind="assets", sample_retention=timedelta(hours=5))
        )
    freed = await done(api.metrics.descriptors.update("rowCount", subject_kind="assets", summary_retention=None))
    assert (freed.sample_retention, freed.summary_retention) == (thirty, None)


# --- The writer ------------------------------------------------------------------------------------------------------


async def test_a_writer_sends_emits_in_batches_and_tells_what_was_refused(api: Any) -> None:
    failures: list[EmitFailure] = []
    writer = api.assets.writer(max_batch_items=100, max_batch_age=60, on_error=failures.append)
    for number in range(249):
        await done(writer.emit(f"urn:x:{number}", {"n": number, "text": "50"}, T0, run_id="r"))
    await done(writer.put(Emit("nonsense", {"n": 1, "guess": AssetValue("50")}, T0)))
    await done(writer.close())
    assert writer.stats == WriterStats(accepted=249, rejected=1, batches=3)
    (failure,) = failures
    assert (failure.kind, failure.count) == (FailureKind.REJECTED, 1)
    assert (failure.errors[0].index, failure.errors[0].asset, failure.errors[0].reason) == (
        49,
        "nonsense",
        "INVALID_FIELD",
    )
    assert list(failure.emits()) == [Emit("nonsense", {"n": 1, "guess": AssetValue("50")}, T0)]
    assert str(failure).startswith("1 emits were not stored (rejected): nonsense: INVALID_FIELD: ")
    latest = await done(api.assets.latest(["urn:x:0", "urn:x:248"]))
    assert [plain(a.metrics) for a in latest.assets.values()] == [{"n": 0, "text": "50"}, {"n": 248, "text": "50"}]
    assert (await done(api.assets.delete_metrics(EVERY_ASSET, run_id="r", validate_only=True))).assets == 249


async def test_a_writer_may_leave_types_to_the_server_and_takes_its_own_clock(api: Any) -> None:
    writer = api.assets.writer(guess=True)
    before = datetime.now(UTC)
    await done(writer.emit(URN, {"n": "50"}))
    after = datetime.now(UTC)
    await done(writer.flush(20))
    value = (await done(api.assets.latest(URN)))[URN]["n"]
    assert value.value == 50
    assert before - timedelta(milliseconds=1) <= value.time <= after
    await done(writer.close())


async def test_leaving_the_with_block_sends_what_is_left(server: testing.RunningServer) -> None:
    with server.client() as client, client.assets.writer(max_batch_age=60) as writer:
        writer.emit(URN, {"a": 1})
    async with server.async_client() as aio, aio.assets.writer(max_batch_age=60) as aio_writer:
        await aio_writer.emit(URN, {"b": 2})
    assert writer.stats.accepted == aio_writer.stats.accepted == 1
    assert plain(server.client().assets.latest(URN)[URN].metrics) == {"a": 1, "b": 2}


async def test_wrong_arguments_of_a_writer_are_named(api: Any) -> None:
    with pytest.raises(ValueError, match="max_batch_items"):
        api.assets.writer(max_batch_items=0)
    with pytest.raises(TypeError, match="max_batch_itms"):
        api.assets.writer(max_batch_itms=1)
