"""Counters that go on growing although Flink starts them again from zero with every attempt of a job."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class RunningTotal:
    """The sum of a counter's highest readings in all attempts: `before` in those that are over, `highest` in this one.

    `attempt` grows from one attempt to the next: `JobDetails.attempt_ms`, which comes in one answer with the counts.
    The number of restarts does not serve, because it comes in another answer, earlier or later.
    """

    before: int = 0
    attempt: int = 0
    highest: int = 0

    @property
    def value(self) -> int:
        """The total."""
        return self.before + self.highest

    def advanced(self, attempt: int, reading: int) -> RunningTotal:
        """Returns the total after a reading. Late readings, of this attempt or of one that is over, change nothing."""
        if attempt > self.attempt:
            return RunningTotal(self.value, attempt, reading)
        if attempt < self.attempt or reading <= self.highest:
            return self
        return replace(self, highest=reading)
