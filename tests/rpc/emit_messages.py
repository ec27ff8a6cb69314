"""Short ways to write emits, to read their answers, and to see that nothing was stored."""

from __future__ import annotations

from typing import Any

from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge.v1 import common_pb2, metrics_service_pb2
from streamgauge_server.model.values import AssetValueType

from tests.rpc.asset_messages import URN
from tests.rpc.messages import NOW, Scalar, scalar, stamp, value
from tests.rpc.serving import Stubs


def metric(name: str, item: Scalar | None, asked: str | int = 0) -> pb.AssetMetric:
    """A metric of an emit; `asked` is a type by name or by number."""
    number = asked if isinstance(asked, int) else AssetValueType[asked].value
    return pb.AssetMetric(name=name, value=None if item is None else value(item), value_type=number)  # type: ignore[arg-type]


def request(*metrics: pb.AssetMetric, asset: str = URN, at: int | None = NOW, **options: Any) -> Any:
    message = pb.EmitAssetMetricsRequest(asset=asset, metrics=metrics, **options)
    if at is not None:
        message.time.CopyFrom(stamp(at))
    return message


def answered(answer: pb.EmitAssetMetricsResponse) -> dict[str, tuple[str, Scalar | None, bool]]:
    """Type, value and whether that was guessed, by metric."""
    return {
        entry.name: (AssetValueType(entry.value_type).name, scalar(entry.value), entry.guessed)
        for entry in answer.metrics
    }


async def asset_urns(stubs: Stubs) -> list[str]:
    return [asset.urn for asset in (await stubs.assets.ListAssets(pb.ListAssetsRequest())).assets]


async def asset_metrics(stubs: Stubs) -> set[str]:
    """The metrics of assets that there are."""
    ask = metrics_service_pb2.ListMetricDescriptorsRequest(subject_kind=common_pb2.SUBJECT_KIND_ASSET, page_size=1000)
    answer = await stubs.metrics.ListMetricDescriptors(ask)
    return {entry.metric for entry in answer.metric_descriptors}


async def assert_empty(stubs: Stubs) -> None:
    """Nothing was stored: no asset, no metric."""
    assert await asset_urns(stubs) == []
    assert await asset_metrics(stubs) == set()


async def declare(stubs: Stubs, name: str, value_type: str, **fields: Any) -> None:
    """Declares a metric of assets."""
    descriptor = common_pb2.MetricDescriptor(
        name=f"metricDescriptors/assets/{name}",
        value_type=common_pb2.ValueType.Value(f"VALUE_TYPE_{value_type}"),
        **fields,
    )
    ask = metrics_service_pb2.UpdateMetricDescriptorRequest(metric_descriptor=descriptor, allow_missing=True)
    ask.update_mask.paths.extend(["value_type", *fields])
    await stubs.metrics.UpdateMetricDescriptor(ask)
