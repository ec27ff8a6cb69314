"""How collectors fare, as metrics for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LABELS = ("tenant", "cluster")
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class CollectorMetrics:
    """The metrics of all collectors of a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "streamgauge_collector_"
        self._polls = Counter(f"{prefix}polls", "Polls, by outcome.", (*_LABELS, "outcome"), registry=registry)
        self._seconds = Histogram(
            f"{prefix}poll_seconds", "Time of a poll.", _LABELS, buckets=_BUCKETS, registry=registry
        )
        self._errors = Counter(f"{prefix}errors", "What went wrong, by cause.", (*_LABELS, "cause"), registry=registry)
        self._lag = Gauge(f"{prefix}lag_seconds", "How late the last poll began.", _LABELS, registry=registry)
        self._success = Gauge(
            f"{prefix}last_success_timestamp_seconds",
            "When the cluster last answered, in seconds since 1970.",
            _LABELS,
            registry=registry,
        )
        self._runs = Gauge(f"{prefix}runs", "Runs that are followed.", _LABELS, registry=registry)
        self._read = Counter(f"{prefix}details_read", "Details of runs that were read.", _LABELS, registry=registry)
        self._skipped = Counter(
            f"{prefix}details_skipped",
            "Details of runs that were put off because a poll had used up its requests or its time.",
            _LABELS,
            registry=registry,
        )
        self._leading = Gauge(
            f"{prefix}leading",
            "1 while this process polls the cluster, 0 while another does.",
            _LABELS,
            registry=registry,
        )

    def of(self, tenant: str, cluster: str) -> ClusterMetrics:
        """Returns the metrics of one cluster, which exist from now on."""
        labels = (tenant, cluster)
        return ClusterMetrics(
            labels=labels,
            polls=self._polls,
            errors=self._errors,
            seconds=self._seconds.labels(*labels),
            lag=self._lag.labels(*labels),
            success=self._success.labels(*labels),
            runs=self._runs.labels(*labels),
            read=self._read.labels(*labels),
            skipped=self._skipped.labels(*labels),
            leading=self._leading.labels(*labels),
        )


class ClusterMetrics:
    """The metrics of the collector of one cluster."""

    def __init__(
        self,
        *,
        labels: tuple[str, str],
        polls: Counter,
        errors: Counter,
        seconds: Histogram,
        lag: Gauge,
        success: Gauge,
        runs: Gauge,
        read: Counter,
        skipped: Counter,
        leading: Gauge,
    ) -> None:
        self._labels = labels
        self._polls = polls
        self._errors = errors
        self.seconds = seconds
        self.lag = lag
        self.success = success
        self.runs = runs
        self.read = read
        self.skipped = skipped
        self.leading = leading

    def polled(self, outcome: str) -> None:
        """Counts a poll."""
        self._polls.labels(*self._labels, outcome).inc()

    def failed(self, cause: str) -> None:
        """Counts something that went wrong."""
        self._errors.labels(*self._labels, cause).inc()
