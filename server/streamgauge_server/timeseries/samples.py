"""Samples of several columns laid end to end, so that one numpy call aggregates all metrics of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamgauge_server.timeseries.frame import UNKNOWN_START, Bools, Column, Frame, Ints, Values


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples by metric, type and time, in groups of one metric, type and bucket.

    `values` has one entry per sample; booleans are 0 and 1 here. `restarts` tells of each sample but the first whether
    its start time differs from that of the sample before, both known; None where none does. The other arrays have one
    entry per group; `heads` and `tails` are the positions of its first and last sample.
    """

    values: Values
    restarts: Bools | None
    heads: Ints
    tails: Ints
    metrics: Ints
    types: Ints
    first_times: Ints
    last_times: Ints
    first_starts: Ints
    last_starts: Ints


def lay_out(frame: Frame, columns: Sequence[tuple[int, Column]], buckets: Ints) -> Samples | None:
    """Returns the samples of some typed columns of a frame with their metrics.

    They are of one numpy type, or of integers and booleans; a metric may have a column of each. `buckets` tells the
    bucket of every row, equal for neighbours in one bucket. None when there are no columns.
    """
    if not columns:
        return None
    ordered = sorted(columns, key=_by_metric_and_type)
    dense = all(column.present is None and column.starts is None for _, column in ordered)
    lay = _lay_out_dense if dense else _lay_out_sparse
    metrics = np.array([metric for metric, _ in ordered])
    return lay(frame, metrics, [column for _, column in ordered], buckets)


def _by_metric_and_type(column: tuple[int, Column]) -> tuple[int, int]:
    return column[0], column[1].type


def _lay_out_dense(frame: Frame, metrics: Ints, columns: Sequence[Column], buckets: Ints) -> Samples:
    """Every column has the same rows: positions are found once and repeated."""
    rows, count = len(frame.times), len(columns)
    row_heads = np.flatnonzero(changes(buckets))
    row_tails = np.append(row_heads[1:], rows) - 1
    offsets = (np.arange(count) * rows)[:, np.newaxis]
    groups = len(row_heads)
    restarts: Bools | None = None
    row_restarts = restarted(frame.starts)
    if row_restarts.any():
        restarts = np.tile(np.append(row_restarts, False), count)[:-1]
    return Samples(
        _values(columns, None),
        restarts,
        (row_heads + offsets).ravel(),
        (row_tails + offsets).ravel(),
        np.repeat(metrics, groups),
        np.repeat(_types(columns), groups),
        np.tile(frame.times[row_heads], count),
        np.tile(frame.times[row_tails], count),
        np.tile(frame.starts[row_heads], count),
        np.tile(frame.starts[row_tails], count),
    )


def _lay_out_sparse(frame: Frame, metrics: Ints, columns: Sequence[Column], buckets: Ints) -> Samples:
    everywhere = np.arange(len(frame.times))
    rows = [everywhere if c.present is None else np.flatnonzero(c.present) for c in columns]
    row = np.concatenate(rows)
    begins = np.cumsum([0, *map(len, rows)])
    opens = changes(buckets[row])
    opens[begins[:-1]] = True
    heads = np.flatnonzero(opens)
    tails = np.append(heads[1:], len(row)) - 1
    column_of_group = np.searchsorted(begins, heads, side="right") - 1
    times = frame.times[row]
    row_starts = [frame.starts if column.starts is None else column.starts for column in columns]
    starts = np.concatenate([of_column[here] for of_column, here in zip(row_starts, rows, strict=True)])
    return Samples(
        _values(columns, rows),
        restarted(starts),
        heads,
        tails,
        metrics[column_of_group],
        _types(columns)[column_of_group],
        times[heads],
        times[tails],
        starts[heads],
        starts[tails],
    )


def _values(columns: Sequence[Column], rows: list[Ints] | None) -> Values:
    if rows is None:
        values = np.concatenate([column.values for column in columns])
    else:
        values = np.concatenate([column.values[here] for column, here in zip(columns, rows, strict=True)])
    return values.astype(np.int64) if values.dtype == np.bool_ else values


def _types(columns: Sequence[Column]) -> Ints:
    return np.array([column.type for column in columns], np.int64)


def restarted(starts: Ints) -> Bools:
    """Returns for each start time but the first whether it differs from the one before, both known."""
    before, after = starts[:-1], starts[1:]
    changed: Bools = (before != after) & (before != UNKNOWN_START) & (after != UNKNOWN_START)
    return changed


def changes(*keys: Values) -> Bools:
    """Returns where any of several equally long arrays differs from its entry before; True at the first entry."""
    differs = np.zeros(len(keys[0]), np.bool_)
    differs[:1] = True
    for key in keys:
        differs[1:] |= key[1:] != key[:-1]
    return differs


def in_order(metrics: Ints, times: Ints, types: Ints | None = None) -> Ints | None:
    """Returns the positions of entries by metric, type (where given) and time; None when they are in order already."""
    later = times[1:] > times[:-1]
    if types is not None:
        later = (types[1:] > types[:-1]) | ((types[1:] == types[:-1]) & later)
    if bool(((metrics[1:] > metrics[:-1]) | ((metrics[1:] == metrics[:-1]) & later)).all()):
        return None
    return np.lexsort((times, metrics) if types is None else (times, types, metrics))
