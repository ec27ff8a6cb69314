"""Moments in text files: ISO 8601 in UTC with microseconds where there are any, read and written exactly."""

from __future__ import annotations

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


class Texts(dict[int, str]):
    """Moments as texts. The metrics of a frame share theirs, so the last ones are kept."""

    def __missing__(self, micros: int) -> str:
        if len(self) > _KEPT:
            self.clear()
        text = self[micros] = to_text(micros)
        return text


class Micros(dict[str, int]):
    """Texts as moments; the last ones are kept. ValueError for what is no moment."""

    def __missing__(self, text: str) -> int:
        if len(self) > _KEPT:
            self.clear()
        micros = self[text] = to_micros(text)
        return micros
