"""What is wrong with a stored block, and what of it can be made again out of the rest of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from streamgauge_server.timeseries.block import decode, encode
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.query import StoredBlock
from streamgauge_server.timeseries.reduction import reduced_block, samples_in
from streamgauge_server.timeseries.summary import Summary, decode_summary

Columns = Mapping[str, object]
"""Columns of the table `blocks` with new values."""


@dataclass(slots=True)
class BlockFinding:
    """What is wrong with a block.

    `problems` are for people. `repair` are the columns that make it whole again, empty where nothing can. `lost` counts
    by metric the samples that cannot be read any more, None where that is not known.
    """

    problems: list[str] = field(default_factory=list)
    repair: Columns = field(default_factory=dict)
    lost: Mapping[int, int] | None = None
    is_loss: bool = False


def examine(block: StoredBlock, *, deep: bool) -> BlockFinding | None:
    """Returns what is wrong with a block that is loaded as a whole; None for nothing.

    With `deep` summaries are also compared with the samples that they are of.
    """
    finding = BlockFinding()
    by_hour = _read(block.hour_summary, "summary of hours", finding)
    by_day = _read(block.day_summary, "summary of the day", finding)
    if not block.rows:
        _examine_reduced(block, by_hour, by_day, finding)
    else:
        _examine_samples(block, by_hour, by_day, finding, deep=deep)
    return finding if finding.problems else None


def _read(stored: bytes | None, what: str, finding: BlockFinding) -> Summary | None:
    if stored is None:
        return None
    try:
        return decode_summary(stored)
    except BlockCorrupt as error:
        finding.problems.append(f"{what}: {error}")
        return None


def _examine_reduced(
    block: StoredBlock, by_hour: Summary | None, by_day: Summary | None, finding: BlockFinding
) -> None:
    """Examines a block that retention has left the summaries of."""
    if block.data:
        finding.problems.append(f"it has no rows and {len(block.data)} bytes of samples")
    if by_hour is None:
        if block.hour_summary is None:
            finding.problems.append("it has neither samples nor a summary of hours")
        finding.is_loss = True
        finding.lost = None if by_day is None else samples_in(by_day)
    elif by_day is None and (made := reduced_block(by_hour)) is not None:
        if block.day_summary is None:
            finding.problems.append("it has no summary of the day")
        finding.repair = {"day_summary": made.day_summary}


def _examine_samples(
    block: StoredBlock, by_hour: Summary | None, by_day: Summary | None, finding: BlockFinding, *, deep: bool
) -> None:
    try:
        frame = decode(block.data or b"")
    except BlockCorrupt as error:
        finding.problems.insert(0, f"samples: {error}")
        finding.is_loss = True
        summary = by_hour or by_day
        finding.lost = None if summary is None else samples_in(summary)
        return
    times = frame.times
    index = (block.rows, block.first_time, block.last_time)
    actual = (len(times), int(times[0]), int(times[-1]))
    if index != actual:
        finding.problems.append(f"rows, first and last time are {actual} in the block and {index} in its row")
    if not (finding.problems or deep):
        return
    made = encode(frame)
    if block.hours != made.hours:
        finding.problems.append(f"its hours are {made.hours:#x} in the block and {block.hours:#x} in its row")
    if not finding.problems and made.day_summary is not None:
        for what, stored, new in (("hours", by_hour, made.hour_summary), ("the day", by_day, made.day_summary)):
            if stored is None or new is None or not _same(stored, decode_summary(new)):
                finding.problems.append(f"its summary of {what} is not that of its samples")
    if finding.problems and made.day == block.day:
        names = ("rows", "first_time", "last_time", "hours", "day_summary", "hour_summary")
        finding.repair = {name: getattr(made, name) for name in names}


def _same(one: Summary, other: Summary) -> bool:
    """Tells whether two summaries have the same entries, bit by bit, in any order."""
    if one.numbers.shape != other.numbers.shape or len(one.texts.metrics) != len(other.texts.metrics):
        return False
    ours, theirs = (table.numbers[:, np.lexsort(table.numbers)] for table in (one, other))
    texts = [
        sorted(zip(*(column.tolist() for column in columns), strict=True))
        for columns in (
            (t.metrics, t.first_times, t.last_times, t.counts, t.first, t.last) for t in (one.texts, other.texts)
        )
    ]
    return bool(np.array_equal(ours, theirs)) and texts[0] == texts[1]
