"""The OpenAPI document: every HTTP rule of the contract and every route with an operation, in forms that are valid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.requests import Request
from starlette.responses import Response
from streamgauge.v1 import common_pb2, job_service_pb2, source_service_pb2
from streamgauge_server.gateway.api import Api, Route, Slash
from streamgauge_server.gateway.openapi.contract import Contract
from streamgauge_server.gateway.openapi.document import contract, document

RULES = Path(__file__).resolve().parents[2] / "protos/http_rules.txt"


async def never(request: Request, variables: Mapping[str, str]) -> Response:
    raise AssertionError("nothing is called here")


def tell(request: Request, error: Exception) -> Response:
    raise error


def rules() -> list[tuple[str, str, str]]:
    """Returns verb, template and RPC of every HTTP rule."""
    lines = (line.split() for line in RULES.read_text(encoding="utf-8").splitlines())
    return [(verb, template, rpc) for verb, template, _, rpc in lines]


def rest(*wanted: str) -> Api:
    """Returns an API with a route for each HTTP rule, or for those of some RPCs."""
    routes = [Route(verb, template, never) for verb, template, rpc in rules() if not wanted or rpc in wanted]
    return Api("rest", routes, ("v1",), tell)


@pytest.fixture(scope="module")
def described() -> Contract:
    return contract()


@pytest.fixture(scope="module")
def whole(described: Contract) -> dict[str, Any]:
    return document([rest()], described)


def operations(of: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for path, item in of["paths"].items():
        for verb, operation in item.items():
            yield verb, path, operation


def schema_of(whole: Mapping[str, Any], name: str) -> Any:
    return whole["components"]["schemas"][name]


def parameter(whole: Mapping[str, Any], path: str, name: str) -> Any:
    (found,) = (one for one in whole["paths"][path]["get"]["parameters"] if one["name"] == name)
    return found


def test_the_document_is_valid(whole: Mapping[str, Any]) -> None:
    OpenAPIV31SpecValidator(whole).validate()


def test_every_http_rule_has_an_operation_of_its_own_that_names_its_rpc(whole: Mapping[str, Any]) -> None:
    found = sorted(
        re.findall(r"gRPC: `([\w.]+)`", operation["description"])[0] for _, _, operation in operations(whole)
    )
    assert found == sorted(rpc for _, _, rpc in rules())


def test_operation_ids_are_service_and_method_with_a_number_from_the_second_rule_on(whole: Mapping[str, Any]) -> None:
    ids = {(verb, path): operation["operationId"] for verb, path, operation in operations(whole)}
    assert len(set(ids.values())) == len(ids)
    assert ids["get", "/v1/sources/{source}/metrics"] == "SourceService_GetSourceMetrics"
    assert ids["get", "/v1/jobs/{job}"] == "JobService_GetJob"
    assert ids["get", "/v1/jobs:get"] == "JobService_GetJob_2"


def test_every_operation_parameter_and_member_has_a_description(whole: Mapping[str, Any]) -> None:
    without = [
        (operation["operationId"], one["name"])
        for _, _, operation in operations(whole)
        for one in [{"name": "", **operation}, *operation.get("parameters", ())]
        if not one.get("description")
    ]
    without += [
        (name, member)
        for name, schema in whole["components"]["schemas"].items()
        for member, one in [("", schema), *schema.get("properties", {}).items()]
        if not one.get("description")
    ]
    assert without == []


def test_wildcards_of_a_template_become_parameters_named_as_the_resource_name_is_told(
    whole: Mapping[str, Any],
) -> None:
    item = whole["paths"]["/v1/metricDescriptors/{kind}/{metric}"]
    assert [one["name"] for one in item["get"]["parameters"]] == ["kind", "metric"]
    assert [one["name"] for one in item["patch"]["parameters"] if one["in"] == "path"] == ["kind", "metric"]
    assert parameter(whole, "/v1/jobs/{job}/runs", "job")["required"]
    assert "/v1/metricTypes/{metric_type}/choices/{choice}" in whole["paths"]


def test_a_query_has_the_fields_that_the_path_has_not_nested_ones_with_dots(whole: Mapping[str, Any]) -> None:
    names = [one["name"] for one in whole["paths"]["/v1/metricTypes/{metric_type}/plotData"]["get"]["parameters"]]
    assert names == [
        *("metric_type", "columns", "groups", "choices", "timeRange.startTime", "timeRange.endTime"),
        *("window.count", "window.unit", "pageSize", "pageToken"),
    ]
    by_name = parameter(whole, "/v1/jobs:get", "job")
    assert (by_name["in"], by_name["required"]) == ("query", True)


def test_a_body_has_the_fields_that_the_path_has_not(whole: Mapping[str, Any]) -> None:
    body = whole["paths"]["/v1/metricTypes/{metric_type}:writeValues"]["post"]["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    assert (list(schema["properties"]), schema["required"], body["required"]) == (["values"], ["values"], True)


def test_an_update_need_not_have_what_a_creation_must(whole: Mapping[str, Any]) -> None:
    assert schema_of(whole, "JobType")["required"] == ["typeName"]
    body = whole["paths"]["/v1/jobTypes/{job_type}"]["patch"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/JobTypeChanges"}
    assert "required" not in schema_of(whole, "JobTypeChanges")


def test_types_have_their_json_form(whole: Mapping[str, Any]) -> None:
    source = schema_of(whole, "Source")["properties"]
    assert (source["number"]["type"], source["number"]["format"], source["number"]["readOnly"]) == (
        *("string", "int64"),
        True,
    )
    assert source["createTime"]["format"] == "date-time"
    assert source["labels"]["additionalProperties"] == {"type": "string"}
    assert schema_of(whole, "Observation")["required"] == ["subject", "values"]
    assert schema_of(whole, "Observation")["properties"]["subject"]["examples"] == ["sources/orders"]
    assert schema_of(whole, "IngestStatus")["enum"] == [
        value.name for value in source_service_pb2.DESCRIPTOR.enum_types_by_name["IngestStatus"].values
    ]
    assert "- `INGEST_STATUS_ERRORED`: Failed." in schema_of(whole, "IngestStatus")["description"]


def test_only_one_member_of_a_oneof_may_be_there(whole: Mapping[str, Any]) -> None:
    assert schema_of(whole, "Value")["maxProperties"] == 1
    column = schema_of(whole, "Column")
    assert {"required": ["doubles", "strings"]} in column["not"]["anyOf"]
    assert column["required"] == ["metric"]


def test_names_of_members_are_those_that_proto3_json_gives_them(whole: Mapping[str, Any]) -> None:
    observation = common_pb2.Observation(subject="sources/a", part="task=0")
    observation.time.FromSeconds(1)
    observation.start_time.FromSeconds(1)
    observation.values["x"].bool_value = True
    told = json_format.MessageToDict(observation)
    assert list(told) == list(schema_of(whole, "Observation")["properties"])
    run = {field.json_name for field in job_service_pb2.JobRun.DESCRIPTOR.fields}
    assert set(schema_of(whole, "JobRun")["properties"]) == run


def test_a_server_stream_answers_with_lines_and_a_client_stream_takes_them(whole: Mapping[str, Any]) -> None:
    lines = whole["paths"]["/v1/jobs:watch"]["get"]["responses"]["200"]["content"]
    assert list(lines) == ["application/x-ndjson"]
    assert lines["application/x-ndjson"]["schema"]["anyOf"][0] == {"$ref": "#/components/schemas/WatchJobsResponse"}
    taken = whole["paths"]["/v1/metrics:import"]["post"]["requestBody"]["content"]
    assert set(taken) == {"application/json", "application/x-ndjson"}


def test_refusals_are_told_with_their_reasons(whole: Mapping[str, Any]) -> None:
    answers = whole["paths"]["/v1/sources/{source}/metrics"]["get"]["responses"]
    assert set(answers) == {"200", "400", "401", "403", "404", "429", "431", "500", "503", "504"}
    assert "`SOURCE_NOT_FOUND`: no such source" in answers["404"]["description"]
    assert "`INVALID_TIME_RANGE`" in answers["400"]["description"]
    assert answers["401"] == {"$ref": "#/components/responses/Refused401"}
    assert "`TOKEN_EXPIRED`" in whole["components"]["responses"]["Refused401"]["description"]
    deletion = whole["paths"]["/v1/sources/{source}"]["delete"]["responses"]
    assert "`ETAG_MISMATCH`" in deletion["409"]["description"]


def test_a_route_of_another_api_stands_under_its_prefix_with_its_own_operation(described: Contract) -> None:
    operation = {"operationId": "old", "summary": "Old", "responses": {"200": {"description": "The answer."}}}
    routes = [
        Route("GET", "/job/{name}/status", never, Slash.REDIRECT, operation),
        Route("POST", "/asset/{urn=**}", never, operation={**operation, "operationId": "urn"}),
        Route("GET", "/hidden", never),
    ]
    made = document(
        [rest(), Api("old jobs", routes, ("job",), tell, "/before", {"Old": {"type": "string"}})], described
    )
    OpenAPIV31SpecValidator(made).validate()
    got = made["paths"]["/before/job/{name}/status/"]["get"]
    assert (got["tags"], [one["name"] for one in got["parameters"]]) == (["Legacy: old jobs"], ["name"])
    assert "X-Request-Id" in got["responses"]["200"]["headers"]
    assert set(got["responses"]) == {"200", "431"}
    assert "/before/asset/{urn}" in made["paths"]
    assert "/before/hidden" not in made["paths"]
    assert made["components"]["schemas"]["Old"] == {"type": "string"}
    assert made["tags"][-1] == {"name": "Legacy: old jobs"}


def test_what_is_not_served_is_not_told(described: Contract) -> None:
    made = document([rest("streamgauge.v1.SourceService.GetSource")], described)
    assert [path for _, path, _ in operations(made)] == ["/v1/sources/{source}"]
    assert [tag["name"] for tag in made["tags"]] == ["SourceService"]


def test_two_schemas_of_one_name_are_an_error(described: Contract) -> None:
    of_old = Api("old", [], (), tell, schemas={"Source": {"type": "string"}})
    with pytest.raises(ValueError, match="Source"):
        document([rest(), of_old], described)
