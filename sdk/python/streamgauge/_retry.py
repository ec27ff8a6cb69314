"""The decision whether, and when, to try a failed call again. Pure: no clock, no sleeping."""

from __future__ import annotations

from collections.abc import Callable

from streamgauge._service_config import RetryPolicy
from streamgauge.errors import StreamgaugeError

Jitter = Callable[[float, float], float]
"""Returns a number between two bounds, as `random.uniform` does."""

JITTER = 0.2  # of the back-off, both ways: as gRPC does since its proposal A6 was amended


def backoff(policy: RetryPolicy, attempt: int, jitter: Jitter) -> float:
    """Returns the seconds to wait after failed attempt number `attempt` (from 1)."""
    exponent = min(attempt - 1, 63)  # far beyond any cap, and safe from overflow
    seconds = min(policy.initial_backoff * policy.multiplier**exponent, policy.max_backoff)
    return seconds * jitter(1 - JITTER, 1 + JITTER)


def is_retryable(policy: RetryPolicy, error: StreamgaugeError) -> bool:
    """Tells whether the error may pass: by its code, or because the server says after how long (RetryInfo)."""
    return error.code in policy.codes or error.retry_after is not None


def delay(
    policy: RetryPolicy | None, attempt: int, error: StreamgaugeError, remaining: float, jitter: Jitter
) -> float | None:
    """Returns the seconds to wait before the next attempt, or None to give up.

    The server's RetryInfo is a lower bound of the wait. A wait that would outlast the deadline (`remaining` seconds) is
    not begun: the caller gets the error at hand instead of a late DEADLINE_EXCEEDED.
    """
    if policy is None or attempt >= policy.max_attempts or not is_retryable(policy, error):
        return None
    seconds = max(backoff(policy, attempt, jitter), error.retry_after or 0.0)
    return seconds if seconds < remaining else None
