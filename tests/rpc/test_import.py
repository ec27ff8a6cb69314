"""`ImportMetrics`: frames in, as a stream; what is stored, what is refused, and what a broken stream leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from streamgauge.v1 import common_pb2, errors_pb2, source_service_pb2
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge_server.model.limits import Limits

from tests.rpc.messages import (
    DAY,
    HOUR,
    NOW,
    SECOND,
    Scalar,
    ask,
    batch,
    column,
    columns_of,
    frame,
    latest_of,
    query,
    row,
    series_of,
    values_of,
    write,
)
from tests.rpc.serving import Start, Stubs, invalid, refused

LAG = "StreamingMilliSecondsBehindSource"


async def load(stubs: Stubs, *messages: pb.ImportMetricsRequest) -> pb.ImportMetricsResponse:
    return await stubs.metrics.ImportMetrics(iter(messages))


async def latest(stubs: Stubs, source: str = "sources/a") -> dict[str, Scalar | None]:
    (answer,) = (await stubs.metrics.GetLatestMetrics(pb.GetLatestMetricsRequest(subjects=[source]))).subjects
    return latest_of(answer)


async def counts(stubs: Stubs, *subjects: str) -> dict[tuple[str, str], Scalar | None]:
    """How many samples there are by subject and metric."""
    request = query(*subjects, start=0, end=NOW + HOUR, aggregates=["COUNT"])
    found = columns_of(await stubs.metrics.QueryMetrics(request))
    return {(subject, metric): values[0] for (subject, _, metric, _), values in found.items()}


async def names(stubs: Stubs) -> tuple[list[str], set[str]]:
    """The sources, and their metrics that are not built in."""
    sources = await stubs.sources.ListSources(source_service_pb2.ListSourcesRequest())
    metrics = await stubs.metrics.ListMetricDescriptors(pb.ListMetricDescriptorsRequest(page_size=1000))
    return [s.name for s in sources.sources], {d.metric for d in metrics.metric_descriptors if not d.built_in}


async def test_every_type_comes_back_as_it_was_written(stubs: Stubs) -> None:
    answer = await load(
        stubs,
        batch(
            frame(
                [NOW - 2, NOW - 1, NOW],
                column("ints", [0, -(2**63), 2**63 - 1]),
                column("doubles", [0.0, 1.5, -1e308]),
                column("bools", [False, False, True]),
                column("texts", ["", "b", "grüße 👋"]),
            )
        ),
    )
    assert (answer.accepted_frame_count, answer.rejected_frame_count, answer.accepted_sample_count) == (1, 0, 12)
    assert await latest(stubs) == {"ints": 2**63 - 1, "doubles": -1e308, "bools": True, "texts": "grüße 👋"}
    first = await stubs.metrics.QueryMetrics(query(start=NOW - 2, end=NOW + 1, aggregates=["FIRST"]))
    assert {key[2]: values for key, values in columns_of(first).items()} == {
        "ints": [0],
        "doubles": [0.0],
        "bools": [False],
        "texts": [""],
    }


async def test_rows_may_be_out_of_order_and_the_later_row_of_a_moment_stands(stubs: Stubs) -> None:
    times = [NOW - 1, NOW - 3 * HOUR, NOW - 1, NOW - 2 * HOUR]
    await load(stubs, batch(frame(times, column("x", [1, 2, 3, 4]))))
    answer = await stubs.sources.GetSourceMetrics(ask(start=NOW - 3 * HOUR, end=NOW, metrics=["x"]))
    assert series_of(answer)["x"] == [2, 4, 3]
    assert await counts(stubs) == {("sources/a", "x"): 3}


async def test_columns_may_cover_some_rows_only(stubs: Stubs) -> None:
    times = [NOW - 2, NOW - 1, NOW]
    answer = await load(stubs, batch(frame(times, column("x", [5, 6], [0, 2]), column("y", ["a"], [1]))))
    assert answer.accepted_sample_count == 3
    assert await latest(stubs) == {"x": 6, "y": "a"}
    assert await counts(stubs) == {("sources/a", "x"): 2, ("sources/a", "y"): 1}


async def test_one_frame_may_span_many_days(stubs: Stubs) -> None:
    times = [NOW - n * 7 * HOUR for n in range(200)]
    await load(stubs, batch(frame(times, column("x", list(range(200))))))
    answer = await stubs.metrics.QueryMetrics(
        query(start=NOW - 200 * 7 * HOUR, end=NOW + 1, window=(1, "DAY"), aggregates=["COUNT"])
    )
    counted = columns_of(answer)["sources/a", "", "x", "COUNT"]
    assert sum(value for value in counted if isinstance(value, int)) == 200
    assert len(answer.window_bounds) == 60


async def test_a_frame_has_one_start_time_and_one_part(stubs: Stubs) -> None:
    await load(
        stubs,
        batch(
            frame([NOW - 9, NOW - 8], column("byteTotal", [10, 20]), part="0", start=5),
            frame([NOW - 7, NOW - 6], column("byteTotal", [30, 40]), part="0", start=NOW - 7),
            frame([NOW - 9, NOW - 5], column("byteTotal", [100, 1_000]), part="1"),
        ),
    )
    answer = await stubs.sources.GetSourceMetrics(ask("TIMESUMMARY", end=NOW, metrics=["byteTotal"]))
    (entry,) = answer.timesummary
    assert (entry.value.int64_value, entry.reset_count) == (10 + 40 + 900, 1)
    assert await latest(stubs) == {"byteTotal": 20 + 40 + 1_000}


async def test_sending_a_stream_again_changes_nothing(stubs: Stubs) -> None:
    messages = [batch(frame([NOW - n, NOW - n - 1], column("byteTotal", [n, n + 3]))) for n in range(5)]
    first = await load(stubs, *messages)
    before = (await counts(stubs), await latest(stubs))
    assert await load(stubs, *messages) == first
    assert (await counts(stubs), await latest(stubs)) == before


async def test_later_messages_of_a_stream_stand_over_earlier_ones(stubs: Stubs) -> None:
    """Also when the earlier one has to register sources first, which takes a while."""
    await load(stubs, batch(frame([NOW - 9], column("x", [0]))))
    new = [frame([NOW], column("x", [1]), subject=f"sources/new-{n}") for n in range(200)]
    messages = [
        batch(*new, frame([NOW], column("x", [1]))),
        *(batch(frame([NOW], column("x", [n]))) for n in (2, 3, 4)),
    ]
    await load(stubs, *messages)
    assert await latest(stubs) == {"x": 4}
    answer = await stubs.metrics.QueryMetrics(query(start=NOW, end=NOW + 1, aggregates=["LAST"]))
    assert values_of(answer.series[0].columns[0]) == [4]


async def test_rows_and_columns_may_be_mixed(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(write(row({"x": 1, "y": 1})))
    await load(stubs, batch(frame([NOW - 1, NOW], column("x", [0, 2]))))
    await stubs.metrics.WriteMetrics(write(row({"z": 3})))
    assert await latest(stubs) == {"x": 2, "y": 1, "z": 3}


async def test_an_empty_stream_stores_nothing(stubs: Stubs) -> None:
    answer = await load(stubs)
    assert answer == pb.ImportMetricsResponse()


async def test_a_message_without_frames_ends_the_stream_and_what_came_before_may_stand(stubs: Stubs) -> None:
    with invalid() as refusal:
        await load(stubs, batch(frame([NOW], column("x", [1]))), batch())
    assert refusal.violations == {"frames": "must have at least 1 entry, has 0"}


async def test_values_that_mean_no_value_are_dropped_and_counted_as_accepted(stubs: Stubs) -> None:
    answer = await load(
        stubs,
        batch(
            frame([NOW - 2, NOW - 1, NOW], column(LAG, [-1, 5, -1]), column("latency", [-1.0, -1.0, -1.0])),
            frame([NOW], column(LAG, [-1]), subject="sources/silent"),
        ),
    )
    assert (answer.accepted_frame_count, answer.accepted_sample_count) == (2, 7)
    assert await latest(stubs) == {LAG: 5}
    assert (await names(stubs))[0] == ["sources/a", "sources/silent"]
    assert await latest(stubs, "sources/silent") == {}


async def test_a_no_value_beyond_53_bits_does_not_take_its_neighbours_along(stubs: Stubs) -> None:
    await load(stubs, batch(frame([NOW - 9], column("x", [1]))))
    descriptor = common_pb2.MetricDescriptor(name="metricDescriptors/sources/x", no_value=2.0**53)
    await stubs.metrics.UpdateMetricDescriptor(
        pb.UpdateMetricDescriptorRequest(metric_descriptor=descriptor, update_mask=FieldMask(paths=["no_value"]))
    )
    big = 2**53
    await load(stubs, batch(frame([NOW - 3, NOW - 2, NOW - 1], column("x", [big - 1, big, big + 1]))))
    await stubs.metrics.WriteMetrics(write(row({"x": big}, at=NOW), row({"x": big + 1}, at=NOW - 1)))
    assert await counts(stubs) == {("sources/a", "x"): 3}
    assert await latest(stubs) == {"x": big + 1}


async def test_columns_become_the_metrics_type_where_nothing_is_lost(stubs: Stubs) -> None:
    two = [NOW - 1, NOW]
    start = frame(two, column("int", [1, 1]), column("double", [1.5, 1.5]), column("bool", [True, True]))
    await load(stubs, batch(start))
    good = [
        frame(two, column("int", [2.0, -(2.0**63)])),
        frame(two, column("double", [2, -(2**63)])),
        frame(two, column("bool", [0, 1])),
        frame(two, column("bool", [1.0, 0.0])),
    ]
    bad = [
        frame(two, column("int", [2.0, 2.5])),
        frame(two, column("int", [2.0, 2.0**63])),
        frame(two, column("int", [True, True])),
        frame(two, column("int", ["1", "2"])),
        frame(two, column("double", [1, 2**53 + 1])),
        frame(two, column("double", [1, 2**63 - 1])),
        frame(two, column("double", [True, True])),
        frame(two, column("bool", [0, 2])),
        frame(two, column("bool", [0.0, 0.5])),
        frame(two, column("bool", ["true", "false"])),
    ]
    answer = await load(stubs, batch(*good, *bad))
    assert (answer.accepted_frame_count, answer.rejected_frame_count) == (4, 10)
    assert [error.index for error in answer.errors] == list(range(4, 14))
    assert {error.reason for error in answer.errors} == {errors_pb2.ERROR_REASON_VALUE_TYPE_MISMATCH}
    assert answer.errors[0].metric == "int"
    assert answer.errors[0].message == (
        "columns[0].doubles: must be INT64, is DOUBLE and cannot be converted without loss"
    )
    assert await latest(stubs) == {"int": -(2**63), "double": -(2.0**63), "bool": False}


async def test_the_first_accepted_frame_gives_a_new_metric_its_type(stubs: Stubs) -> None:
    answer = await load(
        stubs,
        batch(
            frame([NOW], column("new", ["word"]), column("byteTotal", ["bad"])),
            frame([NOW], column("new", [1])),
            frame([NOW], column("new", [1.5])),
        ),
    )
    assert [error.index for error in answer.errors] == [0, 2]
    assert await latest(stubs) == {"new": 1}


async def test_of_two_servers_that_see_a_metric_first_one_gives_it_its_type(start: Start, shared_url: str) -> None:
    servers = [await start(database=shared_url) for _ in range(2)]
    names = [f"m{n}" for n in range(50)]
    typed: tuple[list[Scalar], ...] = ([1], ["one"])
    answers = await asyncio.gather(
        *(
            load(server, batch(frame([NOW], *(column(name, values) for name in names), subject=f"sources/{number}")))
            for number, (server, values) in enumerate(zip(servers, typed, strict=True))
        )
    )
    assert sorted(answer.accepted_frame_count for answer in answers) == [0, 1]
    assert sorted(len(answer.errors) for answer in answers) == [0, 50]


class TestRefusals:
    async def test_all_that_is_wrong_with_a_frame_is_told(self, stubs: Stubs) -> None:
        bad = frame(
            [NOW, NOW + DAY],
            column("nan", [0.0, float("nan")]),
            column("inf", [float("-inf")], [1]),
            column("long", ["x", "y" * 4_097]),
            column("nul", ["\0", "x"]),
            column("", [1, 2]),
            column("m" * 256, [1, 2]),
            column("short", [1]),
            column("rows", [1, 2], [1]),
            column("beyond", [1], [2]),
            column("falling", [1, 2], [1, 0]),
            column("twice", [1, 2], [1, 1]),
            column("nan", [1, 2]),
            common_pb2.Column(metric="unset"),
            common_pb2.Column(metric="empty", ints=common_pb2.Int64Array()),
            subject="nonsense",
            part="\n",
            start=NOW + 1,
        )
        answer = await load(stubs, batch(frame([NOW], column("x", [1])), bad, frame([NOW], column("x", [2]))))
        assert (answer.accepted_frame_count, answer.rejected_frame_count) == (2, 1)
        assert {error.index for error in answer.errors} == {1}
        found = dict(error.message.split(": ", 1) for error in answer.errors)
        values = "must have exactly one of doubles, ints, bools, strings, with at least 1 value"
        assert found == {
            "subject": "must be the resource name of a subject, such as 'sources/orders'",
            "part": "must not hold control characters",
            "time_unix_micros[1]": found["time_unix_micros[1]"],
            "start_time": "must not be after the moment of the sample",
            "columns[0].doubles.values[1]": "must be finite, is nan",
            "columns[1].doubles.values[0]": "must be finite, is -inf",
            "columns[2].strings.values[1]": "must have at most 4096 bytes, has 4097",
            "columns[3].strings.values[0]": "must not hold NUL",
            "columns[4].metric": "must not be empty",
            "columns[5].metric": "must have at most 255 characters, has 256",
            "columns[6].ints.values": "must have 2 values, one for each row, has 1",
            "columns[7].rows": "must name 2 rows, one for each value, names 1",
            "columns[8].rows": "must rise strictly and stay below 2",
            "columns[9].rows": "must rise strictly and stay below 2",
            "columns[10].rows": "must rise strictly and stay below 2",
            "columns[11].metric": "must be unique in its frame",
            "columns[12].values": values,
            "columns[13].values": values,
        }
        assert await names(stubs) == (["sources/a"], {"x"})

    async def test_frames_without_rows_or_columns_are_refused(self, stubs: Stubs) -> None:
        answer = await load(stubs, batch(frame([NOW]), frame([], column("x", [1])), frame([])))
        assert [(error.index, error.message) for error in answer.errors] == [
            (0, "columns: must have 1 to 10000 entries, has 0"),
            (1, "time_unix_micros: must have at least 1 entry, has 0"),
            (1, "columns[0].ints.values: must have 0 values, one for each row, has 1"),
            (2, "columns: must have 1 to 10000 entries, has 0"),
            (2, "time_unix_micros: must have at least 1 entry, has 0"),
        ]
        assert await names(stubs) == ([], set())

    @pytest.mark.parametrize(
        ("time", "problem"),
        [
            (NOW + 600 * SECOND + 1, "must be at most 600 s ahead"),
            (253_402_300_800 * SECOND, "must not be after the year 9999"),
            (2**63 - 1, "must not be after the year 9999"),
            (2**63, "must not be before 1970-01-01T00:00:00Z"),
            (2**64 - 1, "must not be before 1970-01-01T00:00:00Z"),
        ],
    )
    async def test_moments_before_1970_or_too_far_ahead_are_refused(
        self, stubs: Stubs, time: int, problem: str
    ) -> None:
        answer = await load(stubs, batch(frame([5, time, 7], column("x", [1, 2, 3]))))
        (error,) = answer.errors
        assert error.message.startswith(f"time_unix_micros[1]: {problem}")
        assert await names(stubs) == ([], set())

    async def test_the_first_and_the_last_moment_that_are_allowed_pass(self, stubs: Stubs) -> None:
        answer = await load(stubs, batch(frame([0, NOW + 600 * SECOND], column("x", [1, 2]), start=0)))
        assert answer.accepted_frame_count == 1
        assert await latest(stubs) == {"x": 2}

    async def test_100000_samples_pass_and_100001_do_not(self, stubs: Stubs) -> None:
        times = [NOW - n for n in range(50_001)]
        values = list(range(50_001))
        good = frame(times[:50_000], column("x", values[:50_000]), column("y", values[:50_000]))
        bad = frame(times, column("x", values), column("y", values[:50_000], range(50_000)), subject="sources/b")
        answer = await load(stubs, batch(good), batch(bad))
        assert (answer.accepted_frame_count, answer.accepted_sample_count) == (1, 100_000)
        (error,) = answer.errors
        assert error.message == "columns: must have at most 100000 samples, has 100001"
        assert await counts(stubs) == {("sources/a", "x"): 50_000, ("sources/a", "y"): 50_000}

    async def test_as_many_columns_as_allowed_pass_and_one_more_does_not(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_metrics_per_observation=3))
        columns = [column(f"m{n}", [n]) for n in range(4)]
        answer = await load(stubs, batch(frame([NOW], *columns[:3]), frame([NOW], *columns)))
        assert answer.accepted_frame_count == 1
        (error,) = answer.errors
        assert (error.index, error.message) == (1, "columns: must have 1 to 3 entries, has 4")

    async def test_errors_are_counted_over_the_whole_stream_by_the_frames_index(self, stubs: Stubs) -> None:
        bad = [frame([NOW], column("x", [float("nan")]), part="\0") for _ in range(40)]
        good = frame([NOW], column("x", [1.0]))
        answer = await load(stubs, *(batch(*bad, good) for _ in range(3)))
        assert (answer.accepted_frame_count, answer.rejected_frame_count) == (3, 120)
        assert (len(answer.errors), answer.errors_truncated) == (100, 140)
        indexes = [error.index for error in answer.errors]
        assert indexes == sorted(indexes)
        assert indexes[:2] == [0, 0]
        assert 40 not in indexes
        assert indexes[80] == 41

    async def test_a_closed_server_refuses_unknown_sources_frame_by_frame(self, start: Start) -> None:
        stubs = await start(subject_registration="closed")
        await stubs.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id="known"))
        one = [NOW], column("x", [1])
        answer = await load(stubs, batch(frame(*one, subject="sources/unknown"), frame(*one, subject="sources/known")))
        (error,) = answer.errors
        assert (error.index, error.reason) == (0, errors_pb2.ERROR_REASON_SOURCE_NOT_FOUND)
        assert answer.accepted_frame_count == 1
        assert (await names(stubs))[0] == ["sources/known"]

    async def test_a_closed_server_does_not_bring_back_what_another_deleted(
        self, start: Start, shared_url: str
    ) -> None:
        one = await start(database=shared_url, subject_registration="closed")
        other = await start(database=shared_url)
        for source_id in "ab":
            await one.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id=source_id))
        samples = [NOW], column("x", [1])
        await load(one, batch(frame(*samples), frame(*samples, subject="sources/b")))
        await other.sources.DeleteSource(source_service_pb2.DeleteSourceRequest(name="sources/a"))
        answer = await load(
            one, batch(frame(*samples), frame(*samples, subject="sources/b"), frame(*samples, part="p"))
        )
        assert (answer.accepted_frame_count, answer.rejected_frame_count, answer.accepted_sample_count) == (1, 2, 1)
        assert [(e.index, e.reason) for e in answer.errors] == [
            (0, errors_pb2.ERROR_REASON_SOURCE_NOT_FOUND),
            (2, errors_pb2.ERROR_REASON_SOURCE_NOT_FOUND),
        ]
        assert (await names(other))[0] == ["sources/b"]

    async def test_limits_of_growth_end_the_stream(self, start: Start) -> None:
        stubs = await start(limits=Limits(max_subjects_per_tenant=2, max_metrics_per_tenant=2))
        with refused(StatusCode.RESOURCE_EXHAUSTED, "SUBJECT_LIMIT"):
            await load(stubs, batch(*(frame([NOW], column("x", [1]), subject=f"sources/{n}") for n in range(3))))
        with refused(StatusCode.RESOURCE_EXHAUSTED, "METRIC_LIMIT"):
            await load(stubs, batch(frame([NOW], *(column(name, [1]) for name in "abc"))))
        assert (await names(stubs))[0] == []


class TestBrokenStreams:
    async def test_a_client_that_cancels_in_mid_stream_leaves_a_server_that_goes_on(self, stubs: Stubs) -> None:
        sent = asyncio.Event()

        async def endless() -> AsyncIterator[pb.ImportMetricsRequest]:
            n = 0
            while True:
                yield batch(frame([NOW - n], column("x", [n]), column("y", [n])))
                n += 1
                if n == 50:
                    sent.set()
                    await asyncio.Event().wait()

        call = stubs.metrics.ImportMetrics(endless())
        await sent.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await self.assert_whole_frames_and_a_living_server(stubs)

    async def test_a_channel_that_closes_in_mid_stream_leaves_a_server_that_goes_on(self, stubs: Stubs) -> None:
        assert stubs.app is not None
        channel = grpc.aio.insecure_channel(stubs.app.address)
        call = Stubs(channel).metrics.ImportMetrics()
        for n in range(50):
            await call.write(batch(frame([NOW - n], column("x", [n]), column("y", [n]))))
        await channel.close()
        assert call.cancelled()
        await self.assert_whole_frames_and_a_living_server(stubs)

    async def test_what_was_committed_before_the_stream_broke_stays(
        self, stubs: Stubs, eventually: Callable[[Callable[[], Any]], Awaitable[Any]]
    ) -> None:
        call = stubs.metrics.ImportMetrics()
        await call.write(batch(frame([NOW - 9], column("x", [1]), column("y", [1]))))

        async def read() -> bool:
            try:
                return await latest(stubs) == {"x": 1, "y": 1}
            except ValueError:  # there is no such source yet
                return False

        await eventually(read)
        call.cancel()
        await self.assert_whole_frames_and_a_living_server(stubs)
        assert await counts(stubs) == {("sources/a", "x"): 2, ("sources/a", "y"): 2}

    async def test_a_message_that_cannot_be_parsed_ends_the_stream_with_its_reason(self, stubs: Stubs) -> None:
        raw: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = stubs.channel.stream_unary(
            "/streamgauge.v1.MetricsService/ImportMetrics"
        )
        good = batch(frame([NOW], column("x", [1]), column("y", [1]))).SerializeToString()
        with invalid() as refusal:
            await raw(iter([good, b"\xff\xff\xff"]))
        assert refusal.metadata["field"] == ""
        await self.assert_whole_frames_and_a_living_server(stubs)

    async def assert_whole_frames_and_a_living_server(self, stubs: Stubs) -> None:
        answer = await load(stubs, batch(frame([NOW + 1], column("x", [77]), column("y", [77]))))
        assert answer.accepted_frame_count == 1
        assert await latest(stubs) == {"x": 77, "y": 77}
        found = await counts(stubs)
        assert found["sources/a", "x"] == found["sources/a", "y"]
        assert not [task for task in asyncio.all_tasks() if "ImportSession" in repr(task.get_coro())], "nothing leaks"


async def days_stored(stubs: Stubs) -> list[tuple[int, int]]:
    """Day and rows of every block."""
    assert stubs.app is not None
    store: Any = stubs.app.store
    rows = await store._database.read(
        lambda connection: connection.exec_driver_sql("SELECT day, rows FROM blocks").all()
    )
    return sorted(tuple(row) for row in rows)


async def test_a_day_that_is_over_becomes_one_block_however_it_is_cut(stubs: Stubs) -> None:
    today = NOW // DAY
    begin = (today - 3) * DAY

    def hours(first: int, last: int) -> common_pb2.Frame:
        return frame([begin + hour * HOUR for hour in range(first, last)], column("n", range(first, last)))

    answer = await load(stubs, batch(hours(0, 7), hours(7, 30)), batch(hours(30, 31)), batch(hours(31, 48)))
    assert (answer.accepted_frame_count, answer.accepted_sample_count) == (4, 48)
    assert await days_stored(stubs) == [(today - 3, 24), (today - 2, 24)]


async def test_a_stream_that_pauses_does_not_hold_back_what_it_has_sent(stubs: Stubs) -> None:
    call: Any = stubs.metrics.ImportMetrics()
    await call.write(batch(frame([NOW - 2 * DAY], column("n", [5]))))
    async with asyncio.timeout(30):
        while not await days_stored(stubs):
            await counts(stubs, "sources/a")
    assert await latest(stubs) == {"n": 5}
    await call.done_writing()
    assert (await call).accepted_frame_count == 1
