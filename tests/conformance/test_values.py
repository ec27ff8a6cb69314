"""Values and moments come back exactly, at every edge of their types."""

from __future__ import annotations

import math

import numpy as np
from streamgauge_server.model.clock import MAX_MICROS, MICROS_PER_DAY
from streamgauge_server.model.values import INT64_MAX, INT64_MIN, Scalar, ValueType
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.timeseries.block import encode
from streamgauge_server.timeseries.frame import UNKNOWN_START, Column, build_frame

from tests.conformance.conftest import START, Observer

VALUES: list[Scalar] = [
    0,
    -1,
    INT64_MIN,
    INT64_MAX,
    2**53 + 1,
    0.0,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    -2.2250738585072014e-308,
    0.1 + 0.2,
    True,
    False,
    "",
    "é\U0001f600",
    "x" * 4096,
]


def identical(one: Scalar, other: Scalar) -> bool:
    if type(one) is not type(other) or one != other:
        return False
    return not isinstance(one, float) or math.copysign(1, one) == math.copysign(1, float(other))


async def test_a_value_comes_back_with_its_type_and_sign(observer: Observer) -> None:
    for number, value in enumerate(VALUES):
        subject = await observer.subject(str(number))
        await observer.write(subject, START, {1: value})
        assert identical((await observer.samples(subject))[START][1], value), value
        assert identical((await observer.latest(str(number))).samples[1].value, value), value


async def test_a_moment_is_kept_to_the_microsecond_and_belongs_to_its_day(observer: Observer) -> None:
    for time in (0, 1, MICROS_PER_DAY - 1, MICROS_PER_DAY, START + 1, MAX_MICROS - 1):
        subject = await observer.subject(str(time))
        await observer.write(subject, time, {1: 1})
        assert await observer.samples(subject) == {time: {1: 1}}
        assert (await observer.latest(str(time))).samples[1].time == time
        day = time // MICROS_PER_DAY
        loaded = [
            (await observer.store.blocks.load([subject], other, other, summaries=True))[subject]
            for other in (day - 1, day, day + 1)
        ]
        assert [[(block.day, block.first_time, block.last_time) for block in blocks] for blocks in loaded] == [
            [],
            [(day, time, time)],
            [],
        ]


async def test_a_large_block_keeps_its_data_and_both_summaries(observer: Observer) -> None:
    subject = await observer.subject()
    count = 5_000
    times = np.arange(count, dtype=np.int64) * 1_000_000
    values = np.random.default_rng(1).integers(INT64_MIN, INT64_MAX, count)
    frame = build_frame(times, np.full(count, UNKNOWN_START, np.int64), {7: Column(ValueType.INT64, values, None)})
    block = encode(frame)
    await observer.store.blocks.append([SubjectWrite(subject, [block], frame=frame)])
    (stored,) = (await observer.store.blocks.load([subject], 0, 0, summaries=True))[subject]
    assert (stored.rows, stored.first_time, stored.last_time, stored.hours) == (count, 0, int(times[-1]), block.hours)
    assert (stored.hour_summary, stored.day_summary, stored.data) == (block.hour_summary, block.day_summary, None)
    assert block.hour_summary is not None
    assert block.day_summary is not None
    assert await observer.store.blocks.load_data([(subject, 0, stored.seq)]) == {stored.seq: block.data}
    assert (await observer.latest()).samples[7].value == int(values[-1])
