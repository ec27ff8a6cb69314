"""The gRPC server as the gateway sees it: its stubs, what travels on with a call, and how it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
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

from streamgauge_server.gateway.damage import Damage

RequestT = TypeVar("RequestT", contravariant=True)
ResponseT = TypeVar("ResponseT", covariant=True)
DetailT = TypeVar("DetailT", bound=Message)

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Passage:
    """What of an HTTP request travels on to the server: its token and request id, and how many seconds it may take.

    `damage` comes back: what the calls of the request could not read.
    """

    metadata: tuple[tuple[str, str], ...]
    timeout: float
    damage: Damage = field(default_factory=Damage, compare=False)


class Refused(Exception):
    """The server refused a call. `status` has its code, message and details as the server sent them."""

    def __init__(self, code: grpc.StatusCode, status: status_pb2.Status) -> None:
        super().__init__(f"{code.name}: {status.message}")
        self.code = code
        self.status = status

    @classmethod
    def from_error(cls, error: grpc.aio.AioRpcError) -> Refused:
        """Returns the refusal that a failed call tells; its details where they can be read."""
        code = error.code()
        told = status_pb2.Status(code=code.value[0], message=error.details() or "")
        for key, value in error.trailing_metadata() or ():
            if key == _DETAILS_KEY and isinstance(value, bytes):
                try:
                    found = status_pb2.Status.FromString(value)
                except DecodeError:
                    continue  # a proxy's own, perhaps; code and message stand by themselves
                if found.code == told.code:
                    told = found
        return cls(code, told)

    @property
    def message(self) -> str:
        """What the server says to people."""
        return self.status.message

    @property
    def reason(self) -> str:
        """The `ErrorReason` by name, for example SOURCE_NOT_FOUND; empty when it was not our server that answered."""
        return self._info().reason

    @property
    def reason_metadata(self) -> Mapping[str, str]:
        """The dynamic parts of the message, by name."""
        return dict(self._info().metadata)

    @property
    def violations(self) -> list[tuple[str, str]]:
        """The fields of the gRPC request that were wrong, each with what is wrong about it."""
        found = self._detail(error_details_pb2.BadRequest())
        return [(violation.field, violation.description) for violation in found.field_violations]

    @property
    def retry_after(self) -> float | None:
        """After how many seconds another try may help, None when the server does not say."""
        delay = self._detail(error_details_pb2.RetryInfo()).retry_delay
        return delay.seconds + delay.nanos / 1e9 or None

    def _info(self) -> error_details_pb2.ErrorInfo:
        return self._detail(error_details_pb2.ErrorInfo())

    def _detail(self, wanted: DetailT) -> DetailT:
        for detail in self.status.details:
            if detail.TypeName() == wanted.DESCRIPTOR.full_name:
                detail.Unpack(wanted)
                break
        return wanted


class UnaryCall(Protocol[ResponseT]):
    """A call of a unary method that is under way: awaited, it is the response."""

    def __await__(self) -> Generator[Any, None, ResponseT]:
        """Waits for the response."""
        ...

    async def trailing_metadata(self) -> Any:
        """Waits for the end of the call and returns what came with it, as pairs."""
        ...


class UnaryMethod(Protocol[RequestT, ResponseT]):
    """A unary method of a stub."""

    def __call__(self, request: RequestT, /, *, timeout: float | None, metadata: Any) -> UnaryCall[ResponseT]:
        """Calls the method."""
        ...


class Upstream:
    """A client of the gRPC server. The stubs are those of the contract; call their unary methods by `call`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.assets = asset_metric_service_pb2_grpc.AssetMetricServiceStub(channel)
        self.jobs = job_service_pb2_grpc.JobServiceStub(channel)
        self.metric_types = metric_type_service_pb2_grpc.MetricTypeServiceStub(channel)
        self.metrics = metrics_service_pb2_grpc.MetricsServiceStub(channel)
        self.server = server_service_pb2_grpc.ServerServiceStub(channel)
        self.sources = source_service_pb2_grpc.SourceServiceStub(channel)
        self.tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        self._streams: set[Any] = set()
        self._ending = False

    def end_streams(self) -> None:
        """Ends every stream of the server's that is read, and every further one: the gateway is stopping."""
        self._ending = True
        for call in list(self._streams):
            call.cancel()

    def reading(self, call: Any) -> Any:
        """Returns a call whose answer is a stream, which is from now on among those that end with the gateway."""
        self._streams.add(call)
        call.add_done_callback(self._streams.discard)
        if self._ending:
            call.cancel()
        return call

    async def read(self, call: Any) -> Any:
        """Returns the next message of a call of `reading`, `grpc.aio.EOF` after the last.

        Raises:
            Refused: the call failed, or the gateway is stopping (UNAVAILABLE).
        """
        try:
            return await call.read()
        except grpc.aio.AioRpcError as error:
            raise Refused.from_error(error) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if not self._ending or (task is not None and task.cancelling()):
                call.cancel()
                raise
            code = grpc.StatusCode.UNAVAILABLE
            status = status_pb2.Status(code=code.value[0], message="the gateway is stopping; ask again")
            raise Refused(code, status) from error

    async def call(self, method: UnaryMethod[RequestT, ResponseT], request: RequestT, passage: Passage) -> ResponseT:
        """Calls a unary method of a stub and returns its response.

        Raises:
            Refused: the server refused the call, or cannot be reached (UNAVAILABLE).
        """
        call = method(request, metadata=passage.metadata, timeout=passage.timeout)
        try:
            answer = await call
            passage.damage.note(await call.trailing_metadata())  # there already: they came with the answer
            return answer
        except grpc.aio.AioRpcError as error:
            raise Refused.from_error(error) from error
