"""DataFrames in and out. pandas is imported by these functions alone, so the SDK works without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from streamgauge.enums import Scalar, ValueType
from streamgauge.sample_frames import spread

if TYPE_CHECKING:
    import pandas

    from streamgauge.asset_metrics import AssetLatestResult, AssetMoment, Emit
    from streamgauge.frames import Frame
    from streamgauge.job_results import Job, JobException
    from streamgauge.metric_type_results import Plot
    from streamgauge.results import Column, LatestValue, QueryResult, TimeSeries, TimeSummary
    from streamgauge.sample_frames import SampleFrame

_DTYPES = {
    ValueType.DOUBLE: "Float64",
    ValueType.INT64: "Int64",
    ValueType.BOOL: "boolean",
    ValueType.STRING: "string",
}


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError("DataFrames need pandas: pip install 'streamgauge[pandas]'") from error
    return pandas


def _array(values: Iterable[Scalar | None], value_type: ValueType) -> Any:
    """Returns a nullable pandas array that keeps every value exactly."""
    return _pandas().array(list(values), dtype=_DTYPES.get(value_type, "object"))


def _windows(bounds: tuple[datetime, ...]) -> Any:
    pd = _pandas()
    return pd.DatetimeIndex(list(bounds[:-1]), dtype="datetime64[us, UTC]", name="window_start")


def _table(columns: Iterable[tuple[Any, Column]], bounds: tuple[datetime, ...]) -> Any:
    arrays = {key: _array(column.values, column.value_type) for key, column in columns}
    return _pandas().DataFrame(arrays, index=_windows(bounds))


def from_time_series(series: TimeSeries) -> pandas.DataFrame:
    """Returns a row per window, a column per metric."""
    frame: pandas.DataFrame = _table(series.columns.items(), series.bounds)
    frame.columns.name = "metric"
    return frame


def from_samples(frame: SampleFrame) -> pandas.DataFrame:
    """Returns a row per moment, a column per metric."""
    pd = _pandas()
    times = frame.times
    arrays = {name: _array(spread(column, len(times)), column.value_type) for name, column in frame.columns.items()}
    index = pd.DatetimeIndex(pd.array(times, dtype="int64").astype("datetime64[us]"), name="time").tz_localize("UTC")
    table: pandas.DataFrame = pd.DataFrame(arrays, index=index)
    table.columns.name = "metric"
    return table


def from_query(result: QueryResult) -> pandas.DataFrame:
    """Returns a row per window, columns by (subject, part, metric, aggregate).

    Two more levels, sample type and value, where these four do not tell the columns apart.
    """
    pd = _pandas()
    keyed = [
        ((series.subject, series.part, column.metric, str(column.aggregate)), column)
        for series in result.series
        for column in series.columns
    ]
    frame: pandas.DataFrame = _table(enumerate(column for _, column in keyed), result.bounds)
    names = ["subject", "part", "metric", "aggregate"]
    keys: list[tuple[Any, ...]] = [key for key, _ in keyed]
    if len(set(keys)) < len(keys) or any(column.of_value is not None for _, column in keyed):
        names += ["sample_type", "of_value"]
        keys = [(*key, str(column.sample_type), column.of_value) for key, column in keyed]
    frame.columns = pd.MultiIndex.from_tuples(keys, names=names) if keyed else frame.columns
    return frame


def from_time_summary(summary: TimeSummary) -> pandas.DataFrame:
    """Returns a row per metric."""
    pd = _pandas()
    rows = list(summary.values.values())
    frame: pandas.DataFrame = pd.DataFrame(
        {
            "aggregate": pd.array([str(row.aggregate) for row in rows], dtype="string"),
            "value": pd.Series([row.value for row in rows], dtype="object"),
            "sample_count": pd.array([row.sample_count for row in rows], dtype="Int64"),
            "first_time": pd.Series([row.first_time for row in rows], dtype="datetime64[us, UTC]"),
            "last_time": pd.Series([row.last_time for row in rows], dtype="datetime64[us, UTC]"),
            "reset_count": pd.array([row.reset_count for row in rows], dtype="Int64"),
        }
    )
    frame.index = pd.Index([row.metric for row in rows], name="metric", dtype="object")
    return frame


def from_latest(
    subjects: Iterable[tuple[str, str, Mapping[str, LatestValue]]], *, named: bool = True
) -> pandas.DataFrame:
    """Returns a row per subject, part and metric; without `named` the index is the metric alone."""
    pd = _pandas()
    rows = [(subject, part, value) for subject, part, values in subjects for value in values.values()]
    frame: pandas.DataFrame = pd.DataFrame(
        {
            "value": pd.Series([value.value for *_, value in rows], dtype="object"),
            "raw_value": pd.Series([value.raw_value for *_, value in rows], dtype="object"),
            "time": pd.Series([value.time for *_, value in rows], dtype="datetime64[us, UTC]"),
            "start_time": pd.Series([value.start_time for *_, value in rows], dtype="datetime64[us, UTC]"),
        }
    )
    keys = [(subject, part, value.metric) for subject, part, value in rows]
    if named:
        names = ["subject", "part", "metric"]
        frame.index = pd.MultiIndex.from_arrays([[key[i] for key in keys] for i in range(3)], names=names)
    else:
        frame.index = pd.Index([key[2] for key in keys], name="metric", dtype="object")
    return frame


def from_moments(moments: Sequence[AssetMoment]) -> pandas.DataFrame:
    """Returns a row per moment, a column per metric in the order of first sight."""
    pd = _pandas()
    metrics = list(dict.fromkeys(name for moment in moments for name in moment.metrics))
    arrays = {name: _mixed([m[name].value if name in m.metrics else None for m in moments]) for name in metrics}
    index = pd.DatetimeIndex([moment.time for moment in moments], dtype="datetime64[us, UTC]", name="time")
    frame: pandas.DataFrame = pd.DataFrame(arrays, index=index)
    frame.columns.name = "metric"
    return frame


def _mixed(values: list[Scalar | None]) -> Any:
    """Returns a nullable array of the one type that all values have, of objects where there are several."""
    kinds = {type(value) for value in values if value is not None}
    return _array(values, _VALUE_TYPES[kinds.pop()] if len(kinds) == 1 else ValueType.UNKNOWN)


_VALUE_TYPES: dict[type, ValueType] = {
    float: ValueType.DOUBLE,
    int: ValueType.INT64,
    bool: ValueType.BOOL,
    str: ValueType.STRING,
}


def from_asset_latest(result: AssetLatestResult) -> pandas.DataFrame:
    """Returns a row per asset and metric."""
    pd = _pandas()
    rows = [(asset.asset, value) for asset in result.assets.values() for value in asset.metrics.values()]
    frame: pandas.DataFrame = pd.DataFrame(
        {
            "value": pd.Series([value.value for _, value in rows], dtype="object"),
            "value_type": pd.array([str(value.value_type) for _, value in rows], dtype="string"),
            "time": pd.Series([value.time for _, value in rows], dtype="datetime64[us, UTC]"),
            "age": pd.Series([value.age for _, value in rows], dtype="timedelta64[us]"),
        }
    )
    keys = [[asset for asset, _ in rows], [value.name for _, value in rows]]
    frame.index = pd.MultiIndex.from_arrays(keys, names=["asset", "metric"])
    return frame


def from_jobs(jobs: Sequence[Job]) -> pandas.DataFrame:
    """Returns a row per job, with what its run is doing; cells of a job without a run are missing."""
    pd = _pandas()
    runs = [job.run for job in jobs]
    tasks = [None if run is None else run.tasks for run in runs]
    texts: dict[str, list[str | None]] = {
        "job_name": [job.job_name for job in jobs],
        "cluster": [job.cluster for job in jobs],
        "job_type": [job.job_type for job in jobs],
        "state": [None if run is None else run.state.value for run in runs],
        "run_id": [None if run is None else run.run_id for run in runs],
        "error": [None if run is None else run.error for run in runs],
    }
    columns = {name: _array(values, ValueType.STRING) for name, values in texts.items()}
    for name in ("lost", "degraded", "flapping"):
        columns[name] = _array([None if run is None else getattr(run, name) for run in runs], ValueType.BOOL)
    for name in ("start_time", "end_time", "observe_time"):
        times = [None if run is None else getattr(run, name) for run in runs]
        columns[name] = pd.array(times, dtype="datetime64[us, UTC]")
    durations = [None if run is None else run.duration for run in runs]
    columns["duration"] = pd.array(durations, dtype="timedelta64[us]")
    restarts = [None if run is None else run.restart_count for run in runs]
    columns["restart_count"] = _array(restarts, ValueType.INT64)
    for name in ("running", "finished", "total"):
        counts = [None if count is None else getattr(count, name) for count in tasks]
        columns[f"tasks_{name}"] = _array(counts, ValueType.INT64)
    index = pd.Index([job.name for job in jobs], name="job", dtype="object")
    frame: pandas.DataFrame = pd.DataFrame(columns, index=index)
    return frame


def from_job_exceptions(exceptions: Sequence[JobException]) -> pandas.DataFrame:
    """Returns a row per exception in the order of the answer."""
    pd = _pandas()
    names = ("exception_class", "summary", "task", "endpoint", "stacktrace")
    columns = {"time": pd.array([error.time for error in exceptions], dtype="datetime64[us, UTC]")}
    for name in names:
        columns[name] = _array([getattr(error, name) for error in exceptions], ValueType.STRING)
    causes = [None if error.cause is None else error.cause.summary for error in exceptions]
    columns["cause"] = _array(causes, ValueType.STRING)
    frame: pandas.DataFrame = pd.DataFrame(columns)
    return frame


def from_plot(plot: Plot) -> pandas.DataFrame:
    """Returns a row per window that has a value, a column per column, or per column and choice if any were asked for.

    Whole numbers are `Int64`, others `Float64`; a window without a value is missing.
    """
    pd = _pandas()
    times = plot.times
    choices = plot.choices or (0,)
    arrays: dict[tuple[str, int], Any] = {}
    for name, series in plot.series.items():
        whole = all(isinstance(value.value, int) for value in series.values)
        known = {(value.time, value.choice): value.value for value in series.values}
        for choice in choices:
            values = [known.get((time, choice)) for time in times]
            arrays[name, choice] = _array(values, ValueType.INT64 if whole else ValueType.DOUBLE)
    index = pd.DatetimeIndex(list(times), dtype="datetime64[us, UTC]", name="window_start")
    frame: pandas.DataFrame = pd.DataFrame(dict(enumerate(arrays.values())), index=index)
    if plot.choices:
        frame.columns = pd.MultiIndex.from_tuples(list(arrays), names=["column", "choice"])
    else:
        frame.columns = pd.Index([name for name, _ in arrays], name="column", dtype="object")
    return frame


def to_emits(
    frame: pandas.DataFrame, asset: str | None, *, time: str | None, asset_column: str | None, run_id: str
) -> Iterator[Emit]:
    """Yields an emit per row that has a value. ValueError unless either `asset` or `asset_column` is given."""
    from streamgauge.asset_metrics import Emit

    if (asset is None) == (asset_column is None):
        raise ValueError("give either asset or asset_column")
    moments = _moments(frame, time).to_pydatetime()
    assets = [asset] * len(frame) if asset_column is None else frame[asset_column].tolist()
    keys = [column for column in (time, asset_column) if column is not None]
    columns = {str(name): _values(column) for name, column in frame.drop(columns=keys).items()}
    for row, (moment, of) in enumerate(zip(moments, assets, strict=True)):
        if not isinstance(of, str):
            raise ValueError(f"row {row} has no asset in {asset_column!r}")
        cells = ((name, values[row]) for name, values in columns.items())
        metrics = {name: value for name, value in cells if value is not None}
        if metrics:
            yield Emit(of, metrics, moment, run_id)


def _moments(frame: pandas.DataFrame, time: str | None) -> pandas.DatetimeIndex:
    """Returns the moments of a DataFrame's rows. ValueError for moments that are missing or without a time zone."""
    pd = _pandas()
    moments = frame.index if time is None else pd.DatetimeIndex(frame[time])
    if not isinstance(moments, pd.DatetimeIndex) or moments.tz is None:
        where = "the index" if time is None else f"column {time!r}"
        raise ValueError(
            f"{where} must hold timezone-aware moments, for example through pandas.to_datetime(..., utc=True)"
        )
    if moments.hasnans:
        raise ValueError("a moment is missing (NaT)")
    utc: pandas.DatetimeIndex = moments.tz_convert("UTC")
    return utc


def to_frame(
    frame: pandas.DataFrame,
    subject: str,
    *,
    part: str = "",
    start_time: datetime | None = None,
    time: str | None = None,
) -> Frame:
    """Returns the frame of a DataFrame whose columns are metrics. ValueError for moments without a time zone."""
    from streamgauge.frames import Frame

    moments = _moments(frame, time)
    metrics = frame if time is None else frame.drop(columns=[time])
    return Frame(
        subject,
        times=moments.tz_localize(None).as_unit("us").to_numpy(),
        columns={str(name): _values(column) for name, column in metrics.items()},
        part=part,
        start_time=start_time,
    )


def to_frames(
    frame: pandas.DataFrame,
    subject: str | None,
    *,
    part: str,
    start_time: datetime | None,
    time: str | None,
    subject_column: str | None,
    part_column: str | None,
) -> Iterator[Frame]:
    """Yields one frame per subject and part. ValueError unless either `subject` or `subject_column` is given."""
    if (subject is None) == (subject_column is None):
        raise ValueError("give either subject or subject_column")
    if part and part_column is not None:
        raise ValueError("give either part or part_column")
    keys = [column for column in (subject_column, part_column) if column is not None]
    if not keys:
        yield to_frame(frame, subject or "", part=part, start_time=start_time, time=time)
        return
    for names, rows in frame.groupby(keys, sort=False, dropna=False):
        found = dict(zip(keys, names, strict=True))
        if any(_pandas().isna(name) for name in found.values()):
            raise ValueError(f"a row has no value in {' or '.join(map(repr, keys))}")
        yield to_frame(
            rows.drop(columns=keys),
            str(found[subject_column]) if subject_column is not None else subject or "",
            part=str(found[part_column]) if part_column is not None else part,
            start_time=start_time,
            time=time,
        )


def _values(column: pandas.Series[Any]) -> list[Scalar | None]:
    """Returns Python scalars, None in the gaps."""
    missing = column.isna()
    values: list[Any] = column.tolist()
    if missing.any():
        return [None if gone else value for value, gone in zip(values, missing.tolist(), strict=True)]
    return values
