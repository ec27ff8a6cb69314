"""Streams of frames: what the caller's iterator raises, and what the server says amid them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import pytest
from streamgauge import (
    AsyncClient,
    Client,
    Frame,
    ImportResult,
    InternalError,
    InvalidArgumentError,
    StreamgaugeError,
    UnavailableError,
)
from streamgauge.v1 import errors_pb2, metrics_service_pb2

from tests.unit.sdk.scripts import ScriptedServer, refuse, scripted_server, status

Response = metrics_service_pb2.ImportMetricsResponse
REQUEST_BYTES = 100_000  # of samples: more than a request holds


def frame(size: int = 1) -> Frame:
    return Frame("sources/a", list(range(size)), {"m": [0.5] * size})


def count(request: Iterator[bytes], context: grpc.ServicerContext) -> Response:
    frames = [f for body in request for f in metrics_service_pb2.ImportMetricsRequest.FromString(body).frames]
    answer = Response(accepted_frame_count=len(frames) - 1, rejected_frame_count=1)
    answer.accepted_sample_count = sum(len(f.time_unix_micros) for f in frames[:-1])
    answer.errors.add(index=len(frames) - 1, reason=errors_pb2.ERROR_REASON_INVALID_FIELD, message="bad")
    return answer


async def run(kind: str, server: ScriptedServer, frames: Any, **keywords: Any) -> ImportResult:
    if kind == "sync":
        with Client(server.target) as client:
            return client.metrics.import_frames(frames, **keywords)
    async with AsyncClient(server.target) as client:
        return await client.metrics.import_frames(frames, **keywords)


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_the_index_of_a_refused_piece_is_that_of_the_frame_as_given(kind: str) -> None:
    with scripted_server(ImportMetrics=count) as server:
        result = await run(kind, server, [frame(), frame(250_000)])
    assert (result.accepted, result.rejected, result.accepted_samples) == (3, 1, 200_001)
    assert result.errors[0].index == 1


async def test_an_async_iterable_of_frames_is_taken_as_well() -> None:
    async def frames() -> AsyncIterator[Frame]:
        yield frame()
        yield frame(5)

    with scripted_server(ImportMetrics=count) as server:
        assert (await run("async", server, frames())).accepted == 1


async def test_what_the_iterator_raises_is_raised_and_ends_the_call(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended = threading.Event()

    def answer(request: Iterator[bytes], context: grpc.ServicerContext) -> Response:
        if not context.add_callback(ended.set):  # ended already
            ended.set()
        return count(request, context)

    def frames() -> Iterator[Frame]:
        yield frame(REQUEST_BYTES * 2)
        raise LookupError("the file ends here")

    with scripted_server(ImportMetrics=answer) as server:
        with pytest.raises(LookupError, match="the file ends here"):
            await run(kind, server, frames())
        assert await asyncio.to_thread(ended.wait, 10) or not server.calls
    assert not [record for record in caplog.records if record.name == "grpc._channel" and record.levelno > logging.INFO]


async def test_a_bad_frame_is_refused_before_it_is_sent(kind: str) -> None:
    with scripted_server(ImportMetrics=count) as server, pytest.raises(TypeError, match="one type for all"):
        await run(kind, server, [Frame("sources/a", [1, 2], {"m": [1, "a"]})])


async def refused_amid(send: Callable[[], Awaitable[ImportResult]]) -> StreamgaugeError:
    """Returns the error of a stream that the server ends.

    A write of grpc.aio that meets the end of the stream may hide what the server said behind an INTERNAL of its own. It
    is seldom, so one stream of a few shows the server's.
    """
    for _ in range(5):
        with pytest.raises(StreamgaugeError) as caught:
            await send()
        if not isinstance(caught.value, InternalError):
            break
    return caught.value


async def test_an_error_amid_the_stream_is_typed_and_not_tried_again(kind: str) -> None:
    told = status(grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", violations=[("frames", "too many", "")])
    with scripted_server(ImportMetrics=refuse(told)) as server:
        error = await refused_amid(lambda: run(kind, server, (frame(REQUEST_BYTES) for _ in range(100))))
        assert isinstance(error, InvalidArgumentError)
        assert error.violations[0].field == "frames"
        sent = len(server.calls)
        away = status(grpc.StatusCode.UNAVAILABLE, retry_after=0.001)
        server.answers["ImportMetrics"] = refuse(away)
        with pytest.raises(UnavailableError):
            await run(kind, server, [frame()])
    assert len(server.calls) == sent + 1


async def test_the_deadline_of_an_import_is_the_methods_or_the_callers(kind: str) -> None:
    with scripted_server(ImportMetrics=count) as server:
        await run(kind, server, [frame()])
        await run(kind, server, [frame()], timeout=10)
    remaining = [call.time_remaining or 0 for call in server.calls]
    assert [round(seconds, -1) for seconds in remaining] == [600, 10]
