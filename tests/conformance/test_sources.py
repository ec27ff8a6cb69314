"""The catalog of sources."""

from __future__ import annotations

import asyncio

import pytest
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import MAX_DAY, START, Observer, OpenStore, source_key


async def test_a_source_is_returned_as_it_was_created(store: Store) -> None:
    created = await store.sources.create(
        "t",
        "s",
        display_name="Orders",
        connector_class="io.debezium.X",
        labels={"team": "a", "env": "prod"},
        limits=Limits(),
    )
    assert (created.id, created.display_name, created.connector_class) == ("s", "Orders", "io.debezium.X")
    assert created.labels == {"team": "a", "env": "prod"}
    assert (created.create_time, created.update_time) == (START, START)
    assert await store.sources.get("t", "s") == created


async def test_a_second_create_is_refused_and_changes_nothing(store: Store) -> None:
    created = await store.sources.create("t", "s", display_name="first", limits=Limits())
    with pytest.raises(DomainError) as refused:
        await store.sources.create("t", "s", display_name="second", limits=Limits())
    assert refused.value.reason == Reason.SOURCE_ALREADY_EXISTS
    assert refused.value.metadata == {"name": "sources/s"}
    assert await store.sources.get("t", "s") == created


async def test_of_concurrent_creates_one_succeeds(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    answers = await asyncio.gather(
        *(stores[n % 2].sources.create("t", "s", display_name=str(n), limits=Limits()) for n in range(6)),
        return_exceptions=True,
    )
    reasons = [answer.reason for answer in answers if isinstance(answer, DomainError)]
    assert reasons == [Reason.SOURCE_ALREADY_EXISTS] * 5


async def test_a_create_beyond_the_limit_is_refused(store: Store) -> None:
    await store.sources.create("t", "a", limits=Limits(max_subjects_per_tenant=1))
    with pytest.raises(DomainError) as refused:
        await store.sources.create("t", "b", limits=Limits(max_subjects_per_tenant=1))
    assert refused.value.reason == Reason.SUBJECT_LIMIT


async def test_another_tenants_source_does_not_exist(store: Store) -> None:
    await store.sources.create("t", "s", limits=Limits())
    calls = (
        store.sources.get("other", "s"),
        store.sources.update("other", "s", {"display_name": "x"}),
        store.sources.delete("other", "s"),
    )
    for call in calls:
        with pytest.raises(DomainError) as refused:
            await call
        assert refused.value.reason == Reason.SOURCE_NOT_FOUND
    assert await store.sources.list("other", limit=10) == []
    assert (await store.sources.get("t", "s")).display_name == ""


async def test_an_update_changes_the_named_fields_the_etag_and_the_time(store: Store, clock: FixedClock) -> None:
    created = await store.sources.create(
        "t", "s", display_name="a", connector_class="b", labels={"k": "v"}, limits=Limits()
    )
    clock.micros += 5
    updated = await store.sources.update("t", "s", {"display_name": "A"}, etag=created.etag)
    assert (updated.display_name, updated.connector_class, updated.labels) == ("A", "b", {"k": "v"})
    assert (updated.number, updated.create_time, updated.update_time) == (created.number, START, START + 5)
    assert updated.etag != created.etag
    relabelled = await store.sources.update("t", "s", {"labels": {}})
    assert relabelled.labels == {}
    assert await store.sources.get("t", "s") == relabelled


async def test_a_stale_etag_is_refused_on_update_and_delete(store: Store) -> None:
    created = await store.sources.create("t", "s", limits=Limits())
    updated = await store.sources.update("t", "s", {"display_name": "A"})
    for call in (
        store.sources.update("t", "s", {"display_name": "B"}, etag=created.etag),
        store.sources.delete("t", "s", etag=created.etag),
    ):
        with pytest.raises(DomainError) as refused:
            await call
        assert refused.value.reason == Reason.ETAG_MISMATCH
        assert refused.value.metadata == {"name": "sources/s", "etag": updated.etag}
    assert await store.sources.get("t", "s") == updated
    await store.sources.delete("t", "s", etag=updated.etag)


async def test_of_concurrent_updates_with_one_etag_one_succeeds(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    etag = (await stores[0].sources.create("t", "s", limits=Limits())).etag
    answers = await asyncio.gather(
        *(stores[n % 2].sources.update("t", "s", {"display_name": str(n)}, etag=etag) for n in range(6)),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["DomainError"] * 5 + ["Source"]


async def test_the_etag_of_a_deleted_source_does_not_fit_its_successor(store: Store) -> None:
    first = await store.sources.create("t", "s", limits=Limits())
    await store.sources.delete("t", "s")
    second = await store.sources.create("t", "s", limits=Limits())
    assert first.etag != second.etag


async def test_a_field_that_cannot_be_changed_is_an_error(store: Store) -> None:
    await store.sources.create("t", "s", limits=Limits())
    with pytest.raises(ValueError, match="number"):
        await store.sources.update("t", "s", {"number": 7})


async def test_deleting_removes_parts_blocks_and_latest_values_and_nothing_else(observer: Observer) -> None:
    store = observer.store
    ids = [await observer.subject("a"), await observer.subject("a", "p"), await observer.subject("ab")]
    for subject in ids:
        await observer.write(subject, START, {1: 1})
    await store.sources.delete("t", "a")
    assert await store.subjects.resolve("t", [source_key("a"), source_key("a", "p")]) == {}
    loaded = await store.blocks.load(ids, 0, MAX_DAY, summaries=False)
    assert [len(loaded[subject]) for subject in ids] == [0, 0, 1]
    assert (await store.blocks.latest("t", [source_key("a").name, source_key("ab").name])).keys() == {
        source_key("ab").name
    }
    with pytest.raises(DomainError) as refused:
        await store.sources.delete("t", "a")
    assert refused.value.reason == Reason.SOURCE_NOT_FOUND


async def test_pages_follow_each_other_without_gaps_or_repeats_while_sources_come_and_go(store: Store) -> None:
    for number in range(25):
        await store.sources.create("t", f"s{number:02}", limits=Limits())
    seen: list[str] = []
    while page := await store.sources.list("t", after_id=seen[-1] if seen else "", limit=7):
        seen += [source.id for source in page]
        if len(seen) == 14:
            await store.sources.delete("t", "s03")
            await store.sources.delete("t", "s20")
            await store.sources.create("t", "s13a", limits=Limits())
    assert seen == [f"s{n:02}" for n in range(14)] + ["s13a"] + [f"s{n:02}" for n in range(14, 25) if n != 20]


async def test_filters_need_every_label_and_the_exact_class(store: Store) -> None:
    await store.sources.create("t", "a", connector_class="X", labels={"k": "1", "l": "1"}, limits=Limits())
    await store.sources.create("t", "b", connector_class="x", labels={"k": "1"}, limits=Limits())
    await store.sources.create("t", "c", connector_class="X", labels={"k": "2", "l": "1"}, limits=Limits())
    await store.sources.create("t", "d", connector_class="X", labels={"K": "1", "1": "k"}, limits=Limits())

    async def found(labels: dict[str, str], connector_class: str = "") -> list[str]:
        listed = await store.sources.list("t", labels=labels, connector_class=connector_class, limit=10)
        assert await store.sources.count("t", labels=labels, connector_class=connector_class) == len(listed)
        return [source.id for source in listed]

    assert await found({}) == ["a", "b", "c", "d"]
    assert await found({"k": "1"}) == ["a", "b"]
    assert await found({"k": "1", "l": "1"}) == ["a"]
    assert await found({"k": "1"}, "X") == ["a"]
    assert await found({}, "x") == ["b"]
    assert await found({"k": ""}) == []
    assert [s.id for s in await store.sources.list("t", labels={"l": "1"}, after_id="a", limit=10)] == ["c"]
