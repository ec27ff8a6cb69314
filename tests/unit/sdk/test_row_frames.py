"""Observations of a writer as frames: the same samples, and every outcome finds its observation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamgauge import _encode
from streamgauge._batches import Batch
from streamgauge._deliveries import Delivery
from streamgauge._failures import FailureKind, WriteFailure
from streamgauge._row_frames import FRAME_ROWS, framed
from streamgauge._wires import EMITS, OBSERVATIONS
from streamgauge.enums import Scalar
from streamgauge.sample_frames import SampleFrame
from streamgauge.v1 import common_pb2, errors_pb2
from streamgauge.v1 import metrics_service_pb2 as pb

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def item(
    at: int,
    values: dict[str, Scalar] | None = None,
    subject: str = "sources/a",
    part: str = "",
    start: int | None = None,
) -> bytes:
    """An observation as a writer keeps it, `at` so many microseconds."""
    began = None if start is None else T0 + timedelta(microseconds=start)
    given_values = {"m": at} if values is None else values
    message = _encode.observation(subject, given_values, T0 + timedelta(microseconds=at), part, began)
    return message.SerializeToString()


def many(count: int = FRAME_ROWS, **arguments: Any) -> list[bytes]:
    return [item(at, **arguments) for at in range(count)]


Sample = tuple[str, str, object, str, int, type, Scalar]


def samples(frames: list[common_pb2.Frame]) -> list[Sample]:
    """Samples of frames, in order."""
    return [
        (frame.subject, frame.part, frame.start_time, metric, frame.times[row], type(value), value)
        for frame in map(SampleFrame, frames)
        for metric, column in frame.columns.items()
        for row, value in zip(column.rows, column.values, strict=True)
    ]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sources/a", "sources/b"]),
            st.sampled_from(["", "0"]),
            st.sampled_from([None, 0, 1]),
            st.dictionaries(
                st.sampled_from("xyz"), st.integers(-5, 5) | st.booleans() | st.text(max_size=2), min_size=1
            ),
        ),
        max_size=150,
    )
)
def test_frames_hold_the_observations_that_are_not_left_as_rows(
    rows: list[tuple[str, str, int | None, dict[str, Scalar]]],
) -> None:
    items = [item(at, values, subject, part, start) for at, (subject, part, start, values) in enumerate(rows)]
    found = framed(items)
    if found is None:
        return
    wanted = set()
    placed = [index for frame in found.frames for index in frame]
    for index in placed:
        subject, part, start, values = rows[index]
        began = None if start is None else T0 + timedelta(microseconds=start)
        time = (T0 - _encode.EPOCH) // timedelta(microseconds=1) + index
        wanted |= {(subject, part, began, metric, time, type(value), value) for metric, value in values.items()}
    frames = list(pb.ImportMetricsRequest.FromString(found.message).frames)
    assert set(samples(frames)) == wanted
    assert sorted([*placed, *found.others]) == list(range(len(items)))
    assert {(rows[i][0], rows[i][1]) for i in placed}.isdisjoint({(rows[i][0], rows[i][1]) for i in found.others})


def test_few_observations_stay_rows() -> None:
    assert framed(many(FRAME_ROWS - 1)) is None
    found = framed(many())
    assert found is not None
    assert (found.frames, found.others) == ([list(range(FRAME_ROWS))], [])
    assert framed([*many(FRAME_ROWS - 1), *many(FRAME_ROWS - 1, subject="sources/b")]) is None


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(item(99, {"m": "text"}), id="a metric of two types"),
        pytest.param(_encode.observation("sources/a", {"m": 1}, None, "", None).SerializeToString(), id="no moment"),
        pytest.param(_encode.observation("sources/a", {}, T0, "", None).SerializeToString(), id="no value"),
    ],
)
def test_what_columns_cannot_hold_stays_rows(odd: bytes) -> None:
    assert framed([*many(), odd]) is None


def test_start_times_that_change_all_the_time_stay_rows() -> None:
    assert framed([item(at, start=at % 2) for at in range(4 * FRAME_ROWS)]) is None
    found = framed([item(at, start=at // FRAME_ROWS) for at in range(4 * FRAME_ROWS)])
    assert found is not None
    assert len(found.frames) == 4


def refusal(index: int) -> pb.WriteError:
    return pb.WriteError(index=index, subject="sources/a", reason=errors_pb2.ERROR_REASON_INVALID_FIELD, message="bad")


def rows_in(body: bytes) -> list[int]:
    """The values of the observations in a request of rows."""
    return [o.values["m"].int64_value for o in pb.WriteMetricsRequest.FromString(body).observations]


ITEMS = [item(900, subject="sources/few"), *many(40), *many(50, subject="sources/b")]


def delivery() -> Delivery[WriteFailure]:
    return Delivery(OBSERVATIONS, Batch(tuple(ITEMS), 0, "id"), in_frames=True)


def test_the_rest_goes_as_rows_after_the_frames() -> None:
    sent = delivery()
    assert sent.in_frames
    assert [len(f.time_unix_micros) for f in pb.ImportMetricsRequest.FromString(sent.body).frames] == [40, 50]
    sent.answered(pb.ImportMetricsResponse(accepted_frame_count=2))
    assert (sent.in_frames, sent.done, rows_in(sent.body)) == (False, False, [900])
    assert pb.WriteMetricsRequest.FromString(sent.body).request_id == "id"
    sent.answered(pb.WriteMetricsResponse(accepted_count=1))
    assert (sent.done, sent.failure) == (True, None)


def test_a_refused_frame_goes_again_as_rows_and_its_bad_observations_are_found() -> None:
    sent = delivery()
    sent.answered(pb.ImportMetricsResponse(accepted_frame_count=1, rejected_frame_count=1, errors=[refusal(1)]))
    assert rows_in(sent.body) == [900, *range(50)]
    sent.answered(pb.WriteMetricsResponse(accepted_count=50, rejected_count=1, errors=[refusal(8)]))
    assert sent.failure is not None
    assert (sent.failure.kind, sent.failure.count) == (FailureKind.REJECTED, 1)
    assert [error.index for error in sent.failure.errors] == [48]
    (observation,) = sent.failure.observations()
    assert (observation.subject, observation.values) == ("sources/b", {"m": 7})


def test_with_more_refused_frames_than_are_named_all_go_again() -> None:
    sent = delivery()
    sent.answered(pb.ImportMetricsResponse(rejected_frame_count=2, errors=[refusal(1)], errors_truncated=1))
    assert rows_in(sent.body) == [900, *range(40), *range(50)]


def test_when_frames_fail_for_good_the_rows_tell_why() -> None:
    sent = delivery()
    sent.failed(ValueError("frames"))
    assert (sent.done, sent.in_frames, len(rows_in(sent.body))) == (False, False, len(ITEMS))
    sent.failed(ValueError("rows"))
    assert sent.failure is not None
    assert (sent.failure.kind, sent.failure.count, str(sent.failure.error)) == (FailureKind.FAILED, len(ITEMS), "rows")


def test_when_the_rest_fails_for_good_what_frames_have_stored_is_not_reported() -> None:
    sent = delivery()
    sent.answered(pb.ImportMetricsResponse(accepted_frame_count=2))
    sent.failed(ValueError("rows"))
    assert sent.failure is not None
    assert (sent.failure.count, [o.subject for o in sent.failure.observations()]) == (1, ["sources/few"])


def test_nothing_is_left_when_all_went_in_frames() -> None:
    sent = Delivery(OBSERVATIONS, Batch(tuple(many()), 0, "id"), in_frames=True)
    sent.answered(pb.ImportMetricsResponse(accepted_frame_count=1))
    assert (sent.done, sent.failure) == (True, None)


def test_emits_never_go_in_frames() -> None:
    assert EMITS.framed is None
