"""Exports and watches of metrics against a real server, which is stopped and started again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from streamgauge import (
    AsyncMetricsExport,
    AsyncMetricsWatch,
    Client,
    CursorExpiredError,
    Frame,
    InvalidArgumentError,
    Observation,
    PageTokenMismatchError,
    SampleFrame,
    ValueType,
    testing,
)

from tests.sdk.conftest import done

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def some(stream: Any, count: int) -> list[SampleFrame]:
    """Returns so many frames of either client's stream."""
    if isinstance(stream, (AsyncMetricsWatch, AsyncMetricsExport)):
        return [await anext(stream) for _ in range(count)]
    return [next(stream) for _ in range(count)]


async def all_of(stream: Any) -> list[SampleFrame]:
    """Returns all frames of either client's export."""
    return [frame async for frame in stream] if isinstance(stream, AsyncMetricsExport) else list(stream)


async def begun(watch: Any) -> None:
    """Waits for the first message of either client's watch."""
    if isinstance(watch, AsyncMetricsWatch):
        await anext(watch.messages())
    else:
        next(watch.messages())


async def test_an_export_is_what_was_imported(api: Any) -> None:
    given = [
        Frame("sources/a", [T0, T0 + MINUTE], {"x": [1, None], "y": ["ü", "b"]}, start_time=T0 - MINUTE),
        Frame("sources/a", [T0], {"z": [True]}, part="0"),
        Frame("sources/b", [T0], {"w": [0.5]}),
    ]
    await done(api.metrics.import_frames(given))
    export = api.metrics.export(subject_kind="sources")
    frames = await all_of(export)
    assert [(f.subject, f.part, f.start_time, f.sample_count) for f in frames] == [
        ("sources/a", "", T0 - MINUTE, 3),
        ("sources/a", "0", None, 1),
        ("sources/b", "", None, 1),
    ]
    column = frames[0].columns["x"]
    assert (column.value_type, list(column.values), list(column.rows)) == (ValueType.INT64, [1], [0])
    assert frames[0].to_frame().columns == {"x": [1, None], "y": ["ü", "b"]}
    assert (export.subjects_done, export.subject_count, export.damaged, export.unknown_subjects) == (3, 3, (), ())
    again = await done(api.metrics.import_frames([frame.to_frame() for frame in frames]))
    assert (again.accepted, again.accepted_samples) == (3, 5)
    repeated = await all_of(api.metrics.export(subject_kind="sources"))
    assert [frame.message for frame in repeated] == [frame.message for frame in frames]


async def test_an_export_becomes_dataframes(api: Any) -> None:
    pandas = pytest.importorskip("pandas")
    await done(api.metrics.import_frames([Frame("sources/a", [T0, T0 + MINUTE], {"x": [1, None], "y": [0.5, 1.5]})]))
    (frame,) = await all_of(api.metrics.export(["sources/a"]))
    table = frame.to_dataframe()
    assert table.index.tolist() == [T0, T0 + MINUTE]
    assert {name: str(kind) for name, kind in table.dtypes.items()} == {"x": "Int64", "y": "Float64"}
    assert table["x"].tolist() == [1, pandas.NA]


async def test_an_export_goes_on_from_its_cursor(api: Any) -> None:
    for day in range(3):
        await done(api.metrics.import_frames([Frame("sources/a", [T0 + timedelta(days=day)], {"x": [day]})]))
    export = api.metrics.export(["sources/a"])
    assert export.cursor == ""
    assert len(await all_of(export)) == 3
    assert await all_of(api.metrics.export(["sources/a"], cursor=export.cursor)) == []
    with pytest.raises(PageTokenMismatchError):
        await all_of(api.metrics.export(["sources/a"], metrics=["x"], cursor=export.cursor))
    unknown = api.metrics.export(["sources/nobody"])
    assert (await all_of(unknown), unknown.unknown_subjects) == ([], ("sources/nobody",))


async def test_samples_come_as_they_are_written_from_now_on(api: Any) -> None:
    await done(api.metrics.write([Observation("sources/a", {"x": 0}, time=T0)]))
    watch = api.metrics.watch(subject_kinds=["sources"])
    await begun(watch)
    await done(api.metrics.write([Observation("sources/a", {"x": 1}, time=T0)]))
    await done(api.metrics.write([Observation("sources/b", {"x": 2}, time=T0)]))
    told = [(frame.subject, list(frame.columns["x"].values)) for frame in await some(watch, 2)]
    assert told == [("sources/a", [1]), ("sources/b", [2])]
    await done(watch.close())


async def test_a_bad_watch_is_refused_at_once(api: Any) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        await some(api.metrics.watch(["x"]), 1)
    assert [violation.field for violation in refused.value.violations] == ["subjects[0]"]


def test_a_watch_outlives_its_server(tmp_path: Path, free_port: int) -> None:
    place = {"database": f"sqlite:///{tmp_path / 'store.db'}", "listen": f"127.0.0.1:{free_port}"}
    with Client(place["listen"]) as client:
        with testing.server(**place):
            watch = client.metrics.watch(["sources/a"])
            next(watch.messages())
            client.metrics.write([Observation("sources/a", {"x": 1}, time=T0)])
            assert list(next(watch).columns["x"].values) == [1]
        with testing.server(**place):
            client.metrics.write([Observation("sources/a", {"x": 2}, time=T0)])
            assert list(next(watch).columns["x"].values) == [2]
            watch.close()


def test_a_watch_that_comes_to_another_store_says_so_and_from_where_to_go_on(free_port: int) -> None:
    place = {"database": "sqlite://", "listen": f"127.0.0.1:{free_port}"}
    with Client(place["listen"]) as client:
        with testing.server(**place):
            watch = client.metrics.watch(["sources/a"])
            next(watch.messages())
        with testing.server(**place):
            client.metrics.write([Observation("sources/a", {"x": 1}, time=T0)])
            with pytest.raises(CursorExpiredError, match="another store") as expired:
                next(watch)
            anew = client.metrics.watch(["sources/a"], cursor=expired.value.metadata["oldest_cursor"])
            assert list(next(anew).columns["x"].values) == [1]
            anew.close()
