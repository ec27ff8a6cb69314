"""The grpcurl calls of the page on the API, made one after the other as they are printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, json_format, message_factory
from streamgauge_server.model.clock import FixedClock

from tests.rpc.messages import DAY
from tests.rpc.serving import Stubs

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
CALLS = [shlex.split(line) for line in re.findall(r"^grpcurl .*$", PAGE, re.MULTILINE)]


async def call(stubs: Stubs, words: list[str]) -> dict[str, Any]:
    """Makes the call of a grpcurl line and returns the answer as grpcurl prints it."""
    program, plaintext, option, body, target, method = words
    assert (program, plaintext, option, target) == ("grpcurl", "-plaintext", "-d", "127.0.0.1:50051")
    found = descriptor_pool.Default().FindMethodByName(method.replace("/", "."))
    request, answer = (message_factory.GetMessageClass(kind) for kind in (found.input_type, found.output_type))
    unary = stubs.channel.unary_unary(f"/{method}", type(request()).SerializeToString, answer.FromString)
    return json_format.MessageToDict(await unary(json_format.Parse(body, request())))


async def test_the_calls_work_in_the_order_of_the_page(stubs: Stubs, clock: FixedClock) -> None:
    clock.micros += 100 * DAY
    # The page asks about a job before it shows how this one came to be known; to tell it twice changes nothing.
    await call(stubs, next(words for words in CALLS if "nightly-load" in words[3] and words[-1].endswith("/ReportJob")))
    answers = {words[-1].rpartition("/")[2] + str(n): await call(stubs, words) for n, words in enumerate(CALLS)}
    assert list(answers) == [
        "EmitAssetMetrics0",
        "UpdateMetricDescriptor1",
        "ListAssetMetrics2",
        "GetLatestAssetMetrics3",
        "ListAssets4",
        "QueryMetrics5",
        "DeleteAssetMetrics6",
        "DeleteAssetMetrics7",
        "GetJobStatus8",
        "ListJobs9",
        "ReportJob10",
    ]
    emitted = [(m["name"], m["value"], m.get("guessed")) for m in answers["EmitAssetMetrics0"]["metrics"]]
    assert emitted == [
        ("rows", {"int64Value": "1204"}, True),
        ("nullFraction", {"doubleValue": 0.25}, True),
        ("badge", {"stringValue": "007"}, True),
    ]
    (moment,) = answers["ListAssetMetrics2"]["moments"]
    assert [metric["name"] for metric in moment["metrics"]] == ["rows", "nullFraction", "badge"]
    (latest,) = answers["GetLatestAssetMetrics3"]["assets"]
    assert [metric["name"] for metric in latest["metrics"]] == ["rows"]
    assert answers["ListAssets4"]["totalSize"] == "1"
    (series,) = answers["QueryMetrics5"]["series"]
    (column,) = series["columns"]
    assert column["ofValue"] == {"stringValue": "007"}
    assert column["doubles"] == {"values": [18 * 3_600.0]}
    assert answers["DeleteAssetMetrics6"]["deletedValueCount"] == "3"
    assert answers["DeleteAssetMetrics7"]["deletedValuesByMetric"] == {"badge": "1"}
