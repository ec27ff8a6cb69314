"""Frames of an export packed into messages, each with the cursor from which a later call goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streamgauge_server.services.frame_output import FrameOutput

_MAX_FRAMES = 4_096
"""Frames in one message: of small ones more would fit, and be unpacked at once."""
_MAX_DAMAGED = 1_000


@dataclass(frozen=True, slots=True)
class ExportPart:
    """One message of an export: frames, where to go on after it, and how far it has come.

    `subject_count` and `subjects_done` count subjects and parts. `unknown` are subjects of the request that do not
    exist; `damaged` are days that cannot be sent whole, as `{subject} {yyyy-mm-dd}`.
    """

    frames: Sequence[FrameOutput]
    cursor: str
    subject_count: int
    subjects_done: int
    unknown: Sequence[str]
    damaged: Sequence[str]


class ExportMessages:
    """Collects frames until a message is full.

    The cursor of a message is behind all of its frames; or it is that of the message before, and the frames are of one
    day that is not whole yet. Who writes down what was sent waits for a new cursor, and never has a sample twice.
    """

    def __init__(self, cursor: str, *, count: int, done: int, unknown: Sequence[str], size: int) -> None:
        """`done` out of `count` subjects were sent before; `size` is about that of a message, in bytes."""
        self._cursor = cursor
        self._count = count
        self._done = done
        self._unknown = unknown
        self._room = self._size = size
        self._frames: list[FrameOutput] = []
        self._damaged: list[str] = []
        self._in_day = False

    def add(self, frames: Sequence[FrameOutput], *, last: bool) -> Iterator[ExportPart]:
        """Takes frames of a day, `last` if there are no more of it, and yields the messages that are full.

        With the last ones comes `day_done`.
        """
        fits = last and len(frames) + len(self._frames) <= _MAX_FRAMES and sum(f.size for f in frames) <= self._room
        if not self._in_day and not fits and self._frames:
            yield self._take()
        self._in_day = not last
        for frame in frames:
            if self._frames and (frame.size > self._room or len(self._frames) >= _MAX_FRAMES):
                yield self._take()
            self._frames.append(frame)
            self._room -= frame.size

    def day_done(self, cursor: str, done: int, damaged: str | None) -> Iterator[ExportPart]:
        """Notes that a day is whole, or named as damaged, and how many subjects and parts are whole with it.

        Yields the message if there is no room for more.
        """
        self._cursor, self._done = cursor, done
        if damaged is not None:
            self._damaged.append(damaged)
        if len(self._damaged) >= _MAX_DAMAGED:
            yield self._take()

    def rest(self, done: int) -> ExportPart:
        """Returns the last message, when so many subjects and parts are whole."""
        self._done = done
        return self._take()

    def _take(self) -> ExportPart:
        # Subjects may have been registered since they were counted.
        self._count = max(self._count, self._done)
        part = ExportPart(self._frames, self._cursor, self._count, self._done, self._unknown, self._damaged)
        self._frames, self._unknown, self._damaged, self._room = [], [], [], self._size
        return part
