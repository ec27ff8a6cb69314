"""How long observations are kept: limits in whole days, by kind of metric and by metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamgauge_server.model.clock import MICROS_PER_DAY
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.values import MetricKind

MAX_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class Retention:
    """After how many whole days samples and summaries go; None is never."""

    sample_days: int | None = None
    summary_days: int | None = None

    def problem(self) -> str | None:
        """Returns what is wrong with `summary_days` beside `sample_days`: samples cannot outlive their summaries."""
        if self.summary_days is None:
            return None
        if self.sample_days is None:
            return f"needs a limit of samples as well: {self.summary_days} days of summaries, and samples for ever"
        if self.summary_days < self.sample_days:
            return f"must not be less than the {self.sample_days} days of samples, is {self.summary_days} days"
        return None

    def sound(self) -> Retention:
        """Returns limits without contradiction: of two that were set apart the longer one holds."""
        if self.summary_days is None or self.problem() is None:
            return self
        return Retention(self.sample_days, None if self.sample_days is None else self.sample_days)


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """The limits of each kind of metric, which hold for metrics that have none of their own. None by default."""

    by_kind: Mapping[MetricKind, Retention] = field(default_factory=dict)

    def of(self, kind: MetricKind, sample_days: int | None, summary_days: int | None) -> Retention:
        """Returns the limits that are in force for a metric of a kind with limits of its own, as far as it has any."""
        return self.joined(kind, sample_days, summary_days).sound()

    def joined(self, kind: MetricKind, sample_days: int | None, summary_days: int | None) -> Retention:
        """Returns what `of` does, be it contradictory."""
        general = self.by_kind.get(kind, _NONE)
        return Retention(
            general.sample_days if sample_days is None else sample_days,
            general.summary_days if summary_days is None else summary_days,
        )

    @property
    def limits_samples(self) -> bool:
        """Tells whether samples of any kind go."""
        return any(limits.sample_days is not None for limits in self.by_kind.values())

    def floor(self, descriptor: MetricDescriptor, now: int) -> int | None:
        """Returns the earliest moment of which samples of a metric are kept at a time; None where all are."""
        days = descriptor.sample_retention
        if days is not None:
            days //= MICROS_PER_DAY
        elif (general := self.by_kind.get(descriptor.kind)) is not None:
            days = general.sample_days
        return None if days is None else (now // MICROS_PER_DAY - days) * MICROS_PER_DAY


_NONE = Retention()
EVERYTHING = RetentionRules()
"""Nothing ever goes."""
