"""Metric types: kinds of figures with groups and columns, and the three that ship with the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class FigureType(IntEnum):
    """The metric types whose figures are kept from records; the numbers are stored."""

    JOB_TYPES = 1
    INGESTS = 2
    ERRORS = 3


class Span(IntEnum):
    """How long the figures of one row are about; the numbers are stored.

    `GONE` is an hour too: what records counted in it that are not kept any more.
    """

    HOUR = 1
    DAY = 2
    GONE = 3


ALL_CHOICES = 0
"""The number under which the figures of all choices together are kept."""

COUNTS: Mapping[FigureType, tuple[str, ...]] = {
    FigureType.JOB_TYPES: (
        "completed_count",
        "failed_count",
        "canceled_count",
        "error_system_count",
        "error_data_count",
        "error_algorithm_count",
    ),
    FigureType.INGESTS: ("deferred_count", "ingested_count", "errored_count", "duplicate_count"),
    FigureType.ERRORS: ("total_count",),
}
"""What is counted, by the columns that tell it; figures hold the counts in this order, which is stored."""

MEASURES: Mapping[FigureType, tuple[str, ...]] = {
    FigureType.JOB_TYPES: ("queue_time", "pre_time", "job_time", "post_time", "run_time", "stage_time"),
    FigureType.INGESTS: ("file_size", "transfer_time", "ingest_time"),
    FigureType.ERRORS: (),
}
"""What is measured; figures hold the measures in this order, which is stored. Times in microseconds, sizes in bytes."""


class ColumnAggregate(IntEnum):
    """How values become one; the contract's numbers. The last three are of built-in types only."""

    SUM = 1
    MIN = 2
    MAX = 3
    AVG = 4
    P50 = 5
    P95 = 6
    RATIO = 7


@dataclass(frozen=True, slots=True)
class Filter:
    """A field by which choices can be filtered, and its type."""

    param: str
    type: str = "string"


@dataclass(frozen=True, slots=True)
class Group:
    """A group of columns."""

    group: str
    title: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One figure. A built-in one is the sum of `counts`, by that of `over` if there are any, or is of a `measure`."""

    name: str
    title: str = ""
    description: str = ""
    units: str = ""
    group: str = ""
    aggregate: ColumnAggregate = ColumnAggregate.SUM
    counts: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    measure: str = ""

    @property
    def derived(self) -> bool:
        """Whether it is answered only when it is named."""
        return self.aggregate in (ColumnAggregate.P50, ColumnAggregate.P95, ColumnAggregate.RATIO)


@dataclass(frozen=True, slots=True)
class MetricTypeInfo:
    """A metric type. `figures` tells of a built-in one where its values are. Times in microseconds, 0 if built in.

    `columns` holds derived ones last.
    """

    name: str
    title: str = ""
    description: str = ""
    filters: tuple[Filter, ...] = ()
    groups: tuple[Group, ...] = ()
    columns: tuple[Column, ...] = ()
    figures: FigureType | None = None
    number: int = 0
    etag: str = ""
    create_time: int = 0
    update_time: int = 0

    @property
    def built_in(self) -> bool:
        """Whether it ships with the server."""
        return self.figures is not None


METRIC_TYPE_CHANGEABLE = ("title", "description", "filters", "groups", "columns")
"""Fields of a custom metric type that an update may name."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice of a custom metric type. `number` is the subject's id in the store; `fields` are plain JSON."""

    metric_type: str
    id: str
    number: int = 0
    title: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


_PARTS = (
    (ColumnAggregate.SUM, "sum", "Sum", "The sum"),
    (ColumnAggregate.MIN, "min", "Min", "The smallest"),
    (ColumnAggregate.MAX, "max", "Max", "The largest"),
    (ColumnAggregate.AVG, "avg", "Avg", "The mean"),
)
_PERCENTILES = (
    (ColumnAggregate.P50, "p50", "P50", "The median, within 1 % of its value,"),
    (ColumnAggregate.P95, "p95", "P95", "The 95th percentile, within 1 % of its value,"),
)


def _of_measure(parts: Any, measure: str, title: str, units: str, of_what: str) -> tuple[Column, ...]:
    return tuple(
        Column(
            f"{measure}_{suffix}",
            f"{title} ({word})",
            f"{what} of {of_what}.",
            units,
            measure,
            aggregate,
            measure=measure,
        )
        for aggregate, suffix, word, what in parts
    )


def _count(name: str, title: str, description: str, group: str, *counts: str) -> Column:
    return Column(name, title, description, "count", group, counts=counts or (name,))


def _rate(name: str, title: str, description: str, group: str, count: str, over: tuple[str, ...]) -> Column:
    return Column(name, title, description, "ratio", group, ColumnAggregate.RATIO, counts=(count,), over=over)


_ENDED = ("completed_count", "failed_count", "canceled_count")
_JOB_TIMES = (
    ("queue_time", "Queue Time", "the time that executions waited in the queue before they started"),
    ("pre_time", "Pre-task Time", "the time that preparing jobs took"),
    ("job_time", "Job Task Time", "the time that the jobs' own work took"),
    ("post_time", "Post-task Time", "the time that cleaning up after jobs took"),
    ("run_time", "Run Time", "the time from the start of executions to their end, all tasks and what is between them"),
    ("stage_time", "Stage Time", "the part of the run time that no task accounts for"),
)
JOB_TYPES = MetricTypeInfo(
    "job-types",
    "Job Types",
    "Figures about jobs and their executions, per job type.",
    (Filter("name"), Filter("version")),
    (
        Group("overview", "Overview", "How many jobs ended, by how they ended."),
        Group("errors", "Errors", "How many jobs ended with an error, by its category."),
        Group("queue_time", "Queue Time", "How long executions waited in the queue."),
        Group("pre_time", "Pre-task Time", "How long it took to prepare jobs."),
        Group("job_time", "Job Task Time", "How long the jobs' own work took."),
        Group("post_time", "Post-task Time", "How long it took to clean up after jobs."),
        Group("run_time", "Run Time", "How long whole executions took, from their start to their end."),
        Group("stage_time", "Stage Time", "How long the system was busy around and between the tasks."),
    ),
    (
        _count("completed_count", "Completed Count", "Jobs that completed.", "overview"),
        _count("failed_count", "Failed Count", "Jobs that failed.", "overview"),
        _count("canceled_count", "Canceled Count", "Jobs that were canceled.", "overview"),
        _count("total_count", "Total Count", "Jobs that ended, in whatever way.", "overview", *_ENDED),
        _count("error_system_count", "System Error Count", "Jobs with an error of the system.", "errors"),
        _count("error_data_count", "Data Error Count", "Jobs with an error in their data.", "errors"),
        _count("error_algorithm_count", "Algorithm Error Count", "Jobs with an error of their program.", "errors"),
        *(column for name, title, what in _JOB_TIMES for column in _of_measure(_PARTS, name, title, "seconds", what)),
        *(
            column
            for name, title, what in _JOB_TIMES
            for column in _of_measure(_PERCENTILES, name, title, "seconds", what)
        ),
        _rate("failed_rate", "Failed Rate", "Jobs that failed, of those that ended.", "overview", _ENDED[1], _ENDED),
        _rate(
            "canceled_rate",
            "Canceled Rate",
            "Jobs that were canceled, of those that ended.",
            "overview",
            _ENDED[2],
            _ENDED,
        ),
        *(
            _rate(
                f"error_{category}_rate",
                f"{category.title()} Error Rate",
                f"Jobs with an error of the category {category.upper()}, of those that ended.",
                "errors",
                f"error_{category}_count",
                _ENDED,
            )
            for category in ("system", "data", "algorithm")
        ),
    ),
    FigureType.JOB_TYPES,
)

_INGESTS = COUNTS[FigureType.INGESTS]
_TRANSFER = ("transfer_time", "Transfer Time", "seconds", "the time that moving the files took")
_INGEST = ("ingest_time", "Ingest Time", "seconds", "the time that ingesting the files took")
INGESTS = MetricTypeInfo(
    "ingests",
    "Ingests",
    "Figures about files that were ingested, per source.",
    (Filter("name"),),
    (
        Group("overview", "Overview", "How many files there were, by what became of them."),
        Group("file_size", "File Size", "How large the files were."),
        Group("transfer_time", "Transfer Time", "How long it took to move the files before they were ingested."),
        Group("ingest_time", "Ingest Time", "How long it took to ingest the files."),
    ),
    (
        _count("deferred_count", "Deferred Count", "Files that no rule matched and that were left aside.", "overview"),
        _count("ingested_count", "Ingested Count", "Files that were ingested.", "overview"),
        _count("errored_count", "Errored Count", "Files that could not be ingested.", "overview"),
        _count("duplicate_count", "Duplicate Count", "Files that had been ingested before.", "overview"),
        _count("total_count", "Total Count", "Files, whatever became of them.", "overview", *_INGESTS),
        *_of_measure(_PARTS, "file_size", "File Size", "bytes", "the sizes of the files"),
        *_of_measure(_PARTS, *_TRANSFER),
        *_of_measure(_PARTS, *_INGEST),
        *_of_measure(_PERCENTILES, *_TRANSFER),
        *_of_measure(_PERCENTILES, *_INGEST),
        _rate(
            "errored_rate",
            "Errored Rate",
            "Files that could not be ingested, of all.",
            "overview",
            _INGESTS[2],
            _INGESTS,
        ),
    ),
    FigureType.INGESTS,
)

ERRORS = MetricTypeInfo(
    "errors",
    "Errors",
    "Figures about failures of jobs, per error that ships with the server.",
    (Filter("name"), Filter("category")),
    (Group("overview", "Overview", "How often errors happened."),),
    (_count("total_count", "Total Count", "Executions that ended with the error.", "overview"),),
    FigureType.ERRORS,
)

BUILT_IN = (JOB_TYPES, INGESTS, ERRORS)
"""The metric types that ship with the server, in the order in which they are listed."""
