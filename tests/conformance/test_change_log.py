"""The log of blocks: everything that is committed, once it is final, and what stands comes last."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import pytest
from sqlalchemy import Connection, text, update
from streamgauge_server.model.values import Scalar
from streamgauge_server.storage import change_log, tables
from streamgauge_server.storage.appending import append_within
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.change_log import BEGINNING, LogBatch, LogExpired, LoggedBlock, LogPosition, whole
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.block import decode, encode_row
from streamgauge_server.timeseries.frame import UNKNOWN_START

from tests.conformance.conftest import START, Observer, OpenStore, row_write


def values(blocks: Iterable[LoggedBlock]) -> list[tuple[int, Scalar]]:
    """Returns subject and value of blocks of a single sample."""
    return [
        (block.subject_id, column.values.tolist()[0])
        for block in blocks
        for column in decode(block.data).columns.values()
    ]


async def read_all(store: Store, after: LogPosition) -> tuple[list[LogBatch], LogPosition]:
    batches: list[LogBatch] = []
    more = True
    while more:
        batch = await store.change_log.read(after)
        batches.append(batch)
        assert batch.through >= after
        after, more = batch.through, batch.more
    return batches, after


class TestReading:
    async def test_what_is_committed_comes_in_order_and_once(self, observer: Observer) -> None:
        log = observer.store.change_log
        a, b = await observer.subject("a"), await observer.subject("b")
        _, place = await log.state()
        assert list((await log.read(place)).blocks) == []
        for number in range(3):
            await observer.write(a, START, {1: number})
            await observer.write(b, START, {1: number})
        batch = await log.read(place)
        assert values(batch.blocks) == [(a, 0), (b, 0), (a, 1), (b, 1), (a, 2), (b, 2)]
        assert not batch.more
        assert list((await log.read(batch.through)).blocks) == []
        assert (await log.state())[1] == batch.through

    async def test_batches_are_bounded_by_number(self, observer: Observer) -> None:
        log, id_ = observer.store.change_log, await observer.subject()
        _, place = await log.state()
        count = change_log.MAX_BLOCKS + 7
        await observer.store.blocks.append([row_write(id_, START + number, {1: number}) for number in range(count)])
        await observer.write(id_, START, {1: -1})
        batches, _ = await read_all(observer.store, place)
        assert [len(batch.blocks) for batch in batches] == [change_log.MAX_BLOCKS, 8]
        assert [value for _, value in values(b for batch in batches for b in batch.blocks)] == [*range(count), -1]

    async def test_batches_are_bounded_by_size(self, observer: Observer) -> None:
        log, id_ = observer.store.change_log, await observer.subject()
        _, place = await log.state()
        for number in range(5):
            await observer.write(id_, START, {1: str(number) * 1_800_000})
        batches, _ = await read_all(observer.store, place)
        assert [len(batch.blocks) for batch in batches] == [3, 2]

    async def test_reading_ends_at_a_place(self, observer: Observer) -> None:
        log, id_ = observer.store.change_log, await observer.subject()
        _, begin = await log.state()
        await observer.write(id_, START, {1: 1})
        _, middle = await log.state()
        await observer.write(id_, START, {1: 2})
        assert values((await log.read(begin, middle)).blocks) == [(id_, 1)]
        assert values((await log.read(middle)).blocks) == [(id_, 2)]

    async def test_what_may_have_been_folded_is_expired(self, observer: Observer) -> None:
        log, id_ = observer.store.change_log, await observer.subject()
        await observer.write(id_, START, {1: 1})
        _, place = await log.state()
        await observer.write(id_, START, {1: 2})

        def fold(connection: Connection) -> None:
            connection.execute(update(tables.block_log).values(folded_position=place.position))

        await log._database.write(fold)
        with pytest.raises(LogExpired) as expired:
            await log.read(BEGINNING)
        assert expired.value.oldest == place
        assert values((await log.read(place)).blocks) == [(id_, 2)]
        with pytest.raises(LogExpired):
            await log.read(LogPosition(place.position, 0))


class Transaction:
    """A transaction of another server that appends in steps and stays open until `commit`."""

    def __init__(self, store: Store) -> None:
        self._steps: asyncio.Queue[Sequence[SubjectWrite] | None] = asyncio.Queue()
        self._done: asyncio.Queue[None] = asyncio.Queue()
        self._database = store.change_log._database
        self._task = asyncio.create_task(self._database.write(self._run))

    async def append(self, subject_id: int, values: Mapping[int, Scalar]) -> None:
        await self._steps.put([row_write(subject_id, START, values)])
        await asyncio.wait_for(self._done.get(), 10)

    async def commit(self) -> None:
        await self._steps.put(None)
        await asyncio.wait_for(self._task, 10)

    def _run(self, connection: Connection) -> None:
        wait = connection.connection.dbapi_connection.run_async  # type: ignore[union-attr]
        while (writes := wait(lambda _: self._steps.get())) is not None:
            append_within(self._database, connection, writes)
            self._done.put_nowait(None)


@pytest.mark.parametrize("engine", ["postgresql"])
class TestOverlappingTransactions:
    async def test_one_that_began_early_and_commits_late_is_not_missed(
        self, observer: Observer, open_store: OpenStore
    ) -> None:
        a, b = await observer.subject("a"), await observer.subject("b")
        _, place = await observer.store.change_log.state()
        early = Transaction(await open_store())
        await early.append(a, {1: 1})
        await observer.write(b, START, {1: 2})
        assert list((await observer.store.change_log.read(place)).blocks) == []
        await early.commit()
        batch = await observer.store.change_log.read(place)
        assert sorted(values(batch.blocks)) == [(a, 1), (b, 2)]

    async def test_what_stands_is_told_again_after_what_was_overtaken(
        self, observer: Observer, open_store: OpenStore
    ) -> None:
        a, b, c = [await observer.subject(name) for name in "abc"]
        log = observer.store.change_log
        _, place = await log.state()
        first, between = Transaction(await open_store()), Transaction(await open_store())
        await first.append(a, {1: 1})
        await between.append(c, {1: 1})
        await observer.write(b, START, {1: "older"})  # has the higher transaction id and commits first
        await first.append(b, {1: "newer"})
        await first.commit()
        batch = await log.read(place)
        assert values(batch.blocks) == [(a, 1), (b, "newer")]
        await between.commit()
        batch = await log.read(batch.through)
        assert values(batch.blocks) == [(c, 1), (b, "older"), (b, "newer")]
        assert list((await log.read(batch.through)).blocks) == []

    async def test_a_place_in_the_middle_of_a_transaction_goes_on_within_it(
        self, observer: Observer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log, id_ = observer.store.change_log, await observer.subject()
        _, place = await log.state()
        await observer.store.blocks.append(
            [SubjectWrite(id_, [encode_row(START, UNKNOWN_START, {1: n})]) for n in range(change_log.MAX_BLOCKS + 5)]
        )
        first = await log.read(place)
        assert first.more
        assert first.through != whole(first.through.position)
        assert len((await log.read(first.through)).blocks) == 5


class TestManyWriters:
    async def test_nothing_is_missed_and_what_stands_comes_last(self, engine: str, open_store: OpenStore) -> None:
        """Transactions of several subjects overlap in every way; the reader looks all the time."""
        stores = [await open_store() for _ in range(1 if engine == "sqlite" else 3)]
        observer = Observer(stores[0])
        subjects = [await observer.subject(name) for name in "abcd"]
        _, place = await stores[0].change_log.state()
        chance = random.Random(7)
        written, finished, everything = 0, False, asyncio.Event()

        async def writer(store: Store, number: int) -> None:
            nonlocal written
            for turn in range(12):
                chosen = chance.sample(subjects, chance.randint(1, 4))
                writes = [row_write(id_, START + chance.randint(0, 1), {1: number * 1_000 + turn}) for id_ in chosen]
                await store.blocks.append(writes)
                written += len(writes)
                await asyncio.sleep(chance.random() * 0.003)

        told: dict[tuple[int, int], Scalar] = {}
        seqs: set[int] = set()

        async def reader() -> None:
            nonlocal place
            while True:
                batches, place = await read_all(stores[0], place)
                for block in (block for batch in batches for block in batch.blocks):
                    seqs.add(block.seq)
                    frame = decode(block.data)
                    told[block.subject_id, int(frame.times[0])] = frame.columns[1].values.tolist()[0]
                if finished and len(seqs) == written:
                    everything.set()
                await asyncio.sleep(0)

        reading = asyncio.create_task(reader())
        await asyncio.gather(*(writer(stores[n % len(stores)], n) for n in range(9)))
        finished = True
        await asyncio.wait_for(everything.wait(), 10)
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        for id_ in subjects:
            stored = {time: held[1] for time, held in (await observer.samples(id_)).items()}
            assert {time: value for (subject, time), value in told.items() if subject == id_} == stored


@pytest.mark.parametrize("engine", ["postgresql"])
class TestNotices:
    async def test_other_servers_hear_of_commits_also_after_their_connection_was_lost(
        self, observer: Observer, open_store: OpenStore
    ) -> None:
        id_, other = await observer.subject(), await open_store()
        heard = asyncio.Event()
        listening = asyncio.create_task(other.change_log.hear(heard.set))
        own = asyncio.create_task(observer.store.change_log.hear((own_heard := asyncio.Event()).set))
        try:
            await asyncio.wait_for(asyncio.gather(heard.wait(), own_heard.wait()), 10)  # both listen now
            for _ in range(2):
                heard.clear()
                own_heard.clear()
                await observer.write(id_, START, {1: 1})
                await asyncio.wait_for(heard.wait(), 10)
                assert not own_heard.is_set(), "a server is not woken by its own notices"
                heard.clear()
                ended = await observer.store.change_log._database.read(
                    lambda connection: connection.execute(END_LISTENERS).all()
                )
                assert len(ended) == 2
                await asyncio.wait_for(heard.wait(), 10)  # it listens again and looks for what it has not heard
                await asyncio.wait_for(own_heard.wait(), 10)
        finally:
            for task in (listening, own):
                task.cancel()
            await asyncio.wait([listening, own])


END_LISTENERS = text("""
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'
""")
