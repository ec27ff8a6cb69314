"""How a call is made by the asyncio client: token, deadline, retries, typed errors. The twin of `_calls`."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from streamgauge import _damage, _forks, _retry
from streamgauge._connection import Connection
from streamgauge._method import Deserializer, Metadata, Method, Serializer, inherited, or_none
from streamgauge._service_config import IMPORT_METRICS, WRITE_METRICS, RetryPolicy, ServiceConfig, load
from streamgauge.errors import StreamgaugeError, from_rpc_error
from streamgauge.v1 import metrics_service_pb2

logger = logging.getLogger("streamgauge")

_lost_in_fork = False
"""Whether this process was forked amid asyncio calls: gRPC's one poller thread stayed behind, and calls would hang."""


@dataclass(frozen=True, slots=True)
class AsyncClock:
    """Where time comes from: seconds that only rise, waiting, and the jitter of the back-off."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: _retry.Jitter = random.uniform


def open_channel(connection: Connection) -> grpc.aio.Channel:
    """Returns a new channel of the running event loop. Nothing is sent before the first call."""
    credentials = connection.credentials()
    if credentials is None:
        return grpc.aio.insecure_channel(connection.target, connection.channel_options())
    return grpc.aio.secure_channel(connection.target, credentials, connection.channel_options())


class AsyncCallingChannel:
    """What a generated stub needs of a channel, made of calls that carry out our policies.

    The real channel is opened with the first call and belongs to the event loop of that call.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        opener: Callable[[Connection], grpc.aio.Channel] = open_channel,
        config: ServiceConfig | None = None,
        clock: AsyncClock | None = None,
    ) -> None:
        self.connection = connection
        self.clock = clock or AsyncClock()
        self._opener = opener
        self._config = config or load()
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._endless: weakref.WeakSet[AsyncAnswers] = weakref.WeakSet()
        _forks.register(self)

    def open(self) -> grpc.aio.Channel:
        """Returns the real channel. RuntimeError when it is closed, another loop's, or lost in a fork."""
        if self._closed:
            raise RuntimeError("the client is closed")
        if _lost_in_fork:
            raise RuntimeError(
                "gRPC for asyncio does not work in a process that was forked while an AsyncClient was open: close it "
                "before the fork, start the process with 'spawn', or use Client there"
            )
        loop = asyncio.get_running_loop()
        if self._channel is None:
            self._channel, self._loop = self._opener(self.connection), loop
        elif self._loop is not loop:
            raise RuntimeError("an AsyncClient belongs to the event loop that first used it; make one for each loop")
        return self._channel

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled. Closing twice is fine."""
        channel, self._channel, self._closed = self._channel, None, True
        for answers in list(self._endless):
            answers.cancel()  # older versions of gRPC leave those under way that nobody waits for at this moment
        if channel is not None:
            await channel.close()

    def add(self, answers: AsyncAnswers) -> None:
        """Has a call cancelled when the channel is closed."""
        self._endless.add(answers)

    def reset_after_fork(self) -> None:
        """Forgets the parent's channel and loop."""
        global _lost_in_fork
        if self._channel is not None:
            _lost_in_fork = True
            inherited.append((self._channel, self._loop))
            self._channel = self._loop = None

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> AsyncUnaryCall:
        """Returns a method of one request and one response."""
        return AsyncUnaryCall(self, method, request_serializer, response_deserializer, self._config.policy(method))

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> AsyncAnswersCall:
        """Returns a method of one request and many responses."""
        return AsyncAnswersCall(self, method, request_serializer, response_deserializer, self._config.policy(method))

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> AsyncStreamCall:
        """Returns a method of many requests and one response."""
        return AsyncStreamCall(self, method, request_serializer, response_deserializer, self._config.policy(method))


class AsyncUnaryCall(Method[AsyncCallingChannel]):
    """One request, one response, tried again as the policy says within one deadline."""

    kind = "unary_unary"

    async def __call__(
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
            method = self.callable()
            try:
                call = method(request, timeout=or_none(deadline - clock.now()), metadata=self.metadata(metadata))
                response = await call
                _damage.warn(await call.trailing_metadata())
                return response
            except grpc.aio.AioRpcError as cause:
                error = from_rpc_error(cause)
                wait = _retry.delay(self.policy.retry, attempt, error, deadline - clock.now(), clock.jitter)
                if wait is None:
                    raise error from cause
            logger.debug("%s failed (%s), trying again in %.3f s", self.path, error, wait)
            await clock.sleep(wait)
            attempt += 1


def raw_writes(channel: AsyncCallingChannel, path: str, decode: Deserializer) -> tuple[AsyncUnaryCall, RetryPolicy]:
    """Returns a method for requests that are encoded already, never tried again, and its back-off."""
    policy, backoff = load().writes(path)
    return AsyncUnaryCall(channel, path, None, decode, policy), backoff


class AsyncStreamCall(Method[AsyncCallingChannel]):
    """Many requests, one response. Not tried again: the requests cannot be asked for twice."""

    kind = "stream_unary"

    async def __call__(
        self,
        request_iterator: Iterable[Any] | AsyncIterable[Any],
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Any:
        """Returns the response. What the iterator raises is raised here. StreamgaugeError when the call fails."""
        call = self.callable()(timeout=or_none(self.timeout(timeout)), metadata=self.metadata(metadata))
        try:
            async for request in _each(request_iterator):
                if not await _written(call, request):
                    break
            else:
                await call.done_writing()
        except BaseException:
            call.cancel()  # before the stream ends, or the server would take a part for the whole
            raise
        try:
            return await call
        except grpc.aio.AioRpcError as cause:
            raise from_rpc_error(cause) from cause


def raw_frames(channel: AsyncCallingChannel) -> Callable[[bytes], Awaitable[Any]]:
    """Returns what sends one message of frames that is encoded already, with the deadline of a write."""
    policy, _ = load().writes(WRITE_METRICS)
    decode = metrics_service_pb2.ImportMetricsResponse.FromString
    call = AsyncStreamCall(channel, IMPORT_METRICS, None, decode, policy)
    return lambda body: call((body,))


async def _each(requests: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request


async def _written(call: Any, request: Any) -> bool:
    """Sends one request. False when the server has ended the call already; awaiting the call then says how."""
    try:
        await call.write(request)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    return True


class AsyncAnswers(AsyncIterator[Any]):
    """The responses of a call under way. `cancel` ends it."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def __anext__(self) -> Any:
        """Returns the next response; StopAsyncIteration when the server has ended the call. StreamgaugeError."""
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as cause:
            raise from_rpc_error(cause) from cause
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The call was ended, not the task that waits for it: by `cancel`, or with the channel.
            raise StreamgaugeError("the call was cancelled", code=grpc.StatusCode.CANCELLED) from None
        if response is grpc.aio.EOF:
            raise StopAsyncIteration
        return response

    def cancel(self) -> None:
        """Ends the call. What has ended stays as it is."""
        self._call.cancel()


class AsyncAnswersCall(Method[AsyncCallingChannel]):
    """One request, many responses, for as long as it is read: without a deadline unless the caller names one.

    Not tried again here: what was received already is known to the caller alone.
    """

    kind = "unary_stream"

    def __call__(self, request: Any, timeout: float | None = None, metadata: Metadata | None = None) -> AsyncAnswers:
        """Returns the responses as they come."""
        carried, seconds = self.metadata(metadata), or_none(math.inf if timeout is None else timeout)
        answers = AsyncAnswers(self.callable()(request, timeout=seconds, metadata=carried))
        self._owner.add(answers)
        return answers
