"""Metrics of assets into messages and back; emits cut into requests; the wire of a writer of emits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from streamgauge import (
    AssetLatestResult,
    AssetMoment,
    AssetValue,
    AssetValueType,
    AsyncHistory,
    Emit,
    EmitError,
    EmitFailure,
    FailureKind,
    History,
    Page,
    Violation,
    _asset_codec,
)
from streamgauge._batches import Batch
from streamgauge._wires import EMITS
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge.v1 import errors_pb2

T0 = datetime(2026, 11, 1, 12, 30, 15, 123_000, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.floats(allow_nan=False) | st.integers(-(2**63), 2**63 - 1) | st.booleans() | TEXT


def encode(metrics: dict[str, Any], *, guess: bool = False) -> pb.EmitAssetMetricsRequest:
    return _asset_codec.emit("urn:x:a", metrics, T0, "r", guess)


def types(message: pb.EmitAssetMetricsRequest) -> list[int]:
    return [entry.value_type for entry in message.metrics]


@given(st.dictionaries(TEXT, SCALARS | st.builds(AssetValue, TEXT, st.sampled_from(["number", "boolean"]))))
def test_an_emit_comes_back_as_it_went(metrics: dict[str, Any]) -> None:
    message = pb.EmitAssetMetricsRequest.FromString(encode(metrics).SerializeToString())
    read = _asset_codec.emit_of(message)
    assert read == Emit("urn:x:a", metrics, T0, "r")
    assert [type(value) for value in read.metrics.values()] == [type(value) for value in metrics.values()]
    assert encode(dict(read.metrics)) == message


def test_each_value_says_its_type_unless_the_server_is_to_guess() -> None:
    values = {"a": 1.5, "b": 1, "c": True, "d": "50", "e": AssetValue("50", "number"), "f": AssetValue("50")}
    number, boolean, string = 2, 3, 1
    assert types(encode(values)) == [number, number, boolean, string, number, 0]
    assert types(encode(values, guess=True)) == [0, 0, 0, 0, number, 0]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, TypeError),
        (b"x", TypeError),
        (2**63, ValueError),
        (AssetValue(None, "string"), TypeError),  # type: ignore[arg-type]
        (AssetValue("x", "date"), ValueError),
        (AssetValue("x", "unknown"), ValueError),
    ],
)
def test_what_is_no_value_is_refused_with_its_place(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"metrics\['a'\]|date|UNKNOWN"):
        encode({"a": value})


def test_a_urn_and_its_resource_name_are_one() -> None:
    name = "assets/a18106389bab493b8d764863eb17dc52d5df8e30"
    assert _asset_codec.asset_name("urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)") == name
    assert _asset_codec.asset_name(name) == name


# --- Requests --------------------------------------------------------------------------------------------------------


def cut(emits: list[Emit]) -> list[_asset_codec.Chunk]:
    chunks = _asset_codec.Chunks(guess=False)
    return [chunk for emit in emits for chunk in chunks.add(emit)] + list(chunks.rest())


def sizes(emits: list[Emit]) -> list[tuple[int, int]]:
    return [(chunk.first, len(chunk.emits)) for chunk in cut(emits)]


def test_a_request_is_bounded_by_emits_by_metrics_and_by_bytes() -> None:
    assert sizes([]) == []
    assert sizes([Emit("urn:x:a", {"n": 1})] * 10_001) == [(0, 5_000), (5_000, 5_000), (10_000, 1)]
    wide = Emit("urn:x:a", dict.fromkeys(map(str, range(10_000)), True))
    assert sum(len(chunk.emits) for chunk in cut([wide] * 11)) == 11
    assert all(sum(len(e.metrics) for e in chunk.emits) <= 100_000 for chunk in cut([wide] * 11))
    large = Emit("urn:x:a", {"n": "x" * 700_000})
    assert sizes([large, large, Emit("urn:x:a", {"n": 1})]) == [(0, 1), (1, 2)]


def test_an_emit_over_the_bound_goes_alone() -> None:
    huge = Emit("urn:x:a", {"n": "x" * 2_000_000})
    assert sizes([huge, huge]) == [(0, 1), (1, 1)]


def test_outcomes_of_several_requests_are_added_up_by_the_index_as_given() -> None:
    first, second = cut([Emit(f"urn:x:{n}", {"n": 1}) for n in range(5_002)])
    outcome = _asset_codec.Outcome()
    outcome.add(first, pb.BatchEmitAssetMetricsResponse(accepted_count=5_000))
    response = pb.BatchEmitAssetMetricsResponse(accepted_count=1, rejected_count=1)
    response.outcomes.add(index=0).emitted.urn = "urn:x:5000"
    error = response.outcomes.add(index=1).error
    error.reason, error.message = errors_pb2.ERROR_REASON_INVALID_FIELD, "m"
    error.violations.add(field="asset", reason=errors_pb2.ERROR_REASON_INVALID_FIELD, message="v")
    outcome.add(second, response)
    result = outcome.result()
    assert (result.accepted, result.rejected, list(result.emitted)) == (5_001, 1, [5_000])
    violation = Violation("asset", "v", "INVALID_FIELD")
    assert result.errors == (EmitError(5_001, "urn:x:5001", "INVALID_FIELD", "m", (violation,)),)


# --- The wire of the writer ------------------------------------------------------------------------------------------


@given(st.lists(st.text("ab", max_size=200), max_size=12), st.text("abc0", max_size=200))
def test_a_batch_of_emits_is_encoded_as_protobuf_would(assets: list[str], request_id: str) -> None:
    emits = [pb.EmitAssetMetricsRequest(asset=asset) for asset in assets]
    batch = Batch(tuple(emit.SerializeToString() for emit in emits), 0, request_id)
    read = pb.BatchEmitAssetMetricsRequest.FromString(EMITS.body(batch))
    assert read == pb.BatchEmitAssetMetricsRequest(requests=emits, request_id=request_id, errors_only=True)


def test_a_report_of_refused_emits_has_their_reasons_and_gives_them_back() -> None:
    items = [Emit(f"urn:x:{n}", {"n": n}, T0, "r") for n in range(4)]
    encoded = (_asset_codec.emit(i.asset, i.metrics, i.time, i.run_id, False).SerializeToString() for i in items)
    response = pb.BatchEmitAssetMetricsResponse(accepted_count=2, rejected_count=2)
    for index in (1, 3):
        response.outcomes.add(index=index).error.message = f"m{index}"
    batch = Batch(tuple(encoded), 0)
    failure = EMITS.rejected(batch, response)
    assert isinstance(failure, EmitFailure)
    assert (failure.kind, failure.count) == (FailureKind.REJECTED, 2)
    assert [(error.index, error.asset) for error in failure.errors] == [(1, "urn:x:1"), (3, "urn:x:3")]
    assert list(failure.emits()) == [items[1], items[3]]
    assert EMITS.rejected(batch, pb.BatchEmitAssetMetricsResponse(accepted_count=4)) is None


def test_a_report_tells_three_reasons_and_that_there_are_more() -> None:
    errors = tuple(EmitError(n, f"urn:x:{n}", "R", "m") for n in range(4))
    told = str(EmitFailure(FailureKind.REJECTED, 4, errors))
    assert told == "4 emits were not stored (rejected): urn:x:0: R: m; urn:x:1: R: m; urn:x:2: R: m; ..."
    assert str(EmitFailure(FailureKind.DROPPED, 2)) == "2 emits were not stored (dropped)"
    assert str(EmitFailure(FailureKind.FAILED, 1, (), ValueError("no"))) == "1 emits were not stored (failed): no"


# --- Answers ---------------------------------------------------------------------------------------------------------


def metric(name: str, number: int) -> pb.AssetMetricValue:
    message = pb.AssetMetricValue(name=name, value_type=pb.ASSET_VALUE_TYPE_NUMBER)
    message.value.int64_value = number
    return message


def moment(seconds: int, *metrics: pb.AssetMetricValue) -> AssetMoment:
    time = Timestamp(seconds=int(T0.timestamp()) + seconds, nanos=123_000_000)
    return _asset_codec.asset_moment(pb.AssetMoment(time=time, metrics=metrics))


PAGES = {
    "": Page((moment(0, metric("a", 1)), moment(1, metric("a", 2))), "next"),
    "next": Page((moment(1, metric("b", 3)),), "last"),
    "last": Page((moment(1, metric("c", 4)), moment(2, metric("a", 5))), ""),
}
WHOLE = [{"a": 1}, {"a": 2, "b": 3, "c": 4}, {"a": 5}]


async def test_a_moment_that_pages_share_is_read_as_one() -> None:
    async def fetch(token: str) -> Page[AssetMoment]:
        return PAGES[token]

    moments = list(History(PAGES.__getitem__))
    assert [{name: m.value for name, m in found.metrics.items()} for found in moments] == WHOLE
    assert [found async for found in AsyncHistory(fetch)] == moments
    assert list(History(lambda token: Page((), ""))) == []


def test_a_type_that_this_version_does_not_know_is_unknown() -> None:
    message = pb.AssetMoment(metrics=[pb.AssetMetricValue(name="a", value_type=99)])  # type: ignore[arg-type]
    found = _asset_codec.asset_moment(message)["a"]
    assert (found.value, found.value_type) == (None, AssetValueType.UNKNOWN)


@pytest.mark.parametrize("age", [timedelta(days=400, microseconds=1), timedelta(0), -timedelta(seconds=1.5)])
def test_ages_come_back_to_the_microsecond_also_of_what_lies_ahead(age: timedelta) -> None:
    message = pb.GetLatestAssetMetricsResponse()
    message.assets.add(asset="urn:x:a").metrics.add(name="a").age.FromTimedelta(age)
    result: AssetLatestResult = _asset_codec.latest_result(message)
    assert result["urn:x:a"]["a"].age == age
