"""Answers of the assets API out of messages, as golden files have them; numbers to the letter."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge_server.gateway.legacy import assets_rendering as rendering

from tests.gateway.golden_files import check_golden, golden_cases
from tests.rpc.messages import Scalar, value

MOMENT = Timestamp(seconds=1_709_401_440)
"""2024-03-02T17:44:00Z."""
LATER = Timestamp(seconds=1_709_401_440, nanos=123_999_999)

_TYPES = {
    bool: pb.ASSET_VALUE_TYPE_BOOLEAN,
    int: pb.ASSET_VALUE_TYPE_NUMBER,
    float: pb.ASSET_VALUE_TYPE_NUMBER,
    str: pb.ASSET_VALUE_TYPE_STRING,
}


def metrics(values: Mapping[str, Scalar]) -> list[pb.AssetMetricValue]:
    return [
        pb.AssetMetricValue(name=name, value=value(item), value_type=_TYPES[type(item)])
        for name, item in values.items()
    ]


def moment(time: Timestamp, **values: Scalar) -> pb.AssetMoment:
    return pb.AssetMoment(time=time, metrics=metrics(values))


def emitted(**values: Scalar) -> str:
    return rendering.emitted(pb.EmitAssetMetricsResponse(time=MOMENT, metrics=metrics(values), warnings=["x"]))


CASES: Mapping[str, Callable[[], str]] = {
    "emitted": lambda: emitted(
        qualityScore=18, lastUpdated="2024-03-02T17:44:00.000Z", isActiveInLast24Hours=True, ratio=0.1
    ),
    "emitted-texts": lambda: emitted(empty="", quoted='a "b" \\ \n\u0001', unicode="Größe \U0001f600"),
    "emitted-single": lambda: rendering.emitted_single(
        pb.EmitAssetMetricResponse(time=MOMENT, metric="qualityScore", value="50"), "50"
    ),
    "moments": lambda: rendering.moments(
        [moment(MOMENT, a=1, b="x"), moment(LATER, b="y", c=False), moment(Timestamp(seconds=-62_135_596_800), a=-0.5)]
    ),
    "moments-none": lambda: rendering.moments([]),
}


@pytest.mark.parametrize("case", CASES)
def test_an_answer_is_rendered_as_its_golden_file_has_it(case: str) -> None:
    check_golden("assets", case, CASES[case]().encode())


def test_every_golden_file_has_its_case() -> None:
    assert golden_cases("assets") == set(CASES)


@pytest.mark.parametrize(
    ("held", "printed"),
    [
        (18, "18"),
        (2**63 - 1, "9223372036854775807"),
        (-(2**63), "-9223372036854775808"),
        (9_007_199_254_740_993, "9007199254740993"),
        (0.1, "0.1"),
        (5.0, "5"),
        (-0.0, "-0"),
        (1e22, "1e+22"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
        (123456789012345.0, "123456789012345"),
        (True, "true"),
        ("1.0", '"1.0"'),
    ],
)
def test_numbers_print_exactly_and_without_a_needless_fraction(held: Scalar, printed: str) -> None:
    assert rendering.scalar(held) == printed
    assert json.loads(printed) == held


@pytest.mark.parametrize(
    "pages",
    [
        [[moment(MOMENT, a=1, b=2, c=3), moment(LATER, a=4)]],
        [[moment(MOMENT, a=1)], [moment(MOMENT, b=2)], [moment(MOMENT, c=3), moment(LATER, a=4)]],
        [[], [moment(MOMENT, a=1, b=2, c=3)], [], [moment(LATER, a=4)], []],
    ],
    ids=["one page", "a moment over three pages", "empty pages"],
)
def test_a_list_is_the_same_however_it_is_cut_into_pages(pages: Sequence[Sequence[pb.AssetMoment]]) -> None:
    writer = rendering.MomentWriter()
    written = "".join([writer.add(page) for page in pages]) + writer.end()
    assert written == rendering.moments([moment(MOMENT, a=1, b=2, c=3), moment(LATER, a=4)])
