"""DataFrames in and out."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamgauge import (
    Aggregate,
    Column,
    Frame,
    Latest,
    LatestResult,
    LatestValue,
    MetricSummary,
    QueryResult,
    Series,
    SubjectLatest,
    TimeSeries,
    TimeSummary,
    ValueType,
    Window,
    WindowUnit,
    dataframes,
    frames,
)
from streamgauge.v1 import common_pb2

T0 = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
BOUNDS = (T0, T0 + HOUR, T0 + 2 * HOUR, T0 + 3 * HOUR)
TOP = 2**63 - 1
INTS = Column("total", Aggregate.INCREASE, ValueType.INT64, (TOP, None, 0))
DOUBLES = Column("load", Aggregate.AVG, ValueType.DOUBLE, (0.5, None, 1.5))
FLAGS = Column("up", Aggregate.LAST, ValueType.BOOL, (None, True, False))
WORDS = Column("state", Aggregate.LAST, ValueType.STRING, ("a", None, "b"))
EMPTY = Column("gone", Aggregate.LAST, ValueType.UNKNOWN, (None, None, None))
COLUMNS = (INTS, DOUBLES, FLAGS, WORDS, EMPTY)


def nulls(values: Any) -> list[Any]:
    return [None if value is pd.NA or value is pd.NaT or value is None else value for value in values]


def test_a_time_series_is_a_row_per_window_with_exact_nullable_columns() -> None:
    series = TimeSeries(
        "sources/a", T0, BOUNDS[-1], Window(WindowUnit.HOUR), BOUNDS, {c.metric: c for c in COLUMNS}, {}
    )
    frame = series.to_dataframe()
    assert list(frame.columns) == ["total", "load", "up", "state", "gone"]
    assert (frame.index.name, str(frame.index.dtype)) == ("window_start", "datetime64[us, UTC]")
    assert list(frame.index) == list(BOUNDS[:-1])
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "total": "Int64",
        "load": "Float64",
        "up": "boolean",
        "state": "string",
        "gone": "object",
    }
    for column in COLUMNS:
        assert nulls(frame[column.metric]) == list(column.values)
    assert int(frame["total"].iloc[0]) == TOP


def test_an_answer_without_windows_or_columns_is_an_empty_frame() -> None:
    series = TimeSeries("sources/a", T0, T0, Window(WindowUnit.HOUR), (), {}, {})
    assert series.to_dataframe().shape == (0, 0)
    assert QueryResult(T0, T0, (), (), {}, ()).to_dataframe().shape == (0, 0)
    assert TimeSummary("sources/a", T0, T0, {}, {}).to_dataframe().empty
    assert Latest("sources/a", {}, (), {}).to_dataframe().empty
    assert LatestResult((), {}, (), T0).to_dataframe().empty


def test_a_query_has_its_series_side_by_side() -> None:
    result = QueryResult(
        T0,
        BOUNDS[-1],
        BOUNDS,
        (Series("sources/a", "", (INTS, DOUBLES)), Series("sources/b", "task=0", (INTS,))),
        {},
        (),
    )
    frame = result.to_dataframe()
    assert frame.columns.names == ["subject", "part", "metric", "aggregate"]
    assert nulls(frame["sources/a", "", "load", "avg"]) == [0.5, None, 1.5]
    assert nulls(frame["sources/b", "task=0", "total", "increase"]) == [TOP, None, 0]
    assert str(frame.dtypes.iloc[0]) == "Int64"


def test_a_summary_is_a_row_per_metric() -> None:
    values = {
        "total": MetricSummary("total", Aggregate.INCREASE, TOP, 7, T0, T0 + HOUR, 2),
        "state": MetricSummary("state", Aggregate.LAST, None, 0, None, None, 0),
    }
    frame = TimeSummary("sources/a", T0, T0 + HOUR, values, {}).to_dataframe()
    assert list(frame.index) == ["total", "state"]
    assert nulls(frame["value"]) == [TOP, None]
    assert nulls(frame["first_time"]) == [T0, None]
    assert list(frame["reset_count"]) == [2, 0]
    assert list(frame["aggregate"]) == ["increase", "last"]


def test_latest_values_are_a_row_per_metric_and_of_many_subjects_per_subject_and_part() -> None:
    values = {
        "total": LatestValue("total", TOP, 5, T0, T0 - HOUR),
        "gone": LatestValue("gone", None, None, None, None),
    }
    single = Latest("sources/a", values, (), {}).to_dataframe()
    assert (list(single.index), single.index.name) == (["total", "gone"], "metric")
    assert nulls(single["value"]) == [TOP, None]
    assert nulls(single["time"]) == [T0, None]
    many = LatestResult(
        (SubjectLatest("sources/a", "", values), SubjectLatest("sources/b", "p", values)), {}, (), T0
    ).to_dataframe()
    assert many.index.names == ["subject", "part", "metric"]
    assert many.loc[("sources/b", "p", "total"), "raw_value"] == 5


# --- In --------------------------------------------------------------------------------------------------------------


def sent(frame: Frame) -> common_pb2.Frame:
    (message,) = frames.messages(frame)
    return message


def columns(message: common_pb2.Frame) -> dict[str, tuple[str, list[Any], list[int]]]:
    found: dict[str, tuple[str, list[Any], list[int]]] = {}
    for column in message.columns:
        member = column.WhichOneof("values")
        assert member is not None
        found[column.metric] = (member, list(getattr(column, member).values), list(column.rows))
    return found


INDEX = pd.DatetimeIndex([T0, T0 + HOUR, T0 + 2 * HOUR])


def test_a_frame_of_every_type_keeps_values_and_gaps() -> None:
    given = pd.DataFrame(
        {
            "float": [0.5, np.nan, 1.5],
            "int": np.array([1, 2, TOP]),
            "nullable": pd.array([TOP, None, 1], dtype="Int64"),
            "flag": [True, False, True],
            "nullable_flag": pd.array([None, True, None], dtype="boolean"),
            "text": pd.array(["a", None, "b"], dtype="string"),
            "object": pd.Series([None, "x", "y"], dtype="object").to_list(),
        },
        index=INDEX,
    )
    message = sent(Frame.from_dataframe(given, "sources/a", part="p", start_time=T0))
    assert columns(message) == {
        "float": ("doubles", [0.5, 1.5], [0, 2]),
        "int": ("ints", [1, 2, TOP], []),
        "nullable": ("ints", [TOP, 1], [0, 2]),
        "flag": ("bools", [True, False, True], []),
        "nullable_flag": ("bools", [True], [1]),
        "text": ("strings", ["a", "b"], [0, 2]),
        "object": ("strings", ["x", "y"], [1, 2]),
    }
    assert (message.subject, message.part) == ("sources/a", "p")
    assert [micros - message.time_unix_micros[0] for micros in message.time_unix_micros] == [
        0,
        3_600 * 10**6,
        7_200 * 10**6,
    ]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_moments_of_any_zone_and_resolution_are_taken(zone: str, unit: Any) -> None:
    index = INDEX.tz_convert(zone).as_unit(unit)
    message = sent(Frame.from_dataframe(pd.DataFrame({"m": [1, 2, 3]}, index=index), "sources/a"))
    assert message.time_unix_micros[0] == int(T0.timestamp() * 1e6)


def test_moments_may_stand_in_a_column() -> None:
    given = pd.DataFrame({"when": INDEX, "m": [1, 2, 3]})
    message = sent(Frame.from_dataframe(given, "sources/a", time="when"))
    assert list(columns(message)) == ["m"]


@pytest.mark.parametrize(
    ("given", "arguments", "message"),
    [
        (pd.DataFrame({"m": [1]}), {}, "the index must hold timezone-aware moments"),
        (pd.DataFrame({"m": [1]}, index=pd.DatetimeIndex(["2026-01-01"])), {}, "the index must hold timezone-aware"),
        (pd.DataFrame({"m": [1], "t": ["2026-01-01"]}), {"time": "t"}, "column 't' must hold timezone-aware moments"),
        (pd.DataFrame({"m": [1]}, index=pd.DatetimeIndex([None], tz="UTC")), {}, "a moment is missing"),
    ],
)
def test_moments_without_a_zone_or_missing_are_refused(given: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Frame.from_dataframe(given, "sources/a", **arguments)


def split(given: pd.DataFrame, subject: str | None = None, **arguments: Any) -> list[Frame]:
    defaults = {"part": "", "start_time": None, "time": None, "subject_column": None, "part_column": None}
    return list(dataframes.to_frames(given, subject, **{**defaults, **arguments}))


def test_rows_may_name_their_subject_and_part() -> None:
    given = pd.DataFrame(
        {"s": ["sources/a", "sources/b", "sources/a"], "p": ["x", "x", "y"], "m": [1, 2, 3]}, index=INDEX
    )
    found = split(given, subject_column="s", part_column="p")
    assert [(frame.subject, frame.part, columns(sent(frame))["m"][1]) for frame in found] == [
        ("sources/a", "x", [1]),
        ("sources/b", "x", [2]),
        ("sources/a", "y", [3]),
    ]
    by_part = split(given.drop(columns="s"), "sources/c", part_column="p")
    assert [(frame.subject, frame.part) for frame in by_part] == [("sources/c", "x"), ("sources/c", "y")]


@pytest.mark.parametrize(
    ("subject", "arguments", "message"),
    [
        (None, {}, "either subject or subject_column"),
        ("sources/a", {"subject_column": "s"}, "either subject or subject_column"),
        ("sources/a", {"part": "p", "part_column": "s"}, "either part or part_column"),
        (None, {"subject_column": "s"}, "a row has no value in 's'"),
    ],
)
def test_a_frame_that_does_not_tell_its_subject_is_refused(
    subject: str | None, arguments: dict[str, str], message: str
) -> None:
    given = pd.DataFrame({"s": ["sources/a", None, "sources/a"], "m": [1, 2, 3]}, index=INDEX)
    with pytest.raises(ValueError, match=message):
        split(given, subject, **arguments)


def test_without_pandas_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    series = TimeSeries("sources/a", T0, T0, Window(WindowUnit.HOUR), (), {}, {})
    with pytest.raises(ImportError, match=r"pip install 'streamgauge\[pandas\]'"):
        series.to_dataframe()
    with pytest.raises(ImportError, match=r"pip install 'streamgauge\[pandas\]'"):
        Frame.from_dataframe(object(), "sources/a")  # type: ignore[arg-type]


def test_the_sdk_imports_neither_pandas_nor_numpy_nor_the_server() -> None:
    program = (
        "import sys, streamgauge, streamgauge.files, streamgauge.testing; "
        "print(sorted({'pandas', 'numpy', 'pyarrow', 'streamgauge_server', 'click', 'pytest'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
