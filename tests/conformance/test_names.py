"""Names: compared and sorted by their bytes, whatever characters they hold."""

from __future__ import annotations

import asyncio

import pytest
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import MetricKind, SubjectKind, ValueType
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey

from tests.conformance.conftest import START, Observer, source_key

HOSTILE = (
    "a'b",
    'a"b',
    "a\\b",
    "a;DROP TABLE subjects;--",
    "%",
    "_",
    "$1",
    "?1",
    ":name",
    "{}",
    "[1]",
    "a\nb",
    "a\tb",
    " ",
    " a",
    "a ",
    "null",
    "é",
    "e\u0301",
    "ß",
    "SS",
    "İ",
    "日本",
    "\U0001f600",
    "\uffff",
    "x" * 2000,
)


async def test_subjects_that_differ_in_case_only_are_different(store: Store) -> None:
    keys = [source_key("orders"), source_key("Orders"), source_key("ORDERS")]
    ids = await store.subjects.register("t", keys, limits=Limits())
    assert len({ids[key] for key in keys}) == 3
    assert await store.subjects.resolve("t", [source_key("oRDERS")]) == {}


async def test_tenants_that_differ_in_case_only_are_different(observer: Observer) -> None:
    lower, upper = await observer.subject(tenant="a"), await observer.subject(tenant="A")
    assert lower != upper


async def test_parts_and_kinds_are_kept_apart(store: Store) -> None:
    keys = [source_key("a", "task=0"), source_key("a", "Task=0"), source_key("a", "")]
    ids = await store.subjects.register("t", keys, limits=Limits())
    assert len({ids[key] for key in keys}) == 3
    job = await store.subjects.register("t", [SubjectKey(SubjectName(SubjectKind.JOB, "a"), "")], limits=Limits())
    assert set(job.values()).isdisjoint(ids.values())


async def test_any_characters_travel_unharmed_as_tenants_names_and_parts(store: Store) -> None:
    for name in HOSTILE:
        key = source_key(name, name)
        ids = await store.subjects.register(name, [key], limits=Limits())
        assert await store.subjects.resolve(name, [key]) == {key: ids[key]}, name
        found = await store.blocks.latest(name, [key.name])
        assert found[key.name].keys() == {"", name}, name


async def test_any_characters_travel_unharmed_as_fields_and_labels_of_sources(store: Store) -> None:
    for number, name in enumerate(HOSTILE):
        labels = {name: name, "x": str(number)}
        created = await store.sources.create(
            "t", name, display_name=name, connector_class=name, labels=labels, limits=Limits()
        )
        assert (created.id, created.display_name, created.connector_class, created.labels) == (name, name, name, labels)
    for name in HOSTILE:
        listed = await store.sources.list("t", labels={name: name}, connector_class=name, limit=10)
        assert [source.id for source in listed] == [name], name
        assert await store.sources.count("t", labels={name: name + "x"}) == 0, name


async def test_any_characters_travel_unharmed_as_names_of_metrics(store: Store) -> None:
    wanted = [(name, MetricKind.GAUGE, ValueType.INT64) for name in HOSTILE]
    created = await store.metrics.ensure("t", SubjectKind.ASSET, wanted, limits=Limits())
    assert created.keys() == set(HOSTILE)
    assert await store.metrics.get_many("t", SubjectKind.ASSET, HOSTILE) == created


async def test_sources_are_listed_in_the_order_of_their_bytes(store: Store) -> None:
    names = ["b", "a", "Z", "-", "~", "a-b", "ab", "a.b", "é", "日本", "\U0001f600", "\uffff"]
    for name in names:
        await store.sources.create("t", name, limits=Limits())
    listed = [source.id for source in await store.sources.list("t", limit=100)]
    assert listed == sorted(names, key=lambda name: name.encode())


async def test_empty_texts_stay_empty_texts(store: Store, observer: Observer) -> None:
    source = await store.sources.create("", "s", display_name="", connector_class="", labels={"": ""}, limits=Limits())
    assert (source.display_name, source.connector_class, source.labels) == ("", "", {"": ""})
    assert await store.sources.count("", labels={"": ""}) == 1
    assert await store.subjects.resolve("", [source_key("s", "")]) == {source_key("s", ""): source.number}
    await observer.write(source.number, START, {1: ""})
    assert await observer.samples(source.number) == {START: {1: ""}}


async def test_a_nul_is_refused_as_a_field_or_kept_but_never_cuts_a_name(store: Store) -> None:
    await store.sources.create("t", "a", limits=Limits())
    if store.engine == "postgresql":  # its texts cannot hold one
        with pytest.raises(DomainError) as refused:
            await store.sources.create("t", "a\0b", limits=Limits())
        assert refused.value.reason == Reason.INVALID_FIELD
    else:
        await store.sources.create("t", "a\0b", limits=Limits())
        assert (await store.sources.get("t", "a\0b")).id == "a\0b"
    assert (await store.sources.get("t", "a")).id == "a"


async def test_a_nul_in_one_callers_look_up_does_not_fail_those_who_share_its_statement(store: Store) -> None:
    source = await store.sources.create("t", "a", limits=Limits())
    found, *_ = await asyncio.gather(
        store.subjects.resolve("t", [source_key("a")]),
        store.subjects.resolve("t", [source_key("b")]),
        store.subjects.resolve("t", [source_key("a\0b")]),
        return_exceptions=True,
    )
    assert found == {source_key("a"): source.number}


async def test_a_nul_in_a_text_value_is_kept(observer: Observer) -> None:
    subject = await observer.subject()
    await observer.write(subject, START, {1: "a\0b"})
    assert await observer.samples(subject) == {START: {1: "a\0b"}}
    assert await observer.latest_values() == {1: "a\0b"}
