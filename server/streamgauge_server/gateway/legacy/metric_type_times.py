"""The moments of a plot's range, as clients write them, and the range that the server is asked for, in microseconds."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum

from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import common_pb2

_MICROS_PER_SECOND = 1_000_000
_MICROS_PER_HOUR = 3_600 * _MICROS_PER_SECOND
_MICROS_PER_DAY = 24 * _MICROS_PER_HOUR
_MONDAY_OFFSET = -3 * _MICROS_PER_DAY  # 1969-12-29, the Monday before the epoch
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = 253_402_300_800 * _MICROS_PER_SECOND - 1
"""The last microsecond of the year 9999, beyond which there are no timestamps."""

_NUMBER = r"([0-9]{1,20}(?:\.[0-9]{1,20})?)"
_DURATION = re.compile(
    rf"P(?:([0-9]{{1,6}})M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
_PARTS = (7 * _MICROS_PER_DAY, _MICROS_PER_DAY, _MICROS_PER_HOUR, 60 * _MICROS_PER_SECOND, _MICROS_PER_SECOND)
"""What weeks, days, hours, minutes and seconds of a duration are worth."""
_DATE_TIME = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})[T ]([0-9]{1,2}):([0-9]{1,2})"
    r"(?::([0-9]{1,2})(?:\.([0-9]{1,6})[0-9]{0,6})?)?"
    r"(?:Z|([+-])([0-9]{2}):?([0-9]{2})?)"
)
_ECHOED = 64


class Bin(Enum):
    """How long the windows of a plot are; the values are what clients write."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    @property
    def unit(self) -> common_pb2.WindowUnit.ValueType:
        """The unit of the contract."""
        return common_pb2.WindowUnit.Value(f"WINDOW_UNIT_{self.name}")

    def start(self, moment: int) -> int:
        """Returns the beginning of the bin that holds a moment: UTC; weeks begin on Monday."""
        if self is Bin.MONTH:
            return _micros(_datetime(moment).replace(day=1, hour=0, minute=0, second=0, microsecond=0))
        if self is Bin.WEEK:
            return moment - (moment - _MONDAY_OFFSET) % (7 * _MICROS_PER_DAY)
        return moment - moment % (_MICROS_PER_HOUR if self is Bin.HOUR else _MICROS_PER_DAY)

    def after(self, moment: int) -> int:
        """Returns the end of the bin that holds a moment, at most the last moment that there is."""
        start = self.start(moment)
        if self is Bin.MONTH:
            first = _datetime(start)
            days = calendar.monthrange(first.year, first.month)[1]
        else:
            days = 7 if self is Bin.WEEK else 1
        return min(start + (_MICROS_PER_HOUR if self is Bin.HOUR else days * _MICROS_PER_DAY), _LAST)


def moment(text: str, now: int) -> int:
    """Returns the moment that a parameter names: a date-time with its offset, or a duration back from `now`.

    Durations are `PnMnWnDTnHnMnS`, each part optional and, save whole months, with decimals. Months are those of the
    calendar: a month before the 31st of March is the last of February. Digits beyond microseconds are cut off.

    Raises:
        ValueError: it is neither, or not within the years 1 to 9999.
    """
    if text.startswith("P"):
        return _before(text, now)
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text[:_ECHOED]!r} is neither an ISO 8601 date-time with its offset, such as 2015-01-31T10:00:00Z, "
            "nor a duration back from now, such as PT12H or P7D"
        )
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = found.groups()
    try:
        if int(minutes or 0) > 59:
            raise ValueError("minute must be in 0..59")
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        at = datetime(
            *(int(year), int(month), int(day), int(hour), int(minute), int(second or 0)),
            int((fraction or "").ljust(6, "0")),
            tzinfo=timezone(-offset if sign == "-" else offset),
        ).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text[:_ECHOED]!r} is no date-time that there is: {error}") from error
    return _micros(at)


def plot_range(started: int | None, ended: int | None, bin: Bin, now: int) -> common_pb2.TimeRange | None:
    """Returns the half-open range whose hours are those of the bins that begin in [started, ended], both inclusive.

    A bin is in it whole or not at all. None is everything there is up to now; a missing `ended` is `now`. There is
    nothing before 1970.
    """
    if started is None and ended is None:
        return None
    start, end = 0, bin.after(now if ended is None else ended)
    if started is not None:
        start = max(started if bin.start(started) == started else bin.after(started), 0)
    if start >= end:
        start, end = 1, 2  # no hour begins here, so that no bin is told
    message = common_pb2.TimeRange(end_time=_timestamp(end))
    if start:
        message.start_time.CopyFrom(_timestamp(start))
    return message


def _before(text: str, now: int) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text[:_ECHOED]!r} is no duration of months, weeks, days, hours, minutes and seconds, such as P1M2DT12H"
        )
    months, *parts = found.groups()
    back = int(sum(Decimal(part) * worth for part, worth in zip(parts, _PARTS, strict=True) if part))
    try:
        return _micros(_months_before(_datetime(now), int(months or 0)) - timedelta(microseconds=back))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text[:_ECHOED]!r} is longer ago than there are dates") from error


def _months_before(at: datetime, months: int) -> datetime:
    years, month = divmod(at.year * 12 + at.month - 1 - months, 12)
    if years < 1:
        raise ValueError("before the year 1")
    return at.replace(year=years, month=month + 1, day=min(at.day, calendar.monthrange(years, month + 1)[1]))


def _datetime(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _timestamp(micros: int) -> Timestamp:
    seconds, rest = divmod(micros, _MICROS_PER_SECOND)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)
