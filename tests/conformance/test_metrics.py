"""Descriptors: the built-in ones of every tenant, and those that come with their first write."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.job_catalog import JOB_METRICS
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.source_catalog import SOURCE_METRICS
from streamgauge_server.model.values import Aggregate, Direction, MetricKind, PartCombination, SubjectKind, ValueType
from streamgauge_server.storage import metrics
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import START, OpenStore

GAUGE = (MetricKind.GAUGE, ValueType.INT64)


BUILT_IN = {SubjectKind.SOURCE: SOURCE_METRICS, SubjectKind.JOB: JOB_METRICS}


async def test_every_tenant_has_the_built_in_metrics_of_sources_and_jobs(store: Store) -> None:
    for tenant in ("a", "b"):
        listed = await store.metrics.list(tenant, list(SubjectKind), limit=100)
        expected = [
            (kind, name) for kind, all_ in BUILT_IN.items() for name in sorted(metric.metric for metric in all_)
        ]
        assert [(found.kind_of_subject, found.metric) for found in listed] == expected
        by_name = {(found.kind_of_subject, found.metric): found for found in listed}
        for kind, metric in [(kind, metric) for kind, all_ in BUILT_IN.items() for metric in all_]:
            found = by_name[kind, metric.metric]
            assert found.built_in
            for field in (
                "display_name",
                "description",
                "unit",
                "kind",
                "value_type",
                "window_aggregate",
                "summary_aggregate",
                "part_combination",
                "state_order",
                "no_value",
            ):
                assert getattr(found, field) == getattr(metric, field), (metric.metric, field)


async def test_a_tenant_of_an_earlier_version_gets_new_built_in_metrics_beside_its_own(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "CATALOG_VERSION", 1)
    monkeypatch.setattr(metrics, "_BUILT_IN", {SubjectKind.SOURCE: SOURCE_METRICS})
    earlier = await open_store()
    name = JOB_METRICS[0].metric
    own = (await earlier.metrics.ensure("t", SubjectKind.JOB, [(name, *GAUGE)], limits=Limits()))[name]
    monkeypatch.undo()
    store = await open_store()
    listed = await store.metrics.list("t", [SubjectKind.JOB], limit=100)
    assert [found.metric for found in listed] == sorted(metric.metric for metric in JOB_METRICS)
    assert [found for found in listed if not found.built_in] == [own]
    assert len(await store.metrics.list("t", [SubjectKind.SOURCE], limit=100)) == len(SOURCE_METRICS)


async def test_two_servers_that_meet_a_tenant_first_store_its_built_in_metrics_once(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    name = SOURCE_METRICS[0].metric
    answers = await asyncio.gather(*(stores[n % 2].metrics.get("t", SubjectKind.SOURCE, name) for n in range(6)))
    assert len({answer.id for answer in answers}) == 1
    assert len(await stores[0].metrics.list("t", [SubjectKind.SOURCE], limit=100)) == len(SOURCE_METRICS)


async def test_a_metric_is_created_on_first_sight_and_the_first_writer_decides(store: Store) -> None:
    created = await store.metrics.ensure("t", SubjectKind.SOURCE, [("m", *GAUGE)], limits=Limits())
    m = created["m"]
    assert (m.kind, m.value_type, m.display_name, m.unit) == (MetricKind.GAUGE, ValueType.INT64, "m", "")
    assert (m.built_in, m.create_time, m.no_value, m.state_order) == (False, START, None, ())
    again = await store.metrics.ensure(
        "t",
        SubjectKind.SOURCE,
        [("m", MetricKind.TEXT, ValueType.STRING), ("n", MetricKind.TEXT, ValueType.STRING)],
        limits=Limits(),
    )
    assert again["m"] == m
    assert again["n"].value_type == ValueType.STRING
    assert await store.metrics.get_many("t", SubjectKind.SOURCE, ["m", "n", "o"]) == again


async def test_kinds_of_subjects_and_tenants_have_metrics_of_their_own(store: Store) -> None:
    source = (await store.metrics.ensure("t", SubjectKind.SOURCE, [("m", *GAUGE)], limits=Limits()))["m"]
    asset = (await store.metrics.ensure("t", SubjectKind.ASSET, [("m", *GAUGE)], limits=Limits()))["m"]
    other = (await store.metrics.ensure("u", SubjectKind.SOURCE, [("m", *GAUGE)], limits=Limits()))["m"]
    assert len({source.id, asset.id, other.id}) == 3
    assert await store.metrics.by_ids("t", [source.id, asset.id, other.id, 10**9]) == {
        source.id: source,
        asset.id: asset,
    }


async def test_concurrent_first_writers_in_two_servers_get_one_descriptor(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    types = [ValueType.INT64, ValueType.DOUBLE]
    answers = await asyncio.gather(
        *(
            stores[n % 2].metrics.ensure(
                "t",
                SubjectKind.SOURCE,
                [("m", MetricKind.GAUGE, types[n % 2]), ("n", MetricKind.GAUGE, types[n % 2])],
                limits=Limits(),
            )
            for n in range(8)
        )
    )
    assert all(answer == answers[0] for answer in answers)


async def test_many_metrics_are_created_and_found_at_once(store: Store) -> None:
    names = [f"m{number}" for number in range(1_700)]
    created = await store.metrics.ensure("t", SubjectKind.JOB, [(name, *GAUGE) for name in names], limits=Limits())
    assert created.keys() == set(names)
    assert await store.metrics.get_many("t", SubjectKind.JOB, names) == created
    assert len(await store.metrics.by_ids("t", [descriptor.id for descriptor in created.values()])) == 1_700


async def test_the_limit_counts_what_tenants_wrote_and_refuses_a_batch_whole(store: Store) -> None:
    limits = Limits(max_metrics_per_tenant=2)
    await store.metrics.ensure("t", SubjectKind.SOURCE, [("a", *GAUGE)], limits=limits)
    with pytest.raises(DomainError) as refused:
        await store.metrics.ensure("t", SubjectKind.ASSET, [("b", *GAUGE), ("c", *GAUGE)], limits=limits)
    assert refused.value.reason == Reason.METRIC_LIMIT
    assert refused.value.metadata == {"limit": "2"}
    assert await store.metrics.get_many("t", SubjectKind.ASSET, ["b", "c"]) == {}
    await store.metrics.ensure("t", SubjectKind.SOURCE, [("a", *GAUGE), ("b", *GAUGE)], limits=limits)
    await store.metrics.ensure("u", SubjectKind.SOURCE, [("c", *GAUGE)], limits=limits)


async def test_an_unknown_metric_is_not_found(store: Store) -> None:
    for call in (
        store.metrics.get("t", SubjectKind.SOURCE, "x"),
        store.metrics.update("t", SubjectKind.SOURCE, "x", {"unit": "ms"}),
    ):
        with pytest.raises(DomainError) as refused:
            await call
        assert refused.value.reason == Reason.METRIC_NOT_FOUND
        assert refused.value.metadata == {"name": "metricDescriptors/sources/x"}


async def test_every_changeable_field_is_stored(store: Store, clock: FixedClock) -> None:
    created = (await store.metrics.ensure("t", SubjectKind.SOURCE, [("m", *GAUGE)], limits=Limits()))["m"]
    clock.micros += 7
    changes = {
        "display_name": "Rows",
        "description": "All rows.",
        "unit": "count",
        "kind": MetricKind.COUNTER,
        "window_aggregate": Aggregate.RATE,
        "summary_aggregate": Aggregate.INCREASE,
        "part_combination": PartCombination.MAX,
        "state_order": ("a", "b"),
        "no_value": -1.0,
        "value_type": ValueType.DOUBLE,
        "min_value": -0.5,
        "max_value": 1e300,
        "direction": Direction.LOWER_IS_BETTER,
    }
    updated = await store.metrics.update("t", SubjectKind.SOURCE, "m", changes, etag=created.etag)
    assert {field: getattr(updated, field) for field in changes} == changes
    assert (updated.id, updated.create_time) == (created.id, START)
    assert updated.update_time == START + 7
    assert await store.metrics.get("t", SubjectKind.SOURCE, "m") == updated
    with pytest.raises(DomainError) as refused:
        await store.metrics.update("t", SubjectKind.SOURCE, "m", {"unit": "x"}, etag=created.etag)
    assert refused.value.reason == Reason.ETAG_MISMATCH
    assert refused.value.metadata["etag"] == updated.etag
    assert (await store.metrics.update("t", SubjectKind.SOURCE, "m", {"no_value": None})).no_value is None


async def test_a_field_that_blocks_depend_on_cannot_be_changed(store: Store) -> None:
    await store.metrics.ensure("t", SubjectKind.SOURCE, [("m", *GAUGE)], limits=Limits())
    with pytest.raises(ValueError, match="id"):
        await store.metrics.update("t", SubjectKind.SOURCE, "m", {"id": 7})


def declaration(metric: str = "m", unit: str = "") -> MetricDescriptor:
    reading = (Aggregate.MAX, Aggregate.AVG, PartCombination.MIN)
    return MetricDescriptor(
        0,
        SubjectKind.ASSET,
        metric,
        "Ratio",
        "Rows that are good.",
        unit,
        MetricKind.GAUGE,
        ValueType.NUMBER,
        *reading,
        no_value=-1.0,
        min_value=0.0,
        max_value=0.1,
        direction=Direction.HIGHER_IS_BETTER,
    )


async def test_a_declared_metric_is_stored_whole(store: Store) -> None:
    declared = await store.metrics.declare("t", declaration(), limits=Limits())
    assert declared is not None
    assert declared == await store.metrics.get("t", SubjectKind.ASSET, "m")
    assert declared == replace(declaration(), id=declared.id, etag=declared.etag, create_time=START, update_time=START)
    assert await store.metrics.ensure("t", SubjectKind.ASSET, [("m", *GAUGE)], limits=Limits()) == {"m": declared}


async def test_a_metric_that_is_there_is_not_declared_again(store: Store) -> None:
    first = await store.metrics.declare("t", declaration(), limits=Limits())
    assert await store.metrics.declare("t", declaration(unit="rows"), limits=Limits()) is None
    assert await store.metrics.get("t", SubjectKind.ASSET, "m") == first


async def test_of_concurrent_declarations_in_two_servers_one_is_stored(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    answers = await asyncio.gather(
        *(stores[n % 2].metrics.declare("t", declaration(unit=str(n)), limits=Limits()) for n in range(8))
    )
    (declared,) = [answer for answer in answers if answer is not None]
    assert await stores[0].metrics.get("t", SubjectKind.ASSET, "m") == declared


async def test_declared_metrics_count_towards_the_limit(store: Store) -> None:
    limits = Limits(max_metrics_per_tenant=2)
    await store.metrics.ensure("t", SubjectKind.SOURCE, [("a", *GAUGE)], limits=limits)
    await store.metrics.declare("t", declaration("b"), limits=limits)
    with pytest.raises(DomainError) as refused:
        await store.metrics.declare("t", declaration("c"), limits=limits)
    assert refused.value.reason == Reason.METRIC_LIMIT
    assert await store.metrics.get_many("t", SubjectKind.ASSET, ["c"]) == {}
    assert await store.metrics.declare("t", declaration("b"), limits=limits) is None


async def test_pages_run_over_kinds_in_the_order_of_their_numbers_then_names_by_bytes(store: Store) -> None:
    for kind in (SubjectKind.METRIC_TYPE_CHOICE, SubjectKind.ASSET):
        await store.metrics.ensure(
            "t", kind, [(name, *GAUGE) for name in ("b", "B", "é", "a", "\U0001f600", "\uffff")], limits=Limits()
        )
    after: tuple[SubjectKind, str] | None = None
    seen: list[tuple[SubjectKind, str]] = []
    while page := await store.metrics.list(
        "t", [SubjectKind.METRIC_TYPE_CHOICE, SubjectKind.ASSET], after=after, limit=4
    ):
        seen += [(descriptor.kind_of_subject, descriptor.metric) for descriptor in page]
        after = seen[-1]
    names = ["B", "a", "b", "é", "\uffff", "\U0001f600"]
    assert seen == [(kind, name) for kind in (SubjectKind.ASSET, SubjectKind.METRIC_TYPE_CHOICE) for name in names]
    assert await store.metrics.list("t", [], limit=4) == []
