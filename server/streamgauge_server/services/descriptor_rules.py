"""What may be declared of a metric: defaults of what is not given, and everything that is wrong with what is."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from streamgauge_server.model.clock import MICROS_PER_DAY
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.errors import Reason, Violation, invalid
from streamgauge_server.model.names import MAX_NAME_BYTES, text_problem
from streamgauge_server.model.retention import EVERYTHING, MAX_DAYS, RetentionRules
from streamgauge_server.model.values import (
    NUMBERS_COMBINED,
    NUMERIC,
    Aggregate,
    Direction,
    MetricKind,
    PartCombination,
    SubjectKind,
    ValueType,
    allowed_aggregates,
    default_kind,
    default_reading,
)

FIXED_IF_BUILT_IN = ("kind", "no_value", "min_value", "max_value")

MAX_UNIT_BYTES = 64
MAX_DESCRIPTION_BYTES = 4_096
MAX_STATES = 100

_MIXED = (ValueType.NUMBER, ValueType.ANY)
_TEXT_KINDS = (MetricKind.STATE, MetricKind.TEXT)


def declared_descriptor(
    kind: SubjectKind,
    metric: str,
    fields: Mapping[str, Any],
    problems: Sequence[Violation] = (),
    rules: RetentionRules = EVERYTHING,
) -> MetricDescriptor:
    """Returns the descriptor, not yet stored, of a metric that is declared before it is written.

    `fields` are some of its fields, None where they are not set. `problems` are told along with what is wrong.

    Raises:
        DomainError: INVALID_FIELD, AGGREGATE_NOT_ALLOWED.
    """
    value_type = fields.get("value_type")
    if value_type is None:
        if kind != SubjectKind.ASSET:
            # What depends on the type cannot be told without one.
            given = {field: fields[field] for field in _TEXTS & fields.keys()}
            texts = replace(_blank(kind, metric, ValueType.DOUBLE), **given)
            required = _violation("value_type", "is required to declare a metric that is not of assets")
            raise invalid([*problems, required, *_text_violations(texts)])
        value_type = ValueType.ANY
    blank = _blank(kind, metric, value_type)
    return replace(blank, **checked_changes(fields, blank, problems, rules))


def _blank(kind: SubjectKind, metric: str, value_type: ValueType) -> MetricDescriptor:
    """Returns the descriptor of a metric of which only the type is known."""
    metric_kind = default_kind(value_type)
    reading = default_reading(metric_kind, value_type)
    return MetricDescriptor(0, kind, metric, metric, "", "", metric_kind, value_type, *reading)


def checked_changes(
    changes: Mapping[str, Any],
    current: MetricDescriptor,
    problems: Sequence[Violation] = (),
    rules: RetentionRules = EVERYTHING,
) -> dict[str, Any]:
    """Returns the fields of a descriptor to change, with the defaults of those that are not set (None).

    `problems` are told along with what is wrong with the changes. `rules` are the limits of retention in force.

    Raises:
        DomainError: INVALID_FIELD, AGGREGATE_NOT_ALLOWED.
    """
    complete = _with_defaults(changes, current)
    given = {field for field, value in changes.items() if value is not None}
    after = replace(current, **complete)
    if violations := [*problems, *_violations(after, current, given), *_retention_violations(after, given, rules)]:
        raise invalid(violations)
    return complete


def allowed_of(descriptor: MetricDescriptor) -> frozenset[Aggregate]:
    """Returns the aggregates that make sense for a metric."""
    return allowed_aggregates(descriptor.kind, descriptor.value_type)


def aggregate_problem(field: str, aggregate: Aggregate, descriptor: MetricDescriptor) -> Violation | None:
    """Returns the violation of an aggregate that makes no sense for a metric, None where it makes sense."""
    allowed = allowed_of(descriptor)
    return None if aggregate in allowed else _not_allowed(field, aggregate, descriptor, allowed)


def _not_allowed(
    field: str, aggregate: Aggregate, descriptor: MetricDescriptor, allowed: frozenset[Aggregate]
) -> Violation:
    kind, values = descriptor.kind.name, descriptor.value_type.name
    return Violation(
        field,
        f"{aggregate.name} makes no sense for {descriptor.metric!r}, a {kind} of type {values}: "
        f"use one of {', '.join(sorted(a.name for a in allowed))}",
        Reason.AGGREGATE_NOT_ALLOWED,
        {"metric": descriptor.metric, "aggregate": aggregate.name, "kind": kind},
    )


def _with_defaults(changes: Mapping[str, Any], current: MetricDescriptor) -> dict[str, Any]:
    """Replaces "not set" by defaults.

    A kind moves along with a type that it does not fit; aggregates and combination move along with a kind, and with a
    type where they were its defaults.
    """
    complete = dict(changes)
    value_type = complete.get("value_type") or current.value_type
    if "value_type" in complete:
        complete["value_type"] = value_type
    kind = complete.get("kind")
    if kind is None:
        retyped = value_type != current.value_type
        kind = default_kind(value_type) if retyped and _kind_problem(current.kind, value_type) else current.kind
    if "kind" in complete or kind != current.kind:
        complete["kind"] = kind
    fields = ("window_aggregate", "summary_aggregate", "part_combination")
    was = default_reading(current.kind, current.value_type)
    for field, default, old_default in zip(fields, default_reading(kind, value_type), was, strict=True):
        if field in complete:
            complete[field] = complete[field] or default
        elif kind != current.kind or (value_type != current.value_type and getattr(current, field) == old_default):
            complete[field] = default
    if "display_name" in complete and not complete["display_name"]:
        complete["display_name"] = current.metric
    if "direction" in complete and complete["direction"] is None:
        complete["direction"] = Direction.UNSPECIFIED
    return complete


def _violations(after: MetricDescriptor, current: MetricDescriptor, given: Collection[str]) -> list[Violation]:
    """Returns everything that is wrong with a descriptor as it would be after the changes.

    Aggregates and combination are defaults of kind and type unless they are `given`.
    """
    found = _text_violations(after)

    def refuse(field: str, problem: str | None) -> None:
        if problem:
            found.append(_violation(field, problem))

    if current.built_in:
        for field in FIXED_IF_BUILT_IN:
            if getattr(after, field) != getattr(current, field):
                refuse(field, f"cannot be changed: {current.metric} is built in")
    refuse("value_type", _type_problem(after, current))
    refuse("kind", _kind_problem(after.kind, after.value_type))
    for field in ("no_value", "min_value", "max_value"):
        refuse(field, _number_problem(getattr(after, field), after.value_type))
    if after.min_value is not None and after.max_value is not None and after.min_value > after.max_value:
        refuse("min_value", f"must not be above max_value ({after.max_value}), is {after.min_value}")
    # As defaults only aggregates with one column: an answer by default has a column for each metric and type.
    allowed = allowed_of(after) - {Aggregate.TIME_IN_VALUE}
    found.extend(
        _not_allowed(f"metric_descriptor.{field}", aggregate, after, allowed)
        for field in ("window_aggregate", "summary_aggregate")
        if field in given and (aggregate := getattr(after, field)) not in allowed
    )
    if "part_combination" in given:
        refuse("part_combination", _combination_problem(after.part_combination, after.value_type))
    return found


def _retention_violations(after: MetricDescriptor, given: Set[str], rules: RetentionRules) -> list[Violation]:
    """Returns what is wrong with the limits of a metric's retention, alone and beside those of its kind."""
    days: dict[str, int | None] = {}
    found: list[Violation] = []
    for field in ("sample_retention", "summary_retention"):
        micros = getattr(after, field)
        days[field], rest = (None, 0) if micros is None else divmod(micros, MICROS_PER_DAY)
        if micros is not None and (rest or not 1 <= micros // MICROS_PER_DAY <= MAX_DAYS):
            actual = f"{micros / MICROS_PER_DAY:.9g} days"
            found.append(_violation(field, f"must be whole days from 1 to {MAX_DAYS:,}, is {actual}"))
    if not found and not given.isdisjoint({*days, "kind"}):
        problem = rules.joined(after.kind, days["sample_retention"], days["summary_retention"]).problem()
        if problem:
            by_kind = "" if None not in days.values() else f" (the setting for kind {after.kind.name} counted)"
            at_fault = "summary_retention" if "summary_retention" in given else "sample_retention"
            if "sample_retention" not in given and "summary_retention" not in given:
                at_fault = "kind"
            found.append(_violation(at_fault, f"summary_retention {problem}{by_kind}"))
    return found


_TEXTS = frozenset({"display_name", "description", "unit", "state_order"})


def _text_violations(after: MetricDescriptor) -> list[Violation]:
    """Returns what is wrong with the texts of a descriptor, whatever its type."""
    problems: dict[str, str | None] = {}
    if after.display_name != after.metric:  # a metric's name may have more bytes
        problems["display_name"] = text_problem(after.display_name, MAX_NAME_BYTES)
    problems["description"] = text_problem(after.description, MAX_DESCRIPTION_BYTES)
    problems["unit"] = text_problem(after.unit, MAX_UNIT_BYTES)
    states = after.state_order
    if len(states) > MAX_STATES:
        problems["state_order"] = f"must have at most {MAX_STATES} entries, has {len(states)}"
    elif len(set(states)) != len(states):
        problems["state_order"] = "must not name a state twice"
    for i, state in enumerate(states[:MAX_STATES]):
        problems[f"state_order[{i}]"] = text_problem(state, MAX_NAME_BYTES, required=True)
    return [_violation(field, problem) for field, problem in problems.items() if problem]


def _violation(field: str, problem: str) -> Violation:
    return Violation(f"metric_descriptor.{field}", problem)


def _type_problem(after: MetricDescriptor, current: MetricDescriptor) -> str | None:
    if after.kind_of_subject == SubjectKind.ASSET:
        return None
    figures = after.kind_of_subject == SubjectKind.METRIC_TYPE_CHOICE
    if after.value_type in _MIXED and not (figures and after.value_type == ValueType.NUMBER):
        return f"{after.value_type.name} is for metrics of assets only"
    if after.value_type != current.value_type:
        return f"cannot be changed: it is {current.value_type.name} since the metric was first seen"
    return None


def _kind_problem(kind: MetricKind, value_type: ValueType) -> str | None:
    if kind == MetricKind.COUNTER and value_type not in NUMERIC:
        return f"COUNTER needs numbers, the values are {value_type.name}"
    if (kind in _TEXT_KINDS) != (value_type == ValueType.STRING):
        return f"{kind.name} does not fit values of type {value_type.name}"
    return None


def _number_problem(number: float | None, value_type: ValueType) -> str | None:
    if number is None:
        return None
    if not math.isfinite(number):
        return f"must be finite, is {number}"
    return None if value_type in NUMERIC else f"needs numbers, the values are {value_type.name}"


def _combination_problem(combination: PartCombination, value_type: ValueType) -> str | None:
    if value_type == ValueType.STRING:
        return f"{combination.name} needs numbers" if combination in NUMBERS_COMBINED else None
    needs_text = combination in (PartCombination.WORST, PartCombination.UNION)
    return f"{combination.name} needs text" if needs_text else None
