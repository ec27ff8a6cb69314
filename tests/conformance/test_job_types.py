"""The types of jobs."""

from __future__ import annotations

import asyncio

import pytest
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.jobs import JOB_TYPE_CHANGEABLE, JobType
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import START, OpenStore

EVERYTHING = {
    **{field: f"{field} ü" for field in JOB_TYPE_CHANGEABLE},
    **{field: field in ("is_system", "is_paused") for field in JOB_TYPE_CHANGEABLE if field.startswith("is_")},
}


async def test_a_type_is_returned_as_it_was_created(store: Store) -> None:
    created = await store.job_types.create("t", "etl", EVERYTHING)
    assert {field: getattr(created, field) for field in JOB_TYPE_CHANGEABLE} == EVERYTHING
    assert (created.id, created.create_time, created.update_time) == ("etl", START, START)
    assert created.number > 0
    assert await store.job_types.get("t", "etl") == created


async def test_what_is_not_told_has_its_default(store: Store) -> None:
    created = await store.job_types.create("t", "etl", {"type_name": "ETL"})
    expected = JobType("etl", created.number, "ETL", etag=created.etag, create_time=START, update_time=START)
    assert created == expected
    with pytest.raises(ValueError, match="number"):
        await store.job_types.create("t", "x", {"type_name": "X", "number": 7})


async def test_id_and_version_are_taken_once_in_a_tenant(store: Store) -> None:
    created = await store.job_types.create("t", "a", {"type_name": "ETL", "version": "1"})
    for id_, fields in (("a", {"type_name": "other"}), ("b", {"type_name": "ETL", "version": "1"})):
        with pytest.raises(DomainError) as refused:
            await store.job_types.create("t", id_, fields)
        assert refused.value.reason == Reason.JOB_TYPE_ALREADY_EXISTS
        assert refused.value.metadata == {"name": "jobTypes/a"}
    second = await store.job_types.create("t", "b", {"type_name": "ETL"})
    await store.job_types.create("t", "c", {"type_name": "etl", "version": "1"})
    await store.job_types.create("other", "a", {"type_name": "ETL", "version": "1"})
    with pytest.raises(DomainError) as refused:
        await store.job_types.update("t", "b", {"version": "1"})
    assert refused.value.reason == Reason.JOB_TYPE_ALREADY_EXISTS
    assert await store.job_types.get("t", "b") == second
    assert await store.job_types.get("t", "a") == created


async def test_of_concurrent_creates_one_succeeds(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    answers = await asyncio.gather(
        *(stores[n % 2].job_types.create("t", f"x{n % 3}", {"type_name": "ETL"}) for n in range(6)),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["DomainError"] * 5 + ["JobType"]


async def test_an_update_changes_the_named_fields_the_etag_and_the_time(store: Store, clock: FixedClock) -> None:
    created = await store.job_types.create("t", "etl", EVERYTHING)
    clock.micros += 5
    updated = await store.job_types.update("t", "etl", {"is_active": True, "type_name": "X"}, etag=created.etag)
    assert {field: getattr(updated, field) for field in JOB_TYPE_CHANGEABLE} == EVERYTHING | {
        "is_active": True,
        "type_name": "X",
    }
    assert (updated.number, updated.create_time, updated.update_time) == (created.number, START, START + 5)
    with pytest.raises(DomainError) as refused:
        await store.job_types.update("t", "etl", {"title": "x"}, etag=created.etag)
    assert refused.value.reason == Reason.ETAG_MISMATCH
    assert refused.value.metadata == {"name": "jobTypes/etl", "etag": updated.etag}
    assert await store.job_types.get("t", "etl") == updated
    with pytest.raises(ValueError, match="number"):
        await store.job_types.update("t", "etl", {"number": 7})


async def test_another_tenants_type_does_not_exist(store: Store) -> None:
    await store.job_types.create("t", "etl", {"type_name": "ETL"})
    for call in (store.job_types.get("other", "etl"), store.job_types.update("other", "etl", {"title": "x"})):
        with pytest.raises(DomainError) as refused:
            await call
        assert refused.value.reason == Reason.JOB_TYPE_NOT_FOUND
        assert refused.value.metadata == {"name": "jobTypes/etl"}
    assert await store.job_types.list("other", limit=10) == []


async def test_types_are_listed_by_id_and_counted_alike(store: Store) -> None:
    for id_, fields in (
        ("b", {"type_name": "ETL", "version": "1"}),
        ("B", {"type_name": "ETL", "version": "2", "is_active": False}),
        ("a", {"type_name": "ML", "version": "1"}),
    ):
        await store.job_types.create("t", id_, fields)

    async def passing(**only: object) -> list[str]:
        ids = [found.id for found in await store.job_types.list("t", limit=10, **only)]  # type: ignore[arg-type]
        assert await store.job_types.count("t", **only) == len(ids)  # type: ignore[arg-type]
        return ids

    assert await passing() == ["B", "a", "b"]
    assert await passing(type_name="ETL") == ["B", "b"]
    assert await passing(version="1") == ["a", "b"]
    assert await passing(type_name="ETL", active_only=True) == ["b"]
    assert await passing(type_name="etl") == []
    assert [found.id for found in await store.job_types.list("t", after_id="B", limit=1)] == ["a"]
