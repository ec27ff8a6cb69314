"""`ExportMetrics`: frames out, as a stream; that they make the same store again, and where a broken stream goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

import pytest
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, update
from streamgauge.v1 import asset_metric_service_pb2, common_pb2
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge_server.model.assets import asset_id
from streamgauge_server.model.clock import MIN_MICROS, FixedClock
from streamgauge_server.model.limits import Limits
from streamgauge_server.storage import tables

from tests.rpc.asset_messages import emit, question
from tests.rpc.messages import DAY, HOUR, MINUTE, NOW, SECOND, TODAY, batch, column, frame, query, row, stamp, write
from tests.rpc.serving import Start, Stubs, invalid, refused
from tests.rpc.test_asset_scopes import token

URN = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)"
ASSET = f"assets/{asset_id(URN)}"

Sample = tuple[str, str, str, int, str, Any, int | None]
"""Subject, part, metric, moment, type, value (doubles in hexadecimal), start time."""


def asked(*subjects: str, kind: str = "", start: int | None = None, end: int | None = None, **fields: Any) -> Any:
    request = pb.ExportMetricsRequest(subjects=subjects, **fields)
    if kind:
        request.subject_kind = common_pb2.SubjectKind.Value(f"SUBJECT_KIND_{kind}")
    if start is not None:
        request.time_range.start_time.CopyFrom(stamp(start))
    if end is not None:
        request.time_range.end_time.CopyFrom(stamp(end))
    return request


async def export(stubs: Stubs, request: pb.ExportMetricsRequest) -> list[pb.ExportMetricsResponse]:
    return [message async for message in stubs.metrics.ExportMetrics(request)]


async def frames_of(stubs: Stubs, request: pb.ExportMetricsRequest) -> list[common_pb2.Frame]:
    return [frame for message in await export(stubs, request) for frame in message.frames]


def samples_in(frames: Iterable[common_pb2.Frame]) -> list[Sample]:
    found: list[Sample] = []
    for one in frames:
        start = None
        if one.HasField("start_time"):
            start = one.start_time.seconds * SECOND + one.start_time.nanos // 1000
        for held in one.columns:
            member = held.WhichOneof("values")
            assert member is not None
            values = list(getattr(held, member).values)
            rows = list(held.rows) or range(len(one.time_unix_micros))
            for place, item in zip(rows, values, strict=True):
                told = item.hex() if isinstance(item, float) else item
                found.append((one.subject, one.part, held.metric, one.time_unix_micros[place], member, told, start))
    return sorted(found, key=repr)


async def load(stubs: Stubs, frames: Iterable[common_pb2.Frame]) -> None:
    answer = await stubs.metrics.ImportMetrics(iter([batch(one) for one in frames]))
    assert answer.rejected_frame_count == 0, answer.errors


async def test_everything_comes_out_as_it_went_in(stubs: Stubs) -> None:
    sent = [
        frame([NOW, NOW + SECOND], column("bytes", [5, 2**63 - 1]), column("load", [0.5, -0.0]), start=NOW - HOUR),
        frame([NOW - DAY], column("up", [True]), column("state", ["ü"]), part="0"),
        frame([NOW], column("records", [1]), subject="sources/b"),
    ]
    await load(stubs, sent)
    found = await frames_of(stubs, asked("sources/b", "sources/a"))
    assert samples_in(found) == samples_in(sent)
    assert [(one.subject, one.part) for one in found] == [("sources/a", ""), ("sources/a", "0"), ("sources/b", "")]


async def test_metrics_and_range_are_chosen(stubs: Stubs) -> None:
    await load(stubs, [frame([NOW, NOW + 1, NOW + 2], column("x", [1, 2, 3]), column("y", [4], [1]))])
    found = await frames_of(stubs, asked("sources/a", metrics=["y", "z"]))
    assert [(list(one.time_unix_micros), [c.metric for c in one.columns]) for one in found] == [([NOW + 1], ["y"])]
    found = await frames_of(stubs, asked("sources/a", start=NOW + 1, end=NOW + 2))
    assert [sample[2:4] for sample in samples_in(found)] == [("x", NOW + 1), ("y", NOW + 1)]
    assert await frames_of(stubs, asked("sources/a", start=NOW + 3)) == []


async def test_what_was_overwritten_is_not_sent(stubs: Stubs) -> None:
    for number in range(3):
        await stubs.metrics.WriteMetrics(write(row({"x": number, f"y{number}": 1}, start=NOW - number - 1)))
    found = samples_in(await frames_of(stubs, asked("sources/a")))
    assert [sample[2:] for sample in found] == [
        ("x", NOW, "ints", 2, NOW - 3),
        ("y0", NOW, "ints", 1, NOW - 1),
        ("y1", NOW, "ints", 1, NOW - 2),
        ("y2", NOW, "ints", 1, NOW - 3),
    ]


async def test_samples_of_different_start_times_are_in_frames_of_their_own(stubs: Stubs) -> None:
    rows = [row({"x": place}, at=NOW + place, start=[None, NOW - HOUR, NOW - DAY][place % 3]) for place in range(9)]
    await stubs.metrics.WriteMetrics(write(*rows))
    found = await frames_of(stubs, asked("sources/a"))
    assert [(one.HasField("start_time"), one.start_time, list(one.columns[0].ints.values)) for one in found] == [
        (False, stamp(0), [0, 3, 6]),
        (True, stamp(NOW - DAY), [2, 5, 8]),
        (True, stamp(NOW - HOUR), [1, 4, 7]),
    ]


async def test_columns_come_by_name_whatever_their_metrics_ids_and_start_times(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(write(row({"d": 1, "b": 1}, at=NOW, start=NOW - HOUR)))
    await stubs.metrics.WriteMetrics(write(row({"c": 1}, at=NOW, start=NOW - DAY), row({"c": 1, "a": 1}, at=NOW + 1)))
    await stubs.metrics.WriteMetrics(write(row({"a": 1}, at=NOW, start=NOW - HOUR)))
    await stubs.metrics.WriteMetrics(write(row({"e": 1, "d": 1, "b": 1}, at=NOW + 1)))
    found = await frames_of(stubs, asked("sources/a"))
    assert sorted([held.metric for held in one.columns] for one in found) == [
        ["a", "b", "c", "d", "e"],
        ["a", "b", "d"],
        ["c"],
    ]


async def test_a_metric_of_several_types_has_a_frame_for_each_further_type(stubs: Stubs) -> None:
    await stubs.assets.CreateAsset(
        asset_metric_service_pb2.CreateAssetRequest(asset=asset_metric_service_pb2.Asset(urn=URN))
    )
    values: list[Any] = [1, 2.5, True, "t", 2**63 - 1]
    rows = [row({"m": item, "n": 0.5}, at=NOW + place, subject=ASSET) for place, item in enumerate(values)]
    assert not (await stubs.metrics.WriteMetrics(write(*rows))).errors
    found = await frames_of(stubs, asked(ASSET))
    assert [[(c.metric, c.WhichOneof("values")) for c in one.columns] for one in found] == [
        [("m", "doubles"), ("n", "doubles")],
        [("m", "ints")],
        [("m", "bools")],
        [("m", "strings")],
    ]
    assert [(sample[3] - NOW, sample[5]) for sample in samples_in(found) if sample[2] == "m"] == [
        (place, item.hex() if isinstance(item, float) else item) for place, item in enumerate(values)
    ]


async def test_an_assets_moments_before_1970_come_back(start: Start) -> None:
    there, back = await start(), await start()
    for stubs in (there, back):
        await stubs.assets.CreateAsset(
            asset_metric_service_pb2.CreateAssetRequest(asset=asset_metric_service_pb2.Asset(urn=URN))
        )
    moments = [MIN_MICROS, -DAY, -1_000, 0, NOW + HOUR]
    for place, at in enumerate(moments):
        await emit(there, {"rows": place}, asset=URN, at=at)
    frames = await frames_of(there, asked(ASSET))
    assert [time for one in frames for time in one.time_unix_micros] == [moment & (2**64 - 1) for moment in moments]
    await load(back, frames)
    assert await frames_of(back, asked(ASSET)) == frames
    listed = [await stubs.assets.ListAssetMetrics(question(URN, start=MIN_MICROS)) for stubs in (there, back)]
    assert listed[0] == listed[1]
    assert len(listed[0].moments) == len(moments)


@pytest.mark.parametrize("time", [-(2**63), MIN_MICROS - 1])
async def test_moments_that_no_asset_has_are_refused(stubs: Stubs, time: int) -> None:
    await stubs.assets.CreateAsset(
        asset_metric_service_pb2.CreateAssetRequest(asset=asset_metric_service_pb2.Asset(urn=URN))
    )
    sent = frame([5, time & (2**64 - 1)], column("rows", [1, 2]), subject=ASSET)
    (error,) = (await stubs.metrics.ImportMetrics(iter([batch(sent)]))).errors
    assert error.message == "time_unix_micros[1]: must be between 0001-01-01T00:00:00Z and the end of the year 9999"


async def test_progress_and_unknown_subjects_are_told(stubs: Stubs) -> None:
    await load(stubs, [frame([NOW], column("x", [1]), subject=f"sources/{name}", part=part) for name, part in PARTS])
    (message,) = await export(stubs, asked(kind="SOURCE"))
    assert [(one.subject, one.part) for one in message.frames] == [(f"sources/{name}", part) for name, part in PARTS]
    # The part's subject as a whole counts, too, and so does a subject without samples.
    assert (message.subject_count, message.subjects_done, message.cursor != "") == (4, 4, True)
    (message,) = await export(stubs, asked("sources/nobody", "sources/a"))
    assert (list(message.unknown_subjects), message.subjects_done, message.subject_count) == (["sources/nobody"], 1, 1)
    (message,) = await export(stubs, asked(kind="JOB"))
    assert (len(message.frames), message.subject_count) == (0, 0)


PARTS = [("A", ""), ("a", ""), ("b", "7")]


@pytest.mark.parametrize("by_kind", [True, False])
@pytest.mark.parametrize(("limit", "messages"), [(100_000, 1), (6_000, 5), (1_200, 18)])
async def test_an_export_goes_on_after_any_cursor(start: Start, by_kind: bool, limit: int, messages: int) -> None:
    stubs = await start(limits=Limits(max_response_bytes=limit))
    frames = [
        frame(
            [TODAY - day * DAY + row * MINUTE for row in range(60)], column("x", range(60)), subject=f"sources/{name}"
        )
        for name in "abc"
        for day in range(3)
    ]
    await load(stubs, frames)
    request = asked(kind="SOURCE") if by_kind else asked("sources/c", "sources/a", "sources/b")
    whole = await export(stubs, request)
    assert len(whole) == messages
    done = [message.subjects_done for message in whole]
    assert (done, done[-1], {message.subject_count for message in whole}) == (sorted(done), 3, {3})
    sent: list[common_pb2.Frame] = []
    cursor = ""
    for message in whole:
        if message.cursor != cursor:  # what came up to here is whole
            rest = [part async for part in stubs.metrics.ExportMetrics(with_cursor(request, cursor))]
            assert rest[-1].subjects_done == 3
            assert samples_in([*sent, *(one for part in rest for one in part.frames)]) == samples_in(frames)
            sent = [one for part in whole[: whole.index(message) + 1] for one in part.frames]
            cursor = message.cursor
    assert samples_in(sent) == samples_in(frames)


def with_cursor(request: pb.ExportMetricsRequest, cursor: str) -> pb.ExportMetricsRequest:
    copy = pb.ExportMetricsRequest()
    copy.CopyFrom(request)
    copy.cursor = cursor
    return copy


async def test_a_cursor_is_bound_to_its_request(stubs: Stubs) -> None:
    await load(stubs, [frame([NOW], column("x", [1]))])
    (message,) = await export(stubs, asked("sources/a", metrics=["x"]))
    (after,) = await export(stubs, asked("sources/a", metrics=["x"], cursor=message.cursor))
    assert (len(after.frames), after.subjects_done) == (0, 1)
    others = [
        asked("sources/a", cursor=message.cursor),
        asked("sources/a", metrics=["x"], start=0, cursor=message.cursor),
        asked(kind="SOURCE", metrics=["x"], cursor=message.cursor),
        asked("sources/a", metrics=["x"], cursor="!"),
    ]
    for request in others:
        with invalid("PAGE_TOKEN_MISMATCH") as refusal:
            await export(stubs, request)
        assert refusal.metadata["field"] == "cursor"


async def test_bad_requests_are_refused_with_every_reason(stubs: Stubs) -> None:
    with invalid() as refusal:
        await export(stubs, asked("sources/a", "x", kind="SOURCE", metrics=["", "ok"]))
    assert refusal.violations.keys() == {"subjects[1]", "subject_kind", "metrics[0]"}
    with invalid() as refusal:
        await export(stubs, asked())
    assert refusal.violations.keys() == {"subject_kind"}
    with invalid("INVALID_TIME_RANGE"):
        await export(stubs, asked("sources/a", start=NOW, end=NOW))


async def test_messages_stay_within_the_limit_whatever_they_hold(start: Start) -> None:
    limits = Limits(max_response_bytes=20_000, max_samples_per_frame=50, max_metrics_per_observation=30)
    stubs = await start(limits=limits)
    texts = {f"text{number:02}": "ü" * 2_000 for number in range(25)}
    for at in (NOW, NOW + 1):
        await stubs.metrics.WriteMetrics(write(row(dict(texts), at=at)))
    numbers = [frame([NOW + row for row in range(10)], column(f"n{place}", range(10))) for place in range(40)]
    await load(stubs, numbers)
    messages = await export(stubs, asked("sources/a"))
    frames = [one for message in messages for one in message.frames]
    assert all(message.ByteSize() <= limits.max_response_bytes for message in messages)
    assert all(len(one.columns) <= 30 and len(samples_in([one])) <= 50 for one in frames)
    assert len(samples_in(frames)) == len(set(samples_in(frames))) == 2 * 25 + 10 * 40


async def test_each_kind_needs_its_scope(start: Start, clock: FixedClock) -> None:
    stubs = await start(auth="required")
    reader = await token(stubs, clock, "read:source_metrics", "write:jobs")
    assert len([one async for one in stubs.metrics.ExportMetrics(asked(kind="SOURCE"), metadata=reader)]) == 1
    for request in (asked(kind="JOB"), asked("sources/a", "jobs/j")):
        with refused(StatusCode.PERMISSION_DENIED, "SCOPE_MISSING") as refusal:
            await stubs.metrics.ExportMetrics(request, metadata=reader).read()
        assert refusal.metadata["scope"] == "read:jobs"


async def test_a_damaged_block_is_named_and_the_rest_is_sent(stubs: Stubs) -> None:
    for at, value in ((NOW, 1), (NOW + SECOND, 2), (NOW - DAY, 3)):
        await stubs.metrics.WriteMetrics(write(row({"x": value}, at=at)))
    await damage(stubs, NOW + SECOND)
    (message,) = await export(stubs, asked("sources/a"))
    assert [sample[5] for sample in samples_in(message.frames)] == [3, 1]
    assert list(message.damaged) == ["sources/a 2026-01-01"]


async def damage(stubs: Stubs, at: int) -> None:
    """Flips a bit of the block that begins at a moment."""
    assert stubs.app is not None
    assert stubs.app.store is not None
    t = tables.blocks.c

    def flip(connection: Connection) -> None:
        data = bytearray(connection.execute(select(t.data).where(t.first_time == at)).scalar_one())
        data[-1] ^= 1
        connection.execute(update(tables.blocks).where(t.first_time == at).values(data=bytes(data)))

    await stubs.app.store.subject_days._database.write(flip)


VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "int": st.integers(-(2**63), 2**63 - 1),
    "flag": st.booleans(),
    "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
}
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["", "0", "1"]),
        st.sampled_from([NOW - DAY, NOW - 1, NOW, NOW + 1, NOW + MINUTE]),
        st.sampled_from([None, 0, NOW - 2 * DAY, NOW - DAY]),
        st.fixed_dictionaries({}, optional=VALUES).filter(bool),
    ),
    min_size=1,
    max_size=12,
)


NUMBERS = count()
"""For subjects of their own: all examples share two servers."""


@pytest.fixture
async def empty(start: Start) -> Stubs:
    return await start()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
async def test_an_export_and_an_import_make_the_same_store_again(
    stubs: Stubs, empty: Stubs, rows: list[tuple[str, int, int | None, dict[str, Any]]]
) -> None:
    subject = f"sources/s{next(NUMBERS)}"
    for part, at, start_time, values in rows:
        message = write(row(values, subject=subject, part=part, at=at, start=start_time))
        assert not (await stubs.metrics.WriteMetrics(message)).errors
    frames = await frames_of(stubs, asked(subject))
    await load(empty, frames)
    assert await frames_of(empty, asked(subject)) == frames
    question = query(subject, start=NOW - 2 * DAY, end=NOW + DAY, window=(1, "HOUR"))
    assert await columns(empty, question) == await columns(stubs, question)
    latest = pb.GetLatestMetricsRequest(subjects=[subject], by_part=True)
    assert await newest(empty, latest) == await newest(stubs, latest)


async def columns(stubs: Stubs, question: pb.QueryMetricsRequest) -> list[str]:
    (series,) = (await stubs.metrics.QueryMetrics(question)).series
    return sorted(map(str, series.columns))


async def newest(stubs: Stubs, asked: pb.GetLatestMetricsRequest) -> dict[str, list[str]]:
    answer = await stubs.metrics.GetLatestMetrics(asked)
    return {one.part: sorted(map(str, one.values)) for one in answer.subjects}
