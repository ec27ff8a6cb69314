"""The latest values: one statement for many subjects, shared by those who ask at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.frame import UNKNOWN_START
from streamgauge_server.timeseries.latest import LatestSample

from tests.conformance.conftest import START, Observer, OpenStore, row_write, source_key


def source(name: str) -> SubjectName:
    return SubjectName(SubjectKind.SOURCE, name)


@pytest.fixture
def statements(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many subjects each statement asked for."""
    sizes: list[int] = []
    fetch = store._database.latest

    async def counted(subjects: Collection[Any]) -> Any:
        sizes.append(len(subjects))
        return await fetch(subjects)

    monkeypatch.setattr(store._database, "latest", counted)
    return sizes


async def test_a_subject_without_samples_has_an_empty_row_and_an_unknown_one_none(observer: Observer) -> None:
    subject = await observer.subject("a")
    found = await observer.store.blocks.latest("t", [source("a"), source("b")])
    assert found.keys() == {source("a")}
    row = found[source("a")][""]
    assert (row.subject_id, dict(row.samples)) == (subject, {})


async def test_another_tenants_subject_is_unknown(observer: Observer) -> None:
    await observer.write(await observer.subject("a"), START, {1: 1})
    assert await observer.store.blocks.latest("other", [source("a")]) == {}


async def test_parts_have_rows_of_their_own_beside_the_whole(observer: Observer) -> None:
    await observer.write(await observer.subject("a", "task=1"), START, {1: 5})
    await observer.write(await observer.subject("a", "task=2"), START + 1, {1: 7})
    rows = (await observer.store.blocks.latest("t", [source("a")]))[source("a")]
    assert {part: {m: s.value for m, s in row.samples.items()} for part, row in rows.items()} == {
        "": {},
        "task=1": {1: 5},
        "task=2": {1: 7},
    }


async def test_a_thousand_subjects_are_one_statement(store: Store, statements: list[int]) -> None:
    names = [f"s{number}" for number in range(1_000)]
    ids = await store.subjects.register("t", [source_key(name) for name in names], limits=Limits())
    await store.blocks.append([row_write(ids[source_key(name)], START, {1: n}) for n, name in enumerate(names)])
    found = await store.blocks.latest("t", [source(name) for name in names])
    assert {name.id: row[""].samples[1].value for name, row in found.items()} == {f"s{n}": n for n in range(1_000)}
    assert statements == [1_000]


async def test_concurrent_callers_share_statements(observer: Observer, statements: list[int]) -> None:
    for number in range(8):
        await observer.write(await observer.subject(f"s{number}"), START, {1: number})
    answers = await asyncio.gather(
        *(observer.store.blocks.latest("t", [source(f"s{n % 8}"), source("none")]) for n in range(64))
    )
    for n, found in enumerate(answers):
        assert {name: row[""].samples[1].value for name, row in found.items()} == {source(f"s{n % 8}"): n % 8}
    assert len(statements) <= 2


async def test_a_caller_sees_what_was_committed_before_it_asked(open_store: OpenStore) -> None:
    reader, writer = Observer(await open_store()), Observer(await open_store())
    subject = await writer.subject()

    async def read_all_the_time() -> None:
        while True:
            await reader.latest()

    noise = [asyncio.create_task(read_all_the_time()) for _ in range(4)]
    for step in range(50):
        await writer.write(subject, START + step, {1: step})
        assert await reader.latest_values() == {1: step}
    for task in noise:
        task.cancel()
    await asyncio.gather(*noise, return_exceptions=True)


async def test_a_cancelled_caller_does_not_take_the_answer_from_those_who_share_its_statement(
    observer: Observer,
) -> None:
    await observer.write(await observer.subject("a"), START, {1: 1})
    tasks = [asyncio.create_task(observer.store.blocks.latest("t", [source("a")])) for _ in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
    assert all(answer[source("a")][""].samples[1].value == 1 for answer in answers[1::2])  # type: ignore[index]


async def test_after_everybody_was_cancelled_the_next_caller_is_answered(observer: Observer) -> None:
    await observer.write(await observer.subject("a"), START, {1: 1})
    for _ in range(5):
        tasks = [asyncio.create_task(observer.store.blocks.latest("t", [source("a")])) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await observer.latest_values("a") == {1: 1}


async def test_the_version_changes_with_every_write(observer: Observer) -> None:
    subject = await observer.subject()
    versions = [(await observer.latest()).version]
    for step in range(3):
        await observer.write(subject, START + step, {1: step})
        versions.append((await observer.latest()).version)
    assert len(set(versions)) == 4


async def test_lifetimes_are_stored_for_an_unchanged_row_only(observer: Observer) -> None:
    subject = await observer.subject()
    await observer.write(subject, START, {1: 10, 2: 0.5})
    await observer.write(subject, START - 1, {1: 3, 2: 0.25})
    row = await observer.latest()
    assert row.samples[1].lifetime is None
    await observer.store.blocks.set_lifetimes(subject, row.version, {1: 2**70, 2: 0.75, 3: 9})
    changed = await observer.latest()
    assert changed.version != row.version
    assert changed.samples == {
        1: LatestSample(START, 10, UNKNOWN_START, 2**70),
        2: LatestSample(START, 0.5, UNKNOWN_START, 0.75),
    }
    await observer.store.blocks.set_lifetimes(subject, row.version, {1: 1})
    assert await observer.latest() == changed
    await observer.store.blocks.set_lifetimes(subject + 1_000, 0, {1: 1})
