"""Moments as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from streamgauge.cli.times import format_time, parse_time

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("-90s", NOW - timedelta(seconds=90)),
        ("-15m", NOW - timedelta(minutes=15)),
        ("-24h", NOW - timedelta(hours=24)),
        ("-7d", NOW - timedelta(days=7)),
        ("-2w", NOW - timedelta(weeks=2)),
        ("2026-11-21T10:00:00Z", datetime(2026, 11, 21, 10, tzinfo=UTC)),
        ("2026-11-21T10:00:00.000001Z", datetime(2026, 11, 21, 10, 0, 0, 1, tzinfo=UTC)),
        ("2026-11-21T10:00:00+02:00", datetime(2026, 11, 21, 8, tzinfo=UTC)),
        ("2026-11-21 10:00", datetime(2026, 11, 21, 10, tzinfo=UTC)),
        ("2026-11-21", datetime(2026, 11, 21, tzinfo=UTC)),
    ],
)
def test_moments_are_absolute_or_relative_and_utc_unless_said_otherwise(text: str, expected: datetime) -> None:
    moment = parse_time(text, NOW)
    assert moment == expected
    assert moment.utcoffset() == timedelta(0)


@pytest.mark.parametrize("text", ["", "yesterday", "24h", "-24", "-h", "-1y", "2026-13-01", "-999999999w", "1-1-1",
                                  "0001-01-01T00:00:00+14:00"])  # fmt: skip
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse_time(text, NOW)


@pytest.mark.parametrize("micros", [0, 1, 999_999, 120_000])
def test_a_printed_moment_parses_back_exactly(micros: int) -> None:
    moment = NOW.replace(microsecond=micros)
    assert parse_time(format_time(moment), NOW) == moment


def test_a_printed_moment_is_utc() -> None:
    assert format_time(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2025-12-31T23:00:00Z"
