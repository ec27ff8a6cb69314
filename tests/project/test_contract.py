"""The contract and the code say the same: HTTP rules, enums, limits, scopes, vendored files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from enum import IntEnum
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest
from google.api import field_behavior_pb2
from google.protobuf.descriptor import EnumDescriptor
from streamgauge.v1 import (
    asset_metric_service_pb2,
    common_pb2,
    errors_pb2,
    job_service_pb2,
    metric_type_service_pb2,
    metrics_service_pb2,
    server_service_pb2,
    source_service_pb2,
    token_service_pb2,
)
from streamgauge_server.model import ingests, job_errors, jobs, metric_types, values, windows
from streamgauge_server.model.entities import SCOPES
from streamgauge_server.model.errors import Reason
from streamgauge_server.model.limits import Limits
from streamgauge_server.rpc.errors import STATUS_CODES

ROOT = Path(__file__).resolve().parents[2]
PROTOS = ROOT / "protos"
MODULES: list[Any] = [
    asset_metric_service_pb2,
    common_pb2,
    errors_pb2,
    job_service_pb2,
    metric_type_service_pb2,
    metrics_service_pb2,
    server_service_pb2,
    source_service_pb2,
    token_service_pb2,
]
BEHAVIOUR: Any = field_behavior_pb2.field_behavior
PUBLIC = sorted((PROTOS / "streamgauge/v1").glob("*.proto"))


def comments_of(proto: Path) -> str:
    """Returns the comments of a proto file as running text."""
    lines = (line.strip() for line in proto.read_text(encoding="utf-8").splitlines())
    return " ".join(line.removeprefix("//").strip() for line in lines if line.startswith("//"))


def enums() -> dict[str, EnumDescriptor]:
    return {name: enum for module in MODULES for name, enum in module.DESCRIPTOR.enum_types_by_name.items()}


def members(enum: EnumDescriptor) -> dict[str, int]:
    """Returns the enum's members without their prefix and without the unspecified one."""
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
    assert all(v.name.startswith(prefix) for v in enum.values)
    return {v.name.removeprefix(prefix): v.number for v in enum.values if v.number}


COUNTERPARTS: dict[str, type[IntEnum] | type[Reason]] = {
    "Aggregate": values.Aggregate,
    "AssetValueType": values.AssetValueType,
    "ColumnAggregate": metric_types.ColumnAggregate,
    "CounterMode": values.CounterMode,
    "ErrorCategory": job_errors.ErrorCategory,
    "ErrorReason": Reason,
    "IngestStatus": ingests.IngestStatus,
    "JobOutcome": jobs.JobOutcome,
    "JobState": jobs.JobState,
    "MetricDirection": values.Direction,
    "MetricKind": values.MetricKind,
    "PartCombination": values.PartCombination,
    "StatusOrigin": jobs.StatusOrigin,
    "StopMode": jobs.StopMode,
    "SubjectKind": values.SubjectKind,
    "TaskKind": jobs.TaskKind,
    "TimeType": values.TimeType,
    "ValueType": values.ValueType,
    "WindowUnit": windows.WindowUnit,
}


def test_every_proto_file_is_looked_at() -> None:
    assert [m.DESCRIPTOR.name for m in MODULES] == [f"streamgauge/v1/{p.name}" for p in PUBLIC]


def test_every_enum_of_the_contract_has_a_counterpart_in_the_model() -> None:
    assert sorted(enums()) == sorted(COUNTERPARTS)


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_an_enum_of_the_model_has_the_names_and_numbers_of_the_contract(name: str) -> None:
    assert {m.name: m.value for m in COUNTERPARTS[name] if m.value} == members(enums()[name])


def test_limits_named_in_comments_exist_and_have_the_default_that_the_comment_tells() -> None:
    told = [
        (proto.name, name, int(number.replace(",", "")))
        for proto in PUBLIC
        for name, number in re.findall(r"`(max_\w+)` \(([\d,]+)\)", comments_of(proto))
    ]
    defaults = {name: value for name, value, _ in Limits().items()}
    assert len(told) >= 8
    assert [(proto, name, defaults.get(name)) for proto, name, _ in told] == told


def test_limits_in_comments_are_told_with_their_default_at_least_once() -> None:
    text = " ".join(comments_of(proto) for proto in PUBLIC)
    messages = [message for module in MODULES for message in module.DESCRIPTOR.message_types_by_name.values()]
    fields = {field.name for message in messages for field in message.fields}
    named = set(re.findall(r"`(max_\w+)`", text)) - fields
    assert {name for name in named if re.search(rf"`{name}` \([\d,]+\)", text)} == named


def test_the_scopes_that_the_contract_lists_are_the_scopes_there_are() -> None:
    tokens = PROTOS / "streamgauge/v1/token_service.proto"
    comment = re.search(r"// What it allows:(.*?)repeated string scopes", tokens.read_text(encoding="utf-8"), re.DOTALL)
    assert comment is not None
    assert tuple(re.findall(r"`([a-z_:]+)`", comment[1])) == SCOPES


def test_the_http_rules_are_those_of_the_snapshot() -> None:
    subprocess.run([sys.executable, str(ROOT / "tools/http_rules.py"), "--check"], check=True)


def test_every_rpc_has_a_rule_of_its_own_under_v1() -> None:
    lines = (PROTOS / "http_rules.txt").read_text(encoding="utf-8").splitlines()
    rpcs = {m.full_name for module in MODULES for s in module.DESCRIPTOR.services_by_name.values() for m in s.methods}
    assert {line.split()[-1] for line in lines} == rpcs
    # A path variable's name does not tell two paths apart, its pattern does.
    paths = [(verb, re.sub(r"\{[\w.]+(?:=([^}]*))?\}", r"\1", path)) for verb, path, *_ in map(str.split, lines)]
    assert len(set(paths)) == len(paths)
    assert all(path.startswith("/v1/") and not path.endswith("/") for _, path in paths)


def test_the_service_config_knows_every_rpc_and_is_the_one_in_the_package() -> None:
    shared = ROOT / "sdk/service_config.json"
    assert shared.read_bytes() == (ROOT / "sdk/python/streamgauge/service_config.json").read_bytes()
    configured = [
        f"{name['service']}.{name['method']}"
        for entry in json.loads(shared.read_text(encoding="utf-8"))["methodConfig"]
        for name in entry["name"]
    ]
    rpcs = [m.full_name for module in MODULES for s in module.DESCRIPTOR.services_by_name.values() for m in s.methods]
    assert sorted(configured) == sorted(rpcs)


def test_every_rpc_has_a_request_and_a_response_of_its_own_name() -> None:
    for module in MODULES:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                assert method.input_type.name == f"{method.name}Request"
                assert method.output_type.name == f"{method.name}Response"


def test_every_field_of_a_request_is_marked_as_required_or_optional() -> None:
    for module in MODULES:
        for name, message in module.DESCRIPTOR.message_types_by_name.items():
            for field in message.fields if name.endswith("Request") else ():
                marks = set(field.GetOptions().Extensions[BEHAVIOUR])
                assert marks <= {field_behavior_pb2.REQUIRED, field_behavior_pb2.OPTIONAL}, field.full_name
                assert len(marks) == 1, field.full_name


def test_no_comment_contradicts_the_mark_of_its_field() -> None:
    opposite = {"REQUIRED": "Optional", "OPTIONAL": "Required."}
    marked = re.compile(r"((?:^ +//.*\n)+) +(.*)field_behavior\) = (\w+)\];", re.MULTILINE)
    found = [(proto.name, *groups) for proto in PUBLIC for groups in marked.findall(proto.read_text(encoding="utf-8"))]
    assert len(found) > 80
    assert [f for f in found if opposite.get(f[-1], "!") in f[1]] == []


def test_a_reason_has_the_status_code_that_its_comment_names_and_tells_its_metadata() -> None:
    text = (PROTOS / "streamgauge/v1/errors.proto").read_text(encoding="utf-8")
    commented = re.findall(r"((?:^  //.*\n)+)  ERROR_REASON_(\w+) = [1-9]\d*;", text, re.MULTILINE)
    assert {name for _, name in commented} == {reason.name for reason in Reason}
    for comment, name in commented:
        words = re.sub(r"\s*//\s*", " ", comment).strip()
        assert words.split(":")[0] == STATUS_CODES[Reason[name]].name, name
        assert re.search(r"Metadata: (none|`)", words), name


def test_vendored_protos_are_those_of_googleapis_common_protos() -> None:
    installed = {str(f): Path(str(f.locate())) for f in files("googleapis-common-protos") or ()}
    for path in (PROTOS / "google").rglob("*.proto"):
        assert path.read_bytes() == installed[str(path.relative_to(PROTOS))].read_bytes(), path


def test_nothing_is_vendored_that_the_contract_does_not_need() -> None:
    def imports(proto: Path) -> set[str]:
        found = set(re.findall(r'^import "(google/(?!protobuf/)[^"]+)";', proto.read_text(), re.MULTILINE))
        return found.union(*(imports(PROTOS / name) for name in found))

    # The messages of `grpc-status-details-bin` are not imported, but a client needs them to read an error.
    details = {"google/rpc/status.proto", "google/rpc/error_details.proto"}
    needed = details.union(*(imports(proto) for proto in PUBLIC))
    assert {str(p.relative_to(PROTOS)) for p in (PROTOS / "google").rglob("*.proto")} == needed
