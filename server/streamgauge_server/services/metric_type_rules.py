"""What may be said of custom metric types and their choices: everything that is wrong, each with its path."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamgauge_server.model.errors import Violation
from streamgauge_server.model.metric_types import Column, ColumnAggregate, Filter, Group
from streamgauge_server.model.names import MAX_NAME_BYTES, id_problem, text_problem

TYPE_PREFIX = "metricTypes/"
MAX_DESCRIPTION_BYTES = 4_096
MAX_SHORT_NAME_BYTES = 64
MAX_FILTERS = 20
MAX_GROUPS = 50
MAX_COLUMNS = 200
MAX_CHOICE_FIELDS = 50
FILTER_TYPES = ("bool", "date", "datetime", "float", "int", "string", "time")
AGGREGATES = (ColumnAggregate.SUM, ColumnAggregate.MIN, ColumnAggregate.MAX, ColumnAggregate.AVG)
"""How columns of custom metric types may combine."""


def type_id(name: str, field: str) -> tuple[str, list[Violation]]:
    """Returns the id of a metric type's resource name, and what is wrong with it."""
    id_ = name.removeprefix(TYPE_PREFIX)
    if not name.startswith(TYPE_PREFIX) or id_problem(id_):
        return "", [Violation(field, "must be the resource name of a metric type, 'metricTypes/{metric_type}'")]
    return id_, []


def choice_ids(name: str, field: str) -> tuple[str, str, list[Violation]]:
    """Returns the ids of metric type and choice of a choice's resource name, and what is wrong with it."""
    parts = name.split("/")
    if len(parts) == 4 and (parts[0] + "/", parts[2]) == (TYPE_PREFIX, "choices"):
        _, id_, _, choice = parts
        if id_problem(id_) is None and id_problem(choice) is None:
            return id_, choice, []
    form = "'metricTypes/{metric_type}/choices/{choice}'"
    return "", "", [Violation(field, f"must be the resource name of a choice, {form}")]


def type_problems(fields: Mapping[str, Any], groups: Iterable[str]) -> list[Violation]:
    """Returns what is wrong with the fields of a custom metric type that are given.

    `groups` are the names of the groups that columns may belong to. Columns as they came have an aggregate of None
    where the request has none that there is.
    """
    found: list[Violation] = []
    _check(found, "metric_type.title", text_problem(fields.get("title", ""), MAX_NAME_BYTES))
    _check(found, "metric_type.description", text_problem(fields.get("description", ""), MAX_DESCRIPTION_BYTES))
    if "filters" in fields:
        found.extend(_filter_problems(fields["filters"]))
    if "groups" in fields:
        found.extend(_group_problems(fields["groups"]))
    if "columns" in fields:
        found.extend(_column_problems(fields["columns"], set(groups)))
    return found


def choice_problems(title: str, fields: Mapping[str, Any]) -> list[Violation]:
    """Returns what is wrong with a choice: its title and its other fields, plain values by name."""
    found: list[Violation] = []
    _check(found, "choice.title", text_problem(title, MAX_NAME_BYTES))
    if len(fields) > MAX_CHOICE_FIELDS:
        _check(found, "choice.fields", f"must have at most {MAX_CHOICE_FIELDS} entries, has {len(fields)}")
        return found
    for name, value in fields.items():
        path = f'choice.fields["{name[:MAX_SHORT_NAME_BYTES]}"]'
        _check(found, path, _key_problem(name) or _field_problem(value))
    return found


def _filter_problems(filters: Sequence[Filter]) -> list[Violation]:
    path = "metric_type.filters"
    if len(filters) > MAX_FILTERS:
        return [Violation(path, f"must have at most {MAX_FILTERS} entries, has {len(filters)}")]
    found: list[Violation] = []
    seen: set[str] = set()
    for position, one in enumerate(filters):
        _check_name(found, f"{path}[{position}].param", one.param, seen)
        if one.type not in FILTER_TYPES:
            _check(found, f"{path}[{position}].type", f"must be one of {', '.join(FILTER_TYPES)}, is {one.type[:64]!r}")
    return found


def _group_problems(groups: Sequence[Group]) -> list[Violation]:
    path = "metric_type.groups"
    if len(groups) > MAX_GROUPS:
        return [Violation(path, f"must have at most {MAX_GROUPS} entries, has {len(groups)}")]
    found: list[Violation] = []
    seen: set[str] = set()
    for position, group in enumerate(groups):
        at = f"{path}[{position}]"
        _check_name(found, f"{at}.group", group.group, seen)
        _check(found, f"{at}.title", text_problem(group.title, MAX_NAME_BYTES))
        _check(found, f"{at}.description", text_problem(group.description, MAX_DESCRIPTION_BYTES))
    return found


def _column_problems(columns: Sequence[Column], groups: set[str]) -> list[Violation]:
    path = "metric_type.columns"
    if not 1 <= len(columns) <= MAX_COLUMNS:
        return [Violation(path, f"must have 1 to {MAX_COLUMNS} entries, has {len(columns)}")]
    found: list[Violation] = []
    seen: set[str] = set()
    for position, column in enumerate(columns):
        at = f"{path}[{position}]"
        _check_name(found, f"{at}.column", column.name, seen)
        _check(found, f"{at}.title", text_problem(column.title, MAX_NAME_BYTES))
        _check(found, f"{at}.description", text_problem(column.description, MAX_DESCRIPTION_BYTES))
        _check(found, f"{at}.units", text_problem(column.units, MAX_SHORT_NAME_BYTES))
        if column.group and column.group not in groups:
            _check(found, f"{at}.group", f"the metric type has no group {column.group[:64]!r}")
        if column.aggregate not in AGGREGATES:
            names = ", ".join(aggregate.name for aggregate in AGGREGATES)
            actual = getattr(column.aggregate, "name", column.aggregate)
            _check(found, f"{at}.aggregate", f"must be one of {names}, is {actual}")
    return found


def _check_name(found: list[Violation], field: str, name: str, seen: set[str]) -> None:
    problem = text_problem(name, MAX_SHORT_NAME_BYTES, required=True)
    if problem is None and name in seen:
        problem = f"names {name!r} twice"
    seen.add(name)
    _check(found, field, problem)


def _key_problem(name: str) -> str | None:
    problem = text_problem(name, MAX_SHORT_NAME_BYTES, required=True)
    return f"the name {problem}" if problem else None


def _field_problem(value: Any) -> str | None:
    if isinstance(value, str):
        return text_problem(value, MAX_DESCRIPTION_BYTES)
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be finite, is {value}"
    if value is None or isinstance(value, bool | int | float):
        return None
    return "must be a text, a number, a boolean or null"


def _check(found: list[Violation], field: str, problem: str | None) -> None:
    if problem:
        found.append(Violation(field, problem))
