"""Folding: nothing is lost or reordered, and how much is rewritten is bounded."""

from __future__ import annotations

from itertools import groupby, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge_server.model.clock import MICROS_PER_DAY, MICROS_PER_HOUR
from streamgauge_server.timeseries.block import Block, decode, encode, encode_row
from streamgauge_server.timeseries.folding import MAX_BLOCKS, MAX_BYTES, MAX_ROWS, Foldable, fold, plan_folds
from streamgauge_server.timeseries.frame import Frame, merge

from tests.unit.timeseries.reference import exact, merged, samples_of
from tests.unit.timeseries.strategies import DAY, Run, frames, runs, store

BEGIN = DAY * MICROS_PER_DAY
LATENESS = MICROS_PER_HOUR
CLOSED = BEGIN + MICROS_PER_DAY + LATENESS


def blocks_of(written: list[Run]) -> list[Block]:
    of_day = [block for block in store(written) if block.day == DAY and block.data is not None]
    return [Block(b.day, b.rows, b.first_time, b.last_time, b.hours, b.data or b"", None, None) for b in of_day]


@settings(max_examples=100, deadline=None)
@given(st.lists(frames(max_rows=80), min_size=1, max_size=6))
def test_a_folded_block_is_that_of_the_merged_frames(written: list[Frame]) -> None:
    blocks = [encode(frame) for frame in written]
    folded = fold([block.data for block in blocks])
    at_once = encode(merge([decode(block.data) for block in blocks]))
    assert folded._replace(data=b"") == at_once._replace(data=b"")
    assert exact(samples_of(decode(folded.data))) == exact(merged(written))


@settings(max_examples=100, deadline=None)
@given(st.lists(runs(days=1), min_size=2, max_size=8), st.data())
def test_folding_in_any_grouping_keeps_every_sample_with_its_start_time(
    written: list[Run], data: st.DataObject
) -> None:
    blocks = blocks_of(written)
    expected = exact(merged(decode(block.data) for block in blocks))
    while len(blocks) > 1:
        begin = data.draw(st.integers(0, len(blocks) - 2))
        end = data.draw(st.integers(begin + 2, len(blocks)))
        blocks[begin:end] = [fold([block.data for block in blocks[begin:end]])]
        assert exact(merged(decode(block.data) for block in blocks)) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(frames(max_rows=40), min_size=1, max_size=5))
def test_folding_again_changes_nothing(written: list[Frame]) -> None:
    blocks = [encode(frame).data for frame in written]
    folded = fold(blocks)
    assert exact(samples_of(decode(fold([*blocks, folded.data]).data))) == exact(samples_of(decode(folded.data)))


def test_small_blocks_of_one_observation_become_one_with_summaries() -> None:
    rows = [encode_row(BEGIN + second * 1_000_000, 5, {1: second, 2: second / 2, 3: "s"}) for second in range(100)]
    folded = fold([row.data for row in rows])
    assert (folded.rows, folded.first_time, folded.last_time) == (100, rows[0].first_time, rows[-1].last_time)
    assert folded.hour_summary is not None
    assert decode(folded.data).starts.tolist() == [5] * 100


def foldable(seq: int, hour: int = 0, rows: int = 1, **changed: object) -> Foldable:
    last = BEGIN + hour * MICROS_PER_HOUR + 1
    return Foldable(seq, rows, last, 1 << hour, 100, None, seq, True)._replace(**changed)  # type: ignore[arg-type]


def plan(
    blocks: list[Foldable], now: int = CLOSED, collected: bool = False
) -> tuple[list[list[int]], int | None, bool]:
    planned = plan_folds(DAY, blocks, now=now, lateness=LATENESS, collected=collected)
    return [[block.seq for block in group] for group in planned.groups], planned.due_time, planned.late


def test_all_blocks_of_a_closed_day_become_one() -> None:
    assert plan([foldable(seq, hour=seq) for seq in range(24)]) == ([list(range(24))], None, False)


def test_a_day_of_one_block_needs_nothing() -> None:
    assert plan([foldable(1)]) == ([], None, False)


def test_hours_of_an_open_day_become_one_block_each_once_they_are_closed() -> None:
    blocks = [foldable(seq, hour=seq // 3) for seq in range(9)]
    two_hours = BEGIN + 2 * MICROS_PER_HOUR + LATENESS
    assert plan(blocks, two_hours - 1) == ([[0, 1, 2]], two_hours, False)
    assert plan(blocks, two_hours) == ([[0, 1, 2], [3, 4, 5]], two_hours + MICROS_PER_HOUR, False)
    assert plan(blocks[::3], CLOSED - 1) == ([], CLOSED, False)


def test_blocks_of_a_run_keep_their_place_between_others() -> None:
    runs = [None, None, "a", None, "a", "a", "b", None, None]
    blocks = [foldable(seq, run_id=run) for seq, run in enumerate(runs)]
    assert plan(blocks)[0] == [[0, 1], [4, 5], [7, 8]]


def test_blocks_that_are_not_settled_are_folded_neither_nor_jumped_over() -> None:
    blocks = [foldable(seq, settled=seq not in (2, 5)) for seq in range(8)]
    assert plan(blocks)[0] == [[0, 1], [3, 4], [6, 7]]


def test_late_data_wait_until_they_are_many_or_old() -> None:
    day = foldable(1, rows=1_000)
    few = [foldable(seq, rows=10) for seq in range(2, 6)]
    many = [foldable(seq, rows=50) for seq in range(2, 7)]
    tomorrow = CLOSED + MICROS_PER_DAY
    assert plan([day, *few]) == ([[2, 3, 4, 5]], tomorrow, True)
    assert plan([day, few[0]]) == ([], tomorrow, True)
    assert plan([day, few[0]], collected=True) == ([[1, 2]], None, False)
    assert plan([day, *many]) == ([[1, 2, 3, 4, 5, 6]], None, False)


def test_a_folded_block_is_of_bounded_size() -> None:
    assert plan([foldable(seq, rows=MAX_ROWS // 2) for seq in range(5)])[0] == [[0, 1], [2, 3]]
    assert plan([foldable(seq, size=MAX_BYTES // 3) for seq in range(4)])[0] == [[0, 1, 2]]
    groups, due, _ = plan([foldable(seq) for seq in range(2 * MAX_BLOCKS + 5)])
    assert [len(group) for group in groups] == [MAX_BLOCKS, MAX_BLOCKS, 5]
    assert due == CLOSED


blocks_of_days = st.lists(
    st.tuples(st.integers(0, 23), st.integers(1, 50), st.sampled_from([None, None, "a"]), st.integers(0, 9)),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(blocks_of_days, st.integers(0, 26), st.booleans())
def test_groups_are_neighbours_of_one_writer_and_a_plan_comes_to_an_end(
    drawn: list[tuple[int, int, str | None, int]], hour: int, collected: bool
) -> None:
    blocks = [
        foldable(seq, hour=of_hour, rows=rows, run_id=run, settled=chance > 0)
        for seq, (of_hour, rows, run, chance) in enumerate(drawn)
    ]
    now = BEGIN + hour * MICROS_PER_HOUR
    for _ in range(3):
        planned = plan_folds(DAY, blocks, now=now, lateness=LATENESS, collected=collected)
        for group in planned.groups:
            places = [blocks.index(block) for block in group]
            assert all(later == earlier + 1 for earlier, later in pairwise(places))
            assert len({block.run_id for block in group}) == 1
            assert all(block.settled for block in group)
        if not planned.groups:
            break
        for group in planned.groups:
            hours = 0
            for block in group:
                hours |= block.hours
            rows, last = sum(block.rows for block in group), max(block.last_time for block in group)
            folded = group[-1]._replace(rows=rows, hours=hours, last_time=last)
            place = blocks.index(group[0])
            blocks[place : place + len(group)] = [folded]
    assert not planned.groups
    if collected and now >= CLOSED:
        stretches = groupby(blocks, lambda block: (block.settled, block.run_id))
        assert all(len(list(stretch)) == 1 for (settled, _), stretch in stretches if settled)
