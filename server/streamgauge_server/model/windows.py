"""Calendar windows: UTC, aligned, half-open.

Weeks begin on Monday, months on their first day. Windows of several units are aligned to 1970-01-01, of several weeks
to Monday 1969-12-29.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import IntEnum

from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, to_datetime


class WindowUnit(IntEnum):
    """A unit of calendar time."""

    MINUTE = 1
    HOUR = 2
    DAY = 3
    WEEK = 4
    MONTH = 5


_FIXED = {
    WindowUnit.MINUTE: MICROS_PER_MINUTE,
    WindowUnit.HOUR: MICROS_PER_HOUR,
    WindowUnit.DAY: MICROS_PER_DAY,
    WindowUnit.WEEK: 7 * MICROS_PER_DAY,
}
_MONDAY_OFFSET = -3 * MICROS_PER_DAY  # 1969-12-29, the Monday before the epoch
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Window:
    """`count` units of calendar time, `count` >= 1."""

    unit: WindowUnit
    count: int = 1

    def index(self, micros: int) -> int:
        """Returns the number of the window that holds a moment; consecutive windows have consecutive numbers."""
        if self.unit == WindowUnit.MONTH:
            moment = to_datetime(micros)
            return ((moment.year - 1970) * 12 + moment.month - 1) // self.count
        origin = _MONDAY_OFFSET if self.unit == WindowUnit.WEEK else 0
        return (micros - origin) // (_FIXED[self.unit] * self.count)

    def start(self, index: int) -> int:
        """Returns the first microsecond of window number `index`. Months beyond year 9999 end with it."""
        if self.unit == WindowUnit.MONTH:
            years, months = divmod(index * self.count, 12)
            year = 1970 + years
            if year > 9999:
                return (date(9999, 12, 31).toordinal() + 1 - _EPOCH_ORDINAL) * MICROS_PER_DAY
            return (date(year, months + 1, 1).toordinal() - _EPOCH_ORDINAL) * MICROS_PER_DAY
        origin = _MONDAY_OFFSET if self.unit == WindowUnit.WEEK else 0
        return origin + index * _FIXED[self.unit] * self.count

    def count_between(self, start: int, end: int) -> int:
        """Returns how many windows the range [start, end) touches. Cheap, whatever the range."""
        return self.index(end - 1) - self.index(start) + 1

    def bounds(self, start: int, end: int) -> list[int]:
        """Returns the n + 1 bounds of the n windows that the range [start, end) touches, in microseconds."""
        first, last = self.index(start), self.index(end - 1)
        if self.unit != WindowUnit.MONTH:
            return list(range(self.start(first), self.start(last + 1) + 1, _FIXED[self.unit] * self.count))
        return [self.start(i) for i in range(first, last + 2)]
