"""What the thread and the task behind the writers do with a server that answers, refuses, is away, or hangs.

Every test is written once and runs with both workers: `Both` gives the sync one the face of the asyncio one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from streamgauge import (
    FailureKind,
    PermissionDeniedError,
    QueueFullError,
    StreamgaugeError,
    UnavailableError,
    WriteFailure,
    WriterClosedError,
    WriterStats,
)
from streamgauge._aio_worker import AsyncWorker
from streamgauge._batches import WriterOptions
from streamgauge._failures import OnError, log_failure
from streamgauge._service_config import RetryPolicy
from streamgauge._wires import OBSERVATIONS
from streamgauge._worker import Worker
from streamgauge.v1 import metrics_service_pb2

POLICY = RetryPolicy(2, 0.001, 0.002, 2.0, frozenset())
Request = metrics_service_pb2.WriteMetricsRequest
Response = metrics_service_pb2.WriteMetricsResponse
AWAY = UnavailableError("away", code=grpc.StatusCode.UNAVAILABLE)
SECONDS = 10.0
"""How long a test waits for what must happen."""


class Stub:
    """A server: keeps what it is sent and answers by `answer`; `gate` holds the answers back while it is closed."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.failures: list[Exception] = []
        self.rejected = 0
        self.gate = threading.Event()
        self.gate.set()
        self.came = threading.Semaphore(0)

    def receive(self, body: bytes) -> None:
        self.requests.append(Request.FromString(body))
        self.came.release()

    def answer(self) -> Response:
        if self.failures:
            raise self.failures.pop(0)
        items = len(self.requests[-1].observations)
        response = Response(accepted_count=items - self.rejected, rejected_count=self.rejected)
        for index in range(self.rejected):
            response.errors.add(index=index, message="bad")
        return response

    def __call__(self, body: bytes) -> Response:
        self.receive(body)
        assert self.gate.wait(SECONDS)
        return self.answer()

    async def asynchronously(self, body: bytes) -> Response:
        self.receive(body)
        if not self.gate.is_set():
            assert await asyncio.to_thread(self.gate.wait, SECONDS)
        return self.answer()

    def items(self) -> list[int]:
        return [len(request.observations) for request in self.requests]


class Both:
    """A worker of either kind behind one asyncio face."""

    def __init__(self, kind: str, options: dict[str, Any], on_error: OnError | None) -> None:
        self.server = Stub()
        self.reports: list[WriteFailure] = []
        settings = WriterOptions(**{"max_batch_age": 60.0, "close_timeout": SECONDS, **options})
        told = on_error or self.reports.append
        self._sync = Worker(OBSERVATIONS, self.server, POLICY, settings, told) if kind == "sync" else None
        self._async = (
            AsyncWorker(OBSERVATIONS, self.server.asynchronously, POLICY, settings, told) if kind == "async" else None
        )

    async def put(self, text: str = "x") -> None:
        body = metrics_service_pb2.WriteMetricsRequest().observations.add(subject=text).SerializeToString()
        if self._sync is not None:
            await asyncio.to_thread(self._sync.put, body)
        elif self._async is not None:
            await self._async.put(body)

    async def flush(self, timeout: float = SECONDS) -> None:
        if self._sync is not None:
            await asyncio.to_thread(self._sync.flush, timeout)
        elif self._async is not None:
            await self._async.flush(timeout)

    async def close(self, timeout: float | None = None) -> None:
        if self._sync is not None:
            await asyncio.to_thread(self._sync.close, timeout)
        elif self._async is not None:
            await self._async.close(timeout)

    async def came(self) -> None:
        """Waits for the next request at the server."""
        assert await asyncio.to_thread(self.server.came.acquire, timeout=SECONDS)

    @property
    def worker(self) -> Worker[WriteFailure] | AsyncWorker[WriteFailure]:
        worker = self._sync or self._async
        assert worker is not None
        return worker

    @property
    def stats(self) -> WriterStats:
        return self.worker.stats

    async def until(self, predicate: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not predicate():  # noqa: ASYNC110 (what it looks at changes in another thread)
                await asyncio.sleep(0.001)


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Callable[..., Both]:
    return lambda on_error=None, **options: Both(request.param, options, on_error)


async def test_a_full_batch_goes_out_at_once_and_the_rest_waits(make: Callable[..., Both]) -> None:
    writer = make(max_batch_items=3)
    for _ in range(4):
        await writer.put()
    await writer.came()
    await writer.until(lambda: writer.stats.accepted == 3)
    assert writer.server.items() == [3]
    assert writer.stats == WriterStats(queued=1, accepted=3, batches=1)
    await writer.close()
    assert writer.server.items() == [3, 1]
    assert writer.stats == WriterStats(accepted=4, batches=2)


async def test_a_batch_of_many_bytes_goes_out_at_once(make: Callable[..., Both]) -> None:
    writer = make(max_batch_bytes=100)
    await writer.put("x" * 200)
    await writer.came()
    await writer.close()


async def test_an_observation_goes_out_when_it_is_old_enough(make: Callable[..., Both]) -> None:
    writer = make(max_batch_age=0.05)
    await writer.put()
    await writer.came()
    await writer.close()
    assert writer.stats.accepted == 1


async def test_flush_sends_what_was_taken_before_and_waits_for_its_answer(make: Callable[..., Both]) -> None:
    writer = make()
    writer.server.gate.clear()
    for _ in range(3):
        await writer.put()
    flushing = asyncio.create_task(writer.flush())
    await writer.came()
    await writer.put()  # after the flush began: it does not wait for this one
    assert not flushing.done()
    writer.server.gate.set()
    await flushing
    assert writer.server.items() == [3]
    assert (writer.stats.accepted, writer.stats.queued) == (3, 1)
    await writer.close()


async def test_flushing_an_empty_writer_returns_at_once(make: Callable[..., Both]) -> None:
    writer = make()
    await writer.flush()
    await writer.close()
    await writer.flush()


async def test_a_flush_that_takes_too_long_says_how_many_are_not_answered(make: Callable[..., Both]) -> None:
    writer = make()
    writer.server.gate.clear()
    await writer.put()
    await writer.put()
    with pytest.raises(TimeoutError, match=r"2 observations are not answered after 0\.02 s"):
        await writer.flush(0.02)
    writer.server.gate.set()
    await writer.close()
    assert writer.stats.accepted == 2


async def test_refused_observations_are_counted_and_reported(make: Callable[..., Both]) -> None:
    writer = make()
    writer.server.rejected = 2
    for _ in range(5):
        await writer.put()
    await writer.close()
    assert writer.stats == WriterStats(accepted=3, rejected=2, batches=1)
    assert [(report.kind, report.count) for report in writer.reports] == [(FailureKind.REJECTED, 2)]
    assert [error.message for error in writer.reports[0].errors] == ["bad", "bad"]


async def test_without_on_error_a_warning_is_logged(
    make: Callable[..., Both], caplog: pytest.LogCaptureFixture
) -> None:
    writer = make(on_error=log_failure)
    writer.server.rejected = 1
    with caplog.at_level(logging.WARNING, "streamgauge"):
        await writer.put()
        await writer.close()
    assert any("1 observations were not stored (rejected)" in record.getMessage() for record in caplog.records)


async def test_while_the_server_is_away_the_same_request_is_sent_until_it_answers(make: Callable[..., Both]) -> None:
    writer = make()
    late = StreamgaugeError("late", code=grpc.StatusCode.DEADLINE_EXCEEDED)
    busy = StreamgaugeError("busy", code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=0.001)
    writer.server.failures = [AWAY, late, busy, AWAY, AWAY, AWAY]
    await writer.put()
    await writer.flush()
    assert len(writer.server.requests) == 7
    assert len({request.SerializeToString() for request in writer.server.requests}) == 1
    assert writer.stats == WriterStats(accepted=1, batches=1, retries=6)
    await writer.put()
    await writer.close()
    assert writer.server.requests[-1].request_id != writer.server.requests[0].request_id
    assert writer.reports == []


async def test_an_error_that_will_not_pass_is_reported_with_its_observations_and_the_next_batch_goes_on(
    make: Callable[..., Both],
) -> None:
    writer = make()
    denied = PermissionDeniedError("no", code=grpc.StatusCode.PERMISSION_DENIED)
    writer.server.failures = [denied]
    await writer.put("first")
    await writer.flush()
    assert writer.stats == WriterStats(failed=1, batches=1)
    report = writer.reports[0]
    assert (report.kind, report.count, report.error) == (FailureKind.FAILED, 1, denied)
    assert [observation.subject for observation in report.observations()] == ["first"]
    await writer.put("second")
    await writer.close()
    assert writer.stats == WriterStats(accepted=1, failed=1, batches=2)


async def test_a_failure_that_is_no_streamgauge_error_does_not_end_the_worker(make: Callable[..., Both]) -> None:
    writer = make()
    writer.server.failures = [OSError("no token file")]
    await writer.put()
    await writer.flush()
    await writer.put()
    await writer.close()
    assert (writer.stats.failed, writer.stats.accepted) == (1, 1)


async def test_an_on_error_that_fails_does_not_end_the_worker(
    make: Callable[..., Both], caplog: pytest.LogCaptureFixture
) -> None:
    def on_error(failure: WriteFailure) -> None:
        raise LookupError("oops")

    writer = make(on_error=on_error)
    writer.server.rejected = 1
    await writer.put()
    await writer.flush()
    writer.server.rejected = 0
    await writer.put()
    await writer.close()
    assert (writer.stats.rejected, writer.stats.accepted) == (1, 1)
    assert any("on_error failed" in record.getMessage() for record in caplog.records)


async def test_one_batch_is_under_way_at_a_time_so_order_is_kept(make: Callable[..., Both]) -> None:
    writer = make(max_batch_items=2)
    writer.server.gate.clear()
    for number in range(6):
        await writer.put(str(number))
    await writer.came()
    assert len(writer.server.requests) == 1
    writer.server.gate.set()
    await writer.close()
    sent = [observation.subject for request in writer.server.requests for observation in request.observations]
    assert sent == list("012345")


# --- A full queue ----------------------------------------------------------------------------------------------------


async def fill(writer: Both, items: int) -> None:
    """Has one observation under way and the queue full."""
    writer.server.gate.clear()
    await writer.put("under way")
    await writer.came()
    for number in range(items):
        await writer.put(str(number))


async def test_raise_refuses_at_once_and_keeps_what_waits(make: Callable[..., Both]) -> None:
    writer = make(max_batch_items=1, max_queue_items=2, overflow="raise")
    await fill(writer, 2)
    with pytest.raises(QueueFullError, match="2 observations wait"):
        await writer.put()
    writer.server.gate.set()
    await writer.close()
    assert writer.stats.accepted == 3


async def test_drop_oldest_makes_room_and_reports_how_many_were_dropped(make: Callable[..., Both]) -> None:
    writer = make(max_batch_items=1, max_queue_items=2, overflow="drop_oldest")
    await fill(writer, 5)
    assert (writer.stats.dropped, writer.stats.queued) == (3, 3)
    writer.server.gate.set()
    await writer.close()
    sent = [request.observations[0].subject for request in writer.server.requests]
    assert sent == ["under way", "3", "4"]
    assert [(report.kind, report.count) for report in writer.reports] == [(FailureKind.DROPPED, 3)]
    assert writer.stats == WriterStats(accepted=3, dropped=3, batches=3)


async def test_a_flush_does_not_wait_for_what_was_dropped(make: Callable[..., Both]) -> None:
    writer = make(max_batch_items=1, max_queue_items=2, overflow="drop_oldest")
    await fill(writer, 2)
    flushing = asyncio.create_task(writer.flush())
    await asyncio.sleep(0)
    await writer.put("3")
    await writer.put("4")
    writer.server.gate.set()
    await flushing
    await writer.close()


async def test_block_waits_for_room(make: Callable[..., Both]) -> None:
    writer = make(max_batch_items=1, max_queue_items=2, overflow="block")
    await fill(writer, 2)
    waiting = asyncio.create_task(writer.put("late"))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    writer.server.gate.set()
    async with asyncio.timeout(SECONDS):
        await waiting
    await writer.close()
    assert writer.stats.accepted == 4


async def test_block_gives_up_after_its_timeout(make: Callable[..., Both]) -> None:
    writer = make(max_batch_items=1, max_queue_items=2, overflow="block", block_timeout=0.02)
    await fill(writer, 2)
    with pytest.raises(QueueFullError):
        await writer.put("late")
    writer.server.gate.set()
    await writer.close()
    assert writer.stats.accepted == 3


async def test_who_waits_for_room_is_told_when_the_writer_is_closed(make: Callable[..., Both]) -> None:
    writer = make(max_batch_items=1, max_queue_items=2, overflow="block", block_timeout=None)
    await fill(writer, 2)
    waiting = asyncio.create_task(writer.put("late"))
    await asyncio.sleep(0.02)
    closing = asyncio.create_task(writer.close())
    with pytest.raises(WriterClosedError):
        await waiting
    writer.server.gate.set()
    await closing
    assert writer.stats.accepted == 3


async def test_an_observation_larger_than_the_queue_is_refused_whatever_the_policy(make: Callable[..., Both]) -> None:
    writer = make(max_queue_bytes=100, overflow="drop_oldest")
    with pytest.raises(ValueError, match="does not fit into the queue"):
        await writer.put("x" * 200)
    await writer.close()


# --- The end ---------------------------------------------------------------------------------------------------------


async def test_closing_sends_what_is_left_and_takes_no_more(make: Callable[..., Both]) -> None:
    writer = make(max_batch_items=2)
    for _ in range(5):
        await writer.put()
    await writer.close()
    assert sum(writer.server.items()) == 5
    with pytest.raises(WriterClosedError):
        await writer.put()
    await writer.close()
    assert writer.stats == WriterStats(accepted=5, batches=3)


async def test_what_cannot_be_sent_in_time_is_reported_with_its_observations(make: Callable[..., Both]) -> None:
    writer = make(max_batch_items=2)
    writer.server.gate.clear()
    for number in range(5):
        await writer.put(str(number))
    await writer.came()
    await writer.close(0.02)
    report = writer.reports[0]
    assert (report.kind, report.count) == (FailureKind.UNSENT, 5)
    assert [observation.subject for observation in report.observations()] == list("01234")
    assert writer.stats == WriterStats(unsent=5)
    writer.server.gate.set()
    await writer.close()
    assert (writer.stats, len(writer.reports)) == (WriterStats(unsent=5), 1)


async def test_closing_gives_up_on_a_server_that_is_away(make: Callable[..., Both]) -> None:
    writer = make()
    writer.server.failures = [AWAY] * 1_000_000
    await writer.put()
    await writer.close(0.05)
    assert writer.stats.unsent == 1
    assert [report.kind for report in writer.reports] == [FailureKind.UNSENT]
    attempts = len(writer.server.requests)
    assert attempts >= 2
    assert writer.stats.retries in (attempts, attempts - 1)


async def test_a_writer_that_is_only_made_and_closed_has_no_thread_and_no_report(make: Callable[..., Both]) -> None:
    writer = make()
    await writer.close()
    assert (writer.stats, writer.reports, writer.server.requests) == (WriterStats(), [], [])


async def test_stopping_lets_the_worker_end_when_everything_is_sent(make: Callable[..., Both]) -> None:
    writer = make()
    await writer.put()
    writer.worker.stop()
    await writer.until(lambda: writer.stats.accepted == 1)
    with pytest.raises(WriterClosedError):
        await writer.put()


def test_an_event_loop_that_ends_before_the_writer_is_closed_reports_what_is_left() -> None:
    reports: list[WriteFailure] = []

    async def leave() -> AsyncWorker[WriteFailure]:
        worker = AsyncWorker(
            OBSERVATIONS, Stub().asynchronously, POLICY, WriterOptions(max_batch_age=60), reports.append
        )
        await worker.put(b"")
        await asyncio.sleep(0)
        return worker

    worker = asyncio.run(leave())
    assert [(report.kind, report.count) for report in reports] == [(FailureKind.UNSENT, 1)]
    assert worker.stats == WriterStats(unsent=1)
