"""Timestamps and durations as the texts of proto3 JSON, in both directions."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from streamgauge_server.gateway.rest.violations import Unreadable, shown

_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-5][0-9]))"
)
_DURATION = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (UTC throughout; naive ones are faster)
_SECOND = timedelta(seconds=1)
_FIRST_SECOND = -62_135_596_800
_LAST_SECOND = 253_402_300_799
_MAX_DURATION_SECONDS = 315_576_000_000
_MAX_OFFSET_HOURS = 18


def timestamp_text(message: Timestamp) -> str:
    """Returns a timestamp such as `2026-01-01T12:00:00Z`, with 0, 3, 6 or 9 digits of a second."""
    return _timestamp_text(message.seconds, message.nanos)


@lru_cache(maxsize=1024)
def _timestamp_text(seconds: int, nanos: int) -> str:
    # Kept, because metrics that were measured together have the same time.
    return (_EPOCH + timedelta(seconds=seconds)).isoformat() + _fraction(nanos) + "Z"


def duration_text(message: Duration) -> str:
    """Returns a duration such as `1.500s`, with 0, 3, 6 or 9 digits of a second."""
    seconds, nanos = message.seconds, message.nanos
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}{_fraction(abs(nanos))}s"


def read_timestamp(text: str) -> tuple[int, int]:
    """Reads an RFC 3339 text into seconds since 1970 and nanoseconds.

    Raises:
        Unreadable: it is none, or not of the years 1 to 9999.
    """
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        hint = "; in a query, + is written %2B" if " " in text else ""
        raise Unreadable(f"must be a time such as 2026-01-01T12:00:00Z, is {shown(text)}{hint}")
    day, time, fraction, sign, hours, minutes = found.groups()
    try:
        seconds = (datetime.fromisoformat(f"{day}T{time}") - _EPOCH) // _SECOND
    except ValueError as error:
        raise Unreadable(f"must be a time such as 2026-01-01T12:00:00Z, is {shown(text)}: {error}") from error
    if sign:
        offset = int(hours) * 3_600 + int(minutes) * 60
        if offset > _MAX_OFFSET_HOURS * 3_600:
            raise Unreadable(f"must have an offset of at most {_MAX_OFFSET_HOURS} hours, is {shown(text)}")
        seconds -= offset if sign == "+" else -offset
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise Unreadable(f"must be in the years 1 to 9999 of UTC, is {shown(text)}")
    return seconds, _nanos(fraction)


def read_duration(text: str) -> tuple[int, int]:
    """Reads a number of seconds followed by `s` into seconds and nanoseconds, both with its sign.

    Raises:
        Unreadable: it is none, or of more than 10,000 years.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise Unreadable(f"must be a duration in seconds such as 1.5s, is {shown(text)}")
    sign, seconds, fraction = found.groups()
    whole, nanos = int(seconds), _nanos(fraction)
    if whole > _MAX_DURATION_SECONDS or (whole == _MAX_DURATION_SECONDS and nanos):
        raise Unreadable(f"must be at most {_MAX_DURATION_SECONDS}s, is {shown(text)}")
    return (-whole, -nanos) if sign else (whole, nanos)


def _nanos(fraction: str | None) -> int:
    return int(fraction.ljust(9, "0")) if fraction else 0


def _fraction(nanos: int) -> str:
    if nanos == 0:
        return ""
    digits = f"{nanos:09d}"
    if nanos % 1_000_000 == 0:
        return "." + digits[:3]
    return "." + (digits[:6] if nanos % 1_000 == 0 else digits)
