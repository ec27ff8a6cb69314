"""Stored bytes with a flipped bit: everything else is answered, and the answer says what it may lack."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from sqlalchemy import ColumnElement, Connection, select, update
from streamgauge.v1 import asset_metric_service_pb2, common_pb2, metrics_service_pb2
from streamgauge_server.storage import tables

from tests.rpc.asset_messages import URN, emit, name_of, newest
from tests.rpc.figure_messages import figures, ingest, report
from tests.rpc.messages import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    TODAY,
    Scalar,
    ask,
    batch,
    column,
    columns_of,
    frame,
    latest_of,
    query,
    row,
    series_of,
    stamp,
    write,
)
from tests.rpc.serving import Start, Stubs

YESTERDAY = TODAY - DAY
ROWS = 144
ONE_HOUR, HALF_HOUR, ONE_DAY = (1, "HOUR"), (30, "MINUTE"), (1, "DAY")
COUNTED = ("COUNT", "MAX")


@pytest.fixture(params=["sqlite", "postgresql"])
async def stubs(request: pytest.FixtureRequest, start: Start) -> Stubs:
    """The stubs of a server on each engine."""
    return await start(database=request.getfixturevalue("pg_url" if request.param == "postgresql" else "sqlite_url"))


async def fill(stubs: Stubs) -> None:
    """Writes a day block of yesterday, a small block of today, and a source of which nothing gets damaged."""
    times = [YESTERDAY + n * 10 * MINUTE for n in range(ROWS)]
    for source in ("sources/a", "sources/sound"):
        frames = frame(
            times,
            column("byteTotal", [10 * n for n in range(ROWS)]),
            column("lag", [n / 4 for n in range(ROWS)]),
            column("connector_status", ["Active" if n % 3 else "Paused" for n in range(ROWS)]),
            subject=source,
        )
        await stubs.metrics.ImportMetrics(iter([batch(frames)]))
        await stubs.metrics.WriteMetrics(write(row({"byteTotal": 5_000, "lag": 1.5}, subject=source, at=TODAY + HOUR)))


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 4])


async def flip(stubs: Stubs, table: str, columns: str, *, subject: str = "a", day: int | None = None) -> int:
    """Flips a bit in columns of the rows of a subject, of one day or all; returns how many rows that were."""
    assert stubs.app is not None
    assert stubs.app.store is not None
    stored = tables.metadata.tables[table]

    def work(connection: Connection) -> int:
        ids = select(tables.subjects.c.id).where(tables.subjects.c.name == subject)
        where: list[ColumnElement[bool]] = [stored.c.subject_id.in_(ids)] if "subject_id" in stored.c else []
        if day is not None:
            where.append(stored.c.day == day // DAY)
        rows = connection.execute(select(stored).where(*where)).all()
        for one in rows:
            key = [column == getattr(one, column.name) for column in stored.primary_key]
            if table == "blocks":
                key = [stored.c.seq == one.seq, stored.c.subject_id == one.subject_id, stored.c.day == one.day]
            values = {name: flipped(getattr(one, name)) for name in columns.split()}
            connection.execute(update(stored).where(*key).values(values))
        return len(rows)

    return await stubs.app.store._database.write(work)


async def told(call: Any) -> tuple[Any, list[tuple[str, dict[str, str]]]]:
    """Returns the answer of a call, and what its trailers say is damaged: subject and fields."""
    answer = await call
    found: list[tuple[str, dict[str, str]]] = []
    for key, text in await call.trailing_metadata():
        if key == "streamgauge-damaged":
            parts = urlsplit(text)
            found.append((unquote(parts.path), {name: values[0] for name, values in parse_qs(parts.query).items()}))
    return answer, found


def counted(stubs: Stubs, what: str) -> float:
    assert stubs.app is not None
    return stubs.app._registry.get_sample_value("streamgauge_damaged_blocks_total", {"what": what}) or 0


def whole(
    window: tuple[int, str], start: int = YESTERDAY, end: int = TODAY + 2 * HOUR, aggregates: Sequence[str] = ()
) -> Any:
    """Asks for both sources; with aggregates for the gauge alone, which has them."""
    metrics = ["lag"] if aggregates else ["byteTotal", "lag", "connector_status"]
    return query(
        "sources/a", "sources/sound", metrics=metrics, start=start, end=end, window=window, aggregates=aggregates
    )


async def test_hours_of_damaged_samples_are_answered_by_their_summaries(stubs: Stubs) -> None:
    await fill(stubs)
    by_hour, by_day = [columns_of(await stubs.metrics.QueryMetrics(whole(each))) for each in (ONE_HOUR, ONE_DAY)]
    assert await flip(stubs, "blocks", "data", day=YESTERDAY) == 1
    assert (await told(stubs.metrics.QueryMetrics(whole(ONE_DAY))))[1] == []  # which needs no samples
    for window, expected in ((ONE_HOUR, by_hour), (ONE_DAY, by_day)):
        assert columns_of(await stubs.metrics.QueryMetrics(whole(window))) == expected


async def test_an_hour_of_damaged_samples_that_is_cut_counts_where_it_begins(stubs: Stubs) -> None:
    await fill(stubs)
    await flip(stubs, "blocks", "data", day=YESTERDAY)
    answer, damage = await told(stubs.metrics.QueryMetrics(whole(HALF_HOUR, end=TODAY, aggregates=COUNTED)))
    values = columns_of(answer)
    assert values["sources/a", "", "lag", "COUNT"] == [6, None] * 24
    assert values["sources/sound", "", "lag", "COUNT"] == [3] * 48
    assert [(subject, fields["day"], fields["what"]) for subject, fields in damage] == [
        ("sources/a", "2025-12-31", "samples")
    ]
    # A range that begins amid an hour has what begins in it.
    cut = columns_of(
        await stubs.metrics.QueryMetrics(whole(ONE_DAY, start=YESTERDAY + HOUR // 2, end=TODAY, aggregates=COUNTED))
    )
    assert cut["sources/a", "", "lag", "COUNT"] == [23 * 6]


async def test_a_block_is_logged_and_counted_once(stubs: Stubs, caplog: pytest.LogCaptureFixture) -> None:
    await fill(stubs)
    await flip(stubs, "blocks", "data", day=YESTERDAY)
    for _ in range(3):
        assert len((await told(stubs.metrics.QueryMetrics(whole(HALF_HOUR))))[1]) == 1
    assert counted(stubs, "samples") == 1
    assert sum("damaged samples of a block" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("columns", ["hour_summary", "day_summary", "hour_summary day_summary"])
async def test_damaged_summaries_are_answered_by_samples_and_nothing_is_lacking(stubs: Stubs, columns: str) -> None:
    await fill(stubs)
    expected = [columns_of(await stubs.metrics.QueryMetrics(whole(each))) for each in (ONE_HOUR, ONE_DAY)]
    await flip(stubs, "blocks", columns, day=YESTERDAY)
    for window, values in zip((ONE_HOUR, ONE_DAY), expected, strict=True):
        answer, damage = await told(stubs.metrics.QueryMetrics(whole(window)))
        assert (columns_of(answer), damage) == (values, [])
    assert counted(stubs, "summaries") == 1


async def test_what_is_damaged_as_a_whole_is_lacking_and_told(stubs: Stubs) -> None:
    await fill(stubs)
    await flip(stubs, "blocks", "data hour_summary day_summary", day=YESTERDAY)
    answer, damage = await told(stubs.metrics.QueryMetrics(whole(ONE_DAY, aggregates=COUNTED)))
    values = columns_of(answer)
    assert values["sources/a", "", "lag", "COUNT"] == [None, 1]
    assert values["sources/sound", "", "lag", "COUNT"] == [ROWS, 1]
    assert [subject for subject, _ in damage] == ["sources/a"]


async def test_small_blocks_and_what_overlaps_damage(stubs: Stubs) -> None:
    await fill(stubs)
    await flip(stubs, "blocks", "data")
    answer, damage = await told(stubs.metrics.QueryMetrics(whole(ONE_DAY, aggregates=COUNTED)))
    assert columns_of(answer)["sources/a", "", "lag", "MAX"] == [(ROWS - 1) / 4, None]
    assert len(damage) == 1  # the small block: the day is answered by its summary
    # Into an hour of the damaged block a sample is written: the hour is answered without the block.
    await stubs.metrics.WriteMetrics(write(row({"lag": 9.0}, at=YESTERDAY + 5 * HOUR + 1)))
    answer, damage = await told(stubs.metrics.QueryMetrics(whole(ONE_DAY, aggregates=COUNTED)))
    assert columns_of(answer)["sources/a", "", "lag", "COUNT"] == [23 * 6 + 1, None]
    assert len(damage) == 2


async def test_source_metrics_and_times_of_values(stubs: Stubs) -> None:
    await fill(stubs)
    await flip(stubs, "blocks", "data", day=YESTERDAY)
    request = ask(start=YESTERDAY, end=TODAY + 2 * HOUR, every=(10, "MINUTE"), metrics=["lag", "byteTotal"])
    answer, damage = await told(stubs.sources.GetSourceMetrics(request))
    assert series_of(answer)["lag"][-6] == 1.5
    assert len(damage) == 1
    times = query(
        metrics=["connector_status"], start=YESTERDAY, end=TODAY, window=ONE_DAY, aggregates=["TIME_IN_VALUE"]
    )
    _, damage = await told(stubs.metrics.QueryMetrics(times))
    assert len(damage) == 1


async def test_exports_name_the_day_and_send_the_rest(stubs: Stubs) -> None:
    await fill(stubs)
    await flip(stubs, "blocks", "data", day=YESTERDAY)
    request = metrics_service_pb2.ExportMetricsRequest(subject_kind=common_pb2.SUBJECT_KIND_SOURCE)
    messages = [message async for message in stubs.metrics.ExportMetrics(request)]
    rows = {
        subject: sum(
            len(one.time_unix_micros) for message in messages for one in message.frames if one.subject == subject
        )
        for subject in ("sources/a", "sources/sound")
    }
    assert rows["sources/a"] == 1
    assert rows["sources/sound"] > ROWS
    assert [name for message in messages for name in message.damaged] == ["sources/a 2025-12-31"]


async def test_history_and_corrections_of_assets(stubs: Stubs) -> None:
    await emit(stubs, {"rows": 1, "size": 2.5}, at=NOW - DAY)
    await emit(stubs, {"rows": 2, "size": 3.5}, at=NOW - DAY + HOUR)
    await emit(stubs, {"rows": 3}, at=NOW)
    subject = name_of(URN).removeprefix("assets/")
    await flip(stubs, "blocks", "data", subject=subject, day=NOW - DAY)
    request = asset_metric_service_pb2.ListAssetMetricsRequest(asset=URN)
    answer, damage = await told(stubs.assets.ListAssetMetrics(request))
    assert len(answer.moments) == 1
    assert len(damage) == 2
    assert await newest(stubs) == {"rows": 3, "size": 3.5}

    # What is damaged is deleted where all that it can hold is, and what stood before is not made up.
    gone = asset_metric_service_pb2.DeleteAssetMetricsRequest(asset=URN, metrics=["rows"])
    answer, damage = await told(stubs.assets.DeleteAssetMetrics(gone))
    assert answer.deleted_value_count == 1
    assert len(damage) == 2
    gone = asset_metric_service_pb2.DeleteAssetMetricsRequest(asset=URN)
    gone.time_range.start_time.CopyFrom(stamp(NOW - 2 * DAY))
    gone.time_range.end_time.CopyFrom(stamp(NOW))
    _, damage = await told(stubs.assets.DeleteAssetMetrics(gone))
    assert len(damage) == 2
    answer, damage = await told(stubs.assets.ListAssetMetrics(request))
    assert (len(answer.moments), damage) == (0, [])
    assert await newest(stubs) == {}


Touch = Callable[[Stubs], Awaitable[object]]


async def _read(stubs: Stubs) -> None:
    await stubs.metrics.GetLatestMetrics(metrics_service_pb2.GetLatestMetricsRequest(subjects=["sources/a"]))


async def _write(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(write(row({"lag": 7.5}, at=NOW)))


@pytest.mark.parametrize("touch", [_read, _write])
async def test_a_damaged_row_of_latest_values_is_made_anew_by_who_meets_it(stubs: Stubs, touch: Touch) -> None:
    await fill(stubs)

    async def latest() -> dict[str, Scalar | None]:
        request = metrics_service_pb2.GetLatestMetricsRequest(subjects=["sources/a"])
        answer = await stubs.metrics.GetLatestMetrics(request)
        return latest_of(answer.subjects[0])

    before = await latest()
    assert await flip(stubs, "latest", "samples") == 1
    await touch(stubs)
    assert await latest() == before | ({"lag": 7.5} if touch is _write else {})
    assert counted(stubs, "latest") == 1


async def test_damaged_figures_are_computed_from_records(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(write(row({"lag": 1.0}, subject="sources/landing")))
    await report(stubs, *[ingest(f"f{n}", at=NOW - n * HOUR, size=n) for n in range(30)])
    expected = [await figures(stubs, "ingests", every=each) for each in ("HOUR", "DAY")]
    assert expected[0]
    assert await flip(stubs, "figures", "data") > 30
    for every, values in zip(("DAY", "HOUR"), reversed(expected), strict=True):
        assert await figures(stubs, "ingests", every=every) == values
    assert counted(stubs, "figures") > 0
    await flip(stubs, "figures", "data")
    await report(stubs, ingest("new", at=NOW - HOUR, size=1))
    assert (await figures(stubs, "ingests", every="DAY")).keys() == expected[1].keys()


async def test_lifetimes_over_damage_are_told_each_time(stubs: Stubs) -> None:
    await fill(stubs)
    await flip(stubs, "blocks", "data hour_summary day_summary", day=YESTERDAY)
    await stubs.metrics.WriteMetrics(write(row({"byteTotal": 1}, at=TODAY)))  # late, so the total must be computed
    request = metrics_service_pb2.GetLatestMetricsRequest(subjects=["sources/a"], metrics=["byteTotal"])
    for _ in range(2):
        answer, damage = await told(stubs.metrics.GetLatestMetrics(request))
        assert latest_of(answer.subjects[0]) == {"byteTotal": 5_000}
        assert len(damage) == 1


async def test_trailers_are_bounded(stubs: Stubs) -> None:
    rows = [row({"lag": 0.5}, subject=f"sources/s{n}", part="ü" * 100, at=NOW) for n in range(40)]
    await stubs.metrics.WriteMetrics(write(*rows))
    for n in range(40):
        await flip(stubs, "blocks", "data", subject=f"s{n}")
    _, damage = await told(
        stubs.metrics.QueryMetrics(query(*[f"sources/s{n}" for n in range(40)], start=NOW - HOUR, end=NOW + HOUR))
    )
    assert len(damage) < 21
    assert damage[-1][0] == f"more={40 - len(damage) + 1}"
    assert damage[0][0].startswith("sources/s")


async def test_samples_of_a_metric_without_a_descriptor_are_left_out_and_told(start: Start, sqlite_url: str) -> None:
    first = await start(database=sqlite_url)
    await fill(first)
    assert first.app is not None
    assert first.app.store is not None
    m = tables.metrics
    await first.app.store._database.write(lambda c: c.execute(m.delete().where(m.c.name == "lag")).rowcount)
    await first.app.stop(0)
    second = await start(database=sqlite_url)
    question = query("sources/a", start=YESTERDAY, end=TODAY + 2 * HOUR, window=ONE_DAY)
    answer, damaged = await told(second.metrics.QueryMetrics(question))
    assert {column.metric for column in answer.series[0].columns} == {"byteTotal", "connector_status"}
    assert damaged == [("sources/a", {"what": "metrics"})]
    latest, damaged = await told(
        second.metrics.GetLatestMetrics(metrics_service_pb2.GetLatestMetricsRequest(subjects=["sources/a"]))
    )
    assert {value.metric for value in latest.subjects[0].values} == {"byteTotal", "connector_status"}
    assert damaged == [("sources/a", {"what": "metrics"})]
