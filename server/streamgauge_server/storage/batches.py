"""Long lists of keys in pieces that fit into one statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

BATCH = 500
"""Keys in one statement: with three parameters each, far under the 32,766 that SQLite and PostgreSQL allow."""


def batches(keys: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Yields the keys in order, at most `size` at a time."""
    remaining = iter(keys)
    while batch := list(islice(remaining, size)):
        yield batch
