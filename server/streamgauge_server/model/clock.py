"""The clock, the only place that asks the system what time it is. Injected wherever time matters."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

MICROS_PER_SECOND = 1_000_000
MICROS_PER_MINUTE = 60 * MICROS_PER_SECOND
MICROS_PER_HOUR = 60 * MICROS_PER_MINUTE
MICROS_PER_DAY = 24 * MICROS_PER_HOUR

MIN_MICROS = -62_135_596_800 * MICROS_PER_SECOND
"""The first microsecond of the year 1, the beginning of `google.protobuf.Timestamp`."""

MAX_MICROS = 253_402_300_800 * MICROS_PER_SECOND
"""One past the last microsecond of the year 9999, the end of `google.protobuf.Timestamp`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Tells the time in microseconds since 1970-01-01T00:00:00Z."""

    def now(self) -> int:
        """Returns the current moment in microseconds."""
        ...


class SystemClock:
    """The system's clock."""

    def now(self) -> int:
        """Returns the current moment in microseconds."""
        return time.time_ns() // 1000


class FixedClock:
    """A clock that stands still until it is moved; for tests."""

    def __init__(self, micros: int) -> None:
        self.micros = micros

    def now(self) -> int:
        """Returns the moment that was set."""
        return self.micros


def to_datetime(micros: int) -> datetime:
    """Returns microseconds as an aware UTC datetime; exact."""
    return _EPOCH + timedelta(microseconds=micros)


def from_datetime(moment: datetime) -> int:
    """Returns an aware datetime in microseconds; exact."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def isoformat(micros: int) -> str:
    """Returns `2026-11-22T01:02:03.000004Z`, without a fraction when it is zero. For messages."""
    return to_datetime(micros).replace(tzinfo=None).isoformat() + "Z"
