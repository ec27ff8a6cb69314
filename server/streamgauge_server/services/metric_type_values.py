"""Writing the values of custom metric types: observations of their choices, all of a call or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import Caller, Observation
from streamgauge_server.model.errors import Reason, Violation, invalid, invalid_field
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.metric_types import MetricTypeInfo
from streamgauge_server.model.names import id_problem
from streamgauge_server.model.values import NUMERIC, Scalar, ValueType, type_of
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.metric_type_rules import TYPE_PREFIX
from streamgauge_server.services.metric_types import WRITE, MetricTypes
from streamgauge_server.services.metrics_write import MetricsWriter
from streamgauge_server.services.plot_values import choice_subject
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.services.write_checks import clip, time_problem, value_problem


@dataclass(frozen=True, slots=True)
class ChoiceValues:
    """Values of one choice by column at one moment (microseconds, None is now), as decoded at the edge."""

    choice: str
    time: int | None
    values: Mapping[str, Scalar | None]


class MetricTypeValues:
    """Writes values; one instance serves all callers."""

    def __init__(
        self, types: MetricTypes, writer: MetricsWriter, subjects: SubjectRegistry, clock: Clock, limits: Limits
    ) -> None:
        self._types = types
        self._writer = writer
        self._subjects = subjects
        self._clock = clock
        self._limits = limits

    async def write(self, caller: Caller, name: str, values: Sequence[ChoiceValues]) -> int:
        """Writes values and returns how many there are, when they are durable.

        Raises:
            DomainError: SCOPE_MISSING, METRIC_TYPE_NOT_FOUND, INVALID_FIELD, VALUE_TYPE_MISMATCH, STORE_UNAVAILABLE.
        """
        require_scope(caller, WRITE)
        most = self._limits.max_observations_per_write
        if not 1 <= len(values) <= most:
            raise invalid_field("values", f"must have 1 to {most} entries, has {len(values)}")
        metric_type = await self._types.custom(caller, name, "name")
        named = {
            one.choice: choice_subject(metric_type.name, one.choice) for one in values if not id_problem(one.choice)
        }
        unknown = await self._subjects.unknown(caller.tenant, named.values())
        missing = {choice for choice, subject in named.items() if subject in unknown}
        now = self._clock.now()
        problems = [
            Violation(f"values[{index}].{wrong.field}", wrong.description, wrong.reason, wrong.metadata)
            for index, one in enumerate(values)
            for wrong in self._problems(metric_type, one, missing, now)
        ]
        if problems:
            raise invalid(problems)
        observations = [
            Observation(str(named[one.choice]), time=one.time, values=_numbers(one.values)) for one in values
        ]
        await self._writer.write(caller, observations, atomic=True, field="values")
        # Of values of one choice, column and moment the last one is stored.
        return len({(one.choice, one.time, column) for one in values for column in one.values})

    def _problems(self, metric_type: MetricTypeInfo, one: ChoiceValues, missing: set[str], now: int) -> list[Violation]:
        """Returns what is wrong with an entry, with paths below it."""
        found: list[Violation] = []
        if problem := id_problem(one.choice):
            found.append(Violation("choice", problem))
        elif one.choice in missing:
            name = f"{TYPE_PREFIX}{metric_type.name}/choices/{one.choice}"
            found.append(Violation("choice", f"there is no {name}", Reason.METRIC_TYPE_NOT_FOUND, {"name": name}))
        if one.time is not None and (problem := time_problem(one.time, now, self._limits)):
            found.append(Violation("time", problem))
        if not one.values:
            found.append(Violation("values", "must have at least one entry"))
        columns = {column.name for column in metric_type.columns}
        for column, value in one.values.items():
            path = f'values["{clip(column)}"]'
            if column not in columns:
                found.append(Violation(path, f"{metric_type.name} has no such column"))
            elif problem := value_problem(value, self._limits):
                found.append(Violation(path, problem))
            elif value is not None and (actual := type_of(value)) not in NUMERIC:
                found.append(
                    Violation(
                        path,
                        f"must be a number, is of type {actual.name}",
                        Reason.VALUE_TYPE_MISMATCH,
                        {"metric": column, "expected": ValueType.NUMBER.name, "actual": actual.name},
                    )
                )
        return found


def _numbers(values: Mapping[str, Scalar | None]) -> dict[str, Scalar]:
    return {column: value for column, value in values.items() if value is not None}
