"""Blocks of many days of many subjects, read in rounds that fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from sqlalchemy import Connection

from streamgauge_server.storage.database import Database, DayBlockTuple, SubjectDay

BYTES_AT_ONCE = 4 * 2**20
"""Data of blocks in one round, as far as one day of one subject does not have more."""
DAYS_AT_ONCE = 1_000
"""Days in one round; one statement loads them."""


def load_days(
    database: Database, connection: Connection, days: Iterable[tuple[int, int, int]], start: int, end: int
) -> Iterator[dict[SubjectDay, list[DayBlockTuple]]]:
    """Yields the blocks of days, given as (subject, day, bytes of data), that reach into [start, end).

    Round by round in the order of the days, which are asked for only as far as their round has come; within a round by
    (subject, day, seq). Each round is one statement.
    """
    for of_round in rounds(days):
        rows = database.blocks_of_days(connection, of_round, start, end)
        yield {day: list(blocks) for day, blocks in groupby(rows, lambda row: (row[0], row[1]))}


def rounds(days: Iterable[tuple[int, int, int]]) -> Iterator[list[SubjectDay]]:
    """Yields days, given as (subject, day, bytes of data), in their order, as many at once as fit into memory."""
    of_round: list[SubjectDay] = []
    room = BYTES_AT_ONCE
    for subject_id, day, size in days:
        if of_round and (size > room or len(of_round) == DAYS_AT_ONCE):
            yield of_round
            of_round, room = [], BYTES_AT_ONCE
        of_round.append((subject_id, day))
        room -= size
    if of_round:
        yield of_round
