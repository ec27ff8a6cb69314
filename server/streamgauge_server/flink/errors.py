"""What can go wrong with a cluster: four exceptions, whose texts are short and free of stack traces and credentials."""

from __future__ import annotations

import re
from enum import Enum

MAX_REASON = 300
"""Characters of a reason; Flink's own messages are a line, proxies' may be anything."""

_JAVA_CLASS = re.compile(r"(?:[a-z_][\w$]*\.)+[A-Z][\w$]*: (?=\S)")
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f]+")


class Cause(Enum):
    """Why a cluster counts as unreachable."""

    CONNECTION = "connection"
    """Refused, reset, an unknown host, a certificate that is not trusted."""
    TIMEOUT = "timeout"
    STATUS = "status"
    """An HTTP status that says nothing of the job: 5xx, 503 of a leader election, 401 and 403, a redirect."""
    NOT_FLINK = "not-flink"
    """An answer that is not Flink's: not JSON, cut off, of another shape, another server's 404."""


class FlinkError(Exception):
    """A request to a cluster that brought no answer. `reason` may be shown to users."""

    def __init__(self, reason: str) -> None:
        self.reason = bounded(reason)
        super().__init__(self.reason)


class Unreachable(FlinkError):
    """The cluster gave no answer that could be used, so nothing is known about the job.

    `may_have_arrived` says that the request was sent: one that changes something may have had its effect.
    """

    def __init__(self, cause: Cause, reason: str, *, may_have_arrived: bool) -> None:
        super().__init__(reason)
        self.cause = cause
        self.may_have_arrived = may_have_arrived


class NotFound(FlinkError):
    """Flink says that it does not know the job or the savepoint operation."""


class Refused(FlinkError):
    """Flink refuses the request (400, 409); `reason` is the first line of what it says."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class TooLarge(FlinkError):
    """The answer is larger than allowed. The cluster is there; this answer cannot be had."""


def first_line(text: str) -> str:
    """Returns the first line of a Java stack trace without the classes of the exceptions around the message."""
    line = text.lstrip().split("\n", 1)[0]
    while (shorter := _JAVA_CLASS.match(line)) is not None:
        line = line[shorter.end() :]
    return bounded(line)


def bounded(text: str) -> str:
    """Returns a text as one line of at most 300 characters."""
    line = _BLANKS.sub(" ", text[: 8 * MAX_REASON]).strip()
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 1] + "…"
