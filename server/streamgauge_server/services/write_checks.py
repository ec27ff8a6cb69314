"""The checks that rows and frames share: subjects, parts, moments, values. Each returns what is wrong, or None."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgauge_server.model.clock import MAX_MICROS, MICROS_PER_DAY, MICROS_PER_SECOND, isoformat
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.errors import DomainError, Reason, Violation
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import (
    MAX_METRIC_CHARACTERS,
    MAX_NAME_BYTES,
    SubjectName,
    metric_name_problem,
    text_problem,
)
from streamgauge_server.model.values import Scalar, SubjectKind, ValueType

INVALID_TIME = -(2**63)
"""What the edge passes for a timestamp that is none (nanoseconds out of range)."""

MAX_ERRORS = 100
"""How many errors an answer lists."""

NOT_FOUND_REASON = {
    SubjectKind.SOURCE: Reason.SOURCE_NOT_FOUND,
    SubjectKind.JOB: Reason.JOB_NOT_FOUND,
    SubjectKind.ASSET: Reason.ASSET_NOT_FOUND,
    SubjectKind.METRIC_TYPE_CHOICE: Reason.METRIC_TYPE_NOT_FOUND,
}


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why one item (observation or frame) was refused.

    `path` is the field below the item. `metadata` is what an error with this reason says of itself.
    """

    index: int
    subject: str
    metric: str
    path: str
    reason: Reason
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Refusals:
    """Collects what is wrong with the items of a batch."""

    errors: list[ItemError] = field(default_factory=list)
    items: set[int] = field(default_factory=set)

    def add(
        self,
        index: int,
        subject: str,
        path: str,
        message: str,
        *,
        metric: str = "",
        reason: Reason = Reason.INVALID_FIELD,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Refuses item `index`."""
        self.items.add(index)
        self.errors.append(ItemError(index, clip(subject), clip_metric(metric), path, reason, message, metadata or {}))

    def add_type_mismatch(
        self, index: int, subject: str, path: str, metric: str, expected: ValueType, actual: ValueType
    ) -> None:
        """Refuses item `index` for a value that cannot become its metric's type."""
        self.add(
            index,
            subject,
            path,
            f"must be {expected.name}, is {actual.name} and cannot be converted without loss",
            metric=metric,
            reason=Reason.VALUE_TYPE_MISMATCH,
            metadata={"metric": metric, "expected": expected.name, "actual": actual.name},
        )

    def add_unknown(self, index: int, subject: SubjectName) -> None:
        """Refuses item `index` for a subject that does not exist and may not be registered by writing."""
        message = f"there is no {subject}, and a write does not register it"
        self.add(index, str(subject), "subject", message, reason=NOT_FOUND_REASON[subject.kind])


def batch_error(errors: Sequence[ItemError], items: str) -> DomainError:
    """The error of a batch that is refused as a whole: every bad item is a violation of field `items[index].path`.

    Its own reason is one of a bad argument, whatever the reasons of the items.
    """
    violations = [Violation(f"{items}[{error.index}].{error.path}", error.message, error.reason) for error in errors]
    first, more = violations[0], f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    mismatch = first.reason == Reason.VALUE_TYPE_MISMATCH
    return DomainError(
        first.reason if mismatch else Reason.INVALID_FIELD,
        f"{first.field}: {first.description}{more}",
        metadata=errors[0].metadata if mismatch else {"field": first.field},
        violations=violations,
    )


def clip(text: str) -> str:
    """Cuts text from outside to what an answer repeats: 255 bytes at a character's border."""
    if len(text) <= MAX_NAME_BYTES // 4:
        return text
    return text.encode("utf-8")[:MAX_NAME_BYTES].decode("utf-8", "ignore")


def clip_metric(metric: str) -> str:
    """Cuts the name of a metric from outside to what an answer repeats: as many characters as a name may have."""
    return metric[:MAX_METRIC_CHARACTERS]


def part_problem(part: str) -> str | None:
    """Returns what is wrong with the name of a part."""
    return text_problem(part, MAX_NAME_BYTES)


def metric_problem(metric: str) -> str | None:
    """Returns what is wrong with the name of a metric."""
    # Every sample comes with a name, and there are few of them. What is too long for one is not kept.
    return _kept_metric_problem(metric) if len(metric) <= MAX_METRIC_CHARACTERS else metric_name_problem(metric)


_kept_metric_problem = lru_cache(maxsize=16_384)(metric_name_problem)


def time_problem(time: int, now: int, limits: Limits) -> str | None:
    """Returns what is wrong with the moment of a sample, in microseconds."""
    if 0 <= time <= now:
        return None
    if time == INVALID_TIME:
        return "is not a valid timestamp: nanos must be between 0 and 999,999,999"
    if time < 0:
        return "must not be before 1970-01-01T00:00:00Z"
    if time >= MAX_MICROS:
        return "must not be after the year 9999"
    ahead = time - now
    if ahead > limits.max_future_seconds * MICROS_PER_SECOND:
        return (
            f"must be at most {limits.max_future_seconds} s ahead of the server's clock ({isoformat(now)}), "
            f"is {ahead / MICROS_PER_SECOND:.16g} s ahead"
        )
    return None


def age_problem(descriptor: MetricDescriptor, time: int, floor: int | None, now: int) -> str | None:
    """Returns what is wrong with the moment of a sample of a metric of which those before `floor` are not kept."""
    if floor is None or time >= floor:
        return None
    return (
        f"must not be before {isoformat(floor)}, as no older samples of {clip_metric(descriptor.metric)!r} are kept "
        f"(sample_retention), is {isoformat(time)}, {(now - time) / MICROS_PER_DAY:.6g} days old"
    )


def start_problem(start: int, earliest: int) -> str | None:
    """Returns what is wrong with the start time of counters whose first sample is at `earliest`."""
    if 0 <= start <= earliest:
        return None
    if start == INVALID_TIME:
        return "is not a valid timestamp: nanos must be between 0 and 999,999,999"
    if start < 0:
        return "must not be before 1970-01-01T00:00:00Z"
    return "must not be after the moment of the sample"


def value_problem(value: Scalar | None, limits: Limits) -> str | None:
    """Returns what is wrong with a value, whatever its metric."""
    if value is None:
        return "must have exactly one of double_value, int64_value, bool_value, string_value"
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be finite, is {value}"
    if isinstance(value, str):
        size = len(value) if value.isascii() else len(value.encode("utf-8"))
        if size > limits.max_text_bytes:
            return f"must have at most {limits.max_text_bytes} bytes, has {size}"
        if "\0" in value:
            return "must not hold NUL"
    return None


def range_problem(descriptor: MetricDescriptor, value: Scalar) -> str | None:
    """Returns what is wrong with a value that its metric's limits, both inclusive, do not allow; texts have none."""
    if isinstance(value, str):
        return None
    if descriptor.min_value is not None and value < descriptor.min_value:
        return _too_low(descriptor.min_value, value)
    if descriptor.max_value is not None and value > descriptor.max_value:
        return _too_high(descriptor.max_value, value)
    return None


def first_out_of_range(descriptor: MetricDescriptor, values: NDArray[Any]) -> tuple[int, str] | None:
    """Returns the position of the first value that `range_problem` refuses, and what is wrong with it."""
    low, high = descriptor.min_value, descriptor.max_value
    found: list[tuple[int, str]] = []
    # Compared with a double, numpy would round large integers: theirs are the whole numbers inside the limits.
    exact = values.dtype == np.int64
    if low is not None and (below := values < (math.ceil(low) if exact else low)).any():
        found.append((int(below.argmax()), _too_low(low, values[below.argmax()].item())))
    if high is not None and (above := values > (math.floor(high) if exact else high)).any():
        found.append((int(above.argmax()), _too_high(high, values[above.argmax()].item())))
    return min(found, default=None)


def _too_low(limit: float, value: float) -> str:
    return f"must be at least {_plain(limit)}, is {_plain(value)}"


def _too_high(limit: float, value: float) -> str:
    return f"must be at most {_plain(limit)}, is {_plain(value)}"


def _plain(number: float) -> str:
    """Returns a number as people write it: whole ones without a fraction."""
    return str(int(number)) if abs(number) < 2**63 and number == int(number) else repr(number)
