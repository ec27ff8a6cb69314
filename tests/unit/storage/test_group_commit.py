"""The group commit: who shares a transaction, who is held back, and who fails when one is bad."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from streamgauge_server.model.errors import DomainError, Reason, store_unavailable
from streamgauge_server.storage import group_commit
from streamgauge_server.storage.group_commit import GroupCommit
from streamgauge_server.storage.records import Append, Outcome, RequestRecord, SubjectGone, SubjectWrite
from streamgauge_server.timeseries.block import encode_row


def append(number: int, blocks: int = 1) -> Append:
    block = encode_row(number, -1, {1: number})
    return Append([SubjectWrite(number, [block] * blocks)])


def numbers(appends: Sequence[Append]) -> list[int]:
    return [item.writes[0].subject_id for item in appends]


class Database:
    """Takes groups and holds them until it is told to let them go."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuses: Callable[[list[int]], Exception | None] = lambda group: None
        self.outcome: Callable[[int], Outcome] = lambda number: None

    async def commit(self, appends: Sequence[Append]) -> list[Outcome]:
        group = numbers(appends)
        self.groups.append(group)
        await self.gate.wait()
        if error := self.refuses(group):
            raise error
        return [self.outcome(number) for number in group]


@pytest.fixture
def database() -> Database:
    return Database()


async def settle() -> None:
    """Lets every task run until it waits for something from outside."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_arrives_during_a_commit_shares_the_next_one(database: Database) -> None:
    commits = GroupCommit(database.commit)
    database.gate.clear()
    first = asyncio.create_task(commits.submit(append(0)))
    await settle()
    others = [asyncio.create_task(commits.submit(append(number))) for number in range(1, 6)]
    await settle()
    assert not first.done()
    database.gate.set()
    await asyncio.gather(first, *others)
    assert database.groups == [[0], [1, 2, 3, 4, 5]]


async def test_each_caller_gets_its_own_outcome(database: Database) -> None:
    commits = GroupCommit(database.commit)
    record = RequestRecord("t", "r", b"d", b"x")
    outcomes: dict[int, Outcome] = {0: None, 1: record, 2: SubjectGone({2})}
    database.outcome = outcomes.__getitem__
    answers = await asyncio.gather(*(commits.submit(append(number)) for number in range(3)), return_exceptions=True)
    assert answers[:2] == [None, record]
    assert isinstance(answers[2], SubjectGone)
    assert answers[2].subject_ids == {2}


async def test_a_transaction_takes_no_more_blocks_than_allowed_unless_one_append_has_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_BLOCKS", 10)
    commits = GroupCommit(database.commit)
    sizes = [4, 4, 4, 25, 1, 9, 1]
    await asyncio.gather(*(commits.submit(append(number, size)) for number, size in enumerate(sizes)))
    assert database.groups == [[0, 1], [2], [3], [4, 5], [6]]


async def test_a_bad_append_fails_alone_and_the_others_are_committed(database: Database) -> None:
    commits = GroupCommit(database.commit)
    database.refuses = lambda group: ValueError("bad") if 5 in group else None
    answers = await asyncio.gather(*(commits.submit(append(number)) for number in range(8)), return_exceptions=True)
    assert [isinstance(answer, ValueError) for answer in answers] == [number == 5 for number in range(8)]
    assert {number for group in database.groups if 5 not in group for number in group} == set(range(8)) - {5}


async def test_an_unavailable_store_fails_everybody_at_once(database: Database) -> None:
    commits = GroupCommit(database.commit)
    database.refuses = lambda group: store_unavailable("sqlite", "disk_full")
    answers = await asyncio.gather(*(commits.submit(append(number)) for number in range(8)), return_exceptions=True)
    assert all(isinstance(answer, DomainError) for answer in answers)
    assert len(database.groups) == 1
    database.refuses = lambda group: None
    assert await commits.submit(append(9)) is None


async def test_a_caller_that_is_cancelled_in_the_queue_has_written_nothing(database: Database) -> None:
    commits = GroupCommit(database.commit)
    database.gate.clear()
    tasks = [asyncio.create_task(commits.submit(append(0)))]
    await settle()
    tasks += [asyncio.create_task(commits.submit(append(number))) for number in (1, 2, 3)]
    await settle()
    tasks[2].cancel()
    await settle()
    database.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert database.groups == [[0], [1, 3]]


async def test_a_caller_that_is_cancelled_during_the_commit_does_not_stop_it(database: Database) -> None:
    commits = GroupCommit(database.commit)
    database.gate.clear()
    tasks = [asyncio.create_task(commits.submit(append(number))) for number in range(3)]
    await settle()
    tasks[1].cancel()
    await settle()
    database.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[0] is answers[2] is None
    assert isinstance(answers[1], asyncio.CancelledError)
    assert database.groups == [[0, 1, 2]]


async def test_callers_are_held_back_while_too_much_waits_and_come_in_their_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_WAITING_BLOCKS", 3)
    commits = GroupCommit(database.commit)
    database.gate.clear()
    tasks = [asyncio.create_task(commits.submit(append(number))) for number in range(10)]
    await settle()
    assert commits._waiting_blocks <= 3
    assert len(commits._held_back) == 10 - len(database.groups[0]) - len(commits._waiting)
    tasks[8].cancel()
    await settle()
    database.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [number for group in database.groups for number in group] == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert commits._waiting_blocks == commits._waiting_bytes == 0


async def test_bytes_that_wait_are_bounded_too_but_one_append_always_fits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_WAITING_BYTES", 1)
    commits = GroupCommit(database.commit)
    await asyncio.gather(*(commits.submit(append(number)) for number in range(3)))
    assert database.groups == [[0], [1], [2]]


async def test_closing_commits_what_waits_and_refuses_those_held_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_WAITING_BLOCKS", 2)
    commits = GroupCommit(database.commit)
    database.gate.clear()
    tasks = [asyncio.create_task(commits.submit(append(number))) for number in range(6)]
    await settle()
    closing = asyncio.create_task(commits.close())
    await settle()
    database.gate.set()
    await closing
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [answer is None for answer in answers] == [True, True, True, True, False, False]
    assert {answer.reason for answer in answers if isinstance(answer, DomainError)} == {Reason.SHUTTING_DOWN}
    await commits.close()


async def test_it_waits_for_callers_of_the_group_before_and_no_longer_than_it_may(database: Database) -> None:
    async def slow_commit(appends: Sequence[Append]) -> list[Outcome]:
        await asyncio.sleep(0.002)
        return await database.commit(appends)

    commits = GroupCommit(slow_commit, linger=60)
    commits._last_duration, commits._last_group = 60, 3
    first = asyncio.create_task(commits.submit(append(0)))
    await settle()
    assert database.groups == []
    await asyncio.gather(first, commits.submit(append(1)), commits.submit(append(2)))
    assert database.groups == [[0, 1, 2]]
    commits._last_duration = 0.0001
    await commits.submit(append(3))
    assert database.groups == [[0, 1, 2], [3]]
