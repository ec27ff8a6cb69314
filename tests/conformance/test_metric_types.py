"""Custom metric types and their choices, which are subjects."""

from __future__ import annotations

import pytest
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.metric_types import Choice, Column, ColumnAggregate, Filter, Group, MetricTypeInfo
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import MetricKind, SubjectKind, ValueType
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey

from tests.conformance.conftest import START, Observer

INFO = MetricTypeInfo(
    "builds",
    "Builds",
    "How builds went → 😀",
    (Filter("branch"), Filter("size", "int")),
    (Group("times", "Times", "How long"),),
    (Column("time_max", "Time", "The longest", "seconds", "times", ColumnAggregate.MAX), Column("count")),
)


async def refusal(awaitable: object) -> Reason:
    with pytest.raises(DomainError) as refused:
        await awaitable  # type: ignore[misc]
    return refused.value.reason


async def choice(store: Store, id: str = "main", **fields: object) -> Choice:
    return await store.metric_types.create_choice("t", Choice("builds", id, **fields), limits=Limits())  # type: ignore[arg-type]


async def subjects(store: Store, *ids: str) -> int:
    keys = [SubjectKey(SubjectName(SubjectKind.METRIC_TYPE_CHOICE, f"builds/{id_}"), "") for id_ in ids]
    return len(await store.subjects.resolve("t", keys))


async def test_a_type_is_read_as_it_was_created_and_changed(store: Store, clock: FixedClock) -> None:
    created = await store.metric_types.create("t", INFO)
    for name in ("title", "description", "filters", "groups", "columns", "built_in"):
        assert getattr(created, name) == getattr(INFO, name)
    assert (created.create_time, created.update_time) == (START, START)
    assert await store.metric_types.get("t", "builds") == created
    clock.micros += 5
    columns = (*INFO.columns, Column("more", aggregate=ColumnAggregate.AVG))
    changed = await store.metric_types.update("t", "builds", {"title": "B", "columns": columns}, etag=created.etag)
    assert (changed.title, changed.columns, changed.update_time) == ("B", columns, START + 5)
    assert await refusal(store.metric_types.update("t", "builds", {}, etag=created.etag)) == Reason.ETAG_MISMATCH
    assert await refusal(store.metric_types.delete("t", "builds", etag=created.etag)) == Reason.ETAG_MISMATCH


async def test_names_are_taken_once_and_those_of_built_in_types_always(store: Store) -> None:
    await store.metric_types.create("t", INFO)
    for name in ("builds", "job-types", "ingests", "errors"):
        taken = store.metric_types.create("t", MetricTypeInfo(name))
        assert await refusal(taken) == Reason.METRIC_TYPE_ALREADY_EXISTS
    await store.metric_types.create("u", INFO)
    assert await refusal(store.metric_types.get("v", "builds")) == Reason.METRIC_TYPE_NOT_FOUND


async def test_types_are_listed_by_name(store: Store) -> None:
    for name in ("b", "a", "B", "c"):
        await store.metric_types.create("t", MetricTypeInfo(name))
    assert [info.name for info in await store.metric_types.list("t", limit=9)] == ["B", "a", "b", "c"]
    assert [info.name for info in await store.metric_types.list("t", after="a", limit=1)] == ["b"]
    assert (await store.metric_types.count("t"), await store.metric_types.count("u")) == (4, 0)


async def test_a_choice_is_a_subject_with_fields(store: Store) -> None:
    await store.metric_types.create("t", INFO)
    created = await choice(store, title="Main", fields={"branch": "main", "size": 3, "ok": None})
    second = await choice(store, "dev")
    assert await store.metric_types.choices("t", "builds", ["main", "nope"]) == {"main": created}
    assert await store.metric_types.choices_by_number("t", "builds") == [created, second]
    assert created.fields == {"branch": "main", "size": 3, "ok": None}
    assert await subjects(store, "main", "dev") == 2
    assert await refusal(choice(store)) == Reason.METRIC_TYPE_ALREADY_EXISTS
    no_type = store.metric_types.create_choice("t", Choice("nope", "c"), limits=Limits())
    assert await refusal(no_type) == Reason.METRIC_TYPE_NOT_FOUND
    few = store.metric_types.create_choice("t", Choice("builds", "c"), limits=Limits(max_subjects_per_tenant=2))
    assert await refusal(few) == Reason.SUBJECT_LIMIT


async def test_what_has_values_goes_and_changes_only_if_forced(store: Store, observer: Observer) -> None:
    await store.metric_types.create("t", INFO)
    main, _ = await choice(store), await choice(store, "dev")
    await store.metric_types.update("t", "builds", {"columns": INFO.columns[::-1]})
    declared = [("time_max", MetricKind.GAUGE, ValueType.NUMBER)]
    kind = SubjectKind.METRIC_TYPE_CHOICE
    metrics = await store.metrics.ensure("t", kind, declared, limits=Limits())
    await observer.write(main.number, START, {metrics["time_max"].id: 7})
    types = store.metric_types
    assert await refusal(types.update("t", "builds", {"columns": INFO.columns[1:]})) == Reason.METRIC_TYPE_IN_USE
    other = (Column("time_max"), INFO.columns[1])
    assert await refusal(types.update("t", "builds", {"columns": other})) == Reason.METRIC_TYPE_IN_USE
    await types.update("t", "builds", {"columns": INFO.columns[:1]})  # nobody has values of the other one
    await types.update("t", "builds", {"columns": INFO.columns, "title": "B"})
    assert await refusal(types.delete_choice("t", "builds", "main")) == Reason.METRIC_TYPE_IN_USE
    assert await refusal(types.delete("t", "builds")) == Reason.METRIC_TYPE_IN_USE
    await types.delete_choice("t", "builds", "dev")
    assert await refusal(types.delete_choice("t", "builds", "dev")) == Reason.METRIC_TYPE_NOT_FOUND
    await types.delete("t", "builds", force=True)
    assert await subjects(store, "main", "dev") == 0
    assert await refusal(types.get("t", "builds")) == Reason.METRIC_TYPE_NOT_FOUND
    await types.create("t", INFO)
    one = types.create_choice("t", Choice("builds", "only"), limits=Limits(max_subjects_per_tenant=1))
    assert (await one).number > main.number
