"""The closed sets of the domain: kinds, types, aggregates. Numbers equal those of the contract's enums."""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

Scalar: TypeAlias = float | int | bool | str
"""One measured value. `bool` is never treated as an `int` here: test for it first."""


class SubjectKind(IntEnum):
    """What is measured."""

    SOURCE = 1
    JOB = 2
    ASSET = 3
    METRIC_TYPE_CHOICE = 4


class MetricKind(IntEnum):
    """How the readings of a metric behave over time."""

    GAUGE = 1
    COUNTER = 2
    STATE = 3
    TEXT = 4


class ValueType(IntEnum):
    """The type of a metric's values. Each sample is of one of the first four; the others are what a metric may hold."""

    DOUBLE = 1
    INT64 = 2
    BOOL = 3
    STRING = 4
    NUMBER = 5
    """Doubles and integers, each sample as it was written."""
    ANY = 6
    """Every type, each sample as it was written."""


class AssetValueType(IntEnum):
    """What the value of an asset's metric is, as far as emits tell types apart."""

    STRING = 1
    NUMBER = 2
    BOOLEAN = 3


class Direction(IntEnum):
    """Which way a metric gets better."""

    UNSPECIFIED = 0
    HIGHER_IS_BETTER = 1
    LOWER_IS_BETTER = 2


class Aggregate(IntEnum):
    """How the samples of a window become one value."""

    COUNT = 1
    SUM = 2
    MIN = 3
    MAX = 4
    AVG = 5
    FIRST = 6
    LAST = 7
    INCREASE = 8
    RATE = 9
    TIME_IN_VALUE = 10


class PartCombination(IntEnum):
    """How the values of a subject's parts become the subject's value."""

    SUM = 1
    MAX = 2
    MIN = 3
    LAST = 4
    WORST = 5
    UNION = 6


class CounterMode(IntEnum):
    """How counters are read."""

    INCREASE = 1
    CUMULATIVE = 2
    RAW = 3


class TimeType(IntEnum):
    """Which of the three answers a source gives."""

    TIMESERIES = 1
    TIMESUMMARY = 2
    LATEST = 3


NUMERIC = frozenset({ValueType.DOUBLE, ValueType.INT64, ValueType.NUMBER})
"""The types of metrics that hold numbers alone."""

_COMMON = frozenset({Aggregate.COUNT, Aggregate.FIRST, Aggregate.LAST})
_LEVELS = _COMMON | {Aggregate.SUM, Aggregate.MIN, Aggregate.MAX, Aggregate.AVG}
_GROWTH = _LEVELS | {Aggregate.INCREASE, Aggregate.RATE}

_OF_KIND = {
    MetricKind.GAUGE: _LEVELS,
    MetricKind.COUNTER: _GROWTH,
    MetricKind.STATE: _COMMON,
    MetricKind.TEXT: _COMMON,
}
_ALLOWED = {
    (kind, value_type): aggregates if value_type in NUMERIC else aggregates | {Aggregate.TIME_IN_VALUE}
    for kind, aggregates in _OF_KIND.items()
    for value_type in ValueType
}
_OF_SAMPLES = {
    ValueType.DOUBLE: _GROWTH,
    ValueType.INT64: _GROWTH,
    ValueType.BOOL: _LEVELS,
    ValueType.STRING: _COMMON,
}


def allowed_aggregates(kind: MetricKind, value_type: ValueType) -> frozenset[Aggregate]:
    """Returns the aggregates that make sense for a metric: for what it is, not for each of the samples it may hold."""
    return _ALLOWED[kind, value_type]


def computable(aggregate: Aggregate, sample_type: ValueType) -> bool:
    """Tells whether samples of a type have an aggregate that is made of their statistics: texts have no sum."""
    return aggregate in _OF_SAMPLES[sample_type]


INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1


def type_of(value: Scalar) -> ValueType:
    """Returns the type of a Python value."""
    if isinstance(value, bool):
        return ValueType.BOOL
    if isinstance(value, int):
        return ValueType.INT64
    if isinstance(value, float):
        return ValueType.DOUBLE
    return ValueType.STRING


def convert_lossless(value: Scalar, to: ValueType) -> Scalar | None:
    """Returns `value` as type `to`, or None where that would lose anything.

    ANY takes everything as it is, NUMBER both numeric types. Numbers cross between int64 and double when both name
    exactly the same number; 0 and 1 of either numeric type are booleans (that is how the Prometheus JMX exporter prints
    them). Nothing else converts.
    """
    actual = type_of(value)
    if actual == to or to == ValueType.ANY:
        return value
    if to == ValueType.NUMBER:
        return value if actual in (ValueType.DOUBLE, ValueType.INT64) else None
    if isinstance(value, float):
        if to == ValueType.INT64 and value.is_integer() and -(2.0**63) <= value < 2.0**63:
            return int(value)
        if to == ValueType.BOOL and value in (0.0, 1.0):
            return value == 1.0
    elif isinstance(value, int) and not isinstance(value, bool):
        if to == ValueType.DOUBLE and int(float(value)) == value:
            return float(value)
        if to == ValueType.BOOL and value in (0, 1):
            return value == 1
    return None


def sample_class(sample_type: ValueType) -> ValueType:
    """Returns what stands for all samples that are read together: NUMBER for integers and doubles, BOOL or STRING."""
    return ValueType.NUMBER if sample_type in NUMERIC else sample_type


def first_type(kind: SubjectKind, sample_type: ValueType) -> ValueType:
    """Returns the type of a metric that is seen for the first time.

    ANY for assets; NUMBER for figures of metric types, of which one choice may hold integers and another doubles;
    otherwise that of its sample.
    """
    if kind == SubjectKind.ASSET:
        return ValueType.ANY
    if kind == SubjectKind.METRIC_TYPE_CHOICE and sample_type in NUMERIC:
        return ValueType.NUMBER
    return sample_type


def default_kind(value_type: ValueType) -> MetricKind:
    """Returns the kind of a metric for which nobody chose one."""
    return MetricKind.TEXT if value_type == ValueType.STRING else MetricKind.GAUGE


def default_reading(kind: MetricKind, value_type: ValueType) -> tuple[Aggregate, Aggregate, PartCombination]:
    """Returns window aggregate, summary aggregate and part combination of a metric for which nobody chose any."""
    if kind == MetricKind.COUNTER:
        return Aggregate.INCREASE, Aggregate.INCREASE, PartCombination.SUM
    if kind == MetricKind.STATE:
        return Aggregate.LAST, Aggregate.LAST, PartCombination.WORST
    if kind == MetricKind.TEXT or value_type == ValueType.ANY:
        return Aggregate.LAST, Aggregate.LAST, PartCombination.LAST
    if value_type == ValueType.BOOL:
        return Aggregate.LAST, Aggregate.LAST, PartCombination.MAX
    return Aggregate.LAST, Aggregate.LAST, PartCombination.SUM


NUMBERS_COMBINED = frozenset({PartCombination.SUM, PartCombination.MAX, PartCombination.MIN})
"""Combinations that make a number of numbers; booleans count as 0 and 1."""


def combination_of(combination: PartCombination, sample_type: ValueType) -> PartCombination:
    """Returns how parts with samples of one type combine: a metric's own way, or LAST where that does not fit them.

    Samples do not fit where they are older than the metric's declaration, and in metrics of any type.
    """
    text = sample_type == ValueType.STRING
    unfit = combination in NUMBERS_COMBINED if text else combination == PartCombination.WORST
    return PartCombination.LAST if unfit else combination
