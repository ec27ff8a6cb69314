"""Metrics of assets as they are emitted and as they are answered. Times are timezone-aware, UTC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from streamgauge.enums import AssetValueType, Scalar
from streamgauge.errors import Violation
from streamgauge.observations import RejectedItemsError
from streamgauge.paging import AsyncPager, Pager

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class AssetValue:
    """A value whose type is not that of its Python type: `AssetValue("50", "number")` is the number 50.

    Without a `type` the server guesses it: `AssetValue("50")` is a number too, `AssetValue("007")` a text.
    """

    value: Scalar
    type: AssetValueType | str | None = None


MetricValues: TypeAlias = Mapping[str, Scalar | AssetValue]
"""What is emitted, by metric name. A Python value keeps its type: `"50"` is a text, `50` a number, `True` a boolean."""


@dataclass(frozen=True, slots=True)
class Emit:
    """Metrics of one asset at one moment.

    `asset` is a URN, or the resource name of a registered asset. Without a `time` it is the server's now. What has the
    same `run_id` can be deleted together.

    Example:
        >>> from streamgauge import Emit
        >>> Emit("urn:li:dataset:(urn:li:dataPlatform:postgres,shop.orders,PROD)", {"rowCount": 5, "fresh": True})
    """

    asset: str
    metrics: MetricValues
    time: datetime | None = None
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class AssetMetric:
    """One metric as it is stored. `guessed` tells whether the server guessed the type, in answers to an emit."""

    name: str
    value: Scalar | None
    value_type: AssetValueType
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class EmitResult:
    """What was emitted, durable: `time` is the moment as stored, to the millisecond.

    `metrics` are those of the request in its order, or all of this moment where that was asked for. `warnings` say in
    words what was accepted and is likely not what was meant.
    """

    asset: str
    urn: str
    time: datetime
    metrics: Mapping[str, AssetMetric]
    warnings: tuple[str, ...] = ()

    def __getitem__(self, metric: str) -> AssetMetric:
        return self.metrics[metric]


@dataclass(frozen=True, slots=True)
class EmitError:
    """Why one emit of many was refused, whole.

    `index` counts the emits as given, from 0. `reason` is a name of `Reason`; `violations` is everything that is wrong,
    at most 100 entries.
    """

    index: int
    asset: str
    reason: str
    message: str
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchEmitResult:
    """The outcome of `client.assets.emit_many`. Accepted emits are durable.

    `emitted` has the answers by the index of the emit as given; it is empty with `errors_only`.
    """

    accepted: int
    rejected: int
    emitted: Mapping[int, EmitResult] = field(default_factory=dict)
    errors: tuple[EmitError, ...] = ()

    def raise_for_rejected(self) -> None:
        """Raises `RejectedItemsError` if any emit was refused."""
        if self.rejected:
            raise RejectedItemsError(self)


@dataclass(frozen=True, slots=True)
class AssetMoment:
    """The metrics of an asset at one moment, in the order in which the asset first reported them."""

    time: datetime
    metrics: Mapping[str, AssetMetric]

    def __getitem__(self, metric: str) -> AssetMetric:
        return self.metrics[metric]


class History(Pager[AssetMoment]):
    """The moments of an asset in rising order, fetched as they are needed. Every iteration asks the server anew.

    Example:
        >>> for moment in client.assets.history(urn, metrics=["rowCount"]):
        ...     print(moment.time, moment["rowCount"].value)
    """

    def __iter__(self) -> Iterator[AssetMoment]:
        """Yields each moment once, also one that a page did not have room for."""
        last: AssetMoment | None = None
        for moment in super().__iter__():
            last, whole = _joined(last, moment)
            if whole is not None:
                yield whole
        if last is not None:
            yield last

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a DataFrame: a row per moment (index `time`, UTC), a column per metric, exact nullable types.

        A metric with values of several types is a column of Python objects. Needs `streamgauge[pandas]`; ImportError
        says so otherwise.
        """
        from streamgauge import dataframes

        return dataframes.from_moments(list(self))


class AsyncHistory(AsyncPager[AssetMoment]):
    """The moments of an asset in rising order: `async for`. See `History`."""

    async def __aiter__(self) -> AsyncIterator[AssetMoment]:
        """Yields each moment once, also one that a page did not have room for."""
        last: AssetMoment | None = None
        async for moment in super().__aiter__():
            last, whole = _joined(last, moment)
            if whole is not None:
                yield whole
        if last is not None:
            yield last

    async def to_dataframe(self) -> pandas.DataFrame:
        """Returns a DataFrame. See `History.to_dataframe`."""
        from streamgauge import dataframes

        return dataframes.from_moments([moment async for moment in self])


def _joined(last: AssetMoment | None, moment: AssetMoment) -> tuple[AssetMoment, AssetMoment | None]:
    """Returns the moment to go on with, and the one before it if that is whole now."""
    if last is None or last.time != moment.time:
        return moment, last
    return AssetMoment(last.time, {**last.metrics, **moment.metrics}), None


@dataclass(frozen=True, slots=True)
class AssetLatestValue:
    """The newest value of one metric. `time` is the moment it was emitted for, `age` how long ago that is."""

    name: str
    value: Scalar | None
    value_type: AssetValueType
    time: datetime
    age: timedelta


@dataclass(frozen=True, slots=True)
class AssetLatest:
    """The newest values of one asset. `asset` is it as it was asked for, `name` its resource name."""

    asset: str
    name: str
    metrics: Mapping[str, AssetLatestValue]

    def __getitem__(self, metric: str) -> AssetLatestValue:
        return self.metrics[metric]


@dataclass(frozen=True, slots=True)
class AssetLatestResult:
    """The newest values of many assets, by the asset as it was asked for. `result[urn]["rowCount"].value` reads one.

    `unknown_assets` do not exist. `read_time` is the server's clock, to which ages are counted.
    """

    assets: Mapping[str, AssetLatest]
    unknown_assets: tuple[str, ...]
    read_time: datetime

    def __getitem__(self, asset: str) -> AssetLatest:
        return self.assets[asset]

    def to_dataframe(self) -> pandas.DataFrame:
        """Returns a DataFrame with a row per asset and metric. Needs `streamgauge[pandas]`; ImportError says so."""
        from streamgauge import dataframes

        return dataframes.from_asset_latest(self)


@dataclass(frozen=True, slots=True)
class DeletedMetrics:
    """What a deletion took, or would take.

    `values` counts the values that stood, `assets` those that lost any, `by_metric` the values of each metric (at most
    1,000 names, those with the most).
    """

    values: int
    assets: int
    by_metric: Mapping[str, int]
