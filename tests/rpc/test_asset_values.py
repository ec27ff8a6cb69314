"""Exactness: what is emitted comes back as it was sent, of every type, from the newest values and from the history."""

from __future__ import annotations

import math
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge_server.model.clock import MIN_MICROS
from streamgauge_server.model.values import AssetValueType

from tests.rpc.asset_messages import emit, latest, moments, name_of
from tests.rpc.emit_messages import answered
from tests.rpc.messages import DAY, NOW, Scalar, scalar
from tests.rpc.serving import Stubs

MILLI = 1_000
NUMBER = count()
"""Assets of their own for every example: the server is the same for all."""

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
VALUES: st.SearchStrategy[Scalar] = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([-0.0, 0.0, 5e-324, 1.7976931348623157e308, 0.1, 1.0, 2.0**53, 2.0**63]),
    st.booleans(),
    TEXTS,
    st.sampled_from(["50", "true", "007", "NaN", "-0", "1e400", "", "2024-03-02T17:44:00.000Z", "x" * 4_096]),
)
NAMES = st.one_of(
    st.sampled_from(["a", "A", "b", "rowCount", "nulls.share"]),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=255).filter(lambda n: n == n.strip()),
)
MOMENTS = st.one_of(
    st.integers(-3, 3).map(lambda n: NOW + n * MILLI),
    st.integers(-3, 3).map(lambda n: n * MILLI),
    st.integers(MIN_MICROS // MILLI, (NOW + DAY) // MILLI).map(lambda n: n * MILLI),
)
HISTORIES = st.lists(st.tuples(MOMENTS, st.dictionaries(NAMES, VALUES, min_size=1, max_size=6)), min_size=1, max_size=8)
TYPES = {bool: "BOOLEAN", int: "NUMBER", float: "NUMBER", str: "STRING"}


def exact(value: Scalar | None) -> tuple[type, object, float]:
    """A value with what `==` does not tell apart: its type, and the sign of a zero."""
    return type(value), value, math.copysign(1, value) if isinstance(value, float) else 0.0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORIES)
async def test_every_value_comes_back_exactly_from_history_and_newest(
    stubs: Stubs, history: list[tuple[int, dict[str, Scalar]]]
) -> None:
    urn = f"urn:li:dataset:{next(NUMBER)}"
    merged: dict[int, dict[str, Scalar]] = {}
    order: dict[str, None] = {}
    for moment, values in history:
        answer = await emit(
            stubs, values, asset=urn, at=moment, types={name: TYPES[type(item)] for name, item in values.items()}
        )
        assert {name: exact(item) for name, (_, item, _) in answered(answer).items()} == {
            name: exact(item) for name, item in values.items()
        }
        assert not any(entry.guessed for entry in answer.metrics)
        merged.setdefault(moment, {}).update(values)
        order.update(dict.fromkeys(values))

    read = await moments(stubs, urn, start=MIN_MICROS)
    assert [(moment, [(name, exact(item)) for name, item in metrics]) for moment, metrics in read] == [
        (moment, [(name, exact(merged[moment][name])) for name in order if name in merged[moment]])
        for moment in sorted(merged)
    ]
    (asset,) = (await latest(stubs, name_of(urn))).assets
    newest = {name: item for moment in sorted(merged) for name, item in merged[moment].items()}
    assert [(entry.name, exact(scalar(entry.value))) for entry in asset.metrics] == [
        (name, exact(newest[name])) for name in order
    ]
    assert [AssetValueType(entry.value_type).name for entry in asset.metrics] == [
        TYPES[type(newest[name])] for name in order
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(NAMES, VALUES, min_size=1, max_size=8))
async def test_what_an_emit_answers_is_what_is_read(stubs: Stubs, values: dict[str, Scalar]) -> None:
    """Also of values whose types are guessed: the answer has them as they are stored."""
    urn = f"urn:li:dataset:{next(NUMBER)}"
    answer = await emit(stubs, values, asset=urn)
    (moment,) = (await stubs.assets.ListAssetMetrics(pb.ListAssetMetricsRequest(asset=urn))).moments
    told = [(entry.name, exact(scalar(entry.value)), entry.value_type) for entry in answer.metrics]
    assert [(entry.name, exact(scalar(entry.value)), entry.value_type) for entry in moment.metrics] == told
    assert all(entry.guessed for entry in answer.metrics)
