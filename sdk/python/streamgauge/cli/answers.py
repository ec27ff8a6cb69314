"""What the SDK returns, as answers to print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from streamgauge.cli.output import Answer, Table, human, trend
from streamgauge.demo.recorded_run import RecordedRun
from streamgauge.observations import WriteError
from streamgauge.resources import MetricDescriptor, ServerInfo, Source
from streamgauge.results import (
    Column,
    Latest,
    LatestResult,
    LatestValue,
    MetricMetadata,
    QueryResult,
    TimeSeries,
    TimeSummary,
)


def of_sources(sources: Sequence[Source], total: str = "") -> Answer:
    """A list of sources."""
    names = [field.name for field in fields(Source)]
    records = [record_of(source) for source in sources]
    rows = [
        (s.name, s.display_name, s.connector_class.rpartition(".")[2], human(s.labels), human(s.create_time))
        for s in sources
    ]
    table = Table(("NAME", "DISPLAY NAME", "CONNECTOR", "LABELS", "CREATED"), rows, notes=[total] if total else [])
    return Answer(records, names, records, table)


def of_source(source: Source) -> Answer:
    """One source."""
    record = record_of(source)
    rows = [(name, human(value)) for name, value in record.items()]
    return Answer(record, list(record), [record], Table(("FIELD", "VALUE"), rows))


def of_descriptors(descriptors: Sequence[MetricDescriptor]) -> Answer:
    """A list of metric descriptors."""
    names = [field.name for field in fields(MetricDescriptor)]
    records = [record_of(descriptor) for descriptor in descriptors]
    rows = [
        (d.subject_kind.value, d.metric, d.display_name, d.unit, d.kind.value, d.value_type.value,
         d.window_aggregate.value, d.summary_aggregate.value, d.part_combination.value)
        for d in descriptors
    ]  # fmt: skip
    headers = ("SUBJECTS", "METRIC", "DISPLAY NAME", "UNIT", "KIND", "TYPE", "WINDOW", "SUMMARY", "PARTS")
    return Answer(records, names, records, Table(headers, rows))


def of_descriptor(descriptor: MetricDescriptor) -> Answer:
    """One metric descriptor."""
    record = record_of(descriptor)
    rows = [(name, _listed(list(value) if isinstance(value, tuple) else value)) for name, value in record.items()]
    return Answer(record, list(record), [record], Table(("FIELD", "VALUE"), rows))


def of_server(info: ServerInfo) -> Answer:
    """What the server says of itself."""
    about = {
        "version": info.version,
        "store": info.store.engine,
        "store_version": info.store.version,
        "schema_revision": info.store.schema_revision,
        "features": list(info.features),
        "tenant": info.tenant,
        "scopes": list(info.scopes),
        "server_time": info.server_time,
        "start_time": info.start_time,
    }
    limits = {limit.name: {"value": limit.value, "unit": limit.unit} for limit in info.limits.values()}
    flat = about | {limit.name: limit.value for limit in info.limits.values()}
    rows = [(name, _listed(value)) for name, value in about.items()]
    rows += [(limit.name, human(limit.value, limit.unit)) for limit in info.limits.values()]
    return Answer(about | {"limits": limits}, list(flat), [flat], Table(("FIELD", "VALUE"), rows))


def of_write(accepted: int, rejected: int, errors: Sequence[WriteError], *, dry: bool) -> Answer:
    """The outcome of a write."""
    counts = {"accepted": accepted, "rejected": rejected}
    done = "would be written (nothing was)" if dry else "written"
    note = f"{plural(accepted, 'observation')} {done}"
    if rejected:
        note += f", {human(rejected)} refused"
    document = counts | {"errors": [record_of(error) for error in errors]}
    return Answer(document, list(counts), [counts], Table((), (), notes=[note]))


def of_deletion(name: str) -> Answer:
    """A resource that is gone."""
    record = {"deleted": name}
    return Answer(record, ["deleted"], [record], Table((), (), notes=[f"{name} deleted"]))


def of_demo(run: RecordedRun) -> Answer:
    """The recorded run, now in the server."""
    record = {
        "sources": [f"sources/{source.source_id}" for source in run.sources],
        "samples": run.sample_count,
        "first_time": run.first_time,
        "last_time": run.last_time,
    }
    note = f"{run.sample_count:,} values of {len(run.sources)} sources, {range_text(run.first_time, run.last_time)}"
    return Answer(record, list(record), [record], Table((), (), notes=[note]))


def of_timeseries(series: TimeSeries) -> Answer:
    """Windows of one source."""
    records: list[dict[str, Any]] = []
    for column in series.columns.values():
        records += _window_records({"source": series.source}, column, series.bounds, series.metadata[column.metric])
    document = {
        "source": series.source,
        "time_range": {"start": series.start, "end": series.end},
        "window": {"count": series.window.count, "unit": series.window.unit},
        "windows": _windows(series.bounds),
        "metrics": {c.metric: _column(c, series.metadata[c.metric]) for c in series.columns.values()},
    }
    rows = [_trend_row(column, series.metadata[column.metric]) for column in series.columns.values()]
    windows, size = len(series.bounds) - 1, series.window.count
    note = f"{range_text(series.start, series.end)}, {plural(windows, 'window')} of {plural(size, series.window.unit)}"
    return Answer(document, ("source", *_WINDOW_FIELDS), records, Table(_TREND_HEADERS, rows, notes=[note]))


def of_timesummary(summary: TimeSummary) -> Answer:
    """One value per metric of one source over a range."""
    records = [
        {"source": summary.source, **record_of(value), "unit": summary.metadata[metric].unit}
        for metric, value in summary.values.items()
    ]
    document = {
        "source": summary.source,
        "time_range": {"start": summary.start, "end": summary.end},
        "metrics": {
            metric: record_of(value) | _label(summary.metadata[metric]) for metric, value in summary.values.items()
        },
    }
    rows = [
        (metric, value.aggregate.value, human(value.value), summary.metadata[metric].unit,
         human(value.sample_count), human(value.reset_count), human(value.last_time))
        for metric, value in summary.values.items()
    ]  # fmt: skip
    headers = ("METRIC", "AGGREGATE", ">VALUE", "UNIT", ">SAMPLES", ">RESETS", "LAST SAMPLE")
    names = ("source", "metric", "aggregate", "value", "sample_count", "first_time", "last_time", "reset_count", "unit")
    return Answer(document, names, records, Table(headers, rows, notes=[range_text(summary.start, summary.end)]))


def of_source_latest(latest: Latest) -> Answer:
    """The newest values of one source."""
    records = [
        {"source": latest.source, **record_of(value), "unit": latest.metadata[metric].unit}
        for metric, value in latest.values.items()
    ]
    document = {
        "source": latest.source,
        "metrics": {
            metric: record_of(value) | _label(latest.metadata[metric]) for metric, value in latest.values.items()
        },
        "snapshot_status": [record_of(status) for status in latest.snapshot_status],
    }
    rows = [
        (metric, human(value.value), latest.metadata[metric].unit, human(value.time))
        for metric, value in latest.values.items()
    ]
    notes = [f"Snapshot of {status.topic_id}: {status.status}" for status in latest.snapshot_status]
    names = ("source", *_LATEST_FIELDS)
    return Answer(document, names, records, Table(("METRIC", ">VALUE", "UNIT", "TIME"), rows, notes))


def of_latest(result: LatestResult, *, by_part: bool) -> Answer:
    """The newest values of several subjects."""
    found = [(s, value, _metadata(result.metadata, s.subject, value.metric)) for s in result.subjects
             for value in s.values.values()]  # fmt: skip
    records = [
        {"subject": s.subject, "part": s.part, **record_of(value), "unit": about.unit} for s, value, about in found
    ]
    document = {
        "subjects": [
            {"subject": s.subject, "part": s.part, "metrics": {
                value.metric: record_of(value) | _label(_metadata(result.metadata, s.subject, value.metric))
                for value in s.values.values()}}
            for s in result.subjects
        ],
        "unknown_subjects": list(result.unknown_subjects),
        "read_time": result.read_time,
    }  # fmt: skip
    rows = [
        (s.subject, *([s.part] if by_part else []), value.metric, human(value.value), about.unit,
         _age(value, result.read_time))
        for s, value, about in found
    ]  # fmt: skip
    headers = ("SUBJECT", *(["PART"] if by_part else []), "METRIC", ">VALUE", "UNIT", ">AGE")
    return Answer(document, ("subject", "part", *_LATEST_FIELDS), records, Table(headers, rows))


def of_query(result: QueryResult, *, by_part: bool) -> Answer:
    """Windows of several subjects."""
    records: list[dict[str, Any]] = []
    rows: list[Sequence[str]] = []
    for series in result.series:
        place = {"subject": series.subject, "part": series.part}
        for column in series.columns:
            about = _metadata(result.metadata, series.subject, column.metric)
            records += [record | _kind(column) for record in _window_records(place, column, result.bounds, about)]
            if by_part and not any(value is not None for value in column.values):
                continue  # a part has a few of its subject's metrics; a table of the others would be blank
            rows.append((series.subject, *([series.part] if by_part else []), *_trend_row(column, about)))
    document = {
        "time_range": {"start": result.start, "end": result.end},
        "windows": _windows(result.bounds),
        "series": [
            {"subject": s.subject, "part": s.part, "columns": [
                {"metric": c.metric, **_kind(c), **_column(c, _metadata(result.metadata, s.subject, c.metric))}
                for c in s.columns]}
            for s in result.series
        ],
        "unknown_subjects": list(result.unknown_subjects),
    }  # fmt: skip
    headers = ("SUBJECT", *(["PART"] if by_part else []), *_TREND_HEADERS)
    note = f"{range_text(result.start, result.end)}, {plural(len(result.bounds) - 1, 'window')}"
    names = ("subject", "part", *_WINDOW_FIELDS, "sample_type", "of_value")
    return Answer(document, names, records, Table(headers, rows, notes=[note]))


_WINDOW_FIELDS = ("metric", "aggregate", "start", "end", "value", "unit")
_LATEST_FIELDS = ("metric", "value", "raw_value", "time", "start_time", "unit")
_TREND_HEADERS = ("METRIC", "AGGREGATE", "TREND", ">MIN", ">MAX", ">LAST", "UNIT")


def _window_records(
    place: Mapping[str, str], column: Column, bounds: Sequence[datetime], about: MetricMetadata
) -> Iterable[dict[str, Any]]:
    """One record per window, also for windows without samples: their value is null, which is not zero."""
    for index, value in enumerate(column.values):
        yield {
            **place,
            "metric": column.metric,
            "aggregate": column.aggregate,
            "start": bounds[index],
            "end": bounds[index + 1],
            "value": value,
            "unit": about.unit,
        }


def _kind(column: Column) -> dict[str, Any]:
    """Returns what tells the columns of one metric and aggregate apart."""
    return {"sample_type": column.sample_type, "of_value": column.of_value}


def _column(column: Column, about: MetricMetadata) -> dict[str, Any]:
    return {"aggregate": column.aggregate, **_label(about), "values": list(column.values)}


def _trend_row(column: Column, about: MetricMetadata) -> tuple[str, ...]:
    known = [value for value in column.values if value is not None]
    numbers = [value for value in known if not isinstance(value, str)]
    low, high = (min(numbers), max(numbers)) if numbers else (None, None)
    last = known[-1] if known else None
    return (
        column.metric,
        column.aggregate.value if column.of_value is None else f"{column.aggregate.value} {human(column.of_value)}",
        trend(column.values),
        human(low),
        human(high),
        human(last),
        about.unit,
    )


def _label(about: MetricMetadata) -> dict[str, str]:
    return {"display_name": about.display_name, "unit": about.unit}


def _metadata(metadata: Mapping[str, MetricMetadata], subject: str, metric: str) -> MetricMetadata:
    return metadata[f"{subject.partition('/')[0]}/{metric}"]


def _windows(bounds: Sequence[datetime]) -> list[dict[str, datetime]]:
    return [{"start": start, "end": end} for start, end in pairwise(bounds)]


def plural(count: int, what: str) -> str:
    """Returns a count with its noun."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def range_text(start: datetime, end: datetime) -> str:
    """Returns a range as people read it."""
    return f"{human(start)} to {human(end)}"


def _age(value: LatestValue, now: datetime) -> str:
    return "-" if value.time is None else age_text(now - value.time)


def age_text(age: timedelta) -> str:
    """Returns an age in the largest unit that tells it to two digits."""
    seconds = round(age.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{seconds} s"


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) or "-" if isinstance(value, list) else human(value)


def record_of(value: Any) -> dict[str, Any]:
    """Returns a dataclass as a dictionary, one level deep."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
