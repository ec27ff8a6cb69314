"""The catalog of errors: built-in ones for every tenant, others by name, numbers for ever."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.job_errors import BUILT_IN_ERRORS, ErrorCategory, ErrorInfo
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import OpenStore

OWN = ErrorInfo(0, "own", ErrorCategory.DATA, "Own", "It is ours → 😀", "type", should_be_retried=True)


async def test_every_tenant_has_the_built_in_errors_in_their_order(store: Store) -> None:
    for tenant in ("t", "u"):
        errors = await store.job_errors.list(tenant, limit=100)
        assert [error.error for error in errors] == [error.error for error in BUILT_IN_ERRORS]
        assert len(errors) == await store.job_errors.count(tenant) == 27
    assert {error.category.name: sum(e.category == error.category for e in errors) for error in errors} == {
        "SYSTEM": 22,
        "ALGORITHM": 5,
    }


async def test_servers_that_meet_a_tenant_at_once_store_them_once(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(3)]
    lists = await asyncio.gather(*(store.job_errors.list("t", limit=100) for store in stores))
    assert lists[0] == lists[1] == lists[2]
    assert len(lists[0]) == 27


async def test_an_error_is_read_as_it_was_added_and_only_once(store: Store) -> None:
    added = await store.job_errors.create("t", OWN)
    assert (added.error, added.category, added.title, added.description) == (
        "own",
        OWN.category,
        "Own",
        OWN.description,
    )
    assert (added.job_type_name, added.built_in, added.should_be_retried) == ("type", False, True)
    assert await store.job_errors.get_many("t", ["own", "nope", "timeout"]) == {
        "own": added,
        "timeout": next(error for error in await store.job_errors.list("t", limit=99) if error.error == "timeout"),
    }
    for taken in (OWN, ErrorInfo(0, "timeout", ErrorCategory.DATA)):
        with pytest.raises(DomainError) as refused:
            await store.job_errors.create("t", taken)
        assert refused.value.reason == Reason.JOB_ERROR_ALREADY_EXISTS
    assert await store.job_errors.get_many("u", ["own"]) == {}


async def test_errors_are_listed_in_pages_with_built_in_ones_first(store: Store) -> None:
    await store.job_errors.create("t", OWN)
    whole = await store.job_errors.list("t", limit=100)
    assert [error.built_in for error in whole] == [True] * 27 + [False]
    paged: list[ErrorInfo] = []
    while page := await store.job_errors.list("t", after=paged[-1] if paged else None, limit=5):
        paged += page
    assert paged == whole
    data = await store.job_errors.list("t", category=ErrorCategory.DATA, limit=5)
    assert [error.error for error in data] == ["own"]
    assert await store.job_errors.count("t", category=ErrorCategory.ALGORITHM, built_in_only=True) == 5
    assert [error.error for error in await store.job_errors.list("t", name="pull", built_in_only=True, limit=5)] == [
        "pull"
    ]


async def test_an_own_error_of_the_name_of_one_that_ships_later_keeps_its_number(store: Store) -> None:
    own = await store.job_errors.create("t", OWN)
    for statement in (
        "DELETE FROM job_errors WHERE name = 'timeout'",
        "UPDATE job_errors SET name = 'timeout' WHERE name = 'own'",
        "UPDATE tenants SET error_catalog_version = 0",
    ):
        await store._database.write(lambda connection, statement=statement: connection.execute(text(statement)))  # type: ignore[misc]
    store.job_errors._complete.clear()
    [shipped] = await store.job_errors.list("t", name="timeout", limit=2)
    assert (shipped.number, shipped.built_in, shipped.category) == (own.number, True, ErrorCategory.ALGORITHM)
    assert await store.job_errors.count("t") == 27
