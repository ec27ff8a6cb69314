"""Telling that an answer may lack something: the trailers of calls as one header of the answer.

The server names each stored block that it could not read in a trailer `streamgauge-damaged`; HTTP has them in a header
of that name, a list with commas. Streams, whose heads are sent before the call has ended, cannot have it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

KEY = "streamgauge-damaged"
HEADER = "Streamgauge-Damaged"
MAX_BYTES = 4_000
"""The header is no longer than this: clients and proxies bound the head of an answer."""
_MAX_KEPT = 1_000

_SANE = re.compile(r"[!-+\--~]{1,1000}")
"""Printable, without a comma; other texts are not our server's."""
_MORE = re.compile(r"more=([0-9]{1,9})")


class Damage:
    """What the calls of one request told."""

    __slots__ = ("_named", "_others")

    def __init__(self) -> None:
        self._named: dict[str, None] = {}
        self._others = 0

    def note(self, trailers: Iterable[tuple[str, str | bytes]]) -> None:
        """Takes the trailers of a call."""
        for key, value in trailers:
            if key == KEY and isinstance(value, str):
                if more := _MORE.fullmatch(value):
                    self._others += int(more[1])
                elif len(self._named) >= _MAX_KEPT:
                    self._others += 1
                elif _SANE.fullmatch(value):
                    self._named[value] = None

    def header(self) -> str:
        """Returns the header, empty where nothing was told. What does not fit is counted by `more=` at its end."""
        fitting: list[str] = []
        room = MAX_BYTES - len(f", more={len(self._named) + self._others}")
        for text in self._named:
            room -= len(text) + 2
            if room < 0:
                break
            fitting.append(text)
        more = len(self._named) - len(fitting) + self._others
        return ", ".join([*fitting, f"more={more}"] if more else fitting)
