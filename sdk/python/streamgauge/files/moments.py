"""Moments in text files: ISO 8601 in UTC with microseconds where there are any, read and written exactly."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from streamgauge._encode import EPOCH

_MICROSECOND = timedelta(microseconds=1)
_KEPT = 200_000


def to_text(micros: int) -> str:
    """Returns a moment as text."""
    return (EPOCH + timedelta(microseconds=micros)).replace(tzinfo=None).isoformat() + "Z"


def to_micros(text: str) -> int:
    """Returns the moment that a text names, in microseconds since 1970; without an offset it is UTC. ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no moment such as 2026-11-21T10:00:00.25Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // _MICROSECOND


class Moments:
    """Moments as text and back; the metrics of a frame share theirs, so the last ones are kept."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}
        self._micros: dict[str, int] = {}

    def texts(self, times: Iterable[int]) -> list[str]:
        """Returns moments as texts."""
        if len(self._texts) > _KEPT:
            self._texts.clear()
        known = self._texts
        found = []
        for time in times:
            text = known.get(time)
            if text is None:
                text = known[time] = to_text(time)
            found.append(text)
        return found

    def micros(self, text: str) -> int:
        """Returns the moment that a text names. ValueError."""
        time = self._micros.get(text)
        if time is None:
            if len(self._micros) > _KEPT:
                self._micros.clear()
            time = self._micros[text] = to_micros(text)
        return time
