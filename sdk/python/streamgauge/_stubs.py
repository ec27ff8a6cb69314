"""The generated stubs of every service, over our channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import grpc
import grpc.aio

from streamgauge._aio_calls import AsyncCallingChannel
from streamgauge._calls import CallingChannel
from streamgauge.v1.asset_metric_service_pb2_grpc import AssetMetricServiceStub
from streamgauge.v1.job_service_pb2_grpc import JobServiceStub
from streamgauge.v1.metric_type_service_pb2_grpc import MetricTypeServiceStub
from streamgauge.v1.metrics_service_pb2_grpc import MetricsServiceStub
from streamgauge.v1.server_service_pb2_grpc import ServerServiceStub
from streamgauge.v1.source_service_pb2_grpc import SourceServiceStub
from streamgauge.v1.token_service_pb2_grpc import TokenServiceStub

if TYPE_CHECKING:
    from streamgauge.v1.asset_metric_service_pb2_grpc import AssetMetricServiceAsyncStub
    from streamgauge.v1.job_service_pb2_grpc import JobServiceAsyncStub
    from streamgauge.v1.metric_type_service_pb2_grpc import MetricTypeServiceAsyncStub
    from streamgauge.v1.metrics_service_pb2_grpc import MetricsServiceAsyncStub
    from streamgauge.v1.server_service_pb2_grpc import ServerServiceAsyncStub
    from streamgauge.v1.source_service_pb2_grpc import SourceServiceAsyncStub
    from streamgauge.v1.token_service_pb2_grpc import TokenServiceAsyncStub


class Stubs:
    """The raw stubs: protobuf messages in and out, with the client's token, deadlines, retries and typed errors.

    Example:
        >>> from streamgauge.v1 import source_service_pb2
        >>> client.stubs.sources.GetSource(source_service_pb2.GetSourceRequest(name="sources/orders"), timeout=2)
    """

    def __init__(self, channel: CallingChannel) -> None:
        stand_in = cast(grpc.Channel, channel)
        self.sources: SourceServiceStub = SourceServiceStub(stand_in)
        self.metrics: MetricsServiceStub = MetricsServiceStub(stand_in)
        self.assets: AssetMetricServiceStub = AssetMetricServiceStub(stand_in)
        self.jobs: JobServiceStub = JobServiceStub(stand_in)
        self.metric_types: MetricTypeServiceStub = MetricTypeServiceStub(stand_in)
        self.tokens: TokenServiceStub = TokenServiceStub(stand_in)
        self.server: ServerServiceStub = ServerServiceStub(stand_in)


class AsyncStubs:
    """The raw stubs of the asyncio client: `await client.stubs.sources.GetSource(request)`. See `Stubs`."""

    def __init__(self, channel: AsyncCallingChannel) -> None:
        stand_in = cast(grpc.aio.Channel, channel)
        self.sources: SourceServiceAsyncStub = SourceServiceStub(stand_in)
        self.metrics: MetricsServiceAsyncStub = MetricsServiceStub(stand_in)
        self.assets: AssetMetricServiceAsyncStub = AssetMetricServiceStub(stand_in)
        self.jobs: JobServiceAsyncStub = JobServiceStub(stand_in)
        self.metric_types: MetricTypeServiceAsyncStub = MetricTypeServiceStub(stand_in)
        self.tokens: TokenServiceAsyncStub = TokenServiceStub(stand_in)
        self.server: ServerServiceAsyncStub = ServerServiceStub(stand_in)
