"""Corrections of assets' metrics: taking values back by range, by name, by the run that emitted them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from streamgauge_server.model.clock import MAX_MICROS, MIN_MICROS
from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import Violation, invalid
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import COLLECTIONS, SubjectName, metric_list_problems
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.assets import WRITE, asset_not_found, resolve_asset
from streamgauge_server.services.auth import require_scope
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.idempotency import id_problem
from streamgauge_server.services.time_ranges import range_problem
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey

EVERY_ASSET = f"{COLLECTIONS[SubjectKind.ASSET]}/-"
MAX_COUNTED_METRICS = 1_000
ASSETS_LOOKED_UP = 1_000
"""Assets of a run that are looked up at once."""
ASSETS_AT_ONCE = 200
"""Assets of a run that one transaction corrects, at most."""
BLOCKS_AT_ONCE = 2_000
"""Blocks of the run that one transaction takes, as far as one asset does not have more."""
TRANSACTION_SECONDS = 0.25
"""What a transaction is to take at most: so long emits wait. Where much must be read, it corrects fewer assets."""
_FIRST_ASSETS, _FEWEST_ASSETS = 25, 5


@dataclass(frozen=True, slots=True)
class Correction:
    """What to delete, as a request has it: the values that all of the given filters let through.

    `asset` is a URN, a resource name, or EVERY_ASSET for all that a run emitted on. The range is [start, end) in
    microseconds, None is open; with both ends open there is no range. `all` stands for every value of the asset. With
    `validate_only` values are counted and stay. `problems` is what the edge found wrong, to be told along with the
    rest.
    """

    asset: str
    start: int | None = None
    end: int | None = None
    metrics: Sequence[str] = ()
    run_id: str = ""
    all: bool = False
    validate_only: bool = False
    problems: Sequence[Violation] = ()


@dataclass(frozen=True, slots=True)
class Corrected:
    """How many values stood and are gone, of how many assets, and of which metrics: those with the most, by name."""

    values: int
    assets: int
    by_metric: Mapping[str, int]


@dataclass(slots=True)
class _Tally:
    """What is gone so far: how many values by metric id, of how many assets."""

    values: Counter[int] = field(default_factory=Counter)
    assets: int = 0


class AssetCorrections:
    """Deletes metrics of assets; one instance serves all callers."""

    def __init__(self, store: Store, limits: Limits, descriptors: Descriptors) -> None:
        self._store = store
        self._limits = limits
        self._descriptors = descriptors

    async def delete(self, caller: Caller, correction: Correction) -> Corrected:
        """Deletes values and returns how many stood.

        What a run emitted goes as if the run had never been: a value that it replaced stands again. Each asset is
        corrected wholly or not at all, those of a run some hundred at a time; a call that breaks off has corrected some
        of them, and a repeat corrects the rest.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD, INVALID_TIME_RANGE, ASSET_NOT_FOUND.
        """
        require_scope(caller, WRITE)
        subject = self._checked(correction)
        metrics = await self._descriptors.ids_of(caller.tenant, SubjectKind.ASSET, correction.metrics)
        tally = _Tally()
        if subject is not None:
            key = SubjectKey(subject, "")
            found = await self._store.subjects.resolve(caller.tenant, [key])
            if key not in found or not await self._delete([found[key]], correction, metrics, tally):
                raise asset_not_found(subject)
        else:
            await self._delete_of_run(caller.tenant, correction, metrics, tally)
        return Corrected(tally.values.total(), tally.assets, await self._named(caller.tenant, tally.values))

    async def _delete_of_run(
        self, tenant: str, correction: Correction, metrics: Collection[int] | None, tally: _Tally
    ) -> None:
        after, pace = 0, _Pace()
        while blocks := await self._store.corrections.subjects_of_run(
            tenant, SubjectKind.ASSET, correction.run_id, after=after, limit=ASSETS_LOOKED_UP
        ):
            remaining = list(blocks)
            while remaining:
                portion = _portion(remaining, blocks, pace.assets)
                began = monotonic()
                # An asset that is gone by now has lost the run's values with all others.
                await self._delete(portion, correction, metrics, tally)
                pace.took(monotonic() - began)
                after = portion[-1]
                del remaining[: len(portion)]

    async def _delete(
        self, subject_ids: Collection[int], correction: Correction, metrics: Collection[int] | None, tally: _Tally
    ) -> bool:
        """Deletes values of some assets and counts them; returns whether any of the assets is still there."""
        if metrics is not None and not metrics:
            return True
        deleted = await self._store.corrections.delete_from_each(
            subject_ids,
            start=MIN_MICROS if correction.start is None else correction.start,
            end=MAX_MICROS if correction.end is None else correction.end,
            metrics=metrics,
            run_id=correction.run_id,
            validate_only=correction.validate_only,
        )
        for of_asset in deleted.values():
            tally.assets += any(of_asset.values.values())
            tally.values.update(of_asset.values)
        return bool(deleted)

    def _checked(self, correction: Correction) -> SubjectName | None:
        """Returns the asset to correct, None for all that a run emitted on."""
        subject: SubjectName | Violation | None = None
        if correction.asset != EVERY_ASSET:
            subject = resolve_asset(correction.asset, "asset", self._limits.max_urn_bytes)
        elif not correction.run_id:
            subject = Violation("asset", f"can be {EVERY_ASSET!r} only together with a run_id")
        found = [subject] if isinstance(subject, Violation) else []
        found += [*correction.problems, *metric_list_problems(correction.metrics)]
        if correction.run_id and (problem := id_problem(correction.run_id)):
            found.append(Violation("run_id", problem))
        if correction.start is not None and correction.end is not None:
            edges = correction.start, correction.end
            if empty := range_problem(*edges, "time_range.start_time", "time_range.end_time"):
                found.append(empty)
        filters = _filters(correction)
        if correction.all and filters:
            found.append(Violation("all", f"cannot be combined with {' and '.join(filters)}"))
        elif not (correction.all or filters or correction.problems):  # a moment that is wrong is given nevertheless
            found.append(Violation("all", "must be set where none of time_range, metrics and run_id is given"))
        if isinstance(subject, Violation) or found:
            raise invalid(found)
        return subject

    async def _named(self, tenant: str, counts: Counter[int]) -> dict[str, int]:
        most = counts.most_common(MAX_COUNTED_METRICS)
        descriptors = await self._descriptors.by_id(tenant, SubjectKind.ASSET, [id_ for id_, _ in most])
        return {descriptors[id_].metric: count for id_, count in most}


class _Pace:
    """How many assets the next transaction corrects."""

    def __init__(self) -> None:
        self.assets = min(_FIRST_ASSETS, ASSETS_AT_ONCE)

    def took(self, seconds: float) -> None:
        """Takes note of how long the last one took."""
        if seconds > TRANSACTION_SECONDS:
            self.assets = min(self.assets, max(_FEWEST_ASSETS, self.assets // 2))
        elif seconds < TRANSACTION_SECONDS / 4:
            self.assets = min(2 * self.assets, ASSETS_AT_ONCE)


def _portion(subject_ids: Sequence[int], blocks: Mapping[int, int], at_most: int) -> Sequence[int]:
    """Returns the first assets, for one transaction, given how many blocks of each are concerned."""
    room = BLOCKS_AT_ONCE
    for position, subject_id in enumerate(subject_ids[:at_most]):
        room -= blocks[subject_id]
        if room < 0 and position:
            return subject_ids[:position]
    return subject_ids[:at_most]


def _filters(correction: Correction) -> list[str]:
    """Returns the names of the filters that are given."""
    given = {
        "time_range": correction.start is not None or correction.end is not None,
        "metrics": bool(correction.metrics),
        "run_id": bool(correction.run_id),
    }
    return [name for name, is_given in given.items() if is_given]
