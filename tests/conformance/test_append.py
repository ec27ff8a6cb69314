"""Appends: whole or not at all, none lost, the later one wins, whoever writes at the same time."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from sqlalchemy import Connection, select
from streamgauge_server.model.clock import MICROS_PER_DAY
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.storage import tables
from streamgauge_server.storage.blocks import SubjectGone, SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.block import encode_row
from streamgauge_server.timeseries.frame import UNKNOWN_START

from tests.conformance.conftest import MAX_DAY, START, Observer, OpenStore, row_write, source_key

RUN_IDS = ("", "r", "R", "a'b", "%", "x" * 128, "")


async def test_thirty_two_concurrent_writers_of_one_subject_lose_nothing(observer: Observer) -> None:
    subject = await observer.subject()

    async def writer(number: int) -> None:
        for step in range(10):
            await observer.write(subject, START + step * 100 + number, {number + 1: step})

    await asyncio.gather(*(writer(number) for number in range(32)))
    assert await observer.samples(subject) == {
        START + step * 100 + number: {number + 1: step} for step in range(10) for number in range(32)
    }
    assert await observer.latest_values() == {number + 1: 9 for number in range(32)}


async def test_thirty_two_concurrent_appends_at_one_moment_all_stand_when_their_metrics_differ(
    open_store: OpenStore,
) -> None:
    observers = [Observer(await open_store()) for _ in range(2)]
    subject = await observers[0].subject()
    await asyncio.gather(*(observers[n % 2].write(subject, START, {n: f"writer {n}"}) for n in range(1, 33)))
    everything = {n: f"writer {n}" for n in range(1, 33)}
    for observer in observers:
        assert await observer.samples(subject) == {START: everything}
        assert await observer.latest_values() == everything


async def test_of_thirty_two_concurrent_appends_of_the_same_metrics_at_one_moment_one_stands_whole(
    open_store: OpenStore,
) -> None:
    observers = [Observer(await open_store()) for _ in range(2)]
    subject = await observers[0].subject()
    await asyncio.gather(
        *(observers[n % 2].write(subject, START, {1: n, 2: f"writer {n}", 3: n / 4}) for n in range(1, 33))
    )
    values = (await observers[0].samples(subject))[START]
    winner = values[1]
    assert winner in range(1, 33)
    assert values == {1: winner, 2: f"writer {winner}", 3: int(winner) / 4}
    assert await observers[1].latest_values() == values


async def test_blocks_keep_the_run_that_wrote_them(observer: Observer) -> None:
    subject = await observer.subject()
    writes = [dataclasses.replace(row_write(subject, START + n, {1: n}), run_id=run) for n, run in enumerate(RUN_IDS)]
    await observer.store.blocks.append(writes)

    def runs(connection: Connection) -> list[str | None]:
        return list(connection.scalars(select(tables.blocks.c.run_id).order_by(tables.blocks.c.seq)))

    assert await observer.store._database.read(runs) == [run or None for run in RUN_IDS]
    assert len(await observer.samples(subject)) == len(RUN_IDS)


async def test_two_servers_that_write_one_subject_lose_nothing_and_agree_on_the_latest(open_store: OpenStore) -> None:
    observers = [Observer(await open_store()) for _ in range(2)]
    subjects = [await observers[0].subject(name) for name in ("a", "b", "c")]

    async def writer(server: int, number: int) -> None:
        for step in range(8):
            time = START + step * 1_000 + server * 100 + number
            names = subjects if number % 2 else subjects[::-1]
            writes = [row_write(subject, time, {1: time}) for subject in names]
            await observers[server].store.blocks.append(writes)

    await asyncio.gather(*(writer(server, number) for server in range(2) for number in range(8)))
    expected = {
        (time := START + step * 1_000 + server * 100 + number): {1: time}
        for step in range(8)
        for server in range(2)
        for number in range(8)
    }
    for name, subject in zip(("a", "b", "c"), subjects, strict=True):
        assert await observers[1].samples(subject) == expected
        assert await observers[0].latest_values(name) == {1: max(expected)}


async def test_of_racing_writes_to_one_moment_blocks_and_latest_name_the_same_winner(open_store: OpenStore) -> None:
    observers = [Observer(await open_store()) for _ in range(2)]
    subject = await observers[0].subject()
    for moment in range(START, START + 10):
        await asyncio.gather(
            *(observers[n % 2].write(subject, moment, {1: n, 2 + n: n}) for n in range(6)),
        )
        merged = (await observers[0].samples(subject))[moment]
        assert merged.keys() == {1, *range(2, 8)}
        assert (await observers[1].latest_values())[1] == merged[1]


async def test_a_later_write_wins_per_moment_and_metric_and_leaves_the_others(observer: Observer) -> None:
    subject = await observer.subject()
    await observer.write(subject, START, {1: "a", 2: "b", 3: "c"})
    await observer.write(subject, START, {2: "B", 3: "C", 4: "D"})
    merged = {1: "a", 2: "B", 3: "C", 4: "D"}
    assert await observer.samples(subject) == {START: merged}
    assert await observer.latest_values() == merged


async def test_of_one_append_the_blocks_further_back_win(observer: Observer) -> None:
    subject = await observer.subject()
    await observer.store.blocks.append([row_write(subject, START, {1: 1}), row_write(subject, START, {1: 2})])
    assert await observer.samples(subject) == {START: {1: 2}}
    assert await observer.latest_values() == {1: 2}


async def test_late_data_is_stored_but_does_not_become_the_latest(observer: Observer) -> None:
    subject = await observer.subject()
    await observer.write(subject, START, {1: 10})
    await observer.write(subject, START - 3 * MICROS_PER_DAY, {1: 5, 2: 6})
    assert await observer.samples(subject) == {START: {1: 10}, START - 3 * MICROS_PER_DAY: {1: 5, 2: 6}}
    assert await observer.latest_values() == {1: 10, 2: 6}


async def test_blocks_alone_leave_the_latest_values_as_they_are(observer: Observer) -> None:
    subject = await observer.subject()
    before = await observer.latest()
    await observer.store.blocks.append([SubjectWrite(subject, [encode_row(START, UNKNOWN_START, {1: 1})])])
    assert await observer.samples(subject) == {START: {1: 1}}
    assert await observer.latest() == before


async def test_an_append_of_nothing_is_no_error(store: Store) -> None:
    assert await store.blocks.append([]) is None


async def test_seq_rises_with_every_append_to_a_subject(open_store: OpenStore) -> None:
    observers = [Observer(await open_store()) for _ in range(2)]
    subject = await observers[0].subject()
    for step in range(10):
        await observers[step % 2].write(subject, START + 10 - step, {1: step})
    loaded = await observers[0].store.blocks.load([subject], 0, MAX_DAY, summaries=False)
    blocks = loaded[subject]
    assert [block.first_time for block in blocks] == [START + 10 - step for step in range(10)]
    assert [block.seq for block in blocks] == sorted({block.seq for block in blocks})


async def test_an_append_to_a_subject_that_is_gone_stores_nothing_and_fails_alone(observer: Observer) -> None:
    first, second = await observer.subject("a"), await observer.subject("b")
    gone = max(first, second) + 1_000
    appends = [
        observer.store.blocks.append([row_write(first, START, {1: 1})]),
        observer.store.blocks.append([row_write(first, START + 1, {1: 2}), row_write(gone, START, {1: 3})]),
        observer.store.blocks.append([row_write(second, START, {1: 4})]),
    ]
    answers = await asyncio.gather(*appends, return_exceptions=True)
    assert answers[0] is answers[2] is None
    assert isinstance(answers[1], SubjectGone)
    assert answers[1].subject_ids == {gone}
    assert await observer.samples(first) == {START: {1: 1}}
    assert await observer.samples(second) == {START: {1: 4}}


async def test_a_subject_that_another_server_deletes_under_a_writer_fails_that_writer_alone(
    open_store: OpenStore,
) -> None:
    writer, other = Observer(await open_store()), await open_store()
    doomed, kept = await writer.subject("doomed"), await writer.subject("kept")
    some_written = asyncio.Event()

    async def write_kept() -> None:
        for step in range(40):
            await writer.write(kept, START + step, {1: step})
            if step == 10:
                some_written.set()

    async def write_doomed() -> None:
        for step in range(1_000):
            await writer.write(doomed, START + step, {1: step})

    async def delete() -> None:
        await some_written.wait()
        await other.sources.delete("t", "doomed")

    kept_done, doomed_done, deleted = await asyncio.gather(
        write_kept(), write_doomed(), delete(), return_exceptions=True
    )
    assert kept_done is None
    assert deleted is None
    assert isinstance(doomed_done, SubjectGone)
    assert len(await writer.samples(kept)) == 40
    assert await writer.samples(doomed) == {}


async def test_an_append_that_the_database_refuses_fails_alone(observer: Observer) -> None:
    subject = await observer.subject()
    good = row_write(subject, START, {1: 1})
    bad = row_write(subject, START + 1, {1: 2})
    bad.blocks[0] = bad.blocks[0]._replace(data=None)  # type: ignore[arg-type]
    appends: list[Any] = [[good], [bad], [row_write(subject, START + 2, {1: 3})]]
    answers = await asyncio.gather(*map(observer.store.blocks.append, appends), return_exceptions=True)
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, False]
    assert await observer.samples(subject) == {START: {1: 1}, START + 2: {1: 3}}
    assert await observer.latest_values() == {1: 3}


async def test_cancelled_callers_write_all_or_nothing_and_do_not_disturb_the_others(observer: Observer) -> None:
    subject = await observer.subject()

    async def write(number: int) -> None:
        rows = [row_write(subject, START + 10 * number + step, {number: step}) for step in range(3)]
        await observer.store.blocks.append(rows)

    tasks = [asyncio.create_task(write(number)) for number in range(60)]
    for turn in range(20):
        await asyncio.sleep(0)
        tasks[turn * 3].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await observer.write(subject, START - 1, {99: 0})  # behind everything that was taken before
    samples = await observer.samples(subject)
    for number, answer in enumerate(answers):
        rows = [samples.get(START + 10 * number + step) for step in range(3)]
        whole = [{number: step} for step in range(3)]
        assert rows == whole or (isinstance(answer, asyncio.CancelledError) and rows == [None] * 3)


async def test_closing_commits_what_waits_and_refuses_what_comes_later(open_store: OpenStore) -> None:
    store = await open_store()
    subject = await Observer(store).subject()
    waiting = [asyncio.create_task(store.blocks.append([row_write(subject, START + n, {1: n})])) for n in range(100)]
    await asyncio.sleep(0)
    await store.blocks.close()
    assert await asyncio.gather(*waiting) == [None] * 100
    with pytest.raises(DomainError) as refused:
        await store.blocks.append([row_write(subject, START, {1: 1})])
    assert refused.value.reason == Reason.SHUTTING_DOWN
    assert len(await Observer(await open_store()).samples(subject)) == 100


async def test_one_append_may_have_more_blocks_than_a_transaction_of_several(observer: Observer) -> None:
    subject = await observer.subject()
    times = [START + n for n in range(2_500)]
    blocks = [encode_row(time, UNKNOWN_START, {1: time}) for time in times]
    await asyncio.gather(
        observer.store.blocks.append([SubjectWrite(subject, blocks, row=(times[-1], UNKNOWN_START, {1: times[-1]}))]),
        observer.write(subject, START - 1, {1: 1}),
    )
    assert len(await observer.samples(subject)) == 2_501
    assert await observer.latest_values() == {1: times[-1]}


async def test_a_closed_store_refuses_every_call(open_store: OpenStore) -> None:
    store = await open_store()
    await store.close()
    calls = (
        store.ping(),
        store.sources.list("t", limit=1),
        store.sources.create("t", "s", limits=Limits()),
        store.blocks.append([]),
        store.subjects.resolve("t", [source_key("s")]),
    )
    for call in calls:
        with pytest.raises(DomainError) as refused:
            await call
        assert refused.value.reason == Reason.SHUTTING_DOWN
    await store.close()
