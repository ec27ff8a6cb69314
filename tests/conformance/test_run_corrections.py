"""Corrections of what a run emitted on many assets: exact, portion by portion, next to whatever else goes on."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from streamgauge_server.model.clock import MAX_MICROS, MICROS_PER_DAY, MIN_MICROS, FixedClock
from streamgauge_server.model.entities import Caller
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import Scalar, SubjectKind, ValueType
from streamgauge_server.services import asset_corrections
from streamgauge_server.services.asset_corrections import EVERY_ASSET, AssetCorrections, Corrected, Correction
from streamgauge_server.services.assets import WRITE
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.storage import day_rounds
from streamgauge_server.storage.assets import NewAsset
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.corrections import Deleted
from streamgauge_server.storage.dialects import postgresql
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import decode_many, encode_row
from streamgauge_server.timeseries.frame import UNKNOWN_START

from tests.conformance.conftest import MAX_DAY, MIN_DAY, START, OpenStore

NAMES = ("a", "b", "c")
LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Emit:
    """One observation of an asset, given by its number."""

    asset: int
    time: int
    values: Mapping[str, Scalar]
    run: str = ""


@dataclass(slots=True)
class Fleet:
    """Assets in a store, the log of what was emitted on them, and what should be there."""

    store: Store
    corrections: AssetCorrections
    metrics: Mapping[str, int]
    ids: Sequence[int]
    log: list[Emit] = field(default_factory=list)
    order: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The metrics of each asset as it first reported them; one of which something is left keeps its place."""

    async def emit(self, emits: Sequence[Emit]) -> None:
        """Writes observations, as one append, and logs them."""
        writes = []
        for emit in emits:
            row = (emit.time, UNKNOWN_START, {self.metrics[name]: value for name, value in emit.values.items()})
            writes.append(SubjectWrite(self.ids[emit.asset], [encode_row(*row)], row=row, run_id=emit.run))
        await self.store.blocks.append(writes)
        self.log += emits
        for emit in emits:
            self.order[emit.asset] += [name for name in emit.values if name not in self.order[emit.asset]]

    async def roll_back(self, run: str, *, validate_only: bool = False) -> Corrected:
        caller = Caller(tenant="t", scopes=frozenset([WRITE]))
        return await self.corrections.delete(caller, Correction(EVERY_ASSET, run_id=run, validate_only=validate_only))

    def forget(self, run: str) -> Corrected:
        """Takes a run out of the log; returns what should be told of it."""
        standing = {(emit.asset, emit.time, name): emit.run for emit in self.log for name in emit.values}
        gone = [(asset, name) for (asset, _, name), of_run in standing.items() if of_run == run]
        self.log = [emit for emit in self.log if emit.run != run]
        left = {(emit.asset, name) for emit in self.log for name in emit.values}
        for asset, names in self.order.items():
            names[:] = [name for name in names if (asset, name) in left]
        return Corrected(len(gone), len({asset for asset, _ in gone}), Counter(name for _, name in gone))

    async def check(self) -> None:
        """What is stored is what the log says: samples, newest values, and the order of first report."""
        samples: dict[int, dict[tuple[int, int], str]] = {subject_id: {} for subject_id in self.ids}
        newest: dict[tuple[int, str], tuple[int, str]] = {}
        for emit in self.log:
            for name, value in emit.values.items():
                samples[self.ids[emit.asset]][self.metrics[name], emit.time] = repr(value)
                if (emit.asset, name) not in newest or newest[emit.asset, name][0] <= emit.time:
                    newest[emit.asset, name] = emit.time, repr(value)
        assert await self.samples() == samples
        assert await self.latest() == {
            subject_id: [(self.metrics[name], newest[asset, name]) for name in self.order[asset]]
            for asset, subject_id in enumerate(self.ids)
        }
        assert [one async for examined in self.store.integrity.scan(deep=True) for one in examined.findings] == []

    async def samples(self) -> dict[int, dict[tuple[int, int], str]]:
        """Returns the stored values of each asset by metric and moment."""
        everything = 2**31 - 1
        loaded = await self.store.blocks.load(self.ids, MIN_DAY, MAX_DAY, summaries=False, data_below_rows=everything)
        found: dict[int, dict[tuple[int, int], str]] = {}
        for subject_id, blocks in loaded.items():
            of_subject = found[subject_id] = {}
            frame = decode_many([block.data for block in blocks if block.data is not None])
            for metric, column in frame.columns.items():
                for row, (time, value) in enumerate(zip(frame.times.tolist(), column.values.tolist(), strict=True)):
                    if column.present is None or column.present[row]:
                        of_subject[metric, time] = repr(value)
        return found

    async def latest(self) -> dict[int, list[tuple[int, tuple[int, str]]]]:
        """Returns the newest values of each asset with their moments, in their order."""
        names = [SubjectName(SubjectKind.ASSET, f"asset{number}") for number in range(len(self.ids))]
        found: dict[int, list[tuple[int, tuple[int, str]]]] = {}
        for begin in range(0, len(names), 1_000):
            for parts in (await self.store.blocks.latest("t", names[begin : begin + 1_000])).values():
                samples = parts[""].samples.items()
                found[parts[""].subject_id] = [(metric, (it.time, repr(it.value))) for metric, it in samples]
        return found


async def fleet(store: Store, count: int) -> Fleet:
    """Registers assets and metrics."""
    clock = FixedClock(START)
    descriptors = Descriptors(store, clock, LIMITS)
    assets = {f"asset{n}": NewAsset(f"asset{n}", f"urn:x:{n}", "") for n in range(count)}
    keys = [SubjectKey(SubjectName(SubjectKind.ASSET, id_), "") for id_ in assets]
    found = await store.subjects.register("t", keys, limits=LIMITS, assets=assets)
    metrics = await descriptors.ensure("t", SubjectKind.ASSET, dict.fromkeys(NAMES, ValueType.INT64))
    corrections = AssetCorrections(store, LIMITS, descriptors)
    return Fleet(store, corrections, {name: metrics[name].id for name in NAMES}, [found[key] for key in keys])


async def test_a_run_over_2000_assets_of_which_others_replaced_some_values(store: Store) -> None:
    many = await fleet(store, 2_000)
    every = range(2_000)
    await many.emit([Emit(n, START - MICROS_PER_DAY, {"b": n, "a": n}, "before") for n in every if n % 2])
    await many.emit([Emit(n, START, {"a": f"replaced by r {n}"}) for n in every if n % 3 == 0])
    await many.emit([Emit(n, START, {"a": n, "b": n / 2, "c": n % 2 == 0}, "r") for n in every])
    await many.emit([Emit(n, START, {"b": f"replaces r {n}"}, "after") for n in every if n % 5 == 0])
    await many.emit([Emit(n, START + 1, {"a": -n}, "r") for n in every if n % 7 == 0])
    await many.emit([Emit(n, START, {"a": 0, "b": 0, "c": 0}, "after") for n in every if n % 11 == 0])

    preview = await many.roll_back("r", validate_only=True)
    await many.check()
    assert preview == await many.roll_back("r") == many.forget("r")
    await many.check()
    assert await many.roll_back("r") == Corrected(0, 0, {})
    assert await many.roll_back("after") == many.forget("after")
    await many.check()


@pytest.mark.parametrize(("days", "size"), [(1_000, 10**6), (1, 10**6), (1_000, 1), (3, 150)])
@pytest.mark.parametrize("seed", range(2))
async def test_whatever_runs_wrote_in_whatever_rounds_it_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch, days: int, size: int, seed: int
) -> None:
    monkeypatch.setattr(day_rounds, "DAYS_AT_ONCE", days)
    monkeypatch.setattr(day_rounds, "BYTES_AT_ONCE", size)
    monkeypatch.setattr(asset_corrections, "ASSETS_AT_ONCE", 7)
    chance = random.Random(seed)
    some = await fleet(store, 20)
    for _ in range(30):
        kinds: list[Scalar] = [chance.randrange(5), 0.5, True, "text"]
        emits = []
        for n in chance.sample(range(20), 12):
            time = START + chance.choice([0, 1, 2, MICROS_PER_DAY, 300 * MICROS_PER_DAY])
            names = chance.sample(NAMES, chance.randrange(1, 4))
            emits.append(Emit(n, time, {name: chance.choice(kinds) for name in names}, chance.choice(["", "r", "s"])))
        await some.emit(emits)
    for run in ("s", "r"):
        assert await some.roll_back(run, validate_only=True) == await some.roll_back(run) == some.forget(run)
        await some.check()


async def test_newest_values_are_found_however_far_back_they_are(store: Store) -> None:
    some = await fleet(store, 3)
    day = MICROS_PER_DAY
    backs = range(1_000, 0, -1)
    await some.emit([Emit(n, START - back * day, {"b": back}) for back in backs for n in (0, 1) if n or back % 40 == 0])
    await some.emit([Emit(0, START - 500_000 * day, {"a": 0}), Emit(1, START - 77 * day, {"a": 1})])
    await some.emit([Emit(n, START, {"a": 5, "b": 5, "c": 5}, "r") for n in range(3)])
    await some.emit([Emit(n, START + 9 * day, {"b": 6}) for n in range(3)])
    assert await some.roll_back("r") == some.forget("r") == Corrected(9, 3, {"a": 3, "b": 3, "c": 3})
    await some.check()


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, [25, 12, 6, *[5] * 51, 2]), (1e9, [25, 50, 100, 125])])
async def test_transactions_that_take_long_are_followed_by_smaller_ones(
    store: Store, monkeypatch: pytest.MonkeyPatch, seconds: float, expected: Sequence[int]
) -> None:
    monkeypatch.setattr(asset_corrections, "TRANSACTION_SECONDS", seconds)
    some = await fleet(store, 300)
    await some.emit([Emit(n, START, {"a": n}, "r") for n in range(300)])
    delete_from_each = store.corrections.delete_from_each
    sizes: list[int] = []

    async def counted(subject_ids: Collection[int], **options: Any) -> dict[int, Deleted]:
        sizes.append(len(subject_ids))
        return await delete_from_each(subject_ids, **options)

    monkeypatch.setattr(store.corrections, "delete_from_each", counted)
    assert await some.roll_back("r") == some.forget("r")
    assert sizes == expected


async def test_assets_that_are_gone_are_passed_over(store: Store) -> None:
    some = await fleet(store, 3)
    await some.emit([Emit(n, START, {"a": n}, "r") for n in range(3)])
    await store.assets.delete("t", "asset1")
    for validate_only in (True, False):
        deleted = await store.corrections.delete_from_each(
            some.ids, start=MIN_MICROS, end=MAX_MICROS, metrics=None, run_id="r", validate_only=validate_only
        )
        gone = {some.metrics["a"]: 1}
        assert {id_: of_subject.values for id_, of_subject in deleted.items()} == {
            some.ids[0]: gone,
            some.ids[2]: gone,
        }


async def test_emits_while_a_run_is_rolled_back_are_kept(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "ATTEMPTS", 1)  # a deadlock would fail its transaction
    monkeypatch.setattr(asset_corrections, "ASSETS_AT_ONCE", 20)
    some = await fleet(await open_store(), 200)
    other = Fleet(await open_store(), some.corrections, some.metrics, some.ids, some.log, some.order)
    await some.emit([Emit(n, START, {"a": n, "b": n}, "r") for n in range(200)])
    rolling = asyncio.create_task(some.roll_back("r"))

    async def keep_emitting(server: Fleet, first: int) -> None:
        """Each writes its own assets, so that the log has the order of the store."""
        turn = 0
        while not rolling.done():
            turn += 1
            assets = list(range(first, 200, 2))
            random.Random(turn).shuffle(assets)
            await server.emit([Emit(n, START + turn % 3, {"a": turn}, "kept") for n in assets[:30]])
            await server.emit([Emit(n, START + 5, {"c": turn}, "r") for n in assets[:3]])

    await asyncio.gather(keep_emitting(some, 0), keep_emitting(other, 1), rolling)
    assert any(emit.run == "kept" for emit in some.log)
    await some.roll_back("r")
    some.forget("r")
    await some.check()


async def test_two_rollbacks_at_once_take_every_value_once(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "ATTEMPTS", 1)  # a deadlock would fail its transaction
    monkeypatch.setattr(asset_corrections, "ASSETS_AT_ONCE", 25)
    first = await fleet(await open_store(), 300)
    store = await open_store()
    second = Fleet(store, AssetCorrections(store, LIMITS, Descriptors(store, FixedClock(START), LIMITS)), {}, [])
    for run, moment in (("r", START), ("s", START + 1)):
        await first.emit([Emit(n, START, {"a": n}, run) for n in range(300)])
        await first.emit([Emit(n, moment - n * MICROS_PER_DAY, {"b": n}, run) for n in range(300)])
    told = await asyncio.gather(first.roll_back("r"), second.roll_back("r"), second.roll_back("s"))
    assert [of_run.by_metric.get("b", 0) for of_run in (told[0], told[2])] == [300 - told[1].by_metric.get("b", 0), 300]
    for run in ("r", "s"):
        first.forget(run)
    await first.check()


SERVER = """
import asyncio, json, os, sys, threading
from streamgauge_server.model.clock import MAX_MICROS, MIN_MICROS, SystemClock
from streamgauge_server.storage import corrections
from streamgauge_server.storage.store import Store

store_round, rounds = corrections._store, 0

def store_round_and_stop(*arguments):
    global rounds
    store_round(*arguments)
    rounds += 1
    if rounds == 3:
        os.write(1, b"middle\\n")
        threading.Event().wait()

async def main(url, portions):
    store = await Store.open(url, clock=SystemClock())
    corrections._store = store_round_and_stop
    for ids in portions:
        await store.corrections.delete_from_each(
            ids, start=MIN_MICROS, end=MAX_MICROS, metrics=None, run_id="r", validate_only=False
        )

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


async def test_of_a_rollback_whose_server_is_killed_each_transaction_has_happened_wholly_or_not_at_all(
    open_store: OpenStore, store_url: str
) -> None:
    some = await fleet(await open_store(), 50)
    await some.emit([Emit(n, START - MICROS_PER_DAY, {"a": n}) for n in range(50)])
    await some.emit([Emit(n, START, {"a": -n, "b": n}, "r") for n in range(50)])
    portions = json.dumps([some.ids[begin : begin + 10] for begin in range(0, 50, 10)])
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, store_url, portions, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    assert await server.stdout.readline() == b"middle\n"
    server.kill()
    await server.wait()

    some.log = [emit for emit in some.log if not (emit.run == "r" and emit.asset < 20)]
    some.order |= {n: ["a"] for n in range(20)}
    await some.check()
    assert await some.roll_back("r") == some.forget("r") == Corrected(60, 30, {"a": 30, "b": 30})
    await some.check()
