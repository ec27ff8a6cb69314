"""Which operators a vertex consists of, told by the names of its metrics."""

from __future__ import annotations

from collections.abc import Collection

MAX_OPERATOR_NAME = 80
"""Characters of an operator's name in the names of its metrics; Flink cuts what is longer."""

_RECORDS_OUT, _RECORDS_IN = ".numRecordsOut", ".numRecordsIn"
_SOURCE_MARK, _SINK_MARK = ".numRecordsInErrors", ".numRecordsSend"
_REPLACED = str.maketrans(" .:,", "____")
_CHAINED = "_->_"


def source_counts(vertex_name: str, names: Collection[str]) -> tuple[str, ...]:
    """Returns the metrics that count what the sources of a chained vertex emit; empty if they cannot be told.

    Sources of today's interface (FLIP-27) have a metric that no other operator has. Of older ones the first operator
    that the vertex is named after is the source.
    """
    known = frozenset(names)
    operators = _operators(known, _RECORDS_OUT)
    marked = [operator for operator in operators if operator + _SOURCE_MARK in known]
    return tuple(operator + _RECORDS_OUT for operator in marked or _first(vertex_name, operators))


def sink_counts(vertex_name: str, names: Collection[str]) -> tuple[str, ...]:
    """Returns the metrics that count what reaches the sinks of a chained vertex; empty if they cannot be told.

    Writers of today's interface (FLIP-143) have a metric that no other operator has. Of older ones the last operator
    that the vertex is named after is the sink.
    """
    known = frozenset(names)
    operators = _operators(known, _RECORDS_IN)
    marked = [operator for operator in operators if operator + _SINK_MARK in known]
    return tuple(operator + _RECORDS_IN for operator in marked or _last(vertex_name, operators))


def of_operators(metric: str, names: Collection[str]) -> tuple[str, ...]:
    """Returns the names by which operators have a metric, sorted."""
    return tuple(sorted(name for name in names if name.endswith("." + metric)))


def _operators(names: frozenset[str], metric: str) -> list[str]:
    # Flink leaves no dot in an operator's name, so a further dot is that of a group within the operator.
    cut = (name.removesuffix(metric) for name in names if name.endswith(metric))
    return sorted(operator for operator in cut if operator and "." not in operator)


def _first(vertex_name: str, operators: list[str]) -> list[str]:
    chain = vertex_name.translate(_REPLACED)
    found = [o for o in operators if chain == o or chain.startswith((o + _CHAINED, _cut_off(o)))]
    return [max(found, key=len)] if found else []


def _last(vertex_name: str, operators: list[str]) -> list[str]:
    chain = vertex_name.translate(_REPLACED)
    if "(" in chain and chain.endswith(")"):
        return []  # the chain branches: it has several ends
    last = chain.rpartition(_CHAINED)[2]
    found = [o for o in operators if chain == o or chain.endswith(_CHAINED + o) or last.startswith(_cut_off(o))]
    return [max(found, key=len)] if found else []


def _cut_off(operator: str) -> str:
    """Returns a prefix that matches only where the operator's name is one that was cut."""
    return operator if len(operator) == MAX_OPERATOR_NAME else "\n"
