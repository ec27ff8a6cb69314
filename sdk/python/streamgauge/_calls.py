"""How a call is made by the sync client: token, deadline, retries, typed errors. `_aio_calls` is its twin.

`CallingChannel` stands between the generated stubs and the channel, so the raw stubs behave as the client does.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from grpc.experimental import ChannelOptions

from streamgauge import _damage, _forks, _retry
from streamgauge._connection import Connection
from streamgauge._method import Deserializer, Metadata, Method, Serializer, inherited, or_none
from streamgauge._service_config import IMPORT_METRICS, WRITE_METRICS, RetryPolicy, ServiceConfig, load
from streamgauge.errors import StreamgaugeError, UnavailableError, from_rpc_error
from streamgauge.v1 import metrics_service_pb2

logger = logging.getLogger("streamgauge")


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time comes from: seconds that only rise, waiting, and the jitter of the back-off."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: _retry.Jitter = random.uniform


def open_channel(connection: Connection) -> grpc.Channel:
    """Returns a new channel. Nothing is sent before the first call."""
    credentials = connection.credentials()
    # A stream is read by the thread that waits for it, not by one of gRPC's own, of which a fork would know nothing.
    options = [*connection.channel_options(), (ChannelOptions.SingleThreadedUnaryStream, 1)]
    if credentials is None:
        return grpc.insecure_channel(connection.target, options)
    return grpc.secure_channel(connection.target, credentials, options)


class CallingChannel:
    """What a generated stub needs of a channel, made of calls that carry out our policies.

    The real channel is opened with the first call, and anew after a fork.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        opener: Callable[[Connection], grpc.Channel] = open_channel,
        config: ServiceConfig | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.connection = connection
        self.clock = clock or Clock()
        self._opener = opener
        self._config = config or load()
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._closed = False
        _forks.register(self)

    def open(self) -> grpc.Channel:
        """Returns the real channel. RuntimeError when the client is closed."""
        channel = self._channel
        if channel is not None:
            return channel
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            if self._channel is None:
                self._channel = self._opener(self.connection)
            return self._channel

    def close(self) -> None:
        """Closes the channel; calls under way fail with CANCELLED. Closing twice is fine."""
        with self._lock:
            channel, self._channel, self._closed = self._channel, None, True
        if channel is not None:
            channel.close()

    def reset_after_fork(self) -> None:
        """Forgets the parent's channel."""
        self._lock = threading.Lock()
        inherited.append(self._channel)
        self._channel = None

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> UnaryCall:
        """Returns a method of one request and one response."""
        return UnaryCall(self, method, request_serializer, response_deserializer, self._config.policy(method))

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> AnswersCall:
        """Returns a method of one request and many responses."""
        return AnswersCall(self, method, request_serializer, response_deserializer, self._config.policy(method))

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> StreamCall:
        """Returns a method of many requests and one response."""
        return StreamCall(self, method, request_serializer, response_deserializer, self._config.policy(method))


class UnaryCall(Method[CallingChannel]):
    """One request, one response, tried again as the policy says within one deadline."""

    kind = "unary_unary"

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Any:
        """Returns the response. `timeout` in seconds over all attempts; `math.inf` for none. StreamgaugeError."""
        clock = self._owner.clock
        deadline = clock.now() + self.timeout(timeout)
        attempt = 1
        while True:
            carried = self.metadata(metadata)
            try:
                with _forks.gate:
                    left = or_none(deadline - clock.now())
                    response, call = self.callable().with_call(request, timeout=left, metadata=carried)
                _damage.warn(call.trailing_metadata())
                return response
            except grpc.RpcError as cause:
                error = from_rpc_error(cause)
                wait = _retry.delay(self.policy.retry, attempt, error, deadline - clock.now(), clock.jitter)
                if wait is None:
                    raise error from cause
            logger.debug("%s failed (%s), trying again in %.3f s", self.path, error, wait)
            clock.sleep(wait)
            attempt += 1


def raw_writes(channel: CallingChannel, path: str, decode: Deserializer) -> tuple[UnaryCall, RetryPolicy]:
    """Returns a method for requests that are encoded already, never tried again, and its back-off."""
    policy, backoff = load().writes(path)
    return UnaryCall(channel, path, None, decode, policy), backoff


def raw_frames(channel: CallingChannel) -> Callable[[bytes], Any]:
    """Returns what sends one message of frames that is encoded already, with the deadline of a write."""
    policy, _ = load().writes(WRITE_METRICS)
    decode = metrics_service_pb2.ImportMetricsResponse.FromString
    call = StreamCall(channel, IMPORT_METRICS, None, decode, policy)
    return lambda body: call((body,))


class _Requests:
    """The requests of a stream. What the caller's iterator raises ends the call and is kept for the caller."""

    def __init__(self, requests: Iterable[Any]) -> None:
        self._iterator = iter(requests)
        self._started = threading.Event()
        self._call: grpc.Future[Any] | None = None
        self.failure: BaseException | None = None

    def started(self, call: grpc.Future[Any]) -> None:
        self._call = call
        self._started.set()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._iterator)
        except StopIteration:
            raise
        except BaseException as failure:
            self.failure = failure
            self._started.wait()
            if self._call is not None:
                self._call.cancel()  # before the stream ends, or the server would take a part for the whole
            raise StopIteration from None


class StreamCall(Method[CallingChannel]):
    """Many requests, one response. Not tried again: the requests cannot be asked for twice."""

    kind = "stream_unary"

    def __call__(
        self,
        request_iterator: Iterable[Any],
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Any:
        """Returns the response. What the iterator raises is raised here. StreamgaugeError when the call fails."""
        requests = _Requests(request_iterator)
        carried, seconds = self.metadata(metadata), or_none(self.timeout(timeout))
        with _forks.gate:
            call = self.callable().future(requests, timeout=seconds, metadata=carried)
            requests.started(call)
            return self._result(call, requests)

    def _result(self, call: Any, requests: _Requests) -> Any:
        try:
            return call.result()
        except (grpc.RpcError, grpc.FutureCancelledError) as cause:
            if requests.failure is not None:
                raise requests.failure from None
            if isinstance(cause, grpc.RpcError):
                raise from_rpc_error(cause) from cause
            raise
        except BaseException:  # Ctrl-C while waiting: the call must not go on behind the caller's back
            call.cancel()
            raise


class Answers(Iterator[Any]):
    """The responses of a call under way. `cancel` ends it, also from another thread; so does a fork."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._ended_by: StreamgaugeError | None = None
        _forks.gate.add(self)

    def __next__(self) -> Any:
        """Returns the next response; StopIteration when the server has ended the call. StreamgaugeError."""
        try:
            with _forks.gate:
                return next(self._call)
        except grpc.RpcError as cause:
            # A call that was ended here knows no trailing metadata.
            raise self._ended_by or from_rpc_error(cause) from cause

    def cancel(self) -> None:
        """Ends the call; whoever waits for a response gets CANCELLED. What has ended stays as it is."""
        self._end(StreamgaugeError("the call was cancelled", code=grpc.StatusCode.CANCELLED))

    def interrupt(self) -> None:
        """Ends the call, which may be made again: whoever waits for a response gets UNAVAILABLE."""
        self._end(UnavailableError("a fork of the process ended the call", code=grpc.StatusCode.UNAVAILABLE))

    def _end(self, error: StreamgaugeError) -> None:
        if not self._call.done():
            self._ended_by = error
            self._call.cancel()


class AnswersCall(Method[CallingChannel]):
    """One request, many responses, for as long as it is read: without a deadline unless the caller names one.

    Not tried again here: what was received already is known to the caller alone.
    """

    kind = "unary_stream"

    def __call__(self, request: Any, timeout: float | None = None, metadata: Metadata | None = None) -> Answers:
        """Returns the responses as they come."""
        carried, seconds = self.metadata(metadata), or_none(math.inf if timeout is None else timeout)
        with _forks.gate:
            return Answers(self.callable()(request, timeout=seconds, metadata=carried))
