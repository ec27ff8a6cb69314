"""Giving the values of checked observations the types of their metrics, and declaring metrics at first sight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.values import Scalar, SubjectKind, ValueType, convert_lossless, first_type, type_of
from streamgauge_server.services.descriptors import Ages, Descriptors
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.services.rows import TYPE_OF, Row
from streamgauge_server.services.write_checks import Refusals, clip, metric_problem, range_problem, value_problem

Types = dict[str, ValueType]
"""Types by metric name."""

_ANY = ValueType.ANY  # a look-up less for each value


def refuse_values(
    index: int, subject: str, values: Mapping[str, Scalar | None], limits: Limits, refusals: Refusals
) -> None:
    """Refuses item `index` for what is wrong with its values whatever their metrics are."""
    for metric, value in values.items():
        problem = metric_problem(metric)
        if problem is None and type(value) is not int:  # nothing can be wrong with an integer
            problem = value_problem(value, limits)
        if problem:
            refusals.add(index, subject, f'values["{clip(metric)}"]', problem, metric=metric)


async def type_rows(
    descriptors: Descriptors, tenant: str, rows: Sequence[Row], refusals: Refusals, *, heavy: bool = False
) -> dict[SubjectKind, Types]:
    """Gives the values of known metrics their metric's id and type.

    Returns the types of the others, by kind of subject and name: that of a metric's first value that is accepted.
    """
    new: dict[SubjectKind, Types] = {}
    for kind in {row.key.name.kind for row in rows}:
        of_kind = [row for row in rows if row.key.name.kind == kind and row.index not in refusals.items]
        known = await descriptors.by_name(tenant, kind, {metric for row in of_kind for metric in row.values})
        types: Types = {}
        ages = descriptors.ages()
        await off_loop(partial(_type_all, of_kind, dict(known) if heavy else known, types, refusals, ages), heavy=heavy)
        if types:
            new[kind] = types
    return new


async def declare_new(
    descriptors: Descriptors,
    tenant: str,
    rows: Sequence[Row],
    new: Mapping[SubjectKind, Types],
    refusals: Refusals,
) -> None:
    """Declares metrics that are seen for the first time and gives their values ids.

    Somebody else may have declared one with another type since: its values are checked once more.

    Raises:
        DomainError: METRIC_LIMIT.
    """
    for kind, types in new.items():
        await descriptors.ensure(tenant, kind, types)
        late = [
            row
            for row in rows
            if row.key.name.kind == kind and row.index not in refusals.items and not types.keys().isdisjoint(row.values)
        ]
        # All names of these rows: what was known a moment ago need not be at hand any more.
        names = {metric for row in late for metric in row.values}
        known = await descriptors.by_name(tenant, kind, names)
        ages = descriptors.ages()
        for row in late:
            row.typed = _typed(row, known, {}, refusals, ages)


def _type_all(
    rows: Sequence[Row], known: Mapping[str, MetricDescriptor], new: Types, refusals: Refusals, ages: Ages
) -> None:
    for row in rows:
        row.typed = _typed(row, known, new, refusals, ages)


def _typed(
    row: Row, known: Mapping[str, MetricDescriptor], new: Types, refusals: Refusals, ages: Ages
) -> dict[int, Scalar]:
    """Returns the values of known metrics by id, without those that mean "no value".

    Unknown metrics must fit the types in `new`, to which an accepted row adds its own.
    """
    typed: dict[int, Scalar] = {}
    first_sight: Types = {}
    accepted = True
    for metric, value in row.values.items():
        descriptor = known.get(metric)
        if descriptor is None:
            expected = new.get(metric)
            if expected is None:
                first_sight[metric] = first_type(row.key.name.kind, type_of(value))
            elif convert_lossless(value, expected) is None:
                _refuse_type(row, metric, value, expected, refusals)
                accepted = False
            continue
        restricted, expected = descriptor.restricted, descriptor.value_type
        if restricted and value == descriptor.no_value and value is not True:
            continue
        if TYPE_OF[type(value)] is not expected and expected is not _ANY:
            converted = convert_lossless(value, expected)
            if converted is None:
                _refuse_type(row, metric, value, expected, refusals)
                accepted = False
                continue
            value = converted
        if restricted and (problem := range_problem(descriptor, value)):
            refusals.add(row.index, str(row.key.name), f'values["{metric}"]', problem, metric=metric)
            accepted = False
            continue
        limited = ages.limited or descriptor.sample_retention is not None
        if limited and (old := ages.problem(descriptor, row.time)):
            refusals.add(row.index, str(row.key.name), "time", old, metric=metric)
            accepted = False
            continue
        typed[descriptor.id] = value
    if first_sight and accepted:
        new.update(first_sight)
    return typed


def _refuse_type(row: Row, metric: str, value: Scalar, expected: ValueType, refusals: Refusals) -> None:
    refusals.add_type_mismatch(row.index, str(row.key.name), f'values["{metric}"]', metric, expected, type_of(value))
