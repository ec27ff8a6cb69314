"""Short ways to report what figures are made of and to plot them. Moments are microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamgauge.v1 import common_pb2, source_service_pb2
from streamgauge.v1 import metric_type_service_pb2 as pb

from tests.rpc.messages import HOUR, NOW, Scalar, micros, scalar, stamp
from tests.rpc.serving import Stubs

Point = tuple[int, Scalar | None]
"""A moment and the value there, of all choices together."""


def time_range(start: int | None, end: int | None) -> common_pb2.TimeRange:
    message = common_pb2.TimeRange()
    if start is not None:
        message.start_time.CopyFrom(stamp(start))
    if end is not None:
        message.end_time.CopyFrom(stamp(end))
    return message


def asked(
    metric_type: str,
    *columns: str,
    groups: Sequence[str] = (),
    choices: Sequence[int] = (),
    start: int | None = None,
    end: int | None = None,
    every: str | tuple[int, str] | None = None,
    **fields: Any,
) -> pb.GetPlotDataRequest:
    """A request for a plot; `every` is the unit of the windows, or their count and unit."""
    message = pb.GetPlotDataRequest(
        name=f"metricTypes/{metric_type}", columns=columns, groups=groups, choices=choices, **fields
    )
    message.time_range.CopyFrom(time_range(start, end))
    if every is not None:
        count, unit = (1, every) if isinstance(every, str) else every
        message.window.count = count
        message.window.unit = common_pb2.WindowUnit.Value(f"WINDOW_UNIT_{unit}")
    return message


async def plotted(stubs: Stubs, metric_type: str, *columns: str, **arguments: Any) -> dict[str, pb.PlotSeries]:
    """Returns the series of a plot by column, in the order of the answer."""
    arguments.setdefault("end", NOW + HOUR)
    answer = await stubs.metric_types.GetPlotData(asked(metric_type, *columns, **arguments))
    return {series.column.column: series for series in answer.series}


def points(series: pb.PlotSeries) -> list[Point]:
    """Returns moments and values of a series of all choices together."""
    assert {value.choice for value in series.values} <= {0}
    return [(micros(value.time), scalar(value.value)) for value in series.values]


def by_choice(series: pb.PlotSeries) -> list[tuple[int, int, Scalar | None]]:
    """Returns moments, choices and values of a series."""
    return [(micros(value.time), value.choice, scalar(value.value)) for value in series.values]


async def figures(stubs: Stubs, metric_type: str, *columns: str, **arguments: Any) -> dict[str, list[Point]]:
    """Returns moments and values by column."""
    series = await plotted(stubs, metric_type, *columns, **arguments)
    return {column: points(one) for column, one in series.items()}


async def totals(stubs: Stubs, metric_type: str, *columns: str, **arguments: Any) -> dict[str, Scalar | None]:
    """Returns the totals by column, None where there are no values."""
    series = await plotted(stubs, metric_type, *columns, **arguments)
    return {column: scalar(one.total) if one.HasField("total") else None for column, one in series.items()}


def ingest(
    id: str,
    status: str = "INGESTED",
    *,
    source: str = "landing",
    at: int | None = NOW,
    size: int | None = None,
    transfer: tuple[int, int] | None = None,
    began: int | None = None,
) -> source_service_pb2.Ingest:
    """A file; `transfer` is when moving it began and ended."""
    message = source_service_pb2.Ingest(
        source=f"sources/{source}",
        ingest_id=id,
        status=source_service_pb2.IngestStatus.Value(f"INGEST_STATUS_{status}"),
        file_size=size,
    )
    if at is not None:
        message.end_time.CopyFrom(stamp(at))
    if transfer is not None:
        message.transfer_start_time.CopyFrom(stamp(transfer[0]))
        message.transfer_end_time.CopyFrom(stamp(transfer[1]))
    if began is not None:
        message.ingest_start_time.CopyFrom(stamp(began))
    return message


async def report(stubs: Stubs, *ingests: source_service_pb2.Ingest) -> tuple[int, int]:
    """Reports files and returns how many were new and how many changed."""
    answer = await stubs.sources.ReportIngests(source_service_pb2.ReportIngestsRequest(ingests=ingests))
    return answer.created_count, answer.changed_count
