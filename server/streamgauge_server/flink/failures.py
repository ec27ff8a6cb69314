"""`GET /jobs/{jid}/exceptions`: why a job failed or was restarted, of Flink 2.x and of 1.x."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from streamgauge_server.flink import fields
from streamgauge_server.flink.errors import bounded

MAX_STACK_BYTES = 64 * 1024
"""UTF-8 bytes that are kept of one stack trace by default. Messages of megabytes are real: records print themselves."""

MAX_CONCURRENT = 10
"""Exceptions that are kept of those that came with one: at a parallelism of 1,000 every subtask fails at once."""

HISTORY_SIZE = 16
"""Entries that Flink remembers by default (`web.exception-history-size`), without telling of those it has dropped."""

_LAST_CAUSE = "\nCaused by: "
_MARKER_BYTES = 48
"""Enough for the line that says how much was left out."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One exception. `stack` is cut if `truncated`; `digest` (SHA-256) is of the whole of it.

    `task` is empty for a failure of the job: a wrapper, whose cause is then the first of `concurrent`.
    """

    name: str
    time_ms: int | None
    stack: str
    truncated: bool
    digest: str
    task: str
    endpoint: str
    task_manager: str
    labels: Mapping[str, str]
    concurrent: tuple[Failure, ...] = ()

    def fingerprint(self, jid: str) -> str:
        """Returns what tells this exception from all others of all jobs: 64 hexadecimal digits."""
        return _sha256(f"{jid}\n{self.time_ms}\n{self.task}\n{self.digest}")

    @property
    def cause(self) -> Failure | None:
        """The user's error, where this is a wrapper around it."""
        return self.concurrent[0] if not self.task and self.concurrent else None

    @property
    def summary(self) -> str:
        """One line: the first of the cause's stack, or of its own."""
        return bounded((self.cause or self).stack.lstrip().split("\n", 1)[0])


@dataclass(frozen=True, slots=True)
class FailureHistory:
    """Exceptions, newest first. `truncated`: there were older ones, or there may have been."""

    entries: tuple[Failure, ...]
    truncated: bool

    @property
    def root(self) -> Failure | None:
        """The newest exception; None for a job in which nothing has failed."""
        return self.entries[0] if self.entries else None

    @classmethod
    def parse(cls, answer: object, max_stack_bytes: int = MAX_STACK_BYTES) -> FailureHistory:
        """Reads the answer. Of each stack trace at most `max_stack_bytes` of UTF-8 are kept.

        Raises:
            MalformedAnswer: there is neither a history nor the single exception of Flink 1.x.
        """
        told = fields.object_of(answer, "the exceptions")
        if "exceptionHistory" not in told and "root-exception" not in told:
            raise fields.MalformedAnswer("the exceptions have no history")
        history = fields.member(told, "exceptionHistory")
        entries = tuple(_failure(entry, max_stack_bytes) for entry in fields.members(history, "entries"))
        truncated = history.get("truncated") is True or len(entries) >= HISTORY_SIZE
        if not entries and (root := fields.text(told, "root-exception")):
            entries = (_single(root, fields.moment(told, "timestamp"), max_stack_bytes),)
            truncated = truncated or told.get("truncated") is True
        return cls(entries, truncated)


def cut_stack(stack: str, limit: int = MAX_STACK_BYTES) -> tuple[str, bool]:
    """Returns a stack trace in at most `limit` bytes of UTF-8, and whether anything was left out.

    The head is kept, and of the last `Caused by` as much as half of the room: that is where the error is told.
    """
    raw = stack.encode()
    if len(raw) <= limit:
        return stack, False
    tail = b""
    at = raw.rfind(_LAST_CAUSE.encode())
    if at >= 0:
        tail = raw[at:]
    room = max(0, limit - _MARKER_BYTES)
    marker = f"\n… {len(raw) - room} bytes left out …".encode()
    tail = tail[: room // 2]
    head = raw[: room - len(tail)]
    if at >= 0 and len(head) > at:
        # The last cause begins within the head: one piece says it all.
        head, tail = raw[:room], b""
    return "".join(part.decode("utf-8", "ignore") for part in (head, marker, tail)), True


def _failure(told: fields.JsonObject, max_stack_bytes: int) -> Failure:
    whole = fields.text(told, "stacktrace")
    stack, truncated = cut_stack(whole, max_stack_bytes)
    labels = fields.member(told, "failureLabels")
    return Failure(
        name=bounded(fields.text(told, "exceptionName")),
        time_ms=fields.moment(told, "timestamp"),
        stack=stack,
        truncated=truncated,
        digest=_sha256(whole),
        task=bounded(fields.text(told, "taskName")),
        endpoint=bounded(fields.text(told, "endpoint") or fields.text(told, "location")),
        task_manager=bounded(fields.text(told, "taskManagerId")),
        labels={bounded(fields.storable(key)): bounded(fields.text(labels, key)) for key in labels},
        concurrent=tuple(
            _failure(one, max_stack_bytes) for one in fields.members(told, "concurrentExceptions")[:MAX_CONCURRENT]
        ),
    )


def _single(whole: str, time_ms: int | None, max_stack_bytes: int) -> Failure:
    stack, truncated = cut_stack(whole, max_stack_bytes)
    name = whole.split("\n", 1)[0].split(":", 1)[0]
    return Failure(bounded(name), time_ms, stack, truncated, _sha256(whole), "", "", "", {})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
