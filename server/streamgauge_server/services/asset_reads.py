"""Reading the metrics of assets: their history a page at a time, and their newest values with their age."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from streamgauge_server.model.clock import MAX_MICROS, Clock
from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import Violation, invalid
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName, metric_list_problems
from streamgauge_server.model.values import Scalar, SubjectKind
from streamgauge_server.services.asset_history import AssetHistory
from streamgauge_server.services.asset_moments import AssetMoment, MomentPage, Position, ReportedMetric
from streamgauge_server.services.assets import READ, asset_not_found, resolve_asset
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.off_loop import MANY_VALUES, off_loop
from streamgauge_server.services.page_tokens import (
    number_in,
    page_size_of,
    page_size_problems,
    request_digest,
    token_after,
    token_for,
)
from streamgauge_server.services.time_ranges import range_problem
from streamgauge_server.storage.blocks import LatestRow
from streamgauge_server.storage.store import Store
from streamgauge_server.timeseries.frame import Frame

_PAGE_OVERHEAD = 1_024
"""Bytes of an answer that are kept for its page token."""


@dataclass(frozen=True, slots=True)
class HistoryQuestion:
    """Which metrics of an asset to read, and which page of them, as a request has it.

    `asset` is a URN or a resource name. The range is [start, end) in microseconds; None stands for 1970 and for no end.
    Without `metrics` all are read. `problems` is what the edge found wrong, to be told along with the rest.
    """

    asset: str
    start: int | None = None
    end: int | None = None
    metrics: Sequence[str] = ()
    page_size: int = 0
    page_token: str = ""
    problems: Sequence[Violation] = ()


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Moments in rising order, and the token of the next page, empty on the last."""

    moments: Sequence[AssetMoment]
    next_page_token: str


class LatestAssetSample(NamedTuple):
    """The newest value of a metric by name, its moment, and how long ago that was (both in microseconds)."""

    metric: str
    value: Scalar
    time: int
    age: int


_new_sample: Callable[[Iterable[Any]], LatestAssetSample] = partial(tuple.__new__, LatestAssetSample)
"""What the constructor does, at a quarter of its cost."""


@dataclass(frozen=True, slots=True)
class LatestAsset:
    """The newest values of an asset in the order in which it first reported them; `asset` as the request names it."""

    asset: str
    name: SubjectName
    samples: list[LatestAssetSample]


@dataclass(frozen=True, slots=True)
class LatestAssets:
    """The newest values of those assets that exist, the others as the request names them, and the server's clock."""

    read_time: int
    assets: list[LatestAsset] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Reading:
    """A page on its way: whose it is, and what the asset has reported as far as is known."""

    tenant: str
    subject: SubjectName
    row: LatestRow
    page: MomentPage


class AssetReader:
    """Reads the metrics of assets; one instance serves all callers. What was written to parts of them is left out."""

    def __init__(self, store: Store, clock: Clock, limits: Limits, descriptors: Descriptors) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._descriptors = descriptors
        self._history = AssetHistory(store)

    async def history(self, caller: Caller, question: HistoryQuestion) -> HistoryPage:
        """Returns a page of an asset's moments; an asset without metrics has none.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, INVALID_TIME_RANGE, PAGE_TOKEN_MISMATCH, ASSET_NOT_FOUND.
        """
        require_scope(caller, READ)
        start = 0 if question.start is None else question.start
        end = MAX_MICROS if question.end is None else question.end
        subject = self._checked(question, start, end)
        digest = request_digest(
            "ListAssetMetrics", str(subject), *[str(edge) for edge in (question.start, question.end)], *question.metrics
        )
        begin = _position(token_after(question.page_token, digest, keys=2), start, end)
        row = await self._row(caller.tenant, subject)
        wanted = await self._descriptors.ids_of(caller.tenant, SubjectKind.ASSET, question.metrics)
        if not (row.samples if wanted is None else row.samples.keys() & wanted):
            return HistoryPage((), "")
        page = MomentPage(page_size_of(question.page_size), self._limits.max_response_bytes - _PAGE_OVERHEAD)
        reading = _Reading(caller.tenant, subject, row, page)
        since = begin.time
        if begin.after is not None:
            since += 1
            left = {id_ for id_ in begin.left(list(row.samples)) if wanted is None or id_ in wanted}
            await self._read(reading, begin.time, since, left)
        if page.next is None:
            await self._read(reading, since, end, wanted)
        token = "" if page.next is None else token_for(digest, _token_keys(page.next))
        return HistoryPage(page.moments, token)

    async def latest(self, caller: Caller, assets: Sequence[str], metrics: Sequence[str] = ()) -> LatestAssets:
        """Returns the newest values of assets in the order of the request, of some metrics or all.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD.
        """
        require_scope(caller, READ)
        names, problems = self._each_once(assets)
        if problems := [*problems, *metric_list_problems(metrics)]:
            raise invalid(problems)
        wanted = await self._descriptors.ids_of(caller.tenant, SubjectKind.ASSET, metrics)
        rows = await self._store.blocks.latest(caller.tenant, names)
        ids = {id_ for parts in rows.values() for id_ in parts[""].samples}
        descriptors = await self._descriptors.by_id(caller.tenant, SubjectKind.ASSET, ids)
        now = self._clock.now()
        answer = LatestAssets(now)
        for asset, name in zip(assets, names, strict=True):
            parts = rows.get(name)
            if parts is None:
                answer.unknown.append(asset)
                continue
            samples = [
                _new_sample((descriptors[id_].metric, value, time, now - time))
                for id_, (time, value, _, _) in parts[""].samples.items()
                if wanted is None or id_ in wanted
            ]
            answer.assets.append(LatestAsset(asset, name, samples))
        return answer

    async def _read(self, reading: _Reading, start: int, end: int, metrics: Set[int] | None) -> None:
        """Adds the moments of a range to a page until it ends."""
        page = reading.page
        first_blocks = page.size + 2
        async with aclosing(
            self._history.stretches(reading.row.subject_id, start, end, metrics, first_blocks=first_blocks)
        ) as stretches:
            async for frame in stretches:
                if not reading.row.samples.keys() >= frame.columns.keys():
                    # Reported for the first time since.
                    reading.row = await self._row(reading.tenant, reading.subject)
                reported = await self._reported(reading.tenant, reading.row, frame)
                if await off_loop(partial(page.add, frame, reported), heavy=_is_heavy(frame)):
                    return

    def _checked(self, question: HistoryQuestion, start: int, end: int) -> SubjectName:
        found = [*question.problems, *page_size_problems(question.page_size), *metric_list_problems(question.metrics)]
        if problem := range_problem(start, end, "time_range.start_time", "time_range.end_time"):
            found.append(problem)
        subject = resolve_asset(question.asset, "asset", self._limits.max_urn_bytes)
        if isinstance(subject, Violation):
            raise invalid([subject, *found])
        if found:
            raise invalid(found)
        return subject

    def _each_once(self, assets: Sequence[str]) -> tuple[list[SubjectName], list[Violation]]:
        """Returns the subjects that the field `assets` names, and what is wrong with it."""
        limit = self._limits.max_subjects_per_query
        if not 1 <= len(assets) <= limit:
            return [], [Violation("assets", f"must have 1 to {limit} entries, has {len(assets)}")]
        first: dict[SubjectName, int] = {}
        found: list[Violation] = []
        for position, asset in enumerate(assets):
            field = f"assets[{position}]"
            name = resolve_asset(asset, field, self._limits.max_urn_bytes)
            if isinstance(name, Violation):
                found.append(name)
            elif first.setdefault(name, position) != position:
                found.append(Violation(field, f"names the same asset as assets[{first[name]}], {name}"))
        return list(first), found

    async def _row(self, tenant: str, subject: SubjectName) -> LatestRow:
        rows = await self._store.blocks.latest(tenant, [subject])
        if subject not in rows:
            raise asset_not_found(subject)
        return rows[subject][""]

    async def _reported(self, tenant: str, row: LatestRow, frame: Frame) -> list[ReportedMetric]:
        """Returns the metrics of an asset in the order in which it first reported them.

        What the row does not know was deleted while it was read; it comes last.
        """
        ids = dict.fromkeys([*row.samples, *sorted(frame.columns)])
        descriptors = await self._descriptors.by_id(tenant, SubjectKind.ASSET, ids)
        return [ReportedMetric.of(id_, descriptors[id_].metric) for id_ in ids]


def _is_heavy(frame: Frame) -> bool:
    return len(frame.times) * len(frame.columns) > MANY_VALUES


def _position(keys: tuple[str, ...], start: int, end: int) -> Position:
    """Returns where the page with the keys of its token begins."""
    if not keys:
        return Position(start)
    return Position(number_in(keys[0], smallest=start, largest=end), number_in(keys[1]) if keys[1] else None)


def _token_keys(position: Position) -> tuple[str, str]:
    return str(position.time), "" if position.after is None else str(position.after)
