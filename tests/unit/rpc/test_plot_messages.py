"""Series as messages: what columns share is copied, what they do not share is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from streamgauge.v1 import metric_type_service_pb2 as pb
from streamgauge_server.model.metric_types import Column
from streamgauge_server.rpc.convert_metric_types import fill_series
from streamgauge_server.services.plot_series import Number, PlotSeries

from tests.rpc.messages import micros, scalar

CELLS = [(0, 3), (0, 7), (1_000_001, 3)]


def filled(*series: PlotSeries) -> Sequence[pb.PlotSeries]:
    answer = pb.GetPlotDataResponse()
    fill_series(answer, series)
    return answer.series


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0, 5, -3], -3, 5),
        ([2**63 - 1, 0, -(2**63)], -(2**63), 2**63 - 1),
        ([2**64, 1, 2], 1, float(2**64)),
        ([0.5, 2.0, -1.5], -1.5, 2.0),
        ([1, 2.5, 3], 1, 3),
    ],
)
def test_values_keep_their_type_and_an_integer_beyond_64_bits_is_a_double(
    values: list[Number], low: Number, high: Number
) -> None:
    (message,) = filled(PlotSeries(Column("c"), CELLS, values, total=values[0]))
    expected = [float(value) if value == 2**64 else value for value in values]
    told = [scalar(one.value) for one in message.values]
    assert (told, list(map(type, told))) == (expected, list(map(type, expected)))
    assert (scalar(message.min_y), scalar(message.max_y)) == (low, high)
    assert scalar(message.total) == expected[0]


def test_columns_that_share_their_cells_have_their_own_numbers() -> None:
    series = [PlotSeries(Column(name), CELLS, values, 1) for name, values in (("a", [1, 2, 3]), ("b", [4, 5, 6]))]
    messages = filled(*series, PlotSeries(Column("none")), PlotSeries(Column("c"), CELLS[:1], [9], 9))
    assert [message.column.column for message in messages] == ["a", "b", "none", "c"]
    assert [[scalar(one.value) for one in message.values] for message in messages] == [[1, 2, 3], [4, 5, 6], [], [9]]
    for message in messages[:2]:
        assert [(micros(one.time), one.choice) for one in message.values] == CELLS
        assert (micros(message.min_x), micros(message.max_x)) == (0, 1_000_001)
    assert not any(messages[2].HasField(field) for field in ("min_x", "max_x", "min_y", "max_y", "total"))
