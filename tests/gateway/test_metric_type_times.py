"""Moments as clients of the metric types API write them, and the ranges that they become."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from streamgauge_server.gateway.legacy.metric_type_times import Bin, moment, plot_range

from tests.rpc.messages import DAY, HOUR, MINUTE, SECOND, micros

FIRST_AFTER_9999 = 253_402_300_800 * SECOND


def at(text: str) -> int:
    """Returns an ISO date-time UTC in microseconds."""
    return _micros(datetime.fromisoformat(text).replace(tzinfo=UTC))


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


NOW = at("2024-03-31T12:34:56.789012")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2015-01-01T00:00:00Z", "2015-01-01T00:00:00"),
        ("2015-01-01T00:00Z", "2015-01-01T00:00:00"),
        ("2015-01-01 10:20:30Z", "2015-01-01T10:20:30"),
        ("2015-1-2T3:04:05Z", "2015-01-02T03:04:05"),
        ("2015-01-01T10:20:30.5Z", "2015-01-01T10:20:30.500000"),
        ("2015-01-01T10:20:30.123Z", "2015-01-01T10:20:30.123000"),
        ("2015-01-01T10:20:30.123456789Z", "2015-01-01T10:20:30.123456"),
        ("2015-01-01T10:00:00+05:00", "2015-01-01T05:00:00"),
        ("2015-01-01T10:00:00+0530", "2015-01-01T04:30:00"),
        ("2015-01-01T10:00:00+05", "2015-01-01T05:00:00"),
        ("2015-01-01T10:00:00-05:00", "2015-01-01T15:00:00"),
        ("2015-01-01T10:00:00-00:00", "2015-01-01T10:00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999"),
        ("P", "2024-03-31T12:34:56.789012"),
        ("PT", "2024-03-31T12:34:56.789012"),
        ("P0D", "2024-03-31T12:34:56.789012"),
        ("PT0S", "2024-03-31T12:34:56.789012"),
        ("P1D", "2024-03-30T12:34:56.789012"),
        ("PT1H", "2024-03-31T11:34:56.789012"),
        ("PT1.5H", "2024-03-31T11:04:56.789012"),
        ("PT0.000001S", "2024-03-31T12:34:56.789011"),
        ("P1DT2H3M4S", "2024-03-30T10:31:52.789012"),
        ("P1W", "2024-03-24T12:34:56.789012"),
        ("P0.5W", "2024-03-28T00:34:56.789012"),
        ("P1M", "2024-02-29T12:34:56.789012"),
        ("P13M", "2023-02-28T12:34:56.789012"),
        ("P3M", "2023-12-31T12:34:56.789012"),
        ("P1M1W1DT1M", "2024-02-21T12:33:56.789012"),
        ("P24000M", "0024-03-31T12:34:56.789012"),
    ],
)
def test_a_moment_is_a_date_time_with_its_offset_or_a_duration_back_from_now(text: str, expected: str) -> None:
    assert moment(text, NOW) == at(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "garbage",
        "2015-01-01",
        "2015-01-01Z",
        "2015-01-01T00:00:00",
        "2015-01-01T00:00:00 05:00",
        "20150101T000000Z",
        "2015-02-30T00:00:00Z",
        "2015-13-01T00:00:00Z",
        "2015-01-01T24:00:00Z",
        "2015-01-01T00:00:60Z",
        "2015-01-01T00:00:00,5Z",
        "2015-01-01T00:00:00.Z",
        "2015-01-01T00:00:00Z ",
        "2015-01-01T00:00:00Z\n",
        "2015-01-01t00:00:00z",
        "2015-01-01T00:00:00+24:00",
        "2015-01-01T00:00:00+05:60",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
        "0000-01-01T00:00:00Z",
        "٢٠١٥-01-01T00:00:00Z",
        "p1d",
        "P1Y",
        "P1,5D",
        "P0.5M",
        "P-1D",
        "-P1D",
        "+P1D",
        "P1H",
        "PT1D",
        "P1D2H",
        "P1.D",
        "P99999999D",
        "P24289M",
        "P999999M",
        "P99999999999999999999W",
        "P" + "9" * 5_000 + "D",
        "P1D\n",
    ],
)
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r"is (neither|no|longer) ") as refusal:
        moment(text, NOW)
    assert len(str(refusal.value)) < 300


def covered(started: int | None, ended: int | None, bin: Bin, now: int = NOW) -> tuple[int, int] | None:
    message = plot_range(started, ended, bin, now)
    if message is None:
        return None
    return micros(message.start_time), micros(message.end_time)


def hours(bounds: tuple[int, int] | None) -> list[int]:
    """Returns the hours that the server answers of a range: those that begin in it."""
    assert bounds is not None
    start, end = bounds
    assert start < end
    return list(range(-(-start // HOUR), -(-end // HOUR)))


def bins(bin: Bin, first: datetime, count: int) -> list[tuple[int, int]]:
    """Returns some bins from one on: their beginnings and ends, by the calendar."""
    found = []
    for _ in range(count):
        if bin is Bin.MONTH:
            following = (first + timedelta(days=31)).replace(day=1)
        else:
            following = (
                first + {Bin.HOUR: timedelta(hours=1), Bin.DAY: timedelta(days=1), Bin.WEEK: timedelta(days=7)}[bin]
            )
        found.append((_micros(first), _micros(following)))
        first = following
    return found


FIRST = {
    Bin.HOUR: datetime(2024, 2, 28, 20, tzinfo=UTC),
    Bin.DAY: datetime(2024, 2, 27, tzinfo=UTC),
    Bin.WEEK: datetime(2024, 2, 26, tzinfo=UTC),
    Bin.MONTH: datetime(2023, 12, 1, tzinfo=UTC),
}


@pytest.mark.parametrize("bin", Bin)
def test_a_range_has_every_bin_that_begins_in_it_as_a_whole_and_no_other(bin: Bin) -> None:
    known = bins(bin, FIRST[bin], 5)
    edges = [start + shift for start, _ in known for shift in (-1, 0, 1, 30 * MINUTE)]
    for started in edges:
        for ended in edges:
            if started >= ended:
                continue
            inside = [(start, end) for start, end in known if started <= start <= ended]
            expected = [hour for start, end in inside for hour in range(start // HOUR, end // HOUR)]
            assert hours(covered(started, ended, bin)) == expected


def test_an_hour_is_left_out_by_a_start_after_it_began_and_told_by_an_end_amid_it() -> None:
    ten = at("2015-01-01T10:00:00")
    assert hours(covered(ten + SECOND, ten + 2 * HOUR, Bin.HOUR)) == [ten // HOUR + 1, ten // HOUR + 2]
    assert hours(covered(ten - HOUR, ten + 30 * MINUTE, Bin.HOUR)) == [ten // HOUR - 1, ten // HOUR]


def test_nothing_given_is_everything_up_to_the_servers_own_now() -> None:
    assert covered(None, None, Bin.DAY) is None


def test_a_missing_end_is_now_and_a_missing_start_the_beginning() -> None:
    day = NOW - NOW % DAY
    assert covered(day - 3 * DAY, None, Bin.DAY) == (day - 3 * DAY, day + DAY)
    assert covered(None, NOW, Bin.DAY) == (0, day + DAY)
    assert hours(covered(day + HOUR, None, Bin.DAY)) == []


@pytest.mark.parametrize("bin", Bin)
def test_years_that_the_server_has_no_figures_of_are_ranges_too(bin: Bin) -> None:
    earliest, latest = at("0001-01-01T00:00:00"), FIRST_AFTER_9999 - 1
    assert hours(covered(earliest, at("1969-12-28T23:59:59"), bin)) == []
    assert hours(covered(earliest, at("1970-01-01T00:00:00"), bin))[0] == 0
    start, end = covered(earliest, latest, bin) or (0, 0)
    assert (start, end) == (0, FIRST_AFTER_9999 - 1)
    assert hours(covered(latest - 1, latest, bin)) == []


def test_the_first_week_begins_before_the_first_figure() -> None:
    assert hours(covered(at("1969-12-30T00:00:00"), at("1970-01-01T05:00:00"), Bin.WEEK)) == []
    assert hours(covered(at("1969-12-29T00:00:00"), at("1970-01-01T05:00:00"), Bin.WEEK)) == list(range(4 * 24))
