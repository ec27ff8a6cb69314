"""The summaries of blocks whose samples are damaged: what is deleted must not go on to be told by them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, select, update

from streamgauge_server.storage import tables
from streamgauge_server.storage.database import SubjectDay
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.reduction import cut_out, reduced_block
from streamgauge_server.timeseries.summary import decode_summary

_b = tables.blocks.c


def forget(
    connection: Connection,
    blocks: Mapping[SubjectDay, Sequence[int]],
    start: int,
    end: int,
    metrics: Collection[int] | None,
) -> None:
    """Takes the hours of some metrics, or all, that reach into [start, end) out of the summaries of damaged blocks.

    `blocks` are seqs by subject and day. The damaged samples stay as they are: nobody can take anything out of them.
    """
    for (subject_id, day), seqs in blocks.items():
        for seq in seqs:
            here = (_b.subject_id == subject_id, _b.day == day, _b.seq == seq)
            stored = connection.execute(select(_b.hour_summary).where(*here)).scalar_one_or_none()
            if stored is not None:
                connection.execute(update(tables.blocks).where(*here).values(_left(bytes(stored), start, end, metrics)))


def _left(stored: bytes, start: int, end: int, metrics: Collection[int] | None) -> dict[str, bytes | None]:
    try:
        left = reduced_block(cut_out(decode_summary(stored), start, end, metrics)[0])
    except BlockCorrupt:
        left = None  # what it tells is not known, so nothing of it may stay
    if left is None:
        return {"hour_summary": None, "day_summary": None}
    return {"hour_summary": left.hour_summary, "day_summary": left.day_summary}
