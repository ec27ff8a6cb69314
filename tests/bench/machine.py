"""How quiet the machine is while it is measured, and what a process costs it."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from statistics import median

_LOOP = range(400_000)


def cpu_seconds(pid: int) -> float:
    """Returns the processor time that a process has used, all of its threads together (Linux; 0 elsewhere)."""
    if sys.platform != "linux":
        return 0.0
    # The clock of another process, as clock_getcpuclockid(3) makes its id. Unlike /proc it counts nanoseconds.
    return time.clock_gettime(~pid << 3 | 2)


@dataclass(slots=True)
class Noise:
    """Times of one fixed piece of work, taken over the whole run: on a quiet machine they are all the same."""

    seconds: list[float] = field(default_factory=list)

    def take(self) -> None:
        """Does the work once more."""
        started = time.perf_counter()
        total = 0
        for i in _LOOP:
            total += i * i
        self.seconds.append(time.perf_counter() - started)

    def __str__(self) -> str:
        times = sorted(self.seconds)
        middle = median(times)
        low, high, most = (times[int(share * (len(times) - 1))] / middle - 1 for share in (0, 0.9, 1))
        return (
            f"a fixed loop took {middle * 1e3:.1f} ms (median of {len(times)}), "
            f"fastest {low:+.0%}, 9 of 10 below {high:+.0%}, slowest {most:+.0%}"
        )


def describe() -> str:
    """Returns a line about the machine."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} processors, shared by server, generator and database; load average {load} before the run"
