"""The queue of a writer and the batches cut from it."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamgauge import FailureKind, StreamgaugeError, WriteError, WriteFailure, WriterStats, _encode
from streamgauge._batches import Batch, BatchQueue, WriterOptions, may_pass, settled
from streamgauge._wires import OBSERVATIONS
from streamgauge.v1 import common_pb2, errors_pb2, metrics_service_pb2


def options(**changes: float) -> WriterOptions:
    defaults = {"max_batch_items": 3, "max_batch_bytes": 100, "max_batch_age": 10.0}
    return WriterOptions(**{**defaults, "max_queue_items": 10, "max_queue_bytes": 1_000, **changes})  # type: ignore[arg-type]


@given(st.lists(st.binary(max_size=40), max_size=12), st.text("abc0", max_size=200))
def test_a_batch_is_encoded_as_protobuf_would(items: list[bytes], request_id: str) -> None:
    observations = [common_pb2.Observation(subject=item.hex()) for item in items]
    batch = Batch(tuple(o.SerializeToString() for o in observations), 0, request_id)
    read = metrics_service_pb2.WriteMetricsRequest.FromString(OBSERVATIONS.body(batch))
    assert read == metrics_service_pb2.WriteMetricsRequest(observations=observations, request_id=request_id)


def test_an_observation_over_a_megabyte_is_encoded_right() -> None:
    observation = common_pb2.Observation(subject="x" * 3_000_000)
    body = OBSERVATIONS.body(Batch((observation.SerializeToString(),), 0))
    assert metrics_service_pb2.WriteMetricsRequest.FromString(body).observations[0] == observation


def test_the_same_batch_always_has_the_same_bytes_and_another_batch_another_request_id() -> None:
    batch = Batch((b"",), 0)
    assert OBSERVATIONS.body(batch) == OBSERVATIONS.body(batch)
    assert Batch((b"",), 0).request_id != batch.request_id


def test_a_batch_is_due_when_it_has_enough_items_or_bytes_or_age() -> None:
    queue = BatchQueue(options())
    assert queue.due_in(0.0) is None
    queue.push(b"x", 5.0)
    assert queue.due_in(7.0) == 8.0
    assert queue.due_in(15.0) == 0.0
    queue.push(b"y", 8.0)
    assert queue.due_in(8.0) == 7.0
    queue.push(b"z", 8.0)
    assert queue.due_in(8.0) == 0.0
    queue = BatchQueue(options())
    queue.push(b"x" * 100, 0.0)
    assert queue.due_in(0.0) == 0.0


def test_a_batch_takes_the_oldest_up_to_its_bounds_and_at_least_one() -> None:
    queue = BatchQueue(options(max_batch_bytes=10))
    for item in (b"aaaa", b"bbbb", b"cccc", b"d" * 50, b"e"):
        queue.push(item, 0.0)
    taken = [queue.take() for _ in range(4)]
    assert [batch.items for batch in taken] == [(b"aaaa", b"bbbb"), (b"cccc",), (b"d" * 50,), (b"e",)]
    assert [batch.first for batch in taken] == [0, 2, 3, 4]
    assert (len(queue), queue.head, queue.next) == (0, 5, 5)


def test_a_full_queue_makes_room_by_dropping_the_oldest() -> None:
    queue = BatchQueue(options(max_queue_items=3, max_queue_bytes=10))
    for item in (b"aaa", b"bbb", b"ccc"):
        assert queue.fits(len(item))
        queue.push(item, 0.0)
    assert not queue.fits(1)
    assert queue.make_room(1) == 1
    assert queue.make_room(1) == 0
    assert queue.make_room(8) == 2
    queue.push(b"x" * 8, 0.0)
    assert queue.take().items == (b"x" * 8,)


def test_clearing_returns_everything_and_leaves_the_numbers_rising() -> None:
    queue = BatchQueue(options())
    queue.push(b"a", 0.0)
    queue.push(b"b", 0.0)
    assert queue.clear() == (b"a", b"b")
    queue.push(b"c", 0.0)
    assert (queue.head, queue.fits(1_000), queue.fits(999)) == (2, False, True)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=30), st.booleans())))
def test_nothing_is_lost_or_reordered_whatever_comes_and_goes(steps: list[tuple[bytes, bool]]) -> None:
    queue = BatchQueue(options(max_batch_bytes=40))
    came: list[bytes] = []
    went: list[bytes] = []
    for item, take in steps:
        if not queue.fits(len(item)):
            dropped = queue.make_room(len(item))
            went += came[len(went) : len(went) + dropped]
        queue.push(item, 0.0)
        came.append(item)
        if take:
            batch = queue.take()
            assert batch.first == len(went)
            went += batch.items
    went += queue.clear()
    assert went == came


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_batch_items": 0},
        {"max_batch_bytes": 0},
        {"max_queue_items": -1},
        {"max_queue_bytes": 0},
        {"max_batch_age": -0.1},
        {"block_timeout": -1},
        {"close_timeout": -1},
    ],
)
def test_wrong_options_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        options(**wrong)


def test_an_unknown_overflow_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="newest"):
        WriterOptions(overflow="newest")


def test_a_report_of_refused_items_has_their_reasons_and_gives_them_back() -> None:
    messages = [_encode.observation(f"sources/{i}", {"a": i}, None, "", None) for i in range(4)]
    batch = Batch(tuple(message.SerializeToString() for message in messages), 0)
    response = metrics_service_pb2.WriteMetricsResponse(accepted_count=2, rejected_count=2)
    for index in (1, 3, 3):
        response.errors.add(
            index=index,
            subject=f"sources/{index}",
            metric="a",
            reason=errors_pb2.ERROR_REASON_INVALID_FIELD,
            message="m",
        )
    failure = OBSERVATIONS.rejected(batch, response)
    assert failure is not None
    assert (failure.kind, failure.count, len(failure.errors)) == (FailureKind.REJECTED, 2, 3)
    assert failure.errors[0] == WriteError(1, "sources/1", "a", "INVALID_FIELD", "m")
    assert [(o.subject, o.values) for o in failure.observations()] == [("sources/1", {"a": 1}), ("sources/3", {"a": 3})]
    assert str(failure).startswith("2 observations were not stored (rejected): sources/1 a: INVALID_FIELD: m")
    assert OBSERVATIONS.rejected(batch, metrics_service_pb2.WriteMetricsResponse(accepted_count=4)) is None


def test_every_observation_of_a_batch_is_in_one_column_of_the_books() -> None:
    batch = Batch((b"a", b"b", b"c"), 0)
    assert settled(WriterStats(), batch, None) == WriterStats(accepted=3, batches=1)
    refused = WriteFailure(FailureKind.REJECTED, 1)
    assert settled(WriterStats(), batch, refused) == WriterStats(accepted=2, rejected=1, batches=1)
    failed = WriteFailure(FailureKind.FAILED, 3)
    assert settled(WriterStats(accepted=1), batch, failed) == WriterStats(accepted=1, failed=3, batches=1)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StreamgaugeError("", code=grpc.StatusCode.UNAVAILABLE), True),
        (StreamgaugeError("", code=grpc.StatusCode.DEADLINE_EXCEEDED), True),
        (StreamgaugeError("", code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=1.0), True),
        (StreamgaugeError("", code=grpc.StatusCode.RESOURCE_EXHAUSTED), False),
        (StreamgaugeError("", code=grpc.StatusCode.PERMISSION_DENIED), False),
        (StreamgaugeError("", code=grpc.StatusCode.CANCELLED), False),
        (RuntimeError("the client is closed"), False),
    ],
)
def test_a_writer_tries_again_what_may_pass(error: Exception, expected: bool) -> None:
    assert may_pass(error) is expected
