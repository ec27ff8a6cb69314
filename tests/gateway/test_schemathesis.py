"""Schemathesis against a real server: what the document promises is what is answered, whatever is asked."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, SerializationContext
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema
from streamgauge.v1 import asset_metric_service_pb2 as assets_pb
from streamgauge.v1 import common_pb2
from streamgauge.v1 import job_service_pb2 as jobs_pb
from streamgauge.v1 import metric_type_service_pb2 as types_pb
from streamgauge.v1 import metrics_service_pb2 as metrics_pb
from streamgauge.v1 import source_service_pb2 as sources_pb
from streamgauge_server.gateway.application import apis_of
from streamgauge_server.gateway.openapi.document import contract, document
from streamgauge_server.gateway.upstream import Upstream
from streamgauge_server.http_settings import HttpSettings

from tests.gateway.serving import NOON, Gateway, running

EXAMPLES = 6
"""Random requests to each operation, beside those that schemathesis makes of every bound of the schemas."""

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
]
"""All that hold for any request. That what a schema does not allow is refused does not: requests may have an int64 as a
number or an enum by its number, and legacy APIs pass over what they do not understand."""

URN = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)"
KNOWN = {"source": "orders", "job": "etl", "job_type": "batch", "metric_type": "quality", "choice": "orders"}
KNOWN |= {"asset": hashlib.sha256(URN.encode()).hexdigest()[:40], "kind": "sources", "metric": "byteTotal"}
KNOWN |= {"source_id": "orders", "uuid": "etl", "name": "job-types", "asset_urn": URN}
"""What parameters of paths are called, and something that is stored under that name."""


def described() -> OpenApiSchema:
    """Returns the document as schemathesis sees it; operations must be known before there is a server."""
    schema = schemathesis.openapi.from_dict(
        document(apis_of(Upstream(MagicMock()), HttpSettings(), clock=int), contract())
    )
    schema.config.update(base_url="http://127.0.0.1")
    schema.config.phases.coverage.unexpected_methods = {"put", "trace"}
    # There is no authentication here; a made-up token would be refused before anything else is looked at.
    schema.config.generation.update(deterministic=True, with_security_parameters=False)
    return schema


@schemathesis.serializer("application/x-ndjson")
def lines(context: SerializationContext, value: Any) -> bytes:
    """Returns a message as a body of one line."""
    return json.dumps(value).encode() + b"\n"


api = described()


@pytest.fixture(scope="module")
def stored() -> Iterator[Gateway]:
    """A server that knows one of each."""
    with running() as gateway:
        value = common_pb2.Value(int64_value=7)
        observation = common_pb2.Observation(subject="sources/orders", values={"byteTotal": value})
        gateway.metrics.WriteMetrics(metrics_pb.WriteMetricsRequest(observations=[observation]))
        ingest = sources_pb.Ingest(source="sources/orders", ingest_id="1", status=sources_pb.INGEST_STATUS_INGESTED)
        ingest.end_time.FromMicroseconds(NOON)
        gateway.sources.ReportIngests(sources_pb.ReportIngestsRequest(ingests=[ingest]))
        batch = jobs_pb.JobType(type_name="batch", version="1")
        gateway.jobs.CreateJobType(jobs_pb.CreateJobTypeRequest(job_type_id="batch", job_type=batch))
        job = jobs_pb.Job(job_type="jobTypes/batch")
        gateway.jobs.CreateJob(jobs_pb.CreateJobRequest(job_id="etl", job=job))
        run = jobs_pb.JobReport(job="jobs/etl", run_id="1", state=jobs_pb.JOB_STATE_FAILED)
        run.end_time.FromMicroseconds(NOON)
        run.exceptions.add(stacktrace="java.lang.IllegalStateException: no\n\tat here").time.FromMicroseconds(NOON)
        gateway.jobs.ReportJob(jobs_pb.ReportJobRequest(reports=[run]))
        emitted = assets_pb.AssetMetric(name="rows", value=value)
        gateway.assets.EmitAssetMetrics(assets_pb.EmitAssetMetricsRequest(asset=URN, metrics=[emitted]))
        column = types_pb.MetricTypeColumn(column="score", aggregate=types_pb.COLUMN_AGGREGATE_SUM)
        quality = types_pb.MetricType(title="Quality", columns=[column])
        gateway.metric_types.CreateMetricType(
            types_pb.CreateMetricTypeRequest(metric_type_id="quality", metric_type=quality)
        )
        gateway.metric_types.CreateMetricTypeChoice(
            types_pb.CreateMetricTypeChoiceRequest(parent="metricTypes/quality", choice_id="orders")
        )
        yield gateway


def about_what_is_stored(case: Case[Any]) -> None:
    """Lets every other request that names something name what is there; nothing of that is ever deleted."""
    if case.method == "DELETE":
        return
    in_path, in_query = dict(case.path_parameters or {}), dict(case.query or {})
    if zlib.crc32(json.dumps([in_path, in_query], default=str).encode()) % 2:
        case.path_parameters = {**in_path, **{name: KNOWN[name] for name in in_path if name in KNOWN}}
        case.query = {**in_query, **{name: KNOWN[name] for name in in_query if name in ("asset", "job")}}


@api.exclude(operation_id="JobService_WatchJobs").parametrize()  # its stream has no end
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[*HealthCheck],
    phases=[Phase.explicit, Phase.generate],
)
def test_every_answer_is_one_that_the_document_has(case: Case[Any], stored: Gateway) -> None:
    about_what_is_stored(case)
    case.call_and_validate(base_url=stored.url, checks=CHECKS)
