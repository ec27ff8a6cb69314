"""`GetLatestMetrics`: the newest values of many subjects in one call."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from streamgauge.v1 import common_pb2, source_service_pb2
from streamgauge.v1 import metrics_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock

from tests.rpc.messages import (
    DAY,
    HOUR,
    NOW,
    SECOND,
    Scalar,
    batch,
    column,
    frame,
    latest_of,
    micros,
    row,
    scalar,
    write,
)
from tests.rpc.serving import Stubs, invalid


async def read(
    stubs: Stubs,
    *subjects: str,
    metrics: tuple[str, ...] = (),
    mode: common_pb2.CounterMode.ValueType = common_pb2.COUNTER_MODE_UNSPECIFIED,
    by_part: bool = False,
) -> pb.GetLatestMetricsResponse:
    request = pb.GetLatestMetricsRequest(
        subjects=subjects or ["sources/a"], metrics=metrics, counter_mode=mode, by_part=by_part
    )
    return await stubs.metrics.GetLatestMetrics(request)


def values(answer: pb.GetLatestMetricsResponse) -> dict[tuple[str, str], dict[str, Scalar | None]]:
    return {(entry.subject, entry.part): latest_of(entry) for entry in answer.subjects}


async def put(stubs: Stubs, *rows: common_pb2.Observation) -> None:
    answer = await stubs.metrics.WriteMetrics(write(*rows))
    assert answer.rejected_count == 0, answer.errors


async def test_many_subjects_come_in_the_order_of_the_request_and_unknown_ones_are_listed(stubs: Stubs) -> None:
    await put(stubs, *(row({"x": n}, subject=f"sources/{n}") for n in range(500)))
    order = [f"sources/{n * 7 % 600}" for n in range(600)]
    answer = await read(stubs, *order)
    assert [entry.subject for entry in answer.subjects] == [name for name in order if int(name[8:]) < 500]
    assert list(answer.unknown_subjects) == [name for name in order if int(name[8:]) >= 500]
    assert all(latest_of(entry) == {"x": int(entry.subject[8:])} for entry in answer.subjects)


async def test_the_answer_tells_the_servers_clock(stubs: Stubs, clock: FixedClock) -> None:
    await put(stubs, row({"x": 1}))
    clock.micros += 90 * SECOND
    assert micros((await read(stubs)).read_time) == NOW + 90 * SECOND


async def test_values_come_by_metric_name_with_their_times(stubs: Stubs) -> None:
    await put(stubs, row({"b": 1, "a": 2}, at=NOW - 5, start=3), row({"c": 3}, at=NOW - 4))
    (entry,) = (await read(stubs)).subjects
    assert [(v.metric, scalar(v.value), scalar(v.raw_value), micros(v.time)) for v in entry.values] == [
        ("a", 2, 2, NOW - 5),
        ("b", 1, 1, NOW - 5),
        ("c", 3, 3, NOW - 4),
    ]
    assert [v.HasField("start_time") for v in entry.values] == [True, True, False]


async def test_metadata_is_there_for_every_metric_in_the_answer(stubs: Stubs) -> None:
    await put(stubs, row({"byteTotal": 1, "own": 1.5, "other": 1}))
    answer = await read(stubs, metrics=("byteTotal", "own", "never"))
    assert {name: (m.display_name, m.unit) for name, m in answer.metadata.items()} == {
        "sources/byteTotal": ("Volume", "bytes"),
        "sources/own": ("own", ""),
    }
    assert values(answer) == {("sources/a", ""): {"byteTotal": 1, "own": 1.5}}


async def test_a_known_subject_without_samples_has_no_values(stubs: Stubs) -> None:
    await stubs.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id="a"))
    for by_part in (False, True):
        answer = await read(stubs, by_part=by_part)
        assert values(answer) == {("sources/a", ""): {}}
        assert not answer.unknown_subjects


async def test_counter_modes(stubs: Stubs) -> None:
    await put(stubs, row({"byteTotal": 100}, at=NOW - 2), row({"byteTotal": 7}, at=NOW - 1))
    for mode, expected in (
        (common_pb2.COUNTER_MODE_UNSPECIFIED, 107),
        (common_pb2.COUNTER_MODE_INCREASE, 107),
        (common_pb2.COUNTER_MODE_CUMULATIVE, 107),
        (common_pb2.COUNTER_MODE_RAW, 7),
    ):
        (entry,) = (await read(stubs, mode=mode)).subjects
        assert (entry.values[0].value.int64_value, entry.values[0].raw_value.int64_value) == (expected, 7)


async def test_parts_are_combined_or_apart(stubs: Stubs) -> None:
    await put(
        stubs,
        row({"byteTotal": 10, "t": "old"}, part="1", at=NOW - 9),
        row({"byteTotal": 5}, part="1", at=NOW - 8),
        row({"byteTotal": 20, "t": "new"}, part="0", at=NOW - 7),
    )
    assert values(await read(stubs)) == {("sources/a", ""): {"byteTotal": 35, "t": "new"}}
    assert values(await read(stubs, by_part=True)) == {
        ("sources/a", "0"): {"byteTotal": 20, "t": "new"},
        ("sources/a", "1"): {"byteTotal": 15, "t": "old"},
    }
    await put(stubs, row({"t": "whole"}, at=NOW - 6))
    assert list(values(await read(stubs, by_part=True))) == [("sources/a", ""), ("sources/a", "0"), ("sources/a", "1")]


async def test_a_union_has_values_by_part_only(stubs: Stubs) -> None:
    await put(stubs, row({"snapshotStatus": "running"}, part="topic=t"))
    assert values(await read(stubs)) == {("sources/a", ""): {}}
    assert values(await read(stubs, by_part=True)) == {("sources/a", "topic=t"): {"snapshotStatus": "running"}}


async def test_old_values_are_still_the_newest(stubs: Stubs) -> None:
    await put(stubs, row({"x": 1}, at=NOW - 4_000 * DAY), row({"y": 2}))
    assert values(await read(stubs)) == {("sources/a", ""): {"x": 1, "y": 2}}


async def test_totals_survive_late_frames_that_span_many_days(stubs: Stubs) -> None:
    times = [NOW - n * HOUR for n in range(500)]
    readings = [(n * 37) % 101 for n in range(500)]
    await stubs.metrics.ImportMetrics(iter([batch(frame(times[::2], column("byteTotal", readings[::2])))]))
    await read(stubs)
    await stubs.metrics.ImportMetrics(iter([batch(frame(times[1::2], column("byteTotal", readings[1::2])))]))
    in_order = readings[::-1]
    total = in_order[0]
    for before, after in pairwise(in_order):
        total += after if after < before else after - before
    assert values(await read(stubs)) == {("sources/a", ""): {"byteTotal": total}}
    await put(stubs, row({"byteTotal": in_order[-1] + 5}, at=NOW + 1))
    assert values(await read(stubs)) == {("sources/a", ""): {"byteTotal": total + 5}}


async def test_concurrent_readers_of_a_total_that_is_unknown_agree(stubs: Stubs) -> None:
    await put(stubs, row({"byteTotal": 100}), row({"byteTotal": 40}, at=NOW - 5))
    answers = await asyncio.gather(*(read(stubs) for _ in range(20)))
    assert {answer.subjects[0].values[0].value.int64_value for answer in answers} == {100}


async def test_readers_and_writers_at_once_see_totals_that_only_grow(stubs: Stubs) -> None:
    await put(stubs, row({"byteTotal": 0}, at=NOW - 1_000))

    async def writer() -> None:
        for n in range(1, 60):
            await put(stubs, row({"byteTotal": n}, at=NOW - 1_000 + n), row({"byteTotal": 0}, at=NOW - 2_000 - n))

    async def reader() -> list[int]:
        seen = []
        while not writing.done():
            (entry,) = (await read(stubs)).subjects
            seen.append(entry.values[0].value.int64_value)
        return seen

    writing = asyncio.create_task(writer())
    for seen in await asyncio.gather(reader(), reader()):
        assert seen == sorted(seen)
    await writing
    assert values(await read(stubs)) == {("sources/a", ""): {"byteTotal": 59}}


async def test_all_that_is_wrong_is_told_at_once(stubs: Stubs) -> None:
    request = pb.GetLatestMetricsRequest(
        subjects=["sources/a", "bad", "sources/a", "sources/"], metrics=["", "x" * 256]
    )
    request.counter_mode = 4  # type: ignore[assignment]
    with invalid() as refusal:
        await stubs.metrics.GetLatestMetrics(request)
    form = "must be the resource name of a subject, such as 'sources/orders'"
    assert refusal.violations == {
        "subjects[1]": form,
        "subjects[2]": "names sources/a twice",
        "subjects[3]": form,
        "metrics[0]": "must not be empty",
        "metrics[1]": "must have at most 255 characters, has 256",
        "counter_mode": "must be one of INCREASE, CUMULATIVE, RAW, is 4",
    }


async def test_1000_subjects_pass_and_1001_and_none_do_not(stubs: Stubs) -> None:
    names = [f"sources/{n}" for n in range(1_001)]
    assert len((await read(stubs, *names[:1_000])).unknown_subjects) == 1_000
    for subjects in (names, []):
        with invalid() as refusal:
            await stubs.metrics.GetLatestMetrics(pb.GetLatestMetricsRequest(subjects=subjects))
        assert refusal.violations == {"subjects": f"must have 1 to 1000 entries, has {len(subjects)}"}


async def test_1000_metrics_pass_and_1001_do_not(stubs: Stubs) -> None:
    names = tuple(f"m{n}" for n in range(1_001))
    await read(stubs, metrics=names[:1_000])
    with invalid() as refusal:
        await read(stubs, metrics=names)
    assert refusal.violations == {"metrics": "must have at most 1000 entries, has 1001"}
