"""Servers for tests, and how a test says which refusal it expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from streamgauge.v1 import (
    asset_metric_service_pb2_grpc,
    job_service_pb2_grpc,
    metric_type_service_pb2_grpc,
    metrics_service_pb2_grpc,
    server_service_pb2_grpc,
    source_service_pb2_grpc,
    token_service_pb2_grpc,
)
from streamgauge_server.app import App
from streamgauge_server.model.clock import Clock
from streamgauge_server.services.clusters import Clusters
from streamgauge_server.settings import Settings

UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
"""Channel options: what a message may weigh is the server's business."""


class Stubs:
    """The stubs of all services over one channel, and the app behind it where it runs in this process."""

    def __init__(self, channel: grpc.aio.Channel, app: App | None = None) -> None:
        self.app = app
        self.channel = channel
        self.sources = source_service_pb2_grpc.SourceServiceStub(channel)
        self.metrics = metrics_service_pb2_grpc.MetricsServiceStub(channel)
        self.assets = asset_metric_service_pb2_grpc.AssetMetricServiceStub(channel)
        self.metric_types = metric_type_service_pb2_grpc.MetricTypeServiceStub(channel)
        self.jobs = job_service_pb2_grpc.JobServiceStub(channel)
        self.tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        self.server = server_service_pb2_grpc.ServerServiceStub(channel)


class Start:
    """Starts servers that live as long as `stack`; `settings` are those of all of them."""

    def __init__(self, stack: AsyncExitStack, clock: Clock, new_url: Callable[[], str], **settings: Any) -> None:
        self._stack = stack
        self._clock = clock
        self._new_url = new_url
        self._settings = {"listen": "127.0.0.1:0"} | settings

    async def __call__(self, **settings: Any) -> Stubs:
        """Starts a server and connects to it. By default it has an empty store of its own and a free port."""
        return await self.with_clusters(None, **settings)

    async def with_clusters(self, clusters: Clusters | None, /, **settings: Any) -> Stubs:
        """Starts a server that can ask some clusters about jobs, without a collector."""
        settings.setdefault("database", self._new_url())
        app = App(Settings(**self._settings | settings), clock=self._clock, clusters=clusters)
        await app.start()
        self._stack.push_async_callback(app.stop, 0)
        channel = grpc.aio.insecure_channel(app.address, options=UNLIMITED)
        await self._stack.enter_async_context(channel)
        return Stubs(channel, app)


@dataclass
class Refusal:
    """A call's failure as its status tells it; filled in when the block of `refused` ends."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: dict[str, str] = field(default_factory=dict)
    """Descriptions by path of the field."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Reasons by path of the field."""
    retry_after: float | None = None
    """Seconds, None where the status has no RetryInfo."""

    def read(self, error: grpc.aio.AioRpcError) -> None:
        """Takes over what a failed call says."""
        self.code = error.code()
        status = status_pb2.Status()
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin" and isinstance(value, bytes):
                status.ParseFromString(value)
        self.message = status.message
        for packed in status.details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if packed.Unpack(info):
                assert info.domain == "streamgauge"
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif packed.Unpack(bad):
                self.violations = {entry.field: entry.description for entry in bad.field_violations}
                self.reasons = {entry.field: entry.reason for entry in bad.field_violations}
            elif packed.Unpack(retry):
                self.retry_after = retry.retry_delay.ToMilliseconds() / 1000


METADATA_KEYS: Mapping[str, set[str]] = {
    "INVALID_FIELD": {"field"},
    "INVALID_TIME_RANGE": {"start_time", "end_time"},
    "VALUE_TYPE_MISMATCH": {"metric", "expected", "actual"},
    "TOO_MANY_WINDOWS": {"limit", "actual"},
    "PAGE_TOKEN_MISMATCH": {"field"},
    "REQUEST_ID_REUSED": {"request_id_field"},
    "AGGREGATE_NOT_ALLOWED": {"metric", "aggregate", "kind"},
    "SOURCE_NOT_FOUND": {"name"},
    "ASSET_NOT_FOUND": {"name"},
    "JOB_NOT_FOUND": {"name"},
    "JOB_TYPE_NOT_FOUND": {"name"},
    "METRIC_NOT_FOUND": {"name"},
    "SOURCE_ALREADY_EXISTS": {"name"},
    "ASSET_ALREADY_EXISTS": {"name"},
    "JOB_ALREADY_EXISTS": {"name"},
    "JOB_TYPE_ALREADY_EXISTS": {"name"},
    "JOB_NOT_STOPPABLE": {"name", "state"},
    "JOB_AMBIGUOUS": {"name"},
    "CURSOR_EXPIRED": {"oldest_cursor"},
    "CLUSTER_UNREACHABLE": {"cluster"},
    "FEATURE_NOT_SUPPORTED": {"feature"},
    "ETAG_MISMATCH": {"name", "etag"},
    "MESSAGE_TOO_LARGE": {"field", "limit", "actual"},
    "METRIC_TYPE_NOT_FOUND": {"name"},
    "METRIC_TYPE_ALREADY_EXISTS": {"name"},
    "METRIC_TYPE_IN_USE": {"name"},
    "JOB_ERROR_ALREADY_EXISTS": {"name"},
    "SUBJECT_LIMIT": {"limit"},
    "METRIC_LIMIT": {"limit"},
    "SLOW_CONSUMER": {"cursor"},
    "STORE_UNAVAILABLE": {"store", "cause"},
    "TOKEN_NOT_FOUND": {"name"},
    "TOKEN_EXPIRED": {"expire_time"},
    "SCOPE_MISSING": {"scope"},
    "DEADLINE_EXCEEDED": {"limit_seconds"},
}
"""What the contract promises in the ErrorInfo of each reason, beside `request_id`."""


@contextmanager
def refused(code: grpc.StatusCode, reason: str) -> Iterator[Refusal]:
    """Expects the call inside to fail with a code and a reason, and with the metadata that the contract promises."""
    refusal = Refusal()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield refusal
    refusal.read(raised.value)
    assert (refusal.code, refusal.reason) == (code, reason), raised.value.details()
    assert refusal.metadata["request_id"]
    assert refusal.metadata.keys() - {"request_id", "violations_omitted"} == METADATA_KEYS.get(reason, set())


def invalid(reason: str = "INVALID_FIELD") -> Any:
    """Expects INVALID_ARGUMENT; see `refused`."""
    return refused(grpc.StatusCode.INVALID_ARGUMENT, reason)
