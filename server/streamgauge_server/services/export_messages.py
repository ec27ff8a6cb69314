"""Frames of an export packed into messages, each with the cursor from which a later call goes on."""

from __future__ import annotations

from collections.abc import Sequence
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

    The cursor is behind days that were collected whole: the message in which a day begins and does not end has the
    cursor of the day before it.
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

    def add(self, frame: FrameOutput) -> ExportPart | None:
        """Takes a frame, and returns the message before it if it does not fit."""
        full = None
        if self._frames and (frame.size > self._room or len(self._frames) >= _MAX_FRAMES):
            full = self.take()
        self._frames.append(frame)
        self._room -= frame.size
        return full

    def day_done(self, cursor: str, done: int, damaged: str | None) -> ExportPart | None:
        """Notes that a day is whole, or named as damaged, and how many subjects and parts are whole with it.

        Returns the message if there is no room for more.
        """
        self._cursor, self._done = cursor, done
        if damaged is not None:
            self._damaged.append(damaged)
        return self.take() if len(self._damaged) >= _MAX_DAMAGED else None

    def rest(self, done: int) -> ExportPart:
        """Returns the last message, when so many subjects and parts are whole."""
        self._done = done
        return self.take()

    def take(self) -> ExportPart:
        """Returns what was collected."""
        # Subjects may have been registered since they were counted.
        self._count = max(self._count, self._done)
        part = ExportPart(self._frames, self._cursor, self._count, self._done, self._unknown, self._damaged)
        self._frames, self._unknown, self._damaged, self._room = [], [], [], self._size
        return part
