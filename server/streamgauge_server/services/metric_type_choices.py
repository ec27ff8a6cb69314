"""The choices of metric types: what figures are kept for. Those of built-in types are resources of other services."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamgauge_server.model.entities import Caller, Source
from streamgauge_server.model.errors import Violation, invalid
from streamgauge_server.model.job_errors import ErrorInfo
from streamgauge_server.model.jobs import JOB_TYPE_CHANGEABLE, JobType
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.metric_types import Choice, FigureType, MetricTypeInfo
from streamgauge_server.model.names import id_problem
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.metric_type_rules import MAX_FILTERS, choice_ids, choice_problems, type_id
from streamgauge_server.services.metric_types import READ, WRITE, MetricTypes, custom_id
from streamgauge_server.services.page_tokens import (
    cut_page,
    number_in,
    page_size_of,
    page_size_problems,
    request_digest,
    token_after,
)
from streamgauge_server.services.plot_values import choice_subject
from streamgauge_server.services.subject_registry import SubjectRegistry
from streamgauge_server.storage.store import Store

_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class ChoicePage:
    """A metric type with a page of its choices, the token of the next one, and how many the filters let through."""

    metric_type: MetricTypeInfo
    choices: Sequence[Choice]
    next_page_token: str
    total: int


class MetricTypeChoices:
    """Lists, creates and deletes choices; one instance serves all callers."""

    def __init__(self, store: Store, limits: Limits, types: MetricTypes, subjects: SubjectRegistry) -> None:
        self._store = store
        self._limits = limits
        self._types = types
        self._subjects = subjects

    async def page(
        self, caller: Caller, name: str, filters: Sequence[str], *, page_size: int, page_token: str
    ) -> ChoicePage:
        """Returns the metric type with resource name `name`, with a page of its choices by number.

        `filters` are `param=value`, compared exactly as text.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, METRIC_TYPE_NOT_FOUND, PAGE_TOKEN_MISMATCH.
        """
        require_scope(caller, READ)
        id_, problems = type_id(name, "name")
        problems.extend(page_size_problems(page_size))
        if len(filters) > MAX_FILTERS:
            problems.append(Violation("choice_filters", f"must have at most {MAX_FILTERS} entries, has {len(filters)}"))
        if problems:
            raise invalid(problems)
        metric_type = await self._types.get(caller, id_)
        wanted, problems = _wanted(metric_type, filters)
        if problems:
            raise invalid(problems)
        size = page_size_of(page_size)
        digest = request_digest("GetMetricType", name, *sorted(f"{key}={value}" for key, value in wanted.items()))
        last = token_after(page_token, digest, keys=1)
        after = number_in(last[0], smallest=0) if last else 0
        found, total = await self._found(caller.tenant, metric_type, wanted, after, size + 1)
        page, token = cut_page(found, size, digest, lambda choice: [str(choice.number)])
        return ChoicePage(metric_type, page, token, total)

    async def create(
        self, caller: Caller, parent: str, id: str, title: str, fields: Mapping[str, Any]
    ) -> tuple[str, Choice]:
        """Creates a choice of a custom metric type and returns it with the id of its metric type.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, METRIC_TYPE_NOT_FOUND, METRIC_TYPE_ALREADY_EXISTS, SUBJECT_LIMIT.
        """
        require_scope(caller, WRITE)
        metric_type, problems = custom_id(parent, "parent")
        if problem := id_problem(id):
            problems.append(Violation("choice_id", problem))
        problems.extend(choice_problems(title, fields))
        if problems:
            raise invalid(problems)
        new = Choice(metric_type, id, title=title, fields=fields)
        return metric_type, await self._store.metric_types.create_choice(caller.tenant, new, limits=self._limits)

    async def delete(self, caller: Caller, name: str, *, force: bool) -> None:
        """Deletes a choice of a custom metric type, with its values where that is forced.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, METRIC_TYPE_NOT_FOUND, METRIC_TYPE_IN_USE.
        """
        require_scope(caller, WRITE)
        metric_type, choice, problems = choice_ids(name, "name")
        if not problems:
            _, problems = custom_id(f"metricTypes/{metric_type}", "name")
        if problems:
            raise invalid(problems)
        await self._store.metric_types.delete_choice(caller.tenant, metric_type, choice, force=force)
        self._subjects.forget_name(caller.tenant, choice_subject(metric_type, choice))

    async def _found(
        self, tenant: str, metric_type: MetricTypeInfo, wanted: Mapping[str, str], after: int, limit: int
    ) -> tuple[list[Choice], int]:
        """Returns the first choices after a number that have the fields wanted, and how many there are in all."""
        if metric_type.figures == FigureType.JOB_TYPES:
            job_types, type_name, version = self._store.job_types, wanted.get("name"), wanted.get("version")
            types = await job_types.by_number(tenant, type_name=type_name, version=version, after=after, limit=limit)
            total = await job_types.count_of(tenant, type_name=type_name, version=version)
            return [_of_job_type(one) for one in types], total
        if metric_type.figures == FigureType.INGESTS:
            id_ = wanted.get("name")
            sources = await self._store.sources.ingesting(tenant, id=id_, after=after, limit=limit)
            return [_of_source(one) for one in sources], await self._store.sources.count_ingesting(tenant, id=id_)
        if metric_type.figures == FigureType.ERRORS:
            errors = await self._store.job_errors.list(tenant, built_in_only=True, limit=_AT_ONCE)
            every = [_of_error(error) for error in errors]
        else:
            every = await self._store.metric_types.choices_by_number(tenant, metric_type.name)
        passing = [choice for choice in every if _has(choice, wanted)]
        return [choice for choice in passing if choice.number > after][:limit], len(passing)


def _wanted(metric_type: MetricTypeInfo, filters: Sequence[str]) -> tuple[dict[str, str], list[Violation]]:
    """Returns the values that filters ask for, by param, and what is wrong with them."""
    known = [one.param for one in metric_type.filters]
    wanted: dict[str, str] = {}
    problems: list[Violation] = []
    for position, text in enumerate(filters):
        param, equals, value = text.partition("=")
        path = f"choice_filters[{position}]"
        if not equals:
            problems.append(Violation(path, "must have the form 'param=value'"))
        elif param not in known:
            names = ", ".join(known) or "no filter"
            problems.append(Violation(path, f"{metric_type.name} has {names}, not {param[:64]!r}"))
        elif wanted.setdefault(param, value) != value:
            problems.append(Violation(path, f"asks for two values of {param!r}"))
    return wanted, problems


def _has(choice: Choice, wanted: Mapping[str, str]) -> bool:
    return all(_text(_field(choice, param)) == value for param, value in wanted.items())


def _field(choice: Choice, param: str) -> Any:
    """Returns what a choice has under a filter's name: one of its fields, otherwise its id (`name`) or its title."""
    if param in choice.fields:
        return choice.fields[param]
    own: Mapping[str, Callable[[], Any]] = {"name": lambda: choice.id, "title": lambda: choice.title}
    return own[param]() if param in own else None


def _text(value: Any) -> str | None:
    """Returns a field as filters write it: booleans and whole numbers as JSON does. Nothing equals null."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)


_TOLD_OTHERWISE = ("type_name", "unmet_resources")
"""Fields of a job type that its choice has under another name, or as nothing where they are empty."""


def _of_job_type(job_type: JobType) -> Choice:
    fields = {
        "name": job_type.type_name,
        **{field: getattr(job_type, field) for field in JOB_TYPE_CHANGEABLE if field not in _TOLD_OTHERWISE},
        "unmet_resources": job_type.unmet_resources or None,
    }
    return Choice("", job_type.id, job_type.number, job_type.title or job_type.type_name, fields)


def _of_source(source: Source) -> Choice:
    title = source.display_name or source.id
    fields = {"name": source.id, "title": title, "connector_class": source.connector_class}
    return Choice("", source.id, source.number, title, fields)


def _of_error(error: ErrorInfo) -> Choice:
    fields = {
        "name": error.error,
        "title": error.title,
        "description": error.description,
        "job_type_name": error.job_type_name or None,
        "category": error.category.name,
        "is_builtin": error.built_in,
        "should_be_retried": error.should_be_retried,
    }
    return Choice("", error.error, error.number, error.title or error.error, fields)
