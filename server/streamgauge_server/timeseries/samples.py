"""Samples of several columns laid end to end, so that one numpy call aggregates all metrics of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from streamgauge_server.timeseries.frame import Bools, Column, Frame, Ints, Values


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples by metric and time, in groups of one metric and bucket.

    `values`, `times` and `starts` have one entry per sample; booleans are 0 and 1 here. `metrics`, `types`, `heads`
    and `tails` have one per group; `heads` and `tails` are the positions of its first and last sample. `steady` tells
    that all start times are equal.
    """

    values: Values
    times: Ints
    starts: Ints
    steady: bool
    metrics: Ints
    types: Ints
    heads: Ints
    tails: Ints


def lay_out(frame: Frame, columns: Mapping[int, Column], buckets: Ints, rows: Ints) -> Samples | None:
    """Returns the samples of columns of the same numpy type, or of integers and booleans, at chosen rows.

    `buckets` tells the bucket of every row of the frame, equal for neighbours in one bucket; `rows` rise. None when
    there is no sample.
    """
    chosen: dict[int, Ints] = {}
    for metric, column in sorted(columns.items()):
        here = rows if column.present is None else rows[column.present[rows]]
        if len(here):
            chosen[metric] = here
    if not chosen:
        return None
    kept = {metric: columns[metric] for metric in chosen}
    row = np.concatenate(list(chosen.values()))
    bucket = buckets[row]
    change = bucket[1:] != bucket[:-1]
    begins = np.cumsum([0, *map(len, chosen.values())])
    change[begins[1:-1] - 1] = True
    heads = np.concatenate(([0], np.flatnonzero(change) + 1))
    column_of_group = np.searchsorted(begins, heads, side="right") - 1
    values = np.concatenate([column.values[chosen[metric]] for metric, column in kept.items()])
    own_starts = any(column.starts is not None for column in kept.values())
    if own_starts:
        starts = np.concatenate([frame.starts_of(metric)[here] for metric, here in chosen.items()])
    else:
        starts = frame.starts[row]
    return Samples(
        values.astype(np.int64) if values.dtype == np.bool_ else values,
        frame.times[row],
        starts,
        not own_starts and bool((frame.starts == frame.starts[0]).all()),
        np.array(list(kept))[column_of_group],
        np.array([column.type for column in kept.values()], np.int64)[column_of_group],
        heads,
        np.append(heads[1:], len(row)) - 1,
    )


def changes(*keys: Values) -> Bools:
    """Returns where any of several equally long arrays differs from its entry before; True at the first entry."""
    differs = np.zeros(len(keys[0]), np.bool_)
    differs[:1] = True
    for key in keys:
        differs[1:] |= key[1:] != key[:-1]
    return differs


def in_order(metrics: Ints, times: Ints) -> Ints | None:
    """Returns the positions of entries by metric and time; None when they are in this order already."""
    if bool(((metrics[1:] > metrics[:-1]) | ((metrics[1:] == metrics[:-1]) & (times[1:] > times[:-1]))).all()):
        return None
    return np.lexsort((times, metrics))
