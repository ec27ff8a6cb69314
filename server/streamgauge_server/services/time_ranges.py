"""The range that a read is about: its defaults, and what is wrong with it."""

from __future__ import annotations

from streamgauge_server.model.clock import MICROS_PER_DAY, Clock, isoformat
from streamgauge_server.model.errors import Reason, Violation
from streamgauge_server.model.windows import Window


def resolve_range(clock: Clock, start: int | None, end: int | None) -> tuple[int, int]:
    """Returns a range in microseconds with the defaults filled in, each by itself: 24 hours before now, and now."""
    now = clock.now()
    return now - MICROS_PER_DAY if start is None else start, now if end is None else end


def range_problem(start: int, end: int, start_field: str, end_field: str) -> Violation | None:
    """Returns what is wrong with a resolved range: that it is empty or reversed."""
    if start < end:
        return None
    resolved = f"[{isoformat(start)}, {isoformat(end)})"
    return Violation(
        start_field,
        f"must be before {end_field}; the range resolves to {resolved}, which is "
        + ("empty" if start == end else "reversed"),
        Reason.INVALID_TIME_RANGE,
        {"start_time": isoformat(start), "end_time": isoformat(end)},
    )


def window_problem(window: Window, start: int, end: int, field: str, limit: int) -> Violation | None:
    """Returns what is wrong with the windows of a range: that there are more than `limit`."""
    count = window.count_between(start, end)
    if count <= limit:
        return None
    return Violation(
        field,
        f"makes {count} windows of the range, at most {limit} are allowed: shorten the range or enlarge the windows",
        Reason.TOO_MANY_WINDOWS,
        {"limit": str(limit), "actual": str(count)},
    )
