"""What the SDK returns about assets, as answers to print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from streamgauge.asset_metrics import (
    AssetLatestResult,
    AssetMetric,
    AssetMoment,
    DeletedMetrics,
    EmitError,
    EmitResult,
)
from streamgauge.cli.answers import age_text, plural, record_of
from streamgauge.cli.output import Answer, Table, human
from streamgauge.resources import Asset


def of_assets(assets: Sequence[Asset]) -> Answer:
    """A list of assets."""
    names = [field.name for field in fields(Asset)]
    records = [record_of(asset) for asset in assets]
    rows = [(a.urn, a.platform, human(a.labels), human(a.create_time)) for a in assets]
    return Answer(records, names, records, Table(("URN", "PLATFORM", "LABELS", "CREATED"), rows))


def of_asset(asset: Asset) -> Answer:
    """One asset."""
    record = record_of(asset)
    rows = [(name, human(value)) for name, value in record.items()]
    return Answer(record, list(record), [record], Table(("FIELD", "VALUE"), rows))


def of_emit(result: EmitResult, *, dry: bool) -> Answer:
    """One emit, with the types that the server guessed."""
    records = [{"asset": result.asset, "time": result.time, **record_of(m)} for m in result.metrics.values()]
    document = {
        "asset": result.asset,
        "urn": result.urn,
        "time": result.time,
        "metrics": _metrics(result.metrics),
        "warnings": list(result.warnings),
    }
    rows = [(*_cells(m), "guessed" if m.guessed else "") for m in result.metrics.values()]
    done = "would be emitted (nothing was)" if dry else "emitted"
    note = f"{plural(len(rows), 'metric')} {done} at {human(result.time)} on {result.urn}"
    names = ("asset", "time", "name", "value", "value_type", "guessed")
    table = Table(("METRIC", ">VALUE", "TYPE", ""), rows, notes=[*result.warnings, note])
    return Answer(document, names, records, table)


def of_emits(accepted: int, rejected: int, errors: Iterable[EmitError], *, dry: bool) -> Answer:
    """Many emits."""
    counts = {"accepted": accepted, "rejected": rejected}
    note = f"{plural(accepted, 'emit')} {'would be stored (nothing was)' if dry else 'stored'}"
    if rejected:
        note += f", {human(rejected)} refused"
    document = counts | {
        "errors": [record_of(e) | {"violations": [record_of(v) for v in e.violations]} for e in errors]
    }
    return Answer(document, list(counts), [counts], Table((), (), notes=[note]))


def of_history(asset: str, moments: Sequence[AssetMoment]) -> Answer:
    """The metrics of an asset over time."""
    found = [(moment, metric) for moment in moments for metric in moment.metrics.values()]
    names = ("asset", "time", "name", "value", "value_type")
    records = [{"asset": asset, "time": moment.time, **_metric(metric)} for moment, metric in found]
    document = {
        "asset": asset,
        "moments": [{"time": moment.time, "metrics": _metrics(moment.metrics)} for moment in moments],
    }
    rows = [(human(moment.time), *_cells(metric)) for moment, metric in found]
    note = plural(len(moments), "moment")
    return Answer(document, names, records, Table(("TIME", "METRIC", ">VALUE", "TYPE"), rows, notes=[note]))


def of_latest(result: AssetLatestResult) -> Answer:
    """The newest values of assets."""
    found = [(asset, value) for asset in result.assets.values() for value in asset.metrics.values()]
    records = [{"asset": asset.asset, **record_of(value), "age": value.age.total_seconds()} for asset, value in found]
    document = {
        "assets": [
            {
                "asset": asset.asset,
                "name": asset.name,
                "metrics": {
                    name: record_of(value) | {"age": value.age.total_seconds()} for name, value in asset.metrics.items()
                },
            }
            for asset in result.assets.values()
        ],
        "unknown_assets": list(result.unknown_assets),
        "read_time": result.read_time,
    }
    rows = [
        (asset.asset, value.name, human(value.value), value.value_type.value, age_text(value.age))
        for asset, value in found
    ]
    names = ("asset", "name", "value", "value_type", "time", "age")
    return Answer(document, names, records, Table(("ASSET", "METRIC", ">VALUE", "TYPE", ">AGE"), rows))


def of_deletion(deleted: DeletedMetrics, *, dry: bool) -> Answer:
    """Metrics that are gone, or would be."""
    record = record_of(deleted)
    rows = [(name, human(count)) for name, count in deleted.by_metric.items()]
    done = "would be deleted (nothing was)" if dry else "deleted"
    note = f"{plural(deleted.values, 'value')} of {plural(deleted.assets, 'asset')} {done}"
    return Answer(record, list(record), [record], Table(("METRIC", ">VALUES"), rows, notes=[note]))


def _metrics(metrics: Mapping[str, AssetMetric]) -> list[dict[str, Any]]:
    """Returns metrics as a list: their order is told."""
    return [record_of(metric) for metric in metrics.values()]


def _metric(metric: AssetMetric) -> dict[str, Any]:
    return {"name": metric.name, "value": metric.value, "value_type": metric.value_type}


def _cells(metric: AssetMetric) -> tuple[str, ...]:
    return metric.name, human(metric.value), metric.value_type.value
