"""Answers about metrics. Times are timezone-aware, UTC, with microseconds; values are plain Python scalars.

A window without samples is None, a window without growth is 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from streamgauge.enums import Aggregate, MetricKind, Scalar, ValueType
from streamgauge.observations import Window

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class MetricMetadata:
    """What people need to label a value."""

    display_name: str
    unit: str
    kind: MetricKind
    value_type: ValueType


@dataclass(frozen=True, slots=True)
class Column:
    """One aggregate of one metric: one value per window of the answer, None where the window holds no sample.

    `value_type` is the type of the values; an answer without any value does not tell it (`UNKNOWN`). `sample_type` is
    the type of the samples that they are made of: a metric of assets may have a column for its numbers, one for its
    booleans and one for its texts. With `Aggregate.TIME_IN_VALUE` there is a column per value, which is `of_value`.
    """

    metric: str
    aggregate: Aggregate
    value_type: ValueType
    values: tuple[Scalar | None, ...]
    sample_type: ValueType = ValueType.UNKNOWN
    of_value: Scalar | None = None


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """One value per metric and window for one source.

    `start` and `end` are the range as resolved by the server. Window `i` is `[bounds[i], bounds[i + 1])`; the first may
    begin before the range and the last may end after it, but they hold only samples of the range. A metric reads like
    a mapping: `series["byteTotal"].values`.
    """

    source: str
    start: datetime
    end: datetime
    window: Window
    bounds: tuple[datetime, ...]
    columns: Mapping[str, Column]
    metadata: Mapping[str, MetricMetadata]

    def __getitem__(self, metric: str) -> Column:
        return self.columns[metric]

    def points(self, metric: str) -> Iterator[tuple[datetime, Scalar | None]]:
        """Yields the start of every window with its value, for one metric. KeyError when it is not in the answer."""
        return zip(self.bounds, self.columns[metric].values, strict=False)

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a DataFrame: a row per window (index `window_start`, UTC), a column per metric, exact nullable types.

        Needs `streamgauge[pandas]`; ImportError says so otherwise.
        """
        from streamgauge import dataframes

        return dataframes.from_time_series(self)


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One metric over the whole range. `value` and the times are None when the range holds no sample of it.

    `sample_count` and `reset_count` (bridged counter resets) are over all parts.
    """

    metric: str
    aggregate: Aggregate
    value: Scalar | None
    sample_count: int
    first_time: datetime | None
    last_time: datetime | None
    reset_count: int


@dataclass(frozen=True, slots=True)
class TimeSummary:
    """One value per metric over the range `[start, end)` for one source. `summary["byteTotal"].value` reads one."""

    source: str
    start: datetime
    end: datetime
    values: Mapping[str, MetricSummary]
    metadata: Mapping[str, MetricMetadata]

    def __getitem__(self, metric: str) -> MetricSummary:
        return self.values[metric]

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a DataFrame with a row per metric. Needs `streamgauge[pandas]`; ImportError says so otherwise."""
        from streamgauge import dataframes

        return dataframes.from_time_summary(self)


@dataclass(frozen=True, slots=True)
class LatestValue:
    """The newest value of one metric; everything is None when there is none.

    For counters `value` is what the counter mode asks for and `raw_value` the reading as it was written (None when no
    single part decides). `time` is the moment of the newest sample, `start_time` when the counter began to count.
    """

    metric: str
    value: Scalar | None
    raw_value: Scalar | None
    time: datetime | None
    start_time: datetime | None


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    """Where the snapshot of one topic stands."""

    status: str
    topic_id: str
    submit_time: datetime | None
    time: datetime | None


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest value of every metric of one source. `latest["byteTotal"].value` reads one."""

    source: str
    values: Mapping[str, LatestValue]
    snapshot_status: tuple[SnapshotStatus, ...]
    metadata: Mapping[str, MetricMetadata]

    def __getitem__(self, metric: str) -> LatestValue:
        return self.values[metric]

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a DataFrame with a row per metric. Needs `streamgauge[pandas]`; ImportError says so otherwise."""
        from streamgauge import dataframes

        return dataframes.from_latest([("", "", self.values)], named=False)


@dataclass(frozen=True, slots=True)
class Series:
    """The answer of a query for one subject, or for one part of it (`part` is empty for the subject as a whole)."""

    subject: str
    part: str
    columns: tuple[Column, ...]

    def column(
        self,
        metric: str,
        aggregate: Aggregate | str | None = None,
        *,
        sample_type: ValueType | str | None = None,
        of_value: Scalar | None = None,
    ) -> Column:
        """Returns the column of a metric; where there are several, the first that is as the other arguments say.

        KeyError when there is none.

        Example:
            >>> open_ = series.column("status", "time_in_value", of_value="open")
        """
        for column in self.columns:
            if (
                column.metric == metric
                and aggregate in (None, column.aggregate)
                and sample_type in (None, column.sample_type)
                and (of_value is None or (type(of_value), of_value) == (type(column.of_value), column.of_value))
            ):
                return column
        raise KeyError((metric, aggregate, sample_type, of_value))


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Windows and aggregates for many subjects.

    `bounds` are shared by all series: window `i` is `[bounds[i], bounds[i + 1])`. `metadata` is by kind and metric
    (`sources/byteTotal`). `unknown_subjects` do not exist.
    """

    start: datetime
    end: datetime
    bounds: tuple[datetime, ...]
    series: tuple[Series, ...]
    metadata: Mapping[str, MetricMetadata]
    unknown_subjects: tuple[str, ...]

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a DataFrame: a row per window, columns by (subject, part, metric, aggregate), exact nullable types.

        Where that does not tell the columns apart (samples of several types, times in values), there are two more
        levels, `sample_type` and `of_value`. Needs `streamgauge[pandas]`; ImportError says so otherwise.
        """
        from streamgauge import dataframes

        return dataframes.from_query(self)


@dataclass(frozen=True, slots=True)
class SubjectLatest:
    """The newest values of one subject, or of one part of it, by metric name."""

    subject: str
    part: str
    values: Mapping[str, LatestValue]

    def __getitem__(self, metric: str) -> LatestValue:
        return self.values[metric]


@dataclass(frozen=True, slots=True)
class LatestResult:
    """The newest values of many subjects. `read_time` is the server's clock, to tell the age of the values."""

    subjects: tuple[SubjectLatest, ...]
    metadata: Mapping[str, MetricMetadata]
    unknown_subjects: tuple[str, ...]
    read_time: datetime

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a DataFrame with a row per subject, part and metric.

        Needs `streamgauge[pandas]`; ImportError says so otherwise.
        """
        from streamgauge import dataframes

        return dataframes.from_latest([(s.subject, s.part, s.values) for s in self.subjects])
