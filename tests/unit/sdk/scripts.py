"""Two stand-ins for the server: a testing channel on fake time, and a real gRPC server with scripted answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import grpc
import grpc_testing  # type: ignore[import-untyped]
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from streamgauge import Client
from streamgauge._calls import CallingChannel, Clock
from streamgauge._connection import Connection
from streamgauge.v1 import (
    asset_metric_service_pb2,
    job_service_pb2,
    metric_type_service_pb2,
    metrics_service_pb2,
    server_service_pb2,
    source_service_pb2,
    token_service_pb2,
)

FILES = (
    source_service_pb2,
    metrics_service_pb2,
    asset_metric_service_pb2,
    job_service_pb2,
    metric_type_service_pb2,
    token_service_pb2,
    server_service_pb2,
)
SERVICES = {name: service for file in FILES for name, service in cast(Any, file.DESCRIPTOR).services_by_name.items()}
DETAILS_KEY = "grpc-status-details-bin"


def status(
    code: grpc.StatusCode,
    message: str = "no",
    *,
    reason: str = "",
    domain: str = "streamgauge",
    metadata: dict[str, str] | None = None,
    violations: Sequence[tuple[str, str, str]] = (),
    retry_after: float | None = None,
) -> status_pb2.Status:
    """Returns a status with the details that a streamgauge server sends."""
    built = status_pb2.Status(code=cast(Any, code).value[0], message=message)
    if reason:
        info = error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata or {})
        built.details.add().Pack(info)
    if violations:
        bad = error_details_pb2.BadRequest()
        for path, description, why in violations:
            bad.field_violations.add(field=path, description=description, reason=why)
        built.details.add().Pack(bad)
    if retry_after is not None:
        delay = Duration()
        delay.FromMicroseconds(round(retry_after * 1e6))
        built.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return built


class TestingScript:
    """A client on the channel of grpcio-testing with fake time: the test plays the server.

    `sleeps` are the pauses that the client made, `timeouts` the deadline in seconds of every attempt.
    """

    __test__ = False

    def __init__(self, **arguments: Any) -> None:
        self.time = grpc_testing.strict_fake_time(1_000.0)
        self.channel = grpc_testing.channel(SERVICES.values(), self.time)
        self.sleeps: list[float] = []
        self.timeouts: list[float | None] = []
        connection = Connection("127.0.0.1:1", **arguments)
        clock = Clock(self.time.time, self._sleep, lambda low, high: (low + high) / 2)
        self.client = Client("127.0.0.1:1")
        self.client._build(CallingChannel(connection, opener=lambda _: cast(grpc.Channel, self), clock=clock))
        self._threads = ThreadPoolExecutor(1)

    def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time.sleep_for(seconds)

    def unary_unary(self, method: str, **serializers: Any) -> Callable[..., Any]:
        """Stands in for the channel's own, to see the timeout, which the testing channel does not keep."""
        call = self.channel.unary_unary(method, **serializers)

        def record(request: Any, timeout: float | None, metadata: Any) -> Any:
            self.timeouts.append(timeout)
            return call.with_call(request, timeout=timeout, metadata=metadata)

        return cast(Callable[..., Any], SimpleNamespace(with_call=record))

    def start(self, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Future[Any]:
        """Runs a call of the client in its thread."""
        return self._threads.submit(call, *arguments, **keywords)

    def take(self, method: str) -> tuple[Any, Any, Any]:
        """Waits for the next call of `Service/Method`; returns its metadata, its request and its handle."""
        service, name = method.split("/")
        metadata, request, rpc = self.channel.take_unary_unary(SERVICES[service].methods_by_name[name])
        return dict(metadata), request, rpc

    def answer(self, method: str, response: Message) -> Any:
        """Waits for the next call, answers it, and returns its request."""
        _, request, rpc = self.take(method)
        rpc.terminate(response, (), grpc.StatusCode.OK, "")
        return request

    def refuse(self, method: str, told: status_pb2.Status, trailing: tuple[tuple[str, str], ...] = ()) -> Any:
        """Waits for the next call, fails it, and returns its request."""
        _, request, rpc = self.take(method)
        code = next(code for code in grpc.StatusCode if cast(Any, code).value[0] == told.code)
        rpc.terminate(None, (*trailing, (DETAILS_KEY, told.SerializeToString())), code, told.message)
        return request


@dataclass
class Call:
    """A call as the scripted server saw it."""

    method: str
    request: Any
    metadata: dict[str, str | bytes]
    time_remaining: float | None


Answer = Callable[[Any, grpc.ServicerContext], Message | Iterator[Message]]


@dataclass
class ScriptedServer:
    """A real server on loopback. `answers` by method name; without one the method is UNIMPLEMENTED.

    A request is its bytes; of a stream it is the iterator of its requests' bytes. The answer of WatchJobs is an
    iterator of messages.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    target: str = ""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Returns the handler of a call."""
        name = details.method.rpartition("/")[2]
        answer = self.answers.get(name)
        if answer is None:
            return None

        def handle(request: Any, context: grpc.ServicerContext) -> bytes:
            metadata = dict(cast(Any, context.invocation_metadata() or ()))
            self.calls.append(Call(name, request, metadata, context.time_remaining()))
            return cast(Message, answer(request, context)).SerializeToString()

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
            self.calls.append(Call(name, request, {}, context.time_remaining()))
            for message in cast(Iterator[Message], answer(request, context)):
                yield message.SerializeToString()

        if name == "WatchJobs":
            return grpc.unary_stream_rpc_method_handler(stream)
        if name == "ImportMetrics":
            return grpc.stream_unary_rpc_method_handler(handle)
        return grpc.unary_unary_rpc_method_handler(handle)


def refuse(told: status_pb2.Status) -> Answer:
    """Returns an answer that fails with a status."""

    def answer(request: Any, context: grpc.ServicerContext) -> Message:
        context.abort_with_status(rpc_status.to_status(told))
        raise AssertionError("abort raises")

    return answer


@contextmanager
def scripted_server(**answers: Answer) -> Iterator[ScriptedServer]:
    """Runs a scripted server."""
    scripted = ScriptedServer(dict(answers))
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((cast(grpc.GenericRpcHandler, scripted),))
    scripted.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield scripted
    finally:
        server.stop(None).wait()
