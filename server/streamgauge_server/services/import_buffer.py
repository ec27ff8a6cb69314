"""Frames of an import that wait for their neighbours, so that a day of a subject that is over becomes one block.

The samples of a day often come in several frames: cut by size, by start time, or by whoever wrote the file. Frames of a
subject are held until enough has come together, and are then merged, split by days and encoded, which makes the same
blocks as compaction would. Frames that reach into the day that is not over do not wait, and neither does what comes
before them of their subject.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamgauge_server.model.clock import MICROS_PER_DAY
from streamgauge_server.model.values import ValueType
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import Block, encode_days
from streamgauge_server.timeseries.frame import Frame, merge

MAX_HELD = 1_000_000
"""What one stream may hold, in samples of eight bytes: 12 metrics every 15 seconds for two weeks."""
_SUBJECT_WEIGHT = 1_000
"""What another subject adds: its blocks cost as much as so many samples."""


@dataclass(frozen=True, slots=True, eq=False)
class AcceptedFrame:
    """A frame that was accepted; `index` counts from the beginning of the stream, `samples` as they were sent."""

    index: int
    key: SubjectKey
    frame: Frame
    samples: int

    @property
    def first_day(self) -> int:
        """The day of the first moment, since 1970-01-01."""
        return int(self.frame.times[0]) // MICROS_PER_DAY

    @property
    def last_day(self) -> int:
        """The day of the last moment."""
        return int(self.frame.times[-1]) // MICROS_PER_DAY


@dataclass(frozen=True, slots=True, eq=False)
class SubjectFrames:
    """Frames of one subject or part, in the order of the stream, to be stored in one transaction."""

    key: SubjectKey
    accepted: Sequence[AcceptedFrame]

    @property
    def samples(self) -> int:
        """How many samples were sent."""
        return sum(one.samples for one in self.accepted)


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The frames of one subject or part as one, and its blocks."""

    of: SubjectFrames
    frame: Frame
    blocks: Sequence[Block]


def encode_subject(frames: SubjectFrames) -> Encoded:
    """Merges frames, later ones over earlier ones, and returns a block for each day.

    A frame of which no value is kept has no block; it may be the only one of its subject, which is registered with it.
    """
    sampled = [one.frame for one in frames.accepted if one.frame.columns]
    if not sampled:
        return Encoded(frames, frames.accepted[0].frame, [])
    frame = merge(sampled)
    return Encoded(frames, frame, encode_days(frame))


class ImportBuffer:
    """What one stream holds back. A frame is held, or taken, as a whole: it is stored in one transaction."""

    def __init__(self) -> None:
        self._held: dict[SubjectKey, list[AcceptedFrame]] = {}
        self._open: set[SubjectKey] = set()
        self._weight = 0
        self._newest: SubjectKey | None = None

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, accepted: AcceptedFrame, today: int) -> None:
        """Takes a frame; `today` is the first day that is not over."""
        held = self._held.get(accepted.key)
        if held is None:
            held = self._held[accepted.key] = []
            self._weight += _SUBJECT_WEIGHT
        held.append(accepted)
        self._weight += _weight(accepted.frame)
        self._newest = accepted.key
        if accepted.last_day >= today:
            self._open.add(accepted.key)

    def take_due(self) -> list[SubjectFrames]:
        """Removes and returns what shall not wait any longer.

        These are subjects with frames of a day that is not over. If too much is held, they are all subjects; but of the
        one whose frame came last those stay behind that are of its last day alone, to which more may come.
        """
        if self._weight < MAX_HELD:
            return [self._take(key) for key in list(self._held) if key in self._open] if self._open else []
        newest, last = self._newest, []
        if newest is not None and newest in self._held and newest not in self._open:
            held = self._held[newest]
            first = _first_of_last_day(held)
            last = held[first:] if sum(_weight(one.frame) for one in held[first:]) < MAX_HELD // 2 else []
            self._held[newest] = held[: len(held) - len(last)]
        due = [frames for frames in self.take_all() if frames.accepted]
        for one in last:
            self.add(one, one.last_day + 1)
        return due

    def take_all(self) -> list[SubjectFrames]:
        """Removes and returns everything."""
        return [self._take(key) for key in list(self._held)]

    def _take(self, key: SubjectKey) -> SubjectFrames:
        held = self._held.pop(key)
        self._open.discard(key)
        self._weight = self._weight - _SUBJECT_WEIGHT - sum(_weight(one.frame) for one in held) if self._held else 0
        return SubjectFrames(key, held)


def _first_of_last_day(held: Sequence[AcceptedFrame]) -> int:
    """Returns from which one on frames are of the last one's last day alone."""
    day, first = held[-1].last_day, len(held)
    while first and held[first - 1].first_day == held[first - 1].last_day == day:
        first -= 1
    return first


def _weight(frame: Frame) -> int:
    """Returns what a frame takes in memory, in eight bytes."""
    weight = 2 * len(frame.times)
    for column in frame.columns.values():
        weight += len(column.values)
        if column.type == ValueType.STRING:
            weight += sum(8 + len(text) // 8 for text in column.values)
    return weight
