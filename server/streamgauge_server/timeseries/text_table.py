"""Aggregates of texts per metric and bucket of time: how many, the first and the last, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamgauge_server.timeseries.frame import Ints, Values
from streamgauge_server.timeseries.samples import Samples, changes, in_order


@dataclass(frozen=True, slots=True, eq=False)
class TextTable:
    """One entry per metric and bucket in each array, by metric and time. `first` and `last` hold Python strings."""

    metrics: Ints
    counts: Ints
    first_times: Ints
    last_times: Ints
    first: Values
    last: Values

    def take(self, entries: Values | slice) -> TextTable:
        """Returns chosen entries (positions, a mask or a slice)."""
        return TextTable(
            self.metrics[entries],
            self.counts[entries],
            self.first_times[entries],
            self.last_times[entries],
            self.first[entries],
            self.last[entries],
        )


_NO_INTS: Ints = np.empty(0, np.int64)
_NO_TEXTS: Values = np.empty(0, np.object_)

EMPTY = TextTable(_NO_INTS, _NO_INTS, _NO_INTS, _NO_INTS, _NO_TEXTS, _NO_TEXTS)


def reduce_samples(samples: Samples) -> TextTable:
    """Returns the table of samples of texts, an entry per group."""
    heads, tails = samples.heads, samples.tails
    return TextTable(
        samples.metrics,
        tails - heads + 1,
        samples.first_times,
        samples.last_times,
        samples.values[heads],
        samples.values[tails],
    )


def join(tables: Sequence[TextTable]) -> TextTable:
    """Returns the entries of several tables one after the other."""
    if len(tables) == 1:
        return tables[0]
    if not tables:
        return EMPTY
    return TextTable(
        np.concatenate([table.metrics for table in tables]),
        np.concatenate([table.counts for table in tables]),
        np.concatenate([table.first_times for table in tables]),
        np.concatenate([table.last_times for table in tables]),
        np.concatenate([table.first for table in tables]),
        np.concatenate([table.last for table in tables]),
    )


def combine(table: TextTable, windows: Ints) -> tuple[TextTable, Ints]:
    """Combines entries, disjoint in time, to one per metric and window.

    `windows` tells each entry's window. Returns the table and the window of each of its entries.
    """
    order = in_order(table.metrics, table.first_times)
    if order is not None:
        table, windows = table.take(order), windows[order]
    heads = np.flatnonzero(changes(table.metrics, windows))
    tails = np.append(heads[1:], len(windows)) - 1
    combined = TextTable(
        table.metrics[heads],
        np.add.reduceat(table.counts, heads),
        table.first_times[heads],
        table.last_times[tails],
        table.first[heads],
        table.last[tails],
    )
    return combined, windows[heads]
