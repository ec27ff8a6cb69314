"""Subjects: registered once, whoever registers them at the same time, and within their limits."""

from __future__ import annotations

import asyncio

import pytest
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey

from tests.conformance.conftest import START, Observer, OpenStore, source_key


async def test_registering_again_returns_the_same_ids(store: Store) -> None:
    keys = [source_key("a"), source_key("a", "p"), source_key("b")]
    first = await store.subjects.register("t", keys, limits=Limits())
    again = await store.subjects.register("t", keys[::-1], limits=Limits())
    assert (
        {key: again[key] for key in keys}
        == {key: first[key] for key in keys}
        == await store.subjects.resolve("t", keys)
    )


async def test_a_part_brings_its_source_into_the_catalog(store: Store) -> None:
    await store.subjects.register("t", [source_key("a", "task=0"), source_key("a", "task=1")], limits=Limits())
    source = await store.sources.get("t", "a")
    assert await store.subjects.resolve("t", [source_key("a")]) == {source_key("a"): source.number}
    assert (source.create_time, source.update_time, source.labels) == (START, START, {})
    assert await store.sources.count("t") == 1


async def test_other_kinds_of_subjects_do_not_appear_among_the_sources(store: Store) -> None:
    await store.subjects.register("t", [SubjectKey(SubjectName(SubjectKind.JOB, "a"), "")], limits=Limits())
    assert await store.sources.list("t", limit=10) == []
    assert await store.assets.list("t", limit=10) == []


async def test_resolving_returns_only_what_exists(store: Store) -> None:
    await store.subjects.register("t", [source_key("a", "p")], limits=Limits())
    asked = [source_key("a"), source_key("a", "p"), source_key("a", "q"), source_key("b")]
    assert (await store.subjects.resolve("t", asked)).keys() == {source_key("a"), source_key("a", "p")}
    assert await store.subjects.resolve("other", asked) == {}
    assert await store.subjects.resolve("t", []) == {}


async def test_the_parts_of_subjects_are_those_that_exist(store: Store) -> None:
    keys = [source_key("a"), source_key("a", "p"), source_key("a", "q"), source_key("b")]
    ids = await store.subjects.register("t", keys, limits=Limits())
    asked = [source_key(name).name for name in ("a", "b", "c")]
    job = SubjectName(SubjectKind.JOB, "a")
    assert await store.subjects.parts("t", [*asked, job]) == {
        asked[0]: {"": ids[keys[0]], "p": ids[keys[1]], "q": ids[keys[2]]},
        asked[1]: {"": ids[keys[3]]},
    }
    assert await store.subjects.parts("other", asked) == {}
    assert await store.subjects.parts("t", []) == {}


async def test_many_subjects_are_registered_and_resolved_at_once(store: Store) -> None:
    keys = [source_key(f"s{n}", f"p{n % 3}" if n % 3 else "") for n in range(2_500)]
    ids = await store.subjects.register("t", keys, limits=Limits())
    assert len({ids[key] for key in keys}) == 2_500
    assert await store.subjects.resolve("t", keys) == {key: ids[key] for key in keys}


async def test_concurrent_registrations_in_two_servers_agree(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    keys = [source_key(f"s{n}", part) for n in range(5) for part in ("", "p")]
    answers = await asyncio.gather(
        *(stores[n % 2].subjects.register("t", keys if n % 3 else keys[::-1], limits=Limits()) for n in range(12))
    )
    assert all({key: ids[key] for key in keys} == {key: answers[0][key] for key in keys} for ids in answers)
    assert await stores[0].sources.count("t") == 5


async def test_the_limit_on_subjects_counts_neither_parts_nor_what_exists(store: Store) -> None:
    limits = Limits(max_subjects_per_tenant=2)
    await store.subjects.register("t", [source_key("a", "p"), source_key("a", "q"), source_key("b")], limits=limits)
    await store.subjects.register("t", [source_key("a"), source_key("b", "p")], limits=limits)
    with pytest.raises(DomainError) as refused:
        await store.subjects.register("t", [source_key("b", "q"), source_key("c")], limits=limits)
    assert refused.value.reason == Reason.SUBJECT_LIMIT
    assert refused.value.metadata == {"limit": "2"}
    assert await store.subjects.resolve("t", [source_key("b", "q"), source_key("c")]) == {}
    await store.subjects.register("other", [source_key("c")], limits=limits)


async def test_deleting_makes_room_under_the_limit(store: Store) -> None:
    limits = Limits(max_subjects_per_tenant=1)
    await store.subjects.register("t", [source_key("a", "p")], limits=limits)
    await store.sources.delete("t", "a")
    await store.subjects.register("t", [source_key("b")], limits=limits)


async def test_the_limit_on_parts_is_per_subject(store: Store) -> None:
    limits = Limits(max_parts_per_subject=2)
    await store.subjects.register(
        "t", [source_key("a", "p"), source_key("a", "q"), source_key("b", "p")], limits=limits
    )
    with pytest.raises(DomainError) as refused:
        await store.subjects.register("t", [source_key("b", "q"), source_key("a", "r")], limits=limits)
    assert refused.value.reason == Reason.SUBJECT_LIMIT
    assert await store.subjects.resolve("t", [source_key("b", "q")]) == {}


async def test_the_limit_holds_when_two_servers_register_at_once(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    limits = Limits(max_subjects_per_tenant=5)
    answers = await asyncio.gather(
        *(stores[n % 2].subjects.register("t", [source_key(f"s{n}")], limits=limits) for n in range(12)),
        return_exceptions=True,
    )
    refusals = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(refusal) for refusal in refusals] == [DomainError] * 7
    assert await stores[0].sources.count("t") == 5


async def test_a_subject_created_again_under_its_name_starts_empty_with_a_new_id(observer: Observer) -> None:
    first = await observer.subject("a")
    await observer.write(first, START, {1: 1})
    await observer.store.sources.delete("t", "a")
    second = await observer.subject("a")
    assert second > first
    assert await observer.samples(second) == {}
    assert await observer.latest_values("a") == {}
