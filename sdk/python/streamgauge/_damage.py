"""Answers that may lack something, because stored bytes of the server are damaged: told by a warning."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

KEY = "streamgauge-damaged"
_HERE = f"{Path(__file__).parent}{os.sep}"


class DamagedDataWarning(UserWarning):
    """An answer may lack something: the server could not read some of what it has stored, which is named here."""


def warn(trailers: Iterable[tuple[str, str | bytes]] | None) -> None:
    """Warns of what the trailing metadata of a call tell, at the place that called the SDK."""
    damaged = [str(value) for key, value in trailers or () if key == KEY]
    if damaged:
        message = "the answer may lack something, as stored bytes are damaged: " + ", ".join(damaged)
        warnings.warn(message, DamagedDataWarning, stacklevel=_depth())


def _depth() -> int:
    """Returns how many frames are above the first one that is not the SDK's, as seen from `warn`."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame, depth = frame.f_back, depth + 1
    return depth
