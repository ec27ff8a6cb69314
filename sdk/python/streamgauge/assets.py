"""`client.assets`: data assets, and the metrics that are emitted on them."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Unpack

from google.protobuf.field_mask_pb2 import FieldMask

from streamgauge import _asset_codec as codec
from streamgauge import _encode, dataframes
from streamgauge._aio_calls import AsyncCallingChannel
from streamgauge._batches import WriterArguments, WriterOptions
from streamgauge._calls import CallingChannel
from streamgauge._encode import names
from streamgauge._failures import OnEmitError, log_failure
from streamgauge.aio_asset_writer import AsyncAssetWriter
from streamgauge.asset_metrics import (
    AssetLatestResult,
    AssetMoment,
    AsyncHistory,
    BatchEmitResult,
    DeletedMetrics,
    Emit,
    EmitResult,
    History,
    MetricValues,
)
from streamgauge.asset_writer import AssetWriter
from streamgauge.metrics import new_request_id
from streamgauge.paging import AsyncPager, Page, Pager
from streamgauge.resources import Asset
from streamgauge.v1 import asset_metric_service_pb2 as pb

if TYPE_CHECKING:
    import pandas

    from streamgauge.v1.asset_metric_service_pb2_grpc import AssetMetricServiceAsyncStub, AssetMetricServiceStub

EVERY_ASSET = "assets/-"
"""Stands for every asset that a run emitted on, in `delete_metrics`."""


def _emit(
    asset: str,
    metrics: MetricValues,
    *,
    time: datetime | None,
    run_id: str,
    guess: bool,
    validate_only: bool,
    return_merged: bool,
    request_id: str | None,
) -> pb.EmitAssetMetricsRequest:
    request = codec.emit(asset, metrics, time, run_id, guess)
    request.validate_only = validate_only
    request.return_merged = return_merged
    request.request_id = _request_id(request_id, validate_only)
    return request


def _request_id(given: str | None, validate_only: bool) -> str:
    if given is not None:
        return given
    return "" if validate_only else new_request_id()


def _batch(chunk: codec.Chunk, validate_only: bool, errors_only: bool) -> pb.BatchEmitAssetMetricsRequest:
    return pb.BatchEmitAssetMetricsRequest(
        requests=chunk.emits,
        validate_only=validate_only,
        errors_only=errors_only,
        request_id=_request_id(None, validate_only),
    )


def _history(
    asset: str, start: datetime | None, end: datetime | None, metrics: Iterable[str], page_size: int, page_token: str
) -> pb.ListAssetMetricsRequest:
    return pb.ListAssetMetricsRequest(
        asset=asset,
        time_range=_encode.time_range(start, end),
        metrics=names(metrics),
        page_size=page_size,
        page_token=page_token,
    )


def _moments(response: pb.ListAssetMetricsResponse) -> Page[AssetMoment]:
    return Page(tuple(map(codec.asset_moment, response.moments)), response.next_page_token)


def _deletion(
    asset: str,
    start: datetime | None,
    end: datetime | None,
    metrics: Iterable[str],
    run_id: str,
    everything: bool,
    validate_only: bool,
) -> pb.DeleteAssetMetricsRequest:
    return pb.DeleteAssetMetricsRequest(
        asset=asset,
        time_range=_encode.time_range(start, end),
        metrics=names(metrics),
        run_id=run_id,
        all=everything,
        validate_only=validate_only,
    )


def _list(
    platform: str, urn_prefix: str, labels: Mapping[str, str] | None, page_size: int, page_token: str
) -> pb.ListAssetsRequest:
    return pb.ListAssetsRequest(
        platform=platform,
        urn_prefix=urn_prefix,
        labels=[f"{key}={value}" for key, value in (labels or {}).items()],
        page_size=page_size,
        page_token=page_token,
    )


def _page(response: pb.ListAssetsResponse) -> Page[Asset]:
    return Page(tuple(map(codec.asset, response.assets)), response.next_page_token, response.total_size)


def _create(urn: str, labels: Mapping[str, str] | None) -> pb.CreateAssetRequest:
    return pb.CreateAssetRequest(asset=pb.Asset(urn=urn, labels=dict(labels or {})))


def _update(asset: str, labels: Mapping[str, str], etag: str) -> pb.UpdateAssetRequest:
    message = pb.Asset(name=codec.asset_name(asset), labels=dict(labels), etag=etag)
    return pb.UpdateAssetRequest(asset=message, update_mask=FieldMask(paths=["labels"]))


class Assets:
    """`client.assets`. An asset is named by its URN, or by the resource name that is derived from it (`assets/...`).

    A Python value is emitted with the type it has: `"50"` is a text, `50` a number, `True` a boolean; nothing is
    guessed. With `guess=True` the server guesses the type of every value, as it does for other callers that name none:
    `"50"` becomes a number, `"true"` a boolean. `AssetValue` says it for one value.

    Every method takes `timeout` in seconds, over all attempts, and raises a `StreamgaugeError`.
    """

    def __init__(self, stub: AssetMetricServiceStub, channel: CallingChannel) -> None:
        self._stub = stub
        self._channel = channel

    def emit(
        self,
        asset: str,
        metrics: MetricValues,
        time: datetime | None = None,
        *,
        run_id: str = "",
        guess: bool = False,
        validate_only: bool = False,
        return_merged: bool = False,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> EmitResult:
        """Emits metrics of one asset at one moment: all of them, or none. They are durable when this returns.

        Metrics of the same asset and moment (to the millisecond) are merged: new names are added, equal names
        replaced. Without a `time` it is the server's now. An unknown asset is registered, unless the server wants
        assets to be created first. What has the same `run_id` can be deleted together. With `validate_only` everything
        is checked and nothing is stored; with `return_merged` the answer has all metrics of that moment.

        The call is tried again when the server cannot be reached, which is safe: each call carries a `request_id`, new
        unless it is given, and the server answers a repeat with the first answer. InvalidArgumentError lists every
        wrong field in `violations`; AssetNotFoundError.

        Example:
            >>> urn = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)"
            >>> client.assets.emit(urn, {"rowCount": 1_204, "fresh": True, "owner": "shop"})
        """
        request = _emit(
            asset,
            metrics,
            time=time,
            run_id=run_id,
            guess=guess,
            validate_only=validate_only,
            return_merged=return_merged,
            request_id=request_id,
        )
        return codec.emit_result(self._stub.EmitAssetMetrics(request, timeout=timeout))

    def emit_many(
        self,
        emits: Iterable[Emit],
        *,
        guess: bool = False,
        validate_only: bool = False,
        errors_only: bool = False,
        timeout: float | None = None,
    ) -> BatchEmitResult:
        """Emits on many assets, in as many requests as it takes. What the result counts as accepted is durable.

        An emit is stored whole or not at all. Bad ones are refused one by one and listed in the result: look at
        `result.rejected`, or call `result.raise_for_rejected()`. When a request fails as a whole its error is raised,
        and what was sent before it stays; emits with a `time` may be sent again, which changes nothing. `errors_only`
        leaves the answers of accepted emits out; `timeout` counts for each request.

        Example:
            >>> client.assets.emit_many(Emit(urn, {"rowCount": n}, now) for urn, n in counts.items())
        """
        chunks, outcome = codec.Chunks(guess), codec.Outcome()

        def send(full: Iterable[codec.Chunk]) -> None:
            for chunk in full:
                request = _batch(chunk, validate_only, errors_only)
                outcome.add(chunk, self._stub.BatchEmitAssetMetrics(request, timeout=timeout))

        for emit in emits:
            send(chunks.add(emit))
        send(chunks.rest())
        return outcome.result()

    def emit_dataframe(
        self,
        frame: pandas.DataFrame,
        asset: str | None = None,
        *,
        time: str | None = None,
        asset_column: str | None = None,
        run_id: str = "",
        timeout: float | None = None,
    ) -> BatchEmitResult:
        """Emits a DataFrame: a row per emit, a column per metric, moments (timezone-aware) in the index or in `time`.

        All rows are of one `asset`, or each row names its own in `asset_column`. NaN, None and NaT are no value. Needs
        `streamgauge[pandas]`; ImportError says so otherwise.
        """
        emits = dataframes.to_emits(frame, asset, time=time, asset_column=asset_column, run_id=run_id)
        return self.emit_many(emits, timeout=timeout)

    def writer(
        self, *, guess: bool = False, on_error: OnEmitError = log_failure, **options: Unpack[WriterArguments]
    ) -> AssetWriter:
        """Returns a writer that collects emits and sends them in batches from a thread. See `AssetWriter`."""
        return AssetWriter(self._channel, guess, on_error, WriterOptions(**options))

    def history(
        self,
        asset: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        metrics: Iterable[str] = (),
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> History:
        """Returns the moments of an asset in the range `[start, end)`, rising. Nothing is sent before use.

        Without a `start` it begins in 1970, without an `end` it is open. `page_size` 0 is the server's default (100
        moments); `timeout` counts for each page. AssetNotFoundError.
        """

        def fetch(token: str) -> Page[AssetMoment]:
            request = _history(asset, start, end, metrics, page_size, token)
            return _moments(self._stub.ListAssetMetrics(request, timeout=timeout))

        return History(fetch, page_token)

    def latest(
        self, assets: Iterable[str], *, metrics: Iterable[str] = (), timeout: float | None = None
    ) -> AssetLatestResult:
        """Returns the newest value of each metric of up to 1,000 assets, with its age, in one call.

        Example:
            >>> client.assets.latest(urn)[urn]["rowCount"].value
            1204
        """
        request = pb.GetLatestAssetMetricsRequest(assets=names(assets), metrics=names(metrics))
        return codec.latest_result(self._stub.GetLatestAssetMetrics(request, timeout=timeout))

    def delete_metrics(
        self,
        asset: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        metrics: Iterable[str] = (),
        run_id: str = "",
        everything: bool = False,
        validate_only: bool = False,
        timeout: float | None = None,
    ) -> DeletedMetrics:
        """Deletes metrics of an asset: of a range `[start, end)`, by name, of a run, or what all of these agree on.

        What a run emitted is taken back as if the run had never been: values that it replaced stand again; with a
        `run_id` the asset may be `EVERY_ASSET`. `everything` takes all, and stands alone. With `validate_only` nothing
        is deleted, and the answer counts what would be.
        """
        request = _deletion(asset, start, end, metrics, run_id, everything, validate_only)
        return codec.deleted(self._stub.DeleteAssetMetrics(request, timeout=timeout))

    def create(self, urn: str, *, labels: Mapping[str, str] | None = None, timeout: float | None = None) -> Asset:
        """Registers an asset. AssetAlreadyExistsError when its URN is registered."""
        return codec.asset(self._stub.CreateAsset(_create(urn, labels), timeout=timeout).asset)

    def get(self, asset: str, *, timeout: float | None = None) -> Asset:
        """Returns an asset. AssetNotFoundError when there is none."""
        return codec.asset(self._stub.GetAsset(pb.GetAssetRequest(asset=asset), timeout=timeout).asset)

    def list(
        self,
        *,
        platform: str = "",
        urn_prefix: str = "",
        labels: Mapping[str, str] | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> Pager[Asset]:
        """Returns the assets of a platform, whose URN begins so, that have all the labels, by URN.

        Nothing is sent before use. `page_size` 0 is the server's default (100); `timeout` counts for each page.
        """

        def fetch(token: str) -> Page[Asset]:
            request = _list(platform, urn_prefix, labels, page_size, token)
            return _page(self._stub.ListAssets(request, timeout=timeout))

        return Pager(fetch, page_token)

    def update(self, asset: str, *, labels: Mapping[str, str], etag: str = "", timeout: float | None = None) -> Asset:
        """Replaces the labels of an asset.

        With the `etag` of an asset read before, EtagMismatchError when somebody has changed it since.
        """
        return codec.asset(self._stub.UpdateAsset(_update(asset, labels, etag), timeout=timeout).asset)

    def delete(self, asset: str, *, etag: str = "", timeout: float | None = None) -> None:
        """Deletes an asset with every metric of it. AssetNotFoundError, EtagMismatchError."""
        self._stub.DeleteAsset(pb.DeleteAssetRequest(asset=asset, etag=etag), timeout=timeout)


class AsyncAssets:
    """`client.assets` of the asyncio client: the twin of `Assets`, with `await` and `async for`."""

    def __init__(self, stub: AssetMetricServiceAsyncStub, channel: AsyncCallingChannel) -> None:
        self._stub = stub
        self._channel = channel

    async def emit(
        self,
        asset: str,
        metrics: MetricValues,
        time: datetime | None = None,
        *,
        run_id: str = "",
        guess: bool = False,
        validate_only: bool = False,
        return_merged: bool = False,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> EmitResult:
        """Emits metrics of one asset at one moment: all of them, or none. See `Assets.emit`."""
        request = _emit(
            asset,
            metrics,
            time=time,
            run_id=run_id,
            guess=guess,
            validate_only=validate_only,
            return_merged=return_merged,
            request_id=request_id,
        )
        return codec.emit_result(await self._stub.EmitAssetMetrics(request, timeout=timeout))

    async def emit_many(
        self,
        emits: Iterable[Emit] | AsyncIterable[Emit],
        *,
        guess: bool = False,
        validate_only: bool = False,
        errors_only: bool = False,
        timeout: float | None = None,
    ) -> BatchEmitResult:
        """Emits on many assets, out of any iterable, sync or async. See `Assets.emit_many`."""
        chunks, outcome = codec.Chunks(guess), codec.Outcome()

        async def send(full: Iterable[codec.Chunk]) -> None:
            for chunk in full:
                request = _batch(chunk, validate_only, errors_only)
                outcome.add(chunk, await self._stub.BatchEmitAssetMetrics(request, timeout=timeout))

        if isinstance(emits, AsyncIterable):
            async for emit in emits:
                await send(chunks.add(emit))
        else:
            for emit in emits:
                await send(chunks.add(emit))
        await send(chunks.rest())
        return outcome.result()

    async def emit_dataframe(
        self,
        frame: pandas.DataFrame,
        asset: str | None = None,
        *,
        time: str | None = None,
        asset_column: str | None = None,
        run_id: str = "",
        timeout: float | None = None,
    ) -> BatchEmitResult:
        """Emits a DataFrame. See `Assets.emit_dataframe`."""
        emits = dataframes.to_emits(frame, asset, time=time, asset_column=asset_column, run_id=run_id)
        return await self.emit_many(emits, timeout=timeout)

    def writer(
        self, *, guess: bool = False, on_error: OnEmitError = log_failure, **options: Unpack[WriterArguments]
    ) -> AsyncAssetWriter:
        """Returns a writer that collects emits and sends them in batches from a task. See `AsyncAssetWriter`."""
        return AsyncAssetWriter(self._channel, guess, on_error, WriterOptions(**options))

    def history(
        self,
        asset: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        metrics: Iterable[str] = (),
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncHistory:
        """Returns the moments of an asset in the range `[start, end)`, rising. See `Assets.history`."""

        async def fetch(token: str) -> Page[AssetMoment]:
            request = _history(asset, start, end, metrics, page_size, token)
            return _moments(await self._stub.ListAssetMetrics(request, timeout=timeout))

        return AsyncHistory(fetch, page_token)

    async def latest(
        self, assets: Iterable[str], *, metrics: Iterable[str] = (), timeout: float | None = None
    ) -> AssetLatestResult:
        """Returns the newest value of each metric of up to 1,000 assets, with its age, in one call."""
        request = pb.GetLatestAssetMetricsRequest(assets=names(assets), metrics=names(metrics))
        return codec.latest_result(await self._stub.GetLatestAssetMetrics(request, timeout=timeout))

    async def delete_metrics(
        self,
        asset: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        metrics: Iterable[str] = (),
        run_id: str = "",
        everything: bool = False,
        validate_only: bool = False,
        timeout: float | None = None,
    ) -> DeletedMetrics:
        """Deletes metrics of an asset. See `Assets.delete_metrics`."""
        request = _deletion(asset, start, end, metrics, run_id, everything, validate_only)
        return codec.deleted(await self._stub.DeleteAssetMetrics(request, timeout=timeout))

    async def create(self, urn: str, *, labels: Mapping[str, str] | None = None, timeout: float | None = None) -> Asset:
        """Registers an asset. AssetAlreadyExistsError when its URN is registered."""
        return codec.asset((await self._stub.CreateAsset(_create(urn, labels), timeout=timeout)).asset)

    async def get(self, asset: str, *, timeout: float | None = None) -> Asset:
        """Returns an asset. AssetNotFoundError when there is none."""
        return codec.asset((await self._stub.GetAsset(pb.GetAssetRequest(asset=asset), timeout=timeout)).asset)

    def list(
        self,
        *,
        platform: str = "",
        urn_prefix: str = "",
        labels: Mapping[str, str] | None = None,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPager[Asset]:
        """Returns the assets of a platform, whose URN begins so, that have all the labels. See `Assets.list`."""

        async def fetch(token: str) -> Page[Asset]:
            request = _list(platform, urn_prefix, labels, page_size, token)
            return _page(await self._stub.ListAssets(request, timeout=timeout))

        return AsyncPager(fetch, page_token)

    async def update(
        self, asset: str, *, labels: Mapping[str, str], etag: str = "", timeout: float | None = None
    ) -> Asset:
        """Replaces the labels of an asset. See `Assets.update`."""
        return codec.asset((await self._stub.UpdateAsset(_update(asset, labels, etag), timeout=timeout)).asset)

    async def delete(self, asset: str, *, etag: str = "", timeout: float | None = None) -> None:
        """Deletes an asset with every metric of it. AssetNotFoundError, EtagMismatchError."""
        await self._stub.DeleteAsset(pb.DeleteAssetRequest(asset=asset, etag=etag), timeout=timeout)
