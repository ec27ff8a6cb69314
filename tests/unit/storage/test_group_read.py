"""The group read: who shares a statement, and what a failure or a cancellation does to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest
from streamgauge_server.model.errors import DomainError, store_unavailable
from streamgauge_server.storage import group_read
from streamgauge_server.storage.group_read import GroupRead


class Table:
    """Answers each number with its square; holds statements until it is told to let them go."""

    def __init__(self) -> None:
        self.statements: list[list[int]] = []
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def fetch(self, keys: Collection[int]) -> dict[int, int]:
        self.statements.append(sorted(keys))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        if -1 in keys:
            raise ValueError("no such number")
        return {key: key * key for key in keys if key < 100}


@pytest.fixture
def table() -> Table:
    return Table()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_look_ups_that_arrive_during_a_statement_share_the_next_one(table: Table) -> None:
    reads = GroupRead(table.fetch)
    table.gate.clear()
    tasks = [asyncio.create_task(reads.get([1]))]
    await settle()
    tasks += [asyncio.create_task(reads.get([number, number + 1])) for number in range(2, 6)]
    await settle()
    table.gate.set()
    answers = await asyncio.gather(*tasks)
    assert table.statements == [[1], [2, 3, 4, 5, 6]]
    assert [answer[number] for number, answer in enumerate(answers, 1)] == [1, 4, 9, 16, 25]


async def test_keys_without_a_value_are_missing_and_no_keys_need_no_statement(table: Table) -> None:
    reads = GroupRead(table.fetch)
    assert await reads.get([3, 300]) == {3: 9}
    assert await reads.get([]) == {}
    assert table.statements == [[3, 300]]


async def test_a_statement_has_a_bounded_number_of_keys(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_read, "MAX_KEYS", 4)
    reads = GroupRead(table.fetch)
    await asyncio.gather(*(reads.get([number, number + 10]) for number in range(5)), reads.get(range(20, 30)))
    assert [len(statement) for statement in table.statements] == [2, 4, 4, 10]


async def test_one_of_several_cancelled_callers_leaves_the_statement_running(table: Table) -> None:
    reads = GroupRead(table.fetch)
    table.gate.clear()
    tasks = [asyncio.create_task(reads.get([number])) for number in range(4)]
    await settle()
    tasks[2].cancel()
    table.gate.set()
    await tasks[0]
    table.gate.clear()
    await settle()
    tasks[3].cancel()
    await settle()
    table.gate.set()
    assert (await tasks[1])[1] == 1
    assert (table.statements, table.cancelled) == ([[0], [1, 2, 3]], 0)


async def test_when_all_callers_are_cancelled_so_is_the_statement_and_the_next_one_runs(table: Table) -> None:
    reads = GroupRead(table.fetch)
    table.gate.clear()
    running = asyncio.create_task(reads.get([1]))
    await settle()
    waiting = asyncio.create_task(reads.get([2]))
    await settle()
    waiting.cancel()
    await settle()
    after = asyncio.create_task(reads.get([3]))
    running.cancel()
    await settle()
    table.gate.set()
    assert await after == {3: 9}
    assert table.statements == [[1], [3]]
    assert table.cancelled == 1


async def test_a_key_that_the_database_refuses_fails_its_caller_alone(table: Table) -> None:
    reads = GroupRead(table.fetch)
    blocker = asyncio.create_task(reads.get([0]))
    answers = await asyncio.gather(reads.get([1]), reads.get([-1, 2]), reads.get([3]), return_exceptions=True)
    await blocker
    assert answers[0] == {1: 1}
    assert isinstance(answers[1], ValueError)
    assert answers[2] == {3: 9}


async def test_an_unavailable_store_fails_every_caller_with_one_statement(table: Table) -> None:
    reads = GroupRead(table.fetch)
    table.gate.clear()
    tasks = [asyncio.create_task(reads.get([0]))]
    await settle()
    tasks += [asyncio.create_task(reads.get([number])) for number in (1, 2)]
    await settle()
    table.error = store_unavailable("postgresql", "unreachable")
    table.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, DomainError) for answer in answers)
    assert table.statements == [[0], [1, 2]]
    table.error = None
    assert await reads.get([4]) == {4: 16}
