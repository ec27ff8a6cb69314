"""What is wrong with an emit on an asset: first without the store, then by the descriptors of its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from streamgauge_server.model.clock import MAX_MICROS, MICROS_PER_SECOND, MIN_MICROS, isoformat
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.errors import Reason, Violation
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import MAX_METRIC_CHARACTERS, SubjectName, metric_name_problem
from streamgauge_server.model.values import AssetValueType, Scalar, ValueType
from streamgauge_server.services.asset_values import Mismatch, Typed, typed_value
from streamgauge_server.services.assets import is_resource_name, resolve_asset
from streamgauge_server.services.descriptors import Ages
from streamgauge_server.services.idempotency import id_problem
from streamgauge_server.services.write_checks import INVALID_TIME, range_problem, value_problem

MICROS_PER_MILLI = 1_000
MAX_WARNINGS = 100
"""How many warnings an answer lists."""

_ASKED: Mapping[int, AssetValueType | None] = {0: None} | {int(member): member for member in AssetValueType}


class MetricInput(NamedTuple):
    """A metric of an emit as decoded at the edge. `value_type` is the contract's number, 0 where none is given."""

    name: str
    value: Scalar | None
    value_type: int = 0


class EmitInput(NamedTuple):
    """An emit as decoded at the edge: `asset` is a URN or a resource name, `time` in microseconds or None.

    `problems` is what the edge has found wrong with it.
    """

    asset: str
    time: int | None
    metrics: Sequence[MetricInput]
    run_id: str = ""
    problems: Sequence[Violation] = ()


class _Metric(NamedTuple):
    """A metric whose value can be typed: its position in the request, and the type that is asked for."""

    position: int
    name: str
    value: Scalar
    asked: AssetValueType | None


@dataclass(slots=True)
class Draft:
    """An emit on its way into the store.

    `named` tells that the asset is given by its resource name; then `urn` is empty until it is looked up. `typed` has
    the values as they are to be stored, by name in the order of the request; `stored` those that are not the metric's
    "no value", by id.
    """

    index: int
    subject: SubjectName | None
    named: bool
    urn: str
    time: int
    run_id: str
    metrics: Sequence[_Metric]
    """Those in which nothing is wrong so far."""
    violations: list[Violation]
    typed: dict[str, Typed] = field(default_factory=dict)
    stored: dict[int, Scalar] = field(default_factory=dict)
    undeclared: list[str] = field(default_factory=list)
    """Metrics that have no descriptor, whose values are therefore not in `stored` yet."""
    warnings: list[str] = field(default_factory=list)


def checked(index: int, emit: EmitInput, now: int, limits: Limits) -> Draft:
    """Checks all that can be checked without the store. An emit without a moment gets `now`, cut to the millisecond."""
    found = list(emit.problems)
    resolved = resolve_asset(emit.asset, "asset", limits.max_urn_bytes)
    if isinstance(resolved, Violation):
        found.append(resolved)
    time = now if emit.time is None else emit.time
    if problem := moment_problem(time, now, limits):
        found.append(Violation("time", problem))
    if emit.run_id and (problem := id_problem(emit.run_id)):
        found.append(Violation("run_id", problem))
    metrics: list[_Metric] = []
    limit = limits.max_metrics_per_observation
    if not 1 <= len(emit.metrics) <= limit:
        found.append(Violation("metrics", f"must have 1 to {limit} entries, has {len(emit.metrics)}"))
    else:
        for position, metric in enumerate(emit.metrics):
            name, value, value_type = metric
            if value is None or value_problem(value, limits) or name_problem(name) or value_type not in _ASKED:
                found.extend(_metric_problems(position, metric, limits))
            else:
                metrics.append(_Metric(position, name, value, _ASKED[value_type]))
    named = is_resource_name(emit.asset)
    urn = "" if named else emit.asset
    subject = None if isinstance(resolved, Violation) else resolved
    return Draft(index, subject, named, urn, time // MICROS_PER_MILLI * MICROS_PER_MILLI, emit.run_id, metrics, found)


def moment_problem(time: int, now: int, limits: Limits) -> str | None:
    """Returns what is wrong with the moment of an emit, in microseconds."""
    if time == INVALID_TIME:
        return "is not a valid timestamp: nanos must be between 0 and 999,999,999"
    if not MIN_MICROS <= time < MAX_MICROS:
        return "must be between 0001-01-01T00:00:00Z and the end of the year 9999"
    ahead = time - now
    if ahead > limits.max_emit_future_seconds * MICROS_PER_SECOND:
        return (
            f"must be at most {limits.max_emit_future_seconds} s ahead of the server's clock ({isoformat(now)}), "
            f"is {ahead / MICROS_PER_SECOND:.16g} s ahead"
        )
    return None


def _metric_problems(position: int, metric: MetricInput, limits: Limits) -> Sequence[Violation]:
    """Returns everything that is wrong with a metric in which something is."""
    found: list[Violation] = []
    if problem := name_problem(metric.name):
        found.append(Violation(f"metrics[{position}].name", problem))
    if problem := value_problem(metric.value, limits):
        found.append(Violation(f"metrics[{position}].value", problem))
    if metric.value_type not in _ASKED:
        allowed = ", ".join(member.name for member in AssetValueType)
        found.append(Violation(f"metrics[{position}].value_type", f"must be one of {allowed}, is {metric.value_type}"))
    elif metric.value is not None and not problem:
        mismatch = typed_value(metric.value, _ASKED[metric.value_type], ValueType.ANY)
        if isinstance(mismatch, Mismatch):
            # Nobody can have declared a metric of such a name, so that this is all there is to say of its value.
            found.append(_mismatch(position, "", mismatch))
    return found


def name_problem(name: str) -> str | None:
    """Returns what is wrong with the name of a metric that is emitted."""
    # Every metric comes with one, and there are few of them. What is too long for one is not kept.
    return _kept_name_problem(name) if len(name) <= MAX_METRIC_CHARACTERS else metric_name_problem(name)


@lru_cache(maxsize=16_384)
def _kept_name_problem(name: str) -> str | None:
    if problem := metric_name_problem(name):
        return problem
    return "must not begin or end with a blank" if name != name.strip() else None


def add_types(drafts: Sequence[Draft], known: Mapping[str, MetricDescriptor], ages: Ages) -> None:
    """Gives the values of emits their types, and their metrics' ids where those have a descriptor."""
    for draft in drafts:
        _add_types(draft, known, ages)


def _add_types(draft: Draft, known: Mapping[str, MetricDescriptor], ages: Ages) -> None:
    typed: dict[str, Typed] = {}
    stored: dict[int, Scalar] = {}
    undeclared: list[str] = []
    warnings: list[str] = []
    for position, name, value, asked in draft.metrics:
        descriptor = known.get(name)
        declared = ValueType.ANY if descriptor is None else descriptor.value_type
        found = typed_value(value, asked, declared)
        if isinstance(found, Mismatch):
            draft.violations.append(_mismatch(position, name, found))
            continue
        if descriptor is not None and (problem := range_problem(descriptor, found.value)):
            draft.violations.append(Violation(f"metrics[{position}].value", problem))
            continue
        if descriptor is not None and (problem := ages.problem(descriptor, draft.time)):
            draft.violations.append(Violation("time", problem))
            continue
        if name in typed:
            warnings.append(f"metrics[{position}].name: {_shown(name)} is named before; the last of its values stands")
        typed[name] = found
        if descriptor is None:
            undeclared.append(name)
            continue
        if _means_no_value(descriptor, found.value):
            warnings.append(f"metrics[{position}].value: means that {_shown(name)} has no value; it is not stored")
            stored.pop(descriptor.id, None)
        else:
            stored[descriptor.id] = found.value
    draft.typed, draft.stored, draft.undeclared = typed, stored, undeclared
    draft.warnings = warnings[:MAX_WARNINGS]
    if len(warnings) > MAX_WARNINGS:
        draft.warnings.append(f"and {len(warnings) - MAX_WARNINGS} more of the kind")


def _mismatch(position: int, name: str, mismatch: Mismatch) -> Violation:
    field_name = f"metrics[{position}].{'value_type' if mismatch.of_type else 'value'}"
    if not mismatch.expected:
        return Violation(field_name, mismatch.problem)
    metadata = {"metric": name, "expected": mismatch.expected, "actual": mismatch.actual}
    return Violation(field_name, mismatch.problem, Reason.VALUE_TYPE_MISMATCH, metadata)


def _means_no_value(descriptor: MetricDescriptor, value: Scalar) -> bool:
    return descriptor.no_value is not None and not isinstance(value, bool | str) and value == descriptor.no_value


def _shown(name: str) -> str:
    return repr(name) if len(name) <= 64 else repr(name[:64]) + "..."
