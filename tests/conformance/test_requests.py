"""Idempotency keys: of several requests with one key exactly one is stored, and all get its answer."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select
from streamgauge_server.model.clock import MICROS_PER_HOUR, FixedClock
from streamgauge_server.storage import tables
from streamgauge_server.storage.blocks import RequestRecord, SubjectGone
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import START, Observer, OpenStore, row_write

DAY = 24 * MICROS_PER_HOUR


def record(request_id: str = "r", tenant: str = "t", digest: bytes = b"d", response: bytes = b"first") -> RequestRecord:
    return RequestRecord(tenant, request_id, digest, response)


async def count_requests(store: Store) -> int:
    query = select(func.count()).select_from(tables.requests)
    return await store._database.read(lambda connection: connection.execute(query).scalar_one())


async def test_a_stored_key_is_found_with_its_digest_and_answer(observer: Observer) -> None:
    subject = await observer.subject()
    assert await observer.store.blocks.find_request("t", "r") is None
    assert await observer.write(subject, START, {1: 1}, record()) is None
    assert await observer.store.blocks.find_request("t", "r") == record()
    assert await observer.store.blocks.find_request("T", "r") is None
    assert await observer.store.blocks.find_request("t", "R") is None


async def test_a_repeat_stores_nothing_and_returns_the_first_record_whatever_its_body(observer: Observer) -> None:
    subject = await observer.subject()
    await observer.write(subject, START, {1: 1}, record())
    assert await observer.write(subject, START, {1: 2}, record(response=b"second")) == record()
    assert await observer.write(subject, START, {1: 3}, record(digest=b"other")) == record()
    assert await observer.samples(subject) == {START: {1: 1}}


async def test_the_same_key_of_another_tenant_is_another_key(observer: Observer) -> None:
    subject = await observer.subject()
    assert await observer.write(subject, START, {1: 1}, record()) is None
    assert await observer.write(subject, START + 1, {1: 2}, record(tenant="u")) is None
    assert len(await observer.samples(subject)) == 2


async def test_of_concurrent_requests_with_one_key_one_is_stored_and_all_get_its_record(open_store: OpenStore) -> None:
    observers = [Observer(await open_store()) for _ in range(2)]
    subjects = [await observers[0].subject(name) for name in ("a", "b")]
    for turn in range(10):
        key = f"r{turn}"
        requests = [record(key, response=str(number).encode()) for number in range(8)]
        answers = await asyncio.gather(
            *(
                observers[n % 2].write(subjects[n // 2 % 2], START + turn, {1: n}, request)
                for n, request in enumerate(requests)
            )
        )
        (winner,) = [n for n, answer in enumerate(answers) if answer is None]
        assert [answer for answer in answers if answer is not None] == [requests[winner]] * 7
        stored = [(await observers[1].samples(subject)).get(START + turn) for subject in subjects]
        assert sorted(stored, key=str) == sorted([{1: winner}, None], key=str)


async def test_a_key_is_forgotten_after_24_hours_and_can_be_used_again(observer: Observer, clock: FixedClock) -> None:
    subject = await observer.subject()
    await observer.write(subject, START, {1: 1}, record())
    clock.micros += DAY - 1
    assert await observer.write(subject, START, {1: 2}, record(response=b"second")) == record()
    clock.micros += 1
    assert await observer.store.blocks.find_request("t", "r") is None
    assert await observer.write(subject, START, {1: 3}, record(response=b"third")) is None
    assert await observer.store.blocks.find_request("t", "r") == record(response=b"third")
    assert await observer.samples(subject) == {START: {1: 3}}


async def test_a_failed_append_leaves_its_key_free(observer: Observer) -> None:
    subject = await observer.subject()
    with pytest.raises(SubjectGone):
        await observer.write(subject + 1_000, START, {1: 1}, record())
    assert await observer.store.blocks.find_request("t", "r") is None
    assert await observer.write(subject, START, {1: 1}, record()) is None


async def test_a_key_that_only_a_failed_append_had_is_free_for_the_next_in_the_same_group(observer: Observer) -> None:
    subject = await observer.subject()
    failed, stored = await asyncio.gather(
        observer.store.blocks.append([row_write(subject + 1_000, START, {1: 1})], record(response=b"failed")),
        observer.store.blocks.append([row_write(subject, START, {1: 2})], record(response=b"stored")),
        return_exceptions=True,
    )
    assert isinstance(failed, SubjectGone)
    assert stored is None
    assert await observer.store.blocks.find_request("t", "r") == record(response=b"stored")


async def test_a_request_without_blocks_keeps_its_answer(store: Store) -> None:
    assert await store.blocks.append([], record()) is None
    assert await store.blocks.append([], record(response=b"second")) == record()


async def test_old_keys_are_swept_a_few_at_a_time_as_new_ones_come(observer: Observer, clock: FixedClock) -> None:
    subject = await observer.subject()
    for number in range(9):
        await observer.write(subject, START, {1: 1}, record(f"old{number}"))
    clock.micros += DAY
    left = []
    for number in range(5):
        await observer.write(subject, START, {1: 1}, record(f"new{number}"))
        left.append(await count_requests(observer.store))
    assert left == [8, 7, 6, 5, 5]
