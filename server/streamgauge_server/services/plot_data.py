"""Plot data: the figures of a metric type over windows, of choices by themselves or of all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from streamgauge_server.model.clock import MAX_MICROS, MICROS_PER_DAY, MICROS_PER_HOUR, Clock
from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import DomainError, Reason, Violation, invalid
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.metric_types import ALL_CHOICES, Column, FigureType, MetricTypeInfo
from streamgauge_server.model.windows import Window, WindowUnit
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.metric_type_rules import type_id
from streamgauge_server.services.metric_types import READ, WRITE, MetricTypes
from streamgauge_server.services.metrics_query import MAX_WINDOW_COUNT
from streamgauge_server.services.off_loop import off_loop
from streamgauge_server.services.page_tokens import (
    damaged_token,
    page_size_of,
    page_size_problems,
    request_digest,
    token_after,
    token_for,
)
from streamgauge_server.services.plot_figures import FigurePlot, stretches
from streamgauge_server.services.plot_series import MAX_NAMED, PlotSeries, chosen_columns
from streamgauge_server.services.plot_values import PlotValues
from streamgauge_server.services.time_ranges import range_problem
from streamgauge_server.storage.figures import StoredFigures
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.envelope import BlockCorrupt

MAX_RECALCULATED_DAYS = 366
MAX_ROWS = 500_000
"""Rows of figures that one plot reads; a page with as many values of one column would be too large for any answer."""

_MANY_ROWS = 300
_START, _END = "time_range.start_time", "time_range.end_time"


@dataclass(frozen=True, slots=True)
class PlotAsked:
    """What is asked. Times in microseconds, None for the default; `problems` is what the edge found wrong."""

    name: str
    columns: Sequence[str]
    groups: Sequence[str]
    choices: Sequence[int]
    start: int | None
    end: int | None
    window: Window
    page_size: int
    page_token: str
    problems: Sequence[Violation] = ()

    @property
    def digest(self) -> bytes:
        """What a page token is bound to."""
        numbers = [self.start, self.end, self.window.unit, self.window.count, *self.choices]
        named = [str(len(self.columns)), *self.columns, str(len(self.groups)), *self.groups]
        return request_digest("GetPlotData", self.name, *named, *map(str, numbers))


@dataclass(frozen=True, slots=True)
class PlotPage:
    """A page of series, the token of the next one, how many columns there are, and as of when the figures are."""

    series: Sequence[PlotSeries]
    next_page_token: str
    total: int
    computed_at: int


class PlotData:
    """Answers plots and recalculates figures; one instance serves all callers."""

    def __init__(self, store: Store, clock: Clock, limits: Limits, types: MetricTypes, values: PlotValues) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._types = types
        self._values = values

    async def plot(self, caller: Caller, asked: PlotAsked) -> PlotPage:
        """Answers a plot. What was acknowledged before `computed_at` is in it.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, INVALID_TIME_RANGE, TOO_MANY_WINDOWS, METRIC_TYPE_NOT_FOUND,
                PAGE_TOKEN_MISMATCH, STORE_UNAVAILABLE.
        """
        require_scope(caller, READ)
        now = self._clock.now()
        # What ends now is in the answer: a moment is as long as a microsecond.
        start, end = asked.start or 0, now + 1 if asked.end is None else asked.end
        metric_type, columns = await self._checked(caller, asked, start, end)
        size = page_size_of(asked.page_size)
        first = _place(token_after(asked.page_token, asked.digest, keys=1), columns)
        page = columns[first : first + size]
        token = token_for(asked.digest, [page[-1].name]) if first + size < len(columns) else ""
        hours = -(-start // MICROS_PER_HOUR), -(-end // MICROS_PER_HOUR)
        if metric_type.figures is not None:
            series = await self._figures(caller.tenant, metric_type.figures, page, asked, *hours)
        else:
            series = await self._observed(caller.tenant, metric_type, page, asked, *hours)
        return PlotPage(series, token, len(columns), now)

    async def recalculate(
        self,
        caller: Caller,
        name: str,
        start: int | None,
        end: int | None,
        problems: Sequence[Violation],
        *,
        validate_only: bool,
    ) -> tuple[int, int]:
        """Computes the figures of a built-in metric type anew from the records, and repairs them unless told not to.

        The range is widened to whole hours. Returns how many figures of a choice and an hour there are in it, and how
        many of them differed.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, INVALID_TIME_RANGE, METRIC_TYPE_NOT_FOUND, STORE_UNAVAILABLE.
        """
        require_scope(caller, WRITE)
        id_, wrong = type_id(name, "name")
        found = [*wrong, *problems]
        if start is not None and end is not None:
            if problem := range_problem(start, end, _START, _END):
                found.append(problem)
            elif end - start > MAX_RECALCULATED_DAYS * MICROS_PER_DAY:
                days = f"{(end - start) / MICROS_PER_DAY:.6g}"
                found.append(
                    Violation("time_range", f"must not be longer than {MAX_RECALCULATED_DAYS} days, has {days}")
                )
        metric_type = None if wrong else await self._known(caller, id_, found)
        if metric_type is not None and metric_type.figures is None:
            found.append(Violation("name", f"{name} is a custom metric type: its figures are its values"))
        if found or metric_type is None or metric_type.figures is None or start is None or end is None:
            raise invalid(found)
        hours = start // MICROS_PER_HOUR, (end - 1) // MICROS_PER_HOUR
        found_out = await self._store.figures.recalculate(
            caller.tenant, metric_type.figures, *hours, repair=not validate_only
        )
        return found_out.checked, found_out.changed

    async def _checked(
        self, caller: Caller, asked: PlotAsked, start: int, end: int
    ) -> tuple[MetricTypeInfo, list[Column]]:
        """Returns the metric type and the columns of a plot that nothing is wrong with."""
        id_, found = type_id(asked.name, "name")
        found += [*page_size_problems(asked.page_size), *asked.problems]
        if len(asked.choices) > MAX_NAMED:
            found.append(Violation("choices", f"must have at most {MAX_NAMED} entries, has {len(asked.choices)}"))
        if not 1 <= asked.window.count <= MAX_WINDOW_COUNT:
            found.append(Violation("window.count", f"must be 1 to {MAX_WINDOW_COUNT}, is {asked.window.count}"))
        if asked.window.unit == WindowUnit.MINUTE:
            found.append(Violation("window.unit", "must be one of HOUR, DAY, WEEK, MONTH, is MINUTE"))
        bad_moment = any(problem.field in (_START, _END) for problem in asked.problems)
        if not bad_moment and (problem := range_problem(start, end, _START, _END)):
            found.append(problem)
        metric_type = await self._known(caller, id_, found) if id_ else None
        columns: list[Column] = []
        if metric_type is not None:
            columns, problems = chosen_columns(metric_type, asked.columns, asked.groups)
            found.extend(problems)
        if found or metric_type is None:
            raise invalid(found)
        return metric_type, columns

    async def _known(self, caller: Caller, id: str, found: Sequence[Violation]) -> MetricTypeInfo | None:
        """Returns a metric type; None for one that does not exist if something is wrong with the request besides."""
        try:
            return await self._types.get(caller, id)
        except DomainError as error:
            if found and error.reason == Reason.METRIC_TYPE_NOT_FOUND:
                return None
            raise

    async def _figures(
        self, tenant: str, type: FigureType, columns: Sequence[Column], asked: PlotAsked, first_hour: int, end_hour: int
    ) -> list[PlotSeries]:
        choices = (
            sorted({choice for choice in asked.choices if choice > ALL_CHOICES}) if asked.choices else [ALL_CHOICES]
        )
        of_range = stretches(first_hour, end_hour, asked.window)

        async def read() -> list[StoredFigures]:
            rows = await self._store.figures.rows(tenant, type, choices, of_range, limit=MAX_ROWS + 1)
            if len(rows) > MAX_ROWS:
                raise self._too_many(f"more than {MAX_ROWS}", "values: name fewer choices,")
            return rows

        def render(rows: Sequence[StoredFigures]) -> list[PlotSeries]:
            plot = FigurePlot(type, rows, asked.window)
            self._check_windows(plot.windows)
            return plot.series(columns)

        rows = await read()
        try:
            return await off_loop(partial(render, rows), heavy=len(rows) > _MANY_ROWS)
        except BlockCorrupt:
            await self._store.figures.mend(tenant, type, rows)
            rows = await read()
        return await off_loop(partial(render, rows), heavy=len(rows) > _MANY_ROWS)

    async def _observed(
        self,
        tenant: str,
        metric_type: MetricTypeInfo,
        columns: Sequence[Column],
        asked: PlotAsked,
        first_hour: int,
        end_hour: int,
    ) -> list[PlotSeries]:
        wanted = set(asked.choices)
        numbers = [
            choice.number
            for choice in await self._store.metric_types.choices_by_number(tenant, metric_type.name)
            if not asked.choices or choice.number in wanted
        ]
        start, end = first_hour * MICROS_PER_HOUR, min(end_hour * MICROS_PER_HOUR, MAX_MICROS)
        if start >= end:
            return [PlotSeries(column) for column in columns]
        windows = await self._values.windows(numbers, start, end, asked.window)
        self._check_windows(len(windows.indexes))
        return await self._values.read(tenant, columns, numbers, windows, asked.window, apart=bool(asked.choices))

    def _check_windows(self, count: int) -> None:
        if count > self._limits.max_windows:
            raise self._too_many(str(count), "windows with data:")

    def _too_many(self, actual: str, what: str) -> DomainError:
        limit = self._limits.max_windows
        return invalid(
            [
                Violation(
                    "window",
                    f"makes {actual} {what} shorten the range or enlarge the windows; at most {limit} are allowed",
                    Reason.TOO_MANY_WINDOWS,
                    {"limit": str(limit), "actual": actual},
                )
            ]
        )


def _place(after: Sequence[str], columns: Sequence[Column]) -> int:
    """Returns the position of the first column of a page."""
    if not after:
        return 0
    for position, column in enumerate(columns):
        if column.name == after[0]:
            return position + 1
    raise damaged_token()
