"""Who may call AssetMetricService: each method asks for a scope, and a tenant sees its own assets only."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.entities import Caller
from streamgauge_server.services.tokens import Tokens

from tests.rpc.asset_messages import OTHER, URN, emission, name_of
from tests.rpc.messages import NOW, stamp
from tests.rpc.serving import Start, Stubs, refused

READ, WRITE = "read:asset_metrics", "write:asset_metrics"

READS: dict[str, Any] = {
    "ListAssetMetrics": pb.ListAssetMetricsRequest(asset=URN),
    "GetLatestAssetMetrics": pb.GetLatestAssetMetricsRequest(assets=[URN]),
    "GetAsset": pb.GetAssetRequest(asset=URN),
    "ListAssets": pb.ListAssetsRequest(),
}
WRITES: dict[str, Any] = {
    "EmitAssetMetrics": emission({"a": 1}),
    "BatchEmitAssetMetrics": pb.BatchEmitAssetMetricsRequest(requests=[emission({"a": 1})]),
    "EmitAssetMetric": pb.EmitAssetMetricRequest(asset=URN, metric="a", value="1", time=stamp(NOW)),
    "DeleteAssetMetrics": pb.DeleteAssetMetricsRequest(asset=URN, all=True),
    "CreateAsset": pb.CreateAssetRequest(asset=pb.Asset(urn=OTHER)),
    "UpdateAsset": pb.UpdateAssetRequest(asset=pb.Asset(name=name_of(URN), labels={"a": "b"})),
    "DeleteAsset": pb.DeleteAssetRequest(asset=URN),
}


async def token(stubs: Stubs, clock: FixedClock, *scopes: str, tenant: str = "shop") -> tuple[tuple[str, str], ...]:
    """The header of a new token."""
    assert stubs.app is not None
    assert stubs.app.store is not None
    admin = Caller(tenant, frozenset({"admin"}))
    _, secret = await Tokens(stubs.app.store, clock).create(admin, scopes=scopes)
    return (("authorization", f"Bearer {secret}"),)


def test_every_method_is_a_read_or_a_write() -> None:
    service = pb.DESCRIPTOR.services_by_name["AssetMetricService"]
    assert {method.name for method in service.methods} == READS.keys() | WRITES.keys()


@pytest.mark.parametrize("method", [*READS, *WRITES])
async def test_a_method_needs_its_scope_and_no_other(start: Start, clock: FixedClock, method: str) -> None:
    stubs = await start(auth="required")
    needed, lacking = (READ, WRITE) if method in READS else (WRITE, READ)
    writer = await token(stubs, clock, WRITE)
    await stubs.assets.EmitAssetMetrics(emission({"a": 1}), metadata=writer)
    call, message = getattr(stubs.assets, method), (READS | WRITES)[method]
    with refused(StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"):
        await call(message)
    with refused(StatusCode.PERMISSION_DENIED, "SCOPE_MISSING") as refusal:
        await call(message, metadata=await token(stubs, clock, lacking, "write:source_metrics", "write:jobs"))
    assert refusal.metadata["scope"] == needed
    await call(message, metadata=await token(stubs, clock, needed))


async def test_a_merged_answer_reads_and_so_needs_the_scope_of_reading_as_well(start: Start, clock: FixedClock) -> None:
    stubs = await start(auth="required")
    message = emission({"a": 1})
    message.return_merged = True
    with refused(StatusCode.PERMISSION_DENIED, "SCOPE_MISSING") as refusal:
        await stubs.assets.EmitAssetMetrics(message, metadata=await token(stubs, clock, WRITE))
    assert refusal.metadata["scope"] == READ
    reader = await token(stubs, clock, READ)
    assert list((await stubs.assets.ListAssets(pb.ListAssetsRequest(), metadata=reader)).assets) == []
    await stubs.assets.EmitAssetMetrics(message, metadata=await token(stubs, clock, WRITE, READ))


async def test_another_tenants_asset_is_not_there_and_one_of_the_same_urn_is_another(
    start: Start, clock: FixedClock
) -> None:
    stubs = await start(auth="required")
    mine = await token(stubs, clock, READ, WRITE, tenant="mine")
    theirs = await token(stubs, clock, READ, WRITE, tenant="theirs")
    await stubs.assets.EmitAssetMetrics(emission({"a": 1}), metadata=mine)
    for method in ("ListAssetMetrics", "GetAsset", "DeleteAssetMetrics", "UpdateAsset", "DeleteAsset"):
        with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND"):
            await getattr(stubs.assets, method)((READS | WRITES)[method], metadata=theirs)
    with refused(StatusCode.NOT_FOUND, "ASSET_NOT_FOUND"):
        await stubs.assets.EmitAssetMetrics(emission({"a": 1}, asset=name_of(URN)), metadata=theirs)
    await stubs.assets.EmitAssetMetrics(emission({"b": "x"}), metadata=theirs)
    for header, expected in ((mine, ["a"]), (theirs, ["b"])):
        answer = await stubs.assets.ListAssetMetrics(READS["ListAssetMetrics"], metadata=header)
        assert [metric.name for moment in answer.moments for metric in moment.metrics] == expected
