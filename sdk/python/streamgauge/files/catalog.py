"""What samples alone do not tell: descriptors of metrics, and the sources and assets. Kept beside the file, as JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask

from streamgauge.client import Client
from streamgauge.enums import SubjectKind
from streamgauge.errors import AlreadyExistsError, NotFoundError
from streamgauge.files.runs import FileError
from streamgauge.resources import Asset, Source
from streamgauge.v1 import common_pb2, metrics_service_pb2

CATALOG = "catalog.json"
"""What the name of the catalog adds to that of the file."""
_FORMAT = 1
_NOT_DECLARED = frozenset({"name", "metric", "subject_kind", "built_in", "etag", "create_time", "update_time"})
"""Fields of a descriptor that the server gives."""


@dataclass(slots=True)
class Catalog:
    """Descriptors as the contract's messages; sources and assets with what it takes to register them."""

    descriptors: list[common_pb2.MetricDescriptor] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    assets: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Writes it into a file."""
        document = {
            "format": _FORMAT,
            "metric_descriptors": [
                json_format.MessageToDict(one, preserving_proto_field_name=True) for one in self.descriptors
            ],
            "sources": self.sources,
            "assets": self.assets,
        }
        path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Catalog:
        """Reads it. FileError, OSError."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != _FORMAT:
                raise FileError(f"{path} has format {document['format']}, known is {_FORMAT}")
            descriptors = [
                json_format.ParseDict(one, common_pb2.MetricDescriptor(), ignore_unknown_fields=True)
                for one in document["metric_descriptors"]
            ]
            return cls(descriptors, list(document["sources"]), list(document["assets"]))
        except FileError:
            raise
        except (ValueError, KeyError, TypeError, json_format.ParseError) as error:
            raise FileError(f"{path} is no catalog of an export: {error}") from None


def read_catalog(
    client: Client, subjects: Collection[str], kind: SubjectKind | None, metrics: Collection[str]
) -> Catalog:
    """Returns the catalog of an export: of some subjects, or of all of a kind."""
    catalog = Catalog()
    kinds = {kind} if kind is not None else {SubjectKind(name.partition("/")[0]) for name in subjects}
    for one in sorted(kinds):
        for descriptor in _messages(client, one):
            if not metrics or descriptor.metric in metrics:
                catalog.descriptors.append(descriptor)
    if SubjectKind.SOURCE in kinds:
        catalog.sources = [_of_source(source) for source in _sources(client, subjects)]
    if SubjectKind.ASSET in kinds:
        catalog.assets = [_of_asset(asset) for asset in _assets(client, subjects)]
    return catalog


def _messages(client: Client, kind: SubjectKind) -> Iterable[common_pb2.MetricDescriptor]:
    token = ""
    while True:
        request = metrics_service_pb2.ListMetricDescriptorsRequest(
            subject_kind=common_pb2.SubjectKind.Value(f"SUBJECT_KIND_{kind.name}"), page_size=1_000, page_token=token
        )
        answer = client.metrics._stub.ListMetricDescriptors(request)
        yield from answer.metric_descriptors
        if not (token := answer.next_page_token):
            return


def _sources(client: Client, subjects: Collection[str]) -> Iterable[Source]:
    if not subjects:
        yield from client.sources.list(page_size=1_000)
        return
    for name in subjects:
        if name.startswith("sources/"):
            try:
                yield client.sources.get(name)
            except NotFoundError:
                continue  # the export says so


def _assets(client: Client, subjects: Collection[str]) -> Iterable[Asset]:
    if not subjects:
        yield from client.assets.list(page_size=1_000)
        return
    for name in subjects:
        if name.startswith("assets/"):
            try:
                yield client.assets.get(name)
            except NotFoundError:
                continue


def _of_source(source: Source) -> dict[str, Any]:
    return {
        "id": source.name.partition("/")[2],
        "display_name": source.display_name,
        "connector_class": source.connector_class,
        "labels": dict(source.labels),
    }


def _of_asset(asset: Asset) -> dict[str, Any]:
    return {"urn": asset.urn, "labels": dict(asset.labels)}


@dataclass(slots=True)
class Registered:
    """What the catalog of a file added to a server, and where the server's metrics differ from it."""

    sources: int = 0
    assets: int = 0
    metrics: int = 0
    different: list[str] = field(default_factory=list)


def register(client: Client, catalog: Catalog, *, dry_run: bool = False) -> Registered:
    """Registers what the server does not have, before samples come. What it has stays as it is.

    A metric that the server reads in another way (another kind, type or combination of parts) is named.
    """
    done = Registered()
    kinds = {SubjectKind(one.name.split("/")[1]) for one in catalog.descriptors}
    known = {one.name: one for kind in kinds for one in _messages(client, kind)}
    for given in catalog.descriptors:
        there = known.get(given.name)
        if there is None:
            done.metrics += 1
            if not dry_run:
                _declare(client, given)
        elif _reads(there) != _reads(given):
            done.different.append(given.name)
    sources = (
        {source.name.partition("/")[2] for source in client.sources.list(page_size=1_000)} if catalog.sources else set()
    )
    for one in catalog.sources:
        if one["id"] not in sources:
            done.sources += 1
            if not dry_run:
                _register(client.sources.create, one["id"], {name: one[name] for name in one if name != "id"})
    urns = {asset.urn for asset in client.assets.list(page_size=1_000)} if catalog.assets else set()
    for one in catalog.assets:
        if one["urn"] not in urns:
            done.assets += 1
            if not dry_run:
                _register(client.assets.create, one["urn"], {"labels": one["labels"]})
    return done


def _register(create: Any, id_: str, rest: Mapping[str, Any]) -> None:
    try:
        create(id_, **rest)
    except AlreadyExistsError:
        return  # by somebody else, just now


def _reads(descriptor: common_pb2.MetricDescriptor) -> tuple[int, int, int]:
    return descriptor.kind, descriptor.value_type, descriptor.part_combination


def _declare(client: Client, descriptor: common_pb2.MetricDescriptor) -> None:
    """Declares a metric with every field that it has."""
    message = common_pb2.MetricDescriptor(name=descriptor.name)
    paths = []
    for one, value in descriptor.ListFields():
        if one.name in _NOT_DECLARED:
            continue
        paths.append(one.name)
        if one.name == "state_order":
            message.state_order.extend(value)
        elif one.message_type is not None:
            getattr(message, one.name).CopyFrom(value)
        else:
            setattr(message, one.name, value)
    request = metrics_service_pb2.UpdateMetricDescriptorRequest(
        metric_descriptor=message, update_mask=FieldMask(paths=paths), allow_missing=True
    )
    client.metrics._stub.UpdateMetricDescriptor(request)
