"""Moments of the assets API: `yyyy-MM-ddTHH:mm:ss.SSSZ`, read leniently and written exactly so."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

MOMENT_FORM = "must be a moment with an offset, such as 2024-03-02T17:44:00.000Z or 2024-03-02T18:44:00.000+0100"

_MOMENT = re.compile(
    r"(?P<clock>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?"
    r"(?:Z|(?P<sign>[+-])(?P<hours>[01][0-9]|2[0-3]):?(?P<minutes>[0-5][0-9]))"
)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC throughout; an aware one cannot be moved beyond the years 1 to 9999
_SECOND = timedelta(seconds=1)
_NANOS_PER_MILLI = 1_000_000

LAST_MILLI = 253_402_300_800_000 - 1
"""The last millisecond of the year 9999, the end of `google.protobuf.Timestamp`."""


def parse_moment(text: str) -> Timestamp | None:
    """Returns a moment of 0 to 9 digits of a second and an offset, cut to the millisecond; None where it is none.

    An offset may move it beyond the years 1 to 9999: that is for the server to refuse.
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    try:
        clock = datetime.fromisoformat(found["clock"])
    except ValueError:  # the 30th of February, the year 0
        return None
    seconds = (clock - _EPOCH) // _SECOND
    if found["sign"]:
        offset = int(found["hours"]) * 3600 + int(found["minutes"]) * 60
        seconds += -offset if found["sign"] == "+" else offset
    millis = int((found["fraction"] or "").ljust(3, "0")[:3])
    return Timestamp(seconds=seconds, nanos=millis * _NANOS_PER_MILLI)


def parse_query_moment(text: str) -> Timestamp | None:
    """Returns a moment of a query, where a plus sign that was not encoded has become a blank; see `parse_moment`."""
    return parse_moment(re.sub(r" (?=[0-9]{2}:?[0-9]{2}$)", "+", text))


def moment_text(timestamp: Timestamp) -> str:
    """Returns `yyyy-MM-ddTHH:mm:ss.SSSZ`; finer digits are cut."""
    moment = _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)
    return moment.isoformat(timespec="milliseconds") + "Z"


def millis(timestamp: Timestamp) -> int:
    """Returns a moment in milliseconds since 1970, finer digits cut."""
    return timestamp.seconds * 1000 + timestamp.nanos // _NANOS_PER_MILLI


def of_millis(moment: int) -> Timestamp:
    """Returns a moment of milliseconds since 1970."""
    seconds, rest = divmod(moment, 1000)
    return Timestamp(seconds=seconds, nanos=rest * _NANOS_PER_MILLI)
