"""Both clients against a real server: what goes in comes out, and what is refused says why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamgauge import (
    Aggregate,
    AggregateNotAllowedError,
    EtagMismatchError,
    Frame,
    InvalidArgumentError,
    InvalidTimeRangeError,
    MetricKind,
    MetricNotFoundError,
    Observation,
    PageTokenMismatchError,
    RejectedItemsError,
    RequestIdReusedError,
    Scalar,
    ScopeMissingError,
    SourceAlreadyExistsError,
    SourceNotFoundError,
    TokenInvalidError,
    TokenMissingError,
    TokenNotFoundError,
    TooManyWindowsError,
    UnauthenticatedError,
    ValueType,
    Window,
    WindowUnit,
    testing,
)

from tests.sdk.conftest import done, everything, pages

T0 = datetime(2026, 11, 1, 10, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
TOP = 2**63 - 1


def at(hours: float) -> datetime:
    return T0 + timedelta(hours=hours)


# --- Sources ---------------------------------------------------------------------------------------------------------


async def test_a_source_is_created_read_changed_and_deleted(api: Any) -> None:
    made = await done(
        api.sources.create("orders", display_name="Orders", connector_class="pg", labels={"team": "shop"})
    )
    assert (made.name, made.id, made.display_name, made.connector_class) == ("sources/orders", "orders", "Orders", "pg")
    assert dict(made.labels) == {"team": "shop"}
    assert made.create_time.tzinfo is UTC
    assert abs(made.create_time - datetime.now(UTC)) < timedelta(minutes=1)
    assert await done(api.sources.get("orders")) == await done(api.sources.get("sources/orders")) == made
    changed = await done(api.sources.update("orders", display_name="", labels={}, etag=made.etag))
    assert (changed.display_name, dict(changed.labels), changed.connector_class) == ("", {}, "pg")
    assert changed.number == made.number
    with pytest.raises(EtagMismatchError) as caught:
        await done(api.sources.delete("orders", etag=made.etag))
    assert caught.value.metadata["name"] == "sources/orders"
    await done(api.sources.delete("orders", etag=changed.etag))
    with pytest.raises(SourceNotFoundError) as missing:
        await done(api.sources.get("orders"))
    assert missing.value.metadata["name"] == "sources/orders"
    assert missing.value.request_id


async def test_a_second_create_is_refused(api: Any) -> None:
    await done(api.sources.create("orders"))
    with pytest.raises(SourceAlreadyExistsError):
        await done(api.sources.create("orders"))


async def test_sources_are_listed_by_name_over_many_pages_and_filtered(api: Any) -> None:
    for number in range(7):
        await done(
            api.sources.create(f"s{number}", labels={"parity": str(number % 2)}, connector_class=f"c{number % 3}")
        )
    assert [source.id for source in await everything(api.sources.list(page_size=3))] == [f"s{n}" for n in range(7)]
    found = await pages(api.sources.list(page_size=3))
    assert [(len(page.items), page.total_size) for page in found] == [(3, 7), (3, 7), (1, 7)]
    rest = await everything(api.sources.list(page_size=3, page_token=found[0].next_page_token))
    assert [source.id for source in rest] == ["s3", "s4", "s5", "s6"]
    odd = await everything(api.sources.list(labels={"parity": "1"}, connector_class="c0"))
    assert [source.id for source in odd] == ["s3"]
    with pytest.raises(PageTokenMismatchError):
        await everything(api.sources.list(labels={"a": "b"}, page_token=found[0].next_page_token))


async def test_every_wrong_field_is_in_the_error(api: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await done(api.sources.create("no spaces", display_name="x" * 300))
    assert {violation.field for violation in caught.value.violations} == {"source_id", "source.display_name"}


# --- Writing and reading ---------------------------------------------------------------------------------------------


async def test_values_come_back_exactly_with_their_type_and_time(api: Any) -> None:
    moment = datetime(2026, 11, 1, 1, 2, 3, 456_789, tzinfo=UTC)
    values: dict[str, Scalar] = {"int": TOP, "low": -(2**63), "float": 0.1, "flag": False, "text": "ü\n"}
    result = await done(api.metrics.write([Observation("sources/orders", values, moment, start_time=T0 - 99 * HOUR)]))
    assert (result.accepted, result.rejected, result.errors) == (1, 0, ())
    latest = await done(api.sources.latest("orders", metrics=values, counter_mode="raw"))
    read = {name: value.value for name, value in latest.values.items()}
    assert {k: (type(v), v) for k, v in read.items()} == {k: (type(v), v) for k, v in values.items()}
    assert {value.time for value in latest.values.values()} == {moment}
    assert latest["int"].start_time == T0 - 99 * HOUR


async def test_refused_observations_are_listed_and_the_others_stored(api: Any) -> None:
    observations = [
        Observation("sources/orders", {"a": 1}, T0),
        Observation("sources/orders", {"a": float("nan")}, T0),
        Observation("nonsense", {"a": 1}, T0),
        Observation("sources/orders", {"b": 2}, T0),
    ]
    result = await done(api.metrics.write(observations))
    assert (result.accepted, result.rejected) == (2, 2)
    assert [(error.index, error.subject, error.metric, error.reason) for error in result.errors] == [
        (1, "sources/orders", "a", "INVALID_FIELD"),
        (2, "nonsense", "", "INVALID_FIELD"),
    ]
    with pytest.raises(RejectedItemsError):
        result.raise_for_rejected()
    latest = await done(api.sources.latest("orders", metrics=["a", "b"]))
    assert {name: value.value for name, value in latest.values.items()} == {"a": 1, "b": 2}


async def test_an_atomic_write_with_a_bad_observation_stores_nothing(api: Any) -> None:
    observations = [Observation("sources/orders", {"a": 1}), Observation("sources/orders", {"a": float("inf")})]
    with pytest.raises(InvalidArgumentError) as caught:
        await done(api.metrics.write(observations, atomic=True))
    assert any("observations[1]" in violation.field for violation in caught.value.violations)
    with pytest.raises(SourceNotFoundError):
        await done(api.sources.get("orders"))


async def test_validating_stores_nothing(api: Any) -> None:
    result = await done(api.metrics.write([Observation("sources/orders", {"a": 1})], validate_only=True))
    assert (result.accepted, result.request_id) == (1, "")
    with pytest.raises(SourceNotFoundError):
        await done(api.sources.get("orders"))


async def test_a_repeated_request_id_is_answered_as_before_and_with_another_body_refused(api: Any) -> None:
    observation = Observation("sources/orders", {"a": 1}, T0)
    first = await done(api.metrics.write([observation], request_id="r1"))
    again = await done(api.metrics.write([observation], request_id="r1"))
    assert first == again
    with pytest.raises(RequestIdReusedError):
        await done(api.metrics.write([Observation("sources/orders", {"a": 2}, T0)], request_id="r1"))


async def counter(api: Any, subject: str = "sources/orders") -> None:
    """Writes a counter that grows, resets, and leaves an hour without samples."""
    readings = [(0, 100), (0.5, 110), (1.5, 5), (3.1, 7)]
    observations = [Observation(subject, {"byteTotal": value, "load": float(value)}, at(h)) for h, value in readings]
    (await done(api.metrics.write(observations))).raise_for_rejected()


async def test_a_time_series_has_a_value_per_window_and_none_without_samples(api: Any) -> None:
    await counter(api)
    series = await done(api.sources.timeseries("orders", start=T0, end=at(4), metrics=["byteTotal", "load"]))
    assert (series.source, series.start, series.end) == ("sources/orders", T0, at(4))
    assert series.window == Window(WindowUnit.HOUR, 1)
    assert series.bounds == tuple(T0.replace(minute=0) + n * HOUR for n in range(6))
    assert series["byteTotal"].values == (10, 5, None, 2, None)
    assert series["byteTotal"].aggregate is Aggregate.INCREASE
    assert series["load"].value_type is ValueType.DOUBLE
    assert series.metadata["byteTotal"].display_name == "Volume"
    assert dict(series.points("byteTotal"))[series.bounds[1]] == 5
    wide = await done(
        api.sources.timeseries("orders", start=T0, end=at(4), unit="hour", interval=6, metrics="byteTotal")
    )
    assert [value for value in wide["byteTotal"].values if value is not None] == [15, 2]
    with pytest.raises(KeyError):
        series["absent"]


async def test_a_summary_has_one_value_for_the_whole_range(api: Any) -> None:
    await counter(api)
    summary = await done(api.sources.timesummary("orders", start=T0, end=at(4)))
    total = summary["byteTotal"]
    assert (total.value, total.sample_count, total.reset_count) == (17, 4, 1)
    assert (total.first_time, total.last_time) == (T0, at(3.1))
    assert summary["recordSendTotal"].value is None
    raw = await done(api.sources.timesummary("orders", start=T0, end=at(4), counter_mode="raw", metrics=["byteTotal"]))
    assert raw["byteTotal"].value == 7


async def test_metrics_answers_in_the_form_of_the_time_type(api: Any) -> None:
    await counter(api)
    kinds = [
        type(await done(api.sources.metrics("orders", **arguments))).__name__
        for arguments in ({}, {"time_type": "timeseries"}, {"time_type": "timesummary"}, {"time_type": "latest"})
    ]
    assert kinds == ["TimeSeries", "TimeSeries", "TimeSummary", "Latest"]
    latest = await done(api.sources.latest("orders"))
    assert (latest["byteTotal"].value, latest["byteTotal"].raw_value) == (117, 7)
    assert len(latest.values) == 23  # the 22 built-in metrics and `load`
    assert latest["state"].value is None


async def test_questions_that_make_no_sense_have_their_error(api: Any) -> None:
    await done(api.sources.create("orders"))
    with pytest.raises(InvalidTimeRangeError) as caught:
        await done(api.sources.timeseries("orders", start=at(1), end=T0))
    assert set(caught.value.metadata) >= {"start_time", "end_time"}
    with pytest.raises(TooManyWindowsError) as many:
        await done(api.sources.timeseries("orders", start=at(-9_000), end=T0, unit="minute"))
    assert many.value.metadata["limit"] == "11000"
    with pytest.raises(InvalidArgumentError):
        await done(api.sources.timeseries("orders", interval=0))
    with pytest.raises(SourceNotFoundError):
        await done(api.sources.latest("nobody"))
    await done(api.metrics.write([Observation("sources/orders", {"state": "Streaming"}, T0)]))
    with pytest.raises(AggregateNotAllowedError):
        await done(api.metrics.query(["sources/orders"], metrics=["state"], aggregates=["sum"], start=T0, end=at(1)))


async def test_a_query_answers_many_subjects_at_once(api: Any) -> None:
    await counter(api, "sources/a")
    await counter(api, "sources/b")
    result = await done(
        api.metrics.query(
            ["sources/b", "sources/a", "sources/none"],
            metrics=["byteTotal"],
            start=T0,
            end=at(4),
            window=Window("hour", 2),
            aggregates=["increase", Aggregate.COUNT],
        )
    )
    assert [series.subject for series in result.series] == ["sources/b", "sources/a"]
    assert result.unknown_subjects == ("sources/none",)
    assert result.series[0].column("byteTotal", "count").values == (3, 1, None)
    assert result.series[0].column("byteTotal", "increase").values == (15, 2, None)
    assert result.metadata["sources/byteTotal"].kind is MetricKind.COUNTER
    assert result.to_dataframe().shape == (3, 4)


async def test_parts_are_combined_or_answered_by_themselves(api: Any) -> None:
    for part, values in (("task=0", (1, 4)), ("task=1", (10, 30))):
        observations = [
            Observation("sources/orders", {"byteTotal": value}, at(hour), part=part)
            for hour, value in enumerate(values)
        ]
        await done(api.metrics.write(observations))
    combined = await done(api.metrics.latest(["sources/orders"], metrics=["byteTotal"]))
    assert combined.subjects[0]["byteTotal"].value == 34
    by_part = await done(api.metrics.latest(["sources/orders"], metrics="byteTotal", by_part=True))
    assert {found.part: found["byteTotal"].value for found in by_part.subjects} == {"task=0": 4, "task=1": 30}
    assert by_part.read_time.tzinfo is UTC
    assert (await done(api.metrics.latest(["sources/none"]))).unknown_subjects == ("sources/none",)


# --- Volume ----------------------------------------------------------------------------------------------------------


async def test_frames_are_stored_and_bad_ones_refused_by_their_place(api: Any) -> None:
    times = [at(n / 60) for n in range(120)]
    frames = [
        Frame("sources/a", times, {"byteTotal": list(range(120)), "word": ["x", None] * 60}),
        Frame("sources/a", times, {"byteTotal": np.full(120, np.nan)}),
        Frame("sources/b", np.arange(250_000) * 1_000 + int(T0.timestamp() * 1e6), {"load": np.ones(250_000)}),
    ]
    result = await done(api.metrics.import_frames(frames))
    assert (result.accepted, result.rejected, result.accepted_samples) == (4, 1, 120 + 60 + 250_000)
    assert [error.index for error in result.errors] == [1]
    summary = await done(api.sources.timesummary("b", start=T0, end=at(1), metrics="load"))
    assert summary["load"].sample_count == 250_000


async def test_a_frame_may_have_rows_and_whole_days_of_gaps(api: Any) -> None:
    times = [at(0), at(1), at(48), at(96)]
    result = await done(api.metrics.import_frames([Frame("sources/a", times, {"load": [1, None, None, 4.5]})]))
    assert (result.accepted, result.rejected, result.accepted_samples) == (1, 0, 2)
    summary = await done(api.sources.timesummary("a", start=at(0), end=at(97), metrics="load"))
    assert (summary["load"].sample_count, summary["load"].last_time) == (2, at(96))


async def test_a_dataframe_goes_in_and_comes_back(api: Any) -> None:
    index = pd.date_range(T0.replace(minute=0), periods=4, freq="h")
    given = pd.DataFrame(
        {
            "load": [0.5, None, 1.5, 2.5],
            "depth": pd.array([TOP, None, 1, 2], dtype="Int64"),
            "up": [True, False, True, True],
        },
        index=index,
    )
    result = await done(api.metrics.import_dataframe(given, "sources/orders"))
    assert (result.accepted, result.accepted_samples) == (1, 10)
    series = await done(
        api.sources.timeseries("orders", start=index[0], end=index[-1] + HOUR, metrics=["load", "depth", "up"])
    )
    read = series.to_dataframe()
    for name in given:
        assert [None if pd.isna(value) else value for value in read[name]] == [
            None if pd.isna(value) else value for value in given[name]
        ]
    assert list(read.index) == list(index)


# --- Descriptors, tokens, the server ---------------------------------------------------------------------------------


async def test_descriptors_are_listed_read_and_changed(api: Any) -> None:
    await done(api.metrics.write([Observation("sources/orders", {"queueDepth": 1})]))
    found = await done(api.metrics.descriptors.get("queueDepth"))
    assert (found.name, found.kind, found.value_type) == (
        "metricDescriptors/sources/queueDepth",
        MetricKind.GAUGE,
        ValueType.INT64,
    )
    changed = await done(
        api.metrics.descriptors.update(
            "queueDepth", unit="messages", window_aggregate="max", no_value=-1, etag=found.etag
        )
    )
    assert (changed.unit, changed.window_aggregate, changed.no_value) == ("messages", Aggregate.MAX, -1.0)
    cleared = await done(api.metrics.descriptors.update("queueDepth", no_value=None))
    assert (cleared.no_value, cleared.unit) == (None, "messages")
    with pytest.raises(EtagMismatchError):
        await done(api.metrics.descriptors.update("queueDepth", unit="x", etag=found.etag))
    listed = await everything(api.metrics.descriptors.list(subject_kind="sources", page_size=10))
    assert len(listed) == 23
    assert sum(descriptor.built_in for descriptor in listed) == 22
    assert cleared in listed
    with pytest.raises(MetricNotFoundError):
        await done(api.metrics.descriptors.get("nothing"))


async def test_a_token_opens_what_its_scopes_say_until_it_is_revoked(api: Any, server: testing.RunningServer) -> None:
    expire = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    admin = await done(api.tokens.create(["admin"], display_name="ops"))
    root = server.client(token=admin.secret)
    reader = root.tokens.create(["read:source_metrics"], display_name="dashboard", expire_time=expire)
    assert (reader.token.scopes, reader.token.expire_time) == (("read:source_metrics",), expire)
    with pytest.raises(TokenMissingError):
        await done(api.sources.get("orders"))
    with pytest.raises(TokenInvalidError):
        server.client(token="nonsense").sources.get("orders")
    limited = server.client(token=reader.secret)
    assert list(limited.sources.list()) == []
    with pytest.raises(ScopeMissingError) as caught:
        limited.sources.create("orders")
    assert caught.value.metadata["scope"] == "write:source_metrics"
    assert [token.display_name for token in root.tokens.list()] == ["dashboard", "ops"]
    revoked = root.tokens.revoke(reader.token.id)
    assert revoked.revoke_time is not None
    assert root.tokens.revoke(reader.token.name) == revoked
    with pytest.raises(UnauthenticatedError):
        limited.sources.get("orders")
    with pytest.raises(TokenNotFoundError):
        root.tokens.revoke("nobody")


async def test_the_server_tells_its_limits_and_who_is_calling(api: Any) -> None:
    info = await done(api.server.info())
    assert info.version
    assert info.limits["max_windows"].value == 11_000
    assert info.store.engine == "sqlite"
    assert "subject_registration" in info.features
    assert "write:source_metrics" in info.scopes
    assert info.start_time <= info.server_time
