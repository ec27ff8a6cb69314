"""Long lists of keys in pieces that fit into one statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

BATCH = 500
"""Keys in one statement: with three parameters each, far under the 32,766 that SQLite and PostgreSQL allow."""


def batches(keys: Iterable[T]) -> Iterator[list[T]]:
    """Yields the keys in order, at most `BATCH` at a time."""
    remaining = iter(keys)
    while batch := list(islice(remaining, BATCH)):
        yield batch
