"""Short ways to emit metrics on assets and to read them back. Moments are microseconds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge_server.model.assets import asset_id
from streamgauge_server.model.clock import MIN_MICROS

from tests.rpc.messages import NOW, Scalar, micros, scalar, stamp, value
from tests.rpc.serving import Stubs

URN = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)"
OTHER = "urn:li:dataset:(urn:li:dataPlatform:kafka,orders,PROD)"

Samples = dict[str, Scalar | None]
Typed = dict[str, tuple[str, Scalar | None]]


def name_of(urn: str) -> str:
    """Returns the resource name of a URN's asset."""
    return f"assets/{asset_id(urn)}"


def emission(
    values: Mapping[str, Scalar],
    *,
    asset: str = URN,
    at: int | None = NOW,
    run: str = "",
    types: Mapping[str, str] | None = None,
) -> pb.EmitAssetMetricsRequest:
    """A request that emits; `types` by metric where they are not to be guessed."""
    message = pb.EmitAssetMetricsRequest(asset=asset, run_id=run)
    for name, item in values.items():
        kind = (types or {}).get(name, "UNSPECIFIED")
        message.metrics.add(
            name=name, value=value(item), value_type=pb.AssetValueType.Value(f"ASSET_VALUE_TYPE_{kind}")
        )
    if at is not None:
        message.time.CopyFrom(stamp(at))
    return message


async def emit(
    stubs: Stubs,
    values: Mapping[str, Scalar],
    *,
    asset: str = URN,
    at: int | None = NOW,
    run: str = "",
    types: Mapping[str, str] | None = None,
) -> pb.EmitAssetMetricsResponse:
    """Emits metrics on an asset."""
    request = emission(values, asset=asset, at=at, run=run, types=types)
    answer: pb.EmitAssetMetricsResponse = await stubs.assets.EmitAssetMetrics(request)
    return answer


def question(
    asset: str = URN,
    *,
    start: int | None = None,
    end: int | None = None,
    metrics: Sequence[str] = (),
    page_size: int = 0,
    page_token: str = "",
) -> pb.ListAssetMetricsRequest:
    """A request that reads a page of an asset's metrics."""
    request = pb.ListAssetMetricsRequest(asset=asset, metrics=metrics, page_size=page_size, page_token=page_token)
    if start is not None:
        request.time_range.start_time.CopyFrom(stamp(start))
    if end is not None:
        request.time_range.end_time.CopyFrom(stamp(end))
    return request


async def pages(stubs: Stubs, request: pb.ListAssetMetricsRequest) -> AsyncIterator[pb.ListAssetMetricsResponse]:
    """Yields the pages from that of the request on."""
    while True:
        answer = await stubs.assets.ListAssetMetrics(request)
        yield answer
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


async def moments(
    stubs: Stubs,
    asset: str = URN,
    *,
    start: int | None = None,
    end: int | None = None,
    metrics: Sequence[str] = (),
    page_size: int = 0,
) -> list[tuple[int, list[tuple[str, Scalar | None]]]]:
    """Returns all moments of a range with their metrics in order, over all pages."""
    request = question(asset, start=start, end=end, metrics=metrics, page_size=page_size)
    return [
        (micros(moment.time), [(metric.name, scalar(metric.value)) for metric in moment.metrics])
        async for page in pages(stubs, request)
        for moment in page.moments
    ]


async def samples(stubs: Stubs, asset: str = URN) -> dict[int, Samples]:
    """Returns the whole history of an asset, by moment and metric."""
    return {time: dict(metrics) for time, metrics in await moments(stubs, asset, start=MIN_MICROS)}


async def latest(stubs: Stubs, *assets: str, metrics: Sequence[str] = ()) -> pb.GetLatestAssetMetricsResponse:
    """Returns the newest values of assets."""
    request = pb.GetLatestAssetMetricsRequest(assets=assets or [URN], metrics=metrics)
    answer: pb.GetLatestAssetMetricsResponse = await stubs.assets.GetLatestAssetMetrics(request)
    return answer


async def newest(stubs: Stubs, asset: str = URN) -> Samples:
    """Returns the newest values of one asset by metric."""
    (entry,) = (await latest(stubs, asset)).assets
    return {metric.name: scalar(metric.value) for metric in entry.metrics}
